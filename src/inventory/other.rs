//! Inline policies that no manifest is about: what of them bears on sessions, and how to see that they are as they were.
//!
//! Pure. What must stay true: every question about sessions is answered as by the whole text, and text that changed is
//! never taken for the same.

use std::{fmt, sync::Arc};

use percent_encoding::percent_decode_str;
use sha2::{Digest as _, Sha256};

use super::documents;
use crate::policy::{evaluate::Prepared, session_manager};

/// An inline policy that is nobody's business here, but that it may allow or deny what sessions need.
///
/// Every role of an account has such policies, mostly of its own application: of what says nothing of sessions nothing is
/// kept but a digest.
#[derive(Clone, PartialEq, Eq)]
pub struct OtherPolicy {
    /// SHA-256 of the text as IAM sent it, percent-encoded.
    digest: [u8; 32],
    /// What bears on sessions, as a document; none where nothing does.
    bearing: Option<Arc<str>>,
}

impl OtherPolicy {
    /// Reads a percent-encoded document.
    #[must_use]
    pub fn new(encoded: &str) -> Self {
        Self::sharing(encoded, |text| text.into())
    }

    /// The same, where `share` gives texts that are alike to all who have them.
    pub(super) fn sharing(encoded: &str, share: impl FnOnce(&str) -> Arc<str>) -> Self {
        let text = percent_decode_str(encoded).decode_utf8_lossy();
        let bearing = match documents::parse(&text) {
            // Whoever writes manifests for what is there looks at all of it.
            Ok(document) if session_manager::permits_sessions(&document) => Some(share(&text)),
            Ok(document) => document.about(session_manager::ASKED_ABOUT).map(|about| share(&about.to_string())),
            // It may say anything.
            Err(_) => Some(share(&text)),
        };
        Self { digest: digest(encoded), bearing }
    }

    /// Whether this is the document that IAM sent as this text.
    #[must_use]
    pub fn is(&self, encoded: &str) -> bool {
        self.digest == digest(encoded)
    }

    /// What of it bears on sessions, as the text of a document in which what does not is left out; the whole text where it
    /// permits sessions or cannot be read. None where nothing does.
    #[must_use]
    pub fn bearing(&self) -> Option<&Arc<str>> {
        self.bearing.as_ref()
    }

    /// The same, ready to be asked what it allows.
    #[must_use]
    pub fn prepared(&self) -> Option<Prepared> {
        Some(documents::prepared(documents::parse(self.bearing.as_ref()?).as_ref()))
    }
}

/// Only what it takes to see that two are alike: the digest's bytes say nothing to a reader.
impl fmt::Debug for OtherPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start: String = self.digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        formatter.debug_struct("OtherPolicy").field("digest", &start).field("bearing", &self.bearing).finish()
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

    use super::*;

    fn other(text: &str) -> OtherPolicy {
        OtherPolicy::new(&utf8_percent_encode(text, NON_ALPHANUMERIC).to_string())
    }

    fn bearing(statements: &str) -> Option<String> {
        let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
        other(&text).bearing().map(|bearing| bearing.to_string())
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
            assert_eq!(other(whole).bearing().map(|bearing| &**bearing), Some(whole));
        }
    }

    #[test]
    fn another_text_is_another_policy_whatever_it_says() {
        let known = OtherPolicy::new("%7B%22Statement%22%3A%5B%5D%7D");
        assert!(known.is("%7B%22Statement%22%3A%5B%5D%7D"));
        assert!(!known.is("%7B%22Statement%22%3A%5B%5D%7D%20"));
        assert!(!known.is("%7b%22Statement%22%3A%5B%5D%7D"));
    }
}
