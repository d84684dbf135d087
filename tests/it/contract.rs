//! The contract: one suite, asked of the sandbox over HTTP and of a real moto server with AWS's own client, so that the
//! sandbox cannot drift into a private idea of IAM.
//!
//! Where moto departs from AWS, the assertion is stated for each of the two, with the reason.

use std::{collections::BTreeMap, sync::Arc};

use aws_sdk_iam::{
    config::Credentials,
    types::{EntityType, RoleDetail, Tag},
};
use percent_encoding::percent_decode_str;
use ssm_role_controller::{
    iam::{Decision, ErrorClass, Iam, IamError, PolicyDetail, RequestId, SdkIam, SimulatedAction, WriteTurn, Writer},
    inventory::{Role, RoleKind, SUSPEND_TAG},
    names::{AccountId, Partition, PolicyName, RoleName},
    policy::{
        limits::Limits,
        session_manager::{LogBucket, SessionManagerDocument, Settings},
    },
    sandbox::{Effect, Fault, RoleChange, RoleSeed},
};

use crate::support::{Clients, code, moto::Moto, refusal, serving::Serving};

/// moto's account, given to the sandbox too.
const ACCOUNT: &str = "123456789012";

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

/// The policy of AWS's that most instances with Session Manager have.
const CORE: &str = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore";

const PLAIN: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetEncryptionConfiguration","Resource":"*"}]}"#;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sandbox,
    Moto,
}

struct Backend {
    kind: Kind,
    clients: Clients,
    endpoint: String,
    serving: Option<Serving>,
    _moto: Option<Arc<Moto>>,
}

impl Backend {
    async fn both() -> [Self; 2] {
        let serving = Serving::start(ACCOUNT).await;
        let moto = tokio::task::spawn_blocking(Moto::shared).await.unwrap();
        let (one, other) = (serving.endpoint(), moto.endpoint());
        [
            Self {
                kind: Kind::Sandbox,
                clients: Clients::new(&one),
                endpoint: one,
                serving: Some(serving),
                _moto: None,
            },
            Self { kind: Kind::Moto, clients: Clients::new(&other), endpoint: other, serving: None, _moto: Some(moto) },
        ]
    }

    fn is_sandbox(&self) -> bool {
        self.kind == Kind::Sandbox
    }

    async fn role(&self, name: &str) {
        let call = self.clients.iam.create_role().role_name(name).assume_role_policy_document(TRUST);
        call.send().await.unwrap_or_else(|error| panic!("{:?}: {error:?}", self.kind));
    }

    async fn put(&self, role: &str, policy: &str, document: &str) {
        let call = self.clients.iam.put_role_policy().role_name(role).policy_name(policy).policy_document(document);
        call.send().await.unwrap_or_else(|error| panic!("{:?}: {error:?}", self.kind));
    }

    /// The document as it stands in the answer.
    async fn document(&self, role: &str, policy: &str) -> String {
        let call = self.clients.iam.get_role_policy().role_name(role).policy_name(policy);
        call.send().await.unwrap_or_else(|error| panic!("{:?}: {error:?}", self.kind)).policy_document
    }

    /// The names of a role's inline policies.
    async fn policies(&self, role: &str) -> Vec<String> {
        let mut names = self.clients.iam.list_role_policies().role_name(role).send().await.unwrap().policy_names;
        names.sort();
        names
    }

    /// Makes a managed policy of the account's own, with these documents one after another as its default; gives its ARN.
    async fn managed(&self, name: &str, documents: &[&str]) -> String {
        let arn = format!("arn:aws:iam::{ACCOUNT}:policy/{name}");
        for (index, document) in documents.iter().enumerate() {
            match (&self.serving, index) {
                // The sandbox has no call to make one: nobody whom it serves makes policies.
                (Some(serving), 0) => serving.sandbox.plant_policy(&account(), name, document),
                (Some(serving), _) => assert!(serving.sandbox.write_managed(&account(), name, document)),
                (None, 0) => {
                    let call = self.clients.iam.create_policy().policy_name(name).policy_document(*document);
                    call.send().await.unwrap();
                }
                (None, _) => {
                    let call = self.clients.iam.create_policy_version().policy_arn(&arn).policy_document(*document);
                    call.set_as_default(true).send().await.unwrap();
                }
            }
        }
        arn
    }

    /// The program's own side of the edge.
    fn edge(&self) -> SdkIam {
        SdkIam::for_endpoint(&self.endpoint)
    }

    fn writer(&self) -> Writer<SdkIam> {
        Writer::new(Arc::new(self.edge()), account())
    }

    /// Every role of a bulk read whose name begins so.
    async fn details(&self, prefix: &str) -> Vec<RoleDetail> {
        let (mut details, mut marker) = (Vec::new(), None);
        loop {
            let call = self.clients.iam.get_account_authorization_details().filter(EntityType::Role);
            let page = call.set_marker(marker).send().await.unwrap();
            details.extend(page.role_detail_list.unwrap_or_default());
            if !page.is_truncated {
                break;
            }
            marker = Some(page.marker.expect("a truncated page has a marker"));
        }
        details.retain(|role| role.role_name().unwrap().starts_with(prefix));
        details.sort_by(|one, other| one.role_name.cmp(&other.role_name));
        details
    }
}

#[tokio::test]
async fn a_role_is_made_read_and_deleted() {
    for backend in Backend::both().await {
        let iam = &backend.clients.iam;
        let tag = Tag::builder().key("team").value("web & <data>").build().unwrap();
        let call = iam.create_role().role_name("made").path("/app/web/").assume_role_policy_document(TRUST);
        let made = call.description("for <tests> & \"more\"").tags(tag).send().await.unwrap().role.unwrap();
        let read = iam.get_role().role_name("made").send().await.unwrap().role.unwrap();
        for role in [made, read] {
            assert_eq!(role.role_name, "made", "{:?}", backend.kind);
            assert_eq!(role.path, "/app/web/");
            assert_eq!(role.arn, format!("arn:aws:iam::{ACCOUNT}:role/app/web/made"));
            assert_eq!(role.description(), Some("for <tests> & \"more\""));
            assert!(role.role_id.starts_with("AROA"), "{}", role.role_id);
            assert_eq!(role.tags()[0].value, "web & <data>");
            let trust = role.assume_role_policy_document.unwrap();
            assert_eq!(percent_decode_str(&trust).decode_utf8().unwrap(), TRUST);
        }
        iam.delete_role().role_name("made").send().await.unwrap();
        let gone = refusal(iam.get_role().role_name("made").send().await);
        assert_eq!((gone.0, gone.1.as_str()), (404, "NoSuchEntity"), "{:?}", backend.kind);
        match backend.kind {
            Kind::Sandbox => assert_eq!(gone.2, "The role with name made cannot be found."),
            // moto words it in its own way.
            Kind::Moto => assert!(gone.2.contains("made"), "{}", gone.2),
        }
    }
}

#[tokio::test]
async fn a_role_cannot_be_made_twice() {
    for backend in Backend::both().await {
        backend.role("twice").await;
        let create =
            |name: &str| backend.clients.iam.create_role().role_name(name).assume_role_policy_document(TRUST).send();
        assert_eq!(code(create("twice").await), (409, "EntityAlreadyExists".to_owned()), "{:?}", backend.kind);
        let in_capitals = create("TWICE").await;
        match backend.kind {
            Kind::Sandbox => assert_eq!(code(in_capitals), (409, "EntityAlreadyExists".to_owned())),
            // IAM keeps role names unique ignoring case; moto does not know that.
            Kind::Moto => assert!(in_capitals.is_ok()),
        }
    }
}

#[tokio::test]
async fn a_role_that_still_has_policies_cannot_be_deleted() {
    for backend in Backend::both().await {
        backend.role("laden").await;
        backend.put("laden", "P", PLAIN).await;
        let iam = &backend.clients.iam;
        let conflict = code(iam.delete_role().role_name("laden").send().await);
        assert_eq!(conflict, (409, "DeleteConflict".to_owned()), "{:?}", backend.kind);
        iam.delete_role_policy().role_name("laden").policy_name("P").send().await.unwrap();
        iam.delete_role().role_name("laden").send().await.unwrap();
    }
}

#[tokio::test]
async fn awkward_documents_come_back_percent_encoded_and_otherwise_as_they_were_put() {
    let documents = [
        "{\n\t\"Version\" : \"2012-10-17\",\r\n \"Statement\": {\"Effect\":\"Allow\",\"Action\":\"s3:Get*\",\"Resource\":\"*\"}}",
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/a+b c%20d~e_f-g.h'(i)!"}]}"#,
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/é&ÿ<>\"\\/"}]}"#,
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::${aws:username}?=#@:;,"}]}"#,
    ];
    for backend in Backend::both().await {
        backend.role("awkward").await;
        for document in documents {
            backend.put("awkward", "P", document).await;
            let encoded = backend.document("awkward", "P").await;
            assert_eq!(percent_decode_str(&encoded).decode_utf8().unwrap(), document, "{:?}", backend.kind);
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
            match backend.kind {
                Kind::Sandbox => assert!(encoded.bytes().all(plain), "{encoded}"),
                // RFC 3986 reserves the slash, and IAM encodes it; moto leaves it, as Python's `quote` does.
                Kind::Moto => assert!(encoded.bytes().all(|byte| plain(byte) || byte == b'/'), "{encoded}"),
            }
        }
    }
}

#[tokio::test]
async fn a_policy_is_put_replaced_listed_and_deleted() {
    for backend in Backend::both().await {
        backend.role("listed").await;
        let iam = &backend.clients.iam;
        let list = async || {
            let mut names = iam.list_role_policies().role_name("listed").send().await.unwrap().policy_names;
            names.sort();
            names
        };
        assert!(list().await.is_empty());
        backend.put("listed", "Zulu", PLAIN).await;
        backend.put("listed", "Alpha", PLAIN).await;
        let replaced = PLAIN.replace("Allow", "Deny");
        backend.put("listed", "Zulu", &replaced).await;
        assert_eq!(list().await, ["Alpha", "Zulu"], "{:?}", backend.kind);
        let encoded = backend.document("listed", "Zulu").await;
        assert_eq!(percent_decode_str(&encoded).decode_utf8().unwrap(), replaced);
        iam.delete_role_policy().role_name("listed").policy_name("Zulu").send().await.unwrap();
        assert_eq!(list().await, ["Alpha"]);
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_with_a_404() {
    for backend in Backend::both().await {
        backend.role("bare").await;
        let iam = &backend.clients.iam;
        let gone = (404, "NoSuchEntity".to_owned());
        let get = async |role: &str| refusal(iam.get_role_policy().role_name(role).policy_name("P").send().await);
        for (role, message) in [
            ("nobody", "The role with name nobody cannot be found."),
            ("bare", "The role policy with name P cannot be found."),
        ] {
            let (status, code, said) = get(role).await;
            assert_eq!((status, code), gone, "{:?}", backend.kind);
            if backend.is_sandbox() {
                // moto words both in its own way.
                assert_eq!(said, message);
            }
        }
        assert_eq!(code(iam.list_role_policies().role_name("nobody").send().await), gone);
        assert_eq!(code(iam.delete_role().role_name("nobody").send().await), gone);
        for role in ["nobody", "bare"] {
            let call = iam.delete_role_policy().role_name(role).policy_name("P");
            assert_eq!(code(call.send().await), gone, "{:?} {role}", backend.kind);
        }
        let put = iam.put_role_policy().role_name("nobody").policy_name("P").policy_document(PLAIN);
        assert_eq!(code(put.send().await), gone, "{:?}", backend.kind);
    }
}

#[tokio::test]
async fn documents_that_are_no_policies_are_refused() {
    let key_id = PLAIN.replace("\"*\"", "\"1234abcd-12ab-34cd-56ef-1234567890ab\"");
    let documents = [
        ("hello".to_owned(), "Syntax errors in policy."),
        ("[]".to_owned(), "Syntax errors in policy."),
        (r#"{"Version":"2012-10-17"}"#.to_owned(), "Syntax errors in policy."),
        (PLAIN.replace("\"Effect\":\"Allow\",", ""), "Syntax errors in policy."),
        (PLAIN.replace("\"Effect\"", "\"Extra\":1,\"Effect\""), "Syntax errors in policy."),
        (PLAIN.replace("s3:GetEncryptionConfiguration", "GetEncryptionConfiguration"), "vendor"),
        (PLAIN.replace("\"Action\":\"s3:GetEncryptionConfiguration\",", ""), "must contain actions"),
        (PLAIN.replace(",\"Resource\":\"*\"", ""), "must contain resources"),
        (key_id, "Resource 1234abcd-12ab-34cd-56ef-1234567890ab must be in ARN format or \"*\"."),
    ];
    for backend in Backend::both().await {
        backend.role("strict").await;
        for (document, message) in &documents {
            let iam = &backend.clients.iam;
            let put = iam.put_role_policy().role_name("strict").policy_name("P").policy_document(document);
            let (status, code, said) = refusal(put.send().await);
            assert_eq!((status, code.as_str()), (400, "MalformedPolicyDocument"), "{:?} {document}", backend.kind);
            assert!(said.contains(message), "{:?}: {said} for {document}", backend.kind);
        }
    }
}

#[tokio::test]
async fn names_that_iam_does_not_know_are_refused() {
    for backend in Backend::both().await {
        let iam = &backend.clients.iam;
        let create = |name: &str| iam.create_role().role_name(name).assume_role_policy_document(TRUST).send();
        let invalid = (400, "ValidationError".to_owned());
        for name in ["a b", "rôle", "a/b", &"x".repeat(65)] {
            let answer = create(name).await;
            match backend.kind {
                Kind::Sandbox => assert_eq!(code(answer), invalid, "{name}"),
                // moto looks neither at the characters nor at the length of a role's name.
                Kind::Moto => assert!(answer.is_ok(), "{name}"),
            }
        }
    }
}

#[tokio::test]
async fn a_bulk_read_shows_roles_with_their_policies() {
    for backend in Backend::both().await {
        for name in ["bulk-a", "bulk-b"] {
            backend.role(name).await;
        }
        backend.put("bulk-b", "Second+Policy@1", PLAIN).await;
        backend.put("bulk-b", "First", &PLAIN.replace('*', "arn:aws:s3:::a b+c%/é")).await;
        let details = backend.details("bulk-").await;
        let names: Vec<_> = details.iter().map(|role| role.role_name().unwrap()).collect();
        assert_eq!(names, ["bulk-a", "bulk-b"], "{:?}", backend.kind);
        assert!(details[0].role_policy_list().is_empty());
        let role = &details[1];
        assert_eq!(role.arn(), Some(format!("arn:aws:iam::{ACCOUNT}:role/bulk-b").as_str()));
        assert_eq!(role.path(), Some("/"));
        assert!(role.role_id().unwrap().starts_with("AROA"));
        assert!(role.create_date().is_some());
        assert!(role.attached_managed_policies().is_empty());
        assert!(role.instance_profile_list().is_empty());
        assert!(role.permissions_boundary().is_none());
        let trust = role.assume_role_policy_document().unwrap();
        match backend.kind {
            Kind::Sandbox => assert!(trust.starts_with("%7B%22Version%22"), "{trust}"),
            // IAM encodes trust policies too; moto does not, in bulk reads.
            Kind::Moto => assert_eq!(trust, TRUST),
        }
        let policies = role.role_policy_list();
        let names: Vec<_> = policies.iter().map(|policy| policy.policy_name().unwrap()).collect();
        assert_eq!(names, ["Second+Policy@1", "First"], "{:?}", backend.kind);
        for policy in policies {
            let single = backend.document("bulk-b", policy.policy_name().unwrap()).await;
            assert_eq!(policy.policy_document().unwrap(), single, "{:?}", backend.kind);
        }
    }
}

#[tokio::test]
async fn a_bulk_read_without_the_filter_role_shows_none() {
    for backend in Backend::both().await {
        backend.role("filtered").await;
        let call = backend.clients.iam.get_account_authorization_details().filter(EntityType::User);
        let page = call.send().await.unwrap();
        assert!(page.role_detail_list().is_empty(), "{:?}", backend.kind);
        assert!(!page.is_truncated);
    }
}

#[tokio::test]
async fn a_bulk_read_comes_in_pages() {
    for backend in Backend::both().await {
        for name in ["page-a", "page-b", "page-c"] {
            backend.role(name).await;
        }
        let read = |marker: Option<String>| {
            let call = backend.clients.iam.get_account_authorization_details().filter(EntityType::Role);
            call.max_items(2).set_marker(marker).send()
        };
        let first = read(None).await.unwrap();
        match backend.kind {
            Kind::Sandbox => {
                assert_eq!(first.role_detail_list().len(), 2);
                assert!(first.is_truncated);
                let second = read(first.marker).await.unwrap();
                assert_eq!(second.role_detail_list()[0].role_name(), Some("page-c"));
                assert!(!second.is_truncated && second.marker.is_none());
                let astray = refusal(read(Some("AAEXAMPLE".to_owned())).await);
                assert_eq!(astray, (400, "ValidationError".to_owned(), "Invalid Marker.".to_owned()));
            }
            // moto answers every bulk read with one page, and looks at no marker.
            Kind::Moto => {
                assert!(first.role_detail_list().len() >= 3);
                assert!(!first.is_truncated);
                assert!(read(Some("AAEXAMPLE".to_owned())).await.is_ok());
            }
        }
    }
}

#[tokio::test]
async fn the_policies_of_a_role_share_a_quota() {
    for backend in Backend::both().await {
        backend.role("full").await;
        // White space does not count: 9,000 characters that do, and 9,000 that do not.
        let long = PLAIN.replace('*', &format!("arn:aws:s3:::{}", "x".repeat(9_000)));
        backend.put("full", "Long", &format!("{long}{}", " ".repeat(9_000))).await;
        let put = backend.clients.iam.put_role_policy().role_name("full").policy_name("More").policy_document(&long);
        let answer = put.send().await;
        match backend.kind {
            Kind::Sandbox => {
                let message = "Maximum policy size of 10240 bytes exceeded for role full".to_owned();
                assert_eq!(refusal(answer), (409, "LimitExceeded".to_owned(), message));
            }
            // moto knows no quota.
            Kind::Moto => assert!(answer.is_ok()),
        }
    }
}

#[tokio::test]
async fn tags_are_set_and_taken_away() {
    for backend in Backend::both().await {
        backend.role("tagged").await;
        let iam = &backend.clients.iam;
        for (key, value) in [("team", "web"), ("stage", "test"), ("team", "data")] {
            let tag = Tag::builder().key(key).value(value).build().unwrap();
            iam.tag_role().role_name("tagged").tags(tag).send().await.unwrap();
        }
        iam.untag_role().role_name("tagged").tag_keys("stage").send().await.unwrap();
        let role = iam.get_role().role_name("tagged").send().await.unwrap().role.unwrap();
        let tags: Vec<_> = role.tags().iter().map(|tag| (tag.key.as_str(), tag.value.as_str())).collect();
        assert_eq!(tags, [("team", "data")], "{:?}", backend.kind);
    }
}

#[tokio::test]
async fn the_caller_is_told_who_it_is() {
    for backend in Backend::both().await {
        let caller = backend.clients.sts.get_caller_identity().send().await.unwrap();
        assert_eq!(caller.account(), Some(ACCOUNT), "{:?}", backend.kind);
        let arn = caller.arn().unwrap();
        assert!(arn.starts_with("arn:aws:") && arn.contains(ACCOUNT), "{arn}");
        assert!(caller.user_id().is_some());
    }
}

#[tokio::test]
async fn an_assumed_roles_calls_go_to_the_roles_account() {
    const OTHER: &str = "444455556666";
    for backend in Backend::both().await {
        if let Some(serving) = &backend.serving {
            // moto lets a role be assumed that is not there; IAM does not.
            let role = RoleSeed::new("visitor");
            serving.sandbox.plant(&OTHER.parse().unwrap(), role);
        }
        let arn = format!("arn:aws:iam::{OTHER}:role/visitor");
        let call = backend.clients.sts.assume_role().role_arn(&arn).role_session_name("night-watch");
        let given = call.send().await.unwrap().credentials.unwrap();
        let credentials =
            Credentials::new(given.access_key_id, given.secret_access_key, Some(given.session_token), None, "tests");
        let there = Clients::with(&backend.endpoint, credentials);
        let caller = there.sts.get_caller_identity().send().await.unwrap();
        assert_eq!(caller.account(), Some(OTHER), "{:?}", backend.kind);
        assert_eq!(caller.arn(), Some(format!("arn:aws:sts::{OTHER}:assumed-role/visitor/night-watch").as_str()));

        there.iam.create_role().role_name("abroad").assume_role_policy_document(TRUST).send().await.unwrap();
        assert_eq!(code(backend.clients.iam.get_role().role_name("abroad").send().await).0, 404);
        let abroad = there.iam.get_role().role_name("abroad").send().await.unwrap().role.unwrap();
        assert_eq!(abroad.arn, format!("arn:aws:iam::{OTHER}:role/abroad"));
        there.iam.delete_role().role_name("abroad").send().await.unwrap();
    }
}

fn account() -> AccountId {
    ACCOUNT.parse().unwrap()
}

fn named(name: &str) -> RoleName {
    name.parse().unwrap()
}

/// A role as an inventory holds it.
fn known(name: &str, path: &str) -> Role {
    Role { name: named(name), kind: RoleKind::at(path), inline_size: None, surroundings: None }
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
