//! What the daemon can be asked over HTTP: health, metrics, status, and the status page.
//!
//! ```text
//!  mod.rs       which endpoints there are, each with its own port; a port that is taken is tried again
//!  http.rs      connections: how many, how long, how large
//!  access.rs    who may read the status: the Host header, the token
//!  answers.rs   which path is answered with what
//!  metrics.rs   the board in OpenMetrics' text
//!  page/        the status page: three files, no request to any other host
//! ```
//!
//! Knows the board, and nothing of how a decision is made. Read-only. What must stay true: nothing that happens here
//! disturbs the reconciling, and what names roles is given to nobody off this machine without a token.

mod access;
mod answers;
mod http;
mod metrics;

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use tokio::{net::TcpListener, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use self::access::Access;
use crate::{
    status::Board,
    telemetry::{Event, EventName, emit},
};

/// How often it is tried again to take a port, or to read a token.
const AGAIN: Duration = Duration::from_secs(5);

/// Where an endpoint listens: `PORT` is a port of this machine's own address, `IP:PORT` any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenAddress(SocketAddr);

impl ListenAddress {
    /// The address and the port.
    #[must_use]
    pub fn socket(self) -> SocketAddr {
        self.0
    }

    /// Whether nobody off this machine can reach it.
    #[must_use]
    pub fn is_loopback(self) -> bool {
        self.0.ip().is_loopback()
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let port = text.parse::<u16>().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        port.or_else(|_| text.parse()).map(Self).map_err(|_| {
            format!("`{text}` is neither a port, as 8081 (then of this machine alone), nor an IP address with one, as 0.0.0.0:8081")
        })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Which endpoints there are. None by default.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Endpoints {
    /// Answer GET /livez and /readyz here: PORT (of this machine alone) or IP:PORT
    #[arg(long, value_name = "ADDR")]
    pub health_listen: Option<ListenAddress>,
    /// Answer GET /metrics here, as OpenMetrics text; no role is named in it
    #[arg(long, value_name = "ADDR")]
    pub metrics_listen: Option<ListenAddress>,
    /// Show the status page and GET /status here; off this machine only with --status-token-file
    #[arg(long, value_name = "ADDR")]
    pub status_listen: Option<ListenAddress>,
    /// The file with the bearer token that /status asks for; not everybody may read the file
    #[arg(long, value_name = "FILE", requires = "status_listen")]
    pub status_token_file: Option<PathBuf>,
    /// A name under which the status page is reached, beside IP addresses and localhost; any number of times
    #[arg(long, value_name = "NAME", requires = "status_listen")]
    pub status_host: Vec<String>,
}

impl Endpoints {
    /// Whether they may be served as they are.
    ///
    /// # Errors
    ///
    /// Where the status would be shown to other machines without a token.
    pub fn check(&self) -> Result<(), String> {
        match self.status_listen {
            Some(address) if !address.is_loopback() && self.status_token_file.is_none() => Err(format!(
                "the status names roles, and {address} can be reached from other machines\n\
                 hint: give a token with --status-token-file, or listen on this machine alone: --status-listen {}",
                address.0.port()
            )),
            _ => Ok(()),
        }
    }
}

/// What an endpoint is for.
#[derive(Debug)]
enum Purpose {
    Health,
    Metrics,
    Status(Access),
}

impl fmt::Display for Purpose {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Health => "health",
            Self::Metrics => "metrics",
            Self::Status(_) => "status",
        })
    }
}

/// Serves the endpoints until `shutdown`; what cannot be served is told and tried again.
pub async fn serve(endpoints: Endpoints, board: Board, shutdown: CancellationToken) {
    let Endpoints { health_listen, metrics_listen, status_listen, status_token_file, status_host } = endpoints;
    let access = Access::new(status_token_file, status_host);
    let wanted = [
        health_listen.map(|address| (address, Purpose::Health)),
        metrics_listen.map(|address| (address, Purpose::Metrics)),
        status_listen.map(|address| (address, Purpose::Status(access))),
    ];
    let mut serving = JoinSet::new();
    for (address, purpose) in wanted.into_iter().flatten() {
        serving.spawn(keep_serving(address, purpose, board.clone(), shutdown.clone()));
    }
    while serving.join_next().await.is_some() {}
}

async fn keep_serving(address: ListenAddress, purpose: Purpose, board: Board, shutdown: CancellationToken) {
    let mut told: Option<String> = None;
    let listener = loop {
        match open(address, &purpose).await {
            Ok(listener) => break listener,
            Err(trouble) => {
                if told.as_ref() != Some(&trouble.why) {
                    emit(&Event {
                        hint: Some(trouble.hint),
                        ..Event::new(
                            EventName::EndpointFailed,
                            format!(
                                "the {purpose} endpoint cannot be served on {address}: {}; roles are kept all the same",
                                trouble.why
                            ),
                        )
                    });
                    told = Some(trouble.why);
                }
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(AGAIN) => {}
        }
    };
    let at = listener.local_addr().unwrap_or(address.0);
    let what = match purpose {
        Purpose::Health => format!("http://{at}/livez and /readyz"),
        Purpose::Metrics => format!("http://{at}/metrics"),
        Purpose::Status(_) => format!("http://{at}/"),
    };
    emit(&Event::new(EventName::EndpointListening, format!("the {purpose} endpoint answers on {what}")));
    http::serve(listener, purpose.into(), board, shutdown).await;
}

/// Why an endpoint cannot be served.
struct Trouble {
    why: String,
    hint: String,
}

async fn open(address: ListenAddress, purpose: &Purpose) -> Result<TcpListener, Trouble> {
    if let Purpose::Status(access) = purpose {
        access.check().await.map_err(|why| Trouble { why, hint: access::HINT.to_owned() })?;
    }
    TcpListener::bind(address.0).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Trouble {
            why: "the port is taken".to_owned(),
            hint: "end the process that listens there, or choose another port (each endpoint has its own); it is tried again every few seconds".to_owned(),
        },
        io::ErrorKind::AddrNotAvailable => Trouble {
            why: "it is no address of this machine".to_owned(),
            hint: format!("choose one of this machine's, or {} for all of them", IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        },
        io::ErrorKind::PermissionDenied => {
            Trouble { why: "the system does not allow it".to_owned(), hint: "choose a port from 1024 on".to_owned() }
        }
        _ => Trouble { why: error.to_string(), hint: "choose another address".to_owned() },
    })
}
