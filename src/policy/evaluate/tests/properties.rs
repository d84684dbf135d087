//! What holds for all roles: of few names, so that their statements often touch each other.

use proptest::{prelude::*, sample};

use super::*;
use crate::policy::compare::{Drift, compare};

const ACTIONS: &[&str] = &["s3:GetObject", "s3:Get*", "S3:*", "*", "kms:Decrypt", "k?s:*"];
const RESOURCES: &[&str] = &[
    "*",
    "arn:aws:s3:::a/*",
    "arn:aws:s3:::a/b",
    "arn:aws:s3:::?/b",
    "arn:aws:s3:::a/${aws:x}",
    "arn:aws:s3:::a/${aws:one}",
];
/// Known and met, known and not met, not known, and not understood.
const CONDITIONS: &[(&str, &str, &str)] = &[
    ("StringEquals", "aws:one", "b"),
    ("StringNotLike", "aws:one", "?"),
    ("StringEquals", "aws:x", "v"),
    ("Null", "aws:gone", "false"),
    ("StringRhymes", "aws:x", "v"),
];

fn statement() -> impl Strategy<Value = Value> {
    (
        any::<bool>(),
        prop::bool::weighted(0.2),
        sample::subsequence(ACTIONS, 1..4).prop_shuffle(),
        prop::bool::weighted(0.2),
        sample::subsequence(RESOURCES, 1..4).prop_shuffle(),
        prop_oneof![2 => Just(vec![]), 1 => sample::subsequence(CONDITIONS, 1..3)],
    )
        .prop_map(|(grants, not_action, actions, not_resource, resources, conditions)| {
            let mut statement = json!({"Effect": if grants { "Allow" } else { "Deny" }});
            statement[if not_action { "NotAction" } else { "Action" }] = json!(actions);
            statement[if not_resource { "NotResource" } else { "Resource" }] = json!(resources);
            for (operator, key, value) in conditions {
                statement["Condition"][operator][key] = json!(value);
            }
            statement
        })
}

fn statements() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(statement(), 0..4)
}

/// Documents of which some cannot be read.
fn documents() -> impl Strategy<Value = Vec<Option<Vec<Value>>>> {
    prop::collection::vec(prop_oneof![5 => statements().prop_map(Some), 1 => Just(None)], 0..4)
}

fn text(statements: &[Value]) -> String {
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

fn made(document: &Option<Vec<Value>>) -> Policy {
    match document {
        Some(statements) => inline("p", json!(statements)),
        None => unread("x"),
    }
}

fn with(documents: &[Option<Vec<Value>>], edge: Option<&Option<Vec<Value>>>) -> Permissions {
    role(documents.iter().map(made).collect(), edge.map(made))
}

/// The answers to every question there is here.
fn answers(role: &Permissions) -> Vec<Answer> {
    answers_about(&["s3:getobject", "s3:PutObject", "kms:Decrypt", "iam:GetRole"], role)
}

fn answers_about(actions: &[&str], role: &Permissions) -> Vec<Answer> {
    let context = Context::new().with("aws:one", ["b"]).without("aws:gone");
    let mut answers = Vec::new();
    for action in actions {
        for resource in [
            Resource::Unnamed,
            Resource::Exactly("arn:aws:s3:::a/b"),
            Resource::Exactly("arn:aws:s3:::b/b"),
            Resource::Exactly("arn:aws:s3:::a/*"),
            Resource::Below("arn:aws:s3:::a/*"),
            Resource::Within("arn:aws:s3:::?/b"),
            Resource::Within("arn:aws:*:*:*:*"),
        ] {
            answers.push(role.answer(&Question::new(action, resource), &context));
        }
    }
    answers
}

fn words(role: &Permissions) -> Vec<&'static str> {
    answers(role).iter().map(word).collect()
}

/// What a role would prefer.
fn rank(answer: &Answer) -> u8 {
    match answer {
        Answer::Denied(_) => 0,
        Answer::Unknown { .. } => 1,
        Answer::Conditional { .. } => 2,
        Answer::Allowed { .. } => 3,
    }
}

fn never_less(before: &Permissions, after: &Permissions) -> bool {
    answers(before).iter().zip(&answers(after)).all(|(before, after)| rank(after) >= rank(before))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn another_allow_never_takes_away_and_another_deny_never_gives(
        mut documents in documents(), edge in prop::option::of(prop::option::of(statements())), more in statement(),
    ) {
        let before = with(&documents, edge.as_ref());
        let grants = more["Effect"] == "Allow";
        documents.push(Some(vec![more]));
        let after = with(&documents, edge.as_ref());
        let kept = if grants { never_less(&before, &after) } else { never_less(&after, &before) };
        prop_assert!(kept);
    }

    #[test]
    fn what_does_not_bear_on_an_action_makes_no_difference_to_what_is_answered_about_it(
        documents in documents(), edge in prop::option::of(prop::option::of(statements())), index in 0..3_usize,
    ) {
        let asked = &["s3:PutObject", "kms:Decrypt", "iam:GetRole"][index..=index];
        let whole = with(&documents, edge.as_ref());
        let about = |document: &Option<Vec<Value>>| match document {
            None => Some(unread("x")),
            Some(statements) => {
                let about = Document::parse(&text(statements)).unwrap().about(asked)?;
                // It is kept as text.
                Some(policy(Kind::Inline, "p", Prepared::of(&Document::parse(&about.to_string()).unwrap())))
            }
        };
        let kept = role(documents.iter().filter_map(about).collect(), edge.as_ref().map(made));
        prop_assert_eq!(answers_about(asked, &kept), answers_about(asked, &whole));
        let question = Question::new(asked[0], Resource::Unnamed);
        prop_assert_eq!(kept.nearest(&question), whole.nearest(&question));
    }

    #[test]
    fn a_boundary_never_gives(documents in documents(), edge in prop::option::of(statements())) {
        prop_assert!(never_less(&with(&documents, Some(&edge)), &with(&documents, None)));
    }

    #[test]
    fn the_order_of_policies_statements_and_lists_changes_nothing(
        documents in documents(), edge in prop::option::of(prop::option::of(statements())),
    ) {
        let turn = |document: &Option<Vec<Value>>| document.as_ref().map(|statements| {
            statements.iter().rev().map(|statement| {
                let mut statement = statement.clone();
                for list in statement.as_object_mut().unwrap().values_mut().filter_map(Value::as_array_mut) {
                    list.reverse();
                }
                statement
            }).collect::<Vec<_>>()
        });
        let turned: Vec<_> = documents.iter().rev().map(turn).collect();
        let edge_turned = edge.as_ref().map(turn);
        prop_assert_eq!(words(&with(&documents, edge.as_ref())), words(&with(&turned, edge_turned.as_ref())));
    }

    #[test]
    fn an_unreadable_policy_is_never_what_denies_or_allows(
        documents in documents(), edge in prop::option::of(prop::option::of(statements())),
    ) {
        let without = with(&documents, edge.as_ref());
        let mut more = documents.clone();
        more.push(None);
        let with_it = with(&more, edge.as_ref());
        for (before, after) in answers(&without).iter().zip(&answers(&with_it)) {
            match (word(before), word(after)) {
                // It may grant or deny: nothing but what decides without it stands.
                ("denied", "denied") | ("not by boundary", "not by boundary") | ("not granted", "not by boundary" | "unknown") => {}
                (_, "unknown") if word(before) != "denied" => {}
                (before, after) => prop_assert!(false, "{} became {}", before, after),
            }
        }
    }

    #[test]
    fn an_uncertain_answer_names_what_it_hangs_on(
        documents in documents(), edge in prop::option::of(prop::option::of(statements())),
    ) {
        for answer in answers(&with(&documents, edge.as_ref())) {
            match answer {
                Answer::Conditional { on } => {
                    prop_assert!(!on.is_empty());
                    prop_assert!(on.iter().all(|dependence| dependence.resource || !dependence.keys.is_empty()));
                }
                Answer::Unknown { why } => prop_assert!(!why.is_empty()),
                Answer::Allowed { .. } | Answer::Denied(_) => {}
            }
        }
    }

    /// What the comparison calls the same gives the same answers, and what it calls wider or narrower gives no other.
    /// It takes it that a variable has a value, and that a list of nothing is one; so no NotResource has these here.
    #[test]
    fn the_comparison_of_documents_is_not_contradicted(
        mut one in statements(), mut other in statements(), changed in any::<sample::Index>(), related: bool,
    ) {
        for statement in one.iter_mut().chain(&mut other) {
            if let Some(excluded) = statement.get_mut("NotResource").and_then(Value::as_array_mut) {
                excluded.retain(|text| !text.to_string().contains('$'));
                if excluded.is_empty() {
                    excluded.push(json!("arn:aws:s3:::c"));
                }
            }
        }
        let other = if related && !one.is_empty() {
            let mut fewer = one.clone();
            fewer.remove(changed.index(one.len()));
            fewer
        } else {
            other
        };
        let (desired, live) = (Document::parse(&text(&one)).unwrap(), Document::parse(&text(&other)).unwrap());
        let drift = compare(&desired, &live).drift;
        let (before, after) = (with(&[Some(one)], None), with(&[Some(other)], None));
        match drift {
            None | Some(Drift::Cosmetic) => prop_assert_eq!(words(&before), words(&after)),
            Some(Drift::Widened) => prop_assert!(never_less(&before, &after)),
            Some(Drift::Narrowed) => prop_assert!(never_less(&after, &before)),
            _ => {}
        }
    }
}
