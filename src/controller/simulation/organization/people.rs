//! The accounts and their roles, what is asked for in them, and the people who meddle.
//!
//! Knows the documents by heart, from the manifests' description. What must stay true: all accounts have roles of the same
//! names, so that nothing but the account itself tells them apart.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;

use super::{
    super::{OWN, OWN_ROLE, plain::Plain},
    claims::{self, CLAIMED, Like, TAG, TEAM},
    hearsay,
    judge::{Key, Organization, Standing, Wish},
};
use crate::{
    manifest::{ManifestSet, parse},
    names::AccountId,
    sandbox::{Effect, Fault, Lag, RoleSeed},
};

/// An account with the same roles that nobody configured.
pub(super) const STRANGER: &str = "999988887777";
const MEMBERS: [&str; 11] = [
    "200000000007",
    "311111111113",
    "422222222229",
    "533333333331",
    "644444444447",
    "755555555551",
    "866666666669",
    "977777777771",
    "188888888883",
    "299999999999",
    "012345678901",
];
const QUEUE: &str = "https://sqs.us-east-1.amazonaws.com/111122223333/changes";
/// The role by which an account is entered.
pub(super) const KEEPER: &str = "keeper";
/// What the controller asks of an account's IAM here.
pub(super) const IAM: [&str; 4] = ["GetAccountAuthorizationDetails", "GetRolePolicy", "PutRolePolicy", "GetRole"];
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"sts:AssumeRole"}]}"#;

const NAMED: [&str; 6] = ["web", "batch", "Bastion", "aws-thing", KEEPER, OWN_ROLE];
/// Picked by a selector.
const PICKED: [&str; 3] = ["fleet-1", "fleet-2", "fleet-3"];
/// No business of the controller's.
const OTHERS: [&str; 2] = ["payroll", "flee"];
const PROTECTED: &str = "aws-thing";
pub(super) const LOGGED: &str = "SessionManagerPermissions";
const PICK: &str = "Picked";
const SESSIONS: &str = "Sessions";

const CHANNELS: &str = r#"{"Effect":"Allow","Action":["ssmmessages:CreateControlChannel","ssmmessages:CreateDataChannel","ssmmessages:OpenControlChannel","ssmmessages:OpenDataChannel"],"Resource":"*"}"#;
const S3: &str = r#"{"Effect":"Allow","Action":["s3:GetEncryptionConfiguration"],"Resource":"*"}"#;

pub(super) fn id(account: &str) -> AccountId {
    account.parse().unwrap()
}

/// What shall be in a policy of a role of an account, if anything: the very text.
pub(super) fn asked(first_member: &AccountId, (account, role, policy): &Key) -> Option<String> {
    let is_own = account.as_str() == OWN;
    let is_managed =
        account.as_str() != STRANGER && role != PROTECTED && role != if is_own { OWN_ROLE } else { KEEPER };
    let is_named = || NAMED.iter().any(|name| name.eq_ignore_ascii_case(role));
    let is_picked = || role.starts_with("fleet-");
    match policy.as_str() {
        LOGGED if is_managed && is_named() => Some(logged(account)),
        PICK if is_managed && is_picked() => Some(document(&[CHANNELS, S3])),
        SESSIONS if is_managed && role == "web" && account == first_member => Some(document(&[CHANNELS, S3])),
        _ => None,
    }
}

/// What is asked for of roles with a tag.
pub(super) fn by_tag() -> String {
    document(&[CHANNELS, S3])
}

/// What is asked for of roles with a path.
pub(super) fn by_path(account: &AccountId) -> String {
    logged(account)
}

fn logged(account: &AccountId) -> String {
    let of_group = format!(
        r#"{{"Effect":"Allow","Action":["logs:CreateLogStream","logs:PutLogEvents","logs:DescribeLogStreams"],"Resource":["arn:aws:logs:*:{account}:log-group:/ssm/sessions","arn:aws:logs:*:{account}:log-group:/ssm/sessions:*"]}}"#
    );
    let groups = r#"{"Effect":"Allow","Action":["logs:DescribeLogGroups"],"Resource":"*"}"#;
    document(&[CHANNELS, S3, groups, &of_group])
}

fn document(statements: &[&str]) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, statements.join(","))
}

/// What a policy is, in view of what is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Missing,
    Right,
    /// It is to be repaired.
    Drifted,
    /// Somebody denies.
    Denies,
    /// It is somebody else's.
    Foreign,
}

pub(super) fn kind(live: Option<&str>, asked: &str) -> Kind {
    let Some(live) = live else { return Kind::Missing };
    match Plain::of(live) {
        Plain::Denies => Kind::Denies,
        plain if plain == Plain::of(asked) => Kind::Right,
        Plain::Grants(grants) if grants.iter().any(|(action, _)| action.starts_with("ssmmessages:")) => Kind::Drifted,
        _ => Kind::Foreign,
    }
}

/// The names of all roles.
pub(super) fn roles() -> impl Iterator<Item = &'static str> {
    NAMED.iter().chain(&PICKED).chain(&OTHERS).copied()
}

pub(super) fn any_role(rng: &mut Rng) -> &'static str {
    let roles: Vec<&str> = roles().collect();
    roles[rng.usize(..roles.len())]
}

/// Every policy that something is asked for of.
pub(super) fn keys(organization: &Organization) -> Vec<Key> {
    let mut keys = all_keys(organization);
    keys.retain(|key| organization.asked(key).is_some());
    keys
}

/// Every policy that something may be asked for of.
pub(super) fn all_keys(organization: &Organization) -> Vec<Key> {
    let all = organization.accounts.iter().flat_map(|account| {
        roles().flat_map(|role| {
            [LOGGED, PICK, SESSIONS, CLAIMED]
                .map(|policy| (account.clone(), role.to_ascii_lowercase(), policy.to_owned()))
        })
    });
    all.filter(|key| key.2 == CLAIMED || asked(&organization.accounts[1], key).is_some()).collect()
}

/// The accounts of a life: the own one first.
pub(super) fn accounts(rng: &mut Rng, is_large: bool) -> Vec<AccountId> {
    let mut members = MEMBERS.to_vec();
    rng.shuffle(&mut members);
    members.truncate(if is_large { MEMBERS.len() } else { rng.usize(2..6) });
    [OWN].into_iter().chain(members).map(id).collect()
}

pub(super) fn populate(organization: &Organization, rng: &mut Rng) {
    for account in organization.accounts.iter().chain([&id(STRANGER)]) {
        for name in NAMED.iter().chain(&PICKED).chain(&OTHERS) {
            let is_entrance = *name == KEEPER || *name == OWN_ROLE;
            if !is_entrance && rng.u8(..8) == 0 {
                continue;
            }
            organization.sandbox.plant(account, role(organization, rng, account, name));
        }
    }
    organization.sandbox.set_page_cap((rng.u8(..3) == 0).then(|| rng.usize(2..9)));
}

fn role(organization: &Organization, rng: &mut Rng, account: &AccountId, name: &str) -> RoleSeed {
    let mut seed = RoleSeed::new(name);
    let mut like = Like { path: "/".to_owned(), is_tagged: rng.u8(..3) == 0 };
    if name == PROTECTED {
        like.path = "/aws-service-role/ssm.amazonaws.com/".to_owned();
    } else if name != KEEPER && rng.u8(..3) == 0 {
        like.path = format!("{TEAM}{}", if rng.bool() { "" } else { "web/" });
    }
    seed = seed.path(&like.path);
    if like.is_tagged {
        seed = seed.tag(TAG.0, TAG.1);
    }
    organization.state().likes.insert((account.clone(), name.to_ascii_lowercase()), like);
    if name == KEEPER {
        seed = seed.trust(TRUST);
    }
    for policy in [LOGGED, PICK, SESSIONS, CLAIMED] {
        let right = organization.asked(&(account.clone(), name.to_ascii_lowercase(), policy.to_owned()));
        if rng.u8(..3) > 0
            && let Some(document) = meddled(rng, right.as_deref().unwrap_or(&logged(account)))
        {
            seed = seed.policy(policy, &document);
        }
    }
    seed
}

/// What somebody may make of a policy; none removes it.
fn meddled(rng: &mut Rng, right: &str) -> Option<String> {
    let statement = |more: &str| format!("{},{more}]}}", &right[..right.len() - 2]);
    Some(match rng.u8(..14) {
        0..3 => return None,
        3..5 => right.to_owned(),
        5 => right.replace("\"Statement\"", "\n \"Statement\"").replace("ssmmessages", "SSMMessages"),
        6 => document(&[CHANNELS]),
        7 => right.replace(r#","ssmmessages:OpenDataChannel""#, ""),
        8 => right.replace(r#""ssmmessages:OpenDataChannel""#, r#""ssmmessages:*""#),
        9 | 10 => statement(r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#),
        11 => document(&[CHANNELS, r#"{"Effect":"Allow","Action":"iam:*","Resource":"*"}"#]),
        12 => statement(r#"{"Effect":"Deny","Action":"ssmmessages:*","Resource":"*"}"#),
        _ => document(&[r#"{"Effect":"Allow","Action":"dynamodb:*","Resource":"*"}"#]),
    })
}

/// Somebody shuts a door on purpose, between a process's fresh read and its write.
pub(super) fn be_quicker(organization: &Organization, key: &Key) {
    let deny = r#"{"Effect":"Deny","Action":"ssmmessages:*","Resource":"*"}"#;
    organization.put(key, Some(&document(&[CHANNELS, deny])));
}

/// Somebody has other selectors claim roles, while a process looks at one of them to write.
pub(super) fn edit(organization: &Organization) {
    let mut state = organization.state();
    if !state.is_calm {
        state.is_to_be_edited = true;
        organization.killed.notify_one();
    }
}

/// Somebody changes one of the policies that something is asked for of.
pub(super) fn tamper(organization: &Organization, rng: &mut Rng, in_one_account: bool) {
    let mut keys = keys(organization);
    keys.retain(|key| !in_one_account || key.0 == organization.accounts[1]);
    let key = keys[rng.usize(..keys.len())].clone();
    let right = organization.asked(&key).unwrap();
    organization.put(&key, meddled(rng, &right).as_deref());
}

/// Somebody tags a role, or takes the tag away: a selector claims it from now on, or no longer.
pub(super) fn retag(organization: &Organization, rng: &mut Rng, account: &AccountId) {
    let role = any_role(rng);
    let key = (account.clone(), role.to_ascii_lowercase());
    let mut state = organization.state();
    let Some(like) = state.likes.get_mut(&key) else { return };
    let is_tagged = !like.is_tagged;
    if !organization.sandbox.tag(account, role, TAG.0, is_tagged.then_some(TAG.1)) {
        return;
    }
    like.is_tagged = is_tagged;
    drop(state);
    organization.say(|| format!("somebody tags {account}/{role}: {is_tagged}"));
    organization.role_changed(account, role);
}

/// Something happens to a role, or between the accounts and the controller.
pub(super) fn disturb(organization: &Organization, rng: &mut Rng, in_one_account: bool) {
    let everywhere: Vec<AccountId> = organization.accounts.iter().cloned().chain([id(STRANGER)]).collect();
    let account = &everywhere[rng.usize(..everywhere.len())];
    let what = if in_one_account && rng.bool() { 0 } else { rng.u8(..42) };
    match what {
        0..10 => tamper(organization, rng, in_one_account),
        10 | 11 => {
            let policy = if rng.bool() { LOGGED } else { CLAIMED };
            let key = (account.clone(), any_role(rng).to_ascii_lowercase(), policy.to_owned());
            organization.put(&key, meddled(rng, &logged(account)).as_deref());
        }
        12..15 => {
            let roles = ["web", "batch", "Bastion", "fleet-1", "fleet-2", "fleet-3", "payroll"];
            let name = roles[rng.usize(..roles.len())];
            let is_there = organization.sandbox.remove_role(account, name);
            organization.say(|| format!("somebody removes {account}/{name} ({is_there})"));
            if !is_there || rng.bool() {
                organization.sandbox.make_role(account, role(organization, rng, account, name));
                organization.say(|| format!("somebody makes {account}/{name}"));
            }
            organization.role_changed(account, name);
        }
        15 => {
            let longest = if rng.bool() { 15_000 } else { 150_000 };
            let lag = Lag {
                bulk: Duration::from_millis(rng.u64(..longest)),
                single: Duration::from_millis(rng.u64(..15_000)),
            };
            organization.say(|| format!("reads lag now: {lag:?}"));
            organization.lags(lag);
        }
        16 => {
            organization.say(|| "the faults are over".to_owned());
            organization.sandbox.clear_faults();
            organization.sandbox.set_delay(Duration::ZERO);
        }
        17 => close(organization, account),
        18 | 19 => everywhere.iter().for_each(|account| open(organization, account)),
        20 => mislead(organization, rng, account),
        21 | 22 => throttle(organization, rng, account),
        33..39 => retag(organization, rng, account),
        39..42 => hearsay::forge(organization, rng),
        23 => {
            organization.say(|| "sts refuses everybody for a while".to_owned());
            organization.sandbox.fault(Fault::new(Effect::Deny).on("AssumeRole"));
        }
        24 => {
            let delay = Duration::from_millis(rng.u64(..2_500));
            organization.say(|| format!("every call takes {delay:?} now"));
            organization.sandbox.set_delay(delay);
        }
        _ => {
            // Of one account: which of several is called first in one moment is left to chance.
            let fault = fault(rng).account(account);
            organization.say(|| format!("{fault:?}"));
            organization.sandbox.fault(fault);
        }
    }
}

/// Nobody can enter the account any more, but those who are in it.
pub(super) fn close(organization: &Organization, account: &AccountId) {
    organization.say(|| format!("{account} cannot be entered any more"));
    organization.sandbox.remove_role(account, KEEPER);
    organization.role_changed(account, KEEPER);
}

pub(super) fn open(organization: &Organization, account: &AccountId) {
    if !organization.sandbox.roles(account).iter().any(|role| role == KEEPER) {
        organization.say(|| format!("{account} can be entered again"));
        organization.sandbox.plant(account, RoleSeed::new(KEEPER).trust(TRUST));
        organization.role_changed(account, KEEPER);
    }
}

/// The way into an account leads into another one, or does so no more.
fn mislead(organization: &Organization, rng: &mut Rng, account: &AccountId) {
    let everywhere: Vec<AccountId> = organization.accounts.iter().cloned().chain([id(STRANGER)]).collect();
    let other = everywhere[rng.usize(..everywhere.len())].clone();
    organization.say(|| format!("the way into {account} leads into {other}"));
    let mut state = organization.state();
    if state.misled.remove(account).is_none() && other != *account && other.as_str() != OWN {
        state.misled.insert(account.clone(), other);
    }
}

fn throttle(organization: &Organization, rng: &mut Rng, account: &AccountId) {
    let rate = [0.05, 0.3, 1.0, 3.0][rng.usize(..4)];
    organization.say(|| format!("{account} is throttled to {rate} a second"));
    let fault = Fault::new(Effect::Throttle).account(account).beyond(rate, rng.u32(1..4));
    for operation in IAM {
        organization.sandbox.fault(fault.clone().on(operation));
    }
}

fn fault(rng: &mut Rng) -> Fault {
    const OPERATIONS: [&str; 6] = [
        "GetAccountAuthorizationDetails",
        "GetRolePolicy",
        "PutRolePolicy",
        "PutRolePolicy",
        "GetRole",
        "GetCallerIdentity",
    ];
    let (effect, may_be_done) = match rng.u8(..8) {
        0 => (Effect::Deny, false),
        1 => (Effect::Throttle, false),
        2 => (Effect::ServerError, true),
        3 | 4 => (Effect::Hang, true),
        5 => (Effect::Reset, true),
        6 => (Effect::Cut, true),
        _ => (Effect::DelayMs(rng.u64(1..20_000)), true),
    };
    let mut fault = Fault::new(effect).on(OPERATIONS[rng.usize(..OPERATIONS.len())]).times(rng.u64(1..8));
    if may_be_done && rng.bool() {
        fault = fault.done();
    }
    fault
}

/// Nothing goes wrong any more, and nobody meddles.
pub(super) fn calm(organization: &Organization) {
    organization.say(|| "calm".to_owned());
    organization.sandbox.clear_faults();
    organization.sandbox.set_delay(Duration::ZERO);
    organization.lags(Lag::default());
    organization.state().misled.clear();
    organization.accounts.iter().for_each(|account| open(organization, account));
}

/// How often an account is read: some are so more often than usual, and some more rarely.
pub(super) fn resync_interval(accounts: &[AccountId], account: &AccountId) -> Duration {
    let number = accounts.iter().position(|each| each == account).unwrap_or_default();
    Duration::from_secs([60, 20, 80][number % 3])
}

/// The manifests that say so.
pub(super) fn manifests(accounts: &[AccountId], wish: &Wish, most_changes: usize) -> Arc<ManifestSet> {
    let permissions = |name: &str, spec: &str| {
        format!(
            "---\napiVersion: ssm-role-controller.dev/v1alpha1\nkind: SessionManagerPermissions\nmetadata: {{name: {name}}}\nspec:\n{spec}"
        )
    };
    let entries = accounts.iter().map(|account| {
        let entrance = if account.as_str() == OWN {
            String::new()
        } else {
            format!(", assumeRoleArn: \"arn:aws:iam::{account}:role/{KEEPER}\"")
        };
        let standing = match wish.standings.get(account) {
            None => "",
            Some(Standing::Observed) => ", mode: observe",
            Some(Standing::Suspended) => ", suspend: true",
        };
        let every = match resync_interval(accounts, account).as_secs() {
            60 => String::new(),
            seconds => format!(", resyncInterval: {seconds}s"),
        };
        format!("  - {{id: \"{account}\"{entrance}{standing}{every}}}\n")
    });
    let team: Vec<String> = claims::of_team(accounts).iter().map(|account| format!("\"{account}\"")).collect();
    let by_tag = permissions(
        "by-tag",
        &format!("  accountIds: \"*\"\n  selector: {{tags: {{{}: {}}}}}\n  policyName: {CLAIMED}\n", TAG.0, TAG.1),
    );
    let by_path = permissions(
        "by-path",
        &format!(
            "  accountIds: [{}]\n  selector: {{pathPrefix: {TEAM}}}\n  policyName: {CLAIMED}\n  sessionPreferences: {{cloudWatchLogGroupName: /ssm/sessions}}\n",
            team.join(", ")
        ),
    );
    let text = [
        if wish.claims.by_tag { by_tag } else { String::new() },
        if wish.claims.by_path { by_path } else { String::new() },
        permissions(
            "named",
            &format!("  accountIds: \"*\"\n  roles: [{}]\n  sessionPreferences: {{cloudWatchLogGroupName: /ssm/sessions}}\n", NAMED.join(", ")),
        ),
        permissions("picked", &format!("  accountIds: \"*\"\n  selector: {{nameLike: \"fleet-*\"}}\n  policyName: {PICK}\n")),
        permissions("one", &format!("  accountId: \"{}\"\n  roles: [web]\n  policyName: {SESSIONS}\n", accounts[1])),
        format!(
            "---\napiVersion: ssm-role-controller.dev/v1alpha1\nkind: ControllerConfiguration\nmetadata: {{name: controller}}\nspec:\n  resyncIntervalWithEvents: 8m\n  changeEvents: {{queueUrl: \"{QUEUE}\"}}\n  guards: {{maxChangesPerHour: {most_changes}}}\n  accounts:\n{}",
            entries.collect::<String>()
        ),
    ]
    .concat();
    let parsed = parse("organization.yaml", text.as_bytes());
    assert_eq!(parsed.faults, []);
    let (set, faults) = ManifestSet::of([&parsed], None);
    assert_eq!(faults, []);
    Arc::new(set)
}
