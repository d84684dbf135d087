//! Faults: what is wrong in a manifest, where, because of what, and what to do next.
//!
//! Knows text and positions, not what a manifest means. What must stay true: nothing that comes from a file (its
//! name included) reaches the screen unescaped, so no manifest can draw on a terminal.

use std::{cmp::Ordering, fmt, fmt::Write as _, sync::Arc};

use crate::text::printable;

/// Where something stands in a manifest: enough to go there, and to show the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named to the program.
    pub file: Arc<str>,
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
    excerpt: Option<Arc<Excerpt>>,
}

/// The part of a line that is shown, already escaped, and what is underlined in it.
#[derive(Debug, PartialEq, Eq)]
struct Excerpt {
    text: Box<str>,
    before: usize,
    width: usize,
}

/// Something wrong in a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it stands.
    pub place: Place,
    /// The key's path, such as `spec.roles[2]`; empty where the fault is about the whole document or file.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// The next step for the person who wrote it.
    pub hint: Option<String>,
    /// How many faults this one stands for: itself, or all that are not told.
    pub stands_for: usize,
}

/// So much of a line is shown to either side of the place.
const SHOWN_BEFORE: usize = 60;
const SHOWN_AFTER: usize = 60;

impl Place {
    /// The very beginning of a file: for faults that concern the file rather than its text.
    #[must_use]
    pub fn start_of(file: &str) -> Self {
        Self { file: file.into(), line: 1, column: 1, excerpt: None }
    }

    /// A place in a line of text; `width` characters are underlined.
    pub(super) fn in_line(file: Arc<str>, line: usize, column: usize, text: &str, width: usize) -> Self {
        let from = column.saturating_sub(1).saturating_sub(SHOWN_BEFORE);
        let mut shown = String::new();
        let (mut before, mut underlined) = (0, 0);
        if from > 0 {
            shown.push('…');
            before = 1;
        }
        let mut rest = text.chars().enumerate().skip(from);
        for (index, character) in rest.by_ref().take(SHOWN_BEFORE + SHOWN_AFTER) {
            let piece = escape(character.encode_utf8(&mut [0; 4]));
            let length = piece.chars().count();
            if index + 1 < column {
                before += length;
            } else if index + 1 < column + width {
                underlined += length;
            }
            shown.push_str(&piece);
        }
        if rest.next().is_some() {
            shown.push('…');
        }
        let excerpt = Excerpt { text: shown.into_boxed_str(), before, width: underlined.max(1) };
        Self { file, line, column, excerpt: Some(Arc::new(excerpt)) }
    }
}

impl Fault {
    /// A fault that concerns a whole file: it cannot be read, or should not be there.
    #[must_use]
    pub fn of_file(file: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            place: Place::start_of(file),
            path: String::new(),
            message: message.into(),
            hint: Some(hint.into()),
            stands_for: 1,
        }
    }
}

impl Fault {
    /// The first line of the fault, `FILE:LINE:COLUMN: what`: all that a log line has room for.
    #[must_use]
    pub fn headline(&self) -> String {
        format!("{}:{}: {}", self.place, self.place.column, escape(&self.message))
    }
}

/// The faults of one file: the first [`MOST_FAULTS`] of them, and how many more there are.
#[derive(Debug, Default)]
pub(super) struct Faults {
    told: Vec<Fault>,
    untold: usize,
}

/// So many faults of a file are told: more help nobody.
pub(super) const MOST_FAULTS: usize = 100;

impl Faults {
    /// Takes one in. It is built only if it is told: to find its place on a long line takes time.
    pub(super) fn tell(&mut self, fault: impl FnOnce() -> Fault) {
        if self.told.len() < MOST_FAULTS {
            self.told.push(fault());
        } else {
            self.untold += 1;
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.told.len() + self.untold
    }

    /// Those that are told, in the order of the text, and after them one that stands for the rest.
    pub(super) fn into_told(mut self) -> Vec<Fault> {
        self.told.sort();
        self.told.dedup();
        if let (Some(last), true) = (self.told.last(), self.untold > 0) {
            let Place { file, line, column, .. } = last.place.clone();
            self.told.push(Fault {
                place: Place { file, line, column: column + 1, excerpt: None },
                path: String::new(),
                message: format!("and {} more faults of this file", self.untold),
                hint: Some("begin with those before: they may be the cause".to_owned()),
                stands_for: self.untold,
            });
        }
        self.told
    }
}

/// One line that no terminal acts upon, in which a tab takes the one column that it takes in the source.
pub(super) fn escape(text: &str) -> String {
    printable(&text.replace('\t', " ")).into_owned()
}

/// [`escape`], in one line that a message can hold.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    escape(&short)
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", escape(&self.file), self.line)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.headline())?;
        let number = self.place.line.to_string();
        let margin = " ".repeat(number.len());
        if !self.path.is_empty() {
            write!(formatter, "\n {margin} at {}", escape(&self.path))?;
        }
        if let Some(Excerpt { text, before, width }) = self.place.excerpt.as_deref() {
            write!(formatter, "\n {margin} |\n {number} |")?;
            if !text.is_empty() {
                write!(formatter, " {text}")?;
            }
            write!(formatter, "\n {margin} | {}{}", " ".repeat(*before), "^".repeat(*width))?;
        }
        if let Some(hint) = &self.hint {
            write!(formatter, "\nhint: {}", escape(hint))?;
        }
        Ok(())
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |place: &'_ Self| (place.file.clone(), place.line, place.column);
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Fault {
    fn cmp(&self, other: &Self) -> Ordering {
        let rest = |fault: &'_ Self| (fault.path.clone(), fault.message.clone(), fault.hint.clone());
        self.place.cmp(&other.place).then_with(|| rest(self).cmp(&rest(other)))
    }
}

impl PartialOrd for Fault {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A key's path: `spec.sessionPreferences.kmsKeyId`, `spec.roles[2]`, `metadata.labels["a.b/c"]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct KeyPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

impl KeyPath {
    pub(super) fn key(&self, key: &str) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Key(key.to_owned()));
        Self(steps)
    }

    pub(super) fn index(&self, index: usize) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Index(index));
        Self(steps)
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The last key, without the indices after it.
    pub(super) fn last_key(&self) -> Option<&str> {
        self.0.iter().rev().find_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        })
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(formatter, "[{index}]")?,
                Step::Key(key) if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                    if position > 0 {
                        formatter.write_char('.')?;
                    }
                    formatter.write_str(key)?;
                }
                Step::Key(key) => write!(formatter, "[\"{}\"]", shown(key))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str, column: usize, width: usize) -> Fault {
        Fault {
            place: Place::in_line("config/web.yaml".into(), 7, column, text, width),
            path: "spec.role".to_owned(),
            message: "unknown key `role`".to_owned(),
            hint: Some("did you mean `roles`?".to_owned()),
            stands_for: 1,
        }
    }

    #[test]
    fn a_fault_says_where_what_and_what_to_do_next() {
        insta::assert_snapshot!(fault("  role: [web]", 3, 4), @r"
        config/web.yaml:7:3: unknown key `role`
           at spec.role
           |
         7 |   role: [web]
           |   ^^^^
        hint: did you mean `roles`?
        ");
    }

    #[test]
    fn a_very_long_line_is_cut_around_the_place() {
        let text = format!("{}HERE{}", "a".repeat(5000), "b".repeat(5000));
        let shown = fault(&text, 5001, 4).to_string();
        assert!(shown.lines().all(|line| line.chars().count() < 140), "{shown}");
        assert!(shown.contains("aHEREb") && shown.contains("…a") && shown.contains("b…"), "{shown}");
        let lines: Vec<&str> = shown.lines().collect();
        let at = |line: &str, wanted: char| line.chars().position(|character| character == wanted);
        assert_eq!(at(lines[3], 'H'), at(lines[4], '^'));
    }

    #[test]
    fn no_control_character_or_terminal_escape_passes() {
        let mut bad = fault("a: \u{1b}[31m\u{202e}\u{7}", 4, 1);
        bad.place.file = "x\u{1b}]0;owned\u{7}.yaml".into();
        bad.message.push_str("\u{1b}[2J\n");
        bad.hint = Some("\r\u{9b}".to_owned());
        bad.path = KeyPath::default().key("\u{1b}").to_string();
        let shown = bad.to_string();
        assert!(shown.chars().all(|character| character == '\n' || !character.is_control()), "{shown:?}");
        assert!(!shown.contains('\u{202e}'));
        assert_eq!(shown.lines().count(), 6);
    }

    #[test]
    fn paths_read_like_the_keys_that_were_written() {
        let labels = KeyPath::default().key("metadata").key("labels").key("a.b/c");
        assert_eq!(labels.to_string(), "metadata.labels[\"a.b/c\"]");
        assert_eq!(KeyPath::default().key("spec").key("roles").index(2).to_string(), "spec.roles[2]");
    }
}
