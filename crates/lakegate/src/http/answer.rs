//! The body of an answer: the first rows are held until the query is known to work, the rest is streamed.
//!
//! A failure while rows are held is still a proper status. One after that cuts the connection, so that a broken answer
//! never looks complete.

use std::io;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::stream;
use lakegate_core::error::Error;
use lakegate_query::encode::Encoder;
use lakegate_query::engine::BatchStream;

use super::respond::{RequestId, log_cut};

/// How much is held back before the status is sent, in bytes. Smaller answers are complete, and known to be good, by then.
const HELD_BYTES: usize = 256 * 1024;

/// Pulls the first rows and makes the response.
pub(super) async fn start(rows: BatchStream, encoder: Box<dyn Encoder>, id: RequestId) -> Result<Response, Error> {
    let content_type = encoder.content_type();
    let mut pieces = Pieces { rows, encoder, ended: false };
    let mut held = BytesMut::new();
    while held.len() < HELD_BYTES {
        match pieces.next().await? {
            Some(piece) => held.extend_from_slice(&piece),
            None => return Ok(([(CONTENT_TYPE, content_type)], held.freeze()).into_response()),
        }
    }
    let first = stream::iter([Ok(held.freeze())]);
    let rest = stream::unfold(Some((pieces, id)), |state| async move {
        let (mut pieces, id) = state?;
        match pieces.next().await {
            Ok(Some(piece)) => Some((Ok(piece), Some((pieces, id)))),
            Ok(None) => None,
            Err(error) => {
                log_cut(&error, &id);
                // What the connection is cut with is for nobody; the log has the reason.
                Some((Err(io::Error::other("the answer is not complete")), None))
            }
        }
    });
    let body = Body::from_stream(futures::StreamExt::chain(first, rest));
    Ok(([(CONTENT_TYPE, content_type)], body).into_response())
}

/// Encoded pieces of an answer, none of them empty.
struct Pieces {
    rows: BatchStream,
    encoder: Box<dyn Encoder>,
    ended: bool,
}

impl Pieces {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while !self.ended {
            let piece = match self.rows.next().await? {
                Some(batch) => self.encoder.write(&batch)?,
                None => {
                    self.ended = true;
                    self.encoder.finish()?
                }
            };
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }
}
