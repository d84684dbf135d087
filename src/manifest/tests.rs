//! What the room promises as a whole: from text to permissions or faults.

mod settings;

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

const HEAD: &str =
    "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: SessionManagerPermissions\nmetadata: {name: web}\n";
const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const KEY_2: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ac";
const KEY_3: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ad";

/// A manifest with this `spec`, given as lines without their indentation.
fn manifest(spec: &str) -> String {
    let mut text = format!("{HEAD}spec:\n");
    for line in spec.lines() {
        writeln!(text, "  {line}").unwrap();
    }
    text
}

fn good(spec: &str) -> Permissions {
    let parsed = parse("web.yaml", manifest(spec).as_bytes());
    assert!(parsed.faults.is_empty(), "{}", all(&parsed));
    Permissions::clone(&parsed.permissions[0])
}

fn all(parsed: &Parsed) -> String {
    parsed.faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n")
}

fn told(text: &str) -> String {
    let parsed = parse("web.yaml", text.as_bytes());
    assert!(!parsed.faults.is_empty(), "no fault in {text}");
    all(&parsed)
}

/// The faults of a manifest with this `spec`: path and message.
fn messages(spec: &str) -> Vec<String> {
    let parsed = parse("web.yaml", manifest(spec).as_bytes());
    parsed.faults.iter().map(|fault| format!("{}: {}", fault.path, fault.message)).collect()
}

fn preferences(lines: &str) -> String {
    let mut spec = "roles: [web]\nsessionPreferences:\n".to_owned();
    for line in lines.lines() {
        writeln!(spec, "  {line}").unwrap();
    }
    spec
}

#[test]
fn everything_that_the_format_has_is_read() {
    let permissions = good(&format!(
        "description: Web servers\naccountId: \"012345678901\"\nroles: [web-server, bastion]\nmode: observe\nsuspend: true\n\
         state: present\npolicyName: Other\nnodeRegistration: granted\nplatform: hybrid\nkmsKeyArns: [{KEY}, {KEY_2}]\n\
         logDelivery: {{s3KmsKeyArns: [{KEY_3}], s3BucketOwner: 044455556666}}\nsessionPreferences:\n  kmsKeyId: {KEY}\n\
         \x20 s3BucketName: audit-sessions\n  s3KeyPrefix: /web/\n  s3EncryptionEnabled: false\n\
         \x20 cloudWatchLogGroupName: /ssm/sessions\n  cloudWatchEncryptionEnabled: true\n  cloudWatchStreamingEnabled: true\n\
         \x20 runAsEnabled: true\n  runAsDefaultUser: ''\n  idleSessionTimeout: 20\n  maxSessionDuration: '60'\n\
         \x20 shellProfile: {{windows: '', linux: exec bash}}"
    ));
    assert_eq!(permissions.accounts.only().unwrap().as_str(), "012345678901");
    assert_eq!(permissions.mode, Some(Mode::Observe));
    assert!(permissions.suspend);
    assert_eq!(permissions.policy_name.as_str(), "Other");
    assert_eq!(permissions.platform, Platform::Hybrid);
    assert_eq!(permissions.partition.unwrap().as_str(), "aws");
    let settings = permissions.settings;
    assert_eq!(
        settings.session_keys.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [KEY.to_owned(), KEY_2.to_owned()]
    );
    assert_eq!(settings.bucket_keys.len(), 1);
    assert!(!settings.s3_encryption_enabled);
    assert_eq!(settings.log_group.as_deref(), Some("/ssm/sessions"));
    let bucket = settings.log_bucket.unwrap();
    assert_eq!((bucket.name.as_str(), bucket.prefix.as_deref()), ("audit-sessions", Some("web")));
    assert_eq!(bucket.owner.unwrap().as_str(), "044455556666");
}

#[test]
fn the_least_manifest_names_a_role_and_nothing_else() {
    let permissions = good("roles: [web]");
    assert_eq!(permissions.policy_name, PolicyName::customary());
    assert_eq!((permissions.mode, permissions.suspend, permissions.accounts), (None, false, Accounts::Own));
    assert_eq!(permissions.settings, Settings { s3_encryption_enabled: true, ..Settings::default() });
}

#[test]
fn an_encrypted_bucket_is_asked_for_unless_the_platform_is_ecs() {
    assert!(!good("roles: [web]\nplatform: ecs").settings.s3_encryption_enabled);
    assert!(
        good("roles: [web]\nplatform: ecs\nsessionPreferences: {s3EncryptionEnabled: true}")
            .settings
            .s3_encryption_enabled
    );
}

#[test]
fn an_unquoted_account_id_is_read_exactly_as_it_is_written() {
    assert_eq!(good("roles: [web]\naccountId: 012345678901").accounts.only().unwrap().as_str(), "012345678901");
    assert_eq!(good("roles: [web]\naccountId: 111122223333").accounts.only().unwrap().as_str(), "111122223333");
    assert_eq!(messages("roles: [web]\naccountId: 12345"), ["spec.accountId: `12345` is not an AWS account id"]);
    assert_eq!(messages("roles: [web]\naccountId: 1.5"), ["spec.accountId: expected digits, found a number"]);
}

#[test]
fn empty_text_in_pasted_preferences_means_not_given() {
    let spec = preferences(
        "s3BucketName: \"\"\ns3KeyPrefix: \"\"\ns3EncryptionEnabled: true\ncloudWatchLogGroupName: \"\"\nkmsKeyId: \"\"\n\
         runAsDefaultUser: \"\"\nidleSessionTimeout: \"\"\nmaxSessionDuration: \"\"\nshellProfile: {windows: \"\", linux: \"\"}",
    );
    assert_eq!(good(&spec).settings, good("roles: [web]").settings);
}

#[test]
fn all_faults_of_shape_are_found_at_once() {
    let text = "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: SessionManagerPermissions\nmetadata:\n  labels: {cost: 12}\n\
                spec:\n  role: [web]\n  mode: enforced\n  suspend: \"yes\"\n  sessionPreferences: [a]\n  kmsKeyArns: x\n";
    insta::assert_snapshot!(told(text), @r#"
    web.yaml:3:1: missing key `name`
       at metadata
       |
     3 | metadata:
       | ^^^^^^^^
    hint: add `name`: the manifest's name, unique among all manifests: small letters, digits, `-` and `.`

    web.yaml:4:18: expected text, found a number
       at metadata.labels.cost
       |
     4 |   labels: {cost: 12}
       |                  ^^
    hint: put it in quotes

    web.yaml:5:1: this manifest has neither `roles` nor a `selector`
       at spec
       |
     5 | spec:
       | ^^^^
    hint: add `roles: [NAME]`, or a `selector` with a `pathPrefix`, `nameLike` or `tags`

    web.yaml:6:3: unknown key `role`
       at spec.role
       |
     6 |   role: [web]
       |   ^^^^
    hint: did you mean `roles`?

    web.yaml:7:9: `enforced` is not one of enforce, observe
       at spec.mode
       |
     7 |   mode: enforced
       |         ^^^^^^^^
    hint: did you mean `enforce`?

    web.yaml:8:12: expected true or false, found text
       at spec.suspend
       |
     8 |   suspend: "yes"
       |            ^^^^^
    hint: write true or false, without quotes

    web.yaml:9:23: expected a map, found a list
       at spec.sessionPreferences
       |
     9 |   sessionPreferences: [a]
       |                       ^
    hint: write `key: value` lines, indented below it

    web.yaml:10:15: expected a list, found text
        at spec.kmsKeyArns
        |
     10 |   kmsKeyArns: x
        |               ^
    hint: write it as a list: `kmsKeyArns: [a, b]`
    "#);
}

#[test]
fn a_fault_of_sense_shows_the_line_and_the_next_step() {
    insta::assert_snapshot!(told(&manifest(&preferences("kmsKeyId: alias/sessions"))), @r"
    web.yaml:7:15: `alias/sessions` is the name of an alias: a policy needs the key's ARN
       at spec.sessionPreferences.kmsKeyId
       |
     7 |     kmsKeyId: alias/sessions
       |               ^^^^^^^^^^^^^^
    hint: `aws kms describe-key --key-id alias/NAME --query KeyMetadata.Arn` prints it
    ");
    insta::assert_snapshot!(told(&manifest("roles:\n- web\n- AWSServiceRoleForECS\n- WEB")), @r"
    web.yaml:7:5: the role `AWSServiceRoleForECS` belongs to AWS
       at spec.roles[1]
       |
     7 |   - AWSServiceRoleForECS
       |     ^^^^^^^^^^^^^^^^^^^^
    hint: IAM lets nobody but AWS change such a role: take it out

    web.yaml:8:5: the role `WEB` is named twice; IAM ignores the case of letters
       at spec.roles[2]
       |
     8 |   - WEB
       |     ^^^
    hint: it is `spec.roles[0]` already: keep one of the two
    ");
}

#[test]
fn unknown_kinds_and_versions_are_told_with_what_to_write() {
    insta::assert_snapshot!(told("apiVersion: v1\nkind: ConfigMap\n"), @r"
    web.yaml:1:13: unknown apiVersion `v1`
       at apiVersion
       |
     1 | apiVersion: v1
       |             ^^
    hint: write `apiVersion: ssm-role-controller.dev/v1alpha1`

    web.yaml:2:7: unknown kind `ConfigMap`
       at kind
       |
     2 | kind: ConfigMap
       |       ^^^^^^^^^
    hint: the kinds are SessionManagerPermissions and ControllerConfiguration; keep other files out of this directory
    ");
    insta::assert_snapshot!(told("apiVersion: ssm-role-controller.dev/v1alpha1\nkind: SessionManagerPermission\n"), @r"
    web.yaml:2:7: unknown kind `SessionManagerPermission`
       at kind
       |
     2 | kind: SessionManagerPermission
       |       ^^^^^^^^^^^^^^^^^^^^^^^^
    hint: did you mean `SessionManagerPermissions`?
    ");
    insta::assert_snapshot!(told("kind: SessionManagerPermissions\nmetadata: {name: a}\nspec: {roles: [a]}\n"), @r"
    web.yaml:1:1: missing key `apiVersion`
       |
     1 | kind: SessionManagerPermissions
       | ^
    hint: write `apiVersion: ssm-role-controller.dev/v1alpha1`
    ");
    insta::assert_snapshot!(told("- a\n"), @r"
    web.yaml:1:1: this document is not a manifest: expected `key: value` lines
       |
     1 | - a
       | ^
    hint: a manifest begins with `apiVersion: ssm-role-controller.dev/v1alpha1` and `kind:`
    ");
    assert!(told("apiVersion: 1\nkind: [x]\n").contains("no `kind`"));
}

#[test]
fn a_selector_is_read_with_all_of_its_parts() {
    let read = good("selector: {pathPrefix: /fleet/, nameLike: web-*, tags: {Team: a b}, exclude: [x?]}");
    assert!(read.roles.is_empty());
    assert_eq!(read.selector.unwrap().to_string(), "pathPrefix /fleet/, nameLike web-*, tag Team=a b, exclude x?");
    let both = good("roles: [web]\nselector: {nameLike: \"*\"}");
    assert_eq!((both.roles.len(), both.selector.is_some()), (1, true));
    assert_eq!(good("roles: [web]").selector, None);
}

#[test]
fn what_is_wrong_with_a_selector_is_told_with_what_to_write() {
    let name =
        |text: &str| format!("spec.selector.nameLike: `{text}` is not a pattern that the name of a role can fit");
    for (spec, told) in [
        ("mode: observe", "spec: this manifest has neither `roles` nor a `selector`".to_owned()),
        ("selector: {}", "spec.selector: this selector is empty: it would pick every role of the account".to_owned()),
        (
            "selector: {exclude: [a]}",
            "spec.selector: this selector only excludes: it would pick every other role of the account".to_owned(),
        ),
        ("roles: []\nselector: {nameLike: a}", "spec.roles: this manifest names no role".to_owned()),
        ("selector: {tags: {}}", "spec.selector.tags: no tag is named".to_owned()),
        ("selector: {nameLike: b, namelike: a}", "spec.selector.namelike: unknown key `namelike`".to_owned()),
        ("selector: [a]", "spec.selector: expected a map, found a list".to_owned()),
        ("selector: {nameLike: \"\"}", name("")),
        ("selector: {nameLike: /fleet/web}", name("/fleet/web")),
        ("selector: {nameLike: \"web[12]\"}", name("web[12]")),
        ("selector: {nameLike: \"${x}\"}", name("${x}")),
        (
            "selector: {nameLike: a, exclude: [b, \"c d\"]}",
            "spec.selector.exclude[1]: `c d` is not a pattern that the name of a role can fit".to_owned(),
        ),
        (
            "selector: {pathPrefix: /fleet}",
            "spec.selector.pathPrefix: `/fleet` is not the beginning of a role's path".to_owned(),
        ),
        (
            "selector: {pathPrefix: /aws-reserved/sso/}",
            "spec.selector.pathPrefix: `/aws-reserved/sso/` is not the beginning of a role's path".to_owned(),
        ),
        ("selector: {tags: {on: true}}", "spec.selector.tags.on: expected text, found true or false".to_owned()),
        ("selector: {tags: {\"a*\": b}}", "spec.selector.tags[\"a*\"]: `a*` is not the key of a tag".to_owned()),
        ("selector: {tags: {a: \"b*\"}}", "spec.selector.tags.a: `b*` is not the value of a tag".to_owned()),
        (
            "selector: {tags: {team: b, Team: c}}",
            "spec.selector.tags.team: the tag `team` is given twice; IAM ignores the case of its key".to_owned(),
        ),
    ] {
        assert_eq!(messages(spec), [told], "{spec}");
    }
}

#[test]
fn a_policy_is_present_unless_it_is_said_to_be_absent() {
    assert_eq!(good("roles: [web]").state, State::Present);
    assert_eq!(good("roles: [web]\nstate: present").state, State::Present);
    let absent = good("roles: [web]\nstate: absent\nmode: observe\nsuspend: true");
    assert_eq!((absent.state, absent.mode, absent.suspend), (State::Absent, Some(Mode::Observe), true));
    insta::assert_snapshot!(told(&manifest("roles: [web]\nstate: Absent")), @r"
    web.yaml:6:10: `Absent` is not one of present, absent
       at spec.state
       |
     6 |   state: Absent
       |          ^^^^^^
    hint: did you mean `absent`?
    ");
    let words: Vec<&serde_json::Value> =
        schema_of(PERMISSIONS).unwrap()["properties"]["spec"]["properties"]["state"]["oneOf"]
            .as_array()
            .unwrap()
            .iter()
            .map(|state| &state["const"])
            .collect();
    assert_eq!(words, ["present", "absent"]);
}

#[test]
fn more_keys_than_a_policy_has_room_for_are_a_fault() {
    let keys = |count: usize| vec![KEY; count].join(", ");
    good(&format!("roles: [web]\nkmsKeyArns: [{}]", keys(128)));
    let found = messages(&format!("roles: [web]\nkmsKeyArns: [{}]", keys(129)));
    assert_eq!(found, ["spec.kmsKeyArns: 129 keys are more than the inline policies of a role have room for"]);
}

#[test]
fn manifests_agree_where_what_they_write_differently_means_the_same_in_their_account() {
    let spec = |owner: &str| {
        format!(
            "accountId: \"111122223333\"\nroles: [web]\nsessionPreferences: {{s3BucketName: audit}}\nlogDelivery: {{{owner}}}"
        )
    };
    let one = parse("one.yaml", manifest(&spec("")).as_bytes());
    let text = manifest(&spec("s3BucketOwner: \"111122223333\"")).replace("name: web", "name: other");
    let other = parse("other.yaml", text.as_bytes());
    let (set, faults) = ManifestSet::of([&one, &other], None);
    assert_eq!(faults, []);
    let desired = set.desired(Whose::own(&"111122223333".parse().unwrap()), None);
    assert!(desired.policies.values().all(|wanted| wanted.conflict.is_none()));
}

#[test]
fn a_whole_preferences_document_is_recognised() {
    let pasted = "schemaVersion: \"1.0\"\nsessionType: Standard_Stream\ninputs: {kmsKeyId: \"\"}";
    insta::assert_snapshot!(told(&manifest(&preferences(pasted))), @r#"
    web.yaml:9:5: this is the whole preferences document: only its `inputs` belong here
       at spec.sessionPreferences.inputs
       |
     9 |     inputs: {kmsKeyId: ""}
       |     ^^^^^^
    hint: paste what stands under `inputs`, without `schemaVersion`, `sessionType` and `inputs` themselves
    "#);
}

#[test]
fn nothing_that_would_act_as_a_wildcard_or_variable_becomes_part_of_a_policy() {
    for (key, value) in [
        ("kmsKeyId", "arn:aws:kms:us-east-1:111122223333:key/*"),
        ("s3BucketName", "audit-*"),
        ("s3BucketName", "audit-${aws:username}"),
        ("s3KeyPrefix", "we?"),
        ("s3KeyPrefix", "${aws:username}"),
        ("cloudWatchLogGroupName", "/ssm/*"),
    ] {
        let bucket = if key == "s3KeyPrefix" { "s3BucketName: audit-sessions\n" } else { "" };
        let found = messages(&preferences(&format!("{bucket}{key}: \"{value}\"")));
        assert!(found.len() == 1 && found[0].contains("in a policy it would act as"), "{value}: {found:?}");
    }
    assert_eq!(messages(&format!("roles: [web]\nkmsKeyArns: [\"{}*\"]", KEY)).len(), 1);
    assert_eq!(messages("roles: [\"web-*\"]"), ["spec.roles[0]: `web-*` is not a role name"]);
}

#[test]
fn names_and_numbers_are_held_to_the_rules_of_their_service() {
    for (lines, expected) in [
        ("s3BucketName: Audit", "not the name of a bucket"),
        ("s3BucketName: audit\ns3KeyPrefix: \"a\\nb\"", "not a prefix"),
        ("s3BucketName: audit\ns3KeyPrefix: 日本", "not a prefix"),
        ("cloudWatchLogGroupName: a b", "not the name of a log group"),
        ("cloudWatchLogGroupName: aws/x", "not the name of a log group"),
        ("cloudWatchLogGroupName: \"arn:aws:logs:us-east-1:111122223333:log-group:x\"", "not the name of a log group"),
        ("idleSessionTimeout: 61", "minutes from 1 to 60"),
        ("idleSessionTimeout: 0", "minutes from 1 to 60"),
        ("maxSessionDuration: \"1441\"", "minutes from 1 to 1440"),
        ("maxSessionDuration: \"+5\"", "minutes from 1 to 1440"),
    ] {
        let found = messages(&preferences(lines));
        assert!(found.len() == 1 && found[0].contains(expected), "{lines}: {found:?}");
    }
    assert_eq!(messages("roles: []"), ["spec.roles: this manifest names no role"]);
    assert_eq!(messages("mode: enforce"), ["spec: this manifest has neither `roles` nor a `selector`"]);
    assert_eq!(messages("roles: [web]\npolicyName: AWSRevokeOlderSessions").len(), 1);
    assert_eq!(messages("roles: [web]\npolicyName: a b"), ["spec.policyName: `a b` is not a policy name"]);
    for name in ["Web", "a_b", "-a", "a..b", "", &"x".repeat(254)] {
        let text = manifest("roles: [web]").replace("name: web", &format!("name: \"{name}\""));
        assert!(told(&text).contains("is not a name for a manifest"), "{name}");
    }
}

#[test]
fn the_keys_of_one_manifest_lie_in_one_partition() {
    let china = "arn:aws-cn:kms:cn-north-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let found = messages(&format!("roles: [web]\nkmsKeyArns: [{KEY}, {china}]"));
    assert_eq!(found, ["spec.kmsKeyArns[1]: this key is in the partition `aws-cn`, another one in `aws`"]);
    assert_eq!(good(&format!("roles: [web]\nkmsKeyArns: [{china}]")).partition.unwrap().as_str(), "aws-cn");
}

#[test]
fn what_would_have_no_effect_without_a_bucket_is_told() {
    let found = messages(&format!("roles: [web]\nlogDelivery: {{s3BucketOwner: 111122223333, s3KmsKeyArns: [{KEY}]}}"));
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn what_is_out_of_shape_is_told_without_follow_ups() {
    let delivery = format!("logDelivery: {{s3BucketOwner: 111122223333, s3KmsKeyArns: [{KEY}]}}");
    for preferences in ["[a]", "{s3BucketName: 5}", "{s3BucketName: ~}", "{s3BucketName: [audit]}"] {
        let found = messages(&format!("roles: [web]\nsessionPreferences: {preferences}\n{delivery}"));
        assert_eq!(found.len(), 1, "{found:?}");
    }
}

#[test]
fn empty_text_is_not_given_also_where_something_else_than_text_belongs() {
    let spec = preferences(
        "s3EncryptionEnabled: \"\"\nrunAsEnabled: \"\"\nshellProfile: \"\"\ncloudWatchStreamingEnabled: ''",
    );
    let spec = format!("{spec}logDelivery: {{s3BucketOwner: \"\", s3KmsKeyArns: \"\"}}");
    assert_eq!(good(&spec).settings, good("roles: [web]").settings);
    assert_eq!(messages(&preferences("s3Bucket: \"\"")).len(), 1, "an unknown key is one, whatever it holds");
    assert_eq!(messages("roles: [web]\nsuspend: \"\"").len(), 1, "nobody pastes this");
}

#[test]
fn the_segments_of_a_prefix_are_names() {
    for prefix in ["a//b", "//a", "a//", ".", "..", "a/./b", "../a", "a/.."] {
        let found = messages(&preferences(&format!("s3BucketName: audit\ns3KeyPrefix: \"{prefix}\"")));
        assert!(found.len() == 1 && found[0].contains("not a prefix"), "{prefix}: {found:?}");
    }
    for prefix in ["/", "/a/", "a/b", "a.b/..c"] {
        good(&preferences(&format!("s3BucketName: audit\ns3KeyPrefix: \"{prefix}\"")));
    }
}

#[test]
fn several_documents_are_read_and_empty_ones_passed_over() {
    let text = format!("---\n{}---\n---\n# nothing\n---\n{}", manifest("roles: [a]"), manifest("roles: [b]\nmode: x"));
    let parsed = parse("web.yaml", text.as_bytes());
    assert_eq!(parsed.permissions.len(), 1);
    assert_eq!((parsed.faults.len(), parsed.faults[0].place.line), (1, 16), "{}", all(&parsed));
    assert!(parse("web.yaml", b"# nothing yet\n---\n").faults.is_empty());
}

#[test]
fn a_document_before_a_syntax_error_is_judged_as_well() {
    let text = format!("{}---\na: b: c\n", manifest("roles: []"));
    assert_eq!(parse("web.yaml", text.as_bytes()).faults.len(), 2);
}

#[test]
fn aliases_may_be_used_and_the_place_is_where_the_alias_stands() {
    let permissions = good(&format!(
        "roles: &all [web]\ndescription: &d x\nkmsKeyArns: [&k {KEY}]\nsessionPreferences: {{kmsKeyId: *k}}"
    ));
    assert_eq!(permissions.settings.session_keys.len(), 1);
    let text = manifest("roles: &r [web]\ndescription: &d alias/x\nsuspend: *r\nsessionPreferences: {kmsKeyId: *d}");
    let told: Vec<String> = parse("a.yaml", text.as_bytes()).faults.iter().map(Fault::headline).collect();
    assert_eq!(
        told,
        [
            "a.yaml:7:12: expected true or false, found a list",
            "a.yaml:8:34: `alias/x` is the name of an alias: a policy needs the key's ARN",
        ]
    );
}

#[test]
fn twenty_thousand_faults_are_told_in_good_time_and_cut_short() {
    let roles: String = (0..20_000).map(|_| "- a/b\n").collect();
    let parsed = parse("web.yaml", manifest(&format!("roles:\n{roles}")).as_bytes());
    let (rest, told) = parsed.faults.split_last().unwrap();
    assert_eq!(told.len(), fault::MOST_FAULTS);
    assert!(told.iter().all(|fault| !fault.hint.as_ref().unwrap().contains("more faults")));
    assert_eq!((rest.message.as_str(), rest.stands_for), ("and 19900 more faults of this file", 19_900));
}

#[test]
fn twenty_thousand_faults_on_one_line_are_counted_and_the_first_ones_told() {
    let keys: String = (0..20_000).map(|at| format!(", k{at}: 1")).collect();
    let parsed = parse("web.yaml", format!("{HEAD}spec: {{roles: [a]{keys}}}\n").as_bytes());
    assert_eq!(parsed.faults.len(), fault::MOST_FAULTS + 1);
    assert_eq!(parsed.faults.iter().map(|fault| fault.stands_for).sum::<usize>(), 20_000);
    assert!(parsed.faults[0].message.contains("`k0`"));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = all(&parse("x.yaml", &bytes));
    }

    #[test]
    fn arbitrary_text_shaped_like_yaml_never_panics_and_shows_no_control_character(
        text in "([ -]{0,4}[a-z&*!\"'#|>{}\\[\\],:?~]{0,6}(: |:\n|\n|\r|\u{1b}|\u{85}|é)?){0,40}",
        spec in any::<bool>(),
    ) {
        let text = if spec { manifest(&text) } else { text };
        let shown = all(&parse("x.yaml", text.as_bytes()));
        prop_assert!(shown.chars().all(|character| character == '\n' || !character.is_control()));
    }

    #[test]
    fn whatever_text_a_key_holds_nothing_but_a_checked_value_comes_out(value in "\\PC{0,40}") {
        let quoted = serde_json::to_string(&value).unwrap();
        let spec = preferences(&format!("s3BucketName: {quoted}\ns3KeyPrefix: {quoted}\ncloudWatchLogGroupName: {quoted}"));
        for permissions in parse("x.yaml", manifest(&spec).as_bytes()).permissions {
            let settings = &permissions.settings;
            let bucket = settings.log_bucket.as_ref();
            let texts = [bucket.map(|bucket| &bucket.name), bucket.and_then(|bucket| bucket.prefix.as_ref()), settings.log_group.as_ref()];
            for text in texts.into_iter().flatten() {
                let opens = ["*", "?", "${"].into_iter().any(|sign| text.contains(sign));
                prop_assert!(!opens && !text.chars().any(char::is_control));
            }
        }
    }
}

#[test]
fn what_is_out_of_shape_does_not_hide_what_makes_no_sense() {
    let text = "apiVersion: ssm-role-controller.dev/v1alpha1
kind: SessionManagerPermissions
metadata: {name: Web}
spec:
  accountId: 012345678901
  roles: [5, web, WEB]
  polcyName: x
  sessionPreferences: {kmsKeyId: alias/x, s3KeyPrefix: ~}
";
    let told: Vec<String> = parse("a.yaml", text.as_bytes())
        .faults
        .iter()
        .map(|fault| format!("{}:{} {}", fault.place.line, fault.place.column, fault.message))
        .collect();
    assert_eq!(
        told,
        [
            "3:18 `Web` is not a name for a manifest",
            "6:11 expected text, found a number",
            "6:19 the role `WEB` is named twice; IAM ignores the case of letters",
            "7:3 unknown key `polcyName`",
            "8:34 `alias/x` is the name of an alias: a policy needs the key's ARN",
            "8:43 there is no value here (null)",
        ]
    );
}
