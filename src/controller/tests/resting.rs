//! Policies at rest: nobody can tell that they are.

use jiff::Timestamp;

use super::*;
use crate::{
    plan::Reason,
    sandbox::RoleChange,
    status::{Board, ConditionStatus, Detail, RoleStatus},
};

const CORE: &str = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore";

fn world() -> Life {
    let right = right();
    Life::with(&[("batch", Some(&right)), ("web", Some(&right))])
}

#[tokio::test(start_paused = true)]
async fn a_policy_at_rest_that_drifts_is_told_and_repaired_as_ever() {
    let life = world().start(&manifest(&["batch", "web"], ""));
    for round in 1..=3 {
        minutes(60 * 5).await;
        assert!(life.sandbox.remove_policy(&life.account, "web", POLICY));
        minutes(5).await;
        assert_eq!(life.live("web"), Some(right()));
        assert_eq!(life.told(), ["drift.detected", "drift.repaired"].repeat(round));
    }
    assert_eq!(life.writes(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_policy_at_rest_whose_role_goes_and_comes_back_is_told_of_once_each() {
    let life = world().start(&manifest(&["batch", "web"], ""));
    minutes(60).await;
    life.sandbox.remove_role(&life.account, "web");
    minutes(60).await;
    assert_eq!(life.told(), ["role.not_found RoleNotFound"]);
    life.sandbox.plant(&life.account, RoleSeed::new("web").policy(POLICY, &right()));
    minutes(60).await;
    assert_eq!(life.told(), ["role.not_found RoleNotFound", "role.found"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_told_before_it_came_to_rest_is_not_told_again() {
    // No instance profile holds the roles: that is told, though their policies are in sync.
    let text = manifest(&["batch", "web"], "");
    let life = world().start(&text);
    minutes(60).await;
    let sessions = || life.all_events().iter().filter(|event| is_about_sessions(event)).count();
    assert_eq!(sessions(), 2);
    life.save(&manifest(&["batch", "web", "ghost"], ""));
    minutes(60).await;
    life.save(&text);
    minutes(60).await;
    assert!(life.sandbox.change_role(&life.account, "web", &RoleChange::default().attach(CORE)));
    minutes(60).await;
    assert_eq!(sessions(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_named_no_more_while_it_rests_is_released_and_its_policy_told() {
    let life = world().start(&manifest(&["batch", "web"], ""));
    minutes(60).await;
    life.save(&manifest(&["batch"], ""));
    minutes(60).await;
    assert_eq!(life.told(), ["role.released", "policy.orphaned"]);
}

#[tokio::test(start_paused = true)]
async fn what_rests_stands_in_the_status_with_the_moment_since_when() {
    let board = Board::default();
    let mut life = world();
    life.sandbox.plant(&life.account, RoleSeed::new("broken"));
    life.manifests.send_replace(set(&manifest(&["batch", "web", "broken"], "  mode: observe\n")));
    let iam = life.sandbox.iam(&life.account).patience(PATIENCE);
    let controller = Controller::new(iam, life.manifests.subscribe(), Options::default()).seen_on(board.clone());
    life.running = Some(tokio::spawn(controller.run(life.shutdown.clone())));
    minutes(60).await;
    let reports = board.accounts(Detail::Roles).await;
    let [report] = &reports[..] else { panic!("{reports:?}") };
    let shown = |role: &RoleStatus| {
        // It was so from the first reading on.
        let stands_for = |since: &str| Timestamp::now().duration_since(since.parse().unwrap());
        let since = |condition: &ConditionStatus| stands_for(&condition.last_transition_time).as_mins() >= 59;
        let since = role.conditions.iter().all(since);
        (role.role.clone(), role.mode.clone(), role.drift.clone(), role.reason.clone(), since)
    };
    let shown: Vec<_> = report.status.roles.iter().map(shown).collect();
    let observe = || "observe".to_owned();
    let observed = Some(Reason::ObserveMode.as_str().to_owned());
    assert_eq!(
        shown,
        [
            ("batch".to_owned(), observe(), None, None, true),
            ("broken".to_owned(), observe(), Some("missing".to_owned()), observed, true),
            ("web".to_owned(), observe(), None, None, true),
        ]
    );
    assert_eq!(report.counts.total(), 3);
}
