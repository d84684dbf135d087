//! The words of events about one policy: what happened, to which role in which account, because of what, and what is next.
//!
//! Pure. What must stay true: what a message says, its fields say too; and however large a difference is, it is one line that
//! somebody reads.

use crate::{
    inventory::LiveDocument,
    manifest::State,
    plan::{Action, Reason, Step, Target},
    policy::compare::{Change, Direction, Drift},
    readiness::Condition,
    telemetry::{Event, EventName, Severity},
    text::shell_word,
};

/// `role R in account A …`, the way in which a message names whom it is about.
pub(super) fn sentence(target: &Target, what: &str) -> String {
    match &target.account {
        Some(account) => format!("role {} in account {account} {what}", target.role),
        None => format!("role {} {what}", target.role),
    }
}

pub(super) fn addressed(name: EventName, target: &Target, message: String) -> Event {
    Event {
        account: target.account.as_ref().map(ToString::to_string),
        role: Some(target.role.to_string()),
        policy: Some(target.policy.to_string()),
        ..Event::new(name, message)
    }
}

/// An event about one policy, with all that the step knows.
pub(super) fn about(name: EventName, step: &Step, what: &str) -> Event {
    let mut message = sentence(&step.target, what);
    if let Some(detail) = &step.detail {
        message.push_str(": ");
        message.push_str(detail);
    }
    with_all_of(step, addressed(name, &step.target, message))
}

/// An event about the sessions of a role.
pub(super) fn about_session(name: EventName, step: &Step, session: &Condition, what: &str) -> Event {
    let is_bad = name.severity() == Severity::Warn;
    Event {
        mode: Some(step.mode.as_str()),
        reason: is_bad.then(|| session.cause.as_str()),
        hint: is_bad.then(|| step.hint_to_explain()),
        manifest: Some(step.manifest.clone()),
        ..addressed(name, &step.target, sentence(&step.target, what))
    }
}

/// A drift: widened is about security, missing and narrowed are about access, each in its own words.
pub(super) fn about_drift(name: EventName, step: &Step) -> Event {
    let Target { policy, .. } = &step.target;
    let lost = || listed(&step.changes, Direction::Lost).unwrap_or_default();
    let gained = || listed(&step.changes, Direction::Gained).unwrap_or_default();
    let (alarm, what) = match step.drift {
        _ if step.state == State::Absent => {
            ("SECURITY", format!("has the policy {policy}, which its manifest wants to be gone: {}", gained()))
        }
        Some(Drift::Missing) => ("ACCESS", format!("has no policy {policy}: no session can be opened through it")),
        Some(Drift::Narrowed) if lost().is_empty() => {
            ("ACCESS", format!("is denied in {policy} what Session Manager needs: {}", gained()))
        }
        Some(Drift::Narrowed) => ("ACCESS", format!("has lost what Session Manager needs from {policy}: {}", lost())),
        Some(Drift::Widened) => {
            ("SECURITY", format!("has gained more in {policy} than its manifest grants: {}", gained()))
        }
        _ if step.live.as_deref().is_some_and(|live| live.parsed().is_err()) => {
            ("ACCESS and SECURITY", format!("has a document in {policy} that cannot be read as a policy"))
        }
        _ => ("ACCESS and SECURITY", format!("has lost from {policy}: {}; and gained: {}", lost(), gained())),
    };
    let news = match name {
        EventName::DriftChanged => "drifted further: it ",
        EventName::DriftStanding => "still stands as it was: it ",
        _ => "",
    };
    let next = match step.action {
        Action::Put | Action::Delete if step.reason.is_some() => "the repair keeps failing",
        Action::Put => "it is being repaired",
        Action::Delete => "it is being removed",
        Action::None if step.reason == Some(Reason::KillSwitch) => {
            "it is only told, not repaired (the kill switch is on)"
        }
        Action::None if step.reason == Some(Reason::Standby) => "the holder of the lease repairs it",
        Action::None => "it is only told, not repaired (mode observe)",
        Action::Blocked if step.reason == Some(Reason::Contended) => "its repair waits",
        Action::Blocked => "it is not repaired",
    };
    let message = format!("{alarm}: {}; {next}", sentence(&step.target, &format!("{news}{what}")));
    with_all_of(step, addressed(name, &step.target, message))
}

fn with_all_of(step: &Step, event: Event) -> Event {
    // Good news needs no next step.
    let reason = step.reason.filter(|_| event.name.severity() == Severity::Warn);
    Event {
        mode: Some(step.mode.as_str()),
        drift: step.drift.filter(|_| step.has_drifted()).map(Drift::as_str),
        gained: listed(&step.changes, Direction::Gained),
        lost: listed(&step.changes, Direction::Lost),
        reason: reason.map(Reason::as_str),
        hint: reason.map(|reason| reason.hint().to_owned()),
        manifest: Some(step.manifest.clone()),
        ..event
    }
}

pub(super) fn contended(target: &Target) -> String {
    format!("is written by somebody else too, again and again, in its policy {}", target.policy)
}

pub(super) fn blocked(step: &Step) -> Event {
    let why = step.reason.map_or("it is held", Reason::explanation);
    about(EventName::DriftBlocked, step, &format!("is not repaired: {why}"))
}

/// What was gained or lost, as one line; `None` where nothing was. A hostile document may differ in thousands of
/// places: nobody reads beyond the first few.
fn listed(changes: &[Change], direction: Direction) -> Option<String> {
    const LONGEST: usize = 2_000;
    let mut list = String::new();
    let mut left_out = 0;
    for change in changes.iter().filter(|change| change.change == direction) {
        let summary = change.summary();
        if !list.is_empty() && list.len() + summary.len() > LONGEST {
            left_out += 1;
            continue;
        }
        if !list.is_empty() {
            list.push_str("; ");
        }
        list.extend(summary.chars().take(LONGEST));
    }
    if left_out > 0 {
        list.push_str(&format!("; and {left_out} more"));
    }
    (!list.is_empty()).then_some(list)
}

/// The AWS CLI line that puts back what stood there before a write.
pub(super) fn undo(target: &Target, before: Option<&LiveDocument>) -> String {
    let (role, policy) = (shell_word(target.role.as_str()), shell_word(target.policy.as_str()));
    match before {
        None => format!("aws iam delete-role-policy --role-name {role} --policy-name {policy}"),
        Some(document) => {
            let text = document.text();
            let compact = serde_json::from_str::<serde_json::Value>(&text).map_or(text, |value| value.to_string());
            format!(
                "aws iam put-role-policy --role-name {role} --policy-name {policy} --policy-document {}",
                shell_word(&compact)
            )
        }
    }
}
