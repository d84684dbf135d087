use std::borrow::Cow;

use proptest::prelude::*;

use super::*;
use crate::{
    inventory::{
        Asked, ManagedPolicy, Observed, OtherPolicy, OthersDigest, RoleArn, RoleKind, Surroundings, SurroundingsKind,
    },
    manifest::{Files, Whose, write::tests::any_settings},
};

const CHANNELS: &str = r#"{"Effect":"Allow","Action":["ssmmessages:CreateControlChannel","ssmmessages:CreateDataChannel","ssmmessages:OpenControlChannel","ssmmessages:OpenDataChannel"],"Resource":"*"}"#;

fn account() -> AccountId {
    "012345678901".parse().unwrap()
}

fn of(statements: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":[{CHANNELS}{statements}]}}"#)
}

fn encoded(text: &str) -> Arc<str> {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string().into()
}

/// A role with these inline policies, the customary one among those that were looked for.
fn role(name: &str, policies: &[(&str, &str)]) -> Role {
    let role: RoleName = name.parse().unwrap();
    let other = |text| OtherPolicy::new(&role, &encoded(text));
    let surroundings = Surroundings {
        kind: Arc::new(SurroundingsKind {
            arn: RoleArn::new(&format!("arn:aws:iam::012345678901:role/{name}"), "/", name),
            trust: Arc::new(LiveDocument::of_text("{}")),
            attached: Vec::new(),
            boundary: None,
            instance_profiles: Box::default(),
            others: policies.iter().map(|(policy, text)| ((*policy).into(), other(text))).collect(),
        }),
        inline_size: 0,
        others_digest: OthersDigest::default(),
    };
    Role { name: role, kind: RoleKind::at("/"), surroundings: Some(surroundings) }
}

/// The text of a policy that permits sessions.
fn whole<'r>(role: &'r Role, policy: &str) -> Cow<'r, str> {
    role.surroundings.as_ref().unwrap().others.get(policy).unwrap().bearing(&role.name).unwrap()
}

fn attached(mut role: Role, arn: &str, document: Result<&str, &str>) -> Role {
    let document = document.map(|text| Arc::new(LiveDocument::of_text(text))).map_err(str::to_owned);
    role.surroundings.as_mut().unwrap().attached.push(Arc::new(ManagedPolicy::new(arn.into(), document)));
    role
}

fn set(manifests: &str) -> ManifestSet {
    let tree = [("x.yaml".to_owned(), Ok(manifests.as_bytes().to_vec()))].into_iter().collect();
    let (set, faults) = Files { tree, controller_config: None }.judge();
    assert!(faults.is_empty(), "{faults:?}");
    set
}

fn inventory(roles: &[Role]) -> Inventory {
    let mut inventory = Inventory::empty(&Asked::default());
    for role in roles {
        inventory.insert(&role.name, Observed::Found(Arc::new(role.clone())));
    }
    inventory
}

fn imported_under(roles: &[Role], set: &ManifestSet) -> Imported {
    let (account, partition) = (account(), Partition::default());
    let desired = set.desired(Whose::own(&account), None);
    let inventory = inventory(roles);
    import(
        Found { account: &account, partition: &partition, inventory: &inventory, only: None, desired: &desired },
        set,
    )
}

fn imported(roles: &[Role]) -> Imported {
    imported_under(roles, &ManifestSet::default())
}

/// Asserts that what was imported changes nothing of these roles, and that each of their policies is wanted or listed.
#[track_caller]
fn changes_nothing(roles: &[Role], imported: &Imported) {
    let file = file(std::slice::from_ref(imported));
    let set = set(&file);
    let desired = set.desired(Whose::own(&account()), Some(&Partition::default()));
    assert_eq!(desired.policies.len(), imported.policies, "{file}");
    for wanted in desired.policies.values() {
        assert_eq!((&wanted.conflict, &wanted.outside), (&None, &None));
        let role = roles.iter().find(|role| role.name == wanted.role).unwrap();
        let live = LiveDocument::of_text(&whole(role, wanted.policy.as_str()));
        let drift = compare(wanted.document.document(), live.parsed().unwrap()).drift;
        assert!(matches!(drift, None | Some(Drift::Cosmetic)), "{file}\n{}", live.text());
    }
}

#[test]
fn roles_with_equal_policies_share_a_manifest_and_the_others_are_listed_with_the_reason() {
    let key = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let with_key = of(&format!(r#",{{"Effect":"Allow","Action":"kms:Decrypt","Resource":"{key}"}}"#));
    let foreign = of(
        r#",{"Effect":"Allow","Action":"s3:GetEncryptionConfiguration","Resource":"arn:aws:s3:::audit"},{"Effect":"Allow","Action":["s3:PutObject","s3:PutObjectAcl"],"Resource":"arn:aws:s3:::audit/012345/*"}"#,
    );
    let roles = [
        role("web-1", &[("SessionManagerPermissions", &with_key)]),
        role("yes", &[("SessionManagerPermissions", &with_key)]),
        role("012345678901", &[("SessionManagerPermissions", &with_key), ("App", r#"{"Statement":[]}"#)]),
        role("1e3", &[("1e3", &of(""))]),
        role("logs", &[("Own", &foreign)]),
        role("wide", &[("Own", &of(r#",{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*"}"#))]),
        role("shut", &[("Own", &of(r#",{"Effect":"Deny","Action":"*","Resource":"*"}"#))]),
        role("broken", &[("Own", r#"{"Statement":[{"Action":"ssmmessages:*","Action":"x"}]}"#)]),
        role(
            "registers",
            &[(
                "Register",
                r#"{"Statement":[{"Effect":"Allow","Action":"ssm:UpdateInstanceInformation","Resource":"*"}]}"#,
            )],
        ),
        attached(role("core", &[]), "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore", Ok(&of(""))),
        attached(role("unknown", &[]), "arn:aws:iam::aws:policy/X", Err("IAM denied it")),
        attached(role("none", &[]), "arn:aws:iam::aws:policy/Y", Ok(r#"{"Statement":[]}"#)),
        Role { kind: RoleKind::at("/aws-reserved/sso/"), ..role("reserved", &[("Own", &of(""))]) },
    ];
    let imported = imported(&roles);
    changes_nothing(&roles, &imported);
    insta::assert_snapshot!(file(&[imported]));
}

#[test]
fn what_manifests_name_already_is_left_to_them() {
    let set = set(
        "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: SessionManagerPermissions\nmetadata: {name: web}\nspec: {roles: [WEB], policyName: Own}\n",
    );
    let imported = imported_under(&[role("web", &[("Own", &of("")), ("Other", &of(""))])], &set);
    assert_eq!((imported.known, imported.policies), (1, 1));
    let written = file(&[imported]);
    assert!(written.contains("policyName: Other") && !written.contains("policyName: Own"), "{written}");
    assert!(
        written.contains("# Account 012345678901: 1 policy is left out, since a manifest names it already."),
        "{written}"
    );
}

#[test]
fn what_the_operators_limits_and_accounts_do_not_admit_is_listed() {
    let settings = |spec: &str| {
        set(&format!(
            "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: ControllerConfiguration\nmetadata: {{name: c}}\nspec: {{{spec}}}\n"
        ))
    };
    let logs = of(&format!(
        r#",{{"Effect":"Allow","Action":"logs:DescribeLogGroups","Resource":"*"}},{{"Effect":"Allow","Action":["logs:CreateLogStream","logs:PutLogEvents","logs:DescribeLogStreams"],"Resource":["arn:aws:logs:*:{0}:log-group:/ssm","arn:aws:logs:*:{0}:log-group:/ssm:*"]}}"#,
        account()
    ));
    let roles = [role("web", &[("Own", &logs)])];
    for (spec, why) in [
        ("limits: {cloudWatchLogGroupNames: [/other]}", "cloudWatchLogGroupNames"),
        ("limits: {rolePathPrefixes: [/fleet/]}", "rolePathPrefixes"),
        ("limits: {accountIds: [\"111122223333\"]}", "accountIds"),
    ] {
        let imported = imported_under(&roles, &settings(spec));
        assert_eq!(imported.policies, 0);
        assert!(imported.listed.keys().any(|way| way.contains(why)), "{:?}", imported.listed);
    }
    // Where others are configured, a manifest can be about the account of the credentials only by naming none.
    let other = "accounts: [{id: \"111122223333\", assumeRoleArn: \"arn:aws:iam::111122223333:role/x\"}]";
    let imported = imported_under(&roles, &settings(other));
    assert_eq!(imported.policies, 1);
    assert!(!imported.manifests[0].contains("accountId"), "{}", imported.manifests[0]);
    changes_nothing(&roles, &imported);
}

#[test]
fn a_document_that_a_manifest_could_only_say_with_a_fault_is_listed() {
    let bucket = |name: &str| {
        of(&format!(
            r#",{{"Effect":"Allow","Action":"s3:GetEncryptionConfiguration","Resource":"arn:aws:s3:::{name}"}},{{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::{name}/*"}}"#
        ))
    };
    for (name, policy, document) in [
        ("reserved", "Own", bucket("xn--audit")),
        ("placeholder", "Own", bucket("amzn-s3-demo-bucket")),
        ("odd", "Own", bucket("a\\nb # c: {d}")),
        ("revoked", "awsrevokeoldersessions", of("")),
        ("unnamed", "not a name\n# \u{202e}\u{fffe}", of("")),
    ] {
        let roles = [role(name, &[(policy, &document)])];
        let imported = imported(&roles);
        assert_eq!((imported.policies, imported.listed.len()), (0, 1), "{name}");
        let written = file(&[imported]);
        assert!(written.lines().all(|line| line.starts_with("# ")), "{written}");
        assert!(!written.contains(['\u{202e}', '\u{fffe}']));
        set(&written);
    }
}

#[test]
fn five_thousand_roles_are_one_manifest_and_a_few_lines() {
    let roles: Vec<Role> = (0..5_000)
        .map(|index| role(&format!("role-{index}"), &[("Own", if index % 2 == 0 { CORE } else { WIDE })]))
        .collect();
    let imported = imported(&roles);
    assert_eq!((imported.manifests.len(), imported.policies, imported.listed.len()), (1, 2_500, 1));
    changes_nothing(&roles, &imported);
    let written = file(&[imported]);
    assert!(written.len() < 100_000, "{}", written.len());
    assert!(written.lines().all(|line| line.len() < 300), "{written}");
}

const CORE: &str = r#"{"Statement":[{"Effect":"Allow","Action":["ssmmessages:CreateControlChannel","ssmmessages:CreateDataChannel","ssmmessages:OpenControlChannel","ssmmessages:OpenDataChannel"],"Resource":"*"}]}"#;
const WIDE: &str = r#"{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn what_is_imported_changes_nothing_and_is_all_that_a_manifest_can_say(
        settings in prop::collection::vec(any_settings(), 1..5),
        names in prop::collection::vec("[A-Za-z0-9_+=,.@-]{1,20}", 5),
        policy in "[A-Za-z0-9_+=,.@-]{1,20}",
    ) {
        // What AWS names so is never written.
        let names: BTreeSet<RoleName> = names.iter().map(|name| name.parse().unwrap()).collect();
        let documents = settings.iter().map(|settings| settings.document(&account(), &Partition::default()).as_str().to_owned());
        let roles: Vec<Role> =
            names.iter().zip(documents.collect::<Vec<_>>().iter().cycle()).map(|(name, text)| role(name.as_str(), &[(&policy, text)])).collect();
        let imported = imported(&roles);
        changes_nothing(&roles, &imported);
        let sayable = |role: &&Role| {
            let text = whole(role, &policy);
            // Keys of a bucket without the bucket; keys of China in an account that is not there.
            !text.contains("aws-cn") && (!text.contains("GenerateDataKey") || text.contains("s3:PutObject"))
        };
        prop_assert!(imported.policies >= roles.iter().filter(sayable).count(), "{}", file(&[imported]));
    }
}
