//! What the controller is measured against: a process that reads the same pages with the SDK's own paginator, and drops
//! them. It is this very benchmark, started with a word for it.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use aws_config::{BehaviorVersion, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_iam::types::EntityType;

use crate::process::{Usage, command};

/// The word.
pub(crate) const COMMAND: &str = "drain";

/// As many accounts as the controller reads at a time.
const AT_ONCE: usize = 8;

/// For each line of standard input drains the account as often as it says, and answers with how many roles there were.
///
/// The client, its timeouts, the runtime, and how many accounts are read at a time are like the controller's.
pub(crate) fn serve(endpoint: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(3))
        .operation_attempt_timeout(Duration::from_secs(25))
        .operation_timeout(Duration::from_secs(55))
        .build();
    let config = runtime.block_on(
        aws_config::defaults(BehaviorVersion::v2026_01_12())
            .endpoint_url(endpoint)
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .timeout_config(timeouts)
            .load(),
    );
    let client = aws_sdk_iam::Client::new(&config);
    for line in std::io::stdin().lock().lines() {
        let times: usize = line?.parse()?;
        let readers: Vec<_> = (0..AT_ONCE.min(times))
            .map(|reader| runtime.spawn(drain(client.clone(), (reader..times).step_by(AT_ONCE).len())))
            .collect();
        let mut roles = 0;
        for reader in readers {
            roles += runtime.block_on(reader)??;
        }
        println!("{roles}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

async fn drain(client: aws_sdk_iam::Client, times: usize) -> anyhow::Result<usize> {
    let mut roles = 0;
    for _ in 0..times {
        let details = client.get_account_authorization_details().filter(EntityType::Role).max_items(1000);
        let mut pages = details.into_paginator().send();
        while let Some(page) = pages.try_next().await? {
            roles += page.role_detail_list().len();
        }
    }
    Ok(roles)
}

/// The process, from outside.
pub(crate) struct Drain {
    process: Child,
    asked: ChildStdin,
    answered: BufReader<ChildStdout>,
}

impl Drain {
    pub(crate) fn start(endpoint: &str) -> anyhow::Result<Self> {
        let mut process = command(&std::env::current_exe()?, endpoint)
            .arg(COMMAND)
            .arg(endpoint)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let asked = process.stdin.take().context("no standard input")?;
        let answered = BufReader::new(process.stdout.take().context("no standard output")?);
        Ok(Self { process, asked, answered })
    }

    /// Drains an account of so many roles once.
    pub(crate) fn pass(&mut self, roles: usize) -> anyhow::Result<()> {
        self.passes(1, roles)
    }

    /// Drains so many accounts of so many roles in all.
    pub(crate) fn passes(&mut self, accounts: usize, roles: usize) -> anyhow::Result<()> {
        writeln!(self.asked, "{accounts}")?;
        let mut answer = String::new();
        self.answered.read_line(&mut answer)?;
        ensure!(answer.trim() == roles.to_string(), "{roles} roles are there, and {} were drained", answer.trim());
        Ok(())
    }

    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        Usage::of(self.process.id())
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
