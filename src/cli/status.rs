//! `status`: asks a running daemon how every role stands.

use std::{collections::BTreeMap, fs, io::IsTerminal, path::PathBuf, time::Duration};

use anyhow::Context;
use clap::Args;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Request, StatusCode, Uri,
    body::Bytes,
    client::conn::http1,
    header::{AUTHORIZATION, HOST},
};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{Ended, OK, Output, complain, print, until_signal};
use crate::{
    names::{AccountId, RoleName},
    status::{AccountState, AccountStatus, RoleStatus, Status},
    text::{printable, printable_json, span},
};

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often is asked again with `--watch`.
const AGAIN: Duration = Duration::from_secs(2);

/// So large an answer may be: a million roles.
const LARGEST_ANSWER_BYTES: usize = 2 << 30;

/// What is asked, and of whom.
#[derive(Debug, Clone, Args)]
pub struct Asking {
    /// Where the daemon's --status-listen is
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8082")]
    server: String,
    /// The file with the daemon's token, where it asks for one
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Only this account
    #[arg(long, value_name = "ID")]
    account: Option<AccountId>,
    /// Only this role
    #[arg(long, value_name = "ROLE")]
    role: Option<RoleName>,
    /// Only roles whose policy departs from its manifest
    #[arg(long)]
    drifted: bool,
    /// Only roles with which a session would not surely work as asked
    #[arg(long)]
    not_ready: bool,
    /// How it is printed
    #[arg(long, short, value_name = "FORMAT", default_value = "text")]
    output: Output,
    /// Go on, and print each role again that has changed, until Ctrl-C
    #[arg(long, short, conflicts_with = "output")]
    watch: bool,
}

/// Prints how every role stands. Exit status 0, and 1 where the daemon cannot be asked.
///
/// # Errors
///
/// Where the daemon cannot be asked, or standard output cannot be written.
pub async fn status(asking: &Asking) -> Ended {
    let status = asking.narrowed(ask(asking).await?);
    if asking.output == Output::Json {
        print(&printable_json(&serde_json::to_string_pretty(&status)?))?;
        return Ok(OK);
    }
    // With --watch the moment stands, so that equal rows stay equal.
    print(&text(&status, (!asking.watch).then(Timestamp::now)))?;
    if asking.watch {
        watch(asking, rows(&status)).await?;
    }
    Ok(OK)
}

/// Prints every row again that has changed.
async fn watch(asking: &Asking, mut before: BTreeMap<Whose, Row>) -> anyhow::Result<()> {
    let shutdown = until_signal()?;
    let mut is_unreachable = false;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = sleep(AGAIN) => {}
        }
        let now = match ask(asking).await {
            Ok(status) => rows(&asking.narrowed(status)),
            Err(error) => {
                if !std::mem::replace(&mut is_unreachable, true) {
                    complain(&format!("error: {error:#}; it is asked again"));
                }
                continue;
            }
        };
        is_unreachable = false;
        let mut changed: Vec<Row> =
            now.iter().filter(|(whose, row)| before.get(*whose) != Some(row)).map(|(_, row)| row.clone()).collect();
        for (whose, row) in &before {
            if !now.contains_key(whose) {
                let mut row = row.clone();
                (row[3], row[4], row[6]) = ("-".to_owned(), "-".to_owned(), "no longer listed".to_owned());
                changed.push(row);
            }
        }
        if !changed.is_empty() {
            print(&table(&changed))?;
        }
        before = now;
    }
}

impl Asking {
    /// What was asked for of all that was answered.
    fn narrowed(&self, mut status: Status) -> Status {
        let is_wanted = |role: &RoleStatus| {
            let is_ready = role
                .condition("SessionReady")
                .is_some_and(|ready| ready.status == "True" || ready.reason == "NotApplicable");
            self.role.as_ref().is_none_or(|name| name.as_str().eq_ignore_ascii_case(&role.role))
                && (!self.drifted || role.has_drifted())
                && (!self.not_ready || !is_ready)
        };
        status.accounts.retain(|account| self.account.as_ref().is_none_or(|id| id.as_str() == account.account));
        for account in &mut status.accounts {
            account.roles.retain(is_wanted);
        }
        status
    }

    fn token(&self) -> anyhow::Result<Option<String>> {
        let Some(path) = &self.token_file else { return Ok(None) };
        let token =
            fs::read_to_string(path).with_context(|| format!("the token file {} cannot be read", path.display()))?;
        Ok(Some(token.trim().to_owned()))
    }
}

/// Asks the daemon.
async fn ask(asking: &Asking) -> anyhow::Result<Status> {
    // As one types it: a host and a port.
    let server =
        &if asking.server.contains("://") { asking.server.clone() } else { format!("http://{}", asking.server) };
    let uri: Uri = server.parse().with_context(|| format!("`{server}` is no URL"))?;
    anyhow::ensure!(
        uri.scheme_str() == Some("http"),
        "`{server}` does not begin with http://\nhint: where TLS stands before it, ask with curl: {server}/status"
    );
    let authority = uri.authority().with_context(|| format!("`{server}` names no host"))?;
    let (host, port) = (authority.host().to_owned(), authority.port_u16().unwrap_or(80));
    let mut request = Request::get("/status").header(HOST, authority.as_str());
    let token = asking.token()?;
    let has_token = token.is_some();
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Empty::<Bytes>::new()).context("the token is no word that a header can hold")?;
    let exchange = async {
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let stream = TcpStream::connect((name, port)).await.with_context(|| {
            format!("nobody answers on {server}\nhint: is the daemon running with --status-listen {port}, and on this machine?")
        })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let answer = sender.send_request(request).await.context("the daemon broke off")?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LARGEST_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("the daemon broke off: {error}"))?.to_bytes();
        anyhow::Ok((status, body))
    };
    let (status, body) = timeout(PATIENCE, exchange)
        .await
        .map_err(|_| anyhow::anyhow!("{server} has not answered within {} s", PATIENCE.as_secs()))??;
    match status {
        StatusCode::OK => serde_json::from_slice(&body)
            .with_context(|| format!("what {server} answers is no status of this version of the program")),
        StatusCode::UNAUTHORIZED if has_token => {
            anyhow::bail!(
                "{server} asks for a token, and this is not it\nhint: give the daemon's with --token-file FILE"
            )
        }
        StatusCode::UNAUTHORIZED => {
            anyhow::bail!(
                "{server} asks for a token, and none was given\nhint: give the daemon's with --token-file FILE"
            )
        }
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::BAD_REQUEST => anyhow::bail!(
            "what answers on {server} is not a daemon's status\nhint: --server is where the daemon's --status-listen is"
        ),
        _ => {
            let said: Vec<String> =
                String::from_utf8_lossy(&body).lines().take(4).map(|line| printable(line).to_string()).collect();
            anyhow::bail!("{server} answers {status}: {}", said.join("\n"))
        }
    }
}

/// What a row is about: account, role, policy.
type Whose = (String, String, String);

/// The cells of a row.
type Row = [String; 7];

const TITLES: [&str; 7] = ["ACCOUNT", "ROLE", "MODE", "SYNCED", "SESSION", "SINCE", "WHY"];

/// For a person: what is wrong as a whole, then each role.
fn text(status: &Status, now: Option<Timestamp>) -> String {
    let mut text = String::new();
    let mut say = |line: String| text.push_str(&format!("{}\n", printable(&line)));
    if status.controller.suspended {
        say("the kill switch is on: nothing is written anywhere".to_owned());
    }
    if status.controller.observe_only {
        say("the daemon runs with --observe: drift is only told".to_owned());
    }
    if !status.controller.is_leader {
        say("this process is a standby: another one writes".to_owned());
    }
    for fault in &status.manifests.faults {
        say(format!("fault: {}:{}:{}: {}", fault.file, fault.line, fault.column, fault.message));
    }
    let unlisted = status.manifests.fault_count.saturating_sub(status.manifests.faults.len());
    if unlisted > 0 {
        say(format!("and {unlisted} more faults"));
    }
    for account in &status.accounts {
        troubles(account).into_iter().for_each(&mut say);
    }
    let rows: Vec<Row> =
        status.accounts.iter().flat_map(|account| account.roles.iter().map(|role| row(account, role, now))).collect();
    if rows.is_empty() {
        text.push_str("there is no role to show\n");
    } else {
        text.push_str(&table(&rows));
    }
    text.push_str(&hints(status));
    text
}

/// The next step for each reason that stands, once.
fn hints(status: &Status) -> String {
    let mut hints = BTreeMap::new();
    for role in status.accounts.iter().flat_map(|account| &account.roles).filter(|role| role.needs_a_person()) {
        let session = role.condition("SessionReady").map(|session| session.reason.as_str());
        let what = role.reason.as_deref().or(session).unwrap_or_default();
        if let Some(hint) = &role.hint {
            hints.entry(what).or_insert(hint);
        }
    }
    hints.into_iter().map(|(what, hint)| format!("hint: {}: {}\n", printable(what), printable(hint))).collect()
}

/// What stands in the way of a whole account.
fn troubles(account: &AccountStatus) -> Vec<String> {
    let id = &account.account;
    let why = account.message.clone().unwrap_or_default();
    let mut troubles = match account.state {
        AccountState::Kept => Vec::new(),
        AccountState::Entering => vec![format!("account {id}: not entered so far")],
        AccountState::NotEntered => vec![format!("account {id} cannot be entered: {why}")],
        AccountState::ReadFailed => vec![format!("account {id} cannot be read: {why}")],
        AccountState::Silent => vec![why],
    };
    troubles.extend(account.hint.iter().map(|hint| format!("  hint: {hint}")));
    if account.suspended {
        troubles.push(format!("account {id} is suspended: nothing is written there"));
    }
    if let Some(held) = &account.held {
        troubles.push(format!("account {id} has a plan beyond its guards: {}", held.excess));
        troubles.push(format!("  hint: {}", held.hint));
    }
    troubles
}

fn rows(status: &Status) -> BTreeMap<Whose, Row> {
    let of = |account: &AccountStatus| {
        let row = |role: &RoleStatus| {
            ((account.account.clone(), role.role.clone(), role.policy.clone()), row(account, role, None))
        };
        account.roles.iter().map(row).collect::<Vec<_>>()
    };
    status.accounts.iter().flat_map(of).collect()
}

/// One policy. Without a time, the moment stands in place of how long ago it was, so that equal rows stay equal.
fn row(account: &AccountStatus, role: &RoleStatus, now: Option<Timestamp>) -> Row {
    let (synced, ready) = (role.condition("Synced"), role.condition("SessionReady"));
    let word = |condition: Option<&crate::status::ConditionStatus>| match condition {
        Some(condition) if condition.status == "True" => "True".to_owned(),
        Some(condition) => format!("{} {}", condition.status, condition.reason),
        None => "Unknown".to_owned(),
    };
    let since = synced.map_or_else(String::new, |synced| {
        let at: Option<Timestamp> = synced.last_transition_time.parse().ok();
        let ago = at.zip(now).and_then(|(at, now)| Duration::try_from(now.duration_since(at)).ok());
        ago.map_or_else(|| synced.last_transition_time.clone(), span)
    });
    let is_wrong = |condition: &&crate::status::ConditionStatus| condition.status != "True";
    let why = match (&role.message, synced.filter(is_wrong).or(ready.filter(is_wrong))) {
        _ if role.has_drifted() && !role.diff.is_empty() => {
            let blocked = role.reason.as_ref().filter(|_| role.action == "blocked");
            let blocked = blocked.map(|reason| format!("blocked, {reason}")).into_iter();
            let lines = role.diff.iter().map(|line| format!("{} {}", line.change, line.text));
            blocked.chain(lines).collect::<Vec<_>>().join("; ")
        }
        (Some(message), _) => message.clone(),
        (None, Some(condition)) => condition.message.clone(),
        (None, None) => String::new(),
    };
    [account.account.clone(), role.role.clone(), role.mode.clone(), word(synced), word(ready), since, why]
        .map(|cell| printable(&cell).to_string())
}

/// Aligned columns; the last one as long as it is, up to what a person reads.
fn table(rows: &[Row]) -> String {
    // A person's screen has an end; what reads a pipe wants all of it.
    let longest = if std::io::stdout().is_terminal() { 160 } else { usize::MAX };
    let titles = TITLES.map(str::to_owned);
    let length = |cell: &String| cell.chars().count();
    let all = || std::iter::once(&titles).chain(rows);
    let widths: Vec<usize> =
        (0..6).map(|column| all().map(|row| length(&row[column])).max().unwrap_or_default()).collect();
    let mut text = String::new();
    for row in all() {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - length(cell) + 2));
        }
        let why = &row[6];
        line.extend(why.chars().take(longest));
        if length(why) > longest {
            line.push('…');
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
