//! YAML in blocks, as people write it.
//!
//! Knows nothing of manifests. What must stay true: every reader of YAML, of its version 1.1 as well as of 1.2, reads text
//! as the very text, and no comment ends before its line does.

use std::fmt::Write as _;

use serde_yaml::Value;

/// A mapping, one key a line.
pub(super) fn block(value: &Value) -> String {
    let mut text = String::new();
    entries(value, 0, &mut text);
    text
}

fn entries(value: &Value, depth: usize, text: &mut String) {
    let Value::Mapping(mapping) = value else { return };
    for (key, value) in mapping {
        // Writing to a String cannot fail.
        let _ = write!(text, "{:indent$}{}:", "", scalar(key), indent = 2 * depth);
        match value {
            Value::Mapping(below) if !below.is_empty() => {
                text.push('\n');
                entries(value, depth + 1, text);
            }
            Value::Sequence(items) if !items.is_empty() => {
                text.push('\n');
                for item in items {
                    let _ = writeln!(text, "{:indent$}- {}", "", scalar(item), indent = 2 * depth + 2);
                }
            }
            Value::Mapping(_) => text.push_str(" {}\n"),
            Value::Sequence(_) => text.push_str(" []\n"),
            other => {
                let _ = writeln!(text, " {}", scalar(other));
            }
        }
    }
}

/// Text, truth or a number, on one line.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        // JSON's strings are YAML's.
        Value::String(text) => serde_json::to_string(text).unwrap_or_default(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        _ => "null".to_owned(),
    }
}

/// Whether text can stand without quotes, and be read as nothing but this text: anything that could be a number, a time or
/// an operator begins with another sign than a letter, or is one of a few words.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 10] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "none"];
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
        && !WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_another_reader_could_take_for_something_else_stands_in_quotes() {
        for plain in ["web-server", "SessionManagerPermissions", "a.b_c/d", "e3", "Yes-man"] {
            assert_eq!(scalar(&plain.into()), plain);
        }
        for quoted in [
            "",
            "yes",
            "NO",
            "On",
            "y",
            "null",
            "~",
            "012345678901",
            "1e3",
            "0x1f",
            "1_000",
            "2024-01-01",
            "12:30:45",
            ".5",
            ".inf",
            "-",
            "=",
            "+1",
            "@web",
            "a=b",
            "a,b",
            "a b",
            "a: b",
            "a #b",
            "#",
            "&a",
            "*a",
            "!a",
            "\"",
            "é",
        ] {
            assert_eq!(scalar(&quoted.into()), serde_json::to_string(quoted).unwrap());
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_back(texts in prop::collection::vec("[ -~\u{a1}-\u{ff}]{0,20}", 0..4), key in "[a-z]{1,5}") {
            let written = serde_yaml::to_value(std::collections::BTreeMap::from([(key, &texts)])).unwrap();
            let read: Value = serde_yaml::from_str(&block(&written)).unwrap();
            prop_assert_eq!(read, written);
        }
    }
}
