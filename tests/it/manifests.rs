//! What a set of manifests means together.

mod saves;

use std::path::Path;

use ssm_role_controller::{
    manifest::{Fault, ManifestSet, Mode, Parsed, State, Whose, parse, parse_controller_configuration, schema},
    names::{AccountId, PolicyName, RoleName},
    watch::load,
};

const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/";

fn account(text: &str) -> AccountId {
    text.parse().unwrap()
}

fn manifest(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: SessionManagerPermissions\nmetadata:\n  name: {name}\nspec: {{{spec}}}\n---\n"
    )
}

fn settings(spec: &str) -> String {
    format!(
        "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: ControllerConfiguration\nmetadata:\n  name: c\nspec: {{{spec}}}\n"
    )
}

fn with_key(key: &str) -> String {
    format!("sessionPreferences: {{kmsKeyId: \"{KEY}{key:0>8}-0000-0000-0000-000000000000\"}}")
}

fn set(files: &[(&str, String)]) -> (ManifestSet, Vec<Fault>) {
    let parsed: Vec<Parsed> = files.iter().map(|(name, text)| parse(name, text.as_bytes())).collect();
    ManifestSet::of(&parsed, None)
}

fn told(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n")
}

fn key(role: &str) -> (RoleName, PolicyName) {
    (role.parse().unwrap(), PolicyName::customary())
}

#[test]
fn the_demos_manifests_have_no_fault() {
    let loaded = load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config"), None).unwrap();
    assert!(loaded.faults.is_empty(), "{}", told(&loaded.faults));
    let desired = loaded.set.desired(Whose::own(&account("111122223333")), None);
    let roles: Vec<String> = desired.policies.keys().map(|(role, _)| role.to_string()).collect();
    assert_eq!(roles, ["bastion", "batch-worker", "build-agent", "legacy-app", "web-canary", "web-server"]);
    assert_eq!(desired.policies[&key("legacy-app")].mode, Mode::Observe);
    assert!(loaded.set.configuration().is_some());
}

#[test]
fn the_settings_that_the_examples_show_can_be_used_as_they_stand() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let shown = readme.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let shown = shown.filter(|text| text.contains("kind: ControllerConfiguration")).map(str::to_owned);
    let commented = std::fs::read_to_string(root.join("config/controller.yaml")).unwrap();
    let uncommented = ["limits:", "guards:", "accounts:", " "]
        .iter()
        .fold(commented, |text, key| text.replace(&format!("  # {key}"), &format!("  {key}")));
    let mut count = 0;
    for text in shown.chain([uncommented]) {
        let parsed = parse("example.yaml", text.as_bytes());
        assert!(parsed.faults.is_empty(), "{}", told(&parsed.faults));
        let settings = &parsed.configurations[0];
        assert!(settings.limits.kms_key_arns.is_some() || !settings.accounts.is_empty(), "{text}");
        count += 1;
    }
    assert_eq!(count, 3);
}

#[test]
fn the_schema_describes_both_kinds_for_editors() {
    let schema = schema();
    let kinds: Vec<&str> = schema["oneOf"]
        .as_array()
        .unwrap()
        .iter()
        .map(|kind| kind["properties"]["kind"]["const"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["SessionManagerPermissions", "ControllerConfiguration"]);
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
}

#[test]
fn a_manifest_counts_where_its_account_is_the_one_that_is_asked_for_or_is_not_named() {
    let (set, faults) = set(&[(
        "a.yaml",
        manifest("here", "roles: [a], accountId: \"111122223333\"")
            + &manifest("there", "roles: [b], accountId: \"444455556666\"")
            + &manifest("any", "roles: [c], suspend: true"),
    )]);
    assert!(faults.is_empty(), "{}", told(&faults));
    let here = account("111122223333");
    let desired = set.desired(Whose::own(&here), None);
    assert_eq!(desired.policies.keys().cloned().collect::<Vec<_>>(), [key("a"), key("c")]);
    assert!(desired.policies[&key("c")].suspended && !desired.policies[&key("a")].suspended);
    assert_eq!(set.elsewhere(&here).map(|(other, _)| other.name.as_str()).collect::<Vec<_>>(), ["there"]);
}

#[test]
fn manifests_that_agree_about_a_role_are_fine_and_the_suspended_one_wins() {
    let (set, faults) = set(&[
        ("a.yaml", manifest("a", "roles: [web]")),
        ("b.yaml", manifest("b", "roles: [WEB], suspend: true, mode: enforce")),
    ]);
    assert!(faults.is_empty(), "{}", told(&faults));
    let desired = set.desired(Whose::own(&account("111122223333")), None);
    let policy = &desired.policies[&key("web")];
    assert_eq!((desired.policies.len(), policy.suspended, &policy.conflict), (1, true, &None));
}

#[test]
fn manifests_that_disagree_about_a_role_are_both_told_and_the_policy_is_held() {
    let (set, faults) = set(&[
        ("a.yaml", manifest("a", &format!("roles: [web, x, y, z], {}", with_key("a")))),
        ("b.yaml", manifest("b", &format!("roles: [web, X, y, z, other], {}", with_key("b")))),
        ("c.yaml", manifest("c", "roles: [other], policyName: Another")),
    ]);
    insta::assert_snapshot!(told(&faults), @r"
    a.yaml:4:9: `b` (b.yaml:4) wants the policy `SessionManagerPermissions` of `web`, `x`, `y` and 1 more with other settings: it is held
       at metadata.name
       |
     4 |   name: a
       |         ^
    hint: name the role in one of the two only, let them agree, or give one another `policyName`

    b.yaml:4:9: `a` (a.yaml:4) wants the policy `SessionManagerPermissions` of `web`, `X`, `y` and 1 more with other settings: it is held
       at metadata.name
       |
     4 |   name: b
       |         ^
    hint: name the role in one of the two only, let them agree, or give one another `policyName`
    ");
    let desired = set.desired(Whose::own(&account("111122223333")), None);
    insta::assert_snapshot!(desired.policies[&key("web")].conflict.as_deref().unwrap(), @"`a` (a.yaml:4) and `b` (b.yaml:4) want it differently");
    assert_eq!(desired.policies[&key("other")].conflict, None);
}

#[test]
fn differing_modes_are_a_conflict_too_and_the_default_mode_counts() {
    let files = |default: &str| {
        set(&[
            ("a.yaml", manifest("a", "roles: [web]")),
            ("b.yaml", manifest("b", "roles: [web], mode: observe")),
            ("c.yaml", settings(default)),
        ])
    };
    let (set, faults) = files("defaultMode: enforce");
    assert_eq!(faults.len(), 2, "{}", told(&faults));
    assert!(faults[0].message.contains("in another mode"));
    assert!(set.desired(Whose::own(&account("111122223333")), None).policies[&key("web")].conflict.is_some());
    assert!(files("defaultMode: observe").1.is_empty());
}

#[test]
fn a_manifest_without_account_may_meet_any_other_and_differing_accounts_never_meet() {
    let spec = |id: &str, name: &str| format!("roles: [web], accountId: \"{id}\", {}", with_key(name));
    let apart =
        [("a.yaml", manifest("a", &spec("111122223333", "a"))), ("b.yaml", manifest("b", &spec("444455556666", "b")))];
    assert!(set(&apart).1.is_empty());
    let mut files = apart.to_vec();
    files.push(("c.yaml", manifest("c", &format!("roles: [web], {}", with_key("a")))));
    let (set, faults) = set(&files);
    let files: Vec<&str> = faults.iter().map(|fault| &*fault.place.file).collect();
    assert_eq!(files, ["b.yaml", "c.yaml"]);
    assert_eq!(set.desired(Whose::own(&account("111122223333")), None).policies[&key("web")].conflict, None);
    assert!(set.desired(Whose::own(&account("444455556666")), None).policies[&key("web")].conflict.is_some());
}

#[test]
fn a_name_or_settings_given_twice_are_told_in_both_places() {
    let (_, faults) = set(&[
        ("a.yaml", manifest("same", "roles: [a]") + &settings("")),
        ("b.yaml", manifest("same", "roles: [b]") + &settings("")),
    ]);
    insta::assert_snapshot!(told(&faults), @r"
    a.yaml:4:9: the name `same` is given twice: also in b.yaml:4
       at metadata.name
       |
     4 |   name: same
       |         ^^^^
    hint: every manifest needs a name of its own

    a.yaml:10:9: there is more than one `ControllerConfiguration`: also in b.yaml:10
        at metadata.name
        |
     10 |   name: c
        |         ^
    hint: keep one of them

    b.yaml:4:9: the name `same` is given twice: also in a.yaml:4
       at metadata.name
       |
     4 |   name: same
       |         ^^^^
    hint: every manifest needs a name of its own

    b.yaml:10:9: there is more than one `ControllerConfiguration`: also in a.yaml:10
        at metadata.name
        |
     10 |   name: c
        |         ^
    hint: keep one of them
    ");
}

#[test]
fn a_fault_of_a_file_hides_no_fault_between_files() {
    let (_, faults) = set(&[
        ("a.yaml", manifest("same", "roles: [a]") + &settings("")),
        ("b.yaml", manifest("same", "roles: [b], mode: enforced")),
        ("c.yaml", settings("suspended: true")),
    ]);
    let told: Vec<String> = faults.iter().map(Fault::headline).collect();
    assert_eq!(
        told,
        [
            "a.yaml:4:9: the name `same` is given twice: also in b.yaml:4",
            "a.yaml:10:9: there is more than one `ControllerConfiguration`: also in c.yaml:4",
            "b.yaml:4:9: the name `same` is given twice: also in a.yaml:4",
            "b.yaml:5:26: `enforced` is not one of enforce, observe",
            "c.yaml:4:9: there is more than one `ControllerConfiguration`: also in a.yaml:10",
            "c.yaml:5:8: unknown key `suspended`",
        ]
    );
}

#[test]
fn a_name_is_unique_whatever_the_kind() {
    let (_, faults) = set(&[("a.yaml", manifest("c", "roles: [a]")), ("c.yaml", settings(""))]);
    assert_eq!(faults.len(), 2, "{}", told(&faults));
    assert!(faults.iter().all(|fault| fault.message.contains("the name `c` is given twice")));
}

#[test]
fn manifests_that_yield_the_same_policy_agree_however_they_are_written() {
    let keys = |first: &str, second: &str| format!("roles: [web], kmsKeyArns: [\"{KEY}{first}\", \"{KEY}{second}\"]");
    let (a, b) = ("0000000a-0000-0000-0000-000000000000", "0000000b-0000-0000-0000-000000000000");
    let same = |one: &str, other: &str| {
        let (set, faults) = set(&[("a.yaml", manifest("a", one)), ("b.yaml", manifest("b", other))]);
        faults.is_empty()
            && set.desired(Whose::own(&account("111122223333")), None).policies[&key("web")].conflict.is_none()
    };
    assert!(same(&keys(a, b), &keys(b, a)));
    assert!(same(
        "roles: [web], sessionPreferences: {s3BucketName: audit, s3EncryptionEnabled: true}",
        "roles: [web], sessionPreferences: {s3BucketName: audit, s3EncryptionEnabled: false}"
    ));
    assert!(!same(&keys(a, b), &keys(a, a)));
    assert!(!same("roles: [web]", "roles: [web], nodeRegistration: granted"));
    assert!(!same("roles: [web]", "roles: [web], nodeRegistration: defaultHostManagement"));
}

#[test]
fn manifests_that_want_a_policy_present_and_absent_are_in_conflict_whatever_else_they_say() {
    for other in ["", "mode: observe, ", "suspend: true, "] {
        let (set, faults) = set(&[
            ("a.yaml", manifest("a", &format!("{other}roles: [web]"))),
            ("b.yaml", manifest("b", "roles: [WEB], state: absent")),
        ]);
        assert_eq!(faults.len(), 2, "{}", told(&faults));
        assert!(faults.iter().all(|fault| fault.message.contains("in another state: it is held")));
        let wanted = &set.desired(Whose::own(&account("111122223333")), None).policies[&key("web")];
        assert!(wanted.conflict.is_some());
        assert_eq!(wanted.suspended, other.starts_with("suspend"));
    }
    let (set, faults) = set(&[
        ("a.yaml", manifest("a", "roles: [web], state: absent, suspend: true")),
        ("b.yaml", manifest("b", "roles: [web, x], state: absent")),
    ]);
    assert!(faults.is_empty(), "{}", told(&faults));
    let desired = set.desired(Whose::own(&account("111122223333")), None);
    let states = |role| (desired.policies[&key(role)].state, desired.policies[&key(role)].suspended);
    assert_eq!((states("web"), states("x")), ((State::Absent, true), (State::Absent, false)));
}

/// Limits that admit one of each.
const LIMITS: &str = "limits: {accountIds: [\"111122223333\"], kmsKeyArns: [\"arn:aws:kms:*:111122223333:key/*\"], \
                      s3BucketNames: [audit-sessions], cloudWatchLogGroupNames: [/ssm/*]}";
const FOREIGN_KEY: &str = "arn:aws:kms:us-east-1:444455556666:key/0000000a-0000-0000-0000-000000000000";

#[test]
fn everything_that_is_outside_of_the_limits_is_told_where_it_stands() {
    let text = format!(
        "apiVersion: ssm-role-controller.dev/v1alpha1
kind: SessionManagerPermissions
metadata: {{name: a}}
spec:
  accountId: 444455556666
  roles: [a]
  sessionPreferences:
    kmsKeyId: {FOREIGN_KEY}
    s3BucketName: other
    cloudWatchLogGroupName: /other
  kmsKeyArns: [{FOREIGN_KEY}, {KEY}0000000a-0000-0000-0000-000000000000]
  logDelivery: {{s3KmsKeyArns: [{FOREIGN_KEY}]}}
"
    );
    let files = [("a.yaml", text.clone()), ("b.yaml", manifest("b", "roles: [b]")), ("c.yaml", settings(LIMITS))];
    let (_, faults) = set(&files);
    insta::assert_snapshot!(told(&faults), @r"
    a.yaml:5:14: outside of the limits: account 444455556666 is not among `accountIds`: 111122223333
       at spec.accountId
       |
     5 |   accountId: 444455556666
       |              ^^^^^^^^^^^^
    hint: `spec.limits.accountIds` of the ControllerConfiguration (c.yaml:4) is a ceiling over all manifests: write what it admits, or have it raised

    a.yaml:8:15: outside of the limits: the key arn:aws:kms:us-east-1:444455556666:key/0000000a-0000-0000-0000-000000000000 is not among `kmsKeyArns`: arn:aws:kms:*:111122223333:key/*
       at spec.sessionPreferences.kmsKeyId
       |
     8 |     kmsKeyId: arn:aws:kms:us-east-1:444455556666:key/0000000a-0000-0000-0000-000000000000
       |               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    hint: `spec.limits.kmsKeyArns` of the ControllerConfiguration (c.yaml:4) is a ceiling over all manifests: write what it admits, or have it raised

    a.yaml:9:19: outside of the limits: the bucket other is not among `s3BucketNames`: audit-sessions
       at spec.sessionPreferences.s3BucketName
       |
     9 |     s3BucketName: other
       |                   ^^^^^
    hint: `spec.limits.s3BucketNames` of the ControllerConfiguration (c.yaml:4) is a ceiling over all manifests: write what it admits, or have it raised

    a.yaml:10:29: outside of the limits: the log group /other is not among `cloudWatchLogGroupNames`: /ssm/*
        at spec.sessionPreferences.cloudWatchLogGroupName
        |
     10 |     cloudWatchLogGroupName: /other
        |                             ^^^^^^
    hint: `spec.limits.cloudWatchLogGroupNames` of the ControllerConfiguration (c.yaml:4) is a ceiling over all manifests: write what it admits, or have it raised

    a.yaml:11:16: outside of the limits: the key arn:aws:kms:us-east-1:444455556666:key/0000000a-0000-0000-0000-000000000000 is not among `kmsKeyArns`: arn:aws:kms:*:111122223333:key/*
        at spec.kmsKeyArns[0]
        |
     11 |   kmsKeyArns: [arn:aws:kms:us-east-1:444455556666:key/0000000a-0000-0000-0000-000000000000, arn:aws:kms:us-east-1:111122…
        |                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    hint: `spec.limits.kmsKeyArns` of the ControllerConfiguration (c.yaml:4) is a ceiling over all manifests: write what it admits, or have it raised

    a.yaml:12:32: outside of the limits: the key arn:aws:kms:us-east-1:444455556666:key/0000000a-0000-0000-0000-000000000000 is not among `kmsKeyArns`: arn:aws:kms:*:111122223333:key/*
        at spec.logDelivery.s3KmsKeyArns[0]
        |
     12 |   logDelivery: {s3KmsKeyArns: [arn:aws:kms:us-east-1:444455556666:key/0000000a-0000-0000-0000-000000000000]}
        |                                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    hint: `spec.limits.kmsKeyArns` of the ControllerConfiguration (c.yaml:4) is a ceiling over all manifests: write what it admits, or have it raised
    ");
    // It makes no difference where the ceiling is given.
    let parsed = parse("a.yaml", text.as_bytes());
    let apart = parse_controller_configuration("/etc/c.yaml", settings(LIMITS).as_bytes());
    let (_, from_outside) = ManifestSet::of([&parsed], Some(&apart));
    assert_eq!(from_outside.len(), faults.len());
    assert!(from_outside[0].hint.as_ref().unwrap().contains("/etc/c.yaml:4"));
}

#[test]
fn a_policy_may_be_removed_whatever_it_names_but_not_in_any_account() {
    let spec =
        |account: &str| format!("roles: [a], state: absent, accountId: \"{account}\", kmsKeyArns: [\"{FOREIGN_KEY}\"]");
    let faults = |account| set(&[("a.yaml", manifest("a", &spec(account))), ("c.yaml", settings(LIMITS))]).1;
    assert!(faults("111122223333").is_empty());
    assert_eq!(faults("444455556666").len(), 1);
}

#[test]
fn an_account_that_is_known_only_at_run_time_is_held_against_the_limits_then() {
    let (set, faults) = set(&[("a.yaml", manifest("a", "roles: [a]")), ("c.yaml", settings(LIMITS))]);
    assert!(faults.is_empty(), "{}", told(&faults));
    let outside = |id| set.desired(Whose::own(&account(id)), None).policies[&key("a")].outside.clone();
    assert_eq!(outside("111122223333"), None);
    insta::assert_snapshot!(outside("444455556666").unwrap(), @"account 444455556666 is not among `accountIds`: 111122223333 (spec.limits in c.yaml:4)");
}

#[test]
fn five_thousand_roles_resolve_however_they_are_spread() {
    let spread = |manifests: usize, roles: usize, same: bool| {
        let text: String = (0..manifests)
            .map(|at| {
                let named: Vec<String> =
                    (0..roles).map(|role| if same { "web".to_owned() } else { format!("role-{at}-{role}") }).collect();
                manifest(&format!("m{at}"), &format!("roles: [{}], {}", named.join(", "), with_key(&format!("{at}"))))
            })
            .collect();
        let parsed = parse("all.yaml", text.as_bytes());
        assert!(parsed.faults.is_empty(), "{}", told(&parsed.faults));
        let (set, faults) = ManifestSet::of([&parsed], None);
        let desired = set.desired(Whose::own(&account("111122223333")), None);
        (desired.policies.len(), faults.len())
    };
    assert_eq!(spread(50, 100, false), (5000, 0));
    assert_eq!(spread(5000, 1, false), (5000, 0));
    assert_eq!(spread(5000, 1, true), (1, 5000));
}
