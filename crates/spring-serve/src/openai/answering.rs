//! From a request that was read to the events of its answer.

use std::{
    future::poll_fn,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use tokio::{sync::watch, time::sleep_until};

use super::parameters::Parameters;
use crate::{
    Answer, AnswerDetail, AnswerEvent, AnswerEvents, AnswerToken, CompletionRequest, FinishReason,
    Prompt, ServiceError, Target, UnknownUsers, Usage,
    admission::Permit,
    app::{Phase, Shared},
    error::{ApiError, ApiResult},
    guard::Caller,
    metrics::Span,
    workers::Lane,
};

/// A request in the queue.
pub(crate) struct Admitted {
    /// Whose model answers.
    pub target: Target,
    /// Whether a user was named who is not there, and the base answers.
    pub unknown_user: bool,
    pub generation: u32,
    pub fingerprint: String,
    pub following: Following,
}

/// Puts a request into the queue; whatever is wrong with it is said here.
pub(crate) async fn admit(
    app: &Shared,
    caller: &Caller,
    target: Target,
    parameters: &Parameters,
    prompts: Vec<Prompt>,
    logprobs: Option<u32>,
    response_id: &str,
) -> ApiResult<Admitted> {
    let n = parameters.n;
    let begun = Instant::now();
    let permit = app.admission.admit(&caller.key, prompts.len() * n as usize, begun)?;
    let requests = |target: &Target| -> Vec<CompletionRequest> {
        let each = prompts.iter().enumerate().map(|(index, prompt)| CompletionRequest {
            response_id: match index {
                0 => response_id.to_owned(),
                index => format!("{response_id}.{index}"),
            },
            key: caller.key.clone(),
            target: target.clone(),
            prompt: prompt.clone(),
            n,
            max_tokens: parameters.max_tokens,
            sampling: parameters.sampling.clone(),
            stop: parameters.stop.clone(),
            logprobs,
            trace: parameters.trace,
            keep: parameters.keep,
        });
        each.collect()
    };
    let complete = |requests: Vec<CompletionRequest>| {
        app.call(Lane::Short, move |service| {
            // One that fails drops those before it, which cancels them.
            requests.into_iter().map(|request| service.complete(request)).collect::<Result<_, _>>()
        })
    };
    let mut answered: ApiResult<Vec<Answer>> = complete(requests(&target)).await;
    let (mut target, mut unknown_user) = (target, false);
    if let Err(error) = &answered
        && error.code == "user_not_found"
        && target.user().is_some()
        && caller.names_users()
        && app.config.unknown_users == UnknownUsers::Base
    {
        let person = target.user().map(str::to_owned);
        (target, unknown_user) = (Target::Base { model: target.model().to_owned(), person }, true);
        answered = complete(requests(&target)).await;
    }
    let answers = answered?;
    let first = answers.first().ok_or_else(|| ApiError::invalid("prompt", "there is no prompt"))?;
    let (generation, fingerprint) = (first.generation, first.fingerprint.clone());
    let following = Following {
        app: Arc::clone(app),
        model: target.model().to_owned(),
        n,
        begun,
        deadline: begun + app.config.limits.answer_time,
        phase: app.phase.clone(),
        followed: answers.into_iter().map(|answer| Followed::new(answer.events)).collect(),
        from: 0,
        usage: Usage::default(),
        ended: false,
        _permit: permit,
    };
    Ok(Admitted { target, unknown_user, generation, fingerprint, following })
}

/// Something that the client is to see.
#[derive(Debug)]
pub(crate) enum Happened {
    Delta { choice: usize, text: String, tokens: Vec<AnswerToken> },
    Finished { choice: usize, reason: FinishReason },
    Done { detail: Option<AnswerDetail> },
    Failed(ApiError),
}

/// The answers of one request, one for each of its prompts. Dropping it cancels them.
pub(crate) struct Following {
    app: Shared,
    /// The base, for the metrics.
    model: String,
    /// Choices of each prompt.
    n: u32,
    begun: Instant,
    deadline: Instant,
    phase: watch::Receiver<Phase>,
    followed: Vec<Followed>,
    /// Which one is asked first.
    from: usize,
    usage: Usage,
    ended: bool,
    _permit: Permit,
}

struct Followed {
    events: AnswerEvents,
    started: Option<Instant>,
    first: Option<Instant>,
    /// When each choice wrote last.
    last: Vec<Option<Instant>>,
    detail: Option<AnswerDetail>,
    done: bool,
}

impl Followed {
    fn new(events: AnswerEvents) -> Self {
        Self { events, started: None, first: None, last: Vec::new(), detail: None, done: false }
    }
}

impl Following {
    /// Choices, over all prompts.
    pub fn choices(&self) -> usize {
        self.followed.len() * self.n as usize
    }

    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// What happens next; nothing after `Done` and `Failed`. It may be dropped while it waits.
    pub async fn next(&mut self) -> Happened {
        loop {
            let happened = tokio::select! {
                biased;
                () = cut(&mut self.phase) => Happened::Failed(ApiError::shutting_down()),
                event = next_event(&mut self.followed, &mut self.from) => match event {
                    Some((at, event)) => match self.take(at, event) {
                        Some(happened) => happened,
                        None => continue,
                    },
                    None => {
                        self.ended = true;
                        self.count();
                        let detail = self.followed.first_mut();
                        Happened::Done { detail: detail.and_then(|one| one.detail.take()) }
                    }
                },
                () = sleep_until(self.deadline.into()) => Happened::Failed(self.too_late()),
            };
            if matches!(happened, Happened::Failed(_)) {
                self.ended = true;
                self.app.metrics.failed(&self.model);
            }
            return happened;
        }
    }

    fn too_late(&self) -> ApiError {
        let seconds = self.app.config.limits.answer_time.as_secs();
        let message = format!("the answer was not ready within {seconds} s");
        let status = axum::http::StatusCode::GATEWAY_TIMEOUT;
        let mut error = ApiError::new(status, "answer_timeout", message);
        error.never_retry = true;
        error
    }

    fn take(&mut self, at: usize, event: AnswerEvent) -> Option<Happened> {
        let (now, metrics) = (Instant::now(), &self.app.metrics);
        let one = &mut self.followed[at];
        let n = self.n as usize;
        let place = |index: u32| (index < self.n).then_some(at * n + index as usize);
        let odd = || Happened::Failed(ApiError::internal("the engine wrote a choice of its own"));
        match event {
            AnswerEvent::Started => {
                one.started = Some(now);
                metrics.span(&self.model, Span::Queue, now - self.begun);
                None
            }
            AnswerEvent::Delta { index, text, count, tokens } => {
                let Some(choice) = place(index) else { return Some(odd()) };
                if one.first.is_none() {
                    one.first = Some(now);
                    metrics.span(&self.model, Span::FirstToken, now - self.begun);
                    let started = one.started.unwrap_or(self.begun);
                    metrics.span(&self.model, Span::Prefill, now - started);
                }
                one.last.resize(n, None);
                if let Some(last) = one.last[index as usize].replace(now)
                    && count > 0
                {
                    let each = (now - last) / count;
                    metrics.span(&self.model, Span::BetweenTokens, each);
                }
                Some(Happened::Delta { choice, text, tokens })
            }
            AnswerEvent::Finished { index, reason } => {
                let Some(choice) = place(index) else { return Some(odd()) };
                metrics.finished(&self.model, reason);
                Some(Happened::Finished { choice, reason })
            }
            AnswerEvent::Done { usage, detail } => {
                (one.done, one.detail) = (true, detail);
                self.usage.prompt_tokens += usage.prompt_tokens;
                self.usage.cached_tokens += usage.cached_tokens;
                self.usage.completion_tokens += usage.completion_tokens;
                metrics.span(&self.model, Span::Whole, now - self.begun);
                let decode = one.first.map_or(Duration::ZERO, |first| now - first);
                metrics.span(&self.model, Span::Decode, decode);
                None
            }
            AnswerEvent::Failed(error) => {
                one.done = true;
                Some(Happened::Failed(error.into()))
            }
        }
    }

    fn count(&self) {
        let (prompt, written) = (self.usage.prompt_tokens, self.usage.completion_tokens);
        self.app.metrics.tokens(&self.model, prompt.into(), written.into());
    }
}

/// Waits until the server cuts what runs.
async fn cut(phase: &mut watch::Receiver<Phase>) {
    // A server that is gone cuts, too.
    let _ = phase.wait_for(|phase| *phase == Phase::Cutting).await;
}

/// The next event of any of them, each having its turn; `None` once all are done.
async fn next_event(followed: &mut [Followed], from: &mut usize) -> Option<(usize, AnswerEvent)> {
    let count = followed.len();
    poll_fn(|context| {
        let mut all_done = true;
        for step in 0..count {
            let at = (*from + step) % count;
            if followed[at].done {
                continue;
            }
            all_done = false;
            if let Poll::Ready(event) = followed[at].events.poll_next(context) {
                *from = at + 1;
                let event = event.unwrap_or_else(|| {
                    let what = "the engine dropped an answer before its end";
                    AnswerEvent::Failed(ServiceError::Internal(what.into()))
                });
                return Poll::Ready(Some((at, event)));
            }
        }
        if all_done { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

impl Drop for Following {
    fn drop(&mut self) {
        if !self.ended {
            self.app.metrics.cancelled(&self.model);
        }
    }
}
