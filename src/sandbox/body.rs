//! The bodies of the sandbox's answers: whole, or broken off in the middle.
//!
//! Knows nothing of what they say. What must stay true: one that breaks off has promised all of its bytes, so that a client
//! can tell.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use http_body_util::{BodyExt, Either, Full};
use hyper::{
    Response, StatusCode,
    body::{Body, Bytes, Frame, SizeHint},
    header::{CONTENT_TYPE, HeaderValue},
};

/// The body of an answer: whole, or one that breaks off.
pub(super) type Payload = Either<Full<Bytes>, Cut>;

/// An answer of this status, its body whole.
pub(super) fn response(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Payload> {
    let mut response = Response::new(Either::Left(Full::new(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A body that promises all of its bytes and breaks off after half of them.
pub(super) struct Cut {
    promised: u64,
    half: Option<Bytes>,
}

/// The same, breaking off.
pub(super) fn cut(whole: Payload) -> Payload {
    let promised = whole.size_hint().lower();
    let bytes = match whole {
        Either::Left(full) => full.collect(),
        Either::Right(cut) => return Either::Right(cut),
    };
    // A body that lies in memory is collected at once.
    let bytes = match std::pin::pin!(bytes).poll(&mut Context::from_waker(std::task::Waker::noop())) {
        Poll::Ready(Ok::<_, Infallible>(collected)) => collected.to_bytes(),
        Poll::Ready(Err(_)) | Poll::Pending => Bytes::new(),
    };
    Either::Right(Cut { promised, half: Some(bytes.slice(..bytes.len() / 2)) })
}

impl Body for Cut {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(Some(match self.half.take() {
            Some(half) => Ok(Frame::data(half)),
            None => Err(io::Error::from(io::ErrorKind::BrokenPipe)),
        }))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.promised)
    }
}
