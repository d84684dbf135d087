//! What many accounts cost, and what an account costs that throttles.

use std::{collections::BTreeMap, time::Duration};

use anyhow::ensure;
use ssm_role_controller::sandbox::{Effect, Fault};
use tokio::time::{Instant, sleep};

use crate::{
    BULK, READ, WRITE, after, calls_of, counted,
    drain::Drain,
    fleet::{self, Documents, Fleet, POLICY},
    organization::{Organization, ROLES},
    process::{Controller, Usage},
    table::Table,
};

/// Longer than any pass over a million roles on a slow machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// What passes over an organisation took: all of it.
struct Passes {
    /// Seconds of CPU a pass.
    controller: f64,
    /// The same of draining the same pages.
    drain: f64,
    usage: Usage,
}

/// Takes so many passes over so many accounts, and drains as many pages: half of them before and half of them after, so
/// that a machine that becomes slower does so for both.
async fn passes(accounts: usize, resync: &str, rounds: usize) -> anyhow::Result<Passes> {
    let organization = Organization::start(accounts, resync).await?;
    let pages = u64::try_from(accounts * rounds)?;
    let mut drain = Drain::start(&organization.endpoint())?;
    let mut drained = 0.0;
    let mut drain_half = || -> anyhow::Result<()> {
        drain.pass(ROLES)?;
        let before = drain.usage()?;
        for _ in 0..rounds / 2 {
            drain.passes(accounts, accounts * ROLES)?;
        }
        drained += drain.usage()?.cpu_since(&before);
        Ok(())
    };
    drain_half()?;

    let controller = Controller::start_at(&organization.endpoint(), &organization.fleet)?;
    organization.take_counts();
    // Twice everything: AWS's own policies are fetched, and whatever grows has grown.
    let warm = bulk(&organization, u64::try_from(accounts * 2)?).await;
    warm.map_err(|error| error.context(controller.said()))?;
    let before = controller.usage()?;
    organization.take_counts();
    bulk(&organization, pages).await?;
    let usage = controller.usage()?;
    let made = organization.take_counts();
    ensure!(made.keys().eq([BULK]), "steady passes made these calls: {made:?}");
    // What came meanwhile beyond the pages that were waited for: a few at most.
    let passes = made[BULK] as f64 / accounts as f64;
    let took = usage.cpu_since(&before) / passes;
    drop(controller);
    drain_half()?;
    Ok(Passes { controller: took, drain: drained / rounds as f64, usage })
}

/// Waits for so many bulk reads.
async fn bulk(organization: &Organization, pages: u64) -> anyhow::Result<()> {
    let patience = Instant::now() + PATIENCE;
    while organization.count(BULK) < pages {
        ensure!(Instant::now() < patience, "{} of {pages} pages were read", organization.count(BULK));
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// A thousand accounts of a thousand roles each, or as many as `ACCOUNTS` says.
pub(crate) async fn scale(table: &mut Table) -> anyhow::Result<()> {
    let accounts = std::env::var("ACCOUNTS").map_or(Ok(1000), |accounts| accounts.parse())?;
    let Passes { controller, drain, usage } = passes(accounts, "60s", 2).await?;
    table.row(
        &format!("CPU of a pass over {accounts} accounts of 1,000 roles"),
        &format!("{controller:.1} s"),
        "< 60 s",
    );
    let ratio = controller / drain;
    table.row("the same against draining", &format!("{ratio:.2} × draining ({drain:.1} s)"), "≤ 1.3 ×");
    let Usage { resident, peak, .. } = usage;
    table.row("resident memory, the same", &format!("{resident:.0} MB (peak {peak:.0} MB)"), "< 600 MB");
    Ok(())
}

/// How cost grows with roles, and with manifests for the same roles.
pub(crate) async fn growth(table: &mut Table) -> anyhow::Result<()> {
    for (accounts, resync, rounds) in [(1, "1s", 40), (10, "2s", 20), (100, "10s", 6)] {
        let Passes { controller, drain, usage } = passes(accounts, resync, rounds).await?;
        let roles = accounts * ROLES;
        let a_role = controller / roles as f64 * 1e6;
        table.row(
            &format!("a pass over {roles} roles in accounts of 1,000"),
            &format!("{a_role:.1} µs a role, {:.2} × draining, {:.0} MB", controller / drain, usage.resident),
            "linear",
        );
    }
    for documents in [Documents::Five, Documents::FiveOf(10), Documents::FiveOf(1)] {
        const MANY: usize = 10_000;
        const ROUNDS: u64 = 10;
        let fleet = Fleet::start(MANY, documents, "3s").await?;
        let pages = u64::try_from(MANY / ROLES)?;
        let controller = Controller::start(&fleet)?;
        after(&fleet.sandbox, BULK, 2 * pages).await?;
        let before = controller.usage()?;
        after(&fleet.sandbox, BULK, ROUNDS * pages).await?;
        let usage = controller.usage()?;
        let a_role = usage.cpu_since(&before) / ROUNDS as f64 / MANY as f64 * 1e6;
        table.row(
            &format!("a pass over {MANY} roles of one account, {documents}"),
            &format!("{a_role:.1} µs a role, {:.0} MB", usage.resident),
            "equal",
        );
    }
    Ok(())
}

/// What it takes to repair an account that accepts five calls a second.
pub(crate) async fn throttle(table: &mut Table) -> anyhow::Result<()> {
    const DRIFTED: usize = 600;
    const WARM_UP: Duration = Duration::from_secs(60);
    /// Less than any of the documents that are wanted.
    const LESS: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ssmmessages:CreateDataChannel","Resource":"*"}]}"#;
    let fleet = Fleet::start(ROLES, Documents::Five, "30s").await?;
    fleet.raise_guards("30s")?;
    let sandbox = &fleet.sandbox;
    let roles: Vec<String> = (0..DRIFTED).map(fleet::role).collect();
    for role in &roles {
        ensure!(sandbox.write_policy(&fleet.account, role, POLICY, LESS), "there is no {role}");
    }
    sandbox.fault(Fault::new(Effect::Throttle).beyond(5.0, 5));
    let is_drifted = |role: &&String| sandbox.document(&fleet.account, role, POLICY).is_none_or(|live| live == LESS);
    let controller = Controller::start(&fleet)?;
    sleep(WARM_UP).await;

    let (accepted_before, asked_before) = (accepted(&fleet), counted(sandbox));
    let left = roles.iter().filter(is_drifted).count();
    let start = Instant::now();
    while roles.iter().any(|role| is_drifted(&role)) {
        ensure!(
            start.elapsed() < PATIENCE,
            "{} are drifted still: {}",
            roles.iter().filter(is_drifted).count(),
            controller.said()
        );
        sleep(Duration::from_millis(20)).await;
    }
    let took = start.elapsed();
    let made: BTreeMap<&str, u64> = accepted(&fleet)
        .into_iter()
        .map(|(operation, count)| (operation, count - accepted_before.get(operation).copied().unwrap_or(0)))
        .filter(|(_, count)| *count > 0)
        .collect();
    let asked: u64 = counted(sandbox).values().sum::<u64>() - asked_before.values().sum::<u64>();
    let all: u64 = made.values().sum();
    // A confirming read and a write for each, and the pages that show whether there is more to be done.
    let least = 2 * u64::try_from(left)? + made.get(BULK).copied().unwrap_or(0);
    table.row(
        &format!("5 calls a second, {left} roles to repair after a minute"),
        &format!("{all} calls accepted, {:+.1} % ({} refused)", (all as f64 / least as f64 - 1.0) * 100.0, asked - all),
        "+5 %",
    );
    table.row(
        "the same: time, of which five a second take",
        &format!("{:.0} s, {:.0} s ({made:?})", took.as_secs_f64(), least as f64 / 5.0),
        "",
    );
    ensure!(calls_of(sandbox, WRITE) >= u64::try_from(DRIFTED)? && calls_of(sandbox, READ) > 0, "no repairs were made");
    Ok(())
}

fn accepted(fleet: &Fleet) -> BTreeMap<&'static str, u64> {
    fleet.sandbox.counts().into_iter().map(|(operation, count)| (operation, count.accepted)).collect()
}
