//! The positioned tree: one walk over the events of a file's text, so that every key path has a place.
//!
//! Knows YAML, not what a manifest means. What must stay true: whoever walks a tree recursively needs neither much
//! stack nor much time, whatever the file says: depth and size are bounded with every alias counted as if it were
//! written out, and an aliased value is shared, never copied.

use std::{collections::BTreeMap, rc::Rc};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

use super::{
    fault::{Fault, Faults, KeyPath, Step, shown},
    source::{Mark, Source},
};

/// Deeper than any manifest has a reason to be.
const DEEPEST: usize = 32;
/// So many nodes may a file hold, aliases written out: 4 MiB of the shortest list items have less than a million.
const MOST_NODES: usize = 1_000_000;

/// A value where it is written, or where the alias for it is: then the value is shared with its anchor.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) mark: Mark,
    pub(super) value: Rc<Value>,
    /// How many nodes this is, and how deep, with aliases written out.
    size: usize,
    height: usize,
}

#[derive(Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// As it is written: an account id keeps its zeros.
    Integer(String),
    Float,
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_mark: Mark,
    pub(super) value: Node,
}

impl Node {
    /// The entries, if this is a map.
    pub(super) fn entries(&self) -> &[Entry] {
        match &*self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The place of what stands at `path`, or of the nearest thing above it that is there.
    pub(super) fn mark_at(&self, path: &KeyPath) -> Mark {
        let (mut node, mut mark) = (self, self.mark);
        for step in path.steps() {
            let below = match (step, &*node.value) {
                (Step::Key(key), _) => node.entry(key).map(|entry| (&entry.value, entry.key_mark)),
                (Step::Index(index), Value::List(items)) => items.get(*index).map(|item| (item, item.mark)),
                _ => None,
            };
            let Some((child, at)) = below else { return mark };
            // A scalar is shown itself, a list or a map by its key.
            mark = if matches!(*child.value, Value::List(_) | Value::Map(_)) { at } else { child.mark };
            node = child;
        }
        mark
    }
}

/// The documents of a file up to the first syntax error, in order, but for those in which nothing stands.
pub(super) fn read(source: &Source<'_>, faults: &mut Faults) -> Vec<Node> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(source.text) {
        let outcome = match event {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => Err(syntax_error(*error.marker(), error.info())),
        };
        if let Err(stop) = outcome {
            faults.tell(|| source.fault(stop.mark, &KeyPath::default(), stop.message, Some(stop.hint)));
            break;
        }
    }
    builder.documents
}

/// What keeps the rest of a file from being read.
struct Stop {
    mark: Mark,
    message: String,
    hint: String,
}

fn mark_of(start: Marker, width: usize) -> Mark {
    Mark { line: start.line(), column: start.col() + 1, width: width.max(1) }
}

fn syntax_error(at: Marker, info: &str) -> Stop {
    let hint = if info.contains("tab") {
        "indent with spaces: YAML allows no tabs here"
    } else {
        "look at the indentation, the colons and the quotes of this line and of the one before"
    };
    Stop { mark: mark_of(at, 1), message: format!("this is not YAML: {info}"), hint: hint.to_owned() }
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
}

/// A list or map whose end has not come yet.
struct Open {
    mark: Mark,
    anchor: usize,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    Map(Vec<Entry>, Option<(String, Mark)>),
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        let width = if span.start.line() == span.end.line() { span.len() } else { 1 };
        let mark = mark_of(span.start, width);
        let has_tag = match &event {
            Event::Scalar(.., tag) | Event::SequenceStart(_, tag) | Event::MappingStart(_, tag) => tag.is_some(),
            _ => false,
        };
        if has_tag {
            return Err(Stop {
                mark,
                message: "tags (`!…`) have no meaning in manifests".to_owned(),
                hint: "remove the tag; put text that looks like a number in quotes".to_owned(),
            });
        }
        match event {
            Event::DocumentStart(_) => self.anchors.clear(),
            Event::SequenceStart(anchor, _) => self.begin(mark, anchor, Items::List(Vec::new()))?,
            Event::MappingStart(anchor, _) => self.begin(mark, anchor, Items::Map(Vec::new(), None))?,
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { mark, anchor, items }) = self.open.pop() {
                    let value = match items {
                        Items::List(items) => Value::List(items),
                        Items::Map(entries, _) => Value::Map(entries),
                    };
                    self.finish(node(mark, value), anchor)?;
                }
            }
            Event::Scalar(text, style, anchor, _) => {
                let is_key = matches!(self.open.last(), Some(Open { items: Items::Map(_, None), .. }));
                let value = if style != ScalarStyle::Plain || is_key {
                    if is_key && style == ScalarStyle::Plain && text == "<<" {
                        return Err(Stop {
                            mark,
                            message: "merge keys (`<<`) are not supported".to_owned(),
                            hint: "write the keys out, or use an alias for a single value".to_owned(),
                        });
                    }
                    Value::Text(text.into_owned())
                } else {
                    plain(&text)
                };
                self.finish(node(mark, value), anchor)?;
            }
            Event::Alias(anchor) => {
                let Some(shared) = self.anchors.get(&anchor).cloned() else {
                    return Err(Stop {
                        mark,
                        message: "this alias stands inside the very value that it repeats".to_owned(),
                        hint: "an alias can only repeat what was complete before it".to_owned(),
                    });
                };
                let count = shared.size;
                self.add(Node { mark, ..shared }, mark, count)?;
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn begin(&mut self, mark: Mark, anchor: usize, items: Items) -> Result<(), Stop> {
        if self.open.len() >= DEEPEST {
            return Err(too_deep(mark));
        }
        if matches!(self.open.last(), Some(Open { items: Items::Map(_, None), .. })) {
            return Err(key_must_be_text(mark));
        }
        self.open.push(Open { mark, anchor, items });
        Ok(())
    }

    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), Stop> {
        let mark = node.mark;
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        self.add(node, mark, 1)
    }

    /// Puts a complete node where it belongs. `mark` is where it, or the alias for it, is written; `count` is how
    /// many nodes are new with it.
    fn add(&mut self, node: Node, mark: Mark, count: usize) -> Result<(), Stop> {
        self.nodes = self.nodes.saturating_add(count);
        if self.nodes > MOST_NODES {
            return Err(Stop {
                mark,
                message: format!("the file holds more than {MOST_NODES} values, aliases written out"),
                hint: "split the file; if it is small, its aliases of aliases are what makes it large".to_owned(),
            });
        }
        if self.open.len() + node.height > DEEPEST {
            return Err(too_deep(mark));
        }
        match self.open.last_mut() {
            None => {
                if !matches!(*node.value, Value::Null) {
                    self.documents.push(node);
                }
            }
            Some(Open { items: Items::List(items), .. }) => items.push(node),
            Some(Open { items: Items::Map(entries, key), .. }) => match (key.take(), &*node.value) {
                (Some((key, key_mark)), _) => entries.push(Entry { key, key_mark, value: node.clone() }),
                (None, Value::Text(text)) => *key = Some((text.clone(), node.mark)),
                (None, _) => return Err(key_must_be_text(mark)),
            },
        }
        Ok(())
    }
}

fn too_deep(mark: Mark) -> Stop {
    Stop {
        mark,
        message: format!("lists and maps are nested more than {DEEPEST} deep"),
        hint: "no manifest needs that; look for a bracket that is not closed".to_owned(),
    }
}

fn key_must_be_text(mark: Mark) -> Stop {
    Stop {
        mark,
        message: "a list or a map cannot be a key".to_owned(),
        hint: "put text that begins with `{` or `[` in quotes".to_owned(),
    }
}

fn node(mark: Mark, value: Value) -> Node {
    let children: &mut dyn Iterator<Item = &Node> = match &value {
        Value::List(items) => &mut items.iter(),
        Value::Map(entries) => &mut entries.iter().map(|entry| &entry.value),
        _ => &mut std::iter::empty(),
    };
    let (size, height) = children
        .fold((1_usize, 0), |(size, height), child| (size.saturating_add(child.size), height.max(child.height + 1)));
    Node { mark, value: Rc::new(value), size, height }
}

/// What an unquoted scalar is by the core schema of YAML 1.2.
fn plain(text: &str) -> Value {
    let digits = |text: &str, radix| !text.is_empty() && text.chars().all(|character| character.is_digit(radix));
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ if digits(unsigned, 10) => Value::Integer(text.to_owned()),
        _ if text.strip_prefix("0x").is_some_and(|rest| digits(rest, 16)) => Value::Integer(text.to_owned()),
        _ if text.strip_prefix("0o").is_some_and(|rest| digits(rest, 8)) => Value::Integer(text.to_owned()),
        _ if unsigned.starts_with(|first: char| first == '.' || first.is_ascii_digit())
            && unsigned.parse::<f64>().is_ok() =>
        {
            Value::Float
        }
        _ if matches!(unsigned.to_ascii_lowercase().as_str(), ".inf" | ".nan") => Value::Float,
        _ => Value::Text(text.to_owned()),
    }
}

/// Finds what YAML allows and a manifest does not, anywhere in a document: duplicate keys, and nulls.
pub(super) fn check(source: &Source<'_>, node: &Node, path: &KeyPath, faults: &mut Faults) {
    match &*node.value {
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                match *item.value {
                    Value::Null => faults.tell(|| null(source, item.mark, &path.index(index))),
                    Value::List(_) | Value::Map(_) => check(source, item, &path.index(index), faults),
                    _ => {}
                }
            }
        }
        Value::Map(entries) => {
            let mut seen = BTreeMap::new();
            for entry in entries {
                let path = path.key(&entry.key);
                if let Some(first) = seen.insert(&entry.key, entry.key_mark) {
                    faults.tell(|| {
                        let message = format!("duplicate key `{}`", shown(&entry.key));
                        let hint = format!("it stands in line {} already: keep one of the two", first.line);
                        source.fault(entry.key_mark, &path, message, Some(hint))
                    });
                }
                match *entry.value.value {
                    Value::Null => faults.tell(|| null(source, entry.key_mark, &path)),
                    _ => check(source, &entry.value, &path, faults),
                }
            }
        }
        _ => {}
    }
}

fn null(source: &Source<'_>, mark: Mark, path: &KeyPath) -> Fault {
    let hint = "write a value, or leave the key out; empty text is written \"\"";
    source.fault(mark, path, "there is no value here (null)", Some(hint.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<Fault> {
        let source = Source::read("a.yaml", text.as_bytes()).unwrap();
        let mut faults = Faults::default();
        for document in read(&source, &mut faults) {
            check(&source, &document, &KeyPath::default(), &mut faults);
        }
        faults.into_told()
    }

    fn told(text: &str) -> String {
        faults(text).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n")
    }

    fn first_lines(text: &str) -> Vec<String> {
        faults(text)
            .iter()
            .map(|fault| format!("{}:{} {}", fault.place.line, fault.place.column, fault.message))
            .collect()
    }

    #[test]
    fn duplicate_keys_are_found_anywhere_and_the_second_is_shown() {
        insta::assert_snapshot!(told("a:\n  - {x: 1, 'x': 2}\n"), @r"
        a.yaml:2:12: duplicate key `x`
           at a[0].x
           |
         2 |   - {x: 1, 'x': 2}
           |            ^^^
        hint: it stands in line 2 already: keep one of the two
        ");
    }

    #[test]
    fn nulls_are_found_in_every_spelling() {
        assert_eq!(
            first_lines("a: ~\nb: null\nc:\nd: [~, x]\ne:\n-\n- x\nf: 1\n"),
            [
                "1:1 there is no value here (null)",
                "2:1 there is no value here (null)",
                "3:1 there is no value here (null)",
                "4:5 there is no value here (null)",
                "6:2 there is no value here (null)",
            ]
        );
    }

    #[test]
    fn what_is_not_yaml_is_told_with_its_place() {
        insta::assert_snapshot!(told("a: 1\n\tb: 2\n"), @r"
        a.yaml:1:4: this is not YAML: while scanning a plain scalar, found a tab
           |
         1 | a: 1
           |    ^
        hint: indent with spaces: YAML allows no tabs here
        ");
        insta::assert_snapshot!(told("a: b: c\n"), @r"
        a.yaml:1:5: this is not YAML: mapping values are not allowed in this context
           |
         1 | a: b: c
           |     ^
        hint: look at the indentation, the colons and the quotes of this line and of the one before
        ");
        insta::assert_snapshot!(told("- a\nb"), @r"
        a.yaml:2:2: this is not YAML: simple key expected
           |
         2 | b
           |  ^
        hint: look at the indentation, the colons and the quotes of this line and of the one before
        ");
        insta::assert_snapshot!(told("a: [1, 2\nb: 3\n"), @r"
        a.yaml:2:2: this is not YAML: illegal placement of ':' indicator
           |
         2 | b: 3
           |  ^
        hint: look at the indentation, the colons and the quotes of this line and of the one before
        ");
    }

    #[test]
    fn an_alias_bomb_is_refused_quickly() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..20 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        assert_eq!(first_lines(&text).len(), 1);
        assert!(told(&text).contains("aliases"), "{}", told(&text));
    }

    #[test]
    fn no_depth_exhausts_the_stack_also_not_by_aliases() {
        for opening in ["[", "{a: ", "- ", "? "] {
            assert_eq!(faults(&opening.repeat(200_000)).len(), 1, "{opening}");
        }
        assert!(told(&"- ".repeat(200)).contains("nested more than 32 deep"));
        let mut text = "a0: &a0 [x]\n".to_owned();
        for level in 1..5000 {
            text.push_str(&format!("a{level}: &a{level} [[[[*a{}]]]]\n", level - 1));
        }
        assert!(told(&text).contains("nested more than 32 deep"));
    }

    #[test]
    fn an_alias_inside_its_own_anchor_is_refused() {
        assert!(told("a: &a [*a]\n").contains("inside the very value"), "{}", told("a: &a [*a]\n"));
        assert!(!told("a: *nowhere\n").is_empty());
    }

    #[test]
    fn tags_merge_keys_and_keys_that_are_no_text_are_refused() {
        assert!(told("a: !!str 1\n").contains("tags"));
        assert!(told("a: &x {b: 1}\nc:\n  <<: *x\n").contains("merge keys"));
        assert!(told("? [a, b]\n: c\n").contains("cannot be a key"));
        assert!(told("{{ .Values.x }}: c\n").contains("cannot be a key"));
    }

    #[test]
    fn positions_count_characters_and_every_kind_of_line_end() {
        assert_eq!(first_lines("a: 1\r\né: {x: ~}\r\n"), ["2:5 there is no value here (null)"]);
        assert_eq!(first_lines("a: 1\ré: {é: 1, x: ~}\r"), ["2:11 there is no value here (null)"]);
    }

    #[test]
    fn documents_in_which_nothing_stands_are_passed_over() {
        let text = "---\n---\na: 1\n---\n# nothing\n---\nb: 2\n";
        let source = Source::read("a.yaml", text.as_bytes()).unwrap();
        assert_eq!(read(&source, &mut Faults::default()).len(), 2);
    }

    #[test]
    fn unquoted_scalars_are_what_yaml_1_2_says() {
        for text in ["012", "0x1F", "-1"] {
            assert!(matches!(plain(text), Value::Integer(written) if written == text), "{text}");
        }
        for text in ["1e3", ".5"] {
            assert!(matches!(plain(text), Value::Float), "{text}");
        }
        for text in ["yes", "no", "1h", "1.2.3", "-", ".", "infinity", "0x"] {
            assert!(matches!(plain(text), Value::Text(_)), "{text}");
        }
    }
}
