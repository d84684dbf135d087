//! The settled disagreements (tests/oracle/DISAGREEMENTS.md), each as the change to a case that takes its cause away.

use serde_json::Value;

use super::cases::Case;

/// The case with every settled cause taken away, and which these were, by their headings.
pub(crate) fn without_the_cause(case: &Case) -> (Case, Vec<&'static str>) {
    let mut case = case.clone();
    let mut causes = Vec::new();
    let resource = case.resource.clone();
    for document in case.policies.iter_mut().chain(&mut case.boundary) {
        let old = document["Version"] != "2012-10-17";
        let statements = match &mut document["Statement"] {
            Value::Array(statements) => statements.iter_mut().collect(),
            statement => vec![statement],
        };
        for statement in statements {
            for name in ["Action", "NotAction"] {
                rewrite(&mut statement[name], &mut |action| lower_prefix(action, &mut causes));
            }
            for name in ["Resource", "NotResource"] {
                rewrite(&mut statement[name], &mut |pattern| plainly(pattern, &resource, old, &mut causes));
            }
            rewrite(&mut statement["NotResource"], &mut |pattern| full(pattern, &mut causes));
            if let Some(condition) = constant(&statement["Condition"].to_string(), old, &mut causes) {
                statement["Condition"] = serde_json::from_str(&condition).unwrap();
            }
            statement.as_object_mut().unwrap().retain(|_, element| !element.is_null());
        }
    }
    causes.sort_unstable();
    causes.dedup();
    (case, causes)
}

fn rewrite(element: &mut Value, change: &mut dyn FnMut(&str) -> Option<String>) {
    match element {
        Value::String(text) => {
            if let Some(changed) = change(text) {
                *text = changed;
            }
        }
        Value::Array(texts) => texts.iter_mut().for_each(|text| rewrite(text, change)),
        _ => {}
    }
}

fn lower_prefix(action: &str, causes: &mut Vec<&'static str>) -> Option<String> {
    let (service, name) = action.split_once(':')?;
    let lower = service.to_lowercase();
    (lower != service).then(|| {
        causes.push("prefix");
        format!("{lower}:{name}")
    })
}

/// A condition without the variables that the other judge reads in another way.
fn constant(condition: &str, old: bool, causes: &mut Vec<&'static str>) -> Option<String> {
    if old && condition.contains("${") {
        causes.push("version");
        return Some(condition.replace("${", "${$}{"));
    }
    condition.contains("${aws:username}").then(|| {
        causes.push("valueless");
        condition.replace("${aws:username}", "nobody")
    })
}

/// An excluded ARN of too few parts with all six.
fn full(pattern: &str, causes: &mut Vec<&'static str>) -> Option<String> {
    let lacking = 5_usize.checked_sub(pattern.matches(':').count()).filter(|lacking| *lacking > 0)?;
    pattern.starts_with("arn:").then(|| {
        causes.push("short");
        format!("{pattern}{}", ":*".repeat(lacking))
    })
}

/// The pattern as the resource itself, where it admits it in a way that the other judge does not see.
fn plainly(pattern: &str, resource: &str, old: bool, causes: &mut Vec<&'static str>) -> Option<String> {
    if pattern.contains("${") {
        if !old {
            return None;
        }
        causes.push("version");
        return Some(pattern.replace("${", "${$}{"));
    }
    let (parts, asked): (Vec<&str>, Vec<&str>) = (pattern.splitn(6, ':').collect(), resource.splitn(6, ':').collect());
    if !glob(pattern.as_bytes(), resource.as_bytes()) || pattern == "*" || resource == "*" {
        return None;
    }
    let by_part =
        parts.len() == 6 && parts.iter().zip(&asked).all(|(part, asked)| glob(part.as_bytes(), asked.as_bytes()));
    let ends_a_part = parts.iter().take(5).any(|part| part.ends_with('*'));
    let resource_type = parts.last()?.split_inclusive(['/', ':']).next()?;
    let cause = match by_part {
        false if ends_a_part => "colons",
        true if resource_type.ends_with(['/', ':']) && resource_type.contains(['*', '?']) => "type",
        _ => return None,
    };
    causes.push(cause);
    Some(resource.replace("${", "${$}{"))
}

/// Whether a pattern of `*` and `?` admits a text, straight from what they mean.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], text) => text.is_empty(),
        ([b'*', rest @ ..], text) => (0..=text.len()).any(|taken| glob(rest, &text[taken..])),
        ([b'?', rest @ ..], [_, text @ ..]) => glob(rest, text),
        ([wanted, rest @ ..], [letter, text @ ..]) => wanted == letter && glob(rest, text),
        (_, []) => false,
    }
}
