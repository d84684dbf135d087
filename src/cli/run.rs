//! `run`: the daemon. Files in, a controller at work, events out.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use jiff::Timestamp;
use sd_notify::NotifyState;
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{Ended, Global, OK, election, until_signal};
use crate::{
    controller::{Controller, Options, Shard},
    events::{Exchange, listen},
    iam::{Iam, SdkIam},
    manifest::ManifestSet,
    server::{self, Endpoints},
    status::Board,
    telemetry::{Event, EventName, emit},
    watch::{Change, Notice, ScanError, Watcher},
};

/// How often the files are read where nothing told of a change.
const TICK: Duration = Duration::from_secs(10);

/// How often systemd is told how the roles stand, where that has changed.
const STATUS_LINE: Duration = Duration::from_secs(5);

/// Watches the manifests and IAM until SIGTERM or SIGINT.
///
/// # Errors
///
/// Where the manifests cannot be read at the start, where the ControllerConfiguration has a fault, or where nothing
/// is good, or where a leader is to be elected and nobody can be asked.
pub async fn run(
    global: &Global,
    shard: Option<Shard>,
    endpoints: &Endpoints,
    election: &election::Arguments,
) -> Ended {
    endpoints.check().map_err(anyhow::Error::msg)?;
    let shutdown = until_signal()?;
    let seed = fastrand::u64(..);
    let (leadership, candidacy) = election::stand(election, seed).await?;
    let options = Options {
        observe_only: global.observe,
        state_dir: global.state_dir(),
        seed,
        shard,
        leadership,
        budgets: global.budgets(),
        ..Options::default()
    };
    // A stop is heard also while the environment, or a dead mount, is slow to answer.
    let kept = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        iam = SdkIam::from_environment() => {
            let exchange = Exchange::default();
            let listening = listen(iam.config().clone(), exchange.clone(), options.seed, shutdown.clone());
            let listening = tokio::spawn(listening);
            let kept = keep(iam, exchange, global, options, endpoints, shutdown.clone()).await;
            listening.abort();
            kept
        }
    };
    // Nothing is written any more: somebody else may.
    candidacy.end().await;
    kept?;
    Ok(OK)
}

/// Keeps the roles as the manifests say until `shutdown`: the daemon, whatever stands behind `iam` and `exchange`.
pub(super) async fn keep<I: Iam>(
    iam: I,
    exchange: Exchange,
    global: &Global,
    options: Options,
    endpoints: &Endpoints,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let board = Board::default();
    let shard = options.shard.map(|shard| shard.to_string());
    board.set_up(shard, options.observe_only, options.leadership.clone());
    // Before anything else: whoever looks at a process that does not get on wants to know why.
    let serving = tokio::spawn(server::serve(endpoints.clone(), board.clone(), shutdown.clone()));
    let started = tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        started = Watcher::start(&global.config, global.controller_config.as_deref(), TICK) => started,
    };
    let (mut watcher, first) = started.context("the manifests cannot be read")?;
    tell(&first, &board, &global.config);
    let set = fit_to_start(first, &global.config)?;
    let (sender, manifests) = watch::channel(set);
    let (seen, directory) = (board.clone(), global.config.clone());
    let watching = tokio::spawn(async move {
        loop {
            let change = watcher.changed().await;
            tell(&change, &seen, &directory);
            if let Some(verdict) = change.verdict {
                sender.send_replace(verdict.set);
            }
        }
    });
    notify_service_manager(&[NotifyState::Ready]);
    let watchdog = tokio::spawn(service_manager(board.clone()));
    let stopping = shutdown.clone();
    let kept = tokio::select! {
        () = Controller::new(iam, manifests, options).woken_by(exchange).seen_on(board).run(shutdown) => Ok(()),
        // A controller that no longer hears of its manifests must not go on as if they stood.
        ended = watching => Err(anyhow::anyhow!("the watching of the manifests ended: {:?}", ended.err().map(|e| e.to_string()))),
    };
    watchdog.abort();
    stopping.cancel();
    notify_service_manager(&[NotifyState::Stopping]);
    // Whoever was promised an answer gets it, as far as it takes no time.
    let _ = serving.await;
    kept
}

/// Tells systemd, for ever, that the process works, and in one line how the roles stand.
async fn service_manager(board: Board) {
    let watched_every = sd_notify::watchdog_enabled();
    // Half of it, as sd_watchdog_enabled(3) wants it.
    let every = watched_every.map_or(STATUS_LINE, |patience| (patience / 2).min(STATUS_LINE));
    let mut told = String::new();
    loop {
        sleep(every).await;
        if watched_every.is_some() && board.alive().await.is_ok() {
            notify_service_manager(&[NotifyState::Watchdog]);
        }
        let line = board.line().await;
        if line != told {
            notify_service_manager(&[NotifyState::Status(&line)]);
            told = line;
        }
    }
}

/// The manifests to start with: what is good. Told faults are refused only where they leave no ground to stand on.
fn fit_to_start(first: Change, config: &Path) -> anyhow::Result<Arc<ManifestSet>> {
    let verdict = first.verdict.context("the manifests were not read")?;
    anyhow::ensure!(
        !verdict.rejected.iter().any(|rejected| rejected.is_configuration),
        "the ControllerConfiguration has a fault, and nothing is done on a guess\nhint: `validate` shows the fault in full"
    );
    if verdict.set.permissions().is_empty() && verdict.set.configuration().is_none() {
        if first.notices.contains(&Notice::Empty) {
            return Err(ScanError::Empty(config.to_owned()).into());
        }
        anyhow::bail!("no manifest is good\nhint: `validate` shows every fault in full");
    }
    Ok(verdict.set)
}

/// Tells what happened to the files.
fn tell(change: &Change, board: &Board, directory: &Path) {
    for notice in &change.notices {
        let name = match notice {
            Notice::Polling(_) => EventName::WatchDegraded,
            Notice::Watching => EventName::WatchRestored,
            Notice::Vanished(_) | Notice::Empty => EventName::ManifestsVanished,
            Notice::Returned => EventName::ManifestsReturned,
        };
        match notice {
            Notice::Vanished(why) => board.manifests_vanished(directory, Some(why.clone())),
            Notice::Returned => board.manifests_vanished(directory, None),
            Notice::Empty | Notice::Polling(_) | Notice::Watching => {}
        }
        emit(&Event::new(name, notice.to_string()));
    }
    let Some(verdict) = &change.verdict else { return };
    board.take_manifests(verdict, Timestamp::now());
    for rejected in &verdict.rejected {
        let stands =
            if rejected.in_force { "its last good version stays in force" } else { "nothing of this file is in force" };
        for fault in &rejected.faults {
            emit(&Event {
                manifest: Some(rejected.file.clone()),
                line: u64::try_from(fault.place.line).ok(),
                column: u64::try_from(fault.place.column).ok(),
                path: Some(fault.path.clone()).filter(|path| !path.is_empty()),
                hint: fault.hint.clone(),
                ..Event::new(EventName::ManifestRejected, format!("{}; {stands}", fault.headline()))
            });
        }
    }
    if verdict.configuration_kept {
        emit(&Event {
            hint: Some("save one with the settings that you want; a restart forgets the old one".to_owned()),
            ..Event::new(
                EventName::ConfigurationKept,
                "the ControllerConfiguration is gone: its last version stays in force until there is another",
            )
        });
    }
    for (names, name, what) in [
        (&verdict.accepted, EventName::ManifestAccepted, "is in force"),
        (&verdict.removed, EventName::ManifestRemoved, "is gone: what only it asked for is released"),
    ] {
        for file in names {
            emit(&Event { manifest: Some(file.clone()), ..Event::new(name, format!("{file} {what}")) });
        }
    }
}

/// Tells systemd how it stands; nobody listens elsewhere.
fn notify_service_manager(state: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(state);
}
