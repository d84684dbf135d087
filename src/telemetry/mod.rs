//! Logs: the events that the daemon tells, how a line looks, and how many there were.
//!
//! Does not know how a decision is made. What must stay true: every event goes through [`emit`], under a name of
//! the catalogue ([`EventName`]), and whatever text it carries, it is one line.

#[cfg(test)]
mod captured;
mod counters;
mod event;
mod format;

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

#[cfg(test)]
pub(crate) use self::captured::Captured;
pub(crate) use self::counters::{begin, register};
pub use self::event::{Event, EventName, Severity, TimedCondition, emit};
use self::format::Lines;

/// How lines of log look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, all fields at the top level.
    Json,
}

/// Sends the program's events to standard error: as text on a terminal and as JSON elsewhere, unless said
/// otherwise. `RUST_LOG` filters as usual; the SDK's own events are left out unless it asks for them.
pub fn init(format: Option<LogFormat>) {
    let terminal = std::io::stderr().is_terminal();
    let format = format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json });
    let colour = terminal && std::env::var_os("NO_COLOR").is_none();
    // Fails only where a subscriber is set already, which then serves as well.
    let _ = tracing::subscriber::set_global_default(subscriber(format, colour, std::io::stderr));
}

/// What turns events into lines on a writer.
pub(crate) fn subscriber<W>(format: LogFormat, colour: bool, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("off,ssm_role_controller=info"));
    filtered(filter, format, colour, writer)
}

/// The same for the events that a filter lets through.
pub(crate) fn filtered<W>(
    filter: EnvFilter,
    format: LogFormat,
    colour: bool,
    writer: W,
) -> impl Subscriber + Send + Sync
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        // Else a log that cannot be written would be reported by a print that panics where nothing can be printed.
        .log_internal_errors(false)
        .event_format(Lines { format, colour })
        .finish()
}
