//! What a set of manifests means together, and what stays in force from one save to the next.

use std::path::Path;

use ssm_role_controller::{
    manifest::{
        Fault, Files, ManifestSet, Mode, Parsed, Standing, State, Verdict, Whose, parse,
        parse_controller_configuration, schema,
    },
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

/// What one save after the other leads to.
#[derive(Default)]
struct Saves {
    standing: Standing,
    files: Files,
}

impl Saves {
    fn save(&mut self, changes: &[(&str, Option<&str>)]) -> Verdict {
        for (name, text) in changes {
            match text {
                Some(text) => self.files.tree.insert((*name).to_owned(), Ok(text.as_bytes().to_vec())),
                None => self.files.tree.remove(*name),
            };
        }
        self.standing.take(self.files.clone())
    }
}

fn names(verdict: &Verdict) -> Vec<&str> {
    verdict.set.permissions().iter().map(|permissions| permissions.name.as_str()).collect()
}

#[test]
fn a_broken_save_keeps_the_last_good_version_whole_and_is_told_once() {
    let mut saves = Saves::default();
    let (one, two) = (manifest("one", "roles: [a]"), manifest("two", "roles: [b]"));
    let verdict = saves.save(&[("a.yaml", Some(&one)), ("b.yaml", Some("nonsense"))]);
    assert_eq!((names(&verdict), verdict.accepted.as_slice()), (vec!["one"], &["a.yaml".to_owned()][..]));
    assert_eq!((verdict.rejected[0].file.as_str(), verdict.rejected[0].in_force), ("b.yaml", false));
    // One good document does not save the file.
    let broken = two.clone() + "nonsense";
    let verdict = saves.save(&[("a.yaml", Some(&broken))]);
    assert_eq!((names(&verdict), verdict.rejected.len(), verdict.rejected[0].in_force), (vec!["one"], 1, true));
    let verdict = saves.save(&[]);
    assert!(!verdict.is_news());
    assert_eq!(verdict.faults.len(), 2, "what stands is known also when nothing is new");
    // Another broken version is told, and the first one again after it was good in between.
    assert_eq!(saves.save(&[("a.yaml", Some("other nonsense"))]).rejected.len(), 1);
    assert_eq!(names(&saves.save(&[("a.yaml", Some(&two))])), ["two"]);
    assert_eq!(saves.save(&[("a.yaml", Some(&broken))]).rejected.len(), 1);
    let verdict = saves.save(&[("a.yaml", None)]);
    assert_eq!((names(&verdict).len(), verdict.removed.clone()), (0, vec!["a.yaml".to_owned()]));
}

#[test]
fn a_document_may_move_from_one_file_to_another_in_one_commit() {
    let mut saves = Saves::default();
    let (one, two) = (manifest("one", "roles: [a]"), manifest("two", "roles: [b]"));
    saves.save(&[("a.yaml", Some(&(one.clone() + &two))), ("b.yaml", Some("# nothing yet"))]);
    // The copy comes first: it is refused, and the older place counts.
    let verdict = saves.save(&[("b.yaml", Some(&two))]);
    assert_eq!((names(&verdict), verdict.rejected[0].file.as_str()), (vec!["one", "two"], "b.yaml"));
    // Then it is taken out of the other file: now the copy counts, although it did not change.
    let verdict = saves.save(&[("a.yaml", Some(&one))]);
    assert_eq!(
        (names(&verdict), verdict.accepted.clone()),
        (vec!["one", "two"], vec!["a.yaml".to_owned(), "b.yaml".to_owned()])
    );
    // And back, both in one look.
    let verdict = saves.save(&[("a.yaml", Some(&(one + &two))), ("b.yaml", Some("# nothing"))]);
    assert!(verdict.rejected.is_empty() && verdict.faults.is_empty());
}

#[test]
fn where_a_move_is_half_broken_nothing_of_it_happens() {
    let mut saves = Saves::default();
    let (one, two) = (manifest("one", "roles: [a]"), manifest("two", "roles: [b]"));
    saves.save(&[("a.yaml", Some(&(one.clone() + &two))), ("b.yaml", Some("# nothing yet"))]);
    let verdict = saves.save(&[("a.yaml", Some(&(one + "nonsense"))), ("b.yaml", Some(&two))]);
    assert_eq!((names(&verdict), verdict.rejected.len()), (vec!["one", "two"], 2));
}

#[test]
fn who_comes_second_never_blocks_who_was_first() {
    let mut saves = Saves::default();
    saves.save(&[
        ("controller.yaml", Some(&settings("suspend: false"))),
        ("a.yaml", Some(&manifest("a", "roles: [a]"))),
    ]);
    let second = manifest("a", "roles: [b]");
    let verdict = saves.save(&[("zz.yaml", Some(&settings("suspend: false"))), ("0.yaml", Some(&second))]);
    assert_eq!(verdict.rejected.len(), 2);
    let verdict = saves.save(&[
        ("controller.yaml", Some(&settings("suspend: true"))),
        ("a.yaml", Some(&manifest("a", "roles: [a, c]"))),
    ]);
    assert!(verdict.set.configuration().unwrap().suspend);
    assert_eq!(verdict.set.permissions()[0].roles.len(), 2);
    assert_eq!(verdict.accepted, ["a.yaml", "controller.yaml"]);
    // Two newcomers are equals: neither is chosen.
    let verdict =
        saves.save(&[("x.yaml", Some(&manifest("x", "roles: [x]"))), ("y.yaml", Some(&manifest("x", "roles: [y]")))]);
    assert_eq!((verdict.accepted.len(), verdict.rejected.len()), (0, 2));
    // And where the first gives a name up, the second takes it.
    let verdict = saves.save(&[("a.yaml", Some("# nothing"))]);
    assert_eq!(verdict.accepted, ["0.yaml", "a.yaml"]);
}

#[test]
fn a_role_in_conflict_rejects_no_file_but_stays_told() {
    let mut saves = Saves::default();
    let verdict = saves.save(&[
        ("a.yaml", Some(&manifest("a", &format!("roles: [web], {}", with_key("a"))))),
        ("b.yaml", Some(&manifest("b", &format!("roles: [web], {}", with_key("b"))))),
    ]);
    assert_eq!((names(&verdict), verdict.rejected.len(), verdict.faults.len()), (vec!["a", "b"], 0, 2));
}

#[test]
fn what_cannot_be_read_is_not_taken_for_removed() {
    let mut saves = Saves::default();
    saves.save(&[
        ("config/team/a.yaml", Some(&manifest("a", "roles: [a]"))),
        ("config/b.yaml", Some(&manifest("b", "roles: [b]"))),
    ]);
    let files = saves.files.tree.clone();
    saves.files.tree.remove("config/team/a.yaml");
    saves.files.tree.insert("config/team".to_owned(), Err(Fault::of_file("config/team", "it cannot be read", "…")));
    saves.files.tree.insert("config/b.yaml".to_owned(), Err(Fault::of_file("config/b.yaml", "it cannot be read", "…")));
    let verdict = saves.save(&[]);
    assert_eq!((names(&verdict), verdict.rejected.len()), (vec!["a", "b"], 2));
    saves.files.tree = files;
    assert_eq!(names(&saves.save(&[])), ["a", "b"]);
}

#[test]
fn settings_in_the_tree_are_refused_while_they_are_given_from_outside() {
    let mut saves = Saves::default();
    saves.files.controller_config = Some(("/etc/c.yaml".to_owned(), Ok(settings("suspend: true").into_bytes())));
    let verdict = saves.save(&[("c.yaml", Some(&settings("")))]);
    assert!(verdict.set.configuration().unwrap().suspend);
    assert_eq!(verdict.rejected.len(), 1);
    assert!(verdict.rejected[0].is_configuration && verdict.rejected[0].file == "c.yaml");
    // Broken from outside: the last good settings stay, and those of the tree do not take their place.
    saves.files.controller_config = Some(("/etc/c.yaml".to_owned(), Ok(b"nonsense".to_vec())));
    let verdict = saves.save(&[]);
    assert!(verdict.set.configuration().unwrap().suspend);
    assert_eq!(verdict.rejected.len(), 1);
}

#[test]
fn a_broken_file_that_mentions_a_configuration_is_one() {
    let good = settings("suspend: true");
    let mut no_text = good.clone().into_bytes();
    no_text.push(0xff);
    for broken in [
        (good.clone() + "a: b: c\n").into_bytes(),
        no_text,
        good.replace("spec:", "spec: !!map").into_bytes(),
        good.replace("ControllerConfiguration", "ControllerConfig").into_bytes(),
    ] {
        let mut saves = Saves::default();
        saves.files.tree.insert("c.yaml".to_owned(), Ok(broken.clone()));
        let verdict = saves.save(&[("a.yaml", Some(&manifest("a", "roles: [a]")))]);
        let text = String::from_utf8_lossy(&broken);
        assert!(verdict.rejected.iter().any(|rejected| rejected.is_configuration), "{text}");
    }
    assert!(!parse("a.yaml", b"# about ControllerConfiguration\n").means_configuration, "nothing is wrong with it");
}

#[test]
fn the_kill_switch_outlives_its_file_until_another_configuration_counts() {
    let (on, off) = (settings("suspend: true"), settings("suspend: false"));
    let typo = off.replace("ControllerConfiguration", "ControllerConfig");
    let suspended = |verdict: &Verdict| verdict.set.configuration().is_some_and(|settings| settings.suspend);
    let other = manifest("a", "roles: [a]");
    for moved in [None, Some(("d.yaml", Some(typo.as_str()))), Some(("c.yaml", Some("# nothing")))] {
        let mut saves = Saves::default();
        let verdict = saves.save(&[("c.yaml", Some(&on)), ("a.yaml", Some(&other))]);
        assert!(suspended(&verdict) && !verdict.configuration_kept);
        let mut changes = vec![("c.yaml", None)];
        changes.extend(moved);
        let verdict = saves.save(&changes);
        assert!(suspended(&verdict) && verdict.configuration_kept, "{moved:?}");
        let verdict = saves.save(&[("a.yaml", None)]);
        assert!(suspended(&verdict) && !verdict.configuration_kept, "it is told once");
        let verdict = saves.save(&[("d.yaml", Some(&off))]);
        assert!(!suspended(&verdict) && verdict.set.configuration().is_some());
        let verdict = saves.save(&[("d.yaml", None)]);
        assert!(verdict.configuration_kept);
    }
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

/// The manifests in force that are held by the limits.
fn held(verdict: &Verdict) -> Vec<String> {
    let desired = verdict.set.desired(Whose::own(&account("111122223333")), None);
    let held = desired.policies.values().filter(|wanted| wanted.outside.is_some());
    held.map(|wanted| wanted.manifest.name.clone()).collect()
}

fn with_bucket(name: &str, bucket: &str) -> String {
    manifest(name, &format!("roles: [{name}], sessionPreferences: {{s3BucketName: {bucket}}}"))
}

fn buckets(admitted: &str) -> String {
    settings(&format!("limits: {{s3BucketNames: [{admitted}]}}"))
}

fn bucket_of(verdict: &Verdict, name: &str) -> String {
    let manifest = verdict.set.permissions().iter().find(|permissions| permissions.name == name).unwrap();
    manifest.settings.log_bucket.as_ref().unwrap().name.clone()
}

#[test]
fn a_version_outside_of_the_limits_is_refused_and_the_last_good_one_stays() {
    let mut saves = Saves::default();
    saves.save(&[("c.yaml", Some(&buckets("audit"))), ("a.yaml", Some(&with_bucket("a", "audit")))]);
    let verdict =
        saves.save(&[("a.yaml", Some(&with_bucket("a", "other"))), ("b.yaml", Some(&with_bucket("b", "other")))]);
    let refused: Vec<_> = verdict.rejected.iter().map(|file| (file.file.as_str(), file.in_force)).collect();
    assert_eq!(refused, [("a.yaml", true), ("b.yaml", false)]);
    assert_eq!((names(&verdict), bucket_of(&verdict, "a"), held(&verdict)), (vec!["a"], "audit".to_owned(), vec![]));
    insta::assert_snapshot!(verdict.rejected[0].faults[0], @r"
    a.yaml:5:55: outside of the limits: the bucket other is not among `s3BucketNames`: audit
       at spec.sessionPreferences.s3BucketName
       |
     5 | spec: {roles: [a], sessionPreferences: {s3BucketName: other}}
       |                                                       ^^^^^
    hint: `spec.limits.s3BucketNames` of the ControllerConfiguration (c.yaml:4) is a ceiling over all manifests: write what it admits, or have it raised
    ");
    let verdict = saves.save(&[]);
    assert!(!verdict.is_news(), "it is told once");
    assert_eq!(verdict.faults.len(), 2);
    // The ceiling is raised: what was refused counts, without another save.
    let verdict = saves.save(&[("c.yaml", Some(&buckets("audit, other")))]);
    assert_eq!(verdict.accepted, ["a.yaml", "b.yaml", "c.yaml"]);
    assert_eq!((names(&verdict), bucket_of(&verdict, "a")), (vec!["a", "b"], "other".to_owned()));
    assert!(verdict.faults.is_empty());
}

#[test]
fn limits_are_lowered_whatever_stands_and_what_is_outside_then_is_held_until_they_are_raised() {
    let mut saves = Saves::default();
    saves.save(&[
        ("c.yaml", Some(&buckets("audit, other"))),
        ("a.yaml", Some(&with_bucket("a", "audit"))),
        ("b.yaml", Some(&with_bucket("b", "other"))),
    ]);
    let verdict = saves.save(&[("c.yaml", Some(&buckets("audit")))]);
    assert_eq!((verdict.accepted.clone(), verdict.rejected.len()), (vec!["c.yaml".to_owned()], 0));
    assert_eq!((names(&verdict), held(&verdict)), (vec!["a", "b"], vec!["b".to_owned()]));
    assert_eq!(verdict.faults.len(), 1);
    assert_eq!(&*verdict.faults[0].place.file, "b.yaml");
    // A version that is outside as well is refused, and what is held stays so.
    let more = with_bucket("b", "other") + &with_bucket("b2", "audit");
    let verdict = saves.save(&[("b.yaml", Some(&more))]);
    assert_eq!((names(&verdict), held(&verdict), verdict.rejected.len()), (vec!["a", "b"], vec!["b".to_owned()], 1));
    // Everything returns by itself.
    let verdict = saves.save(&[("c.yaml", Some(&settings("")))]);
    assert_eq!((names(&verdict), held(&verdict)), (vec!["a", "b", "b2"], vec![]));
    assert!(verdict.faults.is_empty());
}

#[test]
fn limits_that_are_lowered_in_the_same_look_as_a_manifest_is_changed_bind_it_at_once() {
    let mut saves = Saves::default();
    saves.save(&[("c.yaml", Some(&buckets("audit, other"))), ("a.yaml", Some(&with_bucket("a", "audit")))]);
    let verdict = saves.save(&[("c.yaml", Some(&buckets("audit"))), ("a.yaml", Some(&with_bucket("a", "other")))]);
    assert_eq!((verdict.accepted.clone(), bucket_of(&verdict, "a")), (vec!["c.yaml".to_owned()], "audit".to_owned()));
    // And a broken ceiling does not lift the one before.
    let verdict = saves.save(&[("c.yaml", Some("kind: ControllerConfiguration"))]);
    assert_eq!(bucket_of(&verdict, "a"), "audit");
    // Nor does one that is gone.
    let verdict = saves.save(&[("c.yaml", None)]);
    assert_eq!((verdict.configuration_kept, bucket_of(&verdict, "a")), (true, "audit".to_owned()));
    assert!(saves.save(&[("b.yaml", Some(&with_bucket("b", "other")))]).accepted.is_empty());
}

#[test]
fn a_file_with_settings_counts_also_where_its_own_manifests_are_outside() {
    let mut saves = Saves::default();
    let both = |admitted: &str, suspend: bool| {
        with_bucket("a", "audit") + &settings(&format!("suspend: {suspend}, limits: {{s3BucketNames: [{admitted}]}}"))
    };
    saves.save(&[("all.yaml", Some(&both("audit", false)))]);
    let verdict = saves.save(&[("all.yaml", Some(&both("", true)))]);
    assert!(verdict.set.configuration().unwrap().suspend);
    assert_eq!((verdict.rejected.len(), held(&verdict), verdict.faults.len()), (0, vec!["a".to_owned()], 1));
    // So it is at the start.
    let verdict = Saves::default().save(&[("all.yaml", Some(&both("", false)))]);
    assert_eq!((verdict.rejected.len(), held(&verdict)), (0, vec!["a".to_owned()]));
}

#[test]
fn a_ceiling_from_outside_of_the_tree_binds_the_tree() {
    let mut saves = Saves::default();
    let ceiling = |admitted: &str| Some(("/etc/c.yaml".to_owned(), Ok(buckets(admitted).into_bytes())));
    saves.files.controller_config = ceiling("audit");
    let verdict =
        saves.save(&[("a.yaml", Some(&with_bucket("a", "other"))), ("b.yaml", Some(&with_bucket("b", "audit")))]);
    assert_eq!((names(&verdict), verdict.rejected.len()), (vec!["b"], 1));
    // A configuration in the tree is refused, and raises nothing.
    let verdict = saves.save(&[("c.yaml", Some(&buckets("audit, other")))]);
    assert_eq!((names(&verdict), verdict.rejected.len()), (vec!["b"], 1));
    saves.files.controller_config = ceiling("other");
    let verdict = saves.save(&[]);
    assert_eq!((names(&verdict), held(&verdict)), (vec!["a", "b"], vec!["b".to_owned()]));
}
