//! The contract: one suite, asked of the sandbox over HTTP and of a real moto server with AWS's own client, so that the
//! sandbox cannot drift into a private idea of IAM.
//!
//! Where moto departs from AWS, the assertion is stated for each of the two, with the reason.

mod edge;

use std::sync::Arc;

use aws_sdk_iam::{
    config::Credentials,
    types::{EntityType, RoleDetail, Tag},
};
use percent_encoding::percent_decode_str;
use ssm_role_controller::{
    iam::{SdkIam, Writer},
    names::AccountId,
    sandbox::RoleSeed,
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
