//! A traitor inside the program, who hands the writer whatever he likes.
//!
//! Goes past the loop, the plan and the manifests: only the writer stands between him and the world. What must stay true:
//! what reaches the world is within the vocabulary, the operator's limits, and the roles that are nobody else's.

use std::{collections::BTreeSet, sync::Arc};

use fastrand::Rng;
use serde_json::Value;

use super::{
    OTHER, OWN,
    plain::{fits_all, never_to_be_written},
};
use crate::{
    iam::{ErrorClass, WriteTurn, Writer},
    inventory::{Role, RoleKind},
    names::{AccountId, Partition, PolicyName},
    policy::{
        limits::Limits,
        session_manager::{LogBucket, NodeRegistration, Settings},
    },
    sandbox::{RoleSeed, Sandbox},
};

const NAMES: [&str; 4] = ["web", "AWSServiceRoleForSSM", "awsreservedsso_Admin_0", "Batch+x"];
const PATHS: [&str; 6] =
    ["/", "/team/", "/team/deep/", "/teams/", "/aws-service-role/ssm.amazonaws.com/", "/AWS-Reserved/sso/"];
/// Names that want to be more than a name.
const TEXTS: [&str; 10] =
    ["audit-1", "audit-2", "other", "*", "audit-?", "audit-*", "a\",\"Action\":\"*", "audit-1/../x", "${aws:x}", ""];
const ADMITTED: [&[&str]; 4] = [&[], &["audit-1"], &["audit-*"], &["*-1", "o?her"]];

#[tokio::test(start_paused = true)]
async fn the_writer_lets_nothing_out_that_may_never_be_written() {
    let own: AccountId = OWN.parse().unwrap();
    let policy = PolicyName::customary();
    let (mut sent, mut held) = (0, 0);
    for seed in 0..2_000 {
        let mut rng = Rng::with_seed(seed);
        let (name, path) = (rng.choice(NAMES).unwrap(), rng.choice(PATHS).unwrap());
        let sandbox = Sandbox::new(own.clone());
        // In this world nothing but the writer protects a role: the path is not the one that IAM would refuse.
        sandbox.plant(&own, RoleSeed::new(name).policy(policy.as_str(), "{}"));
        let role = Role { name: name.parse().unwrap(), kind: RoleKind::at(path), surroundings: None };
        let limits = limits(&mut rng);
        let writer = Writer::new(Arc::new(sandbox.iam(&own)), own.clone());
        let removes = rng.u8(..4) == 0;
        let answer = if removes {
            writer.remove(WriteTurn::default(), &role, &policy, &limits).await
        } else {
            let document = settings(&mut rng).document(&own, &Partition::default());
            writer.put(WriteTurn::default(), &role, &policy, &document, &limits).await
        };
        let live = sandbox.document(&own, name, policy.as_str());
        let is_untouched = live.as_deref() == Some("{}");
        match answer {
            Err(error) if error.class == ErrorClass::NotSent => held += 1,
            _ => sent += 1,
        }
        if is_untouched {
            continue;
        }
        let lower = (name.to_ascii_lowercase(), path.to_ascii_lowercase());
        assert!(!lower.0.starts_with("aws") && !lower.1.starts_with("/aws-"), "{seed}: {name} {path}");
        assert!(limits.account_ids.as_ref().is_none_or(|ids| ids.contains(&own)), "{seed}: {limits:?}");
        let prefixes = limits.role_path_prefixes.as_ref();
        assert!(prefixes.is_none_or(|all| all.iter().any(|one| path.starts_with(one))), "{seed}: {path} {limits:?}");
        let Some(live) = live else { continue };
        assert_eq!(never_to_be_written(&live), None, "{seed}: {live}");
        for (service, marker, admitted) in [
            ("s3:Put", "arn:aws:s3:::", &limits.s3_bucket_names),
            ("logs:Put", ":log-group:", &limits.cloud_watch_log_group_names),
            ("kms:", "", &limits.kms_key_arns),
        ] {
            let Some(admitted) = admitted else { continue };
            for named in named(&live, service, marker) {
                assert!(admitted.written().any(|one| fits_all(one, &named)), "{seed}: {named} {admitted:?} {live}");
            }
        }
    }
    assert!(sent > 200 && held > 200, "both ends are tried: {sent} sent, {held} held");
}

fn limits(rng: &mut Rng) -> Limits {
    let some = |rng: &mut Rng| rng.bool().then(|| rng.choice(ADMITTED).unwrap().iter().copied().collect());
    Limits {
        s3_bucket_names: some(rng),
        cloud_watch_log_group_names: some(rng),
        kms_key_arns: rng
            .bool()
            .then(|| [rng.choice(["*", "arn:aws:kms:eu-west-1:*", "none"]).unwrap()].into_iter().collect()),
        account_ids: (rng.u8(..4) == 0).then(|| BTreeSet::from([rng.choice([OWN, OTHER]).unwrap().parse().unwrap()])),
        role_path_prefixes: (rng.u8(..3) == 0)
            .then(|| vec![rng.choice(["/", "/team/", "/teams/"]).unwrap().to_owned()]),
    }
}

fn settings(rng: &mut Rng) -> Settings {
    let text = |rng: &mut Rng| rng.choice(TEXTS).unwrap().to_owned();
    let keys = |rng: &mut Rng| {
        let number = rng.u8(..4);
        let key = format!("arn:aws:kms:eu-west-{number}:{OWN}:key/1234abcd-12ab-34cd-56ef-1234567890ab");
        rng.bool().then(|| key.parse().unwrap()).into_iter().collect()
    };
    Settings {
        node_registration: if rng.bool() { NodeRegistration::Granted } else { NodeRegistration::Assumed },
        s3_encryption_enabled: rng.bool(),
        log_bucket: rng.bool().then(|| LogBucket {
            name: text(rng),
            prefix: rng.bool().then(|| text(rng)),
            owner: rng.bool().then(|| OTHER.parse().unwrap()),
        }),
        session_keys: keys(rng),
        bucket_keys: keys(rng),
        log_group: rng.bool().then(|| text(rng)),
    }
}

/// The names of buckets, log groups or keys on which a document grants something of `service`.
fn named(text: &str, service: &str, marker: &str) -> Vec<String> {
    let document: Value = serde_json::from_str(text).unwrap();
    let statements = document["Statement"].as_array().unwrap().iter();
    let about = statements.filter(|statement| statement["Action"].to_string().contains(service));
    let resources = about.flat_map(|statement| match &statement["Resource"] {
        Value::Array(several) => several.clone(),
        one => vec![one.clone()],
    });
    let name = |resource: Value| {
        let resource = resource.as_str().unwrap().to_owned();
        let rest = if marker.is_empty() { &resource } else { resource.split_once(marker).map_or("", |(_, rest)| rest) };
        match marker {
            "arn:aws:s3:::" => rest.split('/').next().unwrap_or_default().to_owned(),
            ":log-group:" => rest.strip_suffix(":*").unwrap_or(rest).to_owned(),
            _ => rest.to_owned(),
        }
    };
    resources.map(name).collect()
}
