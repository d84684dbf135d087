use super::*;
use crate::manifest::{Fault, parse};

const CONTROLLER: &str =
    "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: ControllerConfiguration\nmetadata: {name: c}\nspec:\n";
const ROLES: &str =
    "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: SessionManagerPermissions\nmetadata: {name: NAME}\nspec:\n";
const ONE: &str = "111122223333";
const TWO: &str = "444455556666";

fn account(id: &str) -> AccountId {
    id.parse().unwrap()
}

fn roles(name: &str, spec: &str) -> String {
    format!("---\n{}  {spec}\n", ROLES.replace("NAME", name))
}

fn read(text: &str) -> (ManifestSet, Vec<Fault>) {
    let parsed = parse("x.yaml", text.as_bytes());
    let (set, faults) = ManifestSet::of([&parsed], None);
    (set, faults)
}

fn faults(text: &str) -> Vec<String> {
    read(text).1.iter().map(|fault| format!("{}: {}", fault.path, fault.message)).collect()
}

fn entries(entries: &str) -> String {
    format!("{CONTROLLER}  accounts:\n{entries}")
}

fn role_of(id: &str) -> String {
    format!("arn:aws:iam::{id}:role/ssm-role-controller")
}

#[test]
fn an_account_is_configured_with_all_that_it_takes_to_enter_it() {
    let text = format!(
        "{}    mode: observe\n    suspend: true\n    resyncInterval: 5m\n    externalId: tenant/42\n    sessionName: ssm\n",
        entries(&format!("  - id: {ONE}\n    assumeRoleArn: {}\n", role_of(ONE)))
    );
    let (set, faults) = read(&text);
    assert_eq!(faults, []);
    let expected = ConfiguredAccount {
        assume_role: Some(role_of(ONE).parse().unwrap()),
        external_id: Some("tenant/42".to_owned()),
        session_name: Some("ssm".to_owned()),
        // The home of the role's partition.
        region: Some("us-east-1".parse().unwrap()),
        resync_interval: Some(Duration::from_secs(300)),
        mode: Some(Mode::Observe),
        suspend: true,
    };
    assert_eq!(set.accounts(), &BTreeMap::from([(account(ONE), expected)]));
    assert!(set.only_observes(&account(ONE)) && set.suspends(&account(ONE)));
    assert_eq!(set.resync_interval(&account(ONE)), Some(Duration::from_secs(300)));
    assert_eq!(set.resync_interval(&account(TWO)), None);
}

#[test]
fn each_partition_has_its_own_home() {
    for (partition, home) in [("aws-cn", "cn-north-1"), ("aws-us-gov", "us-gov-west-1"), ("aws-eusc", "eusc-de-east-1")]
    {
        let role = role_of(ONE).replace("arn:aws:", &format!("arn:{partition}:"));
        let (set, faults) = read(&entries(&format!("  - id: \"{ONE}\"\n    assumeRoleArn: {role}\n")));
        assert_eq!(faults, []);
        assert_eq!(set.accounts()[&account(ONE)].region.as_ref().map(Region::as_str), Some(home));
    }
}

#[test]
fn what_is_wrong_with_an_account_is_told_at_its_place() {
    let entry = |more: &str| faults(&entries(&format!("  - id: \"{ONE}\"\n{more}")));
    let role = role_of(ONE);
    let table = [
        (
            format!("    assumeRoleArn: {}\n", role_of(TWO)),
            "spec.accounts[0].assumeRoleArn: the role is in account 444455556666, not in 111122223333",
        ),
        (
            "    assumeRoleArn: arn:aws:iam::111122223333:user/x\n".to_owned(),
            "spec.accounts[0].assumeRoleArn: `arn:aws:iam::111122223333:user/x` names no role",
        ),
        (
            format!("    assumeRoleArn: {role}\n    region: cn-north-1\n"),
            "spec.accounts[0].region: this is in the partition `aws-cn`, and the account in `aws`",
        ),
        (
            format!("    assumeRoleArn: {role}\n    partition: aws-cn\n"),
            "spec.accounts[0].partition: this is in the partition `aws-cn`, and the account in `aws`",
        ),
        (
            "    partition: aws-new\n".to_owned(),
            "spec.accounts[0].partition: it is not known where the partition `aws-new` has its IAM",
        ),
        ("    region: us-east\n".to_owned(), "spec.accounts[0].region: `us-east` is not the name of a Region"),
        (
            "    externalId: xx\n".to_owned(),
            "spec.accounts[0].externalId: `externalId` has no effect without a role to assume",
        ),
        (
            format!("    assumeRoleArn: {role}\n    externalId: x\n"),
            "spec.accounts[0].externalId: `x` is not an external id",
        ),
        (
            format!("    assumeRoleArn: {role}\n    sessionName: a b\n"),
            "spec.accounts[0].sessionName: `a b` is not the name of a session",
        ),
        ("    resyncInterval: 25h\n".to_owned(), "spec.accounts[0].resyncInterval: `25h` is not a time from 1s to 24h"),
    ];
    for (more, expected) in table {
        assert_eq!(entry(&more), [expected]);
    }
    let twice = format!("  - id: \"{ONE}\"\n    assumeRoleArn: {role}\n").repeat(2);
    assert_eq!(faults(&entries(&twice)), [format!("spec.accounts[1].id: the account {ONE} is configured twice")]);
    let both = format!("  - id: \"{ONE}\"\n  - id: \"{TWO}\"\n");
    assert!(faults(&entries(&both))[0].contains("the controller's own credentials are of one account"));
}

#[test]
fn a_manifest_is_about_one_account_several_or_all_that_are_configured() {
    let configured = entries(&format!(
        "  - id: \"{ONE}\"\n    assumeRoleArn: {}\n  - id: \"{TWO}\"\n    assumeRoleArn: {}\n",
        role_of(ONE),
        role_of(TWO)
    ));
    let text = format!(
        "{configured}{}{}{}{}",
        roles("own", "roles: [own]"),
        roles("one", &format!("{{roles: [one], accountId: {ONE}}}")),
        roles("both", &format!("{{roles: [both], accountIds: [{ONE}, \"{TWO}\"]}}")),
        roles("all", "{roles: [all], accountIds: \"*\"}"),
    );
    let (set, faults) = read(&text);
    assert_eq!(faults, []);
    let named = |id: &str, is_own: bool| {
        let account = account(id);
        let desired = set.desired(Whose { account: &account, is_own }, None);
        desired.policies.keys().map(|(role, _)| role.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(named(ONE, false), ["all", "both", "one"]);
    assert_eq!(named(TWO, false), ["all", "both"]);
    assert_eq!(named("999999999999", true), ["own"]);
    assert_eq!(named(ONE, true), ["all", "both", "one", "own"]);
    assert_eq!(set.role_count(), 6);
}

#[test]
fn all_accounts_are_the_own_one_where_none_is_configured() {
    let (set, faults) = read(&roles("all", "{roles: [all], accountIds: \"*\"}"));
    assert_eq!(faults, []);
    let one = account(ONE);
    assert_eq!(set.desired(Whose::own(&one), None).policies.len(), 1);
    assert_eq!(set.desired(Whose { account: &one, is_own: false }, None).policies.len(), 0);
}

#[test]
fn wrong_accounts_of_a_manifest_are_told() {
    let of = |spec: &str| faults(&roles("x", &format!("{{roles: [a], {spec}}}")));
    for (spec, expected) in [
        ("accountIds: []", "spec.accountIds: no account is named"),
        ("accountIds: all", "spec.accountIds: `all` is not a list of account ids"),
        ("accountIds: [111122223333, \"111122223333\"]", "spec.accountIds[1]: the account 111122223333 is named twice"),
        ("accountIds: [12]", "spec.accountIds[0]: `12` is not an AWS account id"),
        (
            "accountId: 111122223333, accountIds: \"*\"",
            "spec.accountIds: the accounts are given twice: there is an `accountId` too",
        ),
        ("accountIds: true", "spec.accountIds: expected a list, found true or false"),
    ] {
        assert_eq!(of(spec), [expected], "{spec}");
    }
    // Leading zeros stay, with and without quotes.
    let (set, _) = read(&roles("x", "{roles: [a], accountIds: [012345678901]}"));
    assert_eq!(set.permissions()[0].accounts.only(), Some(&account("012345678901")));
}

#[test]
fn an_account_that_is_named_and_not_configured_is_a_fault_and_held() {
    let text = format!(
        "{}{}",
        entries(&format!("  - id: \"{ONE}\"\n    assumeRoleArn: {}\n", role_of(ONE))),
        roles("x", &format!("{{roles: [a], accountIds: [\"{ONE}\", \"{TWO}\"]}}")),
    );
    assert_eq!(faults(&text), [format!("spec.accountIds[1]: account {TWO} is not configured")]);
}

#[test]
fn two_manifests_that_meet_in_one_of_their_accounts_have_to_agree() {
    let text = format!(
        "{}{}",
        roles("x", &format!("{{roles: [a], accountIds: [\"{ONE}\", \"{TWO}\"]}}")),
        roles("y", &format!("{{roles: [A], accountId: \"{TWO}\", mode: observe}}")),
    );
    assert_eq!(faults(&text).len(), 2);
    let (set, _) = read(&text);
    let conflict = |id: &str| {
        let account = account(id);
        let desired = set.desired(Whose { account: &account, is_own: false }, None);
        desired.policies.into_values().next().unwrap().conflict.clone()
    };
    assert_eq!(conflict(ONE), None);
    assert!(conflict(TWO).is_some());
}

#[test]
fn the_mode_of_an_account_is_that_of_manifests_that_name_none() {
    let text = format!(
        "{CONTROLLER}  defaultMode: observe\n  accounts:\n  - id: \"{ONE}\"\n    assumeRoleArn: {}\n    mode: enforce\n{}",
        role_of(ONE),
        roles("x", "{roles: [a], accountIds: \"*\"}"),
    );
    let (set, _) = read(&text);
    let one = account(ONE);
    let desired = set.desired(Whose { account: &one, is_own: false }, None);
    assert_eq!(desired.policies.into_values().next().unwrap().mode, Mode::Enforce);
}
