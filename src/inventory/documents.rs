//! The documents of live policies: decoded and parsed once, shared by every role that carries the same text.
//!
//! Pure. What must stay true: text that IAM sent before is not parsed again, and text that nobody carries any
//! more is dropped.

use std::{
    collections::{HashMap, HashSet},
    hash::{Hash, Hasher},
    sync::Arc,
};

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{OtherPolicy, RoleKind, RoleText, SurroundingsKind};
use crate::{
    names::RoleName,
    policy::{document::Document, evaluate::Prepared, session_manager},
};

/// The longest document that IAM takes or tells (IAM API Reference, `PolicyDocument`).
const LONGEST: usize = 131_072;

/// A policy document as IAM returned it.
#[derive(Debug)]
pub struct LiveDocument {
    encoded: Arc<str>,
    parsed: Result<Document, String>,
    size: usize,
}

impl LiveDocument {
    /// Reads a percent-encoded document. Decoding follows RFC 3986: `+` is a plus sign.
    #[must_use]
    pub fn new(encoded: &str) -> Self {
        let text = percent_decode_str(encoded).decode_utf8_lossy();
        Self { parsed: parse(&text), size: session_manager::size(&text), encoded: encoded.into() }
    }

    /// The document that IAM would send for this text.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        Self::new(&utf8_percent_encode(text, NON_ALPHANUMERIC).to_string())
    }

    /// The document ready to be asked what it allows. It takes ten times the room of its text, so it is not kept here.
    #[must_use]
    pub fn prepared(&self) -> Prepared {
        prepared(self.parsed.as_ref())
    }

    /// The typed document, or why it could not be parsed.
    pub fn parsed(&self) -> Result<&Document, &str> {
        self.parsed.as_ref().map_err(String::as_str)
    }

    /// The text as it stands in IAM.
    #[must_use]
    pub fn text(&self) -> String {
        percent_decode_str(&self.encoded).decode_utf8_lossy().into_owned()
    }

    /// Whether this is the document that IAM sent as this text.
    #[must_use]
    pub fn is(&self, encoded: &str) -> bool {
        *self.encoded == *encoded
    }

    /// The characters that count towards the role's quota.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }
}

/// The document of a text, or why it is none.
pub(super) fn parse(text: &str) -> Result<Document, String> {
    if text.len() > LONGEST {
        return Err("it is longer than any policy that IAM takes".to_owned());
    }
    Document::parse(text).map_err(|error| error.to_string())
}

/// A document ready to be asked what it allows, where there is one.
pub(super) fn prepared(parsed: Result<&Document, &String>) -> Prepared {
    match parsed {
        Ok(document) => Prepared::of(document),
        Err(why) => Prepared::unreadable(format!("it is not a policy document: {why}")),
    }
}

impl PartialEq for LiveDocument {
    fn eq(&self, other: &Self) -> bool {
        self.encoded == other.encoded
    }
}

impl Eq for LiveDocument {}

impl Hash for LiveDocument {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.encoded.hash(state);
    }
}

/// The documents in use, by their text; and what else roles share.
#[derive(Debug, Default)]
pub struct Documents {
    by_text: HashMap<Arc<str>, Arc<LiveDocument>>,
    texts: HashSet<Arc<str>>,
    roles: HashSet<Arc<RoleKind>>,
    surroundings: HashSet<Arc<SurroundingsKind>>,
}

impl Documents {
    /// The document of this text: the one already parsed, where there is one.
    pub fn intern(&mut self, encoded: &str) -> Arc<LiveDocument> {
        if let Some(known) = self.by_text.get(encoded) {
            return Arc::clone(known);
        }
        let document = Arc::new(LiveDocument::new(encoded));
        self.by_text.insert(Arc::clone(&document.encoded), Arc::clone(&document));
        document
    }

    /// The document of this text, as IAM would send it.
    pub fn intern_text(&mut self, text: &str) -> Arc<LiveDocument> {
        self.intern(&utf8_percent_encode(text, NON_ALPHANUMERIC).to_string())
    }

    /// The inline policy of a role of this percent-encoded text, that no manifest is about.
    pub fn other(&mut self, role: &RoleName, encoded: &str) -> OtherPolicy {
        OtherPolicy::sharing(role, encoded, |text| self.text(text))
    }

    /// The text about a role, the same one for all that differ by their names alone.
    pub fn about(&mut self, role: &RoleName, text: &str) -> RoleText {
        RoleText::sharing(role, text, |text| self.text(text))
    }

    /// The same text for all that have it: of what is not read again and again nothing else is kept.
    pub fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&text));
        text
    }

    /// The same value for all roles of a kind.
    pub fn role_kind(&mut self, kind: RoleKind) -> Arc<RoleKind> {
        shared(&mut self.roles, kind)
    }

    /// The same value for all surroundings of a kind.
    pub fn surroundings_kind(&mut self, kind: SurroundingsKind) -> Arc<SurroundingsKind> {
        shared(&mut self.surroundings, kind)
    }

    /// Drops what nobody else holds.
    pub fn sweep(&mut self) {
        // What holds documents and texts itself goes first.
        self.roles.retain(|kind| Arc::strong_count(kind) > 1);
        self.surroundings.retain(|kind| Arc::strong_count(kind) > 1);
        self.texts.retain(|text| Arc::strong_count(text) > 1);
        self.by_text.retain(|_, document| Arc::strong_count(document) > 1);
    }
}

fn shared<T: Eq + Hash>(known: &mut HashSet<Arc<T>>, value: T) -> Arc<T> {
    if let Some(known) = known.get(&value) {
        return Arc::clone(known);
    }
    let value = Arc::new(value);
    known.insert(Arc::clone(&value));
    value
}

/// The characters of a percent-encoded document that count towards the quota, without decoding it into memory.
///
/// Every inline policy of every managed role is measured in every pass, also those that are nobody's business here. So
/// nothing in it branches on a byte: the compiler makes vector instructions of it. Each place can be looked at by
/// itself, since what follows a `%` in an escape is neither a `%` nor a byte that does not count.
#[must_use]
pub(crate) fn encoded_size(encoded: &str) -> usize {
    const BLOCK: usize = 64;
    let (mut rest, mut uncounted) = (encoded.as_bytes(), 0);
    while let Some(block) = rest.first_chunk::<{ BLOCK + 2 }>() {
        // At most three each: a byte holds the sum, and the widest vectors hold many bytes.
        let in_block: u8 = (0..BLOCK).map(|at| surplus(block[at], block[at + 1], block[at + 2])).sum();
        uncounted += usize::from(in_block);
        rest = &rest[BLOCK..];
    }
    let at = |index: usize| rest.get(index).copied().unwrap_or_default();
    uncounted +=
        (0..rest.len()).map(|index| usize::from(surplus(at(index), at(index + 1), at(index + 2)))).sum::<usize>();
    encoded.len() - uncounted
}

/// How many bytes more than characters there are for what begins with `first`: an escape is three bytes for one
/// character, or for none.
fn surplus(first: u8, second: u8, third: u8) -> u8 {
    let is_escape = (first == b'%') & is_hex(second) & is_hex(third);
    let is_uncounted_escape = is_escape & is_uncounted((hex(second) << 4) | hex(third));
    u8::from(is_uncounted(first)) + u8::from(is_escape) * 2 + u8::from(is_uncounted_escape)
}

fn is_hex(byte: u8) -> bool {
    (byte.wrapping_sub(b'0') < 10) | ((byte | 0x20).wrapping_sub(b'a') < 6)
}

/// White space, and the continuation bytes of UTF-8: they are part of the character that their lead byte has counted.
fn is_uncounted(byte: u8) -> bool {
    (byte == b' ') | (byte == b'\t') | (byte == b'\n') | (byte == b'\r') | (byte & 0xc0 == 0x80)
}

/// What a hexadecimal digit is worth; anything for other bytes.
fn hex(digit: u8) -> u8 {
    // Letters stand at 0x41 and 0x61, digits at 0x30.
    (digit & 0xf) + ((digit >> 6) & 1) * 9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unchanged_documents_are_not_parsed_again_and_unused_ones_are_dropped() {
        let mut documents = Documents::default();
        let first = documents.intern("%7B%7D");
        assert!(Arc::ptr_eq(&first, &documents.intern("%7B%7D")));
        documents.sweep();
        assert!(Arc::ptr_eq(&first, &documents.intern("%7B%7D")));
        drop(first);
        documents.sweep();
        assert!(documents.by_text.is_empty());
    }

    #[test]
    fn documents_are_percent_decoded_and_plus_stays_plus() {
        assert_eq!(LiveDocument::new("%7B%22a%22%3A%22b+c%20d%C3%A9%22%7D").text(), r#"{"a":"b+c dé"}"#);
    }

    #[test]
    fn the_size_of_an_encoded_document_is_that_of_its_text() {
        for encoded in [
            "",
            "%",
            "%7",
            "%7B%20%0A%09%7D",
            "%7b%0a%0d%7d",
            "a+b%C3%A9",
            "plain text é",
            "%25",
            "%%20",
            "%2%20",
            "%zz",
        ] {
            assert_eq!(encoded_size(encoded), session_manager::size(&LiveDocument::new(encoded).text()), "{encoded}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_size_of_an_encoded_document_is_that_of_its_decoded_bytes(encoded in "([%0-9a-fA-F \n]|%[0-9a-fA-F]{2}|é|.){0,40}") {
            let decoded = percent_decode_str(&encoded).filter(|byte| !is_uncounted(*byte)).count();
            assert_eq!(encoded_size(&encoded), decoded);
        }
    }
}
