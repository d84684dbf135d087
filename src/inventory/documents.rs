//! The documents of live policies: decoded and parsed once, shared by every role that carries the same text.
//!
//! Pure. What must stay true: text that IAM sent before is not parsed again, and text that nobody carries any
//! more is dropped.

use std::{collections::HashMap, sync::Arc};

use percent_encoding::percent_decode_str;

use crate::policy::{document::Document, session_manager};

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
        Self {
            parsed: Document::parse(&text).map_err(|error| error.to_string()),
            size: session_manager::size(&text),
            encoded: encoded.into(),
        }
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

    /// The characters that count towards the role's quota.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }
}

impl PartialEq for LiveDocument {
    fn eq(&self, other: &Self) -> bool {
        self.encoded == other.encoded
    }
}

/// The documents in use, by their text.
#[derive(Debug, Default)]
pub struct Documents {
    by_text: HashMap<Arc<str>, Arc<LiveDocument>>,
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

    /// Drops the documents that nobody else holds.
    pub fn sweep(&mut self) {
        self.by_text.retain(|_, document| Arc::strong_count(document) > 1);
    }
}

/// The characters of a percent-encoded document that count towards the quota, without decoding it into memory.
#[must_use]
pub(crate) fn encoded_size(encoded: &str) -> usize {
    // Continuation bytes of UTF-8 are part of the character that their lead byte has counted.
    let counts = |byte: u8| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') && (byte & 0xc0) != 0x80;
    percent_decode_str(encoded).filter(|byte| counts(*byte)).count()
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
        for encoded in ["", "%7B%20%0A%09%7D", "a+b%C3%A9", "plain text", "%25"] {
            assert_eq!(encoded_size(encoded), session_manager::size(&LiveDocument::new(encoded).text()), "{encoded}");
        }
    }
}
