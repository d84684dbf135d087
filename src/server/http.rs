//! Connections: how many at once, how long each, how large a request.
//!
//! What must stay true: whoever connects can hold up neither the other endpoints nor the reconciling, however slow they
//! are and whatever they send.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Purpose, answers};
use crate::status::Board;

/// So many are served at once; others wait to be accepted.
const MOST_CONNECTIONS: usize = 64;
/// How long somebody may take to send the head of a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection lives: whoever reads too slowly is cut off, a browser connects again.
const LIFETIME: Duration = Duration::from_secs(60);
/// So large the head of a request may be.
const LARGEST_HEAD_BYTES: usize = 16 * 1024;

/// Answers on this listener until `shutdown`.
pub(super) async fn serve(listener: TcpListener, purpose: Arc<Purpose>, board: Board, shutdown: CancellationToken) {
    let connections = TaskTracker::new();
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(seat) = Arc::clone(&room).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (purpose, board, shutdown) = (Arc::clone(&purpose), board.clone(), shutdown.clone());
                connections.spawn(async move {
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        _ = timeout(LIFETIME, connection(stream, &purpose, &board)) => {}
                    }
                    drop(seat);
                });
            }
            // Out of descriptors, most likely: they come back when connections close.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
    connections.close();
    connections.wait().await;
}

async fn connection(stream: TcpStream, purpose: &Purpose, board: &Board) {
    let _ = stream.set_nodelay(true);
    let respond = |request: Request<Incoming>| async move {
        Ok::<Response<Full<Bytes>>, Infallible>(answers::respond(purpose, board, &request).await)
    };
    // What a client does wrong is its own affair: nothing is told, lest it fill the log.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(LARGEST_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service_fn(respond))
        .await;
}
