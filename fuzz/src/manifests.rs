//! Any bytes as a manifest's file.

use std::{collections::BTreeMap, str};

use ssm_role_controller::{
    manifest::{Fault, Files, ManifestSet, Parsed, Standing, Whose, parse, parse_controller_configuration},
    names::AccountId,
    policy::{document::Document, session_manager::outside_vocabulary},
};

/// The name of the file: one that would draw on a terminal if it were let through.
const FILE: &str = "config/\u{1b}[31mweb\n.yaml";

/// Reads the bytes as a file of manifests, and holds what comes of it to what [`ssm_role_controller::manifest`] promises.
pub fn manifests(bytes: &[u8]) {
    let parsed = parse(FILE, bytes);
    assert_eq!(parsed, parse(FILE, bytes), "the same bytes were read in two ways");
    assert_told_well(&parsed.faults, bytes);
    assert_told_well(&parse_controller_configuration(FILE, bytes).faults, bytes);
    if let Ok(text) = str::from_utf8(bytes) {
        assert_written_otherwise_it_is_the_same(text, &parsed);
    }

    let (set, faults) = ManifestSet::of([&parsed], None);
    assert!(faults.len() >= parsed.faults.len());
    let mut standing = Standing::default();
    let tree = BTreeMap::from([(FILE.to_owned(), Ok(bytes.to_vec()))]);
    let in_force = standing.take(Files { tree, controller_config: None }).set;
    if !parsed.faults.is_empty() {
        assert_eq!(in_force.permissions(), [], "a file with a fault is in force");
        assert_eq!(in_force.configuration(), None, "a file with a fault is in force");
        return;
    }
    assert_only_session_manager_is_granted(&set, &parsed);
}

/// Nothing of the file acts upon a terminal, and every place lies in the file.
fn assert_told_well(faults: &[Fault], bytes: &[u8]) {
    // A lone CR ends a line of YAML as well.
    let lines = bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
    for fault in faults {
        let told = fault.to_string();
        assert!(!told.contains(|character: char| character.is_control() && character != '\n'), "{told:?}");
        assert!(!fault.headline().contains(char::is_control), "{:?}", fault.headline());
        assert!(fault.place.column >= 1 && (1..=lines).contains(&fault.place.line), "{fault:?}");
        assert!(!fault.message.is_empty() && fault.stands_for >= 1, "{fault:?}");
    }
}

/// A byte order mark, or the line ends of another system, change nothing.
fn assert_written_otherwise_it_is_the_same(text: &str, parsed: &Parsed) {
    if !text.starts_with('\u{feff}') {
        assert_eq!(*parsed, parse(FILE, format!("\u{feff}{text}").as_bytes()), "with a byte order mark");
    }
    if !text.contains('\r') {
        assert_eq!(*parsed, parse(FILE, text.replace('\n', "\r\n").as_bytes()), "with CRLF");
    }
}

/// Whatever was written, what is desired is a document that the writer's own check lets pass.
fn assert_only_session_manager_is_granted(set: &ManifestSet, parsed: &Parsed) {
    let mut accounts: Vec<AccountId> = "111122223333".parse().into_iter().collect();
    accounts.extend(parsed.permissions.iter().flat_map(|permissions| permissions.accounts.named().cloned()));
    for account in accounts {
        for wanted in set.desired(Whose::own(&account), None).policies.values() {
            assert_eq!(outside_vocabulary(wanted.document.as_str()), None, "{}", wanted.document.as_str());
            assert_eq!(Document::parse(wanted.document.as_str()).as_ref(), Ok(wanted.document.document()));
            assert_eq!(account.as_str().len(), 12);
        }
    }
}
