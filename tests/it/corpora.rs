//! The corpora of the fuzz targets, replayed: what was once strange enough to be kept is met again by every change.

use std::{fs, panic::catch_unwind, path::Path};

#[path = "../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "it is public in the package of the fuzz targets")]
mod bodies;

/// Hands every file of a corpus to a target's body. All that break a promise are named, not the first alone.
fn replay(target: &str, body: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", corpus.display());
    let broken = files.iter().filter(|file| {
        let bytes = fs::read(file).unwrap();
        catch_unwind(|| body(&bytes)).is_err()
    });
    assert_eq!(broken.collect::<Vec<_>>(), Vec::<&std::path::PathBuf>::new());
}

#[test]
fn any_bytes_are_a_manifest_or_have_faults_that_say_where_and_grant_nothing_foreign() {
    replay("manifests", bodies::manifests::manifests);
}

#[test]
fn any_text_is_a_policy_document_that_is_compared_soundly_or_says_why_not() {
    replay("documents", bodies::documents::documents);
}

#[test]
fn any_documents_are_a_role_s_and_what_they_allow_follows_iam_s_rules() {
    replay("readiness", bodies::readiness::readiness);
}

#[test]
fn any_answers_of_iam_are_an_error_or_a_reading_of_what_stands_in_them() {
    replay("answers", bodies::answers::answers);
}

#[test]
fn any_message_is_a_change_event_or_is_passed_over_and_nothing_harmful_comes_out_of_it() {
    replay("messages", bodies::messages::messages);
}
