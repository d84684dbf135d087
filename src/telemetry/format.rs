//! How a line of log looks: text for people, or one JSON object.
//!
//! What must stay true: one event is one line, and nothing in it can be taken by a terminal for a command.

use std::fmt::{self, Write};

use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use super::{LogFormat, event::CONDITIONS};
use crate::text::{printable, printable_json};

/// Formats events in one of the two forms.
pub(super) struct Lines {
    pub(super) format: LogFormat,
    pub(super) colour: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let timestamp = format!("{:.3}", jiff::Timestamp::now());
        let level = *event.metadata().level();
        let line = match self.format {
            LogFormat::Json => json_line(&timestamp, level, fields.0),
            LogFormat::Text => text_line(&timestamp, level, &fields.0, self.colour),
        };
        writeln!(writer, "{line}")
    }
}

/// All fields at the top level, the fixed ones first.
fn json_line(timestamp: &str, level: Level, fields: Map<String, Value>) -> String {
    let mut line = format!(r#"{{"timestamp":"{timestamp}","level":"{level}""#);
    for (key, value) in fields {
        let _ = match &value {
            Value::String(conditions) if key == CONDITIONS => write!(line, r#","{CONDITIONS}":{conditions}"#),
            _ => write!(line, ",{}:{value}", Value::String(key)),
        };
    }
    line.push('}');
    printable_json(&line)
}

/// Time, level, name, sentence, then what to do; other fields only where there is no sentence of ours around them.
fn text_line(timestamp: &str, level: Level, fields: &Map<String, Value>, colour: bool) -> String {
    let text = |key: &str| fields.get(key).and_then(Value::as_str);
    let (start, end) = match (colour, level) {
        (true, Level::ERROR) => ("\x1b[31m", "\x1b[0m"),
        (true, Level::WARN) => ("\x1b[33m", "\x1b[0m"),
        _ => ("", ""),
    };
    let mut line = format!("{timestamp} {start}{level:>5}{end}");
    if let Some(event) = text("event") {
        let _ = write!(line, " {}", printable(event));
    }
    if let Some(message) = text("message") {
        let _ = write!(line, " {}", printable(message));
    }
    if text("event").is_none() {
        for (key, value) in fields.iter().filter(|(key, _)| *key != "message") {
            let _ = write!(line, " {key}={}", printable(&value.to_string()));
        }
    }
    for (key, word) in [("undo", "undo"), ("hint", "hint")] {
        if let Some(said) = text(key) {
            let _ = write!(line, "; {word}: {}", printable(said));
        }
    }
    line
}

/// The fields of one event, in the order in which they were given.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, Value)]) -> Map<String, Value> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    }

    const HOSTILE: &str = "x\n2026 WARN forged \x1b[31m\u{9b}1m\u{7f}\u{202e}";

    #[test]
    fn no_name_or_document_can_forge_a_line_or_colour_a_terminal() {
        let hostile =
            fields(&[("event", "drift.detected".into()), ("message", HOSTILE.into()), ("undo", HOSTILE.into())]);
        let text = text_line("T", Level::WARN, &hostile, false);
        let json = json_line("T", Level::WARN, hostile.clone());
        for line in [&text, &json] {
            assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line}");
        }
        let parsed: Map<String, Value> = serde_json::from_str(&json).unwrap();
        assert_eq!(parsed["message"], HOSTILE);
    }

    #[test]
    fn json_lines_hold_every_field_at_the_top_level() {
        let line = json_line(
            "T",
            Level::INFO,
            fields(&[("event", "drift.repaired".into()), ("seen_for_seconds", 1.5.into())]),
        );
        assert_eq!(line, r#"{"timestamp":"T","level":"INFO","event":"drift.repaired","seen_for_seconds":1.5}"#);
    }

    #[test]
    fn text_lines_end_with_what_to_do() {
        let line = text_line(
            "T",
            Level::WARN,
            &fields(&[
                ("event", "e".into()),
                ("role", "r".into()),
                ("message", "it happened".into()),
                ("hint", "do this".into()),
            ]),
            false,
        );
        assert_eq!(line, "T  WARN e it happened; hint: do this");
    }
}
