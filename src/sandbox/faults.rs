//! Faults that a test asks for: which calls they meet, how often, and what then happens.
//!
//! Pure: the time is an argument. What must stay true: of several faults that match a call, the first that is not a mere
//! delay decides; a fault that is used up matches nothing.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

use crate::names::AccountId;

use super::wire::{Refusal, Request};

/// A fault: which calls it meets, and what becomes of them.
///
/// As JSON, for the control path: `{"operation": "PutRolePolicy", "role": "web-server", "times": 2, "effect": "throttle"}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The operation's name in AWS's API; every operation where nothing is said.
    #[serde(default)]
    pub operation: Option<String>,
    /// The role's name, ignoring case; every role where nothing is said.
    #[serde(default)]
    pub role: Option<String>,
    /// The account that is called; every account where nothing is said.
    #[serde(default)]
    pub account: Option<String>,
    /// How many calls pass unharmed first.
    #[serde(default)]
    pub after: u64,
    /// How many calls it meets; every one where nothing is said.
    #[serde(default)]
    pub times: Option<u64>,
    /// Calls within this rate pass; only those beyond it are met. Each account has a bucket of its own, as in AWS.
    #[serde(default)]
    pub beyond: Option<Rate>,
    /// The call takes effect first; only its answer suffers.
    #[serde(default)]
    pub done: bool,
    /// What becomes of the call.
    pub effect: Effect,
}

/// A token bucket: so many calls a second, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Calls a second.
    pub per_second: f64,
    /// Calls at once after a quiet time.
    pub burst: u32,
}

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// `Throttling` 400, "Rate exceeded".
    Throttle,
    /// `AccessDenied` 403.
    Deny,
    /// `ServiceFailure` 500.
    ServerError,
    /// `ServiceUnavailable` 503.
    Unavailable,
    /// `ExpiredToken` 403.
    ExpiredToken,
    /// `InvalidClientTokenId` 403.
    InvalidClientTokenId,
    /// Any other refusal.
    Refuse {
        /// The HTTP status.
        status: u16,
        /// AWS's error code.
        code: String,
        /// The message.
        message: String,
    },
    /// The answer comes this many milliseconds later; the call goes on, and other faults may meet it.
    DelayMs(u64),
    /// No answer ever comes. With `done`, the write has happened all the same.
    Hang,
    /// The connection is reset in place of an answer.
    Reset,
    /// The answer breaks off half way.
    Cut,
    /// A page of HTML stands in place of the answer, with status 200.
    Html,
    /// A listing's page says that there is more, and not where.
    NoMarker,
    /// A listing's page names the marker that it was asked for.
    RepeatMarker,
}

impl Fault {
    /// A fault of every call, for ever.
    #[must_use]
    pub fn new(effect: Effect) -> Self {
        Self { operation: None, role: None, account: None, after: 0, times: None, beyond: None, done: false, effect }
    }

    /// Meets calls of this operation alone.
    #[must_use]
    pub fn on(mut self, operation: &str) -> Self {
        self.operation = Some(operation.to_owned());
        self
    }

    /// Meets calls that name this role alone.
    #[must_use]
    pub fn role(mut self, role: &str) -> Self {
        self.role = Some(role.to_owned());
        self
    }

    /// Meets calls of this account alone.
    #[must_use]
    pub fn account(mut self, account: &AccountId) -> Self {
        self.account = Some(account.to_string());
        self
    }

    /// Meets so many calls and no more.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Lets so many calls pass first.
    #[must_use]
    pub fn after(mut self, calls: u64) -> Self {
        self.after = calls;
        self
    }

    /// Lets calls within a rate pass.
    #[must_use]
    pub fn beyond(mut self, per_second: f64, burst: u32) -> Self {
        self.beyond = Some(Rate { per_second, burst });
        self
    }

    /// Lets the call take effect before the answer suffers.
    #[must_use]
    pub fn done(mut self) -> Self {
        self.done = true;
        self
    }

    fn matches(&self, account: &AccountId, request: &Request) -> bool {
        self.operation.as_deref().is_none_or(|operation| operation == request.operation())
            && self.account.as_deref().is_none_or(|wanted| wanted == account.as_str())
            && self
                .role
                .as_deref()
                .is_none_or(|wanted| request.role().is_some_and(|role| role.eq_ignore_ascii_case(wanted)))
    }
}

/// What the faults have in store for one call.
#[derive(Debug, Clone, Default)]
pub(super) struct Verdict {
    /// Before the call takes effect.
    pub(super) delay: Duration,
    /// After it took effect.
    pub(super) late: Duration,
    /// The effect, and whether the call takes effect first.
    pub(super) effect: Option<(Effect, bool)>,
}

/// The faults in force, in the order in which they were asked for.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Active>);

#[derive(Debug)]
struct Active {
    fault: Fault,
    /// Tokens left of its rate, by account, and when they were last counted.
    tokens: BTreeMap<AccountId, (f64, Duration)>,
}

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(Active { fault, tokens: BTreeMap::new() });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// How many faults are not used up.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Judges one call, and counts it against the faults that it met.
    pub(super) fn judge(&mut self, account: &AccountId, request: &Request, now: Duration) -> Verdict {
        let mut verdict = Verdict::default();
        for active in &mut self.0 {
            if !active.fault.matches(account, request) || !active.meets(account, now) {
                continue;
            }
            let Fault { effect, done, .. } = &active.fault;
            if let Effect::DelayMs(milliseconds) = effect {
                let delay = if *done { &mut verdict.late } else { &mut verdict.delay };
                *delay += Duration::from_millis(*milliseconds);
                continue;
            }
            verdict.effect = Some((effect.clone(), *done));
            break;
        }
        self.0.retain(|active| active.fault.times != Some(0));
        verdict
    }
}

impl Active {
    fn meets(&mut self, account: &AccountId, now: Duration) -> bool {
        if self.fault.after > 0 {
            self.fault.after -= 1;
            return false;
        }
        if let Some(rate) = self.fault.beyond {
            let full = f64::from(rate.burst);
            let (tokens, counted) = self.tokens.get(account).copied().unwrap_or((full, now));
            let tokens = now.saturating_sub(counted).as_secs_f64().mul_add(rate.per_second, tokens).min(full);
            let passes = tokens >= 1.0;
            self.tokens.insert(account.clone(), (if passes { tokens - 1.0 } else { tokens }, now));
            if passes {
                return false;
            }
        }
        match &mut self.fault.times {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }
}

impl Effect {
    /// The refusal that the effect is, where it is one.
    pub(super) fn refusal(&self, caller: &str, request: &Request) -> Option<Refusal> {
        let operation = request.operation();
        let refusal = match self {
            Self::Throttle => Refusal::new(400, "Throttling", "Rate exceeded"),
            Self::Deny => {
                let service = if matches!(request, Request::GetCallerIdentity | Request::AssumeRole { .. }) {
                    "sts"
                } else {
                    "iam"
                };
                let on = match request {
                    Request::GetPolicy { arn } | Request::GetPolicyVersion { arn, .. } => format!("policy {arn}"),
                    _ => request.role().map_or_else(|| "*".to_owned(), |role| format!("role {role}")),
                };
                let message = format!(
                    "User: {caller} is not authorized to perform: {service}:{operation} on resource: {on} because no identity-based policy allows the {service}:{operation} action"
                );
                Refusal::new(403, "AccessDenied", message)
            }
            Self::ServerError => Refusal::new(
                500,
                "ServiceFailure",
                "The request processing has failed because of an unknown error, exception or failure.",
            ),
            Self::Unavailable => {
                Refusal::new(503, "ServiceUnavailable", "Service is unable to handle request. Please try again later.")
            }
            Self::ExpiredToken => expired_token(),
            Self::InvalidClientTokenId => invalid_client_token_id(),
            Self::Refuse { status, code, message } => Refusal::new(*status, code, message.clone()),
            Self::DelayMs(_)
            | Self::Hang
            | Self::Reset
            | Self::Cut
            | Self::Html
            | Self::NoMarker
            | Self::RepeatMarker => return None,
        };
        Some(refusal)
    }
}

pub(super) fn expired_token() -> Refusal {
    Refusal::new(403, "ExpiredToken", "The security token included in the request is expired")
}

pub(super) fn invalid_client_token_id() -> Refusal {
    Refusal::new(403, "InvalidClientTokenId", "The security token included in the request is invalid.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> AccountId {
        "111122223333".parse().unwrap()
    }

    fn get(role: &str) -> Request {
        Request::GetRole { role: role.to_owned() }
    }

    fn meets(faults: &mut Faults, request: &Request, seconds: u64) -> bool {
        faults.judge(&account(), request, Duration::from_secs(seconds)).effect.is_some()
    }

    #[test]
    fn a_fault_meets_the_calls_it_names_and_only_so_often() {
        let mut faults = Faults::default();
        faults.add(Fault::new(Effect::Throttle).on("GetRole").role("Web").after(1).times(2));
        assert!(!meets(&mut faults, &Request::GetCallerIdentity, 0));
        assert!(!meets(&mut faults, &get("other"), 0));
        let met: Vec<bool> = (0..5).map(|_| meets(&mut faults, &get("web"), 0)).collect();
        assert_eq!(met, [false, true, true, false, false]);
        assert_eq!(faults.len(), 0);
    }

    #[test]
    fn a_rate_lets_calls_pass_until_the_bucket_is_empty() {
        let mut faults = Faults::default();
        faults.add(Fault::new(Effect::Throttle).beyond(1.0, 2));
        let met: Vec<bool> = [0, 0, 0, 1, 1, 60, 60, 60].map(|second| meets(&mut faults, &get("a"), second)).to_vec();
        assert_eq!(met, [false, false, true, false, true, false, false, true]);
    }

    #[test]
    fn each_account_has_a_rate_of_its_own() {
        let mut faults = Faults::default();
        faults.add(Fault::new(Effect::Throttle).beyond(1.0, 1));
        let mut meets =
            |account: &str| faults.judge(&account.parse().unwrap(), &get("a"), Duration::ZERO).effect.is_some();
        assert_eq!(["111122223333", "111122223333", "444455556666"].map(&mut meets), [false, true, false]);
    }

    #[test]
    fn delays_add_up_and_the_first_other_fault_decides() {
        let mut faults = Faults::default();
        faults.add(Fault::new(Effect::DelayMs(5)));
        faults.add(Fault::new(Effect::DelayMs(7)).done());
        faults.add(Fault::new(Effect::Hang).done());
        faults.add(Fault::new(Effect::Deny));
        let verdict = faults.judge(&account(), &get("a"), Duration::ZERO);
        assert_eq!((verdict.delay, verdict.late), (Duration::from_millis(5), Duration::from_millis(7)));
        assert_eq!(verdict.effect, Some((Effect::Hang, true)));
    }
}
