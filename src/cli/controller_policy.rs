//! `controller-policy`: the least that IAM must let the controller do for the present manifests, offline.
//!
//! Knows IAM's ARNs and the calls that this program makes, and nothing of what IAM holds. What must stay true: a write
//! is allowed only where a manifest has something written, and the controller's own role is never among it.
//!
//! Source: Service Authorization Reference, "Actions, resources, and condition keys for AWS Identity and Access
//! Management".

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use clap::Args;
use serde::Serialize;

use super::{Ended, FAILED, Global, OK, complain, faultless_manifests, print};
use crate::{
    manifest::{ManifestSet, Mode, Permissions, State},
    names::{AccountId, Partition, QueueUrl, RoleArn, RoleName},
    policy::{
        document::Effect,
        limits::Limits,
        session_manager::{self, INLINE_POLICY_QUOTA},
    },
};

/// The longest that a managed policy may be, in characters without white space (IAM User Guide, "IAM and AWS STS
/// quotas").
const MANAGED_POLICY_QUOTA: usize = 6_144;

/// What the controller's own role is called where nobody says.
const OWN_ROLE: &str = "ssm-role-controller";

/// All by which a role could come to more rights, or be rid of this very statement.
const WIDENING: &[&str] = &[
    "iam:AttachRolePolicy",
    "iam:DeleteRolePermissionsBoundary",
    "iam:DeleteRolePolicy",
    "iam:DetachRolePolicy",
    "iam:PutRolePermissionsBoundary",
    "iam:PutRolePolicy",
    "iam:UpdateAssumeRolePolicy",
];

/// How the rights are to be bounded.
#[derive(Debug, Clone, Args)]
pub struct Rights {
    /// The account that the policy is for; manifests that name none are taken to be for it
    #[arg(long, value_name = "ID")]
    account: Option<AccountId>,
    /// The account's partition (default: that of the manifests' keys, else aws)
    #[arg(long, value_name = "PARTITION")]
    partition: Option<Partition>,
    /// Allow by path, not role by role: for many roles, and for those that are not known yet
    #[arg(long)]
    paths: bool,
    /// A path that the roles lie under, /fleet/; may be given again (default: limits.rolePathPrefixes)
    #[arg(long = "path-prefix", value_name = "PATH", value_parser = path_prefix)]
    path_prefixes: Vec<String>,
    /// Write only to roles that carry this tag
    #[arg(long, value_name = "KEY=VALUE", value_parser = tag)]
    tag: Option<(String, String)>,
    /// Write only to roles that have this permissions boundary
    #[arg(long, value_name = "ARN", value_parser = boundary)]
    permissions_boundary: Option<String>,
    /// The role that the controller runs as, which it must not be able to change, beside the one that it assumes in the
    /// account (default: ssm-role-controller where it assumes none)
    #[arg(long, value_name = "ROLE")]
    own_role: Option<RoleName>,
    /// Allow to delete on every role that is kept: a changed policyName leaves the old policy behind
    #[arg(long)]
    with_renames: bool,
    /// Allow to ask IAM's policy simulator about the roles: for `explain --simulate`
    #[arg(long)]
    with_simulator: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Policy {
    version: &'static str,
    statement: Vec<Statement>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    sid: &'static str,
    effect: Effect,
    action: Vec<&'static str>,
    resource: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    condition: Condition,
}

/// By operator, then by key.
type Condition = BTreeMap<&'static str, BTreeMap<String, String>>;

/// Prints the policy; what is to be known of it goes to standard error.
///
/// # Errors
///
/// Where nothing says which account, or which paths, the policy is for.
pub fn controller_policy(global: &Global, rights: &Rights) -> Ended {
    let Some(mut manifests) = faultless_manifests(global)? else { return Ok(FAILED) };
    let account = rights.account(&manifests)?;
    manifests.narrow(None, Some(&account), Some(&account));
    anyhow::ensure!(
        manifests.role_count() > 0 || manifests.has_selectors() || !entered_from(&manifests, &account).is_empty(),
        "no manifest is about account {account}\nhint: `render` lists the roles that manifests name"
    );
    let observe = global.observe || manifests.only_observes(&account);
    let policy = rights.policy(&manifests, &manifests.limits(), &account, observe)?;
    let text = serde_json::to_string_pretty(&policy)?;
    print(&text)?;
    for note in rights.notes(&policy, &text) {
        complain(&note);
    }
    Ok(OK)
}

impl Rights {
    /// The one account that the policy is for.
    fn account(&self, manifests: &ManifestSet) -> anyhow::Result<AccountId> {
        if let Some(account) = &self.account {
            return Ok(account.clone());
        }
        const HINT: &str = "hint: `--account ID` says which";
        let leaves_it_open = |manifest: &&Arc<Permissions>| manifests.accounts_of(manifest).contains(&None);
        if let Some(manifest) = manifests.permissions().iter().find(leaves_it_open) {
            anyhow::bail!(
                "the policy depends on the account, and {} ({}) names none\n{HINT}, or accountId in the manifest",
                manifest.name,
                manifest.place
            );
        }
        let named: BTreeSet<&AccountId> =
            manifests.permissions().iter().flat_map(|manifest| manifests.accounts_of(manifest)).flatten().collect();
        let mut accounts = named.iter();
        match (accounts.next(), accounts.next()) {
            (Some(account), None) => Ok((*account).clone()),
            (None, _) => anyhow::bail!("no manifest names a role: there is nothing to allow"),
            (Some(_), Some(_)) => {
                let named: Vec<&str> = named.iter().map(|account| account.as_str()).collect();
                anyhow::bail!("a policy is for one account, and the manifests name {}\n{HINT}", named.join(", "))
            }
        }
    }

    /// The partition of the account.
    fn partition(&self, manifests: &ManifestSet, account: &AccountId) -> anyhow::Result<Partition> {
        if let Some(partition) = &self.partition {
            return Ok(partition.clone());
        }
        if let Some(role) = assumed_in(manifests, account) {
            return Ok(role.partition().clone());
        }
        let named: BTreeSet<&Partition> =
            manifests.permissions().iter().filter_map(|manifest| manifest.partition.as_ref()).collect();
        anyhow::ensure!(
            named.len() < 2,
            "an account lies in one partition, and the manifests' keys are in {}\nhint: `--partition` says which",
            named.iter().map(|partition| partition.as_str()).collect::<Vec<_>>().join(", ")
        );
        Ok(named.into_iter().next().cloned().unwrap_or_default())
    }

    /// The paths that the roles lie under, none of them below another; `None` where nobody says.
    fn prefixes(&self, limits: &Limits) -> anyhow::Result<Option<Vec<String>>> {
        if let Some(why) = self.path_prefixes.iter().find_map(|prefix| limits.outside_paths(prefix)) {
            anyhow::bail!(
                "`--path-prefix` goes beyond the ControllerConfiguration: {why}\nhint: name a path below these"
            );
        }
        let asked = Some(&self.path_prefixes).filter(|asked| !asked.is_empty());
        Ok(asked.or(limits.role_path_prefixes.as_ref()).map(|prefixes| {
            let mut prefixes = prefixes.clone();
            // What lies below a path stands right after it.
            prefixes.sort();
            prefixes.dedup_by(|next, kept| next.starts_with(kept.as_str()));
            prefixes
        }))
    }

    /// The policy for manifests that are all about this account. With `observe` nothing is ever written.
    fn policy(
        &self,
        manifests: &ManifestSet,
        limits: &Limits,
        account: &AccountId,
        observe: bool,
    ) -> anyhow::Result<Policy> {
        if let Some(why) = limits.outside_accounts(account) {
            anyhow::bail!("{why}\nhint: nothing may be written there; `--account` chooses another one");
        }
        let prefixes = self.prefixes(limits)?;
        anyhow::ensure!(
            !self.paths || prefixes.as_ref().is_some_and(|prefixes| !prefixes.is_empty()),
            "`--paths` allows by path, and nothing says which\n\
             hint: say limits.rolePathPrefixes in the ControllerConfiguration, or `--path-prefix /fleet/`"
        );
        if let Some(manifest) =
            manifests.permissions().iter().find(|manifest| manifest.selector.is_some() && !self.paths)
        {
            anyhow::bail!(
                "which roles the selector of {} ({}) picks is not known before IAM is read, so they cannot be allowed by name\n\
                 hint: `--paths` allows by path: say limits.rolePathPrefixes in the ControllerConfiguration, or `--path-prefix {}`",
                manifest.name,
                manifest.place,
                manifest.selector.as_ref().and_then(|selector| selector.path_prefix.as_deref()).unwrap_or("/fleet/")
            );
        }
        let prefixes = prefixes.unwrap_or_else(|| vec!["/".to_owned()]);
        let partition = self.partition(manifests, account)?;
        let roles = format!("arn:{partition}:iam::{account}:role");

        // As the manifests spell them: what differs in case alone is one role, but not to a policy.
        let (mut managed, mut kept, mut removed) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for manifest in manifests.permissions() {
            // By path it makes no difference which roles they are.
            let picked = manifest.selector.iter().map(|_| "*");
            let names = || manifest.roles.iter().map(RoleName::as_str).chain(picked.clone());
            managed.extend(names());
            // `suspend` takes no right away: it is meant to be lifted.
            let is_enforced = manifests.mode(manifest, Some(account)) == Mode::Enforce && !observe;
            match manifest.state {
                _ if !is_enforced => {}
                State::Absent => removed.extend(names()),
                State::Present => {
                    kept.extend(names());
                    removed.extend(names().filter(|_| self.with_renames));
                }
            }
        }
        let on = |names: BTreeSet<&str>| -> Vec<String> {
            if self.paths && !names.is_empty() {
                return prefixes.iter().map(|prefix| format!("{roles}{prefix}*")).collect();
            }
            names.into_iter().flat_map(|name| prefixes.iter().flat_map(|prefix| named(&roles, prefix, name))).collect()
        };
        let allow = |sid, action: &[&'static str], resource, condition: &Condition| Statement {
            sid,
            effect: Effect::Allow,
            action: action.to_vec(),
            resource,
            condition: condition.clone(),
        };
        let (freely, bounded) = (Condition::default(), self.condition());
        // Where the account is entered by a role the process may run there as another one, which only the option names.
        let assumed = assumed_in(manifests, account).map(ToString::to_string);
        let runs_as = match (&self.own_role, &assumed) {
            (None, Some(_)) => Vec::new(),
            (named_one, _) => named(&roles, "/", named_one.as_ref().map_or(OWN_ROLE, RoleName::as_str)).to_vec(),
        };
        let own_role: Vec<String> = assumed.into_iter().chain(runs_as).collect();
        // What is read of a whole account is of no use where nothing is managed.
        let read = |resource: String| if managed.is_empty() { Vec::new() } else { vec![resource] };
        let mut statement = vec![
            allow("ReadRolesInBulk", &["iam:GetAccountAuthorizationDetails"], read("*".to_owned()), &freely),
            // The account's own come with the bulk read.
            allow(
                "ReadPoliciesOfAws",
                &["iam:GetPolicy", "iam:GetPolicyVersion"],
                read(format!("arn:{partition}:iam::aws:policy/*")),
                &freely,
            ),
            allow("ReadOneRole", &["iam:GetRole", "iam:GetRolePolicy"], on(managed.clone()), &freely),
            allow(
                "AskTheSimulator",
                &["iam:SimulatePrincipalPolicy"],
                if self.with_simulator { on(managed) } else { Vec::new() },
                &freely,
            ),
            allow("RepairInlinePolicies", &["iam:PutRolePolicy"], on(kept), &bounded),
            allow("RemoveInlinePolicies", &["iam:DeleteRolePolicy"], on(removed), &bounded),
            allow("EnterAccounts", &["sts:AssumeRole"], entered_from(manifests, account), &freely),
            allow(
                "HearOfChanges",
                &["sqs:DeleteMessage", "sqs:ReceiveMessage"],
                queue_read_from(manifests, account, &partition),
                &freely,
            ),
            Statement {
                sid: "NeverItself",
                effect: Effect::Deny,
                action: WIDENING.to_vec(),
                resource: own_role,
                condition: Condition::default(),
            },
        ];
        statement.retain(|statement| !statement.resource.is_empty());
        Ok(Policy { version: "2012-10-17", statement })
    }

    /// What bounds the writes, beside their resources.
    fn condition(&self) -> Condition {
        let mut equals = BTreeMap::new();
        if let Some((key, value)) = &self.tag {
            equals.insert(format!("aws:ResourceTag/{key}"), value.clone());
        }
        if let Some(arn) = &self.permissions_boundary {
            equals.insert("iam:PermissionsBoundary".to_owned(), arn.clone());
        }
        if equals.is_empty() { Condition::default() } else { Condition::from([("StringEquals", equals)]) }
    }

    /// What whoever uses the policy has to know.
    fn notes(&self, policy: &Policy, text: &str) -> Vec<String> {
        let on = |action: &str| -> BTreeSet<&String> {
            let granted =
                |statement: &&Statement| statement.effect == Effect::Allow && statement.action.contains(&action);
            policy.statement.iter().filter(granted).flat_map(|statement| &statement.resource).collect()
        };
        let mut notes = Vec::new();
        if !self.paths {
            notes.push(
                "note: IAM compares the ARNs of policies by case, and the names of roles without it; the roles are \
                 named here as the manifests spell them\n\
                 hint: spell each role in its manifest as IAM does: `aws iam get-role --role-name ROLE` prints its ARN"
                    .to_owned(),
            );
        }
        if !on("iam:PutRolePolicy").is_subset(&on("iam:DeleteRolePolicy")) {
            notes.push(
                "note: a changed `policyName` leaves the old policy behind, and the right to delete it is only there \
                 where a manifest says `state: absent`\n\
                 hint: `--with-renames` allows it on every role that is kept"
                    .to_owned(),
            );
        }
        let size = session_manager::size(text);
        if size > MANAGED_POLICY_QUOTA {
            let inline =
                if size > INLINE_POLICY_QUOTA { "and for an inline one" } else { "though not for an inline one" };
            let hint = if self.paths { "name fewer and shorter paths" } else { "`--paths` allows by path instead" };
            notes.push(format!(
                "note: the policy has {size} characters without white space, too many for a managed policy (6,144), \
                 {inline} (10,240)\nhint: {hint}"
            ));
        }
        notes
    }
}

/// The role that the controller assumes in an account, where its settings say so.
fn assumed_in<'a>(manifests: &'a ManifestSet, account: &AccountId) -> Option<&'a RoleArn> {
    manifests.accounts().get(account)?.assume_role.as_ref()
}

/// The roles of other accounts that are assumed from this one: none where it is itself entered by a role.
fn entered_from(manifests: &ManifestSet, account: &AccountId) -> Vec<String> {
    if assumed_in(manifests, account).is_some() {
        return Vec::new();
    }
    manifests
        .accounts()
        .values()
        .filter_map(|configured| configured.assume_role.as_ref())
        .map(RoleArn::to_string)
        .collect()
}

/// The queue of change events, which the process reads with its own credentials: none where the account is itself entered by
/// a role, or no queue of AWS is configured.
///
/// Source: Service Authorization Reference, "Actions, resources, and condition keys for Amazon SQS": a batch of deletions
/// needs `sqs:DeleteMessage`.
fn queue_read_from(manifests: &ManifestSet, account: &AccountId, partition: &Partition) -> Vec<String> {
    let queue = manifests.configuration().and_then(|configuration| configuration.queue_url.as_ref());
    let arn = |queue: &QueueUrl| {
        Some(format!("arn:{partition}:sqs:{}:{}:{}", queue.region()?, queue.account(), queue.name()))
    };
    queue.filter(|_| assumed_in(manifests, account).is_none()).and_then(arn).into_iter().collect()
}

/// The ARNs of the roles of this name below a path: which one it is cannot be known offline, and an account has but one
/// role of a name.
fn named(roles: &str, prefix: &str, name: &str) -> [String; 2] {
    [format!("{roles}{prefix}{name}"), format!("{roles}{prefix}*/{name}")]
}

/// A path as IAM has them, in which nothing acts as a wildcard or a variable.
fn path_prefix(text: &str) -> Result<String, String> {
    let is_path = text.starts_with('/') && text.ends_with('/') && !text.contains("//") && text.len() <= 512;
    if is_path && text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains(['*', '?', '$']) {
        return Ok(text.to_owned());
    }
    Err("a path begins and ends with `/`, and holds no `*`, `?` or `$`: /fleet/".to_owned())
}

/// A tag as IAM has them.
fn tag(text: &str) -> Result<(String, String), String> {
    let well_formed = |part: &str, longest| {
        let sign = |sign: char| sign.is_alphanumeric() || " _.:/=+-@".contains(sign);
        part.chars().count() <= longest && part.chars().all(sign)
    };
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && well_formed(key, 128) && well_formed(value, 256) => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => Err("a tag is KEY=VALUE, of letters, digits, spaces and _.:/=+-@".to_owned()),
    }
}

/// The ARN of a managed policy.
fn boundary(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let is_policy = matches!(parts[..], ["arn", partition, "iam", "", account, resource]
        if partition.parse::<Partition>().is_ok()
            && (account == "aws" || account.parse::<AccountId>().is_ok())
            && resource.strip_prefix("policy/").is_some_and(|name| !name.is_empty()));
    if is_policy && text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains(['*', '?', '$']) {
        return Ok(text.to_owned());
    }
    Err("a boundary is a managed policy: arn:aws:iam::111122223333:policy/NAME".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::*;
    use crate::{manifest, policy::document::Document};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        rights: Rights,
    }

    fn limits(prefixes: &[&str]) -> Limits {
        let role_path_prefixes = Some(prefixes.iter().map(|prefix| (*prefix).to_owned()).collect());
        Limits { role_path_prefixes, ..Limits::default() }
    }

    /// The policy for a role `web` that is kept.
    fn policy(line: &[&str], limits: &Limits) -> anyhow::Result<Value> {
        let rights = Line::parse_from([&[""], line].concat()).rights;
        let text = "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: SessionManagerPermissions\n\
                    metadata: {name: web}\nspec: {roles: [web]}\n";
        let parsed = manifest::parse("web.yaml", text.as_bytes());
        let (manifests, faults) = ManifestSet::of([&parsed], None);
        assert_eq!(faults, []);
        let policy = rights.policy(&manifests, limits, &"111122223333".parse()?, false)?;
        Document::parse(&serde_json::to_string(&policy)?)?;
        Ok(serde_json::to_value(policy)?)
    }

    /// What the statement is about.
    fn resources(policy: &Value, sid: &str) -> Value {
        let statements = policy["Statement"].as_array().unwrap();
        statements
            .iter()
            .find(|statement| statement["Sid"] == sid)
            .map_or(Value::Null, |found| found["Resource"].clone())
    }

    #[test]
    fn the_configurations_path_prefixes_narrow_reads_and_writes_but_not_what_is_denied() {
        let policy = policy(&[], &limits(&["/fleet/", "/apps/", "/fleet/web/"])).unwrap();
        let narrowed = json!([
            "arn:aws:iam::111122223333:role/apps/web",
            "arn:aws:iam::111122223333:role/apps/*/web",
            "arn:aws:iam::111122223333:role/fleet/web",
            "arn:aws:iam::111122223333:role/fleet/*/web"
        ]);
        assert_eq!(resources(&policy, "ReadOneRole"), narrowed);
        assert_eq!(resources(&policy, "RepairInlinePolicies"), narrowed);
        let own = "arn:aws:iam::111122223333:role/ssm-role-controller";
        assert_eq!(resources(&policy, "NeverItself"), json!([own, own.replace("role/", "role/*/")]));
    }

    #[test]
    fn the_queue_of_change_events_is_read_by_the_account_that_the_process_runs_in_alone() {
        let text = "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: SessionManagerPermissions\n\
                    metadata: {name: web}\nspec: {roles: [web], accountIds: \"*\"}\n---\n\
                    apiVersion: ssm-role-controller.dev/v1alpha1\nkind: ControllerConfiguration\n\
                    metadata: {name: controller}\nspec:\n  \
                      changeEvents: {queueUrl: \"https://sqs.eu-west-1.amazonaws.com/111122223333/iam-changes\"}\n  \
                      accounts: [{id: \"111122223333\"}, {id: \"444455556666\", assumeRoleArn: \"arn:aws:iam::444455556666:role/keeper\"}]\n";
        let parsed = manifest::parse("web.yaml", text.as_bytes());
        let (manifests, faults) = ManifestSet::of([&parsed], None);
        assert_eq!(faults, []);
        let of = |account: &str| {
            let rights = Line::parse_from([""]).rights;
            let policy = rights.policy(&manifests, &manifests.limits(), &account.parse().unwrap(), false).unwrap();
            resources(&serde_json::to_value(policy).unwrap(), "HearOfChanges")
        };
        assert_eq!(of("111122223333"), json!(["arn:aws:sqs:eu-west-1:111122223333:iam-changes"]));
        assert_eq!(of("444455556666"), Value::Null);
    }

    #[test]
    fn paths_are_those_of_the_configuration_or_of_the_command_line_below_them() {
        let fleet = limits(&["/fleet/"]);
        let by_path = |line: &[&str]| policy(line, &fleet).map(|policy| resources(&policy, "RepairInlinePolicies"));
        assert_eq!(by_path(&["--paths"]).unwrap(), json!(["arn:aws:iam::111122223333:role/fleet/*"]));
        let below = ["--paths", "--path-prefix", "/fleet/web/"];
        assert_eq!(by_path(&below).unwrap(), json!(["arn:aws:iam::111122223333:role/fleet/web/*"]));
        let beyond = by_path(&["--paths", "--path-prefix", "/"]).unwrap_err().to_string();
        assert!(beyond.contains("rolePathPrefixes`: /fleet/") && beyond.contains("\nhint: "), "{beyond}");
    }

    #[test]
    fn limits_that_admit_no_path_and_no_account_allow_nothing() {
        let nowhere = policy(&[], &limits(&[])).unwrap();
        assert_eq!(resources(&nowhere, "RepairInlinePolicies"), Value::Null);
        assert!(policy(&["--paths"], &limits(&[])).is_err());
        let elsewhere = Limits { account_ids: Some(["444455556666".parse().unwrap()].into()), ..Limits::default() };
        let refused = policy(&[], &elsewhere).unwrap_err().to_string();
        assert!(refused.contains("111122223333 is not among `accountIds`: 444455556666"), "{refused}");
    }

    #[test]
    fn nothing_on_the_command_line_opens_a_wildcard_or_a_variable() {
        for bad in ["", "fleet", "/fleet", "fleet/", "/fl*t/", "/fl?t/", "/${aws:username}/", "//", "/a b/", "/é/"] {
            assert!(path_prefix(bad).is_err(), "{bad}");
        }
        for good in ["/", "/fleet/", "/fleet/web-1/"] {
            assert_eq!(path_prefix(good).as_deref(), Ok(good));
        }
        assert_eq!(
            tag("ssm-role-controller.dev/managed=a=b"),
            Ok(("ssm-role-controller.dev/managed".into(), "a=b".into()))
        );
        assert_eq!(tag("team="), Ok(("team".into(), String::new())));
        for bad in
            ["", "team", "=web", "team=${aws:username}", "te*m=web", "team=web\n", &format!("{}=", "x".repeat(129))]
        {
            assert!(tag(bad).is_err(), "{bad}");
        }
        for good in ["arn:aws:iam::111122223333:policy/ceiling", "arn:aws-cn:iam::aws:policy/path/Ceiling"] {
            assert_eq!(boundary(good).as_deref(), Ok(good));
        }
        for bad in [
            "ceiling",
            "arn:aws:iam::111122223333:role/x",
            "arn:aws:iam::1:policy/x",
            "arn:aws:iam::aws:policy/",
            "arn:aws:iam::aws:policy/*",
        ] {
            assert!(boundary(bad).is_err(), "{bad}");
        }
    }
}
