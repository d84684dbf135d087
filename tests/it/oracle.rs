//! `policy::evaluate` against another judge of IAM policies, `@cloud-copilot/iam-simulate`, on many cases made up from a
//! seed. Where ours is sure, the other must agree, but for the disagreements that are settled in
//! tests/oracle/DISAGREEMENTS.md. Where something in the case is uncertain, the other is asked twice, with all of that turned
//! against the role and in its favour: ours must be sure wherever both are the same, and unsure where they are not. Where
//! ours is asked about many resources at once, the other is asked about several of them.
//!
//! `ORACLE_SEED` and `ORACLE_CASES` ask for other cases and for more of them.

mod cases;
mod doubt;
mod samples;
mod settled;

use std::{
    collections::{BTreeMap, BTreeSet},
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

/// For so many cases of one resource, one of many.
const PER_PATTERN: u64 = 4;

const ROLE: &str = "arn:aws:iam::111122223333:role/fleet/web";

#[test]
fn another_judge_agrees_wherever_ours_is_sure() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (seed, count) = (number("ORACLE_SEED", 20_260_101), number("ORACLE_CASES", 24_000));
    let of_many = count / PER_PATTERN;
    eprintln!("oracle: {count} cases of seed {seed}, and {of_many} about some resource of many");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut cases: Vec<Case> = (0..count).map(|_| Case::made(&mut random)).collect();
    cases.extend((0..of_many).map(|_| Case::made_within(&mut random)));
    let roles: Vec<Permissions> = cases.iter().map(permissions).collect();

    let started = Instant::now();
    let ours: Vec<Answer> = cases.iter().zip(&roles).map(|(case, role)| answer(case, role)).collect();
    let took = started.elapsed();

    let questions: Vec<Asked> = cases
        .iter()
        .zip(&ours)
        .enumerate()
        .flat_map(|(number, (case, ours))| {
            let is_one = case.within.is_none();
            samples::of(case, &mut random).into_iter().map(move |case| Asked::new(number, case, ours, is_one))
        })
        .collect();
    let theirs = asked(questions.iter().map(|asked| &asked.case));
    let sides = asked(questions.iter().filter_map(|asked| asked.bounds.as_ref()).flatten());
    let mut sides = sides.chunks_exact(2);

    let mut tally: BTreeMap<(bool, &str, &str), usize> = BTreeMap::new();
    let (mut at_odds, mut wrong, mut needless) = (Vec::new(), Vec::new(), Vec::new());
    for (asked, theirs) in questions.iter().zip(&theirs) {
        *tally.entry((asked.is_one, word(asked.ours), theirs.as_str())).or_default() += 1;
        if expected(asked.ours).is_some() && !asked.agrees(theirs) {
            at_odds.push((asked, theirs));
        }
        let sides = asked.bounds.is_some().then(|| sides.next().unwrap());
        let [worst, best] =
            sides.map_or([theirs, theirs], |sides| [&sides[0], &sides[1]]).map(|side| side == "Allowed");
        let show = || format!("ours {:?}, at worst {worst}, at best {best}\n  {}", asked.ours, asked.case.question());
        match expected(asked.ours) {
            Some("Allowed") if sides.is_some() && !worst => wrong.push(show()),
            Some("ImplicitlyDenied" | "ExplicitlyDenied") if sides.is_some() && best => wrong.push(show()),
            None if asked.is_one && worst == best => needless.push(show()),
            _ => {}
        }
    }
    report(&tally, took, &questions, &theirs, &roles);

    // Each disagreement is asked again without what it is about. It is settled only where the other then agrees.
    let rewritten: Vec<(Case, Vec<&str>)> =
        at_odds.iter().map(|(asked, _)| settled::without_the_cause(&asked.case)).collect();
    let again = self::asked(rewritten.iter().map(|(case, _)| case));
    let mut settled: BTreeMap<&str, usize> = BTreeMap::new();
    let mut open = Vec::new();
    for (((asked, theirs), (_, causes)), again) in at_odds.into_iter().zip(rewritten).zip(again) {
        if !causes.is_empty() && asked.agrees(&again) {
            causes.into_iter().for_each(|cause| *settled.entry(cause).or_default() += 1);
        } else {
            let question = asked.case.question();
            open.push(format!("ours {:?}\n  theirs {theirs}, without {causes:?} {again}\n  {question}", asked.ours));
        }
    }
    eprintln!("oracle: settled disagreements, by their causes: {settled:?}");
    let first = |lines: &[String]| lines.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
    assert!(open.is_empty(), "{} disagreements:\n{}", open.len(), first(&open));
    assert!(wrong.is_empty(), "{} sure whatever is not certain:\n{}", wrong.len(), first(&wrong));
    assert!(needless.is_empty(), "{} needlessly uncertain:\n{}", needless.len(), first(&needless));
    assert!(!tally.keys().any(|(_, _, theirs)| theirs.starts_with('{')), "the other judge refused a case");
}

/// What both are asked: ours perhaps of many resources at once, the other of one of them.
struct Asked<'a> {
    /// Which case it is of.
    number: usize,
    case: Case,
    ours: &'a Answer,
    /// Whether ours was asked of that one too.
    is_one: bool,
    /// The case at its worst and at its best, without what the two judges read in different ways; none where nothing in it
    /// is uncertain.
    bounds: Option<[Case; 2]>,
}

impl<'a> Asked<'a> {
    fn new(number: usize, case: Case, ours: &'a Answer, is_one: bool) -> Self {
        let bounds = doubt::bounds(&case).map(|sides| sides.map(|side| settled::without_the_cause(&side).0));
        Self { number, case, ours, is_one, bounds }
    }

    /// Whether the other judge says the same. What is denied for want of a grant or by the boundary may well be denied by a
    /// condition or a policy too that ours does not know, or by a statement about that one resource.
    fn agrees(&self, theirs: &str) -> bool {
        match expected(self.ours) {
            Some("ImplicitlyDenied") if self.bounds.is_some() || !self.is_one => theirs != "Allowed",
            expected => expected == Some(theirs),
        }
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

fn report(
    tally: &BTreeMap<(bool, &str, &str), usize>,
    took: Duration,
    questions: &[Asked],
    theirs: &[String],
    roles: &[Permissions],
) {
    for ((is_one, ours, theirs), count) in tally {
        let asked = if *is_one { "one resource" } else { "one of many" };
        eprintln!("oracle: {asked:<12}  ours {ours:<16} theirs {theirs:<16} {count:>6}");
    }
    let certain = questions.iter().filter(|asked| asked.is_one && asked.bounds.is_none());
    let (certain, unsure) =
        certain.fold((0, 0), |(all, unsure), asked| (all + 1, unsure + u32::from(expected(asked.ours).is_none())));
    eprintln!("oracle: nothing is uncertain in {certain} cases of one resource, of which ours is unsure of {unsure}");
    let (open, split) = left_open(questions, theirs);
    eprintln!("oracle: of {open} cases of many that ours leaves open for their resource, samples differ in {split}");
    let documents: usize = roles.iter().map(|role| role.policies.len() + usize::from(role.boundary.is_some())).sum();
    eprintln!("oracle: ours took {took:?} for {} cases, over {documents} policies", roles.len());
}

/// How many cases of many resources with nothing else that is uncertain ours leaves open, and in how many of them the
/// other judge says different things of the samples: those are shown to be open, and the others may be.
fn left_open(questions: &[Asked], theirs: &[String]) -> (usize, usize) {
    let mut open: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for (asked, theirs) in questions.iter().zip(theirs) {
        if !asked.is_one && asked.bounds.is_none() && expected(asked.ours).is_none() {
            open.entry(asked.number).or_default().insert(theirs);
        }
    }
    (open.len(), open.values().filter(|said| said.len() > 1).count())
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
    let resource = match case.within {
        Some((pattern, true)) => Resource::Below(pattern),
        Some((pattern, false)) => Resource::Within(pattern),
        None if case.resource == "*" => Resource::Unnamed,
        None => Resource::Exactly(&case.resource),
    };
    role.answer(&Question::new(&case.action, resource), &Context::of_role_session(ROLE, "111122223333"))
}

/// What the other judge says of each: a result's name, or what it complains of as a JSON object.
fn asked<'a>(cases: impl Iterator<Item = &'a Case>) -> Vec<String> {
    let lines: Vec<String> = cases.map(|case| format!("{}\n", case.question())).collect();
    if lines.is_empty() {
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
    let (count, text) = (lines.len(), lines.concat());
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let answers: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(named).collect();
    assert_eq!(answers.len(), count, "an answer for each case");
    answers
}

fn named(line: &str) -> String {
    let answer: Value = serde_json::from_str(line).unwrap();
    answer["result"].as_str().map_or_else(|| json!(answer).to_string(), str::to_owned)
}
