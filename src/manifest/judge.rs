//! The sense of a manifest: names, numbers and what may become part of a policy.
//!
//! Knows what IAM, S3 and CloudWatch Logs accept as names. What must stay true: whatever leaves this room as part of
//! [`Settings`] opens no wildcard and no policy variable, and was checked against the rules of the service that it names.

mod accounts;
mod operator;
mod selector;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use super::{
    ControllerConfiguration, Permissions, Platform, State,
    ceiling::{Bounded, Subject},
    fault::{Faults, KeyPath, Place, shown},
    source::Source,
    tree::Node,
    types::{ConfigurationManifest, Metadata, PermissionsManifest, Registration, SessionPreferences},
};
use crate::{
    names::{KeyArn, NameError, Partition, PolicyName, RoleName},
    policy::session_manager::{LogBucket, NodeRegistration, Settings},
};

/// Judges one document, and collects what is wrong with it.
pub(super) struct Judge<'a> {
    source: &'a Source<'a>,
    document: &'a Node,
    /// Where the shape told what there is to tell.
    told_already: &'a BTreeSet<String>,
    faults: &'a mut Faults,
    good: bool,
    /// What a limit can concern. Its places are found last, and only if all is good.
    bounded: Vec<(Subject, KeyPath)>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        source: &'a Source<'a>,
        document: &'a Node,
        told_already: &'a BTreeSet<String>,
        faults: &'a mut Faults,
    ) -> Self {
        Self { source, document, told_already, faults, good: true, bounded: Vec::new() }
    }

    pub(super) fn configuration(&mut self, manifest: &ConfigurationManifest) -> Option<ControllerConfiguration> {
        let place = self.name(&manifest.metadata);
        let spec = KeyPath::default().key("spec");
        let resync_interval = self.interval(manifest.spec.resync_interval.as_deref(), &spec.key("resyncInterval"));
        let accounts = self.configured(&manifest.spec.accounts, &spec.key("accounts"));
        let (queue_url, resync_interval_with_events) = self.change_events(&manifest.spec, resync_interval);
        let guards = self.guards(&manifest.spec.guards);
        let limits = Arc::new(self.limits(&manifest.spec.limits));
        self.good.then_some(ControllerConfiguration {
            place,
            suspend: manifest.spec.suspend,
            resync_interval,
            resync_interval_with_events,
            queue_url,
            default_mode: manifest.spec.default_mode,
            guards,
            limits,
            accounts,
        })
    }

    pub(super) fn permissions(&mut self, manifest: PermissionsManifest) -> Option<Permissions> {
        let place = self.name(&manifest.metadata);
        let spec = KeyPath::default().key("spec");
        let (accounts, places) = self.accounts(&manifest.spec, &spec);
        let roles = manifest.spec.roles.as_deref().map(|roles| self.roles(roles, &spec.key("roles")));
        let selector =
            manifest.spec.selector.as_ref().and_then(|written| self.selector(written, &spec.key("selector")));
        if manifest.spec.roles.is_none() && manifest.spec.selector.is_none() {
            self.names_nothing(&spec);
        }
        let policy_name = match &manifest.spec.policy_name {
            Some(text) => self.policy_name(text, &spec.key("policyName")),
            None => Some(PolicyName::customary()),
        };
        let (settings, partition) = self.settings(&manifest, &spec);
        let policy_name = policy_name.filter(|_| self.good)?;
        if manifest.spec.state == State::Absent {
            // It grants nothing: what a ceiling no longer admits must not keep anybody from removing it.
            self.bounded.clear();
        }
        self.bounded.extend(places.into_iter().map(|(account, path)| (Subject::Account(account), path)));
        Some(Permissions {
            name: manifest.metadata.name,
            place,
            description: manifest.spec.description,
            accounts,
            roles: roles.unwrap_or_default(),
            selector,
            mode: manifest.spec.mode,
            suspend: manifest.spec.suspend,
            state: manifest.spec.state,
            policy_name,
            platform: manifest.spec.platform,
            partition,
            settings,
            bounded: self.bounded(),
        })
    }

    /// A time from 1s to 24h, if one is given.
    fn interval(&mut self, written: Option<&str>, path: &KeyPath) -> Option<Duration> {
        let text = written?;
        let read = duration(text).filter(|length| (1..=24 * 3600).contains(&length.as_secs()));
        if read.is_none() {
            let message = format!("`{}` is not a time from 1s to 24h", shown(text));
            self.tell(path, message, "write hours, minutes and seconds: `90s`, `5m`, `1h30m`");
        }
        read
    }

    fn bounded(&mut self) -> Box<[Bounded]> {
        let place = |path: &KeyPath| self.source.place(self.document.mark_at(path));
        let bounded = std::mem::take(&mut self.bounded).into_iter();
        bounded
            .map(|(what, path)| Bounded { what, place: place(&path), path: path.to_string().into_boxed_str() })
            .collect()
    }

    fn tell(&mut self, path: &KeyPath, message: impl Into<String>, hint: impl Into<String>) {
        self.refused(path, message.into(), Some(hint.into()));
    }

    fn refused(&mut self, path: &KeyPath, message: String, hint: Option<String>) {
        self.good = false;
        if !self.told_already.contains(&path.to_string()) {
            self.faults.tell(|| self.source.fault(self.document.mark_at(path), path, message, hint));
        }
    }

    /// A name by its own rules.
    fn checked<T: FromStr<Err = NameError>>(&mut self, text: &str, path: &KeyPath) -> Option<T> {
        text.parse().map_err(|NameError { what, hint }| self.refused(path, what, hint)).ok()
    }

    fn name(&mut self, metadata: &Metadata) -> Place {
        let path = KeyPath::default().key("metadata").key("name");
        let name = &metadata.name;
        if !is_name(name) {
            let hint = "1 to 253 small letters, digits, `-` and `.`, with a letter or digit at either end of each part";
            self.tell(&path, format!("`{}` is not a name for a manifest", shown(name)), hint);
        }
        self.source.place(self.document.mark_at(&path))
    }

    fn roles(&mut self, written: &[String], path: &KeyPath) -> Vec<RoleName> {
        if written.is_empty() {
            let hint = "name one at least, or leave `roles` out where there is a `selector`";
            self.tell(path, "this manifest names no role", hint);
        }
        let mut first: BTreeMap<RoleName, usize> = BTreeMap::new();
        let mut roles = Vec::with_capacity(written.len());
        for (index, text) in written.iter().enumerate() {
            // The path is only worth its price where there is something to tell.
            let Ok(role) = text.parse::<RoleName>() else {
                self.checked::<RoleName>(text, &path.index(index));
                continue;
            };
            if role.is_aws_owned() {
                let hint = "IAM lets nobody but AWS change such a role: take it out";
                self.tell(&path.index(index), format!("the role `{role}` belongs to AWS"), hint);
            } else if let Some(before) = first.insert(role.clone(), index) {
                let hint = format!("it is `{}` already: keep one of the two", path.index(before));
                let message = format!("the role `{role}` is named twice; IAM ignores the case of letters");
                self.tell(&path.index(index), message, hint);
            }
            roles.push(role);
        }
        roles
    }

    fn policy_name(&mut self, text: &str, path: &KeyPath) -> Option<PolicyName> {
        if text.eq_ignore_ascii_case(PolicyName::REVOKE_OLDER_SESSIONS) {
            let message = format!("the policy `{}` belongs to the console's button \"Revoke sessions\"", shown(text));
            self.tell(path, message, "choose another name, or leave `policyName` out");
            return None;
        }
        self.checked(text, path)
    }

    fn settings(&mut self, manifest: &PermissionsManifest, spec: &KeyPath) -> (Settings, Option<Partition>) {
        let preferences = &manifest.spec.session_preferences;
        let (delivery, at) = (&manifest.spec.log_delivery, spec.key("sessionPreferences"));
        self.preferences_without_permission(preferences, &at);

        let mut partition = None;
        let given_key = given(preferences.kms_key_id.as_ref()).map(|text| (text, at.key("kmsKeyId")));
        let further = self.listed(&manifest.spec.kms_key_arns, spec.key("kmsKeyArns"));
        let session_keys = self.keys(given_key.into_iter().chain(further), &mut partition);
        let at_delivery = spec.key("logDelivery");
        let of_bucket = self.listed(&delivery.s3_kms_key_arns, at_delivery.key("s3KmsKeyArns"));
        let bucket_keys = self.keys(of_bucket, &mut partition);

        let prefix = given(preferences.s3_key_prefix.as_ref())
            .and_then(|text| self.prefix(text, &at.key("s3KeyPrefix")))
            .filter(|prefix| !prefix.is_empty());
        let at_owner = at_delivery.key("s3BucketOwner");
        let owner = delivery.s3_bucket_owner.as_ref().and_then(|id| self.checked(&id.0, &at_owner));
        let bucket = given(preferences.s3_bucket_name.as_ref());
        let at_bucket = at.key("s3BucketName");
        let log_bucket =
            bucket.and_then(|text| self.bucket(text, &at_bucket)).map(|name| LogBucket { name, prefix, owner });
        if let Some(bucket) = &log_bucket {
            self.bounded.push((Subject::Bucket(bucket.name.as_str().into()), at_bucket.clone()));
        }
        let unknown = [at.clone(), at_bucket];
        if bucket.is_none() && !unknown.iter().any(|path| self.told_already.contains(&path.to_string())) {
            let without = "has no effect without a bucket";
            let hint = "name the bucket in `spec.sessionPreferences.s3BucketName`, or leave this out";
            if delivery.s3_bucket_owner.is_some() {
                self.tell(&at_owner, format!("`s3BucketOwner` {without}"), hint);
            }
            if !delivery.s3_kms_key_arns.is_empty() {
                self.tell(&at_delivery.key("s3KmsKeyArns"), format!("`s3KmsKeyArns` {without}"), hint);
            }
        }
        let at_group = at.key("cloudWatchLogGroupName");
        let log_group =
            given(preferences.cloud_watch_log_group_name.as_ref()).and_then(|text| self.log_group(text, &at_group));
        if let Some(group) = &log_group {
            self.bounded.push((Subject::LogGroup(group.as_str().into()), at_group));
        }
        let settings = Settings {
            node_registration: match manifest.spec.node_registration {
                Registration::Assumed => NodeRegistration::Assumed,
                Registration::Granted => NodeRegistration::Granted,
                Registration::DefaultHostManagement => NodeRegistration::DefaultHostManagement,
            },
            s3_encryption_enabled: preferences.s3_encryption_enabled.unwrap_or(manifest.spec.platform != Platform::Ecs),
            log_bucket,
            session_keys,
            bucket_keys,
            log_group,
        };
        (settings, partition)
    }

    fn preferences_without_permission(&mut self, preferences: &SessionPreferences, at: &KeyPath) {
        let limits = [
            ("idleSessionTimeout", &preferences.idle_session_timeout, 60),
            ("maxSessionDuration", &preferences.max_session_duration, 1440),
        ];
        for (key, written, most) in limits {
            let Some(text) = written.as_ref().map(|digits| digits.0.as_str()).filter(|text| !text.is_empty()) else {
                continue;
            };
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            if !digits || !text.parse().is_ok_and(|minutes: u32| (1..=most).contains(&minutes)) {
                let message = format!("`{}` is not a number of minutes from 1 to {most}", shown(text));
                self.tell(&at.key(key), message, format!("write `{key}: \"20\"`, or leave it out"));
            }
        }
    }

    /// The keys of a list, each with its path, unless they are more than can ever be written.
    fn listed<'t>(
        &mut self,
        written: &'t [String],
        path: KeyPath,
    ) -> impl Iterator<Item = (&'t str, KeyPath)> + use<'t> {
        if written.len() > MOST_KEYS {
            let message = format!("{} keys are more than the inline policies of a role have room for", written.len());
            self.tell(&path, message, "name those that the sessions of these roles really use, 128 at most");
        }
        let written = if written.len() > MOST_KEYS { &[] } else { written };
        written.iter().enumerate().map(move |(index, text)| (text.as_str(), path.index(index)))
    }

    /// Keys in the order in which they were written, without repetitions; all in one partition.
    fn keys<'t>(
        &mut self,
        written: impl IntoIterator<Item = (&'t str, KeyPath)>,
        partition: &mut Option<Partition>,
    ) -> Vec<KeyArn> {
        let (mut keys, mut seen) = (Vec::new(), BTreeSet::new());
        for (text, path) in written {
            let Some(key) = self.literal(text, &path).and_then(|text| self.checked::<KeyArn>(text, &path)) else {
                continue;
            };
            match partition {
                Some(first) if first != key.partition() => {
                    let message =
                        format!("this key is in the partition `{}`, another one in `{first}`", key.partition());
                    self.tell(
                        &path,
                        message,
                        "a role can use keys of its own partition only: write one manifest for each",
                    );
                }
                _ => *partition = Some(key.partition().clone()),
            }
            self.bounded.push((Subject::Key(key.clone()), path));
            if seen.insert(text) {
                keys.push(key);
            }
        }
        keys
    }

    /// Text that becomes part of a policy: nothing in it may act as a wildcard or a variable there.
    fn literal<'t>(&mut self, text: &'t str, path: &KeyPath) -> Option<&'t str> {
        let signs = [("${", "a policy variable"), ("*", "a wildcard"), ("?", "a wildcard")];
        let Some((found, role)) = signs.into_iter().find(|(sign, _)| text.contains(sign)) else {
            return Some(text);
        };
        let message = format!("`{}` holds `{found}`: in a policy it would act as {role}", shown(text));
        self.tell(path, message, "write the one name that is meant; name several of them one by one");
        None
    }

    fn bucket(&mut self, text: &str, path: &KeyPath) -> Option<String> {
        let text = self.literal(text, path)?;
        match bucket_name_fault(text) {
            None => Some(text.to_owned()),
            Some(hint) => self.refuse(text, "the name of a bucket", hint, path),
        }
    }

    fn prefix(&mut self, text: &str, path: &KeyPath) -> Option<String> {
        let text = self.literal(text, path)?;
        let trimmed = text.strip_prefix('/').unwrap_or(text);
        let trimmed = trimmed.strip_suffix('/').unwrap_or(trimmed);
        // What IAM accepts in a policy (to U+00FF), without control characters.
        let well_formed = trimmed.chars().all(|character| matches!(character, ' '..='~' | '\u{a1}'..='\u{ff}'));
        if !trimmed.is_empty() && trimmed.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
            let hint = "write names with single slashes between them: empty segments, `.` and `..` mean nothing in S3, and tools drop them";
            return self.refuse(text, "a prefix that a policy can name", hint, path);
        }
        if well_formed && trimmed.len() <= 512 {
            return Some(trimmed.to_owned());
        }
        self.refuse(
            text,
            "a prefix that a policy can name",
            "up to 512 printable Latin letters, digits and signs",
            path,
        )
    }

    fn log_group(&mut self, text: &str, path: &KeyPath) -> Option<String> {
        let text = self.literal(text, path)?;
        match log_group_name_fault(text) {
            None => Some(text.to_owned()),
            Some(hint) => self.refuse(text, "the name of a log group", hint, path),
        }
    }

    fn refuse<T>(&mut self, text: &str, what: impl Display, hint: &str, path: &KeyPath) -> Option<T> {
        self.tell(path, format!("`{}` is not {what}", shown(text)), hint);
        None
    }
}

/// The longest name of a manifest.
pub(super) const LONGEST_NAME: usize = 253;

/// Whether a manifest may have this name: what Kubernetes takes for one.
pub(super) fn is_name(text: &str) -> bool {
    let part = |part: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        !part.is_empty()
            && part.bytes().all(|byte| inner(byte) || byte == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    text.len() <= LONGEST_NAME && text.split('.').all(part)
}

/// Pasted preferences hold empty text for what is not given.
fn given(written: Option<&String>) -> Option<&str> {
    written.map(String::as_str).filter(|text| !text.is_empty())
}

/// So many keys fill the inline policies of a role: a key's ARN has 75 characters at least.
const MOST_KEYS: usize = 128;

/// What S3 has against a name, if it has something ("General purpose bucket naming rules").
fn bucket_name_fault(name: &str) -> Option<&'static str> {
    let ends_well = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let bytes = name.as_bytes();
    if name.starts_with("arn:") || name.contains("://") || name.contains('/') {
        return Some("write the bucket's name alone: no ARN, no URL, no path; a prefix goes into `s3KeyPrefix`");
    }
    let signs = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(byte);
    if !(3..=63).contains(&name.len()) || !bytes.iter().all(signs) {
        return Some("bucket names have 3 to 63 small letters, digits, `.` or `-`");
    }
    if !ends_well(bytes.first()) || !ends_well(bytes.last()) || name.contains("..") {
        return Some("bucket names begin and end with a letter or digit, and no two dots stand together");
    }
    if name.parse::<std::net::Ipv4Addr>().is_ok() {
        return Some("a bucket cannot be named like an IP address");
    }
    if name.starts_with("amzn-s3-demo-") {
        return Some("this is the placeholder of AWS's documentation: write the name of your own bucket");
    }
    let prefixes = ["xn--", "sthree-"];
    let suffixes = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];
    let reserved =
        prefixes.iter().any(|prefix| name.starts_with(prefix)) || suffixes.iter().any(|suffix| name.ends_with(suffix));
    reserved.then_some("S3 reserves this beginning or ending for access points and other kinds of buckets")
}

/// What CloudWatch Logs has against a name, if it has something.
fn log_group_name_fault(name: &str) -> Option<&'static str> {
    let signs = |byte: u8| byte.is_ascii_alphanumeric() || b".-_/#".contains(&byte);
    if name.starts_with("arn:") {
        return Some("write the log group's name alone, without `arn:…:log-group:` and without `:*`");
    }
    if name.starts_with("aws/") {
        return Some("names that begin with `aws/` are AWS's own; `/aws/…` is fine");
    }
    let well_formed = (1..=512).contains(&name.len()) && name.bytes().all(signs);
    (!well_formed).then_some("1 to 512 letters, digits or any of .-_/#")
}

/// `90s`, `5m`, `1h30m`: hours, minutes and seconds, in this order, each at most once.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds: u64 = 0;
    for (unit, length) in [('h', 3600), ('m', 60), ('s', 1)] {
        let Some((number, after)) = rest.split_once(unit) else { continue };
        if number.is_empty() || number.len() > 6 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        seconds += number.parse::<u64>().ok()? * length;
        rest = after;
    }
    (rest.is_empty() && !text.is_empty()).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_hours_minutes_and_seconds() {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("1h30m", 5400), ("24h", 86400), ("1h0m5s", 3605), ("0s", 0)]
        {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "5", "s", "5m1h", "1.5h", "-1s", "1h 5m", "1d", "99999999999999999999s", "5s5s", "+5s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn bucket_names_follow_s3s_rules() {
        for good in ["audit-sessions", "a.b.c", "123", &"x".repeat(63)] {
            assert_eq!(bucket_name_fault(good), None, "{good}");
        }
        for bad in [
            "",
            "ab",
            "Audit",
            "a_b",
            "-ab",
            "ab-",
            "a..b",
            "192.168.0.1",
            "xn--ab",
            "ab-s3alias",
            "ab--x-s3",
            "arn:aws:s3:::audit",
            "s3://audit",
            "audit/web",
            "amzn-s3-demo-bucket",
            &"x".repeat(64),
        ] {
            assert!(bucket_name_fault(bad).is_some(), "{bad}");
        }
    }
}
