//! The controller's own settings: their guards, limits, intervals and queue.

use super::*;

/// A `ControllerConfiguration` with this `spec`, given as lines without their indentation.
fn controller(spec: &str) -> String {
    let text = manifest(spec).replace(PERMISSIONS, CONFIGURATION);
    text.replace("name: web", "name: controller")
}

fn operator(spec: &str) -> ControllerConfiguration {
    let parsed = parse("c.yaml", controller(spec).as_bytes());
    assert!(parsed.faults.is_empty(), "{}", all(&parsed));
    parsed.configurations[0].clone()
}

#[test]
fn guards_are_whole_numbers_with_defaults() {
    assert_eq!(operator("suspend: false").guards, Guards::default());
    assert_eq!(operator("guards: {}").guards, Guards::default());
    let given = operator("guards: {maxChangesPerHour: 0, maxDeletesPerHour: 1000000, maxChangePercent: 100}").guards;
    assert_eq!(
        given,
        Guards { max_changes_per_hour: 0, max_deletes_per_hour: 1_000_000, max_change_percent: Some(100) }
    );
    insta::assert_snapshot!(
        told(&controller(
            "guards:\n  maxChangesPerHour: -1\n  maxDeletesPerHour: \"5\"\n  maxChangePercent: 0\n  maxDeletePerHour: 5"
        )),
        @r#"
        web.yaml:6:24: `-1` is not a whole number from 0 to 1000000
           at spec.guards.maxChangesPerHour
           |
         6 |     maxChangesPerHour: -1
           |                        ^^
        hint: write it in digits alone, or leave it out

        web.yaml:7:24: expected a whole number, found text
           at spec.guards.maxDeletesPerHour
           |
         7 |     maxDeletesPerHour: "5"
           |                        ^^^
        hint: write it in digits, without quotes

        web.yaml:8:23: `0` is not a whole number from 1 to 100
           at spec.guards.maxChangePercent
           |
         8 |     maxChangePercent: 0
           |                       ^
        hint: write it in digits alone, or leave it out

        web.yaml:9:5: unknown key `maxDeletePerHour`
           at spec.guards.maxDeletePerHour
           |
         9 |     maxDeletePerHour: 5
           |     ^^^^^^^^^^^^^^^^
        hint: did you mean `maxDeletesPerHour`?
        "#
    );
    for bad in ["1000001", "+5", "0x10", "99999999999999999999"] {
        let told = told(&controller(&format!("guards: {{maxChangesPerHour: {bad}}}")));
        assert!(told.contains("is not a whole number from 0 to 1000000"), "{told}");
    }
    assert!(told(&controller("guards: {maxChangePercent: 101}")).contains("from 1 to 100"));
    assert!(told(&controller("guards: {maxChangePercent: 1.5}")).contains("expected a whole number"));
}

#[test]
fn the_schema_shows_guards_as_integers_with_their_bounds_and_what_an_empty_limit_means() {
    let schema = schema_of(CONFIGURATION).unwrap();
    let spec = &schema["properties"]["spec"]["properties"];
    let changes = &spec["guards"]["properties"]["maxChangesPerHour"];
    assert_eq!(
        (&changes["type"], &changes["minimum"], &changes["maximum"], &changes["default"]),
        (&"integer".into(), &0.into(), &1_000_000.into(), &100.into())
    );
    let limits = spec["limits"]["properties"].as_object().unwrap();
    assert_eq!(limits.len(), 5);
    for (key, limit) in limits {
        assert_eq!(limit["type"], "array", "{key}");
        assert!(limit["description"].as_str().unwrap().ends_with("Left out: any. Empty: none."), "{key}");
    }
}

#[test]
fn limits_that_are_left_out_bound_nothing_and_empty_ones_admit_nothing() {
    assert_eq!(*operator("suspend: false").limits, Limits::default());
    assert_eq!(*operator("limits: {}").limits, Limits::default());
    let limits = operator(&format!(
        "limits:\n  accountIds: [012345678901, \"111122223333\", 111122223333]\n  rolePathPrefixes: [/fleet/]\n\
         \x20 kmsKeyArns: [\"arn:aws:kms:*:111122223333:key/*\", {KEY}]\n  s3BucketNames: [audit-sessions, \"logs-*\"]\n\
         \x20 cloudWatchLogGroupNames: []"
    ))
    .limits;
    assert_eq!(limits.outside_accounts(&"012345678901".parse().unwrap()), None);
    assert_eq!(limits.outside_paths("/fleet/web/"), None);
    assert_eq!(limits.outside_keys(KEY_2), None);
    assert_eq!(limits.outside_buckets("logs-1"), None);
    assert!(limits.outside_log_groups("/ssm/sessions").is_some());
}

#[test]
fn a_limit_that_can_admit_nothing_is_told_with_what_to_write() {
    insta::assert_snapshot!(
        told(&controller(
            "limits:\n  accountIds: [12345]\n  rolePathPrefixes: [/fleet, \"/web/*\"]\n  kmsKeyArns: [alias/x, \"arn:aws:kms:*\"]\n\
             \x20 s3BucketNames: [\"Audit-*\", 5]\n  cloudWatchLogGroupNames: [\"/ssm/${x}\"]"
        )),
        @r#"
        web.yaml:6:18: `12345` is not an AWS account id
           at spec.limits.accountIds[0]
           |
         6 |     accountIds: [12345]
           |                  ^^^^^
        hint: an account id has exactly 12 digits; write it in quotes: "111122223333"

        web.yaml:7:24: `/fleet` is not the beginning of a role's path
           at spec.limits.rolePathPrefixes[0]
           |
         7 |     rolePathPrefixes: [/fleet, "/web/*"]
           |                        ^^^^^^
        hint: begin and end it with `/`, as in `/fleet/`; `/` alone is every path

        web.yaml:7:32: `/web/*` is not the beginning of a role's path
           at spec.limits.rolePathPrefixes[1]
           |
         7 |     rolePathPrefixes: [/fleet, "/web/*"]
           |                                ^^^^^^^^
        hint: it is a beginning, without wildcards and variables: `/fleet/` is that path and all below it

        web.yaml:8:18: `alias/x` is the name of an alias: a policy needs the key's ARN
           at spec.limits.kmsKeyArns[0]
           |
         8 |     kmsKeyArns: [alias/x, "arn:aws:kms:*"]
           |                  ^^^^^^^
        hint: `aws kms describe-key --key-id alias/NAME --query KeyMetadata.Arn` prints it

        web.yaml:8:27: `arn:aws:kms:*` is not a pattern that the ARN of a key can fit
           at spec.limits.kmsKeyArns[1]
           |
         8 |     kmsKeyArns: [alias/x, "arn:aws:kms:*"]
           |                           ^^^^^^^^^^^^^^^
        hint: a pattern has all parts of a key's ARN: arn:aws:kms:*:111122223333:key/*

        web.yaml:9:21: `Audit-*` is not a pattern that the name of a bucket can fit
           at spec.limits.s3BucketNames[0]
           |
         9 |     s3BucketNames: ["Audit-*", 5]
           |                     ^^^^^^^^^
        hint: bucket names have 3 to 63 small letters, digits, `.` or `-`

        web.yaml:9:32: expected text, found a number
           at spec.limits.s3BucketNames[1]
           |
         9 |     s3BucketNames: ["Audit-*", 5]
           |                                ^
        hint: put it in quotes

        web.yaml:10:31: `/ssm/${x}` is not a pattern that the name of a log group can fit
            at spec.limits.cloudWatchLogGroupNames[0]
            |
         10 |     cloudWatchLogGroupNames: ["/ssm/${x}"]
            |                               ^^^^^^^^^^^
        hint: a limit holds no variables: write names, with `*` for any characters and `?` for one
        "#
    );
}

#[test]
fn the_controllers_settings_are_a_manifest_too() {
    let text = |spec: &str| {
        format!(
            "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: ControllerConfiguration\nmetadata: {{name: c}}\n{spec}"
        )
    };
    let parsed = parse("c.yaml", text("spec: {suspend: true, resyncInterval: 1h30m, defaultMode: observe}").as_bytes());
    let configuration = &parsed.configurations[0];
    assert_eq!(configuration.resync_interval, Some(Duration::from_secs(5400)));
    assert_eq!((configuration.suspend, configuration.default_mode), (true, Mode::Observe));
    assert!(parse("c.yaml", text("").as_bytes()).faults.is_empty());
    for bad in ["25h", "0s", "60", "1 minute"] {
        let told = told(&text(&format!("spec: {{resyncInterval: \"{bad}\"}}")));
        assert!(told.contains("is not a time from 1s to 24h"), "{told}");
    }
    let outside = parse_controller_configuration("c.yaml", manifest("roles: [web]").as_bytes());
    assert_eq!(outside.faults.len(), 1);
    assert_eq!(parse_controller_configuration("c.yaml", b"# nothing\n").faults.len(), 1);
}

#[test]
fn change_events_come_by_a_queue_and_let_the_resync_be_rarer() {
    let url = "https://sqs.us-east-1.amazonaws.com/111122223333/iam-changes";
    let given = operator(&format!("changeEvents: {{queueUrl: {url}}}\nresyncIntervalWithEvents: 30m"));
    assert_eq!(given.queue_url.unwrap().as_str(), url);
    assert_eq!(given.resync_interval_with_events, Some(Duration::from_secs(1800)));
    let given = operator(&format!("changeEvents: {{queueUrl: {url}}}"));
    assert_eq!((given.queue_url.is_some(), given.resync_interval_with_events), (true, None));
    assert_eq!(operator("suspend: false").queue_url, None);
    let equal = format!("resyncInterval: 24h\nresyncIntervalWithEvents: 24h\nchangeEvents: {{queueUrl: {url}}}");
    assert!(operator(&equal).resync_interval_with_events.is_some());
}

#[test]
fn what_cannot_be_listened_to_and_a_resync_that_events_would_hasten_are_faults() {
    let faults = |spec: &str| {
        let parsed = parse("c.yaml", controller(spec).as_bytes());
        parsed.faults.iter().map(|fault| format!("{}: {}", fault.path, fault.message)).collect::<Vec<_>>()
    };
    let events = "changeEvents: {queueUrl: http://127.0.0.1:5000/111122223333/a}";
    for (spec, expected) in [
        (
            "changeEvents: {queueUrl: iam-changes}".to_owned(),
            "spec.changeEvents.queueUrl: `iam-changes` is not the URL of a queue",
        ),
        (
            "changeEvents: {queueUrl: https://sqs.us-east-1.amazonaws.com/111122223333/a.fifo}".to_owned(),
            "spec.changeEvents.queueUrl: `https://sqs.us-east-1.amazonaws.com/111122223333/a.fifo` is a FIFO queue: one \
             event that cannot be read would hold up all behind it",
        ),
        (
            format!("{events}\nresyncIntervalWithEvents: 59s"),
            "spec.resyncIntervalWithEvents: `resyncIntervalWithEvents` (59s) is less than `resyncInterval` (1m 0s)",
        ),
        (
            format!("{events}\nresyncInterval: 10m\nresyncIntervalWithEvents: 5m"),
            "spec.resyncIntervalWithEvents: `resyncIntervalWithEvents` (5m 0s) is less than `resyncInterval` (10m 0s)",
        ),
        (
            format!("{events}\nresyncIntervalWithEvents: 25h"),
            "spec.resyncIntervalWithEvents: `25h` is not a time from 1s to 24h",
        ),
        (
            format!("{events}\nresyncInterval: soon\nresyncIntervalWithEvents: 5s"),
            "spec.resyncInterval: `soon` is not a time from 1s to 24h",
        ),
        (
            "resyncIntervalWithEvents: 30m".to_owned(),
            "spec.resyncIntervalWithEvents: `resyncIntervalWithEvents` has no effect without `changeEvents`",
        ),
    ] {
        assert_eq!(faults(&spec), [expected]);
    }
    assert_eq!(faults("changeEvents: {}").len(), 1);
    assert_eq!(faults("changeEvents: {queueURL: a}").len(), 2, "the unknown key, and the one that is missing");
}
