//! The same of the program's own side of the edge: what it reads and writes, and what it makes of refusals.

use std::collections::BTreeMap;

use aws_sdk_iam::types::Tag;
use percent_encoding::percent_decode_str;
use ssm_role_controller::{
    iam::{Decision, ErrorClass, Iam, IamError, PolicyDetail, RequestId, SimulatedAction, WriteTurn},
    inventory::{Role, RoleKind, SUSPEND_TAG},
    names::{Partition, PolicyName, RoleName},
    policy::{
        limits::Limits,
        session_manager::{LogBucket, SessionManagerDocument, Settings},
    },
    sandbox::{Effect, Fault, RoleChange, RoleSeed},
};

use super::{ACCOUNT, Backend, CORE, Kind, PLAIN, TRUST, account};
use crate::support::code;

fn named(name: &str) -> RoleName {
    name.parse().unwrap()
}

/// A role as an inventory holds it.
fn known(name: &str, path: &str) -> Role {
    Role { name: named(name), kind: RoleKind::at(path), surroundings: None }
}

fn document(settings: &Settings) -> SessionManagerDocument {
    settings.document(&account(), &Partition::default())
}

fn class<T: std::fmt::Debug>(result: Result<T, IamError>) -> ErrorClass {
    result.expect_err("it was accepted").class
}

#[tokio::test]
async fn the_programs_own_writer_puts_a_policy_and_removes_that_one_alone() {
    let (ours, limits) = (PolicyName::customary(), Limits::default());
    for backend in Backend::both().await {
        let (edge, writer, role) = (backend.edge(), backend.writer(), known("written", "/"));
        backend.role("written").await;
        backend.put("written", "Other", PLAIN).await;
        let wanted = document(&Settings::default());
        let put = writer.put(WriteTurn::default(), &role, &ours, &wanted, &limits).await.unwrap();
        let encoded = edge.role_policy(&role.name, &ours).await.unwrap();
        assert_eq!(percent_decode_str(&encoded).decode_utf8().unwrap(), wanted.as_str(), "{:?}", backend.kind);
        // IAM finds a role in any case of its name.
        let in_capitals = known("WRITTEN", "/");
        let removed = match backend.kind {
            Kind::Sandbox => writer.remove(WriteTurn::default(), &in_capitals, &ours, &limits).await.unwrap(),
            // moto does not.
            Kind::Moto => {
                assert_eq!(
                    class(writer.remove(WriteTurn::default(), &in_capitals, &ours, &limits).await),
                    ErrorClass::Gone
                );
                writer.remove(WriteTurn::default(), &role, &ours, &limits).await.unwrap()
            }
        };
        // By these CloudTrail tells of each.
        assert!(put != removed && !put.as_str().is_empty(), "{put:?} {removed:?}");
        assert_eq!(backend.policies("written").await, ["Other"], "{:?}", backend.kind);
        assert_eq!(edge.role_policy(&role.name, &ours).await.unwrap_err().class, ErrorClass::Gone);
    }
}

#[tokio::test]
async fn what_is_not_there_to_be_removed_is_told_as_gone() {
    let (ours, limits) = (PolicyName::customary(), Limits::default());
    for backend in Backend::both().await {
        backend.role("nothing-to-remove").await;
        for role in ["nothing-to-remove", "no-such-role"] {
            let error =
                backend.writer().remove(WriteTurn::default(), &known(role, "/"), &ours, &limits).await.unwrap_err();
            assert_eq!((error.class, error.operation), (ErrorClass::Gone, "DeleteRolePolicy"), "{:?}", backend.kind);
            assert_eq!(error.code.as_deref(), Some("NoSuchEntity"), "{:?} {role}", backend.kind);
        }
        let wanted = document(&Settings::default());
        let put =
            backend.writer().put(WriteTurn::default(), &known("no-such-role", "/"), &ours, &wanted, &limits).await;
        assert_eq!(class(put), ErrorClass::Gone, "{:?}", backend.kind);
    }
}

#[tokio::test]
async fn a_role_that_turns_out_to_be_protected_is_told_as_such() {
    let (ours, limits) = (PolicyName::customary(), Limits::default());
    for backend in Backend::both().await {
        let path = "/aws-service-role/ssm.amazonaws.com/";
        match &backend.serving {
            Some(serving) => serving.sandbox.plant(&account(), RoleSeed::new("guarded").path(path)),
            None => {
                let call = backend.clients.iam.create_role().role_name("guarded").path(path);
                call.assume_role_policy_document(TRUST).send().await.unwrap();
            }
        }
        // As an inventory of a moment ago might have it: by a path that is not protected, so that it is sent.
        let (writer, role, wanted) = (backend.writer(), known("guarded", "/"), document(&Settings::default()));
        let put = writer.put(WriteTurn::default(), &role, &ours, &wanted, &limits).await;
        let removed = writer.remove(WriteTurn::default(), &role, &ours, &limits).await;
        match backend.kind {
            Kind::Sandbox => {
                assert_eq!((class(put), class(removed)), (ErrorClass::Protected, ErrorClass::Protected));
                assert!(backend.policies("guarded").await.is_empty());
            }
            // moto protects no role.
            Kind::Moto => assert!(put.is_ok() && removed.is_ok()),
        }
    }
}

#[tokio::test]
async fn tags_are_read_alike_in_bulk_and_one_by_one() {
    let tags = [(SUSPEND_TAG, "until the audit"), ("Team/Web.2:a=b+c-d@e_f", "ü & <data>"), ("empty", "")];
    for backend in Backend::both().await {
        backend.role("tagged-edge").await;
        for (key, value) in tags {
            let tag = Tag::builder().key(key).value(value).build().unwrap();
            let call = backend.clients.iam.tag_role().role_name("tagged-edge").tags(tag);
            call.send().await.unwrap_or_else(|error| panic!("{:?} {key}: {error:?}", backend.kind));
        }
        let edge = backend.edge();
        let one = edge.role(&named("tagged-edge")).await.unwrap();
        let page = edge.roles_page(None).await.unwrap();
        let in_bulk = page.roles.iter().find(|role| role.name == "tagged-edge").unwrap();
        let expected = tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        assert_eq!(one.tags, expected, "{:?}", backend.kind);
        assert_eq!(in_bulk.tags, expected, "{:?}", backend.kind);

        backend.clients.iam.untag_role().role_name("tagged-edge").tag_keys(SUSPEND_TAG).send().await.unwrap();
        assert!(!edge.role(&named("tagged-edge")).await.unwrap().tags.contains_key(SUSPEND_TAG), "{:?}", backend.kind);
    }
}

#[tokio::test]
async fn what_lies_outside_of_the_limits_is_refused_by_the_writer_and_nothing_is_sent() {
    const KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let ours = PolicyName::customary();
    let nowhere = Limits { account_ids: Some(["111122223333".parse().unwrap()].into()), ..Limits::default() };
    let fleet = Limits { role_path_prefixes: Some(vec!["/fleet/".to_owned()]), ..Limits::default() };
    let plain = document(&Settings::default());
    let roles = [
        (known("limited", "/"), &nowhere, "account 123456789012 is not among `accountIds`"),
        (known("limited", "/"), &fleet, "begins with none of `rolePathPrefixes`"),
        (known("limited", "/fleets/"), &fleet, "begins with none of `rolePathPrefixes`"),
        (known("limited", "/aws-service-role/x/"), &Limits::default(), "belongs to AWS"),
        (known("limited", "/AWS-reserved/sso/"), &Limits::default(), "belongs to AWS"),
        (known("AWSServiceRoleForSSM", "/"), &Limits::default(), "belongs to AWS"),
    ];
    let only = |name: &str| Some([name].into_iter().collect());
    let bucket = LogBucket { name: "audit".to_owned(), prefix: None, owner: None };
    let documents = [
        (
            Settings { session_keys: vec![KEY.parse().unwrap()], ..Settings::default() },
            Limits { kms_key_arns: only("arn:aws:kms:*:111122223333:key/*"), ..Limits::default() },
            "`kmsKeyArns`",
        ),
        (
            Settings { log_bucket: Some(bucket), ..Settings::default() },
            Limits { s3_bucket_names: only("audit-?"), ..Limits::default() },
            "`s3BucketNames`",
        ),
        (
            Settings { log_group: Some("/app/sessions".to_owned()), ..Settings::default() },
            Limits { cloud_watch_log_group_names: only("/ssm/*"), ..Limits::default() },
            "`cloudWatchLogGroupNames`",
        ),
    ];
    for backend in Backend::both().await {
        backend.role("limited").await;
        backend.put("limited", ours.as_str(), PLAIN).await;
        let before = backend.document("limited", ours.as_str()).await;
        if let Some(serving) = &backend.serving {
            serving.sandbox.clear_calls();
        }
        let writer = backend.writer();
        let refused = |result: Result<RequestId, IamError>, why: &str| {
            let error = result.expect_err(why);
            assert_eq!((error.class, &error.code), (ErrorClass::NotSent, &None), "{error}");
            assert!(error.message.contains(why), "{error}");
        };
        for (role, limits, why) in &roles {
            refused(writer.put(WriteTurn::default(), role, &ours, &plain, limits).await, why);
            refused(writer.remove(WriteTurn::default(), role, &ours, limits).await, why);
        }
        for (settings, limits, why) in &documents {
            refused(
                writer.put(WriteTurn::default(), &known("limited", "/"), &ours, &document(settings), limits).await,
                why,
            );
        }
        if let Some(serving) = &backend.serving {
            assert_eq!(serving.sandbox.counts(), BTreeMap::new());
        }
        assert_eq!(backend.document("limited", ours.as_str()).await, before, "{:?}", backend.kind);

        // And what lies within them is sent.
        let (within, role) =
            (Limits { account_ids: Some([account()].into()), ..fleet.clone() }, known("limited", "/fleet/web/"));
        writer.put(WriteTurn::default(), &role, &ours, &plain, &within).await.unwrap();
        writer.remove(WriteTurn::default(), &role, &ours, &within).await.unwrap();
        assert!(backend.policies("limited").await.is_empty(), "{:?}", backend.kind);
    }
}

#[tokio::test]
async fn what_decides_over_a_role_is_read_in_bulk_and_in_part_one_by_one() {
    for backend in Backend::both().await {
        let guard = backend.managed("Bounds", &[PLAIN]).await;
        backend.role("decided").await;
        let iam = &backend.clients.iam;
        for arn in [CORE, &guard] {
            iam.attach_role_policy().role_name("decided").policy_arn(arn).send().await.unwrap();
        }
        iam.put_role_permissions_boundary().role_name("decided").permissions_boundary(&guard).send().await.unwrap();
        match &backend.serving {
            Some(serving) => {
                let change = RoleChange::default().instance_profiles(&["fleet"]);
                assert!(serving.sandbox.change_role(&account(), "decided", &change));
            }
            None => {
                iam.create_instance_profile().instance_profile_name("fleet").send().await.unwrap();
                let call = iam.add_role_to_instance_profile().instance_profile_name("fleet").role_name("decided");
                call.send().await.unwrap();
            }
        }
        let edge = backend.edge();
        let page = edge.roles_page(None).await.unwrap();
        let in_bulk = page.roles.iter().find(|role| role.name == "decided").unwrap();
        assert_eq!(in_bulk.attached, [CORE, &guard], "{:?}", backend.kind);
        assert_eq!(in_bulk.instance_profiles, ["fleet"], "{:?}", backend.kind);
        let one = edge.role(&named("decided")).await.unwrap();
        assert!(one.attached.is_empty() && one.instance_profiles.is_empty(), "GetRole does not tell them");
        assert_eq!(one.boundary.as_ref(), Some(&guard), "{:?}", backend.kind);
        assert_eq!(in_bulk.boundary.as_ref(), Some(&guard), "{:?}", backend.kind);
        assert_eq!(percent_decode_str(&one.trust).decode_utf8().unwrap(), TRUST, "{:?}", backend.kind);
        match backend.kind {
            Kind::Sandbox => assert_eq!(in_bulk.trust, one.trust),
            // moto does not encode trust policies in bulk reads.
            Kind::Moto => assert_eq!(in_bulk.trust, TRUST),
        }

        iam.detach_role_policy().role_name("decided").policy_arn(CORE).send().await.unwrap();
        iam.delete_role_permissions_boundary().role_name("decided").send().await.unwrap();
        let page = edge.roles_page(None).await.unwrap();
        let in_bulk = page.roles.iter().find(|role| role.name == "decided").unwrap();
        assert_eq!((&in_bulk.attached[..], &in_bulk.boundary), (&[guard][..], &None), "{:?}", backend.kind);
    }
}

#[tokio::test]
async fn managed_policies_are_read_in_bulk_by_their_default_version() {
    let newer = PLAIN.replace("Allow", "Deny");
    for backend in Backend::both().await {
        let once = backend.managed("Once", &[PLAIN]).await;
        let twice = backend.managed("Twice", &[PLAIN, &newer]).await;
        let page = backend.edge().policies_page(None).await.unwrap();
        assert!(!page.is_truncated);
        for (arn, version, document) in [(once, "v1", PLAIN), (twice, "v2", &newer)] {
            let policy = page.policies.iter().find(|policy| policy.arn == arn).unwrap();
            assert_eq!(policy.version, version, "{:?}", backend.kind);
            let encoded = policy.encoded_document.as_deref().unwrap();
            assert_eq!(percent_decode_str(encoded).decode_utf8().unwrap(), document, "{:?}", backend.kind);
        }
        assert!(!page.policies.iter().any(|policy| policy.arn == CORE), "AWS's own are not the account's");
        assert!(backend.edge().roles_page(None).await.unwrap().roles.iter().all(|role| role.arn.contains(":role/")));

        if let Some(serving) = &backend.serving {
            // moto answers every bulk read with one page.
            serving.sandbox.set_page_cap(Some(1));
            let first = backend.edge().policies_page(None).await.unwrap();
            assert!(first.is_truncated);
            let second = backend.edge().policies_page(first.marker).await.unwrap();
            assert_eq!([first.policies, second.policies].concat(), page.policies);
        }
    }
}

#[tokio::test]
async fn a_managed_policy_is_read_by_itself() {
    let newer = PLAIN.replace("Allow", "Deny");
    for backend in Backend::both().await {
        let (edge, alone) = (backend.edge(), backend.managed("Alone", &[PLAIN, &newer]).await);
        let policy = edge.managed_policy(&alone).await.unwrap();
        let expected = PolicyDetail { arn: alone.clone(), version: "v2".to_owned(), encoded_document: None };
        assert_eq!(policy, expected, "{:?}", backend.kind);
        for (version, document) in [("v1", PLAIN), ("v2", &newer)] {
            let encoded = edge.managed_policy_document(&alone, version).await.unwrap();
            assert_eq!(percent_decode_str(&encoded).decode_utf8().unwrap(), document, "{:?}", backend.kind);
        }

        let core = edge.managed_policy(CORE).await.unwrap();
        assert_eq!(core.version, "v2", "{:?}", backend.kind);
        let encoded = edge.managed_policy_document(CORE, &core.version).await.unwrap();
        let document: serde_json::Value =
            serde_json::from_str(&percent_decode_str(&encoded).decode_utf8().unwrap()).unwrap();
        let actions: Vec<_> = document["Statement"].as_array().unwrap().iter().map(|each| &each["Action"]).collect();
        assert_eq!(actions.len(), 3, "{:?}", backend.kind);
        assert!(actions[1].as_array().unwrap().contains(&"ssmmessages:OpenDataChannel".into()), "{:?}", backend.kind);

        let nowhere = format!("arn:aws:iam::{ACCOUNT}:policy/Nowhere");
        let gone = [
            edge.managed_policy(&nowhere).await.unwrap_err(),
            edge.managed_policy_document(&nowhere, "v1").await.unwrap_err(),
            edge.managed_policy_document(&alone, "v9").await.unwrap_err(),
        ];
        assert!(gone.iter().all(|error| error.class == ErrorClass::Gone), "{:?}: {gone:?}", backend.kind);
        let attach = backend.clients.iam.attach_role_policy().role_name("nobody").policy_arn(CORE);
        assert_eq!(code(attach.send().await), (404, "NoSuchEntity".to_owned()), "{:?}", backend.kind);
    }
}

#[tokio::test]
async fn the_simulator_is_asked_for_all_of_its_pages() {
    const KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let actions = ["ssmmessages:OpenDataChannel", "kms:Decrypt"].map(str::to_owned);
    for backend in Backend::both().await {
        backend.role("simulated").await;
        let arn = format!("arn:aws:iam::{ACCOUNT}:role/simulated");
        let error = backend.edge().simulate(&arn, &actions, &[]).await.unwrap_err();
        let Some(serving) = &backend.serving else {
            // moto has no simulator, and fails instead of saying so: to be told from a passing failure by nothing.
            assert_eq!((error.class, error.code.as_deref()), (ErrorClass::Transient, None), "{error}");
            continue;
        };
        assert_eq!((error.class, error.code.as_deref()), (ErrorClass::Invalid, Some("NotImplemented")), "{error}");

        let denied = SimulatedAction {
            missing_context: vec!["kms:ViaService".to_owned()],
            matched: vec!["Guard & <more>".to_owned()],
            ..SimulatedAction::new("kms:Decrypt", KEY, Decision::ExplicitDeny)
        };
        let allowed = SimulatedAction {
            allowed_by_organizations: Some(true),
            missing_context: vec!["aws:SourceIp".to_owned()],
            ..SimulatedAction::new("ssmmessages:OpenDataChannel", "*", Decision::Allowed)
        };
        serving.sandbox.set_simulation(&account(), "simulated", vec![denied.clone(), allowed.clone()]);
        serving.sandbox.set_page_cap(Some(1));
        let on_key = SimulatedAction { resource: KEY.to_owned(), ..allowed.clone() };
        let other = SimulatedAction::new("kms:Decrypt", "*", Decision::ImplicitDeny);
        for (resources, expected) in [(vec![], [allowed, other]), (vec![KEY.to_owned()], [on_key, denied])] {
            let said = backend.edge().simulate(&arn, &actions, &resources).await.unwrap();
            assert_eq!(said, expected);
            let in_process = serving.sandbox.iam(&account());
            assert_eq!(in_process.simulate(&arn, &actions, &resources).await.unwrap(), expected);
        }
        for effect in [Effect::NoMarker, Effect::RepeatMarker] {
            serving.sandbox.fault(Fault::new(effect).on("SimulatePrincipalPolicy"));
            let error = backend.edge().simulate(&arn, &actions, &[]).await.unwrap_err();
            assert!(error.message.contains("the read is partial"), "{error}");
            serving.sandbox.clear_faults();
        }
        let nobody = format!("arn:aws:iam::{ACCOUNT}:role/nobody");
        let error = backend.edge().simulate(&nobody, &actions, &[]).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Gone);
    }
}
