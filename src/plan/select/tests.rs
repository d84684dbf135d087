//! Tables: one role, one selector, and whether it is picked.

use super::*;
use crate::{
    few::Few,
    inventory::{Asked, Documents, OthersDigest, RoleArn, RoleKind, Surroundings, SurroundingsKind, Unread},
    manifest::parse,
    policy::limits::Limits,
};

const EC2: &str = r#"{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}"#;
const SSM: &str = r#"{"Effect":"Allow","Principal":{"Service":"ssm.amazonaws.com"},"Action":"sts:AssumeRole"}"#;
const DENY: &str = r#"{"Effect":"Deny","Principal":"*","Action":"sts:AssumeRole"}"#;

fn account() -> AccountId {
    "111122223333".parse().unwrap()
}

fn manifests(spec: &str) -> ManifestSet {
    let text = format!(
        "{{apiVersion: ssm-role-controller.dev/v1alpha1, kind: SessionManagerPermissions, metadata: {{name: m}}, spec: {{{spec}}}}}"
    );
    let parsed = parse("m.yaml", text.as_bytes());
    assert_eq!(parsed.faults, []);
    ManifestSet::of([&parsed], None).0
}

fn role(name: &str, path: &str, partition: &str, trust: &[&str]) -> Role {
    let trust = format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, trust.join(","));
    let kind = SurroundingsKind {
        arn: RoleArn::new(&format!("arn:{partition}:iam::111122223333:role{path}{name}"), path, name),
        trust: Documents::default().intern(&trust),
        attached: Vec::new(),
        boundary: None,
        instance_profiles: Box::default(),
        others: Few::default(),
    };
    let surroundings = Surroundings { kind: Arc::new(kind), inline_size: 0, others_digest: OthersDigest::default() };
    let mut role = Role { name: name.parse().unwrap(), kind: RoleKind::at(path), surroundings: Some(surroundings) };
    role.tags.insert("Team".into(), "a".into());
    role
}

fn inventory(observed: impl IntoIterator<Item = (&'static str, Observed)>) -> Inventory {
    let mut inventory = Inventory::empty(&Asked::default());
    observed.into_iter().for_each(|(name, observed)| inventory.insert(&name.parse().unwrap(), observed));
    inventory
}

fn circumstances() -> Circumstances {
    Circumstances {
        own_roles: ["keeper".parse().unwrap()].into(),
        limits: Limits {
            role_path_prefixes: Some(vec!["/a/".to_owned(), "/aws-reserved/".to_owned()]),
            ..Limits::default()
        }
        .into(),
        ..Circumstances::default()
    }
}

/// What becomes of one role; none where it is not even meant.
fn fate(spec: &str, role: Role) -> Option<Result<(), PassedOver>> {
    let (name, set) = (role.name.clone(), manifests(spec));
    let mut inventory = Inventory::empty(&Asked::default());
    inventory.insert(&name, Observed::Found(Arc::new(role)));
    let account = account();
    let selected = select(&set, Whose::own(&account), &inventory, &circumstances(), &Selection::default());
    let picks = &selected.picks[0];
    assert_eq!(picks.picked, selected.selection.roles_of("m").count());
    match picks.passed_over.get(&name) {
        Some(why) => Some(Err(why.clone())),
        None => selected.selection.holds("m", &name).then_some(Ok(())),
    }
}

#[test]
fn a_role_is_picked_where_it_matches_may_be_written_to_and_nodes_surely_can_use_it() {
    const ALL: &str = "selector: {nameLike: \"*\"}";
    for (spec, role, expected) in [
        (ALL, role("web", "/a/", "aws", &[EC2]), Some(Ok(()))),
        ("selector: {tags: {team: a}}", role("web", "/a/b/", "aws", &[EC2]), Some(Ok(()))),
        ("selector: {tags: {team: b}}", role("web", "/a/", "aws", &[EC2]), None),
        ("selector: {nameLike: \"*\", exclude: [WEB]}", role("web", "/a/", "aws", &[EC2]), None),
        (ALL, role("web", "/aws-reserved/sso.amazonaws.com/", "aws", &[EC2]), Some(Err(PassedOver::Protected))),
        (ALL, role("web", "/AWS-service-role/x/", "aws", &[EC2]), Some(Err(PassedOver::Protected))),
        (ALL, role("AWSServiceRoleForX", "/a/", "aws", &[EC2]), Some(Err(PassedOver::Protected))),
        (ALL, role("Keeper", "/a/", "aws", &[EC2]), Some(Err(PassedOver::OwnRole))),
        (ALL, role("web", "/", "aws", &[EC2]), Some(Err(PassedOver::OutsideLimits))),
        (ALL, role("web", "/a/", "aws", &[SSM]), Some(Err(PassedOver::TrustRefuses))),
        (ALL, role("web", "/a/", "aws", &[]), Some(Err(PassedOver::TrustRefuses))),
        ("selector: {nameLike: \"*\"}, platform: hybrid", role("web", "/a/", "aws", &[SSM]), Some(Ok(()))),
        (
            "selector: {nameLike: \"*\"}, platform: ecs",
            role("web", "/a/", "aws", &[SSM]),
            Some(Err(PassedOver::TrustRefuses)),
        ),
    ] {
        assert_eq!(fate(spec, role.clone()), expected, "{spec} {role:?}");
    }
}

#[test]
fn what_is_not_sure_is_not_picked_and_said() {
    for (role, why) in [
        (role("web", "/a/", "aws-iso", &[EC2]), "aws-iso"),
        (role("web", "/a/", "aws", &["x"]), "not a policy document"),
        (role("web", "/a/", "aws", &[EC2, DENY]), ""),
        (Role { surroundings: None, ..role("web", "/a/", "aws", &[EC2]) }, "the bulk read is denied"),
    ] {
        match fate("selector: {nameLike: \"*\"}", role.clone()) {
            Some(Err(PassedOver::TrustNotSure(said))) => assert!(said.contains(why), "{said}"),
            other => panic!("{role:?}: {other:?}"),
        }
    }
}

#[test]
fn what_was_picked_stays_so_where_it_could_not_be_read_or_not_in_full_and_goes_where_it_is_gone() {
    let (set, account) = (manifests("selector: {tags: {Team: a}}"), account());
    let whose = Whose::own(&account);
    let found = |role: Role| Observed::Found(Arc::new(role));
    let names = ["a", "b", "c", "d", "e"];
    let before = inventory(names.map(|name| (name, found(role(name, "/a/", "aws", &[EC2])))));
    let before = select(&set, whose, &before, &circumstances(), &Selection::default()).selection;
    assert_eq!(before.roles_of("m").count(), 5);

    let partly = |name, path| Role { surroundings: None, ..role(name, path, "aws", &[]) };
    let unread = Unread { why: String::new(), passes_by_itself: true };
    let now = inventory([
        ("a", found(partly("a", "/a/"))),
        ("b", Observed::Unknown(Some(Box::new(unread)))),
        ("c", Observed::NotFound),
        ("d", found(Role { kind: RoleKind::at("/a/"), ..partly("d", "/a/") })),
        ("f", Observed::Unknown(None)),
    ]);
    let after = select(&set, whose, &now, &circumstances(), &before).selection;
    let kept: Vec<&str> = after.roles_of("m").map(RoleName::as_str).collect();
    assert_eq!(kept, ["a", "b"], "and what a reading does not hold is not picked");
}

#[test]
fn a_selection_outlives_newer_manifests_only_where_the_very_same_selector_is_in_them() {
    let (set, account) = (manifests("selector: {nameLike: \"*\"}"), account());
    let whose = Whose::own(&account);
    let found = inventory([("web", Observed::Found(Arc::new(role("web", "/a/", "aws", &[EC2]))))]);
    let picked = select(&set, whose, &found, &circumstances(), &Selection::default()).selection;
    for (spec, stays) in [
        ("selector: {nameLike: \"*\"}, mode: observe, policyName: Other", 1),
        ("selector: {nameLike: \"**\"}", 0),
        ("selector: {nameLike: \"*\"}, platform: ecs", 0),
        ("selector: {nameLike: \"*\"}, accountId: \"222222222222\"", 0),
        ("roles: [web]", 0),
    ] {
        let mut picked = picked.clone();
        picked.keep_only(&manifests(spec), whose);
        assert_eq!(picked.roles_of("m").count(), stays, "{spec}");
    }
}

#[test]
fn why_a_role_is_not_picked_is_told_by_the_first_part_that_does_not_match() {
    let set = manifests("selector: {pathPrefix: /a/, nameLike: \"web*\"}");
    let why = |role: Role| why_not(&set.permissions()[0], &role, &account(), &circumstances());
    assert_eq!(why(role("web", "/a/", "aws", &[EC2])), None);
    assert_eq!(why(role("x", "/b/", "aws", &[EC2])).unwrap(), "its path does not begin with pathPrefix /a/");
    assert_eq!(why(role("x", "/a/", "aws", &[EC2])).unwrap(), "its name is not like nameLike web*");
    assert_eq!(
        why(role("web", "/a/", "aws", &[SSM])).unwrap(),
        "the selector matches, and passes it over: its trust policy does not admit the platform's service"
    );
}
