//! The edge to SQS: two calls, and messages as they are.
//!
//! Knows the SDK, and nothing of what is in a message. What must stay true: every call ends in bounded time, and asks no
//! other queue than the one that is configured.

use std::time::Duration;

use aws_config::{Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_sqs::{
    Client,
    types::{DeleteMessageBatchRequestEntry, Message as SqsMessage, MessageSystemAttributeName},
};
use jiff::Timestamp;

use crate::{
    iam::{ErrorClass, IamError},
    names::QueueUrl,
    text::printable,
};

/// So long the queue waits for a message before it answers that there is none: the longest that SQS allows.
const LONG_POLL: Duration = Duration::from_secs(20);
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(26);
const DELETE_ATTEMPT: Duration = Duration::from_secs(4);
const DELETE_TIMEOUT: Duration = Duration::from_secs(8);
const CONNECT: Duration = Duration::from_secs(3);

/// What was received and not deleted is received again after so long, whatever the queue is set to: with none at all a
/// message that is left alone would come back at once, for ever.
const HIDDEN: Duration = Duration::from_secs(60);

/// The most that SQS hands out, or deletes, in one call.
pub(super) const BATCH: usize = 10;

pub(super) const RECEIVE: &str = "ReceiveMessage";
pub(super) const DELETE: &str = "DeleteMessageBatch";

/// One message as SQS handed it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// SQS's id of it, for people.
    pub(super) id: String,
    /// What it is deleted by.
    pub(super) receipt: String,
    /// What was sent.
    pub(super) body: String,
    /// When it was put on the queue, as SQS says.
    pub(super) sent: Option<Timestamp>,
    /// How often it was handed out, this time included.
    pub(super) receives: u32,
}

/// One queue.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    client: Client,
    url: QueueUrl,
}

impl Queue {
    /// A client with these credentials, for the Region that the queue is in.
    pub(super) fn new(config: &SdkConfig, url: QueueUrl) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_attempt_timeout(DELETE_ATTEMPT)
            .operation_timeout(DELETE_TIMEOUT)
            .build();
        let mut builder = aws_sdk_sqs::config::Builder::from(config).timeout_config(timeouts);
        if let Some(region) = url.region() {
            builder = builder.region(Region::new(region.to_owned()));
        }
        if let Some(endpoint) = url.local_endpoint() {
            builder = builder.endpoint_url(endpoint);
        }
        Self { client: Client::from_conf(builder.build()), url }
    }

    /// The URL of the queue.
    pub(super) fn url(&self) -> &QueueUrl {
        &self.url
    }

    /// Takes messages; where there are none it waits for them for [`LONG_POLL`], or `at_once` says that there are none.
    pub(super) async fn receive(&self, at_once: bool) -> Result<Vec<Message>, IamError> {
        let wait = if at_once { Duration::ZERO } else { LONG_POLL };
        // Whoever asks waits longer each time; and an answer that was lost holds messages that a second call does not get.
        let one_long_attempt =
            aws_sdk_sqs::config::Builder::new().retry_config(RetryConfig::disabled()).timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT)
                    .operation_attempt_timeout(RECEIVE_TIMEOUT)
                    .operation_timeout(RECEIVE_TIMEOUT)
                    .build(),
            );
        let answer = self
            .client
            .receive_message()
            .queue_url(self.url.as_str())
            .max_number_of_messages(in_sqs_terms(BATCH as u64))
            .wait_time_seconds(in_sqs_terms(wait.as_secs()))
            .visibility_timeout(in_sqs_terms(HIDDEN.as_secs()))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .customize()
            .config_override(one_long_attempt)
            .send()
            .await
            .map_err(|error| IamError::from_sdk(RECEIVE, &error))?;
        Ok(answer.messages.unwrap_or_default().into_iter().map(message).collect())
    }

    /// Deletes the messages with these receipts, [`BATCH`] of them at most.
    pub(super) async fn delete(&self, receipts: &[String]) -> Result<(), IamError> {
        let refused = |class, message: String| IamError {
            class,
            operation: DELETE,
            code: None,
            message: printable(&message).into_owned(),
        };
        let entries: Result<Vec<_>, _> = receipts
            .iter()
            .enumerate()
            .map(|(index, receipt)| {
                let entry = DeleteMessageBatchRequestEntry::builder().id(index.to_string());
                entry.receipt_handle(receipt).build()
            })
            .collect();
        let entries = entries.map_err(|error| refused(ErrorClass::Invalid, error.to_string()))?;
        let answer = self
            .client
            .delete_message_batch()
            .queue_url(self.url.as_str())
            .set_entries(Some(entries))
            .send()
            .await
            .map_err(|error| IamError::from_sdk(DELETE, &error))?;
        match answer.failed.first() {
            None => Ok(()),
            Some(first) => {
                let class = ErrorClass::of_code(Some(&first.code), if first.sender_fault { 400 } else { 500 });
                let said = first.message.as_deref().unwrap_or_default();
                let message = format!("{} of {} messages: {}: {said}", answer.failed.len(), receipts.len(), first.code);
                Err(refused(class, message))
            }
        }
    }
}

/// Numbers as the SDK takes them.
fn in_sqs_terms(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn message(told: SqsMessage) -> Message {
    let attribute = |name: MessageSystemAttributeName| told.attributes.as_ref()?.get(&name).map(String::as_str);
    let sent = attribute(MessageSystemAttributeName::SentTimestamp).and_then(|text| text.parse().ok());
    let receives = attribute(MessageSystemAttributeName::ApproximateReceiveCount).and_then(|text| text.parse().ok());
    Message {
        sent: sent.and_then(|millis| Timestamp::from_millisecond(millis).ok()),
        receives: receives.unwrap_or(1),
        id: told.message_id.unwrap_or_default(),
        receipt: told.receipt_handle.unwrap_or_default(),
        body: told.body.unwrap_or_default(),
    }
}
