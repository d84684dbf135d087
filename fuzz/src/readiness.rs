//! Any text as the documents of a role, between lines `---`: its trust policy, its boundary, the policy that its manifest
//! asks for, another inline one, and the managed ones that are attached. What is empty is not there, and a managed policy
//! that begins with `!` could not be fetched, for the reason that follows.

use std::{mem::discriminant, str, sync::Arc, sync::OnceLock};

use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use ssm_role_controller::{
    inventory::{
        LiveDocument, ManagedPolicy, OtherPolicy, OthersDigest, Role, RoleArn, RoleKind, RoleText, Surroundings,
        SurroundingsKind,
    },
    manifest::{DesiredPolicy, ManifestSet, Whose, parse},
    names::{AccountId, RoleName},
    policy::{
        document::Document,
        evaluate::{Answer, Context, Kind, Permissions, Policy, PolicyName, Prepared, Question, Resource},
        session_manager::{Need, NodeKind},
    },
    readiness::{Cause, Standing, Subject, Verdict, advise, assess, registers},
    text::printable,
};

use super::documents::{Plain, listed, requests};

const BETWEEN: &str = "\n---\n";

/// As for two documents; and more policies than a role can carry are another test's matter.
const LONGEST: usize = 16 * 1024;
const MOST: usize = 16;

const ROLE: &str = "arn:aws:iam::111122223333:role/web";

/// Names that would draw on a terminal if they were let through.
const OTHER: &str = "o\u{1b}[31mther\n\u{202e}";
const MANAGED: &str = "arn:aws:iam::111122223333:policy/\u{7f}\u{9b}1m";

/// Each platform, with everything that a session can be asked to do; and one whose nodes register otherwise.
const MANIFESTS: &str = "\
apiVersion: ssm-role-controller.dev/v1alpha1
kind: SessionManagerPermissions
metadata: {name: instances}
spec:
  roles: [instances]
  sessionPreferences:
    kmsKeyId: arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab
    s3BucketName: logs
    s3KeyPrefix: p
    cloudWatchLogGroupName: /sessions
  logDelivery: {s3BucketOwner: '444455556666'}
---
apiVersion: ssm-role-controller.dev/v1alpha1
kind: SessionManagerPermissions
metadata: {name: hybrid}
spec: {roles: [hybrid], platform: hybrid}
---
apiVersion: ssm-role-controller.dev/v1alpha1
kind: SessionManagerPermissions
metadata: {name: tasks}
spec: {roles: [tasks], platform: ecs}
---
apiVersion: ssm-role-controller.dev/v1alpha1
kind: SessionManagerPermissions
metadata: {name: left}
spec: {roles: [left], nodeRegistration: defaultHostManagement}
";

/// Reads the bytes as a role, and holds what comes of it to what [`ssm_role_controller::readiness`] and
/// [`ssm_role_controller::policy::evaluate`] promise.
pub fn readiness(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if text.len() > LONGEST {
        return;
    }
    let documents: Vec<&str> = text.split(BETWEEN).take(MOST).collect();
    let role = role(&documents);
    for wanted in wanted() {
        assert_verdict_follows_from_checks(wanted, &role);
    }
    let boundary = documents.get(1).copied().filter(|text| !text.is_empty());
    let policies: Vec<&str> = documents.iter().skip(2).copied().filter(|text| !text.is_empty()).collect();
    assert_rules_hold(&policies, boundary, documents.last().unwrap_or(&""), text);
    assert_decided_plainly(&policies, boundary);
}

fn account() -> AccountId {
    "111122223333".parse().expect("it is an account id")
}

fn now() -> Timestamp {
    "2026-06-02T00:00:00Z".parse().expect("it is a moment")
}

/// What the manifests ask for, read once.
fn wanted() -> impl Iterator<Item = &'static DesiredPolicy> {
    static WANTED: OnceLock<Vec<DesiredPolicy>> = OnceLock::new();
    let read = || {
        let parsed = parse("fleet.yaml", MANIFESTS.as_bytes());
        let (set, faults) = ManifestSet::of([&parsed], None);
        assert_eq!(faults, []);
        set.desired(Whose::own(&account()), None).policies.into_values().collect()
    };
    WANTED.get_or_init(read).iter()
}

fn role(documents: &[&str]) -> Role {
    let live = |text: &str| Arc::new(LiveDocument::of_text(text));
    let given = |index: usize| documents.get(index).copied().filter(|text| !text.is_empty());
    let managed = |text: &str| {
        let document = text.strip_prefix('!').map_or_else(|| Ok(live(text)), |why| Err(why.to_owned()));
        Arc::new(ManagedPolicy::new(MANAGED.into(), document))
    };
    let name: RoleName = "web".parse().expect("it is a name");
    let other = |text| OtherPolicy::new(&name, &encoded(text));
    let around = SurroundingsKind {
        arn: RoleArn::new(ROLE, "/", "web"),
        trust: live(given(0).unwrap_or_default()),
        attached: documents.iter().skip(4).map(|text| managed(text)).collect(),
        boundary: given(1).map(managed),
        instance_profiles: [RoleText::new(&name, OTHER)].into(),
        others: given(3).map(|text| (OTHER.into(), other(text))).into_iter().collect(),
    };
    let (inline_size, others_digest) = (text_size(documents), OthersDigest::default());
    let surroundings = Surroundings { kind: Arc::new(around), inline_size, others_digest };
    let ours = given(2).map(|text| ("SessionManagerPermissions".parse().expect("it is a name"), live(text)));
    let kind = RoleKind { policies: ours.into_iter().collect(), ..RoleKind::clone(&RoleKind::at("/")) };
    Role { name, kind: Arc::new(kind), surroundings: Some(surroundings) }
}

/// As IAM sends it.
fn encoded(text: &str) -> Arc<str> {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string().into()
}

fn text_size(documents: &[&str]) -> usize {
    documents.iter().map(|text| text.len()).sum()
}

/// The verdict is what the checks say, whatever is told is harmless once it is escaped, and a write that changes nothing
/// takes nothing away.
fn assert_verdict_follows_from_checks(wanted: &DesiredPolicy, role: &Role) {
    let account = account();
    let subject = Subject { account: &account, role, wanted, now: now() };
    let readiness = assess(subject);
    let any = |standing| readiness.checks.iter().any(|check| check.standing == standing);
    assert!(!readiness.checks.is_empty());
    assert_eq!(readiness.verdict == Verdict::NotReady, any(Standing::Missing), "{readiness:?}");
    let all_met = !any(Standing::Missing) && !any(Standing::Unknown) && !any(Standing::Conditional);
    let sure = matches!(readiness.verdict, Verdict::Ready | Verdict::NotApplicable);
    assert_eq!(sure, all_met, "{readiness:?}");
    for check in &readiness.checks {
        assert_harmless(&check.sentence());
        assert_harmless(&check.remedy.as_ref().map(ToString::to_string).unwrap_or_default());
        assert!(!check.evidence.is_empty() && !check.asked.symptom().is_empty(), "{check:?}");
        let is_met = check.standing == Standing::Met;
        assert_eq!(is_met, matches!(check.cause, Cause::Ready | Cause::NotApplicable), "{check:?}");
        if check.asked.name() == "Registration" {
            assert_eq!(registers(subject), is_met, "{check:?}");
        }
    }
    let condition = readiness.condition();
    assert!(!condition.fact.is_empty(), "{readiness:?}");
    assert_harmless(&condition.message());
    advise(subject).iter().for_each(|advice| assert_harmless(advice));
    assert_eq!(readiness.losses_against(&readiness), None);
}

fn assert_harmless(text: &str) {
    let acts = |character: char| {
        character.is_control()
            || ('\u{200b}'..='\u{200f}').contains(&character)
            || ('\u{2028}'..='\u{202e}').contains(&character)
            || ('\u{2060}'..='\u{206f}').contains(&character)
            || character == '\u{feff}'
    };
    let shown = printable(text);
    assert!(!shown.contains(acts), "{shown:?}");
}

fn named(document: Prepared) -> Policy {
    Policy { name: PolicyName { kind: Kind::Managed, name: MANAGED.into() }, document: Arc::new(document) }
}

fn policy(text: &str) -> Policy {
    named(match text.strip_prefix('!') {
        Some(why) => Prepared::unreadable(why),
        None => LiveDocument::of_text(text).prepared(),
    })
}

/// What the manifests ask for, and each of a few resources that the documents name.
fn questions(text: &str) -> Vec<Question> {
    let account = account();
    let partition = "aws".parse().expect("it is a partition");
    let needs = wanted().flat_map(|wanted| wanted.manifest.settings.needs(&account, &partition));
    let registration =
        [NodeKind::Instance, NodeKind::Managed].map(|kind| Need::registration(kind, &account, &partition));
    let of_needs = needs.chain(registration).map(|need| need.question());
    let arns = text.split('"').filter(|text| text.starts_with("arn:")).take(4);
    let of_arns = arns.flat_map(|arn| {
        [Resource::Exactly(arn), Resource::Within(arn), Resource::Below(arn)]
            .map(|resource| Question::new("s3:PutObject", resource))
    });
    of_needs.chain(of_arns).collect()
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

/// The order of policies changes no answer, a boundary gives nothing, an Allow takes nothing, and a Deny gives nothing.
fn assert_rules_hold(policies: &[&str], boundary: Option<&str>, more: &str, text: &str) {
    let policies: Vec<Policy> = policies.iter().map(|text| policy(text)).collect();
    let boundary = boundary.map(policy);
    let context = Context::of_role_session(ROLE, account().as_str());
    let and = |more: Option<Policy>| more.map(|more| policies.iter().cloned().chain([more]).collect());
    let whole = |policies| Permissions { policies, boundary: boundary.clone() };
    let (allow, deny) = (and(part(more, "Allow")).map(whole), and(part(more, "Deny")).map(whole));
    let turned = whole(policies.iter().rev().cloned().collect());
    let unbounded = Permissions { policies: policies.clone(), boundary: None };
    let role = whole(policies);
    for question in questions(text) {
        let answer = role.answer(&question, &context);
        let of = |role: &Permissions| role.answer(&question, &context);
        assert_eq!(discriminant(&answer), discriminant(&of(&turned)), "{question:?}: {answer:?}");
        assert!(rank(&of(&unbounded)) >= rank(&answer), "{question:?}: a boundary gave {answer:?}");
        if let Some(after) = allow.as_ref().map(of) {
            assert!(rank(&after) >= rank(&answer), "{question:?}: {answer:?} with an Allow is {after:?}");
        }
        if let Some(after) = deny.as_ref().map(of) {
            assert!(rank(&after) <= rank(&answer), "{question:?}: {answer:?} with a Deny is {after:?}");
        }
        match &answer {
            Answer::Conditional { on } => assert!(!on.is_empty(), "{question:?}"),
            Answer::Unknown { why } => assert!(!why.is_empty(), "{question:?}"),
            Answer::Allowed { .. } | Answer::Denied(_) => {}
        }
    }
}

/// The statements of one effect alone, where they are a document that can be read.
fn part(text: &str, effect: &str) -> Option<Policy> {
    let document: Value = serde_json::from_str(&Document::parse(text).ok()?.to_string()).ok()?;
    let statements: Vec<&Value> =
        listed(&document["Statement"]).filter(|statement| statement["Effect"] == effect).collect();
    let mut part = json!({"Statement": statements});
    if let Some(version) = document.get("Version") {
        part["Version"] = version.clone();
    }
    Some(named(Prepared::of(&Document::parse(&part.to_string()).ok()?)))
}

/// Where nothing is uncertain, the answer is what a second, simple evaluation says.
fn assert_decided_plainly(policies: &[&str], boundary: Option<&str>) {
    let plain = |text: &str| Plain::of(&Document::parse(text).ok()?);
    let Some(plains) = policies.iter().map(|text| plain(text)).collect::<Option<Vec<_>>>() else { return };
    let Some(bounded) = boundary.map_or(Some(None), |text| plain(text).map(Some)) else { return };
    let granted = Plain(plains.into_iter().flat_map(|plain| plain.0).collect());
    let statements = || granted.0.iter().chain(bounded.iter().flat_map(|bounded| &bounded.0));
    if statements().any(|statement| statement.conditional) || statements().count() > MOST {
        return;
    }
    let role =
        Permissions { policies: policies.iter().map(|text| policy(text)).collect(), boundary: boundary.map(policy) };
    let asked = requests(&granted, bounded.as_ref().unwrap_or(&granted));
    for (action, resource) in asked.iter().take(64) {
        let decides = |plain: &Plain| plain.decides(action, resource, true);
        let allowed = decides(&granted) && bounded.as_ref().is_none_or(decides);
        match role.answer(&Question::new(action, Resource::Exactly(resource)), &Context::new()) {
            Answer::Allowed { by } => assert!(allowed, "{action} on {resource:?}: allowed by {by:?}"),
            Answer::Denied(why) => assert!(!allowed, "{action} on {resource:?}: {why:?}"),
            Answer::Conditional { on } => panic!("{action} on {resource:?} depends on {on:?}"),
            Answer::Unknown { .. } => {}
        }
    }
}
