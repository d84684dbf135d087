//! Text for people: what comes from IAM or from files is made harmless before it reaches a terminal or a log.
//!
//! Pure. What must stay true: [`printable`] yields one line that no terminal acts upon.

use std::borrow::Cow;

/// The text with every character escaped that could forge a line, colour a terminal or reorder what is read:
/// control characters (C0, DEL, C1), line and paragraph separators, and the bidirectional controls.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_unsafe(character) {
            safe.extend(character.escape_unicode());
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// JSON in which what it lets pass but a terminal would act upon is said in letters: it can only stand inside of a
/// string, so the meaning is the same.
#[must_use]
pub(crate) fn printable_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for character in json.chars() {
        if !is_unsafe(character) || character.is_ascii() && character != '\u{7f}' {
            safe.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    safe
}

/// The text as one word of a POSIX shell, safe to paste.
#[must_use]
pub(crate) fn shell_word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-/:".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    if text.chars().any(is_unsafe) {
        // A shell's `$'…'` can say control characters in letters, so that the line itself holds none.
        let mut word = String::from("$'");
        for character in text.chars() {
            match character {
                '\'' | '\\' => word.extend(['\\', character]),
                _ if is_unsafe(character) => {
                    for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                        word.push_str(&format!("\\x{byte:02x}"));
                    }
                }
                _ => word.push(character),
            }
        }
        word.push('\'');
        return word;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A span of time as a person says it: `850ms`, `12s`, `3m 20s`, `2h 5m`, `4d 1h`.
#[must_use]
pub(crate) fn span(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..=59 => format!("{seconds}s"),
        60..=3_599 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..=86_399 => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// `1 role`, `2 roles`.
pub(crate) fn counted(number: usize, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

#[cfg(test)]
mod tests {
    use std::{process::Command, time::Duration};

    use super::*;

    #[test]
    fn nothing_that_a_terminal_acts_upon_passes() {
        assert_eq!(printable("plain é text"), "plain é text");
        let safe = printable("a\nb\x1b[31mred\u{9b}1m\u{202e}x\u{7f}\u{feff}");
        assert_eq!(safe, r"a\u{a}b\u{1b}[31mred\u{9b}1m\u{202e}x\u{7f}\u{feff}");
    }

    #[test]
    fn a_shell_reads_back_the_very_text() {
        for text in ["", "plain", "it's", r#"{"a": "b c"}"#, "two\nlines\t'\\ \u{9b}31m", "$HOME `id` !x"] {
            let output =
                Command::new("bash").arg("-c").arg(format!("printf %s {}", shell_word(text))).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
            assert!(!shell_word(text).contains('\n'));
        }
    }

    #[test]
    fn spans_are_said_in_two_units_at_most() {
        let said: Vec<_> = [0.85, 12.0, 200.0, 7_500.0, 349_200.0].map(|s| span(Duration::from_secs_f64(s))).into();
        assert_eq!(said, ["850ms", "12s", "3m 20s", "2h 5m", "4d 1h"]);
    }
}
