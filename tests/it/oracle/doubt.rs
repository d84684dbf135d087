//! What of a case may leave ours unsure, read straight from its texts: what decides then is bounded from both sides.
//! DISAGREEMENTS.md says of each kind why ours does not decide it.

use serde_json::{Value, json};

use super::cases::Case;

/// The case at its worst and at its best: whatever is not certain turned against the role, and in its favour. None where
/// all is certain.
pub(crate) fn bounds(case: &Case) -> Option<[Case; 2]> {
    let [worst, best] = [false, true].map(|generous| bounded(case, generous));
    let is_certain = (&worst.policies, &worst.boundary) == (&best.policies, &best.boundary);
    (!is_certain).then_some([worst, best])
}

fn bounded(case: &Case, generous: bool) -> Case {
    let mut bounded = case.clone();
    if let Some(unreadable) = bounded.unreadable.take() {
        let effect = if generous { "Allow" } else { "Deny" };
        let statement = json!({"Effect": effect, "Action": "*", "Resource": "*"});
        bounded.policies[unreadable] = json!({"Version": "2012-10-17", "Statement": statement});
    }
    for document in bounded.documents_mut() {
        let old = document["Version"] != "2012-10-17";
        let statements = match document["Statement"].take() {
            Value::Array(statements) => statements,
            statement => vec![statement],
        };
        let decided = statements.into_iter().filter_map(|statement| {
            let applies = (statement["Effect"] == "Allow") == generous;
            decided(statement, &case.resource, old, applies)
        });
        document["Statement"] = decided.collect();
    }
    bounded
}

/// The statement with what is not certain decided; none where it then does not apply.
fn decided(mut statement: Value, resource: &str, old: bool, applies: bool) -> Option<Value> {
    if let Some(operators) = statement["Condition"].as_object_mut() {
        for (operator, keys) in operators.iter_mut() {
            let keys = keys.as_object_mut().unwrap();
            let before = keys.len();
            keys.retain(|key, values| is_known(operator, key, values, old));
            if keys.len() < before && !applies {
                return None;
            }
        }
        operators.retain(|_, keys| keys != &json!({}));
        if operators.is_empty() {
            statement.as_object_mut().unwrap().remove("Condition");
        }
    } else {
        statement.as_object_mut().unwrap().remove("Condition");
    }
    let entries = |clause: &Value| clause.as_array().cloned().unwrap_or_else(|| vec![clause.clone()]);
    let is_doubtful = |entry: &Value, excluded| is_doubtful(entry.as_str().unwrap(), resource, old, excluded);
    if let Some(clause) = statement.get("Resource").map(entries) {
        let exact = json!(resource.replace("${", "${$}{"));
        let (doubtful, mut sure): (Vec<Value>, Vec<Value>) =
            clause.into_iter().partition(|entry| is_doubtful(entry, false));
        if applies && !doubtful.is_empty() {
            sure.push(exact);
        }
        if sure.is_empty() {
            return None;
        }
        statement["Resource"] = json!(sure);
    } else if let Some(clause) = statement.get("NotResource").map(entries) {
        let (doubtful, sure): (Vec<Value>, Vec<Value>) = clause.into_iter().partition(|entry| is_doubtful(entry, true));
        if !applies && !doubtful.is_empty() {
            return None;
        }
        if sure.is_empty() {
            statement.as_object_mut().unwrap().remove("NotResource");
            statement["Resource"] = json!("*");
        } else {
            statement["NotResource"] = json!(sure);
        }
    }
    Some(statement)
}

/// Whether ours knows what a line of a condition hangs on.
fn is_known(operator: &str, key: &str, values: &Value, old: bool) -> bool {
    let is_known_key = match key.to_lowercase().as_str() {
        "aws:principalarn"
        | "aws:principalaccount"
        | "aws:principaltype"
        | "aws:principalisawsservice"
        | "aws:username" => true,
        // That it is there is known, and not when it was.
        "aws:tokenissuetime" => operator == "Null",
        _ => false,
    };
    is_known_key && (old || !values.to_string().contains("${aws:PrincipalTag/"))
}

/// Whether it is not certain that a resource pattern admits the resource, or, as one that is excluded, that it does not.
fn is_doubtful(pattern: &str, resource: &str, old: bool, excluded: bool) -> bool {
    if !old && pattern.contains("${aws:username}") {
        // A variable without a value matches nothing; what that makes of an exclusion is not documented.
        return excluded;
    }
    let known = if old { pattern.to_owned() } else { pattern.replace("${aws:PrincipalAccount}", "111122223333") };
    let is_open = !old && known.contains("${aws:PrincipalTag/team}");
    // An exclusion by a variable of which it is not known whether it has a value excludes who knows what.
    if is_open && excluded {
        return true;
    }
    let known = if is_open { known.replace("${aws:PrincipalTag/team}", "*") } else { known };
    let lowered = known.splitn(6, ':').enumerate();
    let lowered = lowered.map(|(index, part)| if index < 5 { part.to_lowercase() } else { part.to_owned() });
    let lowered = lowered.collect::<Vec<_>>().join(":");
    let is_short = pattern.starts_with("arn:") && pattern.matches(':').count() < 5 && !pattern.ends_with('*');
    let continued = is_short.then(|| format!("{known}:*"));
    let admits = |pattern: &str, strictly| {
        // Two orders of one run of wildcards; and `${*}` is a star, here a character that stands nowhere else.
        let pattern = if old { pattern.to_owned() } else { pattern.replace("${*}", "\u{1}").replace("${$}", "$") };
        admits(pattern.replace("*?", "?*").as_bytes(), resource.as_bytes(), 0, strictly)
    };
    let is_sure = !is_open && admits(&known, true);
    !is_sure && (admits(&known, false) || admits(&lowered, false) || continued.is_some_and(|text| admits(&text, false)))
}

/// Whether a pattern admits a text; strictly, where no wildcard inside one of its first five parts has to run across a
/// colon.
fn admits(pattern: &[u8], text: &[u8], colons: usize, strictly: bool) -> bool {
    let is_inside = |rest: &[u8]| strictly && colons < 5 && !matches!(rest, [] | [b':', ..]);
    match (pattern, text) {
        ([], text) => text.is_empty(),
        ([b'*', rest @ ..], text) => (0..=text.len())
            .take_while(|taken| !is_inside(rest) || !text[..*taken].contains(&b':'))
            .any(|taken| admits(rest, &text[taken..], colons, strictly)),
        ([b'?', rest @ ..], [letter, text @ ..]) => {
            !(strictly && colons < 5 && *letter == b':') && admits(rest, text, colons, strictly)
        }
        ([1, rest @ ..], [b'*', text @ ..]) => admits(rest, text, colons, strictly),
        ([wanted, rest @ ..], [letter, text @ ..]) => {
            wanted == letter && admits(rest, text, colons + usize::from(*wanted == b':'), strictly)
        }
        (_, []) => false,
    }
}
