//! Any text as a live policy document; two of them where a line `---` stands between.

use std::collections::BTreeSet;

use serde_json::Value;
use ssm_role_controller::{
    inventory::LiveDocument,
    policy::{
        compare::{Change, Comparison, Direction, Drift, compare, compare_missing, compare_unreadable},
        document::Document,
        session_manager::{
            self, LogBucket, NodeRegistration, Settings, VOCABULARY, is_session_manager_policy, outside_vocabulary,
        },
    },
};

const BETWEEN: &str = "\n---\n";

/// Comparing is asked for each pattern of the one in each pattern of the other: what is longer than IAM's quota for all of
/// a role's policies together is another test's matter.
const LONGEST: usize = 16 * 1024;

/// Reads the bytes as policy documents, and holds what comes of them to what [`ssm_role_controller::policy`] promises.
pub fn documents(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if text.len() > LONGEST {
        return;
    }
    let (one, other) = text.split_once(BETWEEN).unwrap_or((text, ""));
    assert_the_writer_lets_only_grants_of_the_vocabulary_pass(one);
    let encoded = LiveDocument::new(one);
    assert_eq!(encoded.size(), session_manager::size(&encoded.text()));
    let live =
        LiveDocument::new(&percent_encoding::utf8_percent_encode(one, percent_encoding::NON_ALPHANUMERIC).to_string());
    assert_eq!(live.text(), one, "what was encoded is not what was decoded");

    let desired = desired();
    let one = match Document::parse(one) {
        Ok(one) => one,
        Err(error) => {
            let error = error.to_string();
            assert!(error.chars().count() <= 200 && !error.contains(char::is_control), "{error:?}");
            assert_told_well(&compare_unreadable(&desired));
            return;
        }
    };
    assert_printed_it_is_the_same(&one);
    assert_told_well(&compare_missing(&one));
    assert_decided_soundly(&desired, &one);
    if let Ok(other) = Document::parse(other) {
        assert_decided_soundly(&one, &other);
    }
}

/// What manifests ask for, with everything that can be in it.
fn desired() -> Document {
    let settings = Settings {
        node_registration: NodeRegistration::Granted,
        s3_encryption_enabled: true,
        log_bucket: Some(LogBucket { name: "logs".to_owned(), prefix: Some("p".to_owned()), owner: None }),
        log_group: Some("/sessions".to_owned()),
        ..Settings::default()
    };
    let account = "111122223333".parse().expect("it is an account id");
    settings.document(&account, &"aws".parse().expect("it is a partition")).document().clone()
}

fn assert_printed_it_is_the_same(document: &Document) {
    let printed = document.to_string();
    let again = Document::parse(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
    assert_eq!(*document, again, "{printed}");
    assert_eq!(compare(document, &again), Comparison { drift: None, changes: Vec::new() });
}

/// Read once more by nothing but a JSON parser: every statement is an Allow of actions of the vocabulary, and no more.
fn assert_the_writer_lets_only_grants_of_the_vocabulary_pass(text: &str) {
    if outside_vocabulary(text).is_some() {
        return;
    }
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let known = |value: &Value, keys: &[&str]| {
        value.as_object().is_some_and(|object| object.keys().all(|key| keys.contains(&key.as_str())))
    };
    assert!(known(&value, &["Version", "Id", "Statement"]), "{text}");
    for statement in listed(&value["Statement"]) {
        assert!(known(statement, &["Sid", "Effect", "Action", "Resource", "Condition"]), "{text}");
        assert!(statement["Effect"] == "Allow" && statement.get("Resource").is_some(), "{text}");
        let condition = statement.get("Condition").and_then(Value::as_object);
        assert!(
            condition.is_none_or(|operators| operators
                .values()
                .all(|keys| keys.as_object().is_some_and(serde_json::Map::is_empty))),
            "{text}"
        );
        for action in listed(&statement["Action"]) {
            let action = action.as_str().unwrap_or_else(|| panic!("an action that is no text: {text}"));
            assert!(VOCABULARY.iter().any(|known| known.eq_ignore_ascii_case(action)), "{action:?} passes: {text}");
        }
    }
}

/// The comparison says the same from either side, is one line a change, and hides nothing that IAM would decide
/// otherwise.
fn assert_decided_soundly(desired: &Document, live: &Document) {
    for document in [desired, live] {
        assert_eq!(compare(document, document).drift, None);
    }
    let (there, back) = (compare(desired, live), compare(live, desired));
    assert_told_well(&there);
    let mirrored = there.drift.map(|drift| match drift {
        Drift::Narrowed => Drift::Widened,
        Drift::Widened => Drift::Narrowed,
        other => other,
    });
    assert_eq!(mirrored, back.drift);
    let mut changes: Vec<String> = there
        .changes
        .iter()
        .map(|change| Change { change: turned(change.change), ..change.clone() }.to_string())
        .collect();
    let mut reversed: Vec<String> = back.changes.iter().map(ToString::to_string).collect();
    changes.sort();
    reversed.sort();
    assert_eq!(changes, reversed);
    assert_eq!(there.changes.is_empty(), matches!(there.drift, None | Some(Drift::Cosmetic)), "{there:?}");

    let (Some(wanted), Some(found)) = (Plain::of(desired), Plain::of(live)) else { return };
    for (document, plain) in [(desired, &wanted), (live, &found)] {
        assert_eq!(document.denies(), plain.0.iter().any(|statement| !statement.allows), "{document}");
        // `is_session_manager_policy` asks nobody for resources, conditions or denials.
        let own = VOCABULARY.iter().filter(|action| action.starts_with("ssm"));
        let own: Vec<String> = own.map(|action| action.to_ascii_lowercase()).collect();
        let grants = plain
            .0
            .iter()
            .any(|statement| statement.allows && own.iter().any(|action| statement.action.admits(action)));
        assert_eq!(is_session_manager_policy(document), grants, "{document}");
    }
    for (action, resource) in requests(&wanted, &found) {
        for conditions_hold in [true, false] {
            let decided = |plain: &Plain| plain.decides(&action, &resource, conditions_hold);
            let excused: &[Drift] = match (decided(&wanted), decided(&found)) {
                (true, false) => &[Drift::Narrowed, Drift::Altered],
                (false, true) => &[Drift::Widened, Drift::Altered],
                _ => continue,
            };
            assert!(
                there.drift.is_some_and(|drift| excused.contains(&drift)),
                "{:?} hides that {action} on {resource} is decided otherwise (conditions hold: {conditions_hold})\n{desired}\n{live}",
                there.drift
            );
        }
    }
}

fn turned(direction: Direction) -> Direction {
    match direction {
        Direction::Gained => Direction::Lost,
        Direction::Lost => Direction::Gained,
    }
}

fn assert_told_well(comparison: &Comparison) {
    for change in &comparison.changes {
        let line = change.to_string();
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

/// A second opinion on what documents mean, as simple as it can be: JSON, and wildcards by recursion.
pub(super) struct Plain(pub(super) Vec<PlainStatement>);

pub(super) struct PlainStatement {
    allows: bool,
    action: PlainClause,
    resource: PlainClause,
    pub(super) conditional: bool,
}

struct PlainClause {
    except: bool,
    patterns: Vec<String>,
}

impl Plain {
    /// None where a document holds what this opinion has no idea of: policy variables, elements of other policies.
    pub(super) fn of(document: &Document) -> Option<Self> {
        let text = document.to_string();
        if text.contains("${") {
            return None;
        }
        let value: Value = serde_json::from_str(&text).ok()?;
        if value.as_object()?.keys().any(|key| !["Version", "Id", "Statement"].contains(&key.as_str())) {
            return None;
        }
        let statements = listed(&value["Statement"]).map(|statement| {
            let known = ["Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"];
            if statement.as_object()?.keys().any(|key| !known.contains(&key.as_str())) {
                return None;
            }
            Some(PlainStatement {
                allows: statement["Effect"] == "Allow",
                action: PlainClause::of(statement, "Action", "NotAction", |text| text.to_ascii_lowercase())?,
                resource: PlainClause::of(statement, "Resource", "NotResource", str::to_owned)?,
                conditional: statement.get("Condition").is_some(),
            })
        });
        let statements = statements.collect::<Option<Vec<_>>>()?;
        // The second opinion is simple and slow: long patterns with many wildcards are not for it.
        let patterns = statements
            .iter()
            .flat_map(|statement| statement.action.patterns.iter().chain(&statement.resource.patterns));
        patterns.clone().all(|pattern| pattern.len() <= 60 && pattern.matches('*').count() <= 4).then_some(())?;
        (patterns.count() <= 60).then_some(Self(statements))
    }

    pub(super) fn decides(&self, action: &str, resource: &str, conditions_hold: bool) -> bool {
        let mut met = self.0.iter().filter(|statement| {
            (conditions_hold || !statement.conditional)
                && statement.action.admits(action)
                && statement.resource.admits(resource)
        });
        let first = met.next();
        first.is_some() && first.into_iter().chain(met).all(|statement| statement.allows)
    }
}

impl PlainClause {
    fn of(statement: &Value, only: &str, except: &str, fold: impl Fn(&str) -> String) -> Option<Self> {
        let (except, value) = match statement.get(only) {
            Some(value) => (false, value),
            None => (true, statement.get(except)?),
        };
        let patterns = listed(value).map(|text| text.as_str().map(&fold)).collect::<Option<_>>()?;
        Some(Self { except, patterns })
    }

    fn admits(&self, text: &str) -> bool {
        self.except != self.patterns.iter().any(|pattern| matches(pattern, text))
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    let Some(first) = pattern.chars().next() else { return text.is_empty() };
    let rest = &pattern[first.len_utf8()..];
    if first == '*' {
        return text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| matches(rest, &text[at..]));
    }
    text.chars().next().is_some_and(|next| (first == '?' || first == next) && matches(rest, &text[next.len_utf8()..]))
}

/// Requests on the edges of what the patterns of both documents admit.
pub(super) fn requests(one: &Plain, other: &Plain) -> Vec<(String, String)> {
    const MOST: usize = 16;
    let statements = || one.0.iter().chain(&other.0);
    let instances = |patterns: &mut dyn Iterator<Item = &String>| -> BTreeSet<String> {
        let instances =
            patterns.flat_map(|pattern| ["", "x", "a/b"].map(|many| pattern.replace('?', "y").replace('*', many)));
        instances.take(MOST).collect()
    };
    let actions = instances(&mut statements().flat_map(|statement| &statement.action.patterns));
    let resources = instances(&mut statements().flat_map(|statement| &statement.resource.patterns));
    let pairs = actions.iter().flat_map(|action| resources.iter().map(|resource| (action.clone(), resource.clone())));
    pairs.collect()
}

pub(super) fn listed(value: &Value) -> impl Iterator<Item = &Value> {
    match value {
        Value::Array(values) => values.iter(),
        value => std::slice::from_ref(value).iter(),
    }
}
