//! What a controller at rest costs, and how soon it acts: the program as it is released, in a process of its own,
//! against an IAM endpoint (the sandbox) in this one. Prints a table; see the README beside it.
//!
//! Times are printed and never judged, since they are the machine's too. Counts of calls are judged: a wrong one ends
//! the benchmark with a status other than zero.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing figures is all that a benchmark is for")]

mod drain;
mod fleet;
mod organization;
mod process;
mod scale;
mod table;

use std::{collections::BTreeMap, fs, process::ExitCode, time::Duration};

use anyhow::{Context, ensure};
use ssm_role_controller::sandbox::Sandbox;
use tokio::time::{Instant, sleep};

use self::{
    drain::Drain,
    fleet::{Documents, Fleet, POLICY},
    process::{Controller, Usage},
    table::Table,
};

const BULK: &str = "GetAccountAuthorizationDetails";
const READ: &str = "GetRolePolicy";
const WRITE: &str = "PutRolePolicy";

/// Longer than anything here takes that does not hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// The parts, by the names that `cargo bench -- NAME…` takes.
const PARTS: [&str; 8] = ["calls", "save", "cpu", "readiness", "memory", "growth", "scale", "throttle"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ended = match &arguments[..] {
        [command, endpoint] if command == drain::COMMAND => drain::serve(endpoint),
        _ => bench(&arguments),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(arguments: &[String]) -> anyhow::Result<()> {
    // Cargo adds options of its own, such as `--bench`.
    let named: Vec<&str> = arguments.iter().map(String::as_str).filter(|word| !word.starts_with('-')).collect();
    if let Some(unknown) = named.iter().find(|name| !PARTS.contains(name)) {
        anyhow::bail!("there is no part `{unknown}`; the parts are {}", PARTS.join(", "));
    }
    let wanted = |part: &str| named.is_empty() || named.contains(&part);
    let runtime = tokio::runtime::Runtime::new()?;
    let mut table = Table::open();
    runtime.block_on(async {
        if wanted("calls") {
            calls(&mut table).await.context("calls")?;
        }
        if wanted("save") {
            save(&mut table).await.context("save")?;
        }
        if wanted("cpu") {
            cpu(&mut table).await.context("cpu")?;
        }
        if wanted("readiness") {
            readiness(&mut table).await.context("readiness")?;
        }
        if wanted("memory") {
            memory(&mut table).await.context("memory")?;
        }
        if wanted("growth") {
            scale::growth(&mut table).await.context("growth")?;
        }
        if wanted("scale") {
            scale::scale(&mut table).await.context("scale")?;
        }
        if wanted("throttle") {
            scale::throttle(&mut table).await.context("throttle")?;
        }
        anyhow::Ok(())
    })
}

/// How many calls of each operation there were.
fn counted(sandbox: &Sandbox) -> BTreeMap<&'static str, u64> {
    sandbox.counts().into_iter().map(|(operation, count)| (operation, count.calls)).collect()
}

fn calls_of(sandbox: &Sandbox, operation: &str) -> u64 {
    sandbox.counts().get(operation).map_or(0, |count| count.accepted)
}

/// Waits for `more` calls of an operation beyond those that there are, and for what follows from their answers.
async fn after(sandbox: &Sandbox, operation: &str, more: u64) -> anyhow::Result<()> {
    let until = calls_of(sandbox, operation) + more;
    let patience = Instant::now() + PATIENCE;
    while calls_of(sandbox, operation) < until {
        ensure!(Instant::now() < patience, "no {operation} came: {:?}", counted(sandbox));
        sleep(Duration::from_millis(2)).await;
    }
    sleep(Duration::from_millis(300)).await;
    Ok(())
}

/// What a pass over roles in sync asks IAM, and what one drifted role adds.
async fn calls(table: &mut Table) -> anyhow::Result<()> {
    const PASSES: u64 = 5;
    let fleet = Fleet::start(1000, Documents::Five, "1s").await?;
    let sandbox = &fleet.sandbox;
    let controller = Controller::start(&fleet)?;
    after(sandbox, BULK, 2).await?;

    sandbox.clear_calls();
    after(sandbox, BULK, PASSES).await?;
    let steady = counted(sandbox);
    table.row("calls of a steady pass, 1,000 roles", &format!("{BULK}: 1"), "that");
    ensure!(steady == BTreeMap::from([(BULK, PASSES)]), "{PASSES} steady passes made these calls: {steady:?}");

    // The policies that AWS makes are known by then; the account's own come with one listing more.
    fleet.attach_own();
    after(sandbox, BULK, 4).await?;
    sandbox.clear_calls();
    after(sandbox, BULK, 2 * PASSES).await?;
    let steady = counted(sandbox);
    table.row("the same where roles carry a policy of the account's own", &format!("{BULK}: 2"), "those");
    ensure!(steady.keys().eq([&BULK]), "steady passes made these calls: {steady:?}");

    drop(controller);

    // Whoever reads everything again within twenty seconds of a write has it looked at once more.
    let fleet = Fleet::start(1000, Documents::Five, "30s").await?;
    let sandbox = &fleet.sandbox;
    let _controller = Controller::start(&fleet)?;
    after(sandbox, BULK, 1).await?;
    sandbox.clear_calls();
    let role = fleet::role(7);
    ensure!(sandbox.remove_policy(&fleet.account, &role, POLICY), "there is no {role}");
    after(sandbox, WRITE, 1).await?;
    after(sandbox, BULK, 1).await?;
    let mut repair = counted(sandbox);
    repair.remove(BULK);
    table.row("calls that one drifted role adds", &format!("{READ}: 1, {WRITE}: 1"), "those");
    ensure!(repair == BTreeMap::from([(READ, 1), (WRITE, 1)]), "one drifted role added these calls: {repair:?}");
    Ok(())
}

/// From the end of a file's save to the arrival of the write that it makes due; and the cost of doing nothing.
async fn save(table: &mut Table) -> anyhow::Result<()> {
    const SAVES: usize = 30;
    const IDLE: Duration = Duration::from_secs(30);
    const FLIPPED: &str = "flipped";
    // One page together with the role whose manifest is saved again and again.
    let fleet = Fleet::start(999, Documents::Five, "24h").await?;
    fleet.add_bare(FLIPPED);
    let sandbox = &fleet.sandbox;
    let file = fleet.config_dir().join("flipped.yaml");
    fs::write(&file, fleet::flipped(FLIPPED, 0))?;
    let controller = Controller::start(&fleet)?;
    after(sandbox, WRITE, 1).await?;

    let mut taken = Vec::new();
    for save in 1..=SAVES {
        sandbox.clear_calls();
        fs::write(&file, fleet::flipped(FLIPPED, save))?;
        let saved = sandbox.now();
        after(sandbox, WRITE, 1).await?;
        let made = counted(sandbox);
        ensure!(made == BTreeMap::from([(BULK, 1), (READ, 1), (WRITE, 1)]), "one save made these calls: {made:?}");
        let arrived = sandbox.calls().into_iter().find(|call| call.operation == WRITE).context("no write was kept")?.at;
        taken.push(arrived.saturating_sub(saved).as_secs_f64() * 1000.0);
        // Off the beat of whatever ticks.
        sleep(Duration::from_millis(u64::try_from(save * 37 % 101)?)).await;
    }
    taken.sort_by(f64::total_cmp);
    let at = |part: usize| taken[(taken.len() * part / 100).min(taken.len() - 1)];
    table.row(
        "save to write, 1,000 roles, 30 saves",
        &format!("median {:.0} ms, p90 {:.0} ms, max {:.0} ms", at(50), at(90), at(100)),
        "median < 300 ms",
    );

    sandbox.clear_calls();
    let before = controller.usage()?;
    sleep(IDLE).await;
    let made = counted(sandbox);
    table.row(
        "30 s of idling between passes, 1,000 roles",
        &format!("{:.2} s of CPU, {} calls", controller.usage()?.cpu_since(&before), made.values().sum::<u64>()),
        "near 0, none",
    );
    ensure!(made.is_empty(), "calls were made between two passes: {made:?}");
    Ok(())
}

/// The CPU of a steady pass against that of draining the same pages with the SDK's own paginator.
///
/// They take turns, so that whatever else the machine does hits both, and neither disturbs the other. Nothing is
/// subtracted from either.
async fn cpu(table: &mut Table) -> anyhow::Result<()> {
    const ROUNDS: u32 = 40;
    for documents in [Documents::Five, Documents::Distinct] {
        let fleet = Fleet::start(1000, documents, "1s").await?;
        let sandbox = &fleet.sandbox;
        let bytes = fleet.page_bytes().await?;
        let controller = Controller::start(&fleet)?;
        let mut drain = Drain::start(&fleet.endpoint())?;
        for _ in 0..2 {
            after(sandbox, BULK, 1).await?;
            drain.pass(1000)?;
        }
        let (before, drained_before) = (controller.usage()?, drain.usage()?);
        sandbox.clear_calls();
        for _ in 0..ROUNDS {
            after(sandbox, BULK, 1).await?;
            drain.pass(1000)?;
        }
        let (pass, drained) = (controller.usage()?.cpu_since(&before), drain.usage()?.cpu_since(&drained_before));
        let made = counted(sandbox);
        let passes = f64::from(ROUNDS);
        table.row(
            &format!("CPU of a steady pass, 1,000 roles, {documents}, {:.1} MB", bytes as f64 / 1e6),
            &format!(
                "{:.2} × draining ({:.1} against {:.1} ms)",
                pass / drained,
                pass / passes * 1000.0,
                drained / passes * 1000.0
            ),
            "≤ 1.3 ×",
        );
        ensure!(
            made == BTreeMap::from([(BULK, u64::from(ROUNDS) * 2)]),
            "{ROUNDS} passes and as many drains made these calls: {made:?}"
        );
    }
    Ok(())
}

/// What readiness costs: the CPU of passes over 5,000 roles in which nothing changed, and of passes before each of which a
/// managed policy that all of them carry got a new version, so that every role is judged anew.
///
/// Where nothing changed, the figure is all that the controller does with a role beyond what draining its page costs; where
/// everything did, it is what such a pass costs more than the others. Both hold more than readiness alone.
async fn readiness(table: &mut Table) -> anyhow::Result<()> {
    const ROLES: usize = 5000;
    const ROUNDS: usize = 12;
    // Five pages of roles, and one of the account's own policies.
    const CALLS: u64 = 6;
    let fleet = Fleet::start(ROLES, Documents::Five, "4s").await?;
    fleet.attach_own();
    let sandbox = &fleet.sandbox;
    let controller = Controller::start(&fleet)?;
    let mut drain = Drain::start(&fleet.endpoint())?;
    for _ in 0..2 {
        after(sandbox, BULK, CALLS).await?;
        drain.pass(ROLES)?;
    }
    let micros_per_role = |seconds: f64| seconds / ROUNDS as f64 / ROLES as f64 * 1e6;
    let (before, drained_before) = (controller.usage()?, drain.usage()?);
    for _ in 0..ROUNDS {
        after(sandbox, BULK, CALLS).await?;
        drain.pass(ROLES)?;
    }
    let (steady, drained) = (controller.usage()?.cpu_since(&before), drain.usage()?.cpu_since(&drained_before));
    let before = controller.usage()?;
    for round in 1..=ROUNDS {
        fleet.change_own(round);
        after(sandbox, BULK, CALLS).await?;
        drain.pass(ROLES)?;
    }
    let changed = controller.usage()?.cpu_since(&before);
    table.row(
        "readiness of 5,000 roles, nothing changed",
        &format!("{:.1} µs a role", micros_per_role(steady - drained)),
        "< 10 µs",
    );
    table.row(
        "readiness of 5,000 roles, everything changed",
        &format!("{:.1} µs a role", micros_per_role(changed - steady)),
        "< 200 µs",
    );
    let writes = calls_of(sandbox, WRITE);
    ensure!(writes == 0, "{writes} writes were made to roles in sync");
    Ok(())
}

/// Resident memory once some passes went by.
async fn memory(table: &mut Table) -> anyhow::Result<()> {
    for (roles, documents, passes, to_reach) in [
        (100, Documents::Five, 10, "< 30 MB"),
        (1000, Documents::Five, 10, ""),
        (5000, Documents::Five, 15, "< 100 MB"),
        (5000, Documents::Distinct, 15, "< 100 MB"),
    ] {
        let fleet = Fleet::start(roles, documents, "1s").await?;
        let controller = Controller::start(&fleet)?;
        let pages = u64::try_from(roles.div_ceil(1000))?;
        after(&fleet.sandbox, BULK, passes * pages).await?;
        sleep(Duration::from_millis(300)).await;
        let Usage { resident, peak, .. } = controller.usage()?;
        table.row(
            &format!("resident memory, {roles} roles, {documents}"),
            &format!("{resident:.1} MB (peak {peak:.1} MB)"),
            to_reach,
        );
    }
    Ok(())
}
