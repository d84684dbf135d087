//! The board in OpenMetrics' text.
//!
//! What must stay true: no role is named, so that the number of series is bounded by the accounts; and
//! `docs/metrics.md` lists exactly these (a test holds it).
//!
//! Source: Prometheus documentation, "Metric and label naming".

use std::{fmt, sync::atomic::AtomicU64};

use jiff::Timestamp;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::Registry,
};

use crate::{
    manifest::Mode,
    readiness::Status,
    status::{AccountReport, AccountState, Board, Synced},
    telemetry,
};

/// The type of the text.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Account {
    account: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Policies {
    account: String,
    mode: &'static str,
    drift: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Blocked {
    account: String,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Session {
    account: String,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Called {
    account: String,
    operation: &'static str,
    result: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;

/// Everything, as one text.
///
/// # Errors
///
/// Never, but that the encoder may say so.
pub(super) fn text(board: &Board, reports: &[AccountReport]) -> Result<String, fmt::Error> {
    let mut text = String::new();
    encode(&mut text, &registry(board, reports))?;
    Ok(text)
}

fn registry(board: &Board, reports: &[AccountReport]) -> Registry {
    let mut registry = Registry::with_prefix("ssm_role_controller");
    of_process(&mut registry, board);
    of_accounts(&mut registry, reports);
    telemetry::register(&mut registry);
    registry
}

fn of_process(registry: &mut Registry, board: &Board) {
    let (controller, manifests) = board.controller();
    registry.register("build", "The program", Info::new(vec![("version", controller.version)]));
    let flags = [
        ("suspended", "Whether the kill switch is on", controller.suspended),
        ("observe_only", "Whether nothing is written whatever the manifests say", controller.observe_only),
        ("leader", "Whether this process may write, of several", controller.is_leader),
    ];
    for (name, help, is_set) in flags {
        registry.register(name, help, gauge(i64::from(is_set)));
    }
    let count = |count: usize| gauge(i64::try_from(count).unwrap_or(i64::MAX));
    registry.register("manifests_in_force", "Manifests in force", count(manifests.in_force));
    registry.register("manifest_faults", "Faults of manifests that stand", count(manifests.fault_count));
    registry.register(
        "manifests_changed_timestamp_seconds",
        "When what is in force last changed",
        seconds(board.manifests_changed_at()),
    );
}

fn of_accounts(registry: &mut Registry, reports: &[AccountReport]) {
    let up = Family::<Account, Gauge>::default();
    let last_pass = Family::<Account, Seconds>::default();
    let intervals = Family::<Account, Seconds>::default();
    let held = Family::<Account, Gauge>::default();
    let policies = Family::<Policies, Gauge>::default();
    let suspended = Family::<Account, Gauge>::default();
    let blocked = Family::<Blocked, Gauge>::default();
    let sessions = Family::<Session, Gauge>::default();
    let calls = Family::<Called, Counter>::default();
    for report in reports {
        let account = report.status.account.clone();
        let id = Account { account: account.clone() };
        up.get_or_create(&id).set(i64::from(report.status.state == AccountState::Kept));
        last_pass.get_or_create(&id).set(report.last_complete_pass.map_or(0.0, timestamp));
        if let Some(interval) = report.resync_interval {
            intervals.get_or_create(&id).set(interval.as_secs_f64());
        }
        held.get_or_create(&id).set(i64::from(report.status.held.is_some()));
        suspended.get_or_create(&id).set(signed(report.counts.suspended));
        // Every series is there from the start on: what appears only with its first case cannot be alerted on.
        for mode in [Mode::Enforce, Mode::Observe] {
            for synced in Synced::ALL {
                let labels = Policies { account: account.clone(), mode: mode.as_str(), drift: synced.as_str() };
                let count = report.counts.synced.get(&(synced, mode)).copied().unwrap_or_default();
                policies.get_or_create(&labels).set(signed(count));
                if let Synced::Drifted(_) = synced {
                    telemetry::begin(&account, synced.as_str(), mode.as_str());
                }
            }
        }
        for status in [Status::True, Status::False, Status::Unknown] {
            let labels = Session { account: account.clone(), status: status.as_str() };
            sessions
                .get_or_create(&labels)
                .set(signed(report.counts.sessions.get(&status).copied().unwrap_or_default()));
        }
        for (reason, count) in &report.counts.blocked {
            blocked.get_or_create(&Blocked { account: account.clone(), reason }).set(signed(*count));
        }
        for (operation, count) in report.calls.iter() {
            for (result, count) in [("ok", count.ok), ("throttled", count.throttled), ("failed", count.failed)] {
                calls.get_or_create(&Called { account: account.clone(), operation, result }).inc_by(count);
            }
        }
    }
    registry.register("account_up", "Whether the account is entered and its last reading did not fail", up);
    registry.register(
        "last_complete_pass_timestamp_seconds",
        "When the last reading came that told of all roles of the account; 0 before the first",
        last_pass,
    );
    registry.register(
        "resync_interval_seconds",
        "Seconds from one reading to the next, at present; none while the account is not entered",
        intervals,
    );
    registry.register("guard_held", "Whether a plan of the account is held by its guards", held);
    registry.register("managed_policies", "Managed policies, by how they stand beside their manifests", policies);
    registry.register(
        "suspended_policies",
        "Managed policies that a manifest, a tag or the kill switch has left alone",
        suspended,
    );
    registry.register("blocked_policies", "Managed policies that must not or cannot be written, by reason", blocked);
    registry.register(
        "session_ready",
        "Managed policies, by whether sessions would work as their manifests ask",
        sessions,
    );
    registry.register("aws_calls", "Calls to IAM, by operation and by what came of them", calls);
}

fn gauge(value: i64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(value);
    gauge
}

fn seconds(at: Option<Timestamp>) -> Seconds {
    let seconds = Seconds::default();
    seconds.set(at.map_or(0.0, timestamp));
    seconds
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Seconds since 1970.
fn timestamp(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;
    use crate::{
        documentation,
        telemetry::{Event, EventName, emit},
    };

    /// A board with one account, so that every family has a series.
    fn exported() -> String {
        let (mut report, mut event) =
            (AccountReport::of_nothing("111122223333"), Event::new(EventName::DriftDetected, ""));
        report.counts.blocked.insert("RoleNotFound", 1);
        report.resync_interval = Some(Duration::from_secs(60));
        report.calls = crate::iam::Calls::of_one("GetRole");
        for name in [EventName::DriftDetected, EventName::DriftRepaired] {
            event.name = name;
            event.account = Some("111122223333".to_owned());
            event.seen_for_seconds = Some(1.0);
            emit(&event);
        }
        text(&Board::default(), &[report]).unwrap()
    }

    /// Every metric by its name: its kind, its labels and what it says.
    fn table(exported: &str) -> String {
        let mut kinds = BTreeMap::new();
        let mut table = String::from("| metric | kind | labels | what it says |\n|---|---|---|---|\n");
        for line in exported.lines() {
            let Some(rest) = line.strip_prefix("# ") else { continue };
            let mut words = rest.splitn(3, ' ');
            let (Some(what), Some(name), Some(said)) = (words.next(), words.next(), words.next()) else { continue };
            if what == "TYPE" {
                kinds.insert(name, said);
            }
        }
        for line in exported.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
            let (name, help) = line.split_once(' ').unwrap();
            let kind = kinds[name];
            let shown = match kind {
                "counter" => format!("{name}_total"),
                "info" => format!("{name}_info"),
                _ => name.to_owned(),
            };
            let series = exported
                .lines()
                .find(|line| line.starts_with(&format!("{shown}{{")) || line.starts_with(&format!("{name}_bucket{{")));
            let labels =
                series.and_then(|line| line.split_once('{')?.1.split_once('}')).map_or("", |(labels, _)| labels);
            let labels: Vec<String> =
                labels.split(',').filter_map(|label| Some(format!("`{}`", label.split_once('=')?.0))).collect();
            table.push_str(&format!(
                "| `{shown}` | {kind} | {} | {} |\n",
                labels.join(", "),
                help.trim_end_matches('.')
            ));
        }
        table
    }

    #[test]
    fn the_documentation_lists_exactly_the_metrics_that_are_exported() {
        documentation::hold("metrics.md", "metrics", &table(&exported()));
    }

    #[test]
    fn every_series_of_an_account_is_there_before_its_first_case() {
        let exported = exported();
        for drift in Synced::ALL {
            let series =
                format!(r#"managed_policies{{account="111122223333",mode="enforce",drift="{}"}} 0"#, drift.as_str());
            assert!(exported.contains(&series), "{exported}");
        }
        // Of an account that no other test has counted anything of.
        let report = AccountReport::of_nothing("100000000001");
        let exported = text(&Board::default(), &[report]).unwrap();
        for series in [
            r#"drifts_detected_total{account="100000000001",drift="altered",mode="observe"} 0"#,
            r#"repairs_total{account="100000000001",outcome="removed"} 0"#,
        ] {
            assert!(exported.contains(series), "{series}\n{exported}");
        }
    }
}
