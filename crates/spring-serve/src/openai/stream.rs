//! An answer as server-sent events.

use std::{convert::Infallible, time::Instant};

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use serde_json::Value;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    answering::{Following, Happened},
    shapes::{Choice, Envelope, Kind, Wanted},
};
use crate::{FinishReason, Limits, Target, Usage, guard::typed, rate};

/// Pieces that wait for a client that reads slowly. The engine does not wait for it.
const AHEAD: usize = 16;

/// How an answer is written as a stream.
pub(crate) struct Streamed {
    pub envelope: Envelope,
    pub target: Target,
    pub wanted: Wanted,
    /// Whether it ends with the usage.
    pub usage: bool,
    /// Of completions, texts that stand before those that are written: one for each prompt.
    pub echo: Vec<String>,
    pub limits: Limits,
    pub request_id: String,
}

/// The answer to a request whose answer is a stream.
pub(crate) fn response(streamed: Streamed, following: Following) -> Response {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let open = rate::current();
    tokio::spawn(async move {
        let writer = Writer { sender, limits: streamed.limits.clone() };
        // Its end drops `following`, which cancels what is not done. It ends early only where
        // nobody is left to tell.
        if let Ok(last) = streamed.write(&writer, following).await {
            // First: whoever has read the last event may ask the next thing at once. Until then the
            // request is open by its body.
            drop(open);
            let _ = writer.put(last).await;
        }
    });
    let mut response =
        typed("text/event-stream; charset=utf-8", Body::from_stream(ReceiverStream::new(receiver)));
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // A proxy in front is not to collect pieces.
    let name = HeaderName::from_static("x-accel-buffering");
    headers.insert(name, HeaderValue::from_static("no"));
    response
}

/// The client went, or reads too slowly.
struct Gone;

struct Writer {
    sender: mpsc::Sender<Result<Bytes, Infallible>>,
    limits: Limits,
}

impl Writer {
    async fn put(&self, text: String) -> Result<(), Gone> {
        let put = self.sender.send(Ok(Bytes::from(text)));
        match timeout(self.limits.write_time, put).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Gone),
            Err(_) => {
                tracing::info!("a client that does not read was left");
                Err(Gone)
            }
        }
    }

    async fn data(&self, json: &str) -> Result<(), Gone> {
        self.put(event(json)).await
    }
}

fn event(json: &str) -> String {
    format!("data: {json}\n\n")
}

impl Streamed {
    /// Writes all but the last event, and gives that.
    async fn write(self, writer: &Writer, mut following: Following) -> Result<String, Gone> {
        let kind = self.envelope.kind;
        let choices = following.choices();
        // Characters of each choice so far.
        let mut offsets = vec![0; choices];
        let mut ends: Vec<(usize, FinishReason)> = Vec::new();
        self.open(writer, choices, &mut offsets).await?;
        let mut spoke = Instant::now();
        loop {
            let happened = tokio::select! {
                happened = timeout(self.limits.keep_alive, following.next()) => happened,
                () = writer.sender.closed() => return Err(Gone),
            };
            match happened {
                Err(_) if spoke.elapsed() >= self.limits.empty_chunk => {
                    let mut none = 0;
                    let choice = Choice::text(kind, 0, "", &[], Wanted::NOTHING, &mut none);
                    writer.data(&self.piece(&[choice], None)).await?;
                    spoke = Instant::now();
                }
                Err(_) => writer.put(": keep-alive\n\n".into()).await?,
                Ok(Happened::Delta { choice, text, tokens }) => {
                    if text.is_empty() && tokens.is_empty() {
                        continue;
                    }
                    let offset = &mut offsets[choice];
                    let piece = Choice::text(kind, choice, &text, &tokens, self.wanted, offset);
                    writer.data(&self.piece(&[piece], None)).await?;
                    spoke = Instant::now();
                }
                // The last one tells how the answer came about, which is known when it is done.
                Ok(Happened::Finished { choice, reason }) if self.wanted.trace => {
                    ends.push((choice, reason));
                }
                Ok(Happened::Finished { choice, reason }) => {
                    let end = Choice::end(kind, choice, reason);
                    writer.data(&self.piece(&[end], None)).await?;
                }
                Ok(Happened::Done { detail }) => {
                    let detail = detail.map(|of| self.envelope.detail(&self.target, &of));
                    let last = ends.len().saturating_sub(1);
                    for (at, (choice, reason)) in ends.iter().enumerate() {
                        let end = Choice::end(kind, *choice, *reason);
                        let detail = detail.as_ref().filter(|_| at == last);
                        writer.data(&self.piece(&[end], detail)).await?;
                    }
                    return self.close(writer, following.usage()).await;
                }
                Ok(Happened::Failed(error)) => {
                    error.log(&self.request_id);
                    return Ok(event(&error.json()));
                }
            }
        }
    }

    async fn open(
        &self,
        writer: &Writer,
        choices: usize,
        offsets: &mut [usize],
    ) -> Result<(), Gone> {
        match self.envelope.kind {
            Kind::Chat => {
                for index in 0..choices {
                    writer.data(&self.piece(&[Choice::opening(index)], None)).await?;
                }
            }
            Kind::Completion if !self.echo.is_empty() => {
                let each = choices / self.echo.len();
                for (index, offset) in offsets.iter_mut().enumerate() {
                    let text = &self.echo[index / each.max(1)];
                    let mut none = 0;
                    let kind = Kind::Completion;
                    let piece = Choice::text(kind, index, text, &[], Wanted::NOTHING, &mut none);
                    writer.data(&self.piece(&[piece], None)).await?;
                    *offset = text.chars().count();
                }
            }
            Kind::Completion => {}
        }
        Ok(())
    }

    async fn close(&self, writer: &Writer, usage: Usage) -> Result<String, Gone> {
        if self.usage {
            writer.data(&self.envelope.piece(&[], Some(Some(usage)), None)).await?;
        }
        Ok(event("[DONE]"))
    }

    fn piece(&self, choices: &[Choice<'_>], detail: Option<&Value>) -> String {
        self.envelope.piece(choices, self.usage.then_some(None), detail)
    }
}
