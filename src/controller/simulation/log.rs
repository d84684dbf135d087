//! What the controller tells in its log, and that it tells it once.
//!
//! Takes the fields of events as they are emitted: no line is formatted. Knows the catalogue's words and nothing of the
//! reporter. What must stay true: a restart forgets everything, as the daemon does.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::Instant;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::iam::ErrorClass;

/// One event, as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Told {
    at: Option<Instant>,
    pub(super) name: String,
    pub(super) role: Option<String>,
    pub(super) policy: Option<String>,
    account: Option<String>,
    pub(super) reason: Option<String>,
    /// Whether it speaks of a drift.
    is_of_drift: bool,
    /// What it says in particular: two of one name that differ in it are two pieces of news.
    particulars: String,
    digest: Option<String>,
    pub(super) remedy: Option<String>,
    pub(super) message: String,
}

/// Whom an event is about: account, role in small letters, policy; and the room of its name, for those about no role.
pub(super) type Subject = (Option<String>, String, Option<String>);

/// What can stand of a policy, and has to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Drift,
    NotFound,
    Suspended,
    Tagged,
    /// That the role does not let sessions work.
    NotReady,
    /// For this reason.
    Blocked(&'static str),
}

/// What stands of which policy of which role, that in small letters.
pub(super) type News = (String, String, Said);

/// What was told and still stands, by subject.
#[derive(Debug, Default)]
struct Standing {
    drift: bool,
    not_found: bool,
    suspended: bool,
    /// Suspended by a tag of the role.
    tagged: bool,
    contended: bool,
    orphaned: bool,
    /// The digest of the plan that was told as held.
    held: Option<String>,
    /// When the first of several writes was told not to be found right.
    unproven: bool,
    /// Sessions were told not to work.
    not_ready: bool,
    /// For which reasons it was told as blocked, ever.
    blocked: BTreeSet<String>,
    /// Manifests that did not ask for it came since: then it is new to the controller, and may be told anew.
    may_be_new: bool,
    /// The last event, unless something happened since that makes it worth telling again.
    last: Option<Told>,
}

/// The log of one life.
#[derive(Debug, Default)]
pub(super) struct Log {
    standing: BTreeMap<Subject, Standing>,
    /// What was told since somebody last looked.
    news: Vec<Told>,
    /// Writes that were answered, and are to be told: the role in small letters, and the policy.
    owed: BTreeSet<(String, String)>,
    /// What the newest manifests ask for, in the same words, and those before them.
    asked_for: [BTreeSet<(String, String)>; 2],
    /// The same for the trace, where somebody reads it.
    lines: Option<Vec<Told>>,
    faults: Vec<String>,
    pub(super) count: u64,
    /// Since when events count: those of processes that are dead do not.
    pub(super) is_listening: bool,
}

impl Log {
    /// A process begins: it knows nothing of what another one told.
    pub(super) fn restarted(&mut self) {
        self.standing.clear();
        self.owed.clear();
        self.is_listening = true;
    }

    /// Newer manifests came: what they hold back or take up may be told anew, and what they do not name is forgotten.
    /// `elsewhere` is what they ask for in other accounts than the own one.
    pub(super) fn manifests_changed(
        &mut self,
        asked_for: &BTreeSet<(String, String)>,
        own: &str,
        elsewhere: &BTreeSet<Subject>,
    ) {
        self.asked_for.swap(0, 1);
        self.asked_for[0].clone_from(asked_for);
        for (subject, standing) in &mut self.standing {
            let (account, role, policy) = subject;
            standing.last = None;
            if let Some(policy) = policy {
                let is_asked_for = asked_for.contains(&(role.clone(), policy.clone()));
                let is_elsewhere = account.as_deref().is_some_and(|account| account != own);
                standing.may_be_new |= !is_asked_for || (is_elsewhere && !elsewhere.contains(subject));
                standing.orphaned &= !is_asked_for;
            }
        }
    }

    fn of(&self, account: &str, role: &str, policy: &str) -> impl Iterator<Item = &Standing> {
        let subject = (Some(account.to_owned()), role.to_owned(), Some(policy.to_owned()));
        self.standing.get(&subject).into_iter()
    }

    /// Whether this policy of this role, in small letters, is told as one that somebody else writes too.
    pub(super) fn is_contended(&self, account: &str, role: &str, policy: &str) -> bool {
        self.of(account, role, policy).any(|standing| standing.contended)
    }

    /// Whether it is told as an orphan.
    pub(super) fn is_orphaned(&self, account: &str, role: &str, policy: &str) -> bool {
        self.of(account, role, policy).any(|standing| standing.orphaned)
    }

    /// A write was answered: it has to be told.
    pub(super) fn owes(&mut self, role: &str, policy: &str) {
        self.owed.insert((role.to_owned(), policy.to_owned()));
    }

    /// What of this was never told, and the writes that were not.
    pub(super) fn missed(&self, account: &str, news: &[News]) -> Vec<String> {
        let is_told = |(role, policy, said): &&News| {
            let sessions = of_sessions(role);
            let role = if *said == Said::NotReady { &sessions } else { role };
            self.of(account, role, policy).any(|standing| match said {
                Said::NotReady => standing.not_ready,
                Said::Drift => standing.drift,
                Said::NotFound => standing.not_found,
                Said::Suspended => standing.suspended,
                Said::Tagged => standing.tagged,
                Said::Blocked(reason) => standing.blocked.contains(*reason),
            })
        };
        let standing = news.iter().filter(|news| !is_told(news));
        let standing = standing.map(|(role, policy, said)| format!("{role}/{policy}: {said:?}"));
        standing.chain(self.owed.iter().map(|(role, policy)| format!("{role}/{policy}: the write"))).collect()
    }

    /// The log of a life that begins.
    pub(super) fn new(is_traced: bool) -> Self {
        Self { lines: is_traced.then(Vec::new), ..Self::default() }
    }

    pub(super) fn take_lines(&mut self) -> Vec<Told> {
        self.lines.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn take_news(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.news)
    }

    pub(super) fn take_faults(&mut self) -> Vec<String> {
        std::mem::take(&mut self.faults)
    }

    fn hear(&mut self, told: Told) {
        if !self.is_listening {
            return;
        }
        self.count += 1;
        if let Some(fault) = self.fault_of(&told) {
            self.faults.push(fault);
        }
        if let Some(lines) = &mut self.lines {
            lines.push(told.clone());
        }
        self.news.push(told);
    }

    /// Takes in an event, and says what is wrong with it.
    fn fault_of(&mut self, told: &Told) -> Option<String> {
        if told.message.contains("ended early") {
            return Some(format!("something panicked: {}", told.message));
        }
        // What is about a role alone is about all its policies; here each has its own record.
        let room = told.name.split('.').next().unwrap_or_default().to_owned();
        let subject: Subject = (
            told.account.clone(),
            // The canary is the account's, whichever role it is. What is told of sessions stands beside what is told of
            // drift: the one is news whatever was told of the other. So does what change events claim.
            match told.role.as_ref().filter(|_| room != "canary").map(|role| role.to_ascii_lowercase()) {
                Some(role) if room == "session" => of_sessions(&role),
                Some(role) if room == "change" => format!("{role}: changes"),
                Some(role) => role,
                None => room.clone(),
            },
            told.policy.clone(),
        );
        let is_by_tag = told.message.contains("by a tag");
        if let ("role.suspended" | "role.not_found" | "role.released" | "policy.orphaned", Some(role), false) =
            (told.name.as_str(), &told.role, is_by_tag)
        {
            // All that was told of the role is forgotten, its sessions too.
            let of_sessions = (told.account.clone(), of_sessions(&role.to_ascii_lowercase()), told.policy.clone());
            self.standing.remove(&of_sessions);
        }
        if let ("drift.repaired" | "policy.removed", Some(role), Some(policy)) = (&*told.name, &told.role, &told.policy)
        {
            self.owed.remove(&(role.to_ascii_lowercase(), policy.clone()));
        }
        // What is to go under its former name has not drifted.
        let named = (subject.1.clone(), subject.2.clone().unwrap_or_default());
        let is_asked_for = self.asked_for.iter().all(|asked_for| asked_for.contains(&named));
        let standing = self.standing.entry(subject).or_default();
        if told.name == "drift.blocked" {
            standing.blocked.extend(told.reason.clone());
        }
        let again = |what: &str| Some(format!("{what} twice: {} {:?}", told.name, told));
        let is_reminder = matches!(told.name.as_str(), "drift.standing" | "session.standing");
        // A conflict is told without a look at the role: it says nothing of what is known of that.
        let says_nothing = told.reason.as_deref() == Some("Conflict");
        let may_be_new = if says_nothing { standing.may_be_new } else { std::mem::take(&mut standing.may_be_new) };
        // A tag is told before the drift of its role: that the drift is forgotten must not be used up by it.
        standing.drift &= !may_be_new || told.name != "role.suspended";
        // One that was known as suspended says first of all that it is so no longer: else it was forgotten meanwhile.
        standing.suspended &= !may_be_new || is_reminder || told.name == "role.resumed";
        let is_suspended = if is_by_tag { standing.tagged } else { standing.suspended };
        let fault = match told.name.as_str() {
            "policy.orphaned" if standing.orphaned => again("orphaned"),
            "guard.held" if standing.held.is_some() && standing.held == told.digest => again("the same plan held"),
            "guard.released" if standing.held.is_none() => again("never held, and released"),
            "canary.failed" if standing.unproven => again("unproven"),
            "canary.proven" if !standing.unproven => again("never unproven, and proven"),
            "drift.blocked" if is_of_a_failure(told) && !told.is_of_drift && is_asked_for => {
                Some(format!("a repair failed where nothing was to be repaired: {told:?}"))
            }
            _ if may_be_new => None,
            "policy.contended" if standing.contended => again("contended"),
            "policy.settled" if !standing.contended => again("never contended, and settled"),
            "drift.detected" if standing.drift => again("detected"),
            "drift.changed" | "drift.repaired" if !standing.drift => again("never detected, and told"),
            "role.not_found" if standing.not_found => again("not found"),
            "role.found" if !standing.not_found => again("never missing, and found"),
            "role.suspended" if is_suspended => again("suspended"),
            "role.resumed" if !is_suspended => again("never suspended, and resumed"),
            _ if !is_reminder && standing.last.as_ref().is_some_and(|last| last.is_the_same(told)) => {
                again("told the same")
            }
            _ => None,
        };
        match told.name.as_str() {
            "drift.detected" => standing.drift = true,
            "role.suspended" if is_by_tag => {}
            "drift.repaired" | "drift.ended" | "policy.removed" | "role.suspended" | "role.not_found"
            | "role.released" | "policy.orphaned" => standing.drift = false,
            // Where nobody can say any more what is right, drift is forgotten.
            "drift.blocked" if matches!(told.reason.as_deref(), Some("Conflict" | "AccountMismatch")) => {
                standing.drift = false;
            }
            // So it is under a former name, where there is nothing beside the mode to tell.
            "drift.blocked" if told.reason.as_deref() == Some("DocumentDiffers") && told.particulars == "enforce|" => {
                standing.drift = false;
            }
            _ => {}
        }
        match told.name.as_str() {
            "role.not_found" => standing.not_found = true,
            "role.suspended" if is_by_tag => {}
            "role.found" | "role.released" | "role.suspended" => standing.not_found = false,
            _ => {}
        }
        match told.name.as_str() {
            "role.suspended" if is_by_tag => standing.tagged = true,
            "role.resumed" if is_by_tag => standing.tagged = false,
            "role.suspended" => (standing.suspended, standing.tagged, standing.contended) = (true, false, false),
            "role.not_found" => (standing.tagged, standing.contended) = (false, false),
            "role.resumed" => standing.suspended = false,
            // It was under a former name, and is forgotten.
            "drift.ended" if told.message.contains("gives it another name now") => standing.tagged = false,
            "role.released" | "policy.orphaned" => {
                (standing.suspended, standing.tagged, standing.contended) = (false, false, false);
            }
            "session.not_ready" => standing.not_ready = true,
            "session.ready" | "session.unknown" => standing.not_ready = false,
            "policy.contended" => standing.contended = true,
            "policy.settled" => standing.contended = false,
            _ => {}
        }
        match told.name.as_str() {
            "policy.orphaned" => standing.orphaned = true,
            "guard.held" => standing.held.clone_from(&told.digest),
            "guard.released" => standing.held = None,
            "canary.failed" | "canary.proven" => standing.unproven = told.name == "canary.failed",
            _ => {}
        }
        if !is_reminder {
            standing.last = Some(told.clone());
        }
        fault
    }
}

/// Whether it tells that a call failed, for whatever reason.
fn is_of_a_failure(told: &Told) -> bool {
    let classes = [ErrorClass::Throttled, ErrorClass::Transient, ErrorClass::Denied, ErrorClass::Credentials];
    told.reason.as_deref().is_some_and(|reason| classes.iter().any(|class| class.as_str() == reason))
}

/// Under which name what is told of a role's sessions is kept.
fn of_sessions(role: &str) -> String {
    format!("{role}: sessions")
}

impl Told {
    /// How long ago it was told.
    pub(super) fn age(&self) -> Duration {
        self.at.map(|at| at.elapsed()).unwrap_or_default()
    }

    /// A line of the trace.
    pub(super) fn in_words(&self, now: Duration) -> String {
        let reason = self.reason.as_deref().unwrap_or_default();
        format!("{:>10.3} ** {} {reason}: {}", now.saturating_sub(self.age()).as_secs_f64(), self.name, self.message)
    }

    fn is_the_same(&self, other: &Self) -> bool {
        // What an event of sessions says in particular stands in its message, and so does what a change event claims.
        let in_message = |told: &Self| told.name.starts_with("session.") || told.name == "change.claimed";
        let message = |told: &Self| in_message(told).then(|| told.message.clone());
        let of = |told: &Self| {
            (told.name.clone(), told.reason.clone(), told.particulars.clone(), told.digest.clone(), message(told))
        };
        of(self) == of(other)
    }
}

impl Visit for Told {
    fn record_str(&mut self, field: &Field, value: &str) {
        let text = || Some(value.to_owned());
        match field.name() {
            "event" => value.clone_into(&mut self.name),
            "account" => self.account = text(),
            "role" => self.role = text(),
            "policy" => self.policy = text(),
            "reason" => self.reason = text(),
            "message" => value.clone_into(&mut self.message),
            "digest" => self.digest = text(),
            "remedy" => self.remedy = text(),
            "drift" | "gained" | "lost" | "mode" => {
                self.is_of_drift |= field.name() == "drift";
                self.particulars.push_str(value);
                self.particulars.push('|');
            }
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}

/// Hears the events of whatever runs on its thread.
#[derive(Debug, Clone, Default)]
pub(super) struct Ear(Arc<Mutex<Log>>);

impl Ear {
    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap()
    }
}

impl Subscriber for Ear {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // What is told at a lower level is told every time.
        metadata.is_event() && *metadata.level() <= Level::INFO && metadata.target().starts_with("ssm_role_controller")
    }

    fn event(&self, event: &Event<'_>) {
        let mut told = Told { at: Some(Instant::now()), ..Told::default() };
        event.record(&mut told);
        self.log().hear(told);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}
