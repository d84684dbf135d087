//! Roles by what they are like: picked, passed over, contested and released.

use super::*;
use crate::sandbox::RoleChange;

const TRUST_OF_ECS: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
const NOT_SURE: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"aws:SourceVpc":"vpc-1"}}}]}"#;
const OTHER: &str = "222222222222";

fn selecting(name: &str, selector: &str, more: &str) -> String {
    format!(
        "---\napiVersion: ssm-role-controller.dev/v1alpha1\nkind: SessionManagerPermissions\nmetadata: {{name: {name}}}\nspec:\n  selector: {{{selector}}}\n{more}"
    )
}

fn fleet(more: &str) -> String {
    selecting(
        "fleet",
        "pathPrefix: /fleet/, nameLike: \"web-*\", tags: {sessions: enabled}, exclude: [\"*-legacy\"]",
        more,
    )
}

fn web(name: &str) -> RoleSeed {
    RoleSeed::new(name).path("/fleet/").tag("Sessions", "enabled")
}

impl Life {
    fn of(seeds: impl IntoIterator<Item = RoleSeed>) -> Self {
        let life = Self::with(&[]);
        seeds.into_iter().for_each(|seed| life.sandbox.plant(&life.account, seed));
        life
    }

    fn make(&self, seed: RoleSeed) {
        self.sandbox.make_role(&self.account, seed);
    }

    fn untag(&self, role: &str) {
        assert!(self.sandbox.tag(&self.account, role, "Sessions", None));
    }

    /// The events of this name.
    fn all_of(&self, name: &str) -> Vec<Value> {
        self.events().into_iter().filter(|event| event["event"] == name).collect()
    }

    /// The roles that have their policy, in order.
    fn right_ones(&self) -> Vec<String> {
        let mut roles = self.sandbox.roles(&self.account);
        roles.retain(|role| self.live(role) == Some(right()));
        roles.sort();
        roles
    }
}

#[tokio::test(start_paused = true)]
async fn a_selector_picks_what_every_part_of_it_matches_and_nothing_else() {
    let seeds = [
        web("web-1"),
        web("WEB-2").path("/fleet/below/"),
        web("web-3-legacy"),
        web("web-4").path("/other/"),
        web("batch-1"),
        RoleSeed::new("web-5").path("/fleet/"),
        RoleSeed::new("web-6").path("/fleet/").tag("Sessions", "Enabled"),
    ];
    let life = Life::of(seeds).start(&fleet("  roles: [named]\n"));
    life.make(RoleSeed::new("named"));
    minutes(10).await;
    assert_eq!(life.right_ones(), ["WEB-2", "named", "web-1"], "{:#?}", life.told());
    assert_eq!(life.all_of("role.not_found").len() + life.all_of("selector.empty").len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_role_that_is_made_later_is_taken_up_at_the_next_read() {
    let life = Life::of([web("web-1")]).start(&fleet(""));
    minutes(10).await;
    life.make(web("web-2"));
    life.sandbox.clear_calls();
    sleep(Duration::from_secs(70)).await;
    assert_eq!(life.right_ones(), ["web-1", "web-2"]);
    assert_eq!(life.calls("GetAccountAuthorizationDetails"), 1, "the reading that found it has judged it");
    assert_eq!(life.calls("GetRole"), 0);
    assert_eq!(life.told()[2..], ["drift.detected", "drift.repaired"]);
}

#[tokio::test(start_paused = true)]
async fn a_drift_of_a_picked_role_is_repaired_as_any_other() {
    let life = Life::of([web("web-1"), web("web-2")]).start(&fleet(""));
    minutes(10).await;
    life.sandbox.remove_policy(&life.account, "web-2", POLICY);
    minutes(3).await;
    assert_eq!(life.right_ones(), ["web-1", "web-2"]);
    assert_eq!(life.writes(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_aws_protects_the_controllers_own_role_and_roles_that_nodes_cannot_use_are_never_picked() {
    let both = TRUST_OF_ECS.replace(
        r#"{"Service":"ecs-tasks.amazonaws.com"}"#,
        r#"{"Service":"ec2.amazonaws.com","AWS":"arn:aws:iam::111122223333:root"}"#,
    );
    let life = Life::of([]);
    let there: AccountId = OTHER.parse().unwrap();
    for seed in [
        RoleSeed::new("keeper").trust(&both),
        RoleSeed::new("plain"),
        RoleSeed::new("linked").path("/aws-service-role/ssm.amazonaws.com/"),
        RoleSeed::new("reserved").path("/aws-reserved/sso.amazonaws.com/"),
        RoleSeed::new("AWSServiceRoleForAmazonSSM"),
        RoleSeed::new("task").trust(TRUST_OF_ECS),
        RoleSeed::new("unsure").trust(NOT_SURE),
        RoleSeed::new("unreadable").trust("{"),
    ] {
        life.sandbox.plant(&there, seed);
    }
    let settings = format!(
        "{SETTINGS}  accounts:\n  - {{id: \"{OTHER}\", assumeRoleArn: \"arn:aws:iam::{OTHER}:role/keeper\"}}\n"
    );
    let text = selecting("all", "nameLike: \"*\"", &format!("  accountId: \"{OTHER}\"\n")) + &settings;
    let life = life.start(&text);
    minutes(26 * 60).await;
    let written: Vec<String> = life
        .sandbox
        .roles(&there)
        .into_iter()
        .filter(|role| life.sandbox.document(&there, role, POLICY).is_some())
        .collect();
    assert_eq!((written, life.writes()), (vec!["plain".to_owned()], 1), "{:#?}", life.told());
    let told = life.all_of("selector.passed_over");
    let roles: Vec<&str> = told.iter().map(|event| event["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["unreadable", "unsure"], "each is told once, and what is sure is not told");
    assert!(told[1]["message"].as_str().unwrap().contains("aws:SourceVpc"), "{}", told[1]);

    // The very same selector for tasks picks the others.
    life.save(&text.replace("spec:\n  selector", "spec:\n  platform: ecs\n  selector"));
    minutes(3).await;
    assert!(life.sandbox.document(&there, "task", POLICY).is_some());
}

#[tokio::test(start_paused = true)]
async fn where_its_own_account_is_entered_by_a_role_the_one_that_the_controller_runs_as_is_its_own_too() {
    let both = TRUST_OF_ECS.replace(
        r#"{"Service":"ecs-tasks.amazonaws.com"}"#,
        r#"{"Service":"ec2.amazonaws.com","AWS":"arn:aws:iam::111122223333:root"}"#,
    );
    let base = "ssm-role-controller";
    let life = Life::of([RoleSeed::new("keeper").trust(&both), RoleSeed::new(base), RoleSeed::new("plain")]);
    let settings = format!(
        "{SETTINGS}  accounts:\n  - {{id: \"{0}\", assumeRoleArn: \"arn:aws:iam::{0}:role/keeper\"}}\n",
        life.account
    );
    let named = manifest(&[base], "").replace("name: fleet", "name: named");
    let life = life.start(&format!("{}---\n{named}{settings}", selecting("all", "nameLike: \"*\"", "")));
    minutes(10).await;
    let entered = life.all_of("account.entered")[0]["message"].as_str().unwrap().to_owned();
    assert!(entered.contains("assumed-role/keeper/"), "{entered}");
    let written: Vec<String> = life
        .sandbox
        .roles(&life.account)
        .into_iter()
        .filter(|role| life.sandbox.document(&life.account, role, POLICY).is_some())
        .collect();
    assert_eq!(written, ["plain"], "{:#?}", life.told());
    assert_eq!(life.all_of("drift.blocked")[0]["reason"], "OwnRole");
}

#[tokio::test(start_paused = true)]
async fn a_selector_that_was_corrected_and_picks_nothing_still_is_told_anew() {
    let life = Life::of([web("batch")]).start(&fleet(""));
    minutes(30).await;
    assert_eq!(life.told(), ["selector.empty"]);
    life.save(&fleet("").replace("web-", "wbe-"));
    minutes(30).await;
    assert_eq!(life.told(), ["selector.empty"; 2]);
    let second = &life.all_of("selector.empty")[1];
    assert!(second["message"].as_str().unwrap().contains("wbe-"), "{second}");
}

#[tokio::test(start_paused = true)]
async fn a_selector_that_picks_nothing_is_told_once_and_again_only_after_it_picked_something() {
    let life = Life::of([web("batch")]).start(&fleet(""));
    minutes(26 * 60).await;
    assert_eq!(life.told(), ["selector.empty"]);
    life.make(web("web-1"));
    minutes(5).await;
    assert_eq!(life.told()[1..], ["selector.picks", "drift.detected", "drift.repaired"]);
    life.sandbox.remove_role(&life.account, "web-1");
    minutes(60).await;
    assert_eq!(life.told()[4..], ["role.released", "selector.empty"], "nothing is left behind on a role that is gone");
}

#[tokio::test(start_paused = true)]
async fn that_all_matches_are_passed_over_is_said_where_a_selector_picks_nothing() {
    let life = Life::of([web("web-1").trust(TRUST_OF_ECS), web("web-2").trust(TRUST_OF_ECS)]).start(&fleet(""));
    minutes(60).await;
    assert_eq!(life.told(), ["selector.empty"]);
    let message = life.all_of("selector.empty")[0]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("passes over 2 whose trust policy does not admit"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_role_that_selectors_claim_for_differing_things_is_told_once_and_never_written() {
    for (other, named) in [
        ("  nodeRegistration: granted\n", false),
        ("  mode: observe\n", false),
        ("  state: absent\n", false),
        ("  nodeRegistration: granted\n", true),
    ] {
        let other = if named {
            format!("---\n{}", manifest(&["web-1"], other).replace("name: fleet", "name: other"))
        } else {
            selecting("other", "nameLike: \"*-1\"", other)
        };
        let life = Life::of([web("web-1"), web("web-2")]).start(&format!("{}{other}", fleet("")));
        minutes(23 * 60).await;
        assert_eq!(life.right_ones(), ["web-2"], "{other}");
        let blocked = life.all_of("drift.blocked");
        assert_eq!(blocked.len(), 1, "{other}: {:#?}", life.told());
        assert_eq!((&blocked[0]["role"], &blocked[0]["reason"]), (&"web-1".into(), &"Conflict".into()));
        for name in ["`fleet`", "`other`"] {
            assert!(blocked[0]["message"].as_str().unwrap().contains(name), "{}", blocked[0]);
        }
        life.save(&fleet(""));
        minutes(5).await;
        assert_eq!(life.right_ones(), ["web-1", "web-2"], "{other}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_conflict_that_comes_up_while_the_repair_is_on_its_way_stops_it() {
    let life = Life::of([web("web-1")]);
    life.sandbox.fault(Fault::new(Effect::DelayMs(2_000)).on("GetRolePolicy"));
    let life = life.start(&fleet(""));
    sleep(Duration::from_secs(1)).await;
    life.save(&format!("{}{}", fleet(""), selecting("other", "nameLike: \"web-*\"", "  nodeRegistration: granted\n")));
    minutes(10).await;
    assert_eq!(life.writes(), 0);
    assert_eq!(life.all_of("drift.blocked").len(), 1, "{:#?}", life.told());
}

#[tokio::test(start_paused = true)]
async fn a_repair_under_way_stops_for_another_claim_that_no_reading_has_told_of_so_far() {
    for (selector, other) in [
        ("nameLike: \"web-*\"", "  nodeRegistration: granted\n"),
        ("nameLike: \"web-*\"", "  mode: observe\n"),
        ("nameLike: \"web-*\"", "  suspend: true\n"),
        // A tag that no reading has looked for.
        ("tags: {owner: somebody}", "  nodeRegistration: granted\n"),
    ] {
        let life = Life::of([web("web-1").tag("owner", "somebody")]);
        life.sandbox.fault(Fault::new(Effect::DelayMs(2_000)).on("GetRolePolicy"));
        let life = life.start(&fleet(""));
        sleep(Duration::from_secs(1)).await;
        // The reading that would tell what the newer manifests pick takes its time.
        life.sandbox.fault(Fault::new(Effect::DelayMs(5_000)).on("GetAccountAuthorizationDetails"));
        life.save(&format!("{}{}", fleet(""), selecting("other", selector, other)));
        minutes(10).await;
        assert_eq!(life.writes(), 0, "{selector}, {other}: {:#?}", life.told());
    }
}

#[tokio::test(start_paused = true)]
async fn a_repair_under_way_stops_for_a_role_that_a_reading_by_older_manifests_shows_to_be_claimed() {
    let life = Life::of([web("web-1")]);
    life.sandbox.fault(Fault::new(Effect::DelayMs(7_500)).on("GetRolePolicy"));
    let other = selecting("other", "tags: {owner: somebody}", "  nodeRegistration: granted\n");
    let life = life.start(&format!("{}{other}{SETTINGS}  resyncInterval: 3s\n", fleet("")));
    sleep(Duration::from_secs(1)).await;
    assert!(life.sandbox.tag(&life.account, "web-1", "owner", Some("somebody")));
    // The reading that shows the tag is under way when newer manifests come, which ask for one role more.
    life.sandbox.fault(Fault::new(Effect::DelayMs(3_000)).on("GetAccountAuthorizationDetails"));
    sleep(Duration::from_millis(3_500)).await;
    life.save(&format!("{}{other}{SETTINGS}  resyncInterval: 3s\n", fleet("  roles: [ghost]\n")));
    minutes(10).await;
    assert_eq!(life.writes(), 0, "{:#?}", life.told());
}

#[tokio::test(start_paused = true)]
async fn selectors_that_agree_share_a_role() {
    let other = selecting("other", "tags: {Sessions: enabled}", "");
    let life = Life::of([web("web-1")]).start(&format!("{}{other}", fleet("  roles: [web-1]\n")));
    minutes(10).await;
    assert_eq!((life.told(), life.writes()), (vec!["drift.detected".to_owned(), "drift.repaired".to_owned()], 1));
}

#[tokio::test(start_paused = true)]
async fn a_role_that_stops_matching_is_released_and_nothing_is_removed_from_it() {
    let life = Life::of([web("web-1"), web("web-2")]).start(&fleet(""));
    minutes(10).await;
    life.untag("web-1");
    minutes(30).await;
    assert_eq!(life.told()[4..], ["role.released", "policy.orphaned"]);
    let orphaned = &life.all_of("policy.orphaned")[0];
    assert!(orphaned["remedy"].as_str().unwrap().contains("web-1"), "{orphaned}");
    assert_eq!(life.right_ones(), ["web-1", "web-2"]);
    assert_eq!(life.calls("DeleteRolePolicy"), 0);
    life.sandbox.remove_policy(&life.account, "web-1", POLICY);
    minutes(30).await;
    assert_eq!(life.right_ones(), ["web-2"], "it is nobody's business any more");
}

#[tokio::test(start_paused = true)]
async fn a_role_that_stopped_matching_since_it_was_read_is_not_written() {
    let life = Life::of([web("web-1")]).start(&fleet("  mode: observe\n"));
    minutes(10).await;
    // What readings show may be old: the look before the write is what counts.
    life.sandbox.set_lag(Lag { bulk: Duration::from_secs(600), single: Duration::ZERO });
    life.untag("web-1");
    life.save(&(fleet("") + SETTINGS + "  limits: {rolePathPrefixes: [/fleet/]}\n"));
    minutes(5).await;
    assert_eq!((life.writes(), life.calls("GetRole") > 0), (0, true));
}

#[tokio::test(start_paused = true)]
async fn to_name_a_role_or_to_select_it_makes_no_difference_to_what_is_there_already() {
    let life = Life::of([web("web-1")]).start(&manifest(&["web-1"], ""));
    minutes(10).await;
    for text in
        [fleet(""), selecting("fleet", "nameLike: \"*\"", ""), manifest(&["web-1"], ""), fleet("  roles: [web-1]\n")]
    {
        life.save(&text);
        minutes(10).await;
    }
    assert_eq!(life.told(), ["drift.detected", "drift.repaired"]);
    assert_eq!(life.writes(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_changed_policy_name_is_followed_on_picked_roles_whether_the_selector_changes_with_it_or_not() {
    for next in
        [fleet("  policyName: Sessions\n"), selecting("fleet", "nameLike: \"web-*\"", "  policyName: Sessions\n")]
    {
        let life = Life::of([web("web-1")]).start(&fleet(""));
        minutes(10).await;
        life.save(&next);
        minutes(10).await;
        assert_eq!(life.sandbox.policies(&life.account, "web-1"), ["Sessions"], "{next}: {:#?}", life.told());
        assert_eq!(life.told()[2..], ["drift.detected", "drift.repaired", "policy.removed"], "{next}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_bulk_read_is_denied_what_was_picked_is_kept_and_what_is_new_is_told_not_to_be_found() {
    let life = Life::of([web("web-1"), web("web-2")]).start(&fleet(""));
    minutes(10).await;
    life.sandbox.fault(Fault::new(Effect::Deny).on("GetAccountAuthorizationDetails"));
    life.make(web("web-3"));
    life.sandbox.remove_policy(&life.account, "web-1", POLICY);
    minutes(60).await;
    assert_eq!(life.right_ones(), ["web-1", "web-2"]);
    let told = life.told();
    for once in ["read.degraded AccessDenied", "selector.unresolved AccessDenied"] {
        assert_eq!(told.iter().filter(|told| *told == once).count(), 1, "{told:#?}");
    }
    assert!(!told.iter().any(|told| told == "role.released" || told == "selector.empty"), "{told:#?}");
    // What its own call tells of a role is heeded all the same.
    life.untag("web-2");
    minutes(5).await;
    assert_eq!(life.told().last().unwrap(), "policy.orphaned");

    life.sandbox.clear_faults();
    minutes(30).await;
    assert_eq!(life.right_ones(), ["web-1", "web-2", "web-3"]);
    assert!(life.told().contains(&"selector.resolved".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_failed_read_releases_nothing_that_was_picked() {
    let life = Life::of([web("web-1")]).start(&fleet(""));
    minutes(10).await;
    life.sandbox.fault(Fault::new(Effect::ServerError).on("GetAccountAuthorizationDetails"));
    minutes(60).await;
    life.save(&fleet("  description: edited\n"));
    minutes(60).await;
    assert_eq!(life.told()[2..], ["read.failed Unavailable"], "{:#?}", life.told());
}

#[tokio::test(start_paused = true)]
async fn the_limits_hold_against_a_selector_that_matches_everything() {
    let seeds = [web("web-1"), RoleSeed::new("outside"), RoleSeed::new("beside").path("/fleet-2/")];
    let text = selecting("all", "nameLike: \"*\"", "") + SETTINGS + "  limits: {rolePathPrefixes: [/fleet/]}\n";
    let life = Life::of(seeds).start(&text);
    minutes(60).await;
    assert_eq!(life.right_ones(), ["web-1"]);
    assert_eq!(life.told(), ["drift.detected", "drift.repaired"], "what is outside is not picked, and no alert");
    // A role that moves out of them between reading and write is not written either: paths never change, but names do.
    life.save(&text.replace("[/fleet/]", "[]"));
    life.sandbox.remove_policy(&life.account, "web-1", POLICY);
    minutes(60).await;
    assert_eq!(life.writes(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_guards_hold_against_a_selector_that_matches_everything() {
    for (guards, roles) in [("maxChangesPerHour: 5", 6), ("maxChangePercent: 10", 30), ("maxChangesPerHour: 0", 1)] {
        let life = Life::of((0..roles).map(|number| RoleSeed::new(&format!("role-{number}"))));
        let everything = selecting("all", "nameLike: \"*\"", "");
        let life = life.start(&format!("{everything}{SETTINGS}  guards: {{{guards}}}\n"));
        minutes(3 * 60).await;
        assert_eq!(life.writes(), 0, "{guards}");
        assert_eq!(life.all_of("guard.held").len(), 1, "{guards}: {:#?}", life.told());
    }
}

#[tokio::test(start_paused = true)]
async fn a_share_of_the_managed_roles_is_not_one_of_roles_that_are_passed_over() {
    // Of eleven roles that match, ten cannot be written to: one in ten is none of one.
    let outside = (0..10).map(|number| RoleSeed::new(&format!("outside-{number}")));
    let life = Life::of(outside.chain([web("web-1"), web("web-2")]));
    let settings = "  guards: {maxChangePercent: 20}\n  limits: {rolePathPrefixes: [/fleet/]}\n";
    let life = life.start(&format!("{}{SETTINGS}{settings}", selecting("all", "nameLike: \"*\"", "")));
    minutes(30).await;
    assert_eq!((life.writes(), life.all_of("guard.held").len()), (0, 1), "{:#?}", life.told());
}

#[tokio::test(start_paused = true)]
async fn a_picked_role_whose_trust_no_longer_admits_its_nodes_is_released() {
    let life = Life::of([web("web-1"), web("web-2")]).start(&fleet(""));
    minutes(10).await;
    assert!(life.sandbox.change_role(&life.account, "web-1", &RoleChange::default().trust(TRUST_OF_ECS)));
    minutes(30).await;
    assert_eq!(life.told()[4..], ["role.released", "policy.orphaned"]);
}

#[tokio::test(start_paused = true)]
async fn a_selector_for_an_account_that_nobody_enters_is_told_once() {
    let text = selecting("there", "nameLike: \"*\"", &format!("  accountId: \"{OTHER}\"\n"));
    let life = Life::of([web("web-1")]).start(&text);
    minutes(30).await;
    life.save(&(text + "  description: edited\n"));
    minutes(30).await;
    assert_eq!((life.told(), life.writes()), (vec!["selector.unresolved AccountMismatch".to_owned()], 0));
}
