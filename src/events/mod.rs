//! Change events: what is heard of changes in IAM, and when that wakes a role.
//!
//! ```text
//!  IAM ─▶ CloudTrail ─▶ EventBridge ─▶ SQS ─▶ listener ─▶ heard ─▶ exchange ─▶ one Hearing for each account
//!                                     (queue: the edge)  (pure)                (flow, wake_ups, own_calls: pure)
//! ```
//!
//! Knows messages, and nothing of manifests, of IAM's API or of what a wake-up leads to. What must stay true: an event is
//! a hint. A lost, doubled, late or forged one changes *when* a role is looked at, never *what* is done to it; who made a
//! change is what the event claims, and is never trusted with a decision.
//!
//! # What proves that events arrive
//!
//! | seen | proves |
//! |---|---|
//! | an answer of the queue without messages | that the queue can be read; nothing of what feeds it, so it counts for nothing |
//! | any event of the account that is a few minutes old at most | that trail, rule and queue work, or that somebody who may send to the queue wants it to look so |
//! | the event of a call of our own (by its request id) | that the whole way works: who forges events does not know the ids of our requests, unless they can read the account's CloudTrail |
//!
//! A message that the controller sent to the queue itself would prove the queue and nothing of the rule, and a write in
//! IAM only to see its event is not ours to make. So the probe is what is called anyway: a repair, and, where the rule
//! lets read-only events of the controller's role through (`deploy/events` has it as an option), each resync's reading. How
//! long evidence lasts is measured by the resync that it allows to be late: see [`Flow`].
//!
//! Sources: EventBridge User Guide, "Receiving read-only management events from AWS services"; CloudTrail User Guide,
//! "CloudTrail record contents"; Amazon SQS Developer Guide, "Short and long polling", "Dead-letter queues".

mod exchange;
mod flow;
mod heard;
mod hearing;
mod listener;
mod own_calls;
mod queue;
mod rejected;
mod trouble;
mod wake_ups;

pub use self::{
    exchange::{Exchange, Listening, News, Subscription},
    flow::{Flow, Silence, Turn},
    heard::{Change, Claimed, Heard, LARGEST_BODY, PassedOver, Subject, What, Worth},
    hearing::Hearing,
    listener::listen,
    own_calls::OwnCalls,
    wake_ups::{Due, WakeUp, WakeUps},
};
