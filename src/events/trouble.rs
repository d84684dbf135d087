//! What keeps the queue from being read, and what to do about it.
//!
//! Pure but for its own random state. What must stay true: a trouble is told once when it begins, once when it becomes
//! another one, and once when it is over; and no wait is zero.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    backoff::Backoff,
    iam::{ErrorClass, IamError},
};

/// The first wait after a failure, and the longest: a queue that works again is noticed within it.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A kind of failure, as logs tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trouble {
    /// The stable word for it.
    pub(super) reason: &'static str,
    /// The next step.
    pub(super) hint: &'static str,
}

impl Trouble {
    pub(super) fn of(error: &IamError) -> Self {
        let code = error.code.as_deref().unwrap_or_default();
        let (reason, hint) = if code.ends_with("NonExistentQueue") || code.ends_with("QueueDoesNotExist") {
            (
                "QueueNotFound",
                "compare spec.changeEvents.queueUrl with what `aws sqs get-queue-url --queue-name NAME` prints; SQS says the same of another account's queue that it does not let you see",
            )
        } else if code.starts_with("Kms") || code.starts_with("KMS.") {
            (
                "KeyRefused",
                "allow the controller kms:Decrypt on the key that encrypts the queue, in the key's policy too",
            )
        } else {
            match error.class {
                ErrorClass::Denied => (
                    "AccessDenied",
                    "allow the controller sqs:ReceiveMessage and sqs:DeleteMessage on the queue; in the queue's own policy too where it belongs to another account",
                ),
                ErrorClass::Credentials => {
                    ("CredentialsRefused", "look at the credentials that the controller runs with")
                }
                ErrorClass::Clock => {
                    ("ClockOff", "set the clock of this machine right, and have it kept so (chrony, NTP)")
                }
                ErrorClass::Throttled => ("Throttled", "nothing is to be done: it is tried again, ever more slowly"),
                ErrorClass::Transient => (
                    "Unavailable",
                    "it is tried again; if it stays so, see whether the endpoint of SQS in the queue's Region can be reached from here",
                ),
                _ => ("RefusedBySqs", "compare spec.changeEvents.queueUrl with the queue: it must be a standard queue"),
            }
        };
        Self { reason, hint }
    }
}

/// What stands, by operation, and how long to wait.
#[derive(Debug)]
pub(super) struct Troubles {
    standing: BTreeMap<&'static str, Trouble>,
    backoff: Backoff,
}

impl Troubles {
    pub(super) fn new(seed: u64) -> Self {
        let (first, longest) = WAITS;
        Self { standing: BTreeMap::new(), backoff: Backoff::between(first, longest, seed) }
    }

    /// A call failed: the trouble, if it is to be told.
    pub(super) fn failed(&mut self, error: &IamError) -> Option<Trouble> {
        let trouble = Trouble::of(error);
        (self.standing.insert(error.operation, trouble) != Some(trouble)).then_some(trouble)
    }

    /// A call succeeded: whether this ends the last trouble, which is to be told.
    pub(super) fn worked(&mut self, operation: &'static str) -> bool {
        self.standing.remove(operation).is_some() && self.standing.is_empty()
    }

    /// How long to wait after one more failure in a row.
    pub(super) fn wait(&mut self) -> Duration {
        self.backoff.next()
    }

    /// The next failure is the first again.
    pub(super) fn calm(&mut self) {
        self.backoff.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(operation: &'static str, class: ErrorClass, code: Option<&str>) -> IamError {
        IamError { class, operation, code: code.map(str::to_owned), message: "it failed".to_owned() }
    }

    #[test]
    fn each_kind_of_failure_has_a_word_and_a_next_step() {
        for (class, code, reason) in [
            (ErrorClass::Invalid, Some("QueueDoesNotExist"), "QueueNotFound"),
            (ErrorClass::Invalid, Some("AWS.SimpleQueueService.NonExistentQueue"), "QueueNotFound"),
            (ErrorClass::Invalid, Some("KmsAccessDenied"), "KeyRefused"),
            (ErrorClass::Denied, Some("AccessDenied"), "AccessDenied"),
            (ErrorClass::Credentials, Some("InvalidClientTokenId"), "CredentialsRefused"),
            (ErrorClass::Clock, Some("InvalidSignatureException"), "ClockOff"),
            (ErrorClass::Throttled, Some("RequestThrottled"), "Throttled"),
            (ErrorClass::Transient, None, "Unavailable"),
            (ErrorClass::Invalid, Some("InvalidAddress"), "RefusedBySqs"),
        ] {
            let trouble = Trouble::of(&error("ReceiveMessage", class, code));
            assert_eq!(trouble.reason, reason);
            assert!(!trouble.hint.is_empty());
        }
    }

    #[test]
    fn a_trouble_is_told_when_it_begins_changes_and_ends() {
        let mut troubles = Troubles::new(1);
        let denied = error("ReceiveMessage", ErrorClass::Denied, None);
        assert!(!troubles.worked("ReceiveMessage"));
        assert!(troubles.failed(&denied).is_some() && troubles.failed(&denied).is_none());
        assert!(troubles.failed(&error("ReceiveMessage", ErrorClass::Transient, None)).is_some());
        assert!(troubles.worked("ReceiveMessage") && !troubles.worked("ReceiveMessage"));
        // That messages can be read says nothing of whether they can be deleted.
        assert!(troubles.failed(&error("DeleteMessageBatch", ErrorClass::Denied, None)).is_some());
        assert!(!troubles.worked("ReceiveMessage"));
        assert!(troubles.failed(&error("DeleteMessageBatch", ErrorClass::Denied, None)).is_none());
        assert!(troubles.worked("DeleteMessageBatch"));
    }

    #[test]
    fn waits_double_up_to_a_minute_with_jitter() {
        let mut troubles = Troubles::new(7);
        for whole in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
            let wait = troubles.wait().as_secs_f64();
            assert!((whole / 2.0..=whole).contains(&wait), "{wait} of {whole}");
        }
        troubles.calm();
        assert!(troubles.wait() <= Duration::from_secs(1));
    }
}
