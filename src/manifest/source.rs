//! The text of one file: whether it is text at all, and its lines.
//!
//! Knows bytes and characters, not YAML. What must stay true: after [`Source::read`] the text holds no character
//! that two readers of YAML could take differently (control characters, the line separators of YAML 1.1).

use std::sync::Arc;

use super::fault::{Fault, KeyPath, Place};

/// The largest file that is read.
pub const LARGEST_FILE: usize = 4 * 1024 * 1024;

/// A position, both counted from 1, and how many characters stand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) width: usize,
}

pub(super) struct Source<'a> {
    pub(super) file: Arc<str>,
    pub(super) text: &'a str,
    lines: Vec<&'a str>,
}

impl<'a> Source<'a> {
    pub(super) fn read(file: &str, bytes: &'a [u8]) -> Result<Self, Box<Fault>> {
        if bytes.len() > LARGEST_FILE {
            return Err(Box::new(too_large(file)));
        }
        let (text, broken) = match std::str::from_utf8(bytes) {
            Ok(text) => (text, false),
            Err(error) => (std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(), true),
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let source = Self { file: file.into(), text, lines: lines(text) };
        if broken {
            let message = "the file is not UTF-8: this is where the first byte stands that is not text";
            return Err(Box::new(source.fault_at_end(message, "save it as UTF-8, without other encodings in it")));
        }
        if text.trim().is_empty() {
            let hint = "a save that was cut short looks like this; to manage nothing here, remove the file or leave a comment in it";
            return Err(Box::new(Fault::of_file(file, "the file is empty", hint)));
        }
        match text.char_indices().find(|(_, character)| is_forbidden(*character)) {
            None => Ok(source),
            Some((at, character)) => {
                let before = Self { file: file.into(), text: &text[..at], lines: lines(&text[..at]) };
                let mut fault = before.fault_at_end(
                    &format!("the character U+{:04X} does not belong in a manifest", u32::from(character)),
                    "remove it: it is invisible, and not every reader of YAML takes it in the same way",
                );
                let mark = Mark { line: fault.place.line, column: fault.place.column, width: 1 };
                fault.place = source.place(mark);
                Err(Box::new(fault))
            }
        }
    }

    pub(super) fn place(&self, mark: Mark) -> Place {
        // What YAML misses at the end of a last line that has no line end, it misses in the line after that.
        let mark = if mark.line > self.lines.len() { self.end() } else { mark };
        let line = self.lines.get(mark.line.saturating_sub(1)).copied().unwrap_or_default();
        Place::in_line(self.file.clone(), mark.line, mark.column, line, mark.width)
    }

    pub(super) fn fault(&self, mark: Mark, path: &KeyPath, message: impl Into<String>, hint: Option<String>) -> Fault {
        Fault { place: self.place(mark), path: path.to_string(), message: message.into(), hint, stands_for: 1 }
    }

    fn fault_at_end(&self, message: &str, hint: &str) -> Fault {
        self.fault(self.end(), &KeyPath::default(), message, Some(hint.to_owned()))
    }

    /// Where the text ends.
    fn end(&self) -> Mark {
        let column = self.lines.last().map_or(0, |line| line.chars().count()) + 1;
        Mark { line: self.lines.len(), column, width: 1 }
    }
}

/// The fault of a file over [`LARGEST_FILE`]; whoever reads files can tell it without reading them whole.
#[must_use]
pub fn too_large(file: &str) -> Fault {
    Fault::of_file(file, "the file is larger than 4 MiB", "split it: manifests may lie in any number of files")
}

fn is_forbidden(character: char) -> bool {
    let line_end = matches!(character, '\t' | '\n' | '\r');
    (character.is_control() && !line_end) || matches!(character, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// The lines as YAML counts them: `\n`, `\r\n` and a lone `\r` each end one.
fn lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let (mut start, bytes) = (0, text.as_bytes());
    for (at, byte) in bytes.iter().enumerate() {
        let ends = *byte == b'\n' || (*byte == b'\r' && bytes.get(at + 1) != Some(&b'\n'));
        if ends {
            lines.push(text[start..at].trim_end_matches('\r'));
            start = at + 1;
        }
    }
    lines.push(&text[start..]);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        Source::read("a.yaml", bytes).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn bytes_that_are_not_utf8_are_told_with_their_place() {
        insta::assert_snapshot!(refusal(b"a: 1\nb: \xff\n"), @r"
        a.yaml:2:4: the file is not UTF-8: this is where the first byte stands that is not text
           |
         2 | b: 
           |    ^
        hint: save it as UTF-8, without other encodings in it
        ");
    }

    #[test]
    fn an_empty_file_is_a_fault_and_one_with_only_comments_is_not() {
        assert!(refusal(b"").contains("empty"));
        assert!(refusal(b" \n\r\n\t").contains("empty"));
        assert!(refusal(b"\xef\xbb\xbf").contains("empty"));
        assert!(Source::read("a.yaml", b"# nothing yet\n").is_ok());
    }

    #[test]
    fn a_file_over_four_mebibytes_is_refused_unread() {
        assert!(refusal(&vec![b'#'; LARGEST_FILE + 1]).contains("larger than 4 MiB"));
        assert!(Source::read("a.yaml", &vec![b'#'; LARGEST_FILE]).is_ok());
    }

    #[test]
    fn control_characters_and_foreign_line_separators_are_refused_with_their_place() {
        for character in ['\0', '\u{1b}', '\u{7f}', '\u{85}', '\u{9b}', '\u{2028}', '\u{2029}'] {
            let shown = refusal(format!("a: 1\r\né: x{character}y\n").as_bytes());
            assert!(shown.starts_with("a.yaml:2:5: the character U+"), "{shown}");
        }
    }

    #[test]
    fn lines_end_as_yaml_says() {
        assert_eq!(lines("a\nb\r\nc\rd"), ["a", "b", "c", "d"]);
    }
}
