//! The sense of what the operator bounds: `spec.guards` and `spec.limits` of the ControllerConfiguration; and of where
//! changes are heard of: `spec.changeEvents`.
//!
//! Knows what accounts, paths, keys, buckets and log groups look like, wildcards included. What must stay true: what
//! cannot admit anything is a fault unless it says so by being empty, and nothing that was written is passed over:
//! a limit that is lost is no ceiling.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr, time::Duration};

use super::{Judge, bucket_name_fault, log_group_name_fault};
use crate::{
    manifest::{
        Guards, USUAL_RESYNC_INTERVAL,
        fault::{KeyPath, shown},
        types::{ConfigurationSpec, Count, GuardsSpec, LimitsSpec, MOST_AN_HOUR},
    },
    names::{KeyArn, QueueUrl},
    policy::limits::{Limits, Wildcards},
    text::span,
};

impl Judge<'_> {
    pub(super) fn guards(&mut self, spec: &GuardsSpec) -> Guards {
        let at = KeyPath::default().key("spec").key("guards");
        let usual = Guards::default();
        let changes = self.number(spec.max_changes_per_hour.as_ref(), &at.key("maxChangesPerHour"), 0..=MOST_AN_HOUR);
        let deletes = self.number(spec.max_deletes_per_hour.as_ref(), &at.key("maxDeletesPerHour"), 0..=MOST_AN_HOUR);
        Guards {
            max_changes_per_hour: changes.unwrap_or(usual.max_changes_per_hour),
            max_deletes_per_hour: deletes.unwrap_or(usual.max_deletes_per_hour),
            max_change_percent: self.number(spec.max_change_percent.as_ref(), &at.key("maxChangePercent"), 1..=100),
        }
    }

    /// The queue, and the resync interval while its events are seen to arrive. `usual` is `resyncInterval`, if it is given.
    pub(super) fn change_events(
        &mut self,
        spec: &ConfigurationSpec,
        usual: Option<Duration>,
    ) -> (Option<QueueUrl>, Option<Duration>) {
        let at = KeyPath::default().key("spec");
        let at_interval = at.key("resyncIntervalWithEvents");
        let at_events = at.key("changeEvents");
        let queue_url =
            spec.change_events.as_ref().and_then(|events| self.checked(&events.queue_url, &at_events.key("queueUrl")));
        let interval = self.interval(spec.resync_interval_with_events.as_deref(), &at_interval);
        // Where the usual one has a fault of its own there is nothing to compare with.
        let usual = usual.or(spec.resync_interval.is_none().then_some(USUAL_RESYNC_INTERVAL));
        if spec.resync_interval_with_events.is_some()
            && spec.change_events.is_none()
            && !self.told_already.contains(&at_events.to_string())
        {
            let hint = "name the queue in `spec.changeEvents.queueUrl`, or leave this out";
            self.tell(&at_interval, "`resyncIntervalWithEvents` has no effect without `changeEvents`", hint);
        } else if let (Some(interval), Some(usual)) = (interval, usual)
            && interval < usual
        {
            let (interval, usual) = (span(interval), span(usual));
            let message = format!("`resyncIntervalWithEvents` ({interval}) is less than `resyncInterval` ({usual})");
            let hint = "events let the resync be rarer: write a longer time, such as `15m`, or leave it out";
            self.tell(&at_interval, message, hint);
        }
        (queue_url, interval)
    }

    pub(super) fn limits(&mut self, spec: &LimitsSpec) -> Limits {
        let at = KeyPath::default().key("spec").key("limits");
        Limits {
            account_ids: self
                .each(spec.account_ids.as_deref(), &at.key("accountIds"), |judge, id, path| judge.checked(&id.0, path)),
            role_path_prefixes: self.each(
                spec.role_path_prefixes.as_deref(),
                &at.key("rolePathPrefixes"),
                |judge, text, path| judge.unless(path_prefix_fault(text), text, "the beginning of a role's path", path),
            ),
            kms_key_arns: self.each(spec.kms_key_arns.as_deref(), &at.key("kmsKeyArns"), |judge, text, path| {
                judge.key_pattern(text, path)
            }),
            s3_bucket_names: self.names(
                spec.s3_bucket_names.as_deref(),
                &at.key("s3BucketNames"),
                "a bucket",
                bucket_name_fault,
            ),
            cloud_watch_log_group_names: self.names(
                spec.cloud_watch_log_group_names.as_deref(),
                &at.key("cloudWatchLogGroupNames"),
                "a log group",
                log_group_name_fault,
            ),
        }
    }

    fn number<T: FromStr + PartialOrd + Display>(
        &mut self,
        written: Option<&Count>,
        path: &KeyPath,
        range: RangeInclusive<T>,
    ) -> Option<T> {
        let text = &written?.0;
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| digits && range.contains(number));
        if number.is_none() {
            let message = format!("`{}` is not a whole number from {} to {}", shown(text), range.start(), range.end());
            self.tell(path, message, "write it in digits alone, or leave it out");
        }
        number
    }

    /// All items of a limit, if it is given.
    fn each<T, U, C: FromIterator<U>>(
        &mut self,
        written: Option<&[T]>,
        path: &KeyPath,
        check: impl Fn(&mut Self, &T, &KeyPath) -> Option<U>,
    ) -> Option<C> {
        let items = written?.iter().enumerate();
        Some(items.filter_map(|(index, item)| check(self, item, &path.index(index))).collect())
    }

    fn names(
        &mut self,
        written: Option<&[String]>,
        path: &KeyPath,
        of: &str,
        name_fault: fn(&str) -> Option<&'static str>,
    ) -> Option<Wildcards> {
        let what = format!("a pattern that the name of {of} can fit");
        self.each(written, path, |judge, text, path| judge.unless(pattern_fault(text, name_fault), text, &what, path))
    }

    fn key_pattern(&mut self, text: &str, path: &KeyPath) -> Option<String> {
        if !text.contains(['*', '?', '$']) {
            // Each wrong way to name a single key has its own explanation.
            return self.checked::<KeyArn>(text, path).map(|_| text.to_owned());
        }
        self.unless(key_pattern_fault(text), text, "a pattern that the ARN of a key can fit", path)
    }

    pub(super) fn unless(&mut self, fault: Option<&str>, text: &str, what: &str, path: &KeyPath) -> Option<String> {
        match fault {
            None => Some(text.to_owned()),
            Some(hint) => self.refuse(text, what, hint, path),
        }
    }
}

const NO_VARIABLES: &str = "a limit holds no variables: write names, with `*` for any characters and `?` for one";

pub(super) fn path_prefix_fault(text: &str) -> Option<&'static str> {
    if text.contains(['*', '?']) || text.contains("${") {
        return Some("it is a beginning, without wildcards and variables: `/fleet/` is that path and all below it");
    }
    if !(text.starts_with('/') && text.ends_with('/')) {
        return Some("begin and end it with `/`, as in `/fleet/`; `/` alone is every path");
    }
    if text.len() > 512 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some("paths have up to 512 letters, digits and signs of ASCII, without white space");
    }
    let of_aws = ["/aws-service-role/", "/aws-reserved/"].into_iter().any(|path| text.starts_with(path));
    of_aws.then_some("the roles there belong to AWS, and IAM lets nobody else change them: take it out")
}

fn key_pattern_fault(text: &str) -> Option<&'static str> {
    const FORM: &str = "a pattern has all parts of a key's ARN: arn:aws:kms:*:111122223333:key/*";
    const KEYS: [&str; 2] = ["key/????????-????-????-????-????????????", "key/mrk-????????????????????????????????"];
    if text.contains("${") {
        return Some(NO_VARIABLES);
    }
    let parts: Vec<&str> = text.split(':').collect();
    let ["arn", partition, "kms", region, account, resource] = parts[..] else { return Some(FORM) };
    if resource.starts_with("alias/") {
        return Some("limits are about keys, as an alias can be pointed at any: arn:aws:kms:*:111122223333:key/*");
    }
    // Part by part, since a `*` that may be anything would fit every shape of a whole.
    let digits = |byte: u8| byte.is_ascii_digit() || b"*?".contains(&byte);
    let letters = |byte: u8| digits(byte) || byte.is_ascii_lowercase() || byte == b'-';
    let fits = |part: &str, shapes: &[&str]| shapes.iter().any(|shape| Wildcards::overlap(part, shape));
    let is_possible = resource.strip_prefix("key/").is_some_and(|id| id.bytes().all(letters))
        && [partition, region].into_iter().all(|part| part.bytes().all(letters))
        && account.bytes().all(digits)
        && fits(partition, &["aws", "aws-?*"])
        && fits(region, &["??*-??*-?", "??*-??*-??"])
        && fits(account, &["????????????"])
        && fits(resource, &KEYS);
    (!is_possible).then_some(FORM)
}

/// What speaks against every name that fits, if something does: the wildcards are filled with what names may hold.
fn pattern_fault(text: &str, name_fault: impl Fn(&str) -> Option<&'static str>) -> Option<&'static str> {
    if text.contains("${") {
        return Some(NO_VARIABLES);
    }
    let fillings = ["aaa", "a", ""].map(|filling| text.replace('*', filling).replace('?', "a"));
    let faults = fillings.map(|name| name_fault(&name));
    if faults.contains(&None) { None } else { faults[0] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_of_keys_has_all_parts_of_an_arn_and_some_key_can_fit_it() {
        for good in [
            "arn:aws:kms:*:111122223333:key/*",
            "arn:*:kms:*:*:key/*",
            "arn:aws*:kms:us-east-?:1111*:key/mrk-*",
            "arn:aws-cn:kms:cn-north-1:????????????:key/1234abcd-*",
            "arn:aws:kms:us-gov-*:111122223333:key/????????-????-????-????-????????????",
        ] {
            assert_eq!(key_pattern_fault(good), None, "{good}");
        }
        for bad in [
            "*",
            "arn:aws:kms:*",
            "arn:aws:kms:*:key/*",
            "arn:aws:kms:*:111122223333:*",
            "arn:aws:kms:*:111122223333:alias/*",
            "arn:aws:s3:*:111122223333:key/*",
            "arn:a?:kms:*:111122223333:key/*",
            "arn:aws:kms:us-east*x:1111222233334*:key/*",
            "arn:aws:kms:*:11112222?:key/*",
            "arn:aws:kms:*:111122223333:key/ABC*",
            "arn:aws:kms:?:111122223333:key/*",
            "arn:aws:kms:*:${aws:PrincipalAccount}:key/*",
        ] {
            assert!(key_pattern_fault(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn a_pattern_of_names_is_one_that_some_name_can_fit() {
        for good in ["*", "audit-*", "*-logs", "audit-????", "a*.b", "???", &format!("{}*", "x".repeat(63))] {
            assert_eq!(pattern_fault(good, bucket_name_fault), None, "{good}");
        }
        for bad in ["", "?", "Audit-*", "arn:aws:s3:::audit-*", "audit-*/web", "*--x-s3", "-*", "audit-${x}*"] {
            assert!(pattern_fault(bad, bucket_name_fault).is_some(), "{bad}");
        }
        for good in ["*", "/ssm/*", "/SSM/?", "#*"] {
            assert_eq!(pattern_fault(good, log_group_name_fault), None, "{good}");
        }
        for bad in ["", "a b*", "/ssm/*:*", "arn:aws:logs:*:*:log-group:*", "aws/*", "${x}"] {
            assert!(pattern_fault(bad, log_group_name_fault).is_some(), "{bad}");
        }
    }

    #[test]
    fn the_beginning_of_a_path_ends_with_a_slash() {
        for good in ["/", "/fleet/", "/a/b/", "/A_b+c=,.@-!/"] {
            assert_eq!(path_prefix_fault(good), None, "{good}");
        }
        for bad in ["", "fleet/", "/fleet", "/fleet/*", "/fle?t/", "/${x}/", "/a b/", "/é/", "/aws-reserved/sso/"] {
            assert!(path_prefix_fault(bad).is_some(), "{bad}");
        }
        assert!(path_prefix_fault(&format!("/{}/", "x".repeat(511))).is_some());
    }
}
