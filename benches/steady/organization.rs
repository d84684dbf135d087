//! Many accounts, as large as one likes: an endpoint before the sandbox that shows its only account under many ids.
//!
//! The sandbox answers each question once. Its answer is kept, and given for every account with that account's id in the
//! places of the sandbox's own: ids are all of one length. So a thousand accounts are served at the price of copying, and
//! what is measured has the machine to itself. The names of roles hold the id as well, so no account has another's.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::fleet::{self, ACCOUNT, Documents, Fleet};

/// The roles of each account.
pub(crate) const ROLES: usize = 1000;

/// The organisation, its manifests and its endpoint, for as long as it is held.
pub(crate) struct Organization {
    pub(crate) fleet: Fleet,
    address: SocketAddr,
    mirror: Arc<Mirror>,
    _stop: DropGuard,
}

/// What was answered, and how often it was asked.
struct Mirror {
    sandbox: SocketAddr,
    answers: Mutex<BTreeMap<String, Arc<Answer>>>,
    counts: Mutex<BTreeMap<String, u64>>,
}

/// A whole answer of the sandbox's, and where in it the account's id stands.
struct Answer {
    bytes: Vec<u8>,
    places: Vec<usize>,
}

impl Organization {
    /// So many accounts, all roles of which are as five manifests with selectors want them.
    pub(crate) async fn start(accounts: usize, resync: &str) -> anyhow::Result<Self> {
        let fleet = Fleet::start(ROLES, Documents::Five, resync).await?;
        let ids: Vec<String> = (0..accounts).map(|number| (200_000_000_000 + number).to_string()).collect();
        fleet.select(&ids, resync)?;
        let mirror = Arc::new(Mirror { sandbox: fleet.address, answers: Mutex::default(), counts: Mutex::default() });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (address, stop) = (listener.local_addr()?, CancellationToken::new());
        tokio::spawn(stop.clone().run_until_cancelled_owned(serve(Arc::clone(&mirror), listener)));
        Ok(Self { fleet, address, mirror, _stop: stop.drop_guard() })
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many calls of each operation there were since this was asked last.
    pub(crate) fn take_counts(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut *self.mirror.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many calls of an operation there were since then.
    pub(crate) fn count(&self, operation: &str) -> u64 {
        self.mirror.counts.lock().unwrap_or_else(PoisonError::into_inner).get(operation).copied().unwrap_or(0)
    }
}

async fn serve(mirror: Arc<Mirror>, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let mirror = Arc::clone(&mirror);
        tokio::spawn(async move {
            match mirror.connection(stream).await {
                // Whoever is killed resets his connections.
                Err(error) if !error.is::<std::io::Error>() => eprintln!("the organisation's endpoint: {error:#}"),
                _ => {}
            }
        });
    }
}

impl Mirror {
    /// Answers until the client goes away.
    async fn connection(&self, stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        while let Some((account, form)) = request(&mut stream).await? {
            let operation = field(&form, "Action").context("no operation")?.to_owned();
            // Credentials of no assumed role are of the account that the controller runs in.
            let account = account.unwrap_or_else(|| ACCOUNT.to_owned());
            let answer = if operation == "AssumeRole" {
                let form = form.replace("%3A", ":");
                let id = field(&form, "RoleArn").and_then(|arn| arn.split(':').nth(4)).context("no account")?;
                session(id)
            } else {
                self.answer(&form.replace(&account, ACCOUNT)).await?.of(&account)
            };
            *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(operation).or_default() += 1;
            stream.write_all(&answer).await?;
        }
        Ok(())
    }

    /// What the sandbox says, from its first answer.
    async fn answer(&self, form: &str) -> anyhow::Result<Arc<Answer>> {
        let known = |mirror: &Self| mirror.answers.lock().unwrap_or_else(PoisonError::into_inner).get(form).cloned();
        if let Some(known) = known(self) {
            return Ok(known);
        }
        // The organisation keeps its connections.
        let text = fleet::ask(self.sandbox, form).await?.replacen("connection: close\r\n", "", 1);
        let places = text.match_indices(ACCOUNT).map(|(place, _)| place).collect();
        let answer = Arc::new(Answer { bytes: text.into_bytes(), places });
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(form.to_owned(), Arc::clone(&answer));
        Ok(answer)
    }
}

impl Answer {
    /// As an account says it.
    fn of(&self, account: &str) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for &place in &self.places {
            bytes[place..place + account.len()].copy_from_slice(account.as_bytes());
        }
        bytes
    }
}

/// The next request: the account of its credentials, where a role was assumed, and its form; `None` at the end.
async fn request(stream: &mut BufReader<TcpStream>) -> anyhow::Result<Option<(Option<String>, String)>> {
    let (mut line, mut length, mut account) = (String::new(), 0, None);
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let Some((header, value)) = line.trim_end().split_once(": ") else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        if header.eq_ignore_ascii_case("content-length") {
            length = value.parse()?;
        } else if header.eq_ignore_ascii_case("authorization") {
            account = value.split_once("Credential=ASIA").and_then(|(_, key)| key.get(..12)).map(str::to_owned);
        }
    }
    let mut form = vec![0; length];
    stream.read_exact(&mut form).await?;
    Ok(Some((account, String::from_utf8(form)?)))
}

fn field<'f>(form: &'f str, name: &str) -> Option<&'f str> {
    form.split('&').find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
}

/// What STS says to whoever assumes a role: the access key holds the account.
fn session(account: &str) -> Vec<u8> {
    let body = format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><AssumedRoleUser>\
         <AssumedRoleId>AROAIOSFODNN7EXAMPLE:bench</AssumedRoleId>\
         <Arn>arn:aws:sts::{account}:assumed-role/ssm-role-controller/bench</Arn></AssumedRoleUser><Credentials>\
         <AccessKeyId>ASIA{account}AAAA</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken>\
         <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult>\
         <ResponseMetadata><RequestId>0</RequestId></ResponseMetadata></AssumeRoleResponse>"
    );
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}
