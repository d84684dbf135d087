//! What one account makes of what it hears.

use super::*;
use crate::events::heard::Claimed;

const MINUTE: Duration = Duration::from_secs(60);
const HALF_HOUR: Duration = Duration::from_secs(1800);
const SHARED: &str = "arn:aws:iam::111122223333:policy/shared";

fn name(role: &str) -> RoleName {
    role.parse().unwrap()
}

fn change(subject: Subject, call: &str, policy: Option<&str>) -> Change {
    let claimed = Claimed {
        who: Some("arn:aws:iam::111122223333:user/eve".to_owned()),
        issuer: Some("arn:aws:iam::111122223333:role/Admin".to_owned()),
        from: Some("192.0.2.1".to_owned()),
        at: Some("2026-02-16T01:36:00Z".parse().unwrap()),
        ..Claimed::default()
    };
    Change { subject, call: call.to_owned(), policy: policy.map(str::to_owned), claimed }
}

fn put(role: &str) -> Change {
    change(Subject::Role(name(role)), "PutRolePolicy", Some("SessionManagerPermissions"))
}

fn news(what: What, request_id: &str) -> News {
    let account = "111122223333".parse().unwrap();
    let heard = Heard { account, request_id: Some(request_id.to_owned()), at: None, what };
    News::Heard(Box::new(heard), Duration::ZERO)
}

fn changed(change: Change) -> News {
    news(What::Changed(change), "of-somebody-else")
}

/// Web and batch are managed, and both carry the shared policy.
fn concerned(subject: &Subject) -> Vec<RoleName> {
    let managed = [name("web"), name("batch")];
    match subject {
        Subject::Role(role) => managed.into_iter().filter(|ours| ours == role).collect(),
        Subject::ManagedPolicy(arn) => managed.into_iter().filter(|_| arn == SHARED).collect(),
    }
}

fn hearing() -> (Hearing, Instant) {
    let (mut hearing, now) = (Hearing::new("111122223333".parse().unwrap()), Instant::now());
    hearing.configure(Some(HALF_HOUR));
    hearing.take(News::Listening(Listening::Up), concerned, now);
    (hearing, now)
}

fn woken(hearing: &mut Hearing, now: Instant) -> Vec<String> {
    hearing.due(now).roles.into_iter().map(|wake_up| wake_up.role.to_string()).collect()
}

#[test]
fn a_change_wakes_the_managed_role_that_it_is_about_and_no_other() {
    let (mut hearing, now) = hearing();
    hearing.take(changed(put("WEB")), concerned, now);
    hearing.take(changed(put("unmanaged")), concerned, now);
    assert_eq!(hearing.next(now), Some(now));
    assert_eq!(woken(&mut hearing, now), ["web"]);
    let policy = change(Subject::ManagedPolicy(SHARED.to_owned()), "CreatePolicyVersion", None);
    hearing.take(changed(policy), concerned, now + MINUTE);
    assert_eq!(woken(&mut hearing, now + MINUTE), ["batch", "web"]);
}

#[test]
fn our_own_calls_wake_nobody_and_show_that_events_arrive() {
    let (mut hearing, now) = hearing();
    hearing.wrote((&name("web"), &PolicyName::customary()), &RequestId::new("ours"), now);
    hearing.take(news(What::Changed(put("web")), "ours"), concerned, now + MINUTE);
    hearing.take(news(What::Changed(put("web")), "ours"), concerned, now + MINUTE);
    assert_eq!(woken(&mut hearing, now + MINUTE), Vec::<String>::new());
    assert_eq!(hearing.interval(MINUTE, now + MINUTE), HALF_HOUR);
    // Who says that they are us, and has not our request's id, is not.
    hearing.take(changed(put("web")), concerned, now + MINUTE);
    assert_eq!(woken(&mut hearing, now + MINUTE), ["web"]);
}

#[test]
fn the_event_of_a_reading_of_ours_shows_that_events_arrive() {
    let (mut hearing, now) = hearing();
    hearing.take(news(What::Read, "reading"), concerned, now);
    assert_eq!((hearing.interval(MINUTE, now), woken(&mut hearing, now)), (HALF_HOUR, vec![]));
}

#[test]
fn a_reading_that_is_heard_of_does_not_stand_for_a_write_that_is_not() {
    let (mut hearing, now) = hearing();
    hearing.wrote((&name("web"), &PolicyName::customary()), &RequestId::new("write"), now);
    hearing.take(news(What::Read, "reading"), concerned, now);
    assert_eq!(hearing.turned(MINUTE, now).unwrap().name, EventName::EventsFlowing);
    let told = hearing.turned(MINUTE, now + 15 * MINUTE).unwrap();
    assert_eq!((told.name, told.reason), (EventName::EventsStopped, Some("OwnWriteUnheard")));
}

#[test]
fn what_was_lost_on_the_way_makes_everything_be_read() {
    let (mut hearing, now) = hearing();
    hearing.take(News::Lost, concerned, now);
    assert!(hearing.due(now).everything);
}

#[test]
fn the_beginning_and_the_end_of_events_are_told_once_with_the_interval_that_follows() {
    let (mut hearing, now) = hearing();
    assert_eq!(hearing.turned(MINUTE, now), None);
    hearing.take(changed(put("unmanaged")), concerned, now);
    let told = hearing.turned(MINUTE, now).unwrap();
    assert_eq!(told.message, "account 111122223333: change events arrive; everything is checked every 30m 0s");
    assert_eq!((told.name, told.account.as_deref()), (EventName::EventsFlowing, Some("111122223333")));
    assert_eq!(hearing.turned(MINUTE, now), None);
    hearing.take(News::Listening(Listening::Failed), concerned, now);
    let told = hearing.turned(MINUTE, now).unwrap();
    assert_eq!(
        told.message,
        "account 111122223333: the queue of change events cannot be read; everything is checked every 1m 0s"
    );
    assert_eq!((told.name, told.reason), (EventName::EventsStopped, Some("QueueFailed")));
    assert_eq!(hearing.turned(MINUTE, now), None);
}

#[test]
fn an_operator_who_takes_the_queue_away_is_told_nothing() {
    let (mut hearing, now) = hearing();
    hearing.take(changed(put("unmanaged")), concerned, now);
    assert!(hearing.turned(MINUTE, now).is_some());
    hearing.take(News::Listening(Listening::Off), concerned, now);
    assert_eq!((hearing.turned(MINUTE, now), hearing.interval(MINUTE, now)), (None, MINUTE));
}

#[test]
fn who_made_a_change_is_told_as_what_an_event_claims() {
    let (mut hearing, now) = hearing();
    hearing.take(changed(put("web")), concerned, now);
    let tag = change(Subject::Role(name("web")), "TagRole", None);
    hearing.take(changed(tag), concerned, now);
    let shared = change(Subject::ManagedPolicy(SHARED.to_owned()), "CreatePolicyVersion", None);
    hearing.take(changed(shared), |_| vec![name("web")], now);
    let due = hearing.due(now);
    let told = hearing.claims(&due.roles[0], now);
    let by = "is said to be made by arn:aws:iam::111122223333:user/eve from 192.0.2.1 at 2026-02-16T01:36:00Z";
    assert_eq!(
        told.iter().map(|event| event.message.as_str()).collect::<Vec<_>>(),
        [
            format!("role `web` in account 111122223333: PutRolePolicy of its policy `SessionManagerPermissions` {by}"),
            format!("role `web` in account 111122223333: TagRole of it {by}"),
            format!(
                "role `web` in account 111122223333: CreatePolicyVersion of the managed policy {SHARED}, which it carries {by}"
            ),
        ]
    );
    let first = &told[0];
    assert_eq!((first.name, first.role.as_deref()), (EventName::ChangeClaimed, Some("web")));
    assert_eq!(first.policy.as_deref(), Some("SessionManagerPermissions"));
    assert_eq!(first.claimed_call.as_deref(), Some("PutRolePolicy"));
    assert_eq!(first.claimed_by.as_deref(), Some("arn:aws:iam::111122223333:user/eve"));
    assert_eq!(first.claimed_role.as_deref(), Some("arn:aws:iam::111122223333:role/Admin"));
    assert_eq!(first.claimed_from.as_deref(), Some("192.0.2.1"));
    assert_eq!(first.claimed_at.as_deref(), Some("2026-02-16T01:36:00Z"));
    // The same event comes once more: it wakes the role again, and is not told again.
    hearing.take(changed(put("web")), concerned, now + MINUTE);
    let due = hearing.due(now + MINUTE);
    assert_eq!((due.roles.len(), hearing.claims(&due.roles[0], now + MINUTE)), (1, vec![]));
}

#[test]
fn an_alert_names_a_change_that_can_have_made_the_drift_and_only_for_a_while() {
    let (mut hearing, now) = hearing();
    let customary = PolicyName::customary();
    let other = change(Subject::Role(name("web")), "PutRolePolicy", Some("Other"));
    let tag = change(Subject::Role(name("web")), "TagRole", None);
    for change in [put("web"), other.clone(), tag] {
        hearing.take(changed(change), concerned, now);
    }
    assert_eq!(hearing.suspected(&name("web"), &customary, now), None, "not before it is due");
    hearing.due(now);
    assert_eq!(hearing.suspected(&name("WEB"), &customary, now), Some(&put("web")));
    assert_eq!(hearing.suspected(&name("web"), &"Other".parse().unwrap(), now), Some(&other));
    assert_eq!(hearing.suspected(&name("web"), &"Third".parse().unwrap(), now), None);
    assert_eq!(hearing.suspected(&name("batch"), &customary, now), None);
    assert_eq!(hearing.suspected(&name("web"), &customary, now + REMEMBERED), None);
}

#[test]
fn what_a_write_of_ours_has_undone_is_not_named_for_a_later_drift() {
    let (mut hearing, now) = hearing();
    let other = change(Subject::Role(name("web")), "PutRolePolicy", Some("Other"));
    for change in [put("web"), other.clone()] {
        hearing.take(changed(change), concerned, now);
    }
    hearing.due(now);
    hearing.wrote((&name("web"), &PolicyName::customary()), &RequestId::new("ours"), now);
    assert_eq!(hearing.suspected(&name("web"), &PolicyName::customary(), now), None);
    assert_eq!(hearing.suspected(&name("web"), &"Other".parse().unwrap(), now), Some(&other));
}
