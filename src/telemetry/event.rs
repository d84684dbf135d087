//! The catalogue of log events: what alerts may rely on.
//!
//! What must stay true: `docs/log-events.md` lists exactly these names (a test holds it), and a name, once
//! released, keeps its meaning.

use std::{fmt, time::Duration};

use serde::Serialize;

macro_rules! catalogue {
    ($($variant:ident, $name:literal, $severity:ident, $says:literal;)*) => {
        /// The stable name of an event, in the field `event`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum EventName {
            $(#[doc = $says] $variant,)*
        }

        impl EventName {
            /// Every event that the program can emit.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name as it stands in the field `event`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// The level under which it is told.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity),* }
            }

            /// When it is told, for the documentation.
            #[must_use]
            pub fn says(self) -> &'static str {
                match self { $(Self::$variant => $says),* }
            }
        }
    };
}

catalogue! {
    DriftDetected, "drift.detected", Warn, "A live policy departs from its manifest. Told once, in every mode; `mode` says whether it will be repaired.";
    DriftChanged, "drift.changed", Warn, "A drift that was told departs in another way now.";
    DriftRepaired, "drift.repaired", Info, "The controller wrote the desired document. `seen_for_seconds` says how long the drift had been seen, `replaced` holds the document that was replaced, `undo` the AWS CLI line that would put it back.";
    DriftEnded, "drift.ended", Info, "A drift is gone without a write of the controller's.";
    DriftBlocked, "drift.blocked", Warn, "A role is not as its manifest wants it, and the controller must not or cannot write. `reason` says why, `hint` what to do.";
    DriftStanding, "drift.standing", Warn, "Daily reminder: the drift, the block or the missing role still stands.";
    SessionNotReady, "session.not_ready", Warn, "`SessionReady` of a role is False: something in IAM surely stands in the way of a session. `reason` says what, the message names the policy and statement. Told once, and again when another thing stands in the way.";
    SessionStanding, "session.standing", Warn, "Daily reminder: `SessionReady` of a role is still False, where no drift of it stands that is reminded of.";
    SessionUnknown, "session.unknown", Warn, "`SessionReady` of a role was known, and is Unknown now: `reason` says what could not be decided.";
    SessionReady, "session.ready", Info, "`SessionReady` of a role is True again, or its node registers with Default Host Management as its manifest asks.";
    RoleNotFound, "role.not_found", Warn, "A manifest names a role that does not exist in the account.";
    RoleFound, "role.found", Info, "A role that was not there exists now.";
    RoleReleased, "role.released", Info, "No manifest names the role and no selector picks it any more: it is left as it is.";
    RoleSuspended, "role.suspended", Warn, "A manifest (`suspend: true`), or the role's tag `ssm-role-controller.dev/suspend`, says to leave the role alone.";
    RoleResumed, "role.resumed", Info, "The role is no longer suspended.";
    PolicyRemoved, "policy.removed", Info, "The controller removed a policy: its manifest says `state: absent`, or has changed its `policyName`. `replaced` holds the document, `undo` the AWS CLI line that would put it back.";
    PolicyOrphaned, "policy.orphaned", Warn, "A policy that a manifest used to ask for is still on the role: nothing was removed. `remedy` holds the manifest that would remove it.";
    PolicyContended, "policy.contended", Warn, "Somebody else undoes the repairs of a policy again and again: the next ones wait longer each time, what grants too much at most five minutes.";
    PolicySettled, "policy.settled", Info, "A contended policy has stayed in sync for half an hour.";
    SelectorEmpty, "selector.empty", Warn, "A manifest's selector picks no role of an account: none matches, or those that match are passed over. Told once, and again where the selector was changed or has picked one meanwhile.";
    SelectorPicks, "selector.picks", Info, "A selector that picked nothing picks roles now.";
    SelectorPassedOver, "selector.passed_over", Warn, "A selector matches a role of which it is not sure that its trust policy admits the platform's service: it is not picked. Told once for each role.";
    SelectorUnresolved, "selector.unresolved", Warn, "It cannot be found out which roles selectors pick: the bulk read is denied, or a manifest is about an account that nobody enters. What was picked before is kept.";
    SelectorResolved, "selector.resolved", Info, "It can be found out again which roles selectors pick.";
    GuardHeld, "guard.held", Warn, "A whole plan is beyond what may change in the account within an hour: nothing of it is written. `digest` is what `apply --approve` asks for.";
    GuardReleased, "guard.released", Info, "No plan is held any more.";
    LedgerFailed, "ledger.failed", Warn, "The file in the state directory that counts an account's writes cannot be read or written: nothing is written to IAM meanwhile.";
    LedgerRecovered, "ledger.recovered", Info, "That file can be read and written again.";
    CanaryFailed, "canary.failed", Warn, "The first of several writes was not found right when it was read back: the rest wait.";
    CanaryProven, "canary.proven", Info, "After a first write that was not found right: one was, and the rest go ahead, or nothing is left to be written.";
    ManifestRejected, "manifest.rejected", Warn, "A file has a fault and is not in force; its last good version, where there is one, stays so. One event for each fault.";
    ManifestAccepted, "manifest.accepted", Info, "A new version of a file is in force.";
    ManifestRemoved, "manifest.removed", Info, "A file is gone; the roles that only it names are released.";
    ReadFailed, "read.failed", Warn, "IAM could not be read, for the account or for one role: nothing is concluded and nothing is written from it.";
    ReadRecovered, "read.recovered", Info, "IAM can be read again.";
    ReadDegraded, "read.degraded", Warn, "The bulk read is denied: roles are read one by one, which costs two calls for each.";
    ReadRestored, "read.restored", Info, "The bulk read is allowed again.";
    PassCompleted, "pass.completed", Debug, "A pass over an account is over. `calls` says how many calls it took, by operation, and how many of them were throttled or failed.";
    ControllerStarted, "controller.started", Info, "The daemon begins its work on an account.";
    ControllerStopped, "controller.stopped", Info, "The daemon has finished its writes in flight and ends.";
    AccountEntered, "account.entered", Info, "A configured account was entered: STS says that the credentials are of it.";
    AccountNotEntered, "account.not_entered", Warn, "A configured account cannot be entered: the role cannot be assumed, or STS names another account. It is tried again, and no other account waits for it.";
    AccountLeft, "account.left", Info, "An account is not configured any more: its roles are left as they are.";
    AccountSuspended, "account.suspended", Warn, "The settings suspend this account: nothing is written there.";
    AccountResumed, "account.resumed", Info, "The settings suspend this account no more.";
    ControllerSuspended, "controller.suspended", Warn, "The kill switch is on: nothing is written anywhere.";
    ControllerResumed, "controller.resumed", Info, "The kill switch is off again.";
    LeaderElected, "leader.elected", Info, "This process holds the lease: it writes from now on, and tells what stands of the roles, as after a start.";
    LeaderStandby, "leader.standby", Info, "Another process holds the lease: this one reads, writes nothing, and tells nothing of roles that the other one tells.";
    LeaderLost, "leader.lost", Warn, "This process holds the lease no more: it could not be renewed in time, or another one has it. No write has begun that might not have ended before.";
    LeaderUnreachable, "leader.unreachable", Warn, "The lease can be neither read nor renewed: nobody takes it over, and whoever holds it stops writing in time. Told once, at the third failure in a row, or at once where a person must act.";
    LeaderReachable, "leader.reachable", Info, "The lease can be read again.";
    LeaderResigned, "leader.resigned", Info, "This process ends and has given the lease up: another one takes over within seconds.";
    ConfigurationKept, "configuration.kept", Warn, "The file of the ControllerConfiguration is gone: its last version stays in force until there is another, or a restart.";
    ManifestsVanished, "manifests.vanished", Warn, "The directory of manifests is gone, cannot be read or holds no manifest. Where it is gone, what was in force stays in force.";
    ManifestsReturned, "manifests.returned", Info, "The directory of manifests can be read again.";
    WatchDegraded, "watch.degraded", Warn, "The system does not tell of changed files: they are looked at on a timer instead.";
    WatchRestored, "watch.restored", Info, "Changed files are told of again.";
    EndpointListening, "endpoint.listening", Info, "An endpoint (health, metrics or status) can be asked, at the address in the message.";
    EndpointFailed, "endpoint.failed", Warn, "An endpoint cannot be served: the port is taken, or the token's file cannot be used. It is tried again; roles are kept all the same.";
    EventsFlowing, "events.flowing", Info, "Change events of an account are seen to arrive: until they stop, the resync interval is `resyncIntervalWithEvents`.";
    EventsStopped, "events.stopped", Warn, "Change events of an account are not seen to arrive any more: the resync interval is the usual one again. `reason` says why: `QueueFailed`, `OwnWriteUnheard` (a write of the controller's own made no event) or `NothingHeard` (perhaps nothing was changed).";
    EventsQueueFailed, "events.queue_failed", Warn, "The queue of change events cannot be read, or its messages cannot be deleted. Told once for each `reason`; everything is still checked at each resync.";
    EventsQueueRecovered, "events.queue_recovered", Info, "The queue of change events works again.";
    EventsMessageRejected, "events.message_rejected", Warn, "A message of the queue is not a change event of a configured account: `reason` says why. What cannot be understood is left for the dead-letter queue, the rest is deleted. Ten within ten minutes are told, the others counted.";
    ChangeClaimed, "change.claimed", Info, "A change event has woken a role. What it says of who made the change is in the fields `claimed_…`: it is the event's word, and nothing is decided by it.";
}

/// How loud an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// For whoever looks into it: `RUST_LOG=ssm_role_controller=debug` shows it.
    Debug,
    /// Worth knowing.
    Info,
    /// Somebody should look.
    Warn,
}

impl fmt::Display for EventName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// One event: a sentence for people, and fields for machines.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Which event it is.
    pub name: EventName,
    /// What happened, to which role in which account, because of what.
    pub message: String,
    /// The next step, where there is one.
    pub hint: Option<String>,
    /// The account.
    pub account: Option<String>,
    /// The role.
    pub role: Option<String>,
    /// The inline policy.
    pub policy: Option<String>,
    /// `enforce` or `observe`.
    pub mode: Option<&'static str>,
    /// The kind of drift.
    pub drift: Option<&'static str>,
    /// What the live policy has and should not.
    pub gained: Option<String>,
    /// What the live policy should have and has not.
    pub lost: Option<String>,
    /// Why, as a stable word.
    pub reason: Option<&'static str>,
    /// How long the drift had been seen.
    pub seen_for_seconds: Option<f64>,
    /// The document that was replaced; empty where there was none.
    pub replaced: Option<String>,
    /// The AWS CLI line that would put the old state back.
    pub undo: Option<String>,
    /// The digest of a plan.
    pub digest: Option<String>,
    /// The manifest that would bring about what the event says is missing.
    pub remedy: Option<String>,
    /// The calls that were made.
    pub calls: Option<String>,
    /// IAM's name for the call by which something was changed, as a change event claims.
    pub claimed_call: Option<String>,
    /// The ARN of whoever made it, as a change event claims.
    pub claimed_by: Option<String>,
    /// The ARN of the role that their session was made from, as a change event claims.
    pub claimed_role: Option<String>,
    /// The address that they called from, as a change event claims.
    pub claimed_from: Option<String>,
    /// When they called, as a change event claims.
    pub claimed_at: Option<String>,
    /// The manifest by its `metadata.name`, or the file.
    pub manifest: Option<String>,
    /// The line of a fault.
    pub line: Option<u64>,
    /// The column of a fault.
    pub column: Option<u64>,
    /// The key's path of a fault.
    pub path: Option<String>,
    /// How the conditions of the role stand: `Synced` and `SessionReady`.
    pub conditions: Vec<TimedCondition>,
}

/// The field that holds conditions: a JSON array as text, which a line of JSON holds as it is.
pub(super) const CONDITIONS: &str = "conditions";

/// A condition of a role, in Kubernetes' form, and since when it has its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedCondition {
    /// `Synced` or `SessionReady`.
    pub r#type: &'static str,
    /// `True`, `False` or `Unknown`.
    pub status: &'static str,
    /// Why, in one CamelCase word.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub message: String,
    /// How long it has had this status, as far as this process has seen.
    pub standing_for: Duration,
}

/// As in Kubernetes' own conditions.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConditionFields<'a> {
    r#type: &'a str,
    status: &'a str,
    reason: &'a str,
    message: &'a str,
    last_transition_time: String,
}

/// Conditions as one JSON text; none where there is nothing to be said.
fn in_kubernetes_form(conditions: &[TimedCondition]) -> Option<String> {
    let now = jiff::Timestamp::now();
    let fields = |condition: &'_ TimedCondition| {
        let since = now.checked_sub(jiff::SignedDuration::try_from(condition.standing_for).ok()?).unwrap_or(now);
        serde_json::to_string(&ConditionFields {
            r#type: condition.r#type,
            status: condition.status,
            reason: condition.reason,
            message: &condition.message,
            last_transition_time: since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        })
        .ok()
    };
    let told: Vec<String> = conditions.iter().filter_map(fields).collect();
    (!told.is_empty()).then(|| format!("[{}]", told.join(",")))
}

impl Event {
    /// An event with nothing but its sentence.
    #[must_use]
    pub fn new(name: EventName, message: impl Into<String>) -> Self {
        Self {
            name,
            message: message.into(),
            hint: None,
            account: None,
            role: None,
            policy: None,
            mode: None,
            drift: None,
            gained: None,
            lost: None,
            reason: None,
            seen_for_seconds: None,
            replaced: None,
            undo: None,
            digest: None,
            remedy: None,
            calls: None,
            claimed_call: None,
            claimed_by: None,
            claimed_role: None,
            claimed_from: None,
            claimed_at: None,
            manifest: None,
            line: None,
            column: None,
            path: None,
            conditions: Vec::new(),
        }
    }
}

/// Tells the event in the log.
pub fn emit(event: &Event) {
    super::counters::count(event);
    let conditions = in_kubernetes_form(&event.conditions);
    macro_rules! tell {
        ($level:expr) => {
            tracing::event!(
                $level,
                event = event.name.as_str(),
                account = event.account.as_deref(),
                role = event.role.as_deref(),
                policy = event.policy.as_deref(),
                mode = event.mode,
                drift = event.drift,
                gained = event.gained.as_deref(),
                lost = event.lost.as_deref(),
                reason = event.reason,
                seen_for_seconds = event.seen_for_seconds,
                replaced = event.replaced.as_deref(),
                undo = event.undo.as_deref(),
                digest = event.digest.as_deref(),
                remedy = event.remedy.as_deref(),
                calls = event.calls.as_deref(),
                claimed_call = event.claimed_call.as_deref(),
                claimed_by = event.claimed_by.as_deref(),
                claimed_role = event.claimed_role.as_deref(),
                claimed_from = event.claimed_from.as_deref(),
                claimed_at = event.claimed_at.as_deref(),
                manifest = event.manifest.as_deref(),
                line = event.line,
                column = event.column,
                path = event.path.as_deref(),
                conditions = conditions.as_deref(),
                hint = event.hint.as_deref(),
                message = event.message.as_str(),
            )
        };
    }
    match event.name.severity() {
        Severity::Debug => tell!(tracing::Level::DEBUG),
        Severity::Info => tell!(tracing::Level::INFO),
        Severity::Warn => tell!(tracing::Level::WARN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documentation;

    /// The table of the documentation; `UPDATE_DOCS=1 cargo test` writes it.
    fn table() -> String {
        let mut table = String::from("| `event` | level | when |\n|---|---|---|\n");
        for name in EventName::ALL {
            let level = match name.severity() {
                Severity::Debug => "DEBUG",
                Severity::Info => "INFO",
                Severity::Warn => "WARN",
            };
            table.push_str(&format!("| `{name}` | {level} | {} |\n", name.says()));
        }
        table
    }

    #[test]
    fn the_documentation_lists_exactly_the_events_that_can_be_emitted() {
        documentation::hold("log-events.md", "events", &table());
    }

    #[test]
    fn event_names_are_unique() {
        let names: std::collections::BTreeSet<_> = EventName::ALL.iter().map(|name| name.as_str()).collect();
        assert_eq!(names.len(), EventName::ALL.len());
    }
}
