//! The people and other tools of the world, and everything that goes wrong between it and the controller.
//!
//! Knows the scene, and nothing of what is checked. What must stay true: everything follows from the random numbers that
//! it is given.

use std::time::Duration;

use fastrand::Rng;

use super::{OWN_ROLE, authors::CUSTOMARY, scene::Scene};
use crate::{
    names::RoleName,
    sandbox::{Effect, Fault, Lag, RoleChange, RoleSeed},
};

const CHANNELS: &str = r#"{"Effect":"Allow","Action":["ssmmessages:CreateControlChannel","ssmmessages:CreateDataChannel","ssmmessages:OpenControlChannel","ssmmessages:OpenDataChannel"],"Resource":"*"}"#;
const S3: &str = r#"{"Effect":"Allow","Action":["s3:GetEncryptionConfiguration"],"Resource":"*"}"#;
/// What most roles have beside ours: it lets their nodes register.
pub(super) const CORE: &str = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore";
const OPERATIONS: [&str; 8] = [
    "GetPolicy",
    "GetPolicyVersion",
    "GetAccountAuthorizationDetails",
    "GetRolePolicy",
    "PutRolePolicy",
    "DeleteRolePolicy",
    "GetRole",
    "GetCallerIdentity",
];

/// The names that roles have in a world, and some that none has.
pub(super) fn names(rng: &mut Rng) -> Vec<String> {
    let mut names: Vec<String> = (0..rng.usize(3..40))
        .map(|number| match rng.u8(..6) {
            0 => format!("Web-Server.{number}@Prod"),
            1 => format!("BATCH_{number}"),
            2 => format!("node+{number},=x"),
            _ => format!("role-{number}"),
        })
        .collect();
    names.push(OWN_ROLE.to_owned());
    names
}

/// A world with these roles, in both accounts; some of them are missing.
pub(super) fn populate(scene: &Scene, rng: &mut Rng, names: &[String]) {
    for name in names {
        if name != OWN_ROLE && rng.u8(..12) == 0 {
            continue;
        }
        let seed = role(rng, name);
        scene.plant(&scene.own, seed, true);
        let seed = role(rng, name);
        scene.plant(&scene.other, seed, true);
    }
    scene.sandbox.set_page_cap((rng.u8(..3) == 0).then(|| rng.usize(2..9)));
}

/// Many roles that no manifest names, by small pages: then the few that are managed are read one by one, while all is well.
pub(super) fn crowd(scene: &Scene) {
    for number in 0..150 {
        scene.plant(&scene.own, RoleSeed::new(&format!("crowd-{number}")), true);
    }
    scene.sandbox.set_page_cap(Some(3));
}

fn role(rng: &mut Rng, name: &str) -> RoleSeed {
    let mut seed = RoleSeed::new(name).path(match rng.u8(..14) {
        0 if name != OWN_ROLE => "/aws-service-role/ssm.amazonaws.com/",
        1 if name != OWN_ROLE => "/aws-reserved/sso.amazonaws.com/",
        2..5 => "/team/",
        _ => "/",
    });
    if rng.u8(..3) > 0 {
        seed = seed.policy(CUSTOMARY, &document(rng));
    }
    if rng.u8(..4) == 0 {
        seed = seed.policy("Sessions", &document(rng));
    }
    if rng.u8(..3) == 0 {
        seed = seed.policy("Application", &application(rng));
    }
    if rng.bool() {
        seed = seed.instance_profile(name);
    }
    if rng.u8(..3) == 0 {
        seed = seed.attached(CORE);
    }
    seed
}

/// What an application needs; now and then so much that no room is left.
fn application(rng: &mut Rng) -> String {
    let much = if rng.u8(..5) == 0 { rng.usize(9_300..10_100) } else { rng.usize(1..400) };
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"dynamodb:*","Resource":"arn:aws:dynamodb:*:*:table/{}"}}]}}"#,
        "x".repeat(much)
    )
}

/// A document as it may stand in a policy of ours: right for somebody, or tampered with in one of many ways.
fn document(rng: &mut Rng) -> String {
    let all = |statements: &[&str]| format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, statements.join(","));
    let right = all(&[CHANNELS, S3]);
    let more = |statement: &str| all(&[CHANNELS, S3, statement]);
    match rng.u8(..22) {
        0..5 => right,
        5 => all(&[S3, CHANNELS]),
        6 => right.replace("\"Statement\"", "\n  \"Statement\"").replace("ssmmessages", "SSMMessages"),
        7 => all(&[CHANNELS]),
        8 => all(&[S3]),
        9 => right.replace(r#""ssmmessages:OpenDataChannel""#, r#""ssmmessages:OpenDataChanne""#),
        10 => right.replace(r#","ssmmessages:OpenDataChannel""#, ""),
        11 | 12 => more(r#"{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":"*"}"#),
        13 => right.replace(r#""ssmmessages:OpenDataChannel""#, r#""ssmmessages:*""#),
        14 => all(&[CHANNELS, r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#]),
        15 => more(r#"{"Effect":"Deny","Action":"ssmmessages:*","Resource":"*"}"#),
        16 => all(&[r#"{"Effect":"Deny","Action":"*","Resource":"*"}"#]),
        17 => all(&[r#"{"Effect":"Allow","Action":"dynamodb:*","Resource":"*"}"#]),
        18 => more(r#"{"Effect":"Allow","Action":"ssm:UpdateInstanceInformation","Resource":"*"}"#),
        19 => {
            right.replace(r#""Resource":"*""#, r#""Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"true"}}"#)
        }
        20 => right[..rng.usize(..right.len())].to_owned(),
        _ => ["{}", "[]", "", "null", "{\"Statement\":[]}"][rng.usize(..5)].to_owned(),
    }
}

/// A tool that writes the same again and again.
#[derive(Debug, Clone)]
pub(super) struct Stubborn {
    role: RoleName,
    policy: &'static str,
    document: Option<String>,
    pub(super) every: Duration,
    times: u32,
}

impl Stubborn {
    pub(super) fn write(&self, scene: &Scene) {
        scene.put(&scene.own, &self.role, self.policy, self.document.as_deref());
    }

    /// What it does next, if it does not give up.
    pub(super) fn and_again(mut self) -> Option<Self> {
        self.times -= 1;
        (self.times > 0).then_some(self)
    }
}

/// Something that happens, beside what happens to the process itself and to the manifests.
pub(super) fn disturb(scene: &Scene, rng: &mut Rng, names: &[String]) -> Option<Stubborn> {
    let role: RoleName = names[rng.usize(..names.len())].parse().unwrap();
    let policy = if rng.u8(..5) == 0 { "Sessions" } else { CUSTOMARY };
    match rng.u8(..32) {
        30 => scene.change(&role, &RoleChange::default().attach(CORE)),
        31 => scene.change(&role, &RoleChange::default().detach(CORE)),
        0..10 => scene.put(&scene.own, &role, policy, Some(&document(rng))),
        10..13 => scene.put(&scene.own, &role, policy, None),
        13 => scene.put(&scene.other, &role, policy, Some(&document(rng))),
        14 => scene.put(&scene.own, &role, "Application", Some(&application(rng))),
        15 | 16 => scene.remove_role(&scene.own, &role),
        17 | 18 => {
            scene.remove_role(&scene.own, &role);
            let seed = self::role(rng, role.as_str());
            scene.plant(&scene.own, seed, false);
        }
        19 => {
            return Some(Stubborn {
                role,
                policy,
                document: (rng.u8(..4) > 0).then(|| document(rng)),
                every: Duration::from_secs(rng.u64(1..90)),
                times: if rng.u8(..4) == 0 { rng.u32(30..150) } else { rng.u32(3..12) },
            });
        }
        20 => scene.sandbox.clear_faults(),
        21 | 22 => {
            let longest = if rng.u8(..4) == 0 { 200_000 } else { 15_000 };
            let mut lag = || Duration::from_millis(rng.u64(..longest));
            let lag = Lag { bulk: lag(), single: lag() / 4 };
            scene.say(|| format!("reads lag now: {lag:?}"));
            scene.sandbox.set_lag(lag);
        }
        23 => scene.sandbox.set_page_cap((rng.bool()).then(|| rng.usize(1..9))),
        25 => {
            let key = if rng.bool() { "ssm-role-controller.dev/suspend" } else { "SSM-Role-Controller.dev/Suspend" };
            let values = [None, Some("false"), Some("FALSE"), Some(""), Some("true"), Some("incident 42")];
            scene.tag(&role, key, rng.choice(values).flatten());
        }
        24 => {
            scene.say(|| "the credentials expire".to_owned());
            scene.sandbox.fault(Fault::new(Effect::ExpiredToken).times(rng.u64(1..20)));
        }
        _ => {
            let fault = fault(rng, &role);
            scene.say(|| format!("from now on: {fault:?}"));
            scene.sandbox.fault(fault);
        }
    }
    None
}

fn fault(rng: &mut Rng, role: &RoleName) -> Fault {
    let effect = match rng.u8(..16) {
        0..2 => Effect::Throttle,
        2..4 => Effect::Deny,
        4 => Effect::ServerError,
        5 => Effect::Unavailable,
        6..8 => Effect::Hang,
        8 => Effect::Reset,
        9 => Effect::Cut,
        10 => Effect::Html,
        11 => Effect::NoMarker,
        12 => Effect::RepeatMarker,
        13 => Effect::InvalidClientTokenId,
        _ => Effect::DelayMs(rng.u64(1..20_000)),
    };
    // What AWS refuses has no effect.
    let is_refusal =
        matches!(effect, Effect::Throttle | Effect::Deny | Effect::InvalidClientTokenId | Effect::Unavailable);
    let mut fault = Fault::new(effect);
    if rng.u8(..5) > 0 {
        fault = fault.on(OPERATIONS[rng.usize(..OPERATIONS.len())]);
    }
    if rng.u8(..4) == 0 {
        fault = fault.role(role.as_str());
    }
    if rng.u8(..6) == 0 {
        fault = fault.beyond(0.5, 3);
    }
    if rng.bool() && !is_refusal {
        fault = fault.done();
    }
    if rng.u8(..6) > 0 {
        fault = fault.times(rng.u64(1..12));
    }
    fault.after(rng.u64(..3))
}

/// Nothing goes wrong any more, and nobody meddles.
pub(super) fn calm(scene: &Scene) {
    scene.say(|| "calm".to_owned());
    scene.sandbox.clear_faults();
    scene.sandbox.set_lag(Lag::default());
    scene.sandbox.set_page_cap(None);
}
