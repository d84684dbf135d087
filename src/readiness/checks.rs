//! Every check of a role: what is asked, and what IAM's rules say of it.
//!
//! What must stay true: a check is `Met` or `Missing` only where the evaluator is sure, and silence about a bucket or a
//! key of the same account is `Unknown`, since their own policies may grant it (IAM User Guide, "Cross-account policy
//! evaluation logic").

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::{
    Cause, Standing, Subject,
    remedy::{self, Remedy},
    words::{self, Asked},
};
use crate::{
    inventory::{ManagedPolicy, Role, Surroundings},
    manifest::Platform,
    names::{AccountId, Partition},
    policy::{
        evaluate::{
            Answer, Context, Denial, Kind, Permissions, Policy, PolicyName, Prepared, Question, Resource, instant,
        },
        session_manager::{Need, NodeKind, NodeRegistration, Purpose},
    },
};

/// One thing that a session asks of a role, and whether it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What is asked.
    pub asked: Asked,
    /// Whether it is there.
    pub standing: Standing,
    /// Why, in a word.
    pub cause: Cause,
    /// What says so: which policy, which statement, which missing piece.
    pub evidence: String,
    /// The one change that would mend it, where it is not met and a change can.
    pub remedy: Option<Remedy>,
    /// Whether the role's policies surely allow the action, or surely do not; none where neither is sure, or where it is
    /// not up to them.
    pub allows: Option<bool>,
}

/// Every check of the role, in the order in which a session would meet them.
pub(super) fn all(subject: Subject<'_>) -> Vec<Check> {
    let Some(around) = &subject.role.surroundings else { return vec![not_read()] };
    let manifest = &subject.wanted.manifest;
    let eyes = Eyes::of(subject, around);
    let is_instance = manifest.platform == Platform::Ec2;
    // It manages EC2 instances alone: no other node has credentials but the role's.
    if is_instance && manifest.settings.node_registration == NodeRegistration::DefaultHostManagement {
        return vec![eyes.left_to_default_host_management()];
    }
    let mut checks = vec![trust(subject.account, around, manifest.platform)];
    if is_instance {
        checks.push(eyes.instance_profile());
    }
    checks.extend(eyes.registration());
    let needs = manifest.settings.needs(subject.account, &eyes.partition);
    checks.extend(needs.into_iter().map(|need| eyes.permission(need)));
    checks
}

/// Whether the role surely lets its node register.
pub(super) fn registers(subject: Subject<'_>) -> bool {
    let Some(around) = &subject.role.surroundings else { return false };
    Eyes::of(subject, around).registration().is_some_and(|check| check.standing == Standing::Met)
}

/// Where nothing but the policy itself was read.
fn not_read() -> Check {
    Check {
        asked: Asked::Role,
        standing: Standing::Unknown,
        cause: Cause::NotRead,
        evidence: "its other policies, trust policy and instance profiles were not read, since the bulk read is denied"
            .to_owned(),
        remedy: Some(Remedy::Change("allow the controller iam:GetAccountAuthorizationDetails on *".to_owned())),
        allows: None,
    }
}

/// Whether the trust policy admits the service that assumes roles for nodes of this platform.
pub(super) fn trust(account: &AccountId, around: &Surroundings, platform: Platform) -> Check {
    let asked = Asked::Trust(service(platform));
    let partition = around.arn.partition();
    let Some(services) = services(&partition, platform) else { return of_another_partition(asked, &partition) };
    let prepared = match around.trust.parsed() {
        Ok(document) => Prepared::of_trust(document, services),
        Err(why) => Prepared::unreadable(format!("it is not a policy document: {why}")),
    };
    let assumed_in = |region: &str| assumed_in(region, account, &partition, platform);
    let mut contexts = vec![assumed_in(ANY_REGION)];
    // A trust policy may name the Region of its nodes: then those nodes are asked about.
    contexts.extend(regions(&prepared).into_iter().map(assumed_in));
    let name = PolicyName { kind: Kind::Trust, name: "trust policy".into() };
    let trust = Permissions { policies: vec![Policy { name, document: prepared.into() }], boundary: None };
    let question = Question::new("sts:AssumeRole", Resource::Unnamed);
    let mut answers = contexts.iter().map(|context| trust.answer(&question, context));
    let first = answers.next();
    let sure = answers.find(|answer| matches!(answer, Answer::Allowed { .. }));
    let answer = sure.or(first).unwrap_or(Answer::Denied(Denial::NotGranted));
    let nearest = trust.nearest(&question);
    let evidence = match (&answer, &nearest) {
        (Answer::Denied(Denial::NotGranted), Some(nearest)) => {
            format!("{nearest} admits it, but under a condition that its requests do not meet")
        }
        (Answer::Denied(Denial::NotGranted), None) => "no statement of the trust policy admits it".to_owned(),
        (answer, _) => words::evidence(answer),
    };
    let remedy = remedy::of_trust(&answer, nearest.as_ref(), services[0], account);
    Check { remedy, ..check(asked, &answer, Cause::TrustPolicyRefuses, evidence) }
}

/// The names under which a platform's service assumes roles; none where they are not known.
fn services(partition: &Partition, platform: Platform) -> Option<&'static [&'static str]> {
    match (partition.as_str(), platform) {
        ("aws-cn", Platform::Ec2) => Some(&["ec2.amazonaws.com", "ec2.amazonaws.com.cn"]),
        ("aws" | "aws-us-gov", Platform::Ec2) => Some(&["ec2.amazonaws.com"]),
        ("aws" | "aws-cn" | "aws-us-gov", Platform::Hybrid) => Some(&["ssm.amazonaws.com"]),
        ("aws" | "aws-cn" | "aws-us-gov", Platform::Ecs) => Some(&["ecs-tasks.amazonaws.com"]),
        _ => None,
    }
}

/// Partitions that are apart from the others may have names of their own for services.
fn of_another_partition(asked: Asked, partition: &Partition) -> Check {
    Check {
        asked,
        standing: Standing::Unknown,
        cause: Cause::PolicyNotReadable,
        evidence: format!("under which name the service assumes roles in the partition {partition} is not known here"),
        remedy: Some(Remedy::Change(format!(
            "see whether the trust policy allows sts:AssumeRole to the service by the name that it has in {partition}"
        ))),
        allows: None,
    }
}

/// What is known of the service's request for the role, made for nodes of a Region.
///
/// Sources: Systems Manager User Guide, "Create the IAM service role required for Systems Manager in hybrid and
/// multicloud environments"; Amazon ECS Developer Guide, "Amazon ECS task IAM role"; IAM User Guide, "AWS global
/// condition context keys" (`aws:PrincipalIsAWSService`).
fn assumed_in(region: &str, account: &AccountId, partition: &Partition, platform: Platform) -> Context {
    let by_service = Context::new().with("aws:PrincipalIsAWSService", ["true"]);
    let service = match platform {
        Platform::Hybrid => "ssm",
        Platform::Ecs => "ecs",
        // No page says whether EC2 tells a source.
        Platform::Ec2 => return by_service,
    };
    by_service
        .with("aws:SourceAccount", [account.as_str()])
        .within("aws:SourceArn", &format!("arn:{partition}:{service}:{region}:{account}:*"))
}

/// What all checks of one role look with.
pub(super) struct Eyes<'a> {
    subject: Subject<'a>,
    around: &'a Surroundings,
    pub(super) partition: Partition,
    pub(super) permissions: Permissions,
    pub(super) context: Context,
}

impl<'a> Eyes<'a> {
    pub(super) fn of(subject: Subject<'a>, around: &'a Surroundings) -> Self {
        let partition = around.arn.partition();
        let permissions = permissions(subject.role, around);
        let context = {
            let arn = around.arn.of(&subject.role.path, subject.role.name.as_str());
            Context::of_role_session(&arn, subject.account.as_str())
        };
        // Nodes fetch new credentials within hours: the question is about those. Of what lies ahead there are none yet.
        let revocations = permissions.policies.iter().filter_map(|policy| policy.document.revokes_sessions_before());
        let past = revocations.filter(|moment| is_past(moment, subject.now));
        let context = past.fold(context, |context, moment| context.since("aws:TokenIssueTime", moment));
        Self { subject, around, partition, permissions, context }
    }

    fn instance_profile(&self) -> Check {
        let role = &self.subject.role.name;
        let profiles = &self.around.instance_profiles;
        let (standing, evidence, remedy) = if profiles.is_empty() {
            let remedy = format!(
                "aws iam create-instance-profile --instance-profile-name {role} && aws iam add-role-to-instance-profile --instance-profile-name {role} --role-name {role}, and give it to the instances"
            );
            (Standing::Missing, "no instance profile holds the role".to_owned(), Some(Remedy::Change(remedy)))
        } else {
            (
                Standing::Met,
                format!("held by {}", profiles.iter().map(|profile| profile.of(role)).collect::<Vec<_>>().join(", ")),
                None,
            )
        };
        let cause = if standing == Standing::Met { Cause::Ready } else { Cause::NoInstanceProfile };
        Check { asked: Asked::InstanceProfile, standing, cause, evidence, remedy, allows: None }
    }

    /// Tasks of ECS do not register.
    fn registration(&self) -> Option<Check> {
        let kind = match self.subject.wanted.manifest.platform {
            Platform::Ec2 => NodeKind::Instance,
            Platform::Hybrid => NodeKind::Managed,
            Platform::Ecs => return None,
        };
        Some(self.permission(Need::registration(kind, self.subject.account, &self.partition)))
    }

    /// The agent asks with the role first, and turns to Default Host Management only where that is denied (Systems
    /// Manager User Guide, "Default Host Management Configuration").
    fn left_to_default_host_management(&self) -> Check {
        let need = Need::registration(NodeKind::Instance, self.subject.account, &self.partition);
        let answer = self.ask(&need);
        let evidence = words::evidence(&answer);
        let asked = Asked::NoRegistration(need.clone());
        let elsewhere = |evidence: String| Check {
            asked: asked.clone(),
            standing: Standing::Met,
            cause: Cause::NotApplicable,
            evidence: format!("{evidence}: the node works with the credentials of Default Host Management"),
            remedy: None,
            allows: allows(&answer),
        };
        match &answer {
            Answer::Denied(_) => elsewhere(evidence),
            // No instance has the role's credentials.
            _ if self.around.instance_profiles.is_empty() => elsewhere("no instance profile holds the role".to_owned()),
            Answer::Allowed { by } => Check {
                asked,
                standing: Standing::Missing,
                cause: Cause::RegistersItself,
                evidence,
                remedy: Some(Remedy::Change(format!(
                    "{}, or say nodeRegistration: assumed in manifest {}",
                    remedy::ungrant(need.action, by),
                    self.subject.wanted.manifest.name
                ))),
                allows: Some(true),
            },
            Answer::Conditional { .. } => Check {
                remedy: Some(Remedy::Change(format!(
                    "have no policy of the role allow {}, not even on a condition",
                    need.action
                ))),
                ..check(asked, &answer, Cause::RegistersItself, evidence)
            },
            Answer::Unknown { .. } => Check {
                remedy: remedy::of_permission(&answer, &need, self.subject.wanted),
                ..check(asked, &answer, Cause::RegistersItself, evidence)
            },
        }
    }

    fn permission(&self, need: Need) -> Check {
        let answer = self.ask(&need);
        let cause = match need.purpose {
            Purpose::Registration => Cause::CannotRegister,
            Purpose::Channels => Cause::ChannelsDenied,
            Purpose::SessionKey => Cause::SessionKeyDenied,
            Purpose::EncryptionCheck => Cause::EncryptionCheckDenied,
            Purpose::LogsToS3 | Purpose::LogsToCloudWatch => Cause::LogDeliveryDenied,
        };
        let nearest = match &answer {
            Answer::Denied(Denial::NotGranted) => self.permissions.nearest(&need.question()),
            _ => None,
        };
        let evidence = nearest.map_or_else(|| words::evidence(&answer), |nearest| words::near_miss(&nearest));
        let remedy = remedy::of_permission(&answer, &need, self.subject.wanted);
        // What a boundary does not allow it still stops where a resource's policy names the role, but not where that
        // names the role's session.
        let is_silent = matches!(answer, Answer::Denied(Denial::NotGranted | Denial::NotByBoundary { .. }));
        if is_silent && need.resource_policy_may_grant {
            let evidence = format!("{evidence}, but {} may", words::resource_policy(&need));
            let (standing, cause) = (Standing::Unknown, Cause::ResourcePolicyMayGrant);
            return Check { asked: Asked::Permission(need), standing, cause, evidence, remedy, allows: None };
        }
        Check { remedy, ..check(Asked::Permission(need), &answer, cause, evidence) }
    }

    pub(super) fn ask(&self, need: &Need) -> Answer {
        self.permissions.answer(&need.question(), &self.context)
    }
}

/// Whether credentials that were issued after this moment can be had by now.
pub(super) fn is_past(moment: &str, now: Timestamp) -> bool {
    instant(moment).is_some_and(|moment| moment.duration_since(now) <= CLOCKS_DIFFER)
}

const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(5);

/// The name of a platform's service, where nothing else is known.
fn service(platform: Platform) -> &'static str {
    match platform {
        Platform::Ec2 => "ec2.amazonaws.com",
        Platform::Hybrid => "ssm.amazonaws.com",
        Platform::Ecs => "ecs-tasks.amazonaws.com",
    }
}

/// No request comes from a Region without a name.
const ANY_REGION: &str = "?*";

/// More than AWS has; and a trust policy of AWS's own making names one.
const MOST_REGIONS: usize = 64;

/// The Regions, or patterns of them, that a trust policy names as those of its requests' sources.
pub(super) fn regions(trust: &Prepared) -> BTreeSet<&str> {
    let is_region = |text: &&str| {
        let may_stand = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"*?-".contains(&byte);
        !text.is_empty() && text.bytes().all(may_stand)
    };
    let named: BTreeSet<&str> =
        trust.compared_with("aws:sourcearn").filter_map(|arn| arn.split(':').nth(3)).filter(is_region).collect();
    named.into_iter().take(MOST_REGIONS).collect()
}

/// A check that an answer decides; `denied` is the cause where the answer is no.
fn check(asked: Asked, answer: &Answer, denied: Cause, evidence: String) -> Check {
    let (standing, cause) = match answer {
        Answer::Allowed { .. } => (Standing::Met, Cause::Ready),
        Answer::Denied(_) => (Standing::Missing, denied),
        Answer::Conditional { .. } => (Standing::Conditional, Cause::DependsOnConditions),
        // Nothing that is worth a word: in a moment it will be known.
        Answer::Unknown { why } if why.iter().any(|doubt| doubt.what == ManagedPolicy::NOT_YET) => {
            (Standing::Unknown, Cause::NotYetRead)
        }
        Answer::Unknown { .. } => (Standing::Unknown, Cause::PolicyNotReadable),
    };
    Check { asked, standing, cause, evidence, remedy: None, allows: allows(answer) }
}

fn allows(answer: &Answer) -> Option<bool> {
    match answer {
        Answer::Allowed { .. } => Some(true),
        Answer::Denied(_) => Some(false),
        Answer::Conditional { .. } | Answer::Unknown { .. } => None,
    }
}

/// Everything that IAM weighs for the role's sessions.
fn permissions(role: &Role, around: &Surroundings) -> Permissions {
    let named = |kind, name: &str| PolicyName { kind, name: name.into() };
    let managed = |kind, policy: &ManagedPolicy| Policy {
        name: PolicyName { kind, name: policy.arn.clone() },
        document: policy.prepared(),
    };
    let looked_for = role.policies.iter().map(|(name, live)| (name.as_str(), live.prepared()));
    let others = around.others.iter().filter_map(|(name, other)| Some((&**name, other.prepared(&role.name)?)));
    let inline = looked_for
        .chain(others)
        .map(|(name, document)| Policy { name: named(Kind::Inline, name), document: document.into() });
    let attached = around.attached.iter().map(|policy| managed(Kind::Managed, policy));
    Permissions {
        policies: inline.chain(attached).collect(),
        boundary: around.boundary.as_ref().map(|policy| managed(Kind::Boundary, policy)),
    }
}
