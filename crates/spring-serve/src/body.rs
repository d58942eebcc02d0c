//! Bodies of requests, within their limits.

use std::{
    io::{self, Read},
    ops::Deref,
};

use axum::{
    body::{Body, HttpBody},
    http::StatusCode,
};
use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::timeout,
};

use crate::{
    Limits,
    app::App,
    bodies::{Bodies, STEP},
    error::{ApiError, ApiResult},
};

fn too_large(limit: u64) -> ApiError {
    let message = format!("the body has more than {limit} bytes, which is the limit");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
}

/// A whole body, and the room that it takes until it is dropped.
#[derive(Debug)]
pub(crate) struct Whole {
    bytes: BytesMut,
    room: OwnedSemaphorePermit,
}

impl Whole {
    /// The room alone, for what was made of the bytes.
    pub fn into_room(self) -> OwnedSemaphorePermit {
        self.room
    }
}

impl Deref for Whole {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A whole body. It is refused as soon as there is no room for what has come of it.
pub(crate) async fn read(body: Body, app: &App) -> ApiResult<Whole> {
    let limits = &app.config.limits;
    match timeout(limits.body_time, collect(body, limits, &app.bodies)).await {
        Ok(whole) => whole,
        Err(_) => {
            let seconds = limits.body_time.as_secs();
            let message = format!("the body did not come within {seconds} s");
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message))
        }
    }
}

async fn collect(mut body: Body, limits: &Limits, bodies: &Bodies) -> ApiResult<Whole> {
    let said = HttpBody::size_hint(&body).exact().unwrap_or(0);
    if said > limits.body as u64 {
        return Err(too_large(limits.body as u64));
    }
    let said = usize::try_from(said).unwrap_or(usize::MAX);
    let mut room = bodies.take(0)?;
    let mut bytes = BytesMut::with_capacity(said.min(STEP));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let message = format!("the body could not be read: {error}");
            ApiError::new(StatusCode::BAD_REQUEST, "invalid_body", message)
        })?;
        // Trailers are of no use.
        let Ok(data) = frame.into_data() else { continue };
        let length = bytes.len() + data.len();
        if length > limits.body {
            return Err(too_large(limits.body as u64));
        }
        if length > room.num_permits() {
            let stepped = length.next_multiple_of(STEP);
            // The last step is no larger than what is left of a length that was said.
            let wanted = if said < length { stepped } else { stepped.min(said) };
            room.merge(bodies.take(wanted - room.num_permits())?);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Whole { bytes, room })
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
