//! Bodies of requests, within their limits.

use std::io::{self, Read};

use axum::{body::Body, http::StatusCode};
use bytes::{Buf, Bytes};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::{sync::mpsc, time::timeout};

use crate::{
    Limits,
    error::{ApiError, ApiResult},
};

fn too_large(limit: u64) -> ApiError {
    let message = format!("the body has more than {limit} bytes, which is the limit");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
}

/// A whole body.
pub(crate) async fn read(body: Body, limits: &Limits) -> ApiResult<Bytes> {
    let whole = Limited::new(body, limits.body).collect();
    match timeout(limits.body_time, whole).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(limits.body as u64)),
        Ok(Err(error)) => Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "invalid_body",
            format!("the body could not be read: {error}"),
        )),
        Err(_) => {
            let seconds = limits.body_time.as_secs();
            let message = format!("the body did not come within {seconds} s");
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message))
        }
    }
}

/// A body as a reader for a thread that may block, and what fills it, to be waited for beside the
/// thread.
pub(crate) fn reader(
    body: Body,
    limits: &Limits,
) -> (BodyReader, impl Future<Output = ()> + Send + use<>) {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(4);
    let (limit, patience) = (limits.import, limits.body_time);
    let fill = async move {
        let mut body = body;
        let mut left = limit;
        loop {
            let item = match timeout(patience, body.frame()).await {
                Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
                Ok(None) => break,
                Ok(Some(Err(error))) => Err(io::Error::other(error.to_string())),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    // Trailers.
                    Err(_) => continue,
                    Ok(data) => match left.checked_sub(data.len() as u64) {
                        Some(rest) => {
                            left = rest;
                            Ok(data)
                        }
                        None => Err(io::Error::from(io::ErrorKind::FileTooLarge)),
                    },
                },
            };
            let failed = item.is_err();
            if sender.send(item).await.is_err() {
                return;
            }
            if failed {
                // The reader has its error; the sender is dropped after it.
                return;
            }
        }
        // An empty piece is the end: a sender that is merely dropped is a client that went.
        let _ = sender.send(Ok(Bytes::new())).await;
    };
    (BodyReader { receiver, piece: Bytes::new(), ended: false, too_large: false }, fill)
}

/// A body that is read on a thread.
pub(crate) struct BodyReader {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
    ended: bool,
    too_large: bool,
}

impl BodyReader {
    /// What was wrong with the body, if it was its length.
    pub fn error(&self, limits: &Limits) -> Option<ApiError> {
        self.too_large.then(|| too_large(limits.import))
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.ended {
            match self.receiver.blocking_recv() {
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(Err(error)) => {
                    self.too_large = error.kind() == io::ErrorKind::FileTooLarge;
                    return Err(error);
                }
                Some(Ok(piece)) => {
                    self.ended = piece.is_empty();
                    self.piece = piece;
                }
            }
        }
        let length = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
