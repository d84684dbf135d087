//! Which path is answered with what.
//!
//! What must stay true: nothing is changed by any request, and nothing of a request comes back in an answer.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{
    Method, Request, Response, StatusCode,
    header::{
        ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, HeaderValue,
        REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
    },
};

use super::{
    Purpose,
    access::{Access, Denied},
    metrics,
};
use crate::status::{Board, Detail};

/// The page's three files, and nothing from anywhere else.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

pub(super) type Answer = Response<Full<Bytes>>;

/// Answers a request.
pub(super) async fn respond<B>(purpose: &Purpose, board: &Board, request: &Request<B>) -> Answer {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut answer =
            text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered: nothing can be changed here\n");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    match (purpose, request.uri().path()) {
        (Purpose::Health, "/livez") => health(board.alive().await),
        (Purpose::Health, "/readyz") => health(board.ready().await),
        (Purpose::Health, _) => not_found("/livez and /readyz"),
        (Purpose::Metrics, "/metrics") => {
            let reports = board.accounts(Detail::Counts).await;
            match metrics::text(board, &reports) {
                Ok(metrics) => answer(StatusCode::OK, metrics::CONTENT_TYPE, metrics.into()),
                Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written\n"),
            }
        }
        (Purpose::Metrics, _) => not_found("/metrics"),
        (Purpose::Status(access), path) => status(access, board, path, request).await,
    }
}

async fn status<B>(access: &Access, board: &Board, path: &str, request: &Request<B>) -> Answer {
    let header = |name: HeaderName| request.headers().get(name);
    // In HTTP/1.1 the host may also stand in the target itself, which then counts.
    let host = request.uri().authority().map(|authority| authority.as_str());
    let host = host.or_else(|| header(HOST).and_then(|host| host.to_str().ok()));
    if access.admits_host(host).is_err() {
        return text(
            StatusCode::MISDIRECTED_REQUEST,
            "this is not a host that the status is served for\nhint: ask by IP address or localhost, or name the host with --status-host\n",
        );
    }
    match path {
        "/" => page("text/html; charset=utf-8", include_str!("page/page.html")),
        "/page.css" => page("text/css; charset=utf-8", include_str!("page/page.css")),
        "/page.js" => page("text/javascript; charset=utf-8", include_str!("page/page.js")),
        "/status" => match access.admits(header(AUTHORIZATION).map(HeaderValue::as_bytes)).await {
            Ok(()) => match serde_json::to_vec(&board.status().await) {
                Ok(document) => answer(StatusCode::OK, JSON, document.into()),
                Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the status cannot be written\n"),
            },
            Err(Denied::TokenUnknown) => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the token cannot be read, so nobody is let in\nhint: see --status-token-file, and the log\n",
            ),
            Err(Denied::NoToken | Denied::Misdirected) => {
                let mut answer = text(StatusCode::UNAUTHORIZED, "a bearer token is asked for\n");
                answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                answer
            }
        },
        _ => not_found("/ and /status"),
    }
}

fn health(verdict: Result<(), String>) -> Answer {
    match verdict {
        Ok(()) => text(StatusCode::OK, "ok\n"),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{why}\n")),
    }
}

fn page(content_type: &'static str, file: &'static str) -> Answer {
    answer(StatusCode::OK, content_type, Bytes::from_static(file.as_bytes()))
}

fn not_found(what: &str) -> Answer {
    text(StatusCode::NOT_FOUND, &format!("there is nothing here but {what}\n"))
}

fn text(status: StatusCode, said: &str) -> Answer {
    answer(status, TEXT, Bytes::copy_from_slice(said.as_bytes()))
}

fn answer(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CONTENT_SECURITY_POLICY, PAGE_POLICY),
    ] {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}
