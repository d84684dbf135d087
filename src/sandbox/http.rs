//! The sandbox over HTTP: AWS's Query protocol for IAM and STS, and the control path beside it.
//!
//! Knows requests and answers, and how a connection can misbehave. Signatures are not checked, but a call must carry one:
//! the access key id in it says whose it is. What must stay true: no bytes that arrive can panic the server, nor make it
//! hold more than [`LARGEST_BODY`] of one request.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    Method, Request as HttpRequest, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{AUTHORIZATION, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Sandbox, Shape,
    body::{Payload, cut, response},
    calls::request_id,
    control,
    query::{self, Service},
    wire::Refusal,
    xml,
};

/// The largest body that is read: the largest document that IAM takes, percent-encoded, and room to spare.
const LARGEST_BODY: usize = 1 << 20;

/// How long a client may take over the head or the body of a request. Longer than clients keep idle connections.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long calls under way may still take when the server is asked to stop.
const FAREWELL: Duration = Duration::from_secs(1);

impl Sandbox {
    /// Serves the sandbox on a listener until it is told to stop: calls under way then have a second to end.
    ///
    /// # Errors
    /// Where the listener cannot tell its own address.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
        let address = listener.local_addr()?;
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(self.clone(), stream, address, stop.clone()));
                }
                // Out of descriptors, most likely: they come back when connections close.
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
        drop(listener);
        connections.close();
        connections.wait().await;
        Ok(())
    }
}

async fn connection(sandbox: Sandbox, stream: TcpStream, address: SocketAddr, stop: CancellationToken) {
    // Answers go out in one piece; waiting for more of them would only slow them down.
    let _ = stream.set_nodelay(true);
    let reset = Arc::new(AtomicBool::new(false));
    let service = {
        let reset = reset.clone();
        service_fn(move |request| respond(sandbox.clone(), address, reset.clone(), request))
    };
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    {
        let mut served = Pin::new(&mut connection);
        tokio::select! {
            _ = served.as_mut() => {}
            () = stop.cancelled() => {
                served.as_mut().graceful_shutdown();
                // Whoever hangs on is cut off: dropping the connection closes it.
                let _ = timeout(FAREWELL, served).await;
            }
        }
    }
    if reset.load(Ordering::Relaxed) {
        let _ = connection.into_parts().io.into_inner().set_zero_linger();
    }
}

async fn respond(
    sandbox: Sandbox,
    address: SocketAddr,
    reset: Arc<AtomicBool>,
    request: HttpRequest<Incoming>,
) -> Result<Response<Payload>, io::Error> {
    let (head, body) = request.into_parts();
    let body = match timeout(PATIENCE, Limited::new(body, LARGEST_BODY).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Ok(turn_away(&Refusal::new(413, "RequestEntityTooLarge", "Request size exceeded 1 MiB")));
        }
        // The client went away in the middle, or never ends: there is nobody to answer.
        Ok(Err(_)) | Err(_) => return Err(io::Error::other("half a request")),
    };
    if head.uri.path().starts_with(control::PATH) {
        return Ok(control::respond(&sandbox, address, &head, &body));
    }
    if head.method != Method::POST || head.uri.path() != "/" {
        let refusal = Refusal::new(400, "InvalidAction", "the sandbox takes calls as POST / with a form");
        return Ok(turn_away(&refusal));
    }
    let authorization = head.headers.get(AUTHORIZATION).map(HeaderValue::to_str);
    let identity = match access_key_id(authorization.and_then(Result::ok)) {
        Ok(key) => sandbox.identify(key),
        Err(refusal) => Err(refusal),
    };
    let (identity, call) = match identity.and_then(|identity| Ok((identity, query::parse(&body)?))) {
        Ok(both) => both,
        Err(refusal) => return Ok(turn_away(&refusal)),
    };
    let operation = call.operation();
    let reply = sandbox.call(&identity, &call).await;
    match reply.shape {
        Shape::Hang => std::future::pending().await,
        Shape::Reset => {
            reset.store(true, Ordering::Relaxed);
            return Err(io::Error::from(io::ErrorKind::ConnectionReset));
        }
        Shape::Html => {
            let page = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Sign in to the network.</body></html>\n";
            return Ok(response(StatusCode::OK, "text/html", Bytes::from_static(page.as_bytes())));
        }
        Shape::Whole | Shape::Cut => {}
    }
    let id = reply.request_id;
    let mut answer = match reply.result {
        Ok(answer) => response(StatusCode::OK, "text/xml", xml::answer(operation, &answer, &id).into()),
        Err(refusal) => refuse(Service::of(operation), &refusal, &id),
    };
    if let Ok(id) = HeaderValue::from_str(&id) {
        answer.headers_mut().insert("x-amzn-requestid", id);
    }
    Ok(if reply.shape == Shape::Cut { answer.map(cut) } else { answer })
}

/// The access key id in the `Authorization` header of signature version 4.
fn access_key_id(authorization: Option<&str>) -> Result<&str, Refusal> {
    let Some(authorization) = authorization else {
        return Err(Refusal::new(403, "MissingAuthenticationToken", "Request is missing Authentication Token"));
    };
    let scope = authorization
        .strip_prefix("AWS4-HMAC-SHA256 ")
        .and_then(|fields| fields.split(',').find_map(|field| field.trim().strip_prefix("Credential=")));
    scope.and_then(|scope| scope.split('/').next()).filter(|key| !key.is_empty()).ok_or_else(|| {
        let message = "Authorization header requires 'Credential' parameter with an access key id.";
        Refusal::new(400, "IncompleteSignature", message)
    })
}

/// Refuses what is no call: it has no number, so its id is counted from the other end.
fn turn_away(refusal: &Refusal) -> Response<Payload> {
    static NUMBER: AtomicU64 = AtomicU64::new(u64::MAX);
    refuse(Service::Iam, refusal, &request_id(NUMBER.fetch_sub(1, Ordering::Relaxed)))
}

fn refuse(service: Service, refusal: &Refusal, request_id: &str) -> Response<Payload> {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response(status, "text/xml", xml::refusal(service, refusal, request_id).into())
}
