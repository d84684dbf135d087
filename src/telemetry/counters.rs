//! What was told, counted: a metric of this kind and a log never disagree, since [`super::emit`] feeds both.
//!
//! One for the whole process, as the log is. What must stay true: no name of a role is a label, and accounts are labels
//! only where they are looked after, so that the number of series is bounded.

use std::sync::LazyLock;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

use super::{Event, EventName};

/// From a second to the hour.
const BUCKETS_SECONDS: [f64; 11] = [0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3_600.0];

/// The outcomes of a write.
const REPAIRED: &str = "repaired";
const REMOVED: &str = "removed";

/// Every log event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Told {
    event: &'static str,
    account: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Detected {
    account: String,
    drift: &'static str,
    mode: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Repair {
    account: String,
    outcome: &'static str,
}

struct Counters {
    told: Family<Told, Counter>,
    detected: Family<Detected, Counter>,
    repairs: Family<Repair, Counter>,
    repair_seconds: Histogram,
}

static COUNTERS: LazyLock<Counters> = LazyLock::new(|| Counters {
    told: Family::default(),
    detected: Family::default(),
    repairs: Family::default(),
    repair_seconds: Histogram::new(BUCKETS_SECONDS),
});

/// Counts an event that is told.
pub(super) fn count(event: &Event) {
    let counters = &*COUNTERS;
    let account = event.account.clone().unwrap_or_default();
    counters.told.get_or_create(&Told { event: event.name.as_str(), account: account.clone() }).inc();
    let repaired = |outcome| counters.repairs.get_or_create(&Repair { account: account.clone(), outcome }).inc();
    match event.name {
        EventName::DriftDetected => {
            let (drift, mode) = (event.drift.unwrap_or_default(), event.mode.unwrap_or_default());
            counters.detected.get_or_create(&Detected { account: account.clone(), drift, mode }).inc();
        }
        EventName::DriftRepaired => {
            repaired(REPAIRED);
            if let Some(seconds) = event.seen_for_seconds {
                counters.repair_seconds.observe(seconds);
            }
        }
        EventName::PolicyRemoved => {
            repaired(REMOVED);
        }
        _ => {}
    }
}

/// What is counted of an account begins at zero: a rate knows nothing of the first case of a series that begins with it.
pub(crate) fn begin(account: &str, drift: &'static str, mode: &'static str) {
    let (counters, account) = (&*COUNTERS, account.to_owned());
    for outcome in [REPAIRED, REMOVED] {
        let _ = counters.repairs.get_or_create(&Repair { account: account.clone(), outcome });
    }
    let _ = counters.detected.get_or_create(&Detected { account, drift, mode });
}

/// Names what was counted to a registry.
pub(crate) fn register(registry: &mut Registry) {
    let counters = &*COUNTERS;
    registry.register("events", "Log events, by their name", counters.told.clone());
    registry.register("drifts_detected", "Drifts that were told when they appeared", counters.detected.clone());
    registry.register("repairs", "Policies that were written (repaired) or removed", counters.repairs.clone());
    registry.register(
        "repair_seconds",
        "Seconds from a drift's being seen to its repair",
        counters.repair_seconds.clone(),
    );
}
