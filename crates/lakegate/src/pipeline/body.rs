//! Streams the response body. The first rows are held back until the query is known to work; the rest is streamed.
//!
//! A failure while rows are held still returns a proper status. A later failure cuts the connection, so that a broken
//! response never looks complete.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use lakegate_core::error::{Code, Error};
use lakegate_core::format::Coding;
use lakegate_query::encode::Encoder;
use lakegate_query::engine::BatchStream;
use tokio::sync::mpsc;
use tokio::time::{timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use crate::context::RequestContext;
use crate::response_cache::{CachedResponse, CompleteResponse, Flight};

/// Bytes held back before the status is sent. A smaller response is complete, and known to be good, by then.
const MAX_HELD_BYTES: usize = 256 * 1024;

/// Bytes held back of a response with a limit on rows or bytes, so that a response over the limit is refused with a
/// status and not cut. A capped response larger than this is still cut. Held bytes count against the query's share of
/// memory; when the share is used up, less is held.
const MAX_HELD_BYTES_WHEN_CAPPED: usize = 16 * 1024 * 1024;

/// The time that rows buffered in an encoder wait for more rows before they are flushed.
const FLUSH_AFTER: Duration = Duration::from_secs(1);

/// Pulls the first rows and builds the response, without the headers that describe it. Also returns the compression of
/// the body. A response that is complete by then is shared with the requests that wait for it (single flight).
pub async fn start(
    rows: BatchStream,
    encoder: Box<dyn Encoder>,
    context: Arc<RequestContext>,
    shared: Option<SharedFlight>,
) -> Result<(Response, Option<Coding>), Error> {
    let is_small = |most: u64| most <= MAX_HELD_BYTES_WHEN_CAPPED as u64;
    let is_bounded = rows.max_rows().is_some() || rows.max_result_bytes().is_some_and(is_small);
    let most_held = if is_bounded { MAX_HELD_BYTES_WHEN_CAPPED } else { MAX_HELD_BYTES };
    let most_held = most_held.max(shared.as_ref().map_or(0, |shared| shared.flight.max_response_bytes()));
    let is_truncated = rows.is_truncated();
    let mut pieces = Pieces {
        rows,
        encoder: Some(encoder),
        context: Arc::clone(&context),
        coding: None,
        is_streaming: false,
        is_flushed: true,
    };
    let (mut held, mut held_rows) = (BytesMut::new(), 0);
    while held.len() < most_held && pieces.rows.holds(held.len()) {
        match pieces.next().await? {
            Some(piece) => {
                held.extend_from_slice(&piece.bytes);
                held_rows += piece.rows;
            }
            None => {
                context.sent(held_rows, held.len());
                let body = held.freeze();
                if let Some(SharedFlight { flight, next }) = shared {
                    let (body, coding, rows) = (body.clone(), pieces.coding, held_rows);
                    flight.publish(CompleteResponse { body, coding, rows, is_truncated, next });
                }
                return Ok((head(Body::from(body), is_truncated), pieces.coding));
            }
        }
    }
    // The response is too large to be kept, so waiting requests run themselves, now and not after it is sent.
    drop(shared);
    // The held bytes belong to the connection from here on.
    let _ = pieces.rows.holds(0);
    context.starts_to_stream().await?;
    let coding = pieces.coding;
    pieces.is_streaming = true;
    let first = stream::iter([Ok(Piece { bytes: held.freeze(), rows: held_rows })]);
    let all = first.chain(rest(pieces, Arc::clone(&context)));
    let body = Body::from_stream(all.map(move |piece| {
        let Piece { bytes, rows } = piece?;
        context.sent(rows, bytes.len());
        Ok::<_, io::Error>(bytes)
    }));
    Ok((head(body, is_truncated), coding))
}

/// A 200 response. Truncation is known by now, so the header goes out before the first row.
fn head(body: Body, is_truncated: bool) -> Response {
    let mut response = Response::new(body);
    if is_truncated {
        response.headers_mut().insert("lakegate-truncated", HeaderValue::from_static("true"));
    }
    response
}

/// The single flight that other requests wait for, and the cursor of the next page.
pub struct SharedFlight {
    /// The flight.
    pub flight: Flight,
    /// The cursor of the next page.
    pub next: Option<String>,
}

/// The response for a kept result, and its compression. Reports the rows and bytes.
pub fn cached_response(cached: &CachedResponse, context: &RequestContext) -> (Response, Option<Coding>) {
    context.sent(cached.response.rows, cached.response.body.len());
    let CompleteResponse { body, coding, is_truncated, .. } = &cached.response;
    (head(Body::from(body.clone()), *is_truncated), *coding)
}

/// Streams what follows the held rows. A task produces it one piece ahead of the client, so that the query ends at its
/// deadline even if the client stops reading; no client holds a query slot by not reading. Dropping the stream ends the
/// task.
fn rest(pieces: Pieces, context: Arc<RequestContext>) -> impl Stream<Item = io::Result<Piece>> + Send {
    let (sender, receiver) = mpsc::channel(1);
    let of_task = Arc::clone(&context);
    let task = AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = make(pieces, &sender).await {
            // Recorded here, because the stream is not polled again if the client does not read on.
            of_task.cut(Some(&error)).await;
        }
    }));
    // The client does not see this error, which only cuts the connection. The log has the reason.
    let incomplete = || io::Error::other("the answer is not complete");
    stream::unfold(Some((receiver, task, context)), move |state| async move {
        let (mut receiver, task, context) = state?;
        match receiver.recv().await {
            Some(Some(piece)) => Some((Ok(piece), Some((receiver, task, context)))),
            // A response that cannot be recorded must not look complete.
            Some(None) => context.completed().await.err().map(|_| (Err(incomplete()), None)),
            None => {
                context.cut(None).await;
                Some((Err(incomplete()), None))
            }
        }
    })
}

/// Sends the pieces, and `None` once the body is complete.
async fn make(mut pieces: Pieces, sender: &mpsc::Sender<Option<Piece>>) -> Result<(), Error> {
    let deadline = pieces.rows.deadline();
    while let Some(piece) = pieces.next().await? {
        match timeout_at(deadline.into(), sender.send(Some(piece))).await {
            Ok(Ok(())) => {}
            // The client has disconnected.
            Ok(Err(_)) => return Ok(()),
            Err(_) => {
                return Err(Error::new(
                    Code::EngineTimedOut,
                    "the client did not read the answer within the time limit",
                ));
            }
        }
    }
    // The query is over; the client may take its time to read the rest.
    drop(pieces);
    let _ = sender.send(None).await;
    Ok(())
}

/// Encoded bytes, and the number of rows since the previous piece.
struct Piece {
    bytes: Bytes,
    rows: u64,
}

/// The encoded pieces of a body; no piece is empty.
struct Pieces {
    rows: BatchStream,
    /// `None` after the end of the body.
    encoder: Option<Box<dyn Encoder>>,
    context: Arc<RequestContext>,
    /// The compression of the pieces returned so far.
    coding: Option<Coding>,
    /// Whether pieces go to the client immediately.
    is_streaming: bool,
    /// Whether the encoder was flushed since the last rows.
    is_flushed: bool,
}

impl Pieces {
    async fn next(&mut self) -> Result<Option<Piece>, Error> {
        let mut rows = 0;
        while let Some(encoder) = &mut self.encoder {
            let next = if self.is_streaming && !self.is_flushed {
                timeout(FLUSH_AFTER, self.rows.next()).await
            } else {
                Ok(self.rows.next().await)
            };
            let bytes = match next {
                Ok(batch) => match batch? {
                    Some(batch) => {
                        rows += batch.num_rows() as u64;
                        self.is_flushed = false;
                        let bytes = self.context.timer.encode(|| encoder.write(&batch))?;
                        self.coding = encoder.coding();
                        bytes
                    }
                    None => self.finish().await?,
                },
                Err(_) => {
                    self.is_flushed = true;
                    encoder.flush()?
                }
            };
            if !bytes.is_empty() {
                return Ok(Some(Piece { bytes, rows }));
            }
        }
        Ok(None)
    }

    async fn finish(&mut self) -> Result<Bytes, Error> {
        let Some(mut encoder) = self.encoder.take() else { return Ok(Bytes::new()) };
        let is_slow = encoder.is_slow_to_finish();
        let finish = move || (encoder.finish(), encoder.coding());
        let (bytes, coding) = if is_slow {
            let finished = tokio::task::spawn_blocking(finish).await;
            finished.map_err(|error| Error::new(Code::Internal, "the answer cannot be completed").source(error))?
        } else {
            self.context.timer.encode(finish)
        };
        self.coding = coding;
        bytes
    }
}
