//! Events of the engine as events of an answer.

use std::sync::Arc;

use spring_core::{
    LanguageModel, Likely,
    record::{AnswerRecord, Ending, TokenTrace},
};
use spring_engine::{Event, Receipt, Sink};
use spring_serve::{
    AnswerDetail, AnswerEvent, AnswerSink, AnswerToken, FinishReason, GateDetail, RetrievedDetail,
    TopToken, Usage,
};

use super::{
    keeper::{Keep, Keeper},
    refusal::{self, short},
};

/// The way of one answer's events from the engine to the server.
pub struct Bridge {
    pub sink: AnswerSink,
    pub model: Arc<dyn LanguageModel>,
    pub keeper: Keeper,
    /// What the answer is known by on the wire.
    pub response_id: String,
    /// Whether every token is told by itself.
    pub tells_tokens: bool,
    /// Whether it is told how the answer came about.
    pub tells_detail: bool,
    /// Whether it is a conversation that may be kept.
    pub is_conversation: bool,
    /// What has ended so far, by choice.
    pub records: Vec<Option<Box<AnswerRecord>>>,
    pub written: u32,
    /// What the engine knew of the request when it took it; there from the first event on.
    pub receipt: Option<Box<Receipt>>,
}

impl Bridge {
    fn token(&self, id: u32, likely: Likely, trace: Option<&TokenTrace>) -> AnswerToken {
        let top = likely.top.into_iter();
        AnswerToken {
            id,
            bytes: self.model.token_bytes(id),
            logprob: likely.log_prob,
            top: top
                .map(|(id, logprob)| TopToken { bytes: self.model.token_bytes(id), logprob })
                .collect(),
            retrieval_share: trace.map(|trace| trace.retrieval_share),
        }
    }

    fn ended(&mut self) -> Option<AnswerEvent> {
        let receipt = self.receipt.take();
        let usage = Usage {
            prompt_tokens: receipt.as_ref().map_or(0, |receipt| short(receipt.prompt_tokens)),
            cached_tokens: receipt.as_ref().map_or(0, |receipt| short(receipt.cached_tokens)),
            completion_tokens: self.written,
        };
        let records: Vec<AnswerRecord> =
            self.records.iter_mut().filter_map(|record| Some(*record.take()?)).collect();
        let detail = self.tells_detail.then(|| records.first().map(detail)).flatten();
        let done = AnswerEvent::Done { usage, detail };
        match receipt.and_then(|receipt| receipt.version) {
            // Nothing is kept of the base's answers.
            None => Some(done),
            Some(version) => {
                let records = named(&self.response_id, records);
                let (is_conversation, sink) = (self.is_conversation, self.sink.clone());
                self.keeper.keep(Keep { version, records, is_conversation, sink, done });
                None
            }
        }
    }
}

impl Sink for Bridge {
    fn send(&mut self, event: Event) -> Result<(), Event> {
        // Nobody else puts anything in, so that what there is room for now is taken below.
        if !self.is_gone() && self.sink.is_full() {
            return Err(event);
        }
        let event = match event {
            Event::Started(receipt) => {
                self.receipt = Some(receipt);
                Some(AnswerEvent::Started)
            }
            Event::Text { choice, text, token, likely, trace } => {
                let told = token.zip(likely).filter(|_| self.tells_tokens);
                let tokens = told.map(|(id, likely)| self.token(id, likely, trace.as_ref()));
                let count = u32::from(token.is_some());
                self.written += count;
                let tokens = tokens.into_iter().collect();
                Some(AnswerEvent::Delta { index: short(choice), text, count, tokens })
            }
            Event::Ended { choice, record, .. } => {
                let reason = finish_reason(record.ended);
                if let Some(own) = self.records.get_mut(choice) {
                    *own = Some(record);
                }
                Some(AnswerEvent::Finished { index: short(choice), reason })
            }
            Event::Done => self.ended(),
            Event::Failed(failure) => Some(AnswerEvent::Failed(refusal::of_failure(failure))),
        };
        if let Some(event) = event {
            // A reader that went meanwhile is seen at the next round.
            let _ = self.sink.send(event);
        }
        Ok(())
    }

    fn is_gone(&self) -> bool {
        self.sink.is_cancelled()
    }
}

pub fn finish_reason(ended: Ending) -> FinishReason {
    match ended {
        Ending::EndToken | Ending::StopString => FinishReason::Stop,
        // Cut off at a limit of time is no end of the model's own either.
        Ending::Length | Ending::Stopped => FinishReason::Length,
    }
}

/// How an answer came about.
pub fn detail(record: &AnswerRecord) -> AnswerDetail {
    let lambdas = record.trace.iter().map(|trace| f64::from(trace.lambda));
    let mean = |sum: f64| sum / record.trace.len() as f64;
    AnswerDetail {
        generation: record.generation,
        gate: Some(GateDetail { open: record.gate.open, reason: record.gate.reason.clone() }),
        lambda: (!record.trace.is_empty()).then(|| mean(lambdas.sum())),
        retrieved: record
            .retrieved
            .iter()
            .map(|text| RetrievedDetail {
                id: text.id.to_string(),
                score: text.score,
                used: text.used,
            })
            .collect(),
    }
}

/// The records under the ids by which they are found again.
fn named(response_id: &str, records: Vec<AnswerRecord>) -> Vec<AnswerRecord> {
    let name = |(choice, record): (usize, AnswerRecord)| AnswerRecord {
        id: Some(record_id(response_id, short(choice))),
        ..record
    };
    records.into_iter().enumerate().map(name).collect()
}

/// What the record of one of an answer's texts is kept under.
pub fn record_id(response_id: &str, choice: u32) -> String {
    format!("{response_id}/{choice}")
}
