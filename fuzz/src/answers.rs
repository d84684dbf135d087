//! Any bytes as what IAM answers, through the real AWS SDK and the real reader.
//!
//! An input is a first line that names the call (`read`, `confirm`, `caller`, `put`), and then answers, one for each
//! request in turn, with a line `---` between them. An answer looks as on the wire: a line with the status, header
//! lines, an empty line, the body. Where the status is no number, or when no answer is left, the connection breaks.
//!
//! The clock is tokio's paused one, so that the SDK's waits between two attempts take no time.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_iam::{config::http::HttpRequest, error::ConnectorError};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
    orchestrator::HttpResponse,
};
use ssm_role_controller::{
    iam::{Iam, IamError, Manner, Reader, SdkIam, WriteTurn, Writer},
    inventory::{Asked, Inventory, Observed, Role, RoleKind},
    names::{AccountId, PolicyName, RoleName},
    policy::{limits::Limits, session_manager::Settings},
};

const ACCOUNT: &str = "111122223333";
const ROLES: [&str; 3] = ["web", "Batch", "db_1"];
const POLICY: &str = "SessionManagerPermissions";
const BETWEEN: &str = "\n---\n";

/// What was answered so far, and what is still to be.
#[derive(Debug, Default)]
struct Script {
    left: VecDeque<String>,
    /// Status and body, in order; what broke off has none.
    served: Vec<(u16, String)>,
}

#[derive(Debug, Clone, Default)]
struct Wire(Arc<Mutex<Script>>);

impl Wire {
    fn script<T>(&self, with: impl FnOnce(&mut Script) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn answer(&self) -> Option<HttpResponse> {
        let text = self.script(|script| script.left.pop_front())?;
        let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
        let mut lines = head.lines();
        let status: u16 = lines.next()?.trim().parse().ok()?;
        let mut answer = HttpResponse::new(status.try_into().ok()?, body.to_owned().into());
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            let _ = answer.headers_mut().try_insert(name.to_ascii_lowercase(), value.to_owned());
        }
        self.script(|script| script.served.push((status, body.to_owned())));
        Some(answer)
    }
}

impl HttpConnector for Wire {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::ready(self.answer().ok_or_else(|| ConnectorError::io("broken off".into())))
    }
}

/// The clients are made once: they are not what is looked at, and take longer than all the rest.
fn edge() -> &'static (SdkIam, Wire) {
    static EDGE: OnceLock<(SdkIam, Wire)> = OnceLock::new();
    EDGE.get_or_init(|| {
        let wire = Wire::default();
        let connector = SharedHttpConnector::new(wire.clone());
        let credentials = Credentials::new("AKIAIOSFODNN7EXAMPLE", "secret", None, None, "fuzz");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .endpoint_url("http://localhost")
            .build();
        (SdkIam::new(&config), wire)
    })
}

/// Answers with the bytes, and holds what comes of it to what [`ssm_role_controller::iam`] promises.
pub fn answers(bytes: &[u8]) {
    // One at a time: the clients are shared.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (call, answers) = text.split_once('\n').unwrap_or((text, ""));
    let (iam, wire) = edge();
    let left = answers.split(BETWEEN).map(str::to_owned).collect();
    wire.script(|script| *script = Script { left, served: Vec::new() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(drive(iam, wire, call));
}

async fn drive(iam: &SdkIam, wire: &Wire, call: &str) {
    let account: AccountId = named(ACCOUNT);
    let role: RoleName = named(ROLES[0]);
    let policy: PolicyName = named(POLICY);
    let served = || wire.script(|script| script.served.clone());
    let well_answered = || served().last().is_some_and(|(status, _)| (200..300).contains(status));
    match call {
        "caller" => {
            if let Some(caller) = told_well(iam.caller().await) {
                assert!(well_answered() && served().iter().any(|(_, body)| body.contains(caller.account.as_str())));
                let _ = (caller.role(), caller.partition());
            }
        }
        "put" => {
            let document = Settings::default().document(&account, &named("aws"));
            let writer = Writer::new(Arc::new(iam.clone()), account);
            let held = Role { name: role, kind: RoleKind::at("/"), surroundings: None };
            if told_well(writer.put(WriteTurn::default(), &held, &policy, &document, &Limits::default()).await)
                .is_some()
            {
                assert!(well_answered(), "a write that was not answered with a success passes for one");
            }
            assert!(served().len() <= 1, "a write was sent twice");
        }
        "confirm" => {
            let reader = Reader::new(Arc::new(iam.clone()), account);
            match told_well(reader.confirm(&role, &policy).await) {
                Some(Some(live)) => {
                    assert!(well_answered() && served().last().is_some_and(|(_, body)| is_closed(body)));
                    let _ = (live.parsed().is_ok(), live.text(), live.size());
                }
                Some(None) => assert!(served().last().is_some_and(|(status, body)| is_gone(*status, body))),
                None => {}
            }
        }
        _ => {
            let asked: Asked = ROLES.iter().map(|role| (named(role), BTreeSet::from([policy.clone()]))).collect();
            let reader = Reader::new(Arc::new(iam.clone()), account);
            // Twice: the second reading keeps what did not change since the first.
            for _ in 0..2 {
                wire.script(|script| script.served.clear());
                let Some((inventory, manner)) = told_well(reader.read(&asked, true).await) else { continue };
                match manner {
                    Manner::InBulk => assert_whole(&served(), &inventory),
                    Manner::OneByOne(_) => assert_each_role_was_answered(&served(), &inventory),
                    Manner::ByRole { .. } => panic!("no less than a bulk reading was asked for"),
                }
            }
        }
    }
}

fn named<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("it is a sound name")
}

/// Whatever went wrong is told in one line without control characters.
fn told_well<T>(result: Result<T, IamError>) -> Option<T> {
    result
        .map_err(|error| {
            let line = error.to_string();
            assert!(!line.is_empty() && !line.contains(char::is_control), "{line:?}");
        })
        .ok()
}

fn is_gone(status: u16, body: &str) -> bool {
    !(200..300).contains(&status) && body.contains("NoSuchEntity")
}

/// A bulk reading stands on pages that are whole: the last says that it is the last, and the roles that were found are the
/// ones that stand in them.
fn assert_whole(served: &[(u16, String)], inventory: &Inventory) {
    let pages: Vec<&str> =
        served.iter().filter(|(status, _)| (200..300).contains(status)).map(|(_, body)| &**body).collect();
    let shown = || pages.join(BETWEEN);
    assert!(
        served.last().is_some_and(|(status, _)| (200..300).contains(status)),
        "a failed answer was taken: {}",
        shown()
    );
    let mut names = BTreeSet::new();
    for (number, page) in pages.iter().enumerate() {
        assert!(is_closed(page), "an answer that was cut off was taken: {}", shown());
        // The second opinion reads plain XML only.
        let Some(page) = Page::read(page) else { return };
        assert_eq!(page.truncated, number + 1 < pages.len(), "a page is missing: {}", shown());
        names.extend(page.roles);
    }
    for role in ROLES {
        let found = match inventory.get(&named(role)) {
            Some(Observed::Found(_)) => true,
            Some(Observed::NotFound) => false,
            other => panic!("{role} was asked for in bulk: {other:?}"),
        };
        let stands = names.iter().any(|name| name.eq_ignore_ascii_case(role));
        assert_eq!(found, stands, "{role}: {}", shown());
    }
}

/// Read one by one, a role or a policy is gone only where IAM said so.
fn assert_each_role_was_answered(served: &[(u16, String)], inventory: &Inventory) {
    let said_gone = served.iter().filter(|(status, body)| is_gone(*status, body)).count();
    let good = served.iter().filter(|(status, _)| (200..300).contains(status)).count();
    let (mut gone, mut found) = (0, 0);
    for role in ROLES {
        match inventory.get(&named(role)) {
            Some(Observed::Found(role)) if role.policies.is_empty() => (gone, found) = (gone + 1, found + 1),
            Some(Observed::Found(_)) => found += 2,
            Some(Observed::NotFound) => gone += 1,
            Some(Observed::Unknown(_)) => {}
            None => panic!("{role} was asked for"),
        }
    }
    assert!(gone <= said_gone && found <= good, "{gone} gone, {found} found: {served:?}");
}

/// Whether the last tag closes an element of the name of the first one.
fn is_closed(body: &str) -> bool {
    let first = body.split('<').skip(1).find(|tag| !tag.starts_with('?')).unwrap_or_default();
    let name =
        first.split(|sign: char| !sign.is_ascii_alphanumeric() && !":_-.".contains(sign)).next().unwrap_or_default();
    let last = body.trim_end().rsplit('<').next().unwrap_or_default();
    last.strip_prefix('/')
        .and_then(|tag| tag.strip_suffix('>'))
        .unwrap_or(last.trim_end_matches("/>"))
        .starts_with(name)
}

/// A second opinion on a page of a bulk read.
#[derive(Default)]
struct Page {
    truncated: bool,
    roles: Vec<String>,
}

impl Page {
    /// None where the text is not plain XML: elements and text, each of them closed.
    ///
    /// The SDK takes what stands before the first place that is not XML for the whole answer, silently. What was cut off is
    /// refused for want of its end; garbage in the middle does not come through TLS.
    fn read(text: &str) -> Option<Self> {
        let mut page = Self::default();
        let mut open: Vec<&str> = Vec::new();
        let (mut answered, mut said) = (false, false);
        let mut pieces = text.split('<');
        pieces.next().filter(|before| before.trim().is_empty())?;
        for piece in pieces {
            let (tag, words) = piece.split_once('>')?;
            let is_plain = |character: char| !character.is_control() && !matches!(character, '&' | '>' | ']');
            if !words.chars().all(|character| is_plain(character) || matches!(character, '\n' | '\t')) {
                return None;
            }
            if let Some(name) = tag.strip_prefix('/') {
                if open.pop()? != name {
                    return None;
                }
                answered |= open.is_empty();
                continue;
            }
            let (name, closed) = match tag.strip_suffix('/') {
                Some(name) => (name, true),
                None => (tag, false),
            };
            let name = name.strip_suffix(" xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"").unwrap_or(name);
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) || answered {
                return None;
            }
            if closed {
                continue;
            }
            open.push(name);
            match open.get(2..).unwrap_or_default() {
                ["RoleDetailList", "member", "RoleName"] => page.roles.push(words.trim().to_owned()),
                // What stands twice is nothing for an opinion this plain.
                ["IsTruncated"] if said => return None,
                ["IsTruncated"] => (said, page.truncated) = (true, words.trim() == "true"),
                _ => {}
            }
        }
        answered.then_some(page)
    }
}
