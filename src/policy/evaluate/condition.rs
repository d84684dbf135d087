//! Whether a condition holds, from what is known of a request.
//!
//! What must stay true: an operator that is not known is never passed over, and one that is not worked out here
//! (`IpAddress`, `Binary…`) depends on its key unless the key is absent.
//!
//! Sources: IAM User Guide, "IAM JSON policy elements: Condition operators" (also for `…IfExists`, `Null` and what an
//! absent key means), "Set operators for multivalued context keys", "Creating a condition with multiple keys or values".

use jiff::Timestamp;

use super::{
    Truth,
    context::{Context, Known, Variable, instant},
};
use crate::policy::{
    document::{Constraint, Effect},
    pattern::Pattern,
};

/// One line of a `Condition` element, its operator taken apart.
#[derive(Debug)]
pub(super) struct Condition {
    operator: Operator,
    /// In lower case.
    key: Box<str>,
    values: Box<[Wanted]>,
    /// Whether `${…}` is a variable.
    variables: bool,
    written: Written,
}

/// A value of the policy, taken apart once: it may be held against many requests.
#[derive(Debug)]
struct Wanted {
    text: Box<str>,
    read: Read,
}

/// A value as its operator reads it.
#[derive(Debug)]
enum Read {
    Pattern(Pattern),
    /// The six parts of an ARN, or what there is of them.
    Parts(Box<[Pattern]>),
    /// None where it is no moment.
    Moment(Option<Timestamp>),
    AsWritten,
}

/// For messages.
#[derive(Debug)]
struct Written {
    operator: Box<str>,
    key: Box<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Null,
    Test { set: Option<Set>, test: Test, negated: bool, if_exists: bool },
    NotUnderstood,
}

/// For keys with several values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    ForAllValues,
    ForAnyValue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Test {
    Text {
        like: bool,
        ignore_case: bool,
    },
    Arn,
    Number(Relation),
    Date(Relation),
    Bool,
    /// An operator of IAM's that is not worked out here.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Condition {
    pub(super) fn of(constraint: &Constraint, variables: bool) -> Self {
        let operator = Operator::of(&constraint.operator);
        let wanted = |text: &str| Wanted { text: text.into(), read: operator.read(text, variables) };
        Self {
            operator,
            key: constraint.key.to_ascii_lowercase().into(),
            values: constraint.values.iter().map(|text| wanted(text)).collect(),
            variables,
            written: Written { operator: constraint.operator.clone(), key: constraint.key.clone() },
        }
    }

    /// Whether it holds, in a statement of this effect.
    pub(super) fn holds(&self, context: &Context, effect: Effect) -> Truth {
        match (self.operator, context.get(&self.key)) {
            // The grammar asks for one value at least, and what IAM makes of none is not said.
            _ if self.values.is_empty() => Truth::Unclear,
            (Operator::NotUnderstood, _) => Truth::Unclear,
            (_, None) => Truth::Depends,
            (Operator::Null, Some(known)) => self.null(*known == Known::Absent, effect),
            (Operator::Test { .. }, Some(Known::Present)) => Truth::Depends,
            (Operator::Test { set, negated, if_exists, .. }, Some(Known::Absent)) => match set {
                None => Truth::of(negated || if_exists),
                Some(Set::ForAllValues) => Truth::Yes,
                // That no value is there and that none is needed contradict each other; no page tells which wins.
                Some(Set::ForAnyValue) if if_exists => Truth::Unclear,
                Some(Set::ForAnyValue) => Truth::No,
            },
            (Operator::Test { set, test, negated, .. }, Some(Known::Values(values))) => {
                // What an empty value means depends on the operator, and several need a set operator.
                if values.iter().any(|value| value.is_empty()) || (set.is_none() && values.len() != 1) {
                    return Truth::Unclear;
                }
                let mut each = values
                    .iter()
                    .map(|value| self.admits(test, negated, &Pattern::text(value, false), context, effect));
                match set {
                    None | Some(Set::ForAllValues) => Truth::all(&mut each, effect),
                    Some(Set::ForAnyValue) => Truth::any(&mut each, effect),
                }
            }
            (Operator::Test { test, negated, .. }, Some(Known::Within(value))) => {
                self.admits(test, negated, value, context, effect)
            }
            (Operator::Test { test: Test::Date(relation), negated, .. }, Some(Known::Since(earliest))) => {
                let each = self.values.iter().map(|wanted| match wanted.read {
                    Read::Moment(Some(wanted)) => relation.since(*earliest, wanted),
                    _ => Truth::Unclear,
                });
                if negated { Truth::all(each.map(|matches| !matches), effect) } else { Truth::any(each, effect) }
            }
            (Operator::Test { .. }, Some(Known::Since(_))) => Truth::Depends,
        }
    }

    pub(super) fn is_about(&self, key: &str) -> bool {
        *self.key == *key
    }

    /// What it compares with, as written.
    pub(super) fn values(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|wanted| &*wanted.text)
    }

    /// The key and the variables on whose values it depends.
    pub(super) fn keys<'a>(&'a self, context: &'a Context) -> impl Iterator<Item = &'a str> {
        let key = match context.get(&self.key) {
            Some(Known::Values(_)) if !matches!(self.operator, Operator::Test { test: Test::Other, .. }) => None,
            _ => Some(&*self.written.key),
        };
        let variables = self
            .values()
            .flat_map(|value| value.split("${").skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name));
        let variables = variables.filter(|name| {
            self.variables && !matches!(*name, "*" | "?" | "$") && matches!(context.variable(name), Variable::NotKnown)
        });
        key.into_iter().chain(variables)
    }

    /// What of it is not understood.
    pub(super) fn doubt(&self) -> String {
        let Written { operator, key } = &self.written;
        match self.operator {
            _ if self.values.is_empty() => format!("the condition {operator} on {key} names no value"),
            Operator::NotUnderstood => format!("the condition operator {operator} is not known"),
            Operator::Null | Operator::Test { .. } => {
                format!("what the condition {operator} on {key} compares is not understood")
            }
        }
    }

    /// `"true"` asks that the key be absent, `"false"` that it be there.
    fn null(&self, absent: bool, effect: Effect) -> Truth {
        let each = self.values().map(|value| match boolean(value) {
            Some(wanted) => Truth::of(wanted == absent),
            None => Truth::Unclear,
        });
        Truth::any(each, effect)
    }

    /// Whether one value of the request is among those of the policy, or, negated, among none of them.
    fn admits(&self, test: Test, negated: bool, value: &Pattern, context: &Context, effect: Effect) -> Truth {
        let parts: Vec<Pattern> = if test == Test::Arn { value.parts(6).collect() } else { Vec::new() };
        let matches = |wanted: &Wanted| match &wanted.read {
            Read::Parts(wanted) if wanted.len() < 6 || parts.len() < 6 => Truth::Unclear,
            Read::Parts(wanted) => {
                Truth::all(wanted.iter().zip(&parts).map(|(part, value)| fits(part, value, false, context)), effect)
            }
            Read::Pattern(pattern) => {
                let ignore_case = matches!(test, Test::Text { ignore_case: true, .. });
                fits(pattern, value, ignore_case, context)
            }
            Read::Moment(_) | Read::AsWritten => wanted.matches(test, value),
        };
        let mut each = self.values.iter().map(matches);
        if negated { Truth::all(each.map(|matches| !matches), effect) } else { Truth::any(&mut each, effect) }
    }
}

impl Wanted {
    /// Whether a value of the request is this one. Of one that is known in part only, nothing but its text can be compared.
    fn matches(&self, test: Test, value: &Pattern) -> Truth {
        let Some(value) = value.plain_text() else { return Truth::Depends };
        let outcome = match (test, &self.read) {
            (Test::Date(relation), Read::Moment(wanted)) => relation.between(instant(&value), *wanted),
            (Test::Number(relation), _) => relation.between(value.parse::<f64>().ok(), self.text.parse().ok()),
            (Test::Bool, _) => boolean(&self.text).zip(boolean(&value)).map(|(wanted, value)| wanted == value),
            _ => return Truth::Depends,
        };
        outcome.map_or(Truth::Unclear, Truth::of)
    }
}

/// A variable without a value matches nothing, so what is negated matches ("IAM policy elements: Variables and tags").
fn fits(pattern: &Pattern, value: &Pattern, ignore_case: bool, context: &Context) -> Truth {
    let Some(pattern) = context.resolved(pattern) else { return Truth::No };
    let (pattern, value) =
        if ignore_case { (pattern.lowercased(), value.lowercased()) } else { (pattern.into_owned(), value.clone()) };
    if pattern.covers(&value) {
        Truth::Yes
    } else if pattern.intersects(&value) {
        Truth::Depends
    } else {
        Truth::No
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

impl Relation {
    fn between<T: PartialOrd>(self, value: Option<T>, wanted: Option<T>) -> Option<bool> {
        let order = value?.partial_cmp(&wanted?)?;
        Some(match self {
            Self::Equal => order.is_eq(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        })
    }

    /// Between a moment of which only the earliest that it may be is known, and another.
    fn since(self, earliest: Timestamp, wanted: Timestamp) -> Truth {
        match self {
            Self::Less if earliest >= wanted => Truth::No,
            Self::LessOrEqual | Self::Equal if earliest > wanted => Truth::No,
            Self::Greater if earliest > wanted => Truth::Yes,
            Self::GreaterOrEqual if earliest >= wanted => Truth::Yes,
            _ => Truth::Depends,
        }
    }
}

impl Operator {
    fn read(self, value: &str, variables: bool) -> Read {
        match self {
            Self::Test { test: Test::Text { like: true, .. }, .. } => {
                Read::Pattern(Pattern::resource(value, variables))
            }
            Self::Test { test: Test::Text { like: false, .. }, .. } => Read::Pattern(Pattern::text(value, variables)),
            Self::Test { test: Test::Arn, .. } => Read::Parts(Pattern::resource(value, variables).parts(6).collect()),
            Self::Test { test: Test::Date(_), .. } => Read::Moment(instant(value)),
            Self::Test { .. } | Self::Null | Self::NotUnderstood => Read::AsWritten,
        }
    }

    /// IAM reads operators ignoring case.
    fn of(written: &str) -> Self {
        let name = written.to_ascii_lowercase();
        let (set, name) = match name.split_once(':') {
            None => (None, &*name),
            Some(("forallvalues", name)) => (Some(Set::ForAllValues), name),
            Some(("foranyvalue", name)) => (Some(Set::ForAnyValue), name),
            Some(_) => return Self::NotUnderstood,
        };
        if name == "null" && set.is_none() {
            return Self::Null;
        }
        let (name, if_exists) = name.strip_suffix("ifexists").map_or((name, false), |name| (name, true));
        let text = |like, ignore_case| Test::Text { like, ignore_case };
        let (test, negated) = match name {
            "stringequals" => (text(false, false), false),
            "stringnotequals" => (text(false, false), true),
            "stringequalsignorecase" => (text(false, true), false),
            "stringnotequalsignorecase" => (text(false, true), true),
            "stringlike" => (text(true, false), false),
            "stringnotlike" => (text(true, false), true),
            "arnequals" | "arnlike" => (Test::Arn, false),
            "arnnotequals" | "arnnotlike" => (Test::Arn, true),
            "bool" => (Test::Bool, false),
            "ipaddress" | "binaryequals" => (Test::Other, false),
            "notipaddress" => (Test::Other, true),
            _ => {
                let number = name.strip_prefix("numeric").map(|relation| (Test::Number as fn(_) -> _, relation));
                let date = || name.strip_prefix("date").map(|relation| (Test::Date as fn(_) -> _, relation));
                let Some((test, relation)) = number.or_else(date) else { return Self::NotUnderstood };
                match relation {
                    "equals" => (test(Relation::Equal), false),
                    "notequals" => (test(Relation::Equal), true),
                    "lessthan" => (test(Relation::Less), false),
                    "lessthanequals" => (test(Relation::LessOrEqual), false),
                    "greaterthan" => (test(Relation::Greater), false),
                    "greaterthanequals" => (test(Relation::GreaterOrEqual), false),
                    _ => return Self::NotUnderstood,
                }
            }
        };
        Self::Test { set, test, negated, if_exists }
    }
}

/// The moment of a `DateLessThan` on `aws:TokenIssueTime` alone.
pub(super) fn issued_before(conditions: &[Condition]) -> Option<&str> {
    let [condition] = conditions else { return None };
    let older = Operator::Test { set: None, test: Test::Date(Relation::Less), negated: false, if_exists: false };
    match &*condition.values {
        [moment] if condition.operator == older && &*condition.key == "aws:tokenissuetime" => Some(&moment.text),
        _ => None,
    }
}
