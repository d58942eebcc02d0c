//! Everything of a user, out and in.

use std::{
    io::{self, Read},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::timeout,
};
use tokio_stream::Stream;

use super::{OfUser, json};
use crate::{app::Shared, body, error::ApiResult, guard::typed, rate, workers::Lane};

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

pub(crate) async fn export(State(app): State<Shared>, of: OfUser) -> ApiResult<Response> {
    of.caller.may_move()?;
    let user = of.user.clone();
    let export = app.call(Lane::Long, move |service| service.export(&user)).await;
    let export = of.acted(&app, "user.export", None, export).await?;
    let (sender, receiver) = mpsc::channel(4);
    let (kind, extension, mut bytes) = (export.media_type, export.extension, export.bytes);
    let (sending, patience) = (Arc::clone(&app), app.config.limits.write_time);
    let open = rate::current();
    tokio::spawn(async move {
        let to = sender.clone();
        let send = move |_: &dyn crate::Service| Ok(pour(&mut bytes, &to, patience));
        match sending.call(Lane::Long, send).await {
            Ok(true) => {
                // First: whoever has it all may ask the next thing at once. Until then the request
                // is open by its body.
                drop(open);
                // One who does not read to the end is not waited for.
                let _ = timeout(patience, sender.send(Ok(Bytes::new()))).await;
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!("an export broke off: {}", error.log.unwrap_or(error.message));
            }
        }
    });
    let mut response = typed(kind, Body::from_stream(Pieces { receiver, ended: false }));
    // The user's name stays out of it: it may be anything.
    if let Ok(name) = HeaderValue::from_str(&format!("attachment; filename=\"export{extension}\""))
    {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

/// What a thread sends. An empty piece is its end: where the thread ended without one, the transfer
/// breaks off.
struct Pieces {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    ended: bool,
}

impl Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = std::task::ready!(self.receiver.poll_recv(context));
        self.ended = !matches!(&piece, Some(Ok(piece)) if !piece.is_empty());
        Poll::Ready(match piece {
            Some(Ok(piece)) if piece.is_empty() => None,
            None => Some(Err(io::ErrorKind::UnexpectedEof.into())),
            piece => piece,
        })
    }
}

/// Sends all that is read but for the empty piece at the end, and says whether that is due; an
/// error breaks the transfer off, which the client sees.
fn pour(
    bytes: &mut dyn Read,
    sender: &mpsc::Sender<io::Result<Bytes>>,
    patience: Duration,
) -> bool {
    let mut buffer = vec![0; PIECE];
    loop {
        let piece = match bytes.read(&mut buffer) {
            Ok(0) => return true,
            Ok(length) => Ok(Bytes::copy_from_slice(&buffer[..length])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                tracing::error!("an export broke off: {error}");
                Err(error)
            }
        };
        let failed = piece.is_err();
        if !put(sender, piece, patience) || failed {
            return false;
        }
    }
}

/// Whether a piece was taken in time: a client that does not read is not to hold a thread.
fn put(
    sender: &mpsc::Sender<io::Result<Bytes>>,
    mut piece: io::Result<Bytes>,
    patience: Duration,
) -> bool {
    let begun = Instant::now();
    loop {
        match sender.try_send(piece) {
            Ok(()) => return true,
            Err(TrySendError::Closed(_)) => return false,
            Err(TrySendError::Full(_)) if begun.elapsed() >= patience => return false,
            Err(TrySendError::Full(back)) => piece = back,
        }
        thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) async fn import(
    State(app): State<Shared>,
    of: OfUser,
    body: Body,
) -> ApiResult<Response> {
    of.caller.may_move()?;
    let limits = app.config.limits.clone();
    let (mut reader, fill) = body::reader(body, &limits);
    let user = of.user.clone();
    let imported = app.call(Lane::Long, move |service| {
        let imported = service.import(&user, &mut reader);
        Ok((imported, reader.error(&limits)))
    });
    let mut imported = std::pin::pin!(imported);
    let imported = tokio::select! {
        biased;
        // One that needs no more of the body does not wait for it.
        imported = &mut imported => imported,
        () = fill => imported.await,
    };
    let imported = imported.and_then(|(imported, too_large)| match (imported, too_large) {
        (Err(_), Some(error)) => Err(error),
        (imported, _) => Ok(imported?),
    });
    json(&of.acted(&app, "user.import", None, imported).await?)
}
