//! Any bytes as a message of the queue of change events.

use ssm_role_controller::{
    events::{Heard, PassedOver, Subject, What},
    text::printable,
};

/// More than the longest text that is taken over from a message can become when it is escaped, for all of an answer's texts.
const LONGEST: usize = 32 * 1024;

/// Reads the bytes as a message, and holds what comes of it to what [`ssm_role_controller::events`] promises.
pub fn messages(bytes: &[u8]) {
    let Ok(body) = std::str::from_utf8(bytes) else { return };
    let heard = Heard::read(body);
    assert_eq!(heard, Heard::read(body), "the same message was read in two ways");
    match heard {
        Ok(heard) => assert_heard_well(&heard, body),
        Err(why) => {
            assert_harmless(&why.to_string());
            assert!(!why.as_str().is_empty() && !why.hint().is_empty(), "{why}");
            assert!(!matches!(why, PassedOver::OtherAccount(_)), "nobody has said which accounts there are");
        }
    }
}

fn assert_heard_well(heard: &Heard, body: &str) {
    assert!(body.contains("aws.iam") || body.contains('\\'), "heard of what is not IAM's");
    heard.request_id.iter().for_each(|id| assert_harmless(id));
    let What::Changed(change) = &heard.what else { return };
    let claimed = &change.claimed;
    assert_harmless(&claimed.to_string());
    let texts = [&change.policy, &claimed.who, &claimed.kind, &claimed.issuer, &claimed.from];
    texts.into_iter().flatten().for_each(|text| assert_harmless(text));
    assert_harmless(&change.call);
    match &change.subject {
        Subject::Role(role) => assert!((1..=64).contains(&role.as_str().len())),
        Subject::ManagedPolicy(arn) => assert_harmless(arn),
    }
}

/// One line that no terminal acts upon, and not a long one.
fn assert_harmless(text: &str) {
    assert_eq!(text, printable(text));
    assert!(text.len() <= LONGEST, "{} bytes", text.len());
}
