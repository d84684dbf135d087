//! Resources that a pattern admits, near to what a case's policies name: where ours is sure of all of them, the other
//! judge must say so of each.

use std::collections::BTreeSet;

use fastrand::Rng;
use serde_json::Value;

use super::cases::Case;

/// As many of a case at most.
const MOST: usize = 5;

/// The case about single resources: its own, or some of those that ours is asked about at once.
pub(crate) fn of(case: &Case, random: &mut Rng) -> Vec<Case> {
    let Some((pattern, holds_colons)) = case.within else { return vec![case.clone()] };
    let parts: Vec<&str> = pattern.splitn(6, ':').collect();
    let begin = parts[5].strip_suffix('*').unwrap();
    let (mut regions, mut names) = (BTreeSet::from(["us-east-1".to_owned()]), BTreeSet::from(["0a1b2c3d".to_owned()]));
    let mut case = case.clone();
    let mut written = Vec::new();
    for document in case.documents_mut() {
        texts(&document["Statement"], &mut written);
    }
    for text in &written {
        for filling in ["", "z"] {
            let filled = text.replace('*', filling).replace('?', "q").replace("${", "").replace('}', "");
            let of_pattern: Vec<&str> = filled.splitn(6, ':').collect();
            let region = of_pattern.get(3).filter(|region| is_region(region));
            regions.extend(region.map(|region| (*region).to_owned()));
            // What it names, and what comes near to that.
            let name = of_pattern.get(5).and_then(|name| name.strip_prefix(begin)).map(str::to_owned);
            names.extend(name.iter().flat_map(|name| [name.clone(), format!("{name}z"), format!("z{name}")]));
        }
    }
    // An id or a bucket's name holds no slash; a stream's name and an object's key may.
    let holds_slashes = begin.ends_with([':', '/']);
    let may_stand = |name: &String| {
        !name.is_empty() && (holds_colons || !name.contains(':')) && (holds_slashes || !name.contains('/'))
    };
    let (regions, names): (Vec<String>, Vec<String>) =
        (regions.into_iter().collect(), names.into_iter().filter(may_stand).collect());
    let mut resources = BTreeSet::from([case.resource.clone()]);
    for _ in 1..MOST {
        let region = if parts[3] == "*" { &*regions[random.usize(..regions.len())] } else { parts[3] };
        let name = &names[random.usize(..names.len())];
        resources.insert(format!("{}:{region}:{}:{begin}{name}", parts[..3].join(":"), parts[4]));
    }
    resources.into_iter().map(|resource| Case { resource, within: None, ..case.clone() }).collect()
}

fn is_region(text: &str) -> bool {
    let may_stand = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    !text.is_empty() && text.chars().all(may_stand)
}

/// Every resource pattern that is written.
fn texts(value: &Value, all: &mut Vec<String>) {
    match value {
        Value::String(text) if text.starts_with("arn:") => all.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| texts(value, all)),
        Value::Object(values) => values.values().for_each(|value| texts(value, all)),
        _ => {}
    }
}
