//! Processes under measurement, and what the kernel says of them.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::Context;
use tempfile::NamedTempFile;

use crate::fleet::Fleet;

/// The kernel's clock ticks a second in /proc, the same on every machine that this is built for.
const TICKS: f64 = 100.0;

/// What a process took so far.
pub(crate) struct Usage {
    cpu: f64,
    /// Megabytes of memory.
    pub(crate) resident: f64,
    /// The most that were resident at any time.
    pub(crate) peak: f64,
}

impl Usage {
    /// Of a process that runs.
    pub(crate) fn of(id: u32) -> anyhow::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).context("the process has ended")?;
        // The name in parentheses may hold anything; user and system time are the 14th and 15th field.
        let rest = stat.rsplit_once(')').context("/proc has another form")?.1;
        let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let megabytes = |field: &str| -> anyhow::Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(field)).with_context(|| field.to_owned())?;
            Ok(line.split_whitespace().nth(1).context("a size")?.parse::<f64>()? * 1024.0 / 1e6)
        };
        Ok(Self { cpu: ticks / TICKS, resident: megabytes("VmRSS")?, peak: megabytes("VmHWM")? })
    }

    /// Seconds of CPU, of all threads, since an earlier moment.
    pub(crate) fn cpu_since(&self, earlier: &Self) -> f64 {
        self.cpu - earlier.cpu
    }
}

/// Makes a program talk to an endpoint, and to nothing else of this machine's.
pub(crate) fn command(program: &Path, endpoint: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ENDPOINT_URL", endpoint)
        .stdin(Stdio::null());
    command
}

/// The controller, as the daemon. Killed when it is dropped; if something went wrong, see what it said.
pub(crate) struct Controller {
    process: Child,
    log: NamedTempFile,
}

impl Controller {
    /// Starts it on the fleet's manifests and endpoint.
    pub(crate) fn start(fleet: &Fleet) -> anyhow::Result<Self> {
        Self::start_at(&fleet.endpoint(), fleet)
    }

    /// Starts it on the fleet's manifests and another endpoint.
    pub(crate) fn start_at(endpoint: &str, fleet: &Fleet) -> anyhow::Result<Self> {
        let log = NamedTempFile::new()?;
        let said: File = log.reopen()?;
        let process = command(Path::new(env!("CARGO_BIN_EXE_ssm-role-controller")), endpoint)
            .arg("run")
            .arg("--config")
            .arg(fleet.config_dir())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .context("the controller cannot be started")?;
        Ok(Self { process, log })
    }

    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        Usage::of(self.process.id()).with_context(|| self.said())
    }

    /// The end of its log.
    pub(crate) fn said(&self) -> String {
        let said = fs::read_to_string(self.log.path()).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(20).collect();
        last.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
