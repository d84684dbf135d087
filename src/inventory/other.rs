//! Inline policies that no manifest is about: what of them bears on sessions, and how to see that they are as they were.
//!
//! Pure. What must stay true: every question about sessions is answered as by the whole text, and text that changed is
//! never taken for the same.

use std::{borrow::Cow, fmt, sync::Arc};

use percent_encoding::percent_decode_str;
use sha2::{Digest as _, Sha256};

use super::{RoleText, documents};
use crate::{
    names::RoleName,
    policy::{evaluate::Prepared, session_manager},
};

/// An inline policy that is nobody's business here, but that it may allow or deny what sessions need.
///
/// Every role of an account has such policies, mostly of its own application: of what says nothing of sessions nothing is
/// kept but the [`OthersDigest`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OtherPolicy {
    /// What bears on sessions, as a document; none where nothing does.
    bearing: Option<RoleText>,
}

/// The first 24 bytes of the SHA-256 of all such policies of a role: of their names and their texts as IAM sent them,
/// percent-encoded. Of a million roles each byte is a megabyte, and nobody finds two texts that 24 of them do not tell apart.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct OthersDigest([u8; 24]);

impl OtherPolicy {
    /// Reads a percent-encoded document of a role.
    #[must_use]
    pub fn new(role: &RoleName, encoded: &str) -> Self {
        Self::sharing(role, encoded, |text| text.into())
    }

    /// The same, where `share` gives texts that are alike to all who have them.
    pub(super) fn sharing(role: &RoleName, encoded: &str, share: impl FnOnce(&str) -> Arc<str>) -> Self {
        let text = percent_decode_str(encoded).decode_utf8_lossy();
        let bearing = match documents::parse(&text) {
            // Whoever writes manifests for what is there looks at all of it.
            Ok(document) if session_manager::permits_sessions(&document) => Some(text),
            Ok(document) => document.about(session_manager::ASKED_ABOUT).map(|about| about.to_string().into()),
            // It may say anything.
            Err(_) => Some(text),
        };
        Self { bearing: bearing.map(|text| RoleText::sharing(role, &text, share)) }
    }

    /// What of it bears on sessions, as the text of a document in which what does not is left out; the whole text where it
    /// permits sessions or cannot be read. None where nothing does. The role is the one that it was read of.
    #[must_use]
    pub fn bearing(&self, role: &RoleName) -> Option<Cow<'_, str>> {
        Some(self.bearing.as_ref()?.of(role))
    }

    /// The same, ready to be asked what it allows.
    #[must_use]
    pub fn prepared(&self, role: &RoleName) -> Option<Prepared> {
        Some(documents::prepared(documents::parse(&self.bearing(role)?).as_ref()))
    }
}

impl OthersDigest {
    /// Of policies by their names, in whatever order they are told.
    #[must_use]
    pub fn of<'t>(policies: impl Iterator<Item = (&'t str, &'t str)>) -> Self {
        let mut policies: Vec<(&str, &str)> = policies.collect();
        policies.sort_unstable();
        let mut digest = Sha256::new();
        for part in policies.into_iter().flat_map(|(name, text)| [name, text]) {
            // With its length, so that no two lists of texts make one text.
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        }
        let whole: [u8; 32] = digest.finalize().into();
        let mut kept = Self::default();
        kept.0.copy_from_slice(&whole[..24]);
        kept
    }
}

/// Only what it takes to see that two are alike: the digest's bytes say nothing to a reader.
impl fmt::Debug for OthersDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

    use super::*;

    fn web() -> RoleName {
        "web".parse().unwrap()
    }

    fn encoded(text: &str) -> String {
        utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
    }

    fn other(text: &str) -> OtherPolicy {
        OtherPolicy::new(&web(), &encoded(text))
    }

    fn bearing(statements: &str) -> Option<String> {
        let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
        other(&text).bearing(&web()).map(Cow::into_owned)
    }

    #[test]
    fn what_says_nothing_of_sessions_leaves_no_text() {
        for statement in [
            r#"{"Effect":"Allow","Action":"sqs:*","Resource":"*"}"#,
            r#"{"Effect":"Deny","Action":["s3:GetObject","ec2:*"],"Resource":"*"}"#,
            r#"{"Effect":"Allow","NotAction":"*","Resource":"*"}"#,
        ] {
            assert_eq!(bearing(statement), None, "{statement}");
        }
        assert_eq!(bearing(""), None);
    }

    #[test]
    fn what_may_say_something_of_sessions_is_kept_in_its_place() {
        for statement in [
            r#"{"Sid":"a","Effect":"Allow","Action":["s3:Put*"],"Resource":"arn:aws:s3:::a/*"}"#,
            r#"{"Effect":"Deny","Action":["*"],"Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}"#,
            r#"{"Effect":"Deny","NotAction":["sqs:*"],"Resource":"*"}"#,
            r#"{"Effect":"Allow","Action":["sqs:*"],"Resource":"*","Strange":1}"#,
            r#"{"Effect":"Allow","Action":["sqs:*"]}"#,
            r#"{"Effect":"Allow","Action":[],"Resource":"*"}"#,
        ] {
            let nothing = r#"{"Effect":"Allow","Action":["-"],"Resource":"-"}"#;
            let expected = format!(r#"{{"Version":"2012-10-17","Statement":[{nothing},{statement}]}}"#);
            let queue = r#"{"Sid":"Queue","Effect":"Deny","Action":["sqs:*"],"Resource":"*"}"#;
            assert_eq!(bearing(&format!("{queue},{statement}")), Some(expected));
        }
    }

    #[test]
    fn what_cannot_be_read_or_permits_sessions_is_kept_whole() {
        let permits = r#"{"Statement": [{"Effect":"Allow","Action":"sqs:*","Resource":"*"},{"Effect":"Allow","Action":"ssmmessages:*","Resource":"*"}]}"#;
        for whole in ["{]", permits] {
            assert_eq!(other(whole).bearing(&web()).as_deref(), Some(whole));
        }
    }

    #[test]
    fn other_texts_or_names_are_other_policies_and_another_order_is_not() {
        let of = |policies: &[(&'static str, &'static str)]| OthersDigest::of(policies.iter().copied());
        let known = of(&[("a", "%7B%7D"), ("b", "x")]);
        assert_eq!(known, of(&[("b", "x"), ("a", "%7B%7D")]));
        for other in [
            &[("a", "%7B%7D")][..],
            &[("a", "%7B%7D"), ("b", "x"), ("c", "")],
            &[("a", "%7b%7d"), ("b", "x")],
            &[("a", "%7B%7D%20"), ("b", "x")],
            &[("a", "x"), ("b", "%7B%7D")],
            &[("a%7B%7D", ""), ("b", "x")],
            &[],
        ] {
            assert_ne!(known, of(other), "{other:?}");
        }
    }
}
