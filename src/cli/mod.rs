//! The command line: one file a command, and the only room that prints.
//!
//! What must stay true: data goes to standard output, faults and logs to standard error, and the exit status
//! says what the table in the README says.

pub mod apply;
pub mod controller_policy;
pub mod demo;
pub mod election;
pub mod explain;
pub mod generate;
pub mod import;
pub mod plan;
mod reads;
pub mod render;
pub mod run;
pub mod sandbox;
pub mod schema;
pub mod status;
mod survey;
pub mod validate;

use std::{
    env,
    future::Future,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use tokio_util::sync::CancellationToken;

use crate::{
    controller::Shard,
    iam::Budgets,
    manifest::{Fault, ManifestSet},
    names::{AccountId, RoleName},
    plan::Digest,
    server::{Endpoints, ListenAddress},
    telemetry::LogFormat,
    watch::{self, ScanError},
};

/// Keeps existing IAM roles able to use Session Manager, as manifests in Git say, and nothing more.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Arguments {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What is to be done.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes, before or after its name.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The directory of manifests
    #[arg(long, global = true, value_name = "DIR", default_value = "config")]
    pub config: PathBuf,
    /// The file that holds the ControllerConfiguration, outside the reach of those who write manifests
    #[arg(long, global = true, value_name = "FILE")]
    pub controller_config: Option<PathBuf>,
    /// Write nothing, whatever the manifests say
    #[arg(long, global = true)]
    pub observe: bool,
    /// The directory that keeps each account's last hour of writes, which guards count, and used approvals, across
    /// restarts and commands (default: $STATE_DIRECTORY, as systemd sets it; without one each process counts its own)
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// How many requests a second each account is asked at most, all kinds together: half of them writes, half of them
    /// reads about single roles, a quarter pages; after a pause some ten seconds' worth may go at once. A throttle of IAM's
    /// halves it for a while
    #[arg(long, global = true, value_name = "N", default_value_t = Budgets::REQUESTS_PER_SECOND, value_parser = value_parser!(u32).range(1..=100_000))]
    pub requests_per_second: u32,
    /// How lines of log look (default: text on a terminal, json elsewhere)
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show every fault of every manifest, offline
    Validate {
        /// How faults are printed
        #[arg(long, short, value_name = "FORMAT", default_value = "text")]
        output: validate::Output,
    },
    /// Print the policy documents as JSON, offline
    Render(Filter),
    /// Read IAM and show each drift; writes nothing, ever
    Plan {
        /// How the plan is printed
        #[arg(long, short, value_name = "FORMAT", default_value = "text")]
        output: plan::Output,
        /// Tell which reading of IAM was chosen, what each would cost, and how many calls were made
        #[arg(long)]
        explain_reads: bool,
        /// Exit with status 3 where all is in sync, but a session would not surely work with each role
        #[arg(long)]
        require_ready: bool,
        /// Which roles
        #[command(flatten)]
        filter: Filter,
    },
    /// Say whether a session would work with a role, and if not, what stands in the way; writes nothing, ever
    Explain {
        /// How it is printed
        #[arg(long, short, value_name = "FORMAT", default_value = "text")]
        output: Output,
        /// Ask IAM's policy simulator too (iam:SimulatePrincipalPolicy), which knows service control policies
        #[arg(long)]
        simulate: bool,
        /// The role, one that a manifest names or a selector may pick
        #[arg(value_name = "ROLE")]
        role: RoleName,
        /// Only in this account
        #[arg(long, value_name = "ID")]
        account: Option<AccountId>,
    },
    /// One pass: repair what has drifted, then end
    Apply {
        /// Carry out exactly the plan of this digest, whatever the guards say; `plan` and the event guard.held tell it
        #[arg(long, value_name = "DIGEST", conflicts_with_all = ["role", "account"])]
        approve: Option<Digest>,
        /// Which roles
        #[command(flatten)]
        filter: Filter,
    },
    /// The daemon: watch the manifests and IAM, tell drift and repair it, until SIGTERM or SIGINT
    Run {
        /// Keep only the I-th of N equal shares of the accounts, from 0 on; I may be a pod's name that ends with its ordinal
        #[arg(long, value_name = "I/N")]
        shard: Option<Shard>,
        /// What can be asked over HTTP
        #[command(flatten)]
        endpoints: Endpoints,
        /// Whether a leader is elected
        #[command(flatten)]
        election: election::Arguments,
    },
    /// Ask a running daemon how every role stands
    Status(status::Asking),
    /// Write manifests for the roles that carry a Session Manager policy already: to standard output; it only reads IAM
    Import(Filter),
    /// Print the least IAM policy that the controller itself needs for the manifests, offline
    ControllerPolicy(controller_policy::Rights),
    /// Print the JSON Schema of the manifests, for editors
    Schema,
    /// Print the completions of a shell
    Completions {
        /// Which shell
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
    /// Write a manual page for each command
    Man {
        /// The directory to write to
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Show it all without an AWS account: an IAM endpoint in the process, roles that drift, repairs
    Demo {
        /// What can be asked over HTTP
        #[command(flatten)]
        endpoints: Endpoints,
    },
    /// The demo's IAM endpoint alone
    Sandbox {
        /// Where to listen: PORT (of this machine alone) or IP:PORT; port 0 takes a free one
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4566")]
        listen: ListenAddress,
    },
}

/// Which of the managed roles a command is about.
#[derive(Debug, Clone, Default, Args)]
pub struct Filter {
    /// Only this role
    #[arg(long, value_name = "ROLE")]
    pub role: Option<RoleName>,
    /// Only this account
    #[arg(long, value_name = "ID")]
    pub account: Option<AccountId>,
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// The stable document.
    Json,
}

/// How a command ended, where it ended without an error that is still to be told.
pub type Ended = anyhow::Result<u8>;

/// Everything is as it should be.
pub(crate) const OK: u8 = 0;
/// A fault, a failure, or a wrong command line.
pub(crate) const FAILED: u8 = 1;
/// Drift was found.
pub(crate) const DRIFT: u8 = 2;
/// All is in sync, and a session would not surely work with each role.
pub(crate) const NOT_READY: u8 = 3;

/// Prints what clap has to say: help and version succeed, a wrong command line is an error like any other.
#[must_use]
pub fn usage(error: &clap::Error) -> ExitCode {
    // Where even this cannot be printed there is nobody left to tell.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { FAILED } else { OK })
}

/// Tells an error on standard error, and turns the end of a command into its exit status.
#[must_use]
pub fn exit_code(ended: Ended) -> ExitCode {
    match ended {
        Ok(status) => ExitCode::from(status),
        Err(error) if is_broken_pipe(&error) => ExitCode::from(FAILED),
        Err(error) => {
            complain(&format!("error: {error:#}"));
            if let Some(error) = error.downcast_ref::<ScanError>() {
                complain(&format!("hint: {}", error.hint()));
            }
            ExitCode::from(FAILED)
        }
    }
}

/// Runs an asynchronous command to its end.
pub fn block_on<F: Future<Output = Ended>>(command: F) -> Ended {
    // One worker beside this thread: the program waits far more than it computes. And a reading holds tens of
    // megabytes for a moment, which the C library's allocator keeps for the thread that asked for them: with more
    // workers each of them would come to hold as much.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("the asynchronous runtime cannot be started")?;
    let ended = runtime.block_on(command);
    // File work that hangs on a dead mount must not hold up the end.
    runtime.shutdown_background();
    ended
}

/// Whoever read standard output has gone: not worth a word.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Prints data.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// Prints a fault or a remark, on standard error.
pub(crate) fn complain(text: &str) {
    // Where standard error is closed there is nobody left to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// The manifests, for the commands that refuse to go on while there is any fault. `None` where there was one: all
/// of them were told.
pub(crate) fn faultless_manifests(global: &Global) -> anyhow::Result<Option<ManifestSet>> {
    let loaded = watch::load(&global.config, global.controller_config.as_deref())?;
    if loaded.faults.is_empty() {
        return Ok(Some(loaded.set));
    }
    tell_faults(&loaded.faults);
    Ok(None)
}

/// Prints every fault, and how many there are.
pub(crate) fn tell_faults(faults: &[Fault]) {
    for fault in faults {
        complain(&format!("{fault}\n"));
    }
    complain(&count_of(faults));
}

/// How many faults there are, those that are not told among them.
pub(crate) fn count_of(faults: &[Fault]) -> String {
    match faults.iter().map(|fault| fault.stands_for).sum() {
        1 => "1 fault".to_owned(),
        several => format!("{several} faults"),
    }
}

impl Global {
    /// The state directory: what the command line says, else the first one that systemd made.
    pub(crate) fn state_dir(&self) -> Option<PathBuf> {
        let made =
            || env::split_paths(&env::var_os("STATE_DIRECTORY")?).next().filter(|path| !path.as_os_str().is_empty());
        self.state_dir.clone().or_else(made)
    }

    /// How fast each account is asked.
    pub(crate) fn budgets(&self) -> Budgets {
        Budgets::of(self.requests_per_second)
    }
}

impl Filter {
    pub(crate) fn is_empty(&self) -> bool {
        self.role.is_none() && self.account.is_none()
    }

    /// Whether all of an account's plan is asked for, which can be approved.
    pub(crate) fn is_whole_account(&self) -> bool {
        self.role.is_none()
    }

    /// What the filter names, for a message.
    pub(crate) fn in_words(&self) -> String {
        match (&self.role, &self.account) {
            (Some(role), Some(account)) => format!("the role {role} in account {account}"),
            (Some(role), None) => format!("the role {role}"),
            (None, Some(account)) => format!("account {account}"),
            (None, None) => "any role".to_owned(),
        }
    }
}

/// A token that is cancelled by SIGTERM or SIGINT.
pub(crate) fn until_signal() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be listened for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be listened for")?;
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        token.cancel();
    });
    Ok(shutdown)
}
