//! Names and ids that were checked once: after parsing, the rest of the program need not ask again.
//!
//! Knows IAM's own patterns and nothing else. What must stay true: a value of these types can be put into
//! an ARN, a request or a log line without opening a wildcard, a policy variable or a control character.
//!
//! A name stands in many places at once (what is wanted, what was read, what is queued), a million of them in a large
//! organization: so its text is shared by all who have it, and to copy a name takes no memory.
//!
//! Sources: IAM User Guide, "IAM and AWS STS quotas" (name patterns); AWS KMS Developer Guide, "Key identifiers".

mod queue_url;

use std::{cmp::Ordering, fmt, str::FromStr, sync::Arc};

use serde::{Serialize, Serializer};

pub use self::queue_url::QueueUrl;

/// Why a name or id was refused, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct NameError {
    /// What is wrong, without the name of the field it stands in.
    pub what: String,
    /// The next step for the person who wrote it.
    pub hint: Option<String>,
}

impl NameError {
    fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: Some(hint.into()) }
    }
}

/// A 12-digit AWS account id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(Arc<str>);

/// The name of an IAM role: `[\w+=,.@-]{1,64}`. IAM keeps role names unique ignoring case, so equality,
/// order and hash ignore ASCII case; the spelling is kept for display and for requests.
#[derive(Debug, Clone)]
pub struct RoleName(Arc<str>);

/// The name of an inline policy: `[\w+=,.@-]{1,128}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyName(Arc<str>);

/// A partition of AWS: the second part of every ARN.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(Arc<str>);

/// The ARN of a KMS key (never of an alias: an alias ARN in a policy grants nothing).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyArn {
    text: Arc<str>,
    partition: Partition,
}

/// The ARN of an IAM role: `arn:aws:iam::111122223333:role/path/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleArn {
    text: Arc<str>,
    partition: Partition,
    account: AccountId,
}

/// The name of a Region: `us-east-1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region(Arc<str>);

fn is_iam_name(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte))
}

impl FromStr for AccountId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self(text.into()));
        }
        Err(NameError::new(
            format!("`{}` is not an AWS account id", text.escape_debug()),
            "an account id has exactly 12 digits; write it in quotes: \"111122223333\"",
        ))
    }
}

impl FromStr for RoleName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if is_iam_name(text, 64) {
            return Ok(Self(text.into()));
        }
        let hint = if text.starts_with("arn:") || text.contains('/') {
            "write the role's name alone, without path and without ARN"
        } else {
            "role names have 1 to 64 letters, digits or any of _+=,.@-"
        };
        Err(NameError::new(format!("`{}` is not a role name", text.escape_debug()), hint))
    }
}

impl RoleName {
    /// Whether AWS owns a role of this name (`AWSServiceRoleFor…`, `AWSReservedSSO_…`): IAM refuses changes to it.
    #[must_use]
    pub fn is_aws_owned(&self) -> bool {
        let lower = self.0.to_ascii_lowercase();
        lower.starts_with("awsservicerolefor") || lower.starts_with("awsreservedsso_")
    }

    /// The name in lower case: the form in which IAM compares it.
    #[must_use]
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl PartialEq for RoleName {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for RoleName {}

impl PartialOrd for RoleName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RoleName {
    fn cmp(&self, other: &Self) -> Ordering {
        let (one, other) = (self.0.as_bytes(), other.0.as_bytes());
        // A pass finds every role in several ordered maps, among names that mostly begin alike: so what is alike is passed
        // over by words, and only bytes that differ are folded.
        let words = one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0);
        let alike = words.take_while(|(one, other)| one == other).count() * 8;
        let differing = one[alike..].iter().zip(&other[alike..]).filter(|(one, other)| one != other);
        differing
            .map(|(one, other)| one.to_ascii_lowercase().cmp(&other.to_ascii_lowercase()))
            .find(|order| order.is_ne())
            .unwrap_or_else(|| one.len().cmp(&other.len()))
    }
}

impl std::hash::Hash for RoleName {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        for byte in self.0.bytes() {
            state.write_u8(byte.to_ascii_lowercase());
        }
        state.write_u8(0xff);
    }
}

impl FromStr for PolicyName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if is_iam_name(text, 128) {
            return Ok(Self(text.into()));
        }
        Err(NameError::new(
            format!("`{}` is not a policy name", text.escape_debug()),
            "policy names have 1 to 128 letters, digits or any of _+=,.@-",
        ))
    }
}

impl PolicyName {
    /// The inline policy that the console's "Revoke sessions" writes: it belongs to that button alone.
    pub const REVOKE_OLDER_SESSIONS: &'static str = "AWSRevokeOlderSessions";

    /// The customary name of the Session Manager policy.
    #[must_use]
    pub fn customary() -> Self {
        Self("SessionManagerPermissions".into())
    }
}

impl FromStr for Partition {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let well_formed = (text == "aws" || text.starts_with("aws-"))
            && text.len() <= 32
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !text.ends_with('-');
        if well_formed {
            return Ok(Self(text.into()));
        }
        Err(NameError::new(
            format!("`{}` is not a partition of AWS", text.escape_debug()),
            "the second part of an ARN is aws, aws-cn, aws-us-gov or another name that begins with aws-",
        ))
    }
}

impl Default for Partition {
    fn default() -> Self {
        Self("aws".into())
    }
}

/// The partitions, what their Regions begin with, and the Region in which each has its IAM.
///
/// Source: IAM User Guide, "AWS Regions and endpoints for IAM" and the SDK's own table of partitions; China's is where
/// IAM's changes are told, `cn-north-1`.
const PARTITIONS: [(&str, &str, &str); 8] = [
    ("aws-cn", "cn-", "cn-north-1"),
    ("aws-us-gov", "us-gov-", "us-gov-west-1"),
    ("aws-iso", "us-iso-", "us-iso-east-1"),
    ("aws-iso-b", "us-isob-", "us-isob-east-1"),
    ("aws-iso-e", "eu-isoe-", "eu-isoe-west-1"),
    ("aws-iso-f", "us-isof-", "us-isof-south-1"),
    ("aws-eusc", "eusc-", "eusc-de-east-1"),
    // What none of the others begins with.
    ("aws", "", "us-east-1"),
];

impl Partition {
    /// The Region in which the partition has its IAM; none for a partition that is not known here.
    #[must_use]
    pub fn home(&self) -> Option<Region> {
        let known = PARTITIONS.iter().find(|(partition, _, _)| *partition == &*self.0);
        known.map(|(_, _, home)| Region((*home).into()))
    }
}

impl Region {
    /// The partition that the Region lies in.
    #[must_use]
    pub fn partition(&self) -> Partition {
        let of = PARTITIONS.iter().find(|(_, beginning, _)| self.0.starts_with(beginning));
        Partition(of.map_or("aws", |(partition, _, _)| *partition).into())
    }
}

impl FromStr for Region {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if is_region(text) {
            return Ok(Self(text.into()));
        }
        Err(NameError::new(
            format!("`{}` is not the name of a Region", text.escape_debug()),
            "a Region is named like us-east-1 or us-gov-west-1",
        ))
    }
}

impl RoleArn {
    /// The partition that the role lies in.
    #[must_use]
    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    /// The account that the role lies in.
    #[must_use]
    pub fn account(&self) -> &AccountId {
        &self.account
    }
}

impl FromStr for RoleArn {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const FORM: &str = "a role's ARN looks like arn:aws:iam::111122223333:role/ssm-role-controller";
        let shown = text.escape_debug();
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", partition, "iam", "", account, resource] = parts[..] else {
            return Err(NameError::new(format!("`{shown}` is not the ARN of a role"), FORM));
        };
        let within = |error: NameError| NameError::new(format!("in `{shown}`: {}", error.what), FORM);
        let (partition, account) = (partition.parse().map_err(within)?, account.parse().map_err(within)?);
        let Some(rest) = resource.strip_prefix("role/") else {
            return Err(NameError::new(format!("`{shown}` names no role"), FORM));
        };
        let (path, name) = rest.rsplit_once('/').map_or((None, rest), |(path, name)| (Some(path), name));
        let is_path = |path: &str| {
            path.len() <= 510
                && path.split('/').all(|part| !part.is_empty())
                && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"*?$".contains(&byte))
        };
        if let Some(path) = path.filter(|path| !is_path(path)) {
            return Err(NameError::new(format!("in `{shown}`: `{}` is not a path", path.escape_debug()), FORM));
        }
        name.parse::<RoleName>().map_err(within)?;
        Ok(Self { text: text.into(), partition, account })
    }
}

impl KeyArn {
    /// The partition that the key lies in.
    #[must_use]
    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    /// The account that owns the key.
    #[must_use]
    pub fn account(&self) -> &str {
        self.text.split(':').nth(4).unwrap_or_default()
    }
}

impl FromStr for KeyArn {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const FORM: &str =
            "a key ARN looks like arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        let shown = text.escape_debug();
        if text == "key-name" || text.ends_with("/key-name") {
            return Err(NameError::new(
                format!("`{shown}` is the placeholder of AWS's documentation, not a key"),
                format!("put the ARN of the key that encrypts session data here; {FORM}"),
            ));
        }
        if text.starts_with("alias/") {
            return Err(NameError::new(
                format!("`{shown}` is the name of an alias: a policy needs the key's ARN"),
                "`aws kms describe-key --key-id alias/NAME --query KeyMetadata.Arn` prints it",
            ));
        }
        if !text.starts_with("arn:") {
            let bare = text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            return Err(NameError::new(
                if bare {
                    format!("`{shown}` is a bare key id: IAM refuses a policy that names a key in this way")
                } else {
                    format!("`{shown}` is not the ARN of a KMS key")
                },
                FORM,
            ));
        }
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let [_, partition, service, region, account, resource] = parts[..] else {
            return Err(NameError::new(format!("`{shown}` is not a whole ARN"), FORM));
        };
        if service != "kms" {
            return Err(NameError::new(
                format!("`{shown}` is an ARN of `{}`, not of a KMS key", service.escape_debug()),
                FORM,
            ));
        }
        if resource.starts_with("alias/") {
            return Err(NameError::new(
                format!("`{shown}` is the ARN of an alias: IAM accepts it in a policy, but it grants nothing"),
                "`aws kms describe-key --key-id ALIAS_ARN --query KeyMetadata.Arn` prints the key's ARN",
            ));
        }
        let Some(id) = resource.strip_prefix("key/") else {
            return Err(NameError::new(format!("`{shown}` names no key"), FORM));
        };
        if !is_key_id(id) {
            return Err(NameError::new(format!("`{shown}` holds no key id after `key/`"), FORM));
        }
        let partition: Partition = partition
            .parse()
            .map_err(|error: NameError| NameError::new(format!("in `{shown}`: {}", error.what), FORM))?;
        let _: AccountId = account
            .parse()
            .map_err(|error: NameError| NameError::new(format!("in `{shown}`: {}", error.what), FORM))?;
        if !is_region(region) {
            return Err(NameError::new(format!("in `{shown}`: `{}` is not a Region", region.escape_debug()), FORM));
        }
        Ok(Self { text: text.into(), partition })
    }
}

/// Whether KMS makes such ids: a UUID, or for a key of several Regions `mrk-` and a UUID without hyphens.
fn is_key_id(text: &str) -> bool {
    let hex =
        |part: &str, length| part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if let Some(rest) = text.strip_prefix("mrk-") {
        return hex(rest, 32);
    }
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() == 5 && parts.iter().zip([8, 4, 4, 4, 12]).all(|(part, length)| hex(part, length))
}

/// Whether the text has the form of a Region's name: `us-east-1`, `us-gov-west-1`, `eusc-de-east-1`.
fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let Some((number, words)) = parts.split_last() else { return false };
    words.len() >= 2
        && words.iter().all(|word| (2..=16).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_lowercase()))
        && (1..=2).contains(&number.len())
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

macro_rules! text_of {
    ($($type:ident . $field:tt),*) => {$(
        impl $type {
            /// The text, as it was written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.$field
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.$field)
            }
        }
    )*};
}

macro_rules! written_as_text {
    ($($type:ident),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    )*};
}

written_as_text!(AccountId, RoleName, PolicyName, Partition);
text_of!(AccountId.0, RoleName.0, PolicyName.0, Partition.0, Region.0, RoleArn.text, KeyArn.text);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_names_are_equal_ignoring_case() {
        let (upper, lower): (RoleName, RoleName) = ("Web-Server".parse().unwrap(), "web-server".parse().unwrap());
        assert_eq!(upper, lower);
        assert_eq!(upper.cmp(&lower), Ordering::Equal);
        assert_eq!(upper.to_string(), "Web-Server");
    }

    #[test]
    fn names_follow_iams_patterns() {
        for good in ["a", "web_server+=,.@-1", &"x".repeat(64)] {
            assert!(good.parse::<RoleName>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "rôle", "a*", "${a}", &"x".repeat(65), "a\n"] {
            assert!(bad.parse::<RoleName>().is_err(), "{bad}");
        }
        assert!("x".repeat(128).parse::<PolicyName>().is_ok());
        assert!("x".repeat(129).parse::<PolicyName>().is_err());
    }

    #[test]
    fn aws_owned_role_names_are_known_ignoring_case() {
        assert!("AWSServiceRoleForECS".parse::<RoleName>().unwrap().is_aws_owned());
        assert!("awsreservedsso_Admin_1".parse::<RoleName>().unwrap().is_aws_owned());
        assert!(!"my-AWSServiceRoleFor".parse::<RoleName>().unwrap().is_aws_owned());
    }

    #[test]
    fn account_ids_have_twelve_digits() {
        assert_eq!("012345678901".parse::<AccountId>().unwrap().as_str(), "012345678901");
        for bad in ["", "12345678901", "1234567890123", "12345678901a", "１２３４５６７８９０１２"] {
            assert!(bad.parse::<AccountId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_arn_of_a_role_tells_its_account_and_partition() {
        for (text, partition, account) in [
            ("arn:aws:iam::111122223333:role/a", "aws", "111122223333"),
            ("arn:aws-cn:iam::012345678901:role/fleet/x/A_b+c=,.@-", "aws-cn", "012345678901"),
        ] {
            let arn: RoleArn = text.parse().unwrap();
            assert_eq!((arn.partition().as_str(), arn.account().as_str(), arn.as_str()), (partition, account, text));
        }
        for bad in [
            "",
            "role",
            "arn:aws:iam::111122223333:user/a",
            "arn:aws:iam::111122223333:role/",
            "arn:aws:iam::111122223333:role//a",
            "arn:aws:iam::111122223333:role/a b",
            "arn:aws:iam::111122223333:role/*/a",
            "arn:aws:iam::111122223333:role/x*",
            "arn:aws:iam::1111:role/a",
            "arn:aws:iam:us-east-1:111122223333:role/a",
            "arn:aws:sts::111122223333:assumed-role/a/b",
            "arn:other:iam::111122223333:role/a",
        ] {
            assert!(bad.parse::<RoleArn>().is_err(), "{bad}");
        }
    }

    #[test]
    fn each_partition_has_a_home_that_lies_in_it() {
        for (partition, _, _) in PARTITIONS {
            let partition: Partition = partition.parse().unwrap();
            assert_eq!(partition.home().unwrap().partition(), partition);
        }
        assert_eq!("eu-central-1".parse::<Region>().unwrap().partition().as_str(), "aws");
        assert_eq!("us-isob-east-1".parse::<Region>().unwrap().partition().as_str(), "aws-iso-b");
        assert_eq!("aws-new".parse::<Partition>().unwrap().home(), None);
    }

    #[test]
    fn each_wrong_way_to_name_a_key_gets_its_own_explanation() {
        const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";
        let account = "111122223333";
        let cases = [
            ("key-name".to_owned(), "placeholder"),
            (format!("arn:aws:kms:us-east-1:{account}:key/key-name"), "placeholder"),
            ("alias/sessions".to_owned(), "name of an alias"),
            (format!("arn:aws:kms:us-east-1:{account}:alias/sessions"), "ARN of an alias"),
            ("1234abcd-12ab-34cd-56ef-1234567890ab".to_owned(), "bare key id"),
            ("mrk-1234abcd12ab34cd56ef1234567890ab".to_owned(), "bare key id"),
            ("arn:aws:s3:::bucket".to_owned(), "not of a KMS key"),
            (format!("arn:AWS:kms:us-east-1:{account}:key/{ID}"), "partition"),
            (format!("arn:aws:kms:us-east:{account}:key/{ID}"), "Region"),
            (format!("arn:aws:kms:*:{account}:key/{ID}"), "Region"),
            (format!("arn:aws:kms:us-east-1:1:key/{ID}"), "account id"),
            (format!("arn:aws:kms:us-east-1:{account}:key/*"), "no key id"),
            (format!("arn:aws:kms:us-east-1:{account}:key/${{aws:username}}"), "no key id"),
            (format!("arn:aws:kms:us-east-1:{account}:key/ALLCAPS"), "no key id"),
            (format!("arn:aws:kms:us-east-1:{account}:key/-"), "no key id"),
            (format!("arn:aws:kms:us-east-1:{account}:key/{}", ID.to_uppercase()), "no key id"),
            (format!("arn:aws:kms:us-east-1:{account}:key/{ID}0"), "no key id"),
            (format!("arn:aws:kms:us-east-1:{account}:key/mrk-{ID}"), "no key id"),
            (format!("arn:aws:kms:us-east-1:{account}:key/{}", ID.replace('-', "")), "no key id"),
            ("arn:aws:kms".to_owned(), "whole ARN"),
            ("hello".to_owned(), "not the ARN"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<KeyArn>().unwrap_err();
            assert!(error.what.contains(expected), "{text}: {}", error.what);
        }
        for partition in ["aws", "aws-cn", "aws-us-gov", "aws-eusc"] {
            let text = format!("arn:{partition}:kms:us-gov-west-1:{account}:key/mrk-1234abcd12ab34cd56ef1234567890ab");
            assert_eq!(text.parse::<KeyArn>().unwrap().partition().as_str(), partition);
        }
    }
}
