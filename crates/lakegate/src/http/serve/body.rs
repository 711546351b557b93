//! A response body that reports whether the client takes it. On HTTP/2 the body is cut into small pieces for this; on
//! HTTP/1.1 the socket shows it.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::connection_state::RequestGuard;

/// The largest piece on HTTP/2 in bytes, which is the size of a frame. Progress within a piece is not visible.
const MAX_PIECE_BYTES: usize = 16 << 10;

/// A body that reports progress to its [`RequestGuard`].
pub(super) struct WatchedBody {
    inner: Body,
    /// The rest of the last piece.
    rest: Bytes,
    guard: RequestGuard,
}

impl WatchedBody {
    pub(super) fn new(inner: Body, guard: RequestGuard) -> Self {
        // From now on the server waits for the client.
        guard.blocked_on_client();
        Self { inner, rest: Bytes::new(), guard }
    }

    fn next_piece(&mut self) -> Option<Frame<Bytes>> {
        let piece = self.rest.split_to(self.rest.len().min(MAX_PIECE_BYTES));
        (!piece.is_empty()).then(|| Frame::data(piece))
    }
}

impl hyper::body::Body for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.guard.progressed();
        if let Some(piece) = self.next_piece() {
            self.guard.blocked_on_client();
            return Poll::Ready(Some(Ok(piece)));
        }
        let frame = match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => frame,
            other => return other,
        };
        self.guard.blocked_on_client();
        match frame.into_data() {
            Ok(data) if data.len() > MAX_PIECE_BYTES && self.guard.is_multiplexed() => {
                self.rest = data;
                Poll::Ready(self.next_piece().map(Ok))
            }
            Ok(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Err(other) => Poll::Ready(Some(Ok(other))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, inner) = (self.rest.len() as u64, self.inner.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}
