//! `policy::evaluate` against another judge of IAM policies, `@cloud-copilot/iam-simulate`, on many cases made up from a
//! seed. Where ours is sure, the other must agree, but for the disagreements that are settled in
//! tests/oracle/DISAGREEMENTS.md; and ours must be sure wherever nothing in the case is uncertain.
//!
//! `ORACLE_SEED` and `ORACLE_CASES` ask for other cases and for more of them.

mod cases;
mod settled;

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use ssm_role_controller::policy::{
    document::Document,
    evaluate::{Answer, Context, Denial, Kind, Permissions, Policy, PolicyName, Prepared, Question, Resource},
};

use cases::Case;

const ROLE: &str = "arn:aws:iam::111122223333:role/fleet/web";

#[test]
fn another_judge_agrees_wherever_ours_is_sure() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (seed, count) = (number("ORACLE_SEED", 20_260_101), number("ORACLE_CASES", 24_000));
    eprintln!("oracle: {count} cases of seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let cases: Vec<Case> = (0..count).map(|_| Case::made(&mut random)).collect();
    let roles: Vec<Permissions> = cases.iter().map(permissions).collect();

    let started = Instant::now();
    let ours: Vec<Answer> = cases.iter().zip(&roles).map(|(case, role)| answer(case, role)).collect();
    let took = started.elapsed();
    let theirs = asked(&cases);

    let mut tally: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut at_odds = Vec::new();
    let mut needless = Vec::new();
    for ((case, ours), theirs) in cases.iter().zip(&ours).zip(&theirs) {
        *tally.entry((word(ours), theirs.as_str())).or_default() += 1;
        match expected(ours) {
            Some(_) if !agree(case, ours, theirs) => at_odds.push((case, ours, theirs)),
            None if !case.uncertain => needless.push(format!("{ours:?}\n  {}", case.question())),
            _ => {}
        }
    }
    report(&tally, took, &cases);

    // Each disagreement is asked again without what it is about. It is settled only where the other then agrees.
    let rewritten: Vec<(Case, Vec<&str>)> = at_odds.iter().map(|(case, ..)| settled::without_the_cause(case)).collect();
    let again = asked(&rewritten.iter().map(|(case, _)| case.clone()).collect::<Vec<_>>());
    let mut settled: BTreeMap<Vec<&str>, usize> = BTreeMap::new();
    let mut open = Vec::new();
    for (((case, ours, theirs), (_, causes)), again) in at_odds.into_iter().zip(rewritten).zip(again) {
        if !causes.is_empty() && agree(case, ours, &again) {
            *settled.entry(causes).or_default() += 1;
        } else {
            open.push(format!("ours {ours:?}\n  theirs {theirs}, without {causes:?} {again}\n  {}", case.question()));
        }
    }
    eprintln!("oracle: settled disagreements: {settled:?}");
    let first = |lines: &[String]| lines.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
    assert!(open.is_empty(), "{} disagreements:\n{}", open.len(), first(&open));
    assert!(needless.is_empty(), "{} needlessly uncertain:\n{}", needless.len(), first(&needless));
    assert!(!tally.keys().any(|(_, theirs)| theirs.starts_with('{')), "the other judge refused a case");
}

/// Whether the other judge says the same. What is denied for want of a grant or by the boundary may well be denied by a
/// condition or a policy too that ours does not know.
fn agree(case: &Case, ours: &Answer, theirs: &str) -> bool {
    match expected(ours) {
        Some("ImplicitlyDenied") if case.uncertain => matches!(theirs, "ImplicitlyDenied" | "ExplicitlyDenied"),
        expected => expected == Some(theirs),
    }
}

/// What the other judge must say of it; none where ours is not sure.
fn expected(answer: &Answer) -> Option<&'static str> {
    match answer {
        Answer::Allowed { .. } => Some("Allowed"),
        Answer::Denied(Denial::Explicitly { .. }) => Some("ExplicitlyDenied"),
        Answer::Denied(Denial::NotGranted | Denial::NotByBoundary { .. }) => Some("ImplicitlyDenied"),
        Answer::Conditional { .. } | Answer::Unknown { .. } => None,
    }
}

fn word(answer: &Answer) -> &'static str {
    match answer {
        Answer::Conditional { .. } => "Conditional",
        Answer::Unknown { .. } => "Unknown",
        sure => expected(sure).unwrap_or_default(),
    }
}

fn report(tally: &BTreeMap<(&str, &str), usize>, took: Duration, cases: &[Case]) {
    for ((ours, theirs), count) in tally {
        eprintln!("oracle: ours {ours:<16} theirs {theirs:<16} {count:>6}");
    }
    let certain = cases.iter().filter(|case| !case.uncertain).count();
    let documents: usize = cases.iter().map(|case| case.policies.len() + usize::from(case.boundary.is_some())).sum();
    eprintln!("oracle: {certain} cases hold nothing uncertain; ours took {took:?} for all, over {documents} policies");
}

fn permissions(case: &Case) -> Permissions {
    let policy = |kind, index: usize, document: &Value, unreadable: bool| {
        let document = match Document::parse(&document.to_string()) {
            _ if unreadable => Prepared::unreadable("it could not be fetched"),
            Ok(document) => Prepared::of(&document),
            Err(error) => panic!("{error}: {document}"),
        };
        Policy { name: PolicyName { kind, name: format!("policy {index}").into() }, document: Arc::new(document) }
    };
    let policies = case.policies.iter().enumerate();
    Permissions {
        policies: policies
            .map(|(index, document)| policy(Kind::Managed, index, document, case.unreadable == Some(index)))
            .collect(),
        boundary: case.boundary.as_ref().map(|document| policy(Kind::Boundary, 0, document, false)),
    }
}

fn answer(case: &Case, role: &Permissions) -> Answer {
    let resource = if case.resource == "*" { Resource::Unnamed } else { Resource::Exactly(&case.resource) };
    role.answer(&Question::new(&case.action, resource), &Context::of_role_session(ROLE, "111122223333"))
}

/// What the other judge says of each: a result's name, or what it complains of as a JSON object.
fn asked(cases: &[Case]) -> Vec<String> {
    if cases.is_empty() {
        return Vec::new();
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let installed = root.join("target/oracle");
    assert!(installed.join("installed-lock.json").exists(), "target/oracle is not there: run tests/setup");
    let mut child = Command::new("node")
        .arg(root.join("tests/oracle/answer.cjs"))
        .arg(installed)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node runs: tests/setup installs it");
    let mut input = child.stdin.take().unwrap();
    let lines: String = cases.iter().map(|case| format!("{}\n", case.question())).collect();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let answers: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(named).collect();
    assert_eq!(answers.len(), cases.len(), "an answer for each case");
    answers
}

fn named(line: &str) -> String {
    let answer: Value = serde_json::from_str(line).unwrap();
    answer["result"].as_str().map_or_else(|| json!(answer).to_string(), str::to_owned)
}
