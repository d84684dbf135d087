//! What is told, by the reporter alone.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::*;
use crate::{
    inventory::{Observed, Role, RoleKind},
    manifest::{ManifestSet, Whose, parse},
    plan::{Circumstances, judge},
};

#[test]
fn what_two_ways_to_read_say_by_turns_is_told_once() {
    let text = "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: SessionManagerPermissions\nmetadata: {name: web}\nspec: {roles: [web]}\n---\napiVersion: ssm-role-controller.dev/v1alpha1\nkind: ControllerConfiguration\nmetadata: {name: controller}\nspec: {suspend: true, limits: {rolePathPrefixes: [/fleet/]}}\n";
    let (set, _) = ManifestSet::of([&parse("web.yaml", text.as_bytes())], None);
    let account = "111122223333".parse().unwrap();
    let desired = set.desired(Whose::own(&account), None);
    let wanted = desired.policies.values().next().unwrap();
    let circumstances = Circumstances {
        account: Some(account.clone()),
        own_roles: BTreeSet::new(),
        observe_only: false,
        suspended: true,
        stands_by: false,
        limits: set.limits(),
    };
    let at = |path: &str| {
        let role = Role { name: "web".parse().unwrap(), kind: RoleKind::at(path), surroundings: None };
        judge(wanted, &Observed::Found(role.into()), &circumstances, Timestamp::UNIX_EPOCH)
    };
    let mut reporter = Reporter::default();
    // Lagging pages show the role where it was, and single reads where it is.
    let paths = ["/fleet/", "/", "/fleet/", "/", "/fleet/", "/"].iter().zip(0..);
    let told: Vec<&str> = paths
        .flat_map(|(path, minute)| reporter.observe(&at(path), Duration::from_secs(60 * minute)))
        .map(|event| event.name.as_str())
        .filter(|name| name.starts_with("drift."))
        .collect();
    assert_eq!(told, ["drift.detected", "drift.blocked"]);
}
