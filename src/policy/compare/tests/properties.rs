//! What holds for all documents: of few names, so that they often touch each other.

use proptest::{prelude::*, sample};
use serde_json::json;

use super::*;
use crate::policy::{
    document::{Statement, Texts, Version},
    pattern::Pattern,
};

const ACTIONS: &[&str] = &["s3:GetObject", "s3:Get*", "s3:*", "*", "kms:Decrypt", "k?s:*", "s3:**?"];
const RESOURCES: &[&str] = &["*", "a", "a/*", "a/b", "?", "?*", "${aws:x}", "a${*}", "*/${aws:x}"];
const KEYS: &[&str] = &["aws:one", "aws:two"];

#[derive(Debug, Clone)]
struct Spec {
    allow: bool,
    not_action: bool,
    actions: Vec<&'static str>,
    not_resource: bool,
    resources: Vec<&'static str>,
    keys: Vec<&'static str>,
}

fn spec() -> impl Strategy<Value = Spec> {
    (
        any::<bool>(),
        prop::bool::weighted(0.2),
        sample::subsequence(ACTIONS, 1..4).prop_shuffle(),
        prop::bool::weighted(0.2),
        sample::subsequence(RESOURCES, 1..4).prop_shuffle(),
        sample::subsequence(KEYS, 0..3),
    )
        .prop_map(|(allow, not_action, actions, not_resource, resources, keys)| Spec {
            allow,
            not_action,
            actions,
            not_resource,
            resources,
            keys,
        })
}

fn specs() -> impl Strategy<Value = (Vec<Spec>, bool)> {
    (prop::collection::vec(spec(), 0..4), prop::bool::weighted(0.8))
}

/// The document, each action spelled as `spell` says, and lists of one standing bare where `bare` is set.
fn written((specs, new): &(Vec<Spec>, bool), spell: impl Fn(&str) -> String, bare: bool) -> Document {
    let list = |texts: Vec<String>| match &texts[..] {
        [text] if bare => json!(text),
        _ => json!(texts),
    };
    let statements = specs.iter().map(|spec| {
        let mut statement = json!({"Effect": if spec.allow { "Allow" } else { "Deny" }});
        let action = if spec.not_action { "NotAction" } else { "Action" };
        statement[action] = list(spec.actions.iter().map(|action| spell(action)).collect());
        let resource = if spec.not_resource { "NotResource" } else { "Resource" };
        statement[resource] = list(spec.resources.iter().map(ToString::to_string).collect());
        for key in &spec.keys {
            statement["Condition"]["StringEquals"][spell(key)] = list(vec!["v".to_owned()]);
        }
        statement
    });
    let version = if *new { "2012-10-17" } else { "2008-10-17" };
    parse(&json!({"Version": version, "Statement": statements.collect::<Value>()}).to_string())
}

fn plain(specs: &(Vec<Spec>, bool)) -> Document {
    written(specs, str::to_owned, false)
}

/// The same grants in other statements: split, repeated, in another order, as the numbers say.
fn rearranged(specs: &[Spec], numbers: &[usize]) -> Vec<Spec> {
    let mut rearranged = Vec::new();
    for (spec, number) in specs.iter().zip(numbers.iter().cycle()) {
        match number % 4 {
            0 if !spec.not_action => {
                rearranged.extend(spec.actions.iter().map(|action| Spec { actions: vec![action], ..spec.clone() }));
            }
            1 if !spec.not_resource => {
                rearranged.extend(spec.resources.iter().map(|text| Spec { resources: vec![text], ..spec.clone() }));
            }
            2 => rearranged.extend([spec.clone(), spec.clone()]),
            _ => {
                let (mut actions, mut resources) = (spec.actions.clone(), spec.resources.clone());
                actions.reverse();
                actions.push(actions[0]);
                let turn = number % resources.len();
                resources.rotate_left(turn);
                rearranged.push(Spec { actions, resources, ..spec.clone() });
            }
        }
    }
    if !rearranged.is_empty() {
        let turn = numbers.iter().sum::<usize>() % rearranged.len();
        rearranged.rotate_left(turn);
    }
    rearranged
}

/// What IAM would decide of a request, where these keys' conditions hold and `${aws:x}` has this value.
fn allows(document: &Document, action: &str, resource: &str, holding: &[&str], variable: &str) -> bool {
    let among = |clause: &Clause, admits: &dyn Fn(&str) -> bool| {
        let any = |texts: &Texts| texts.iter().any(|text| admits(text));
        match clause {
            Clause::Only(texts) => any(texts),
            Clause::Except(texts) => !any(texts),
        }
    };
    let matches = |statement: &&Statement| {
        let (wanted, named) = (Pattern::action(action), Pattern::resource(resource, false));
        let new = document.version == Version::V2012;
        let admits_resource = |text: &str| {
            let text = if new { text.replace("${aws:x}", variable) } else { text.to_owned() };
            Pattern::resource(&text, new).covers(&named)
        };
        among(&statement.action, &|text| Pattern::action(text).covers(&wanted))
            && statement.resource.as_ref().is_some_and(|clause| among(clause, &admits_resource))
            && statement.conditions.iter().all(|line| holding.contains(&line.key.to_ascii_lowercase().as_str()))
    };
    let effects: Vec<Effect> = document.statements.iter().filter(matches).map(|statement| statement.effect).collect();
    effects.contains(&Effect::Allow) && !effects.contains(&Effect::Deny)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn the_canonical_form_is_its_own(specs in specs()) {
        let canonical = plain(&specs).folded().merged();
        prop_assert_eq!(&canonical.folded(), &canonical);
        prop_assert_eq!(&canonical.merged(), &canonical);
        prop_assert_eq!(&parse(&canonical.to_string()), &canonical);
    }

    #[test]
    fn the_canonical_form_does_not_depend_on_how_a_document_is_written(
        specs in specs(), numbers in prop::collection::vec(0..100_usize, 1..5), bare: bool,
    ) {
        let rewritten = (rearranged(&specs.0, &numbers), specs.1);
        let (one, other) = (plain(&specs), written(&rewritten, str::to_ascii_uppercase, bare));
        prop_assert_eq!(one.folded().merged(), other.folded().merged());
        prop_assert!(matches!(compare(&one, &other).drift, None | Some(Drift::Cosmetic)));
    }

    #[test]
    fn a_document_is_in_sync_with_itself(specs in specs()) {
        let document = plain(&specs);
        prop_assert_eq!(compare(&document, &document), Comparison { drift: None, changes: vec![] });
        prop_assert_eq!(compare(&document, &document.folded().merged()).changes, vec![]);
    }

    #[test]
    fn what_one_side_gained_the_other_lost(one in specs(), other in specs()) {
        let (one, other) = (plain(&one), plain(&other));
        let (there, back) = (compare(&one, &other), compare(&other, &one));
        prop_assert_eq!(back.drift, there.drift.map(|drift| match drift {
            Drift::Narrowed => Drift::Widened,
            Drift::Widened => Drift::Narrowed,
            same => same,
        }));
        let turned = |changes: &[Change], change| -> Vec<Change> {
            changes.iter().filter(|each| each.change != change).map(|each| Change { change, ..each.clone() }).collect()
        };
        for side in [Direction::Gained, Direction::Lost] {
            let same: Vec<Change> = back.changes.iter().filter(|each| each.change == side).cloned().collect();
            prop_assert_eq!(turned(&there.changes, side), same);
        }
    }

    /// The verdict against what IAM would decide, request by request.
    #[test]
    fn no_request_contradicts_the_verdict(one in specs(), other in specs(), changed in any::<sample::Index>(), related: bool) {
        // Two documents at random are nearly always Altered; one with a statement less is more telling.
        let other = match (related, one.0.is_empty()) {
            (true, false) => {
                let mut specs = one.0.clone();
                specs.remove(changed.index(one.0.len()));
                (specs, one.1)
            }
            _ => other,
        };
        let (desired, live) = (plain(&one), plain(&other));
        let drift = compare(&desired, &live).drift;
        for action in ["s3:getobject", "s3:x", "s3:", "kms:Decrypt", "iam:y"] {
            for resource in ["a", "a/b", "b", "a/", "", "${aws:x}", "a/${aws:x}", "az"] {
                for holding in [&[][..], &KEYS[..1], &KEYS[1..], KEYS] {
                    for variable in ["b", ""] {
                        let before = allows(&desired, action, resource, holding, variable);
                        let after = allows(&live, action, resource, holding, variable);
                        let holds = match drift {
                            None | Some(Drift::Cosmetic) => before == after,
                            Some(Drift::Narrowed) => before >= after,
                            Some(Drift::Widened) => before <= after,
                            _ => true,
                        };
                        prop_assert!(holds, "{:?}: {} on {} given {:?}", drift, action, resource, holding);
                    }
                }
            }
        }
    }
}
