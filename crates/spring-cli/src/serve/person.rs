//! What the state knows of a person, as plain data.

use std::collections::HashMap;

use jiff::Timestamp;
use spring_core::{
    ApiKey, Contribution, GenerationSummary, HistoryEntry, KeyAccess, LanguageModel, Result, Store,
    StoredInteraction, UserSummary, path_to,
    record::{AnswerRecord, Ending, LearnedPeriod},
    spring_memory::{Interaction, InteractionId, UserId},
};
use spring_engine::AdaptationState;
use spring_serve::{
    Access, Adaptation, BufferText, Consent, EvictedText, ExplainedToken, Explanation,
    GenerationInfo, InteractionInfo, JobState, Key, PeriodInfo, PeriodText, UserInfo,
};

use super::{bridge, refusal::short};

/// Characters of a text that are shown in a list.
const EXCERPT: usize = 200;

pub fn user(summary: UserSummary) -> UserInfo {
    UserInfo {
        id: summary.user.to_string(),
        interactions: summary.interactions,
        pending: summary.pending,
        first: summary.first.map(|time| time.to_string()),
        last: summary.last.map(|time| time.to_string()),
        periods: summary.periods,
        generation: summary.generation,
        buffer: summary.buffer,
        consent: summary.consent,
    }
}

pub fn consent(kept: spring_core::Consent, contribution: Contribution) -> Consent {
    let since = |since: Option<Timestamp>| since.map(|since| since.to_string());
    Consent {
        keep_conversations: kept.keep_conversations,
        since: since(kept.since),
        contribute: contribution.contributes,
        contribute_since: since(contribution.since),
    }
}

/// A key, if this version knows for whom it speaks.
pub fn key(of: ApiKey) -> Option<Key> {
    let access = match of.record.access {
        KeyAccess::User(user) => Access::User(user.to_string()),
        KeyAccess::Gateway => Access::Gateway,
        KeyAccess::Admin => Access::Admin,
        _ => return None,
    };
    let mut key = Key::new(of.id, access);
    key.requests_per_minute = of.record.requests_per_minute;
    key.requests_at_once = of.record.requests_at_once;
    Some(key)
}

pub fn interaction(of: Interaction, place: Option<(u32, bool)>) -> InteractionInfo {
    InteractionInfo {
        id: of.id.to_string(),
        time: of.time.to_string(),
        prompt: of.prompt,
        response: of.response,
        meta: of.meta,
        period: place.map(|(period, _)| period),
        held_out: place.is_some_and(|(_, held_out)| held_out),
    }
}

pub fn entry(entry: HistoryEntry) -> InteractionInfo {
    let place = entry.period.map(|period| (period, entry.held_out));
    interaction(entry.stored.interaction, place)
}

pub fn generation(store: &Store, user: &UserId, of: GenerationSummary) -> Result<GenerationInfo> {
    let finished = store.record(user, of.number)?.record.finished;
    Ok(GenerationInfo {
        number: of.number,
        parent: of.parent,
        period: of.period,
        finished: finished.to_string(),
        current: of.current,
        on_path: of.on_path,
        kept: of.adapter_bytes.is_some(),
        adapter_bytes: of.adapter_bytes,
        buffer: of.buffer,
    })
}

/// The learned periods on the path to the generation in use.
pub fn periods(store: &Store, user: &UserId) -> Result<Vec<PeriodInfo>> {
    let generation = store.version(user)?.generation();
    let path = path_to(store, user, generation)?;
    path.into_iter().map(|learned| period(store, user, learned)).collect()
}

fn by_seq(store: &Store, user: &UserId, seqs: &[u64]) -> Result<HashMap<u64, StoredInteraction>> {
    let texts = store.interactions(user, seqs)?;
    Ok(texts.into_iter().map(|text| (text.seq, text)).collect())
}

fn period(store: &Store, user: &UserId, learned: LearnedPeriod) -> Result<PeriodInfo> {
    let LearnedPeriod { generation, record } = learned;
    let scored = record.scores.iter().map(|score| score.seq);
    let evicted = record.evicted.iter().map(|evicted| evicted.item.key);
    // Those that were forgotten since are not there any more.
    let known: Vec<u64> = scored.chain(evicted).collect();
    let texts = by_seq(store, user, &present(store, user, &known)?)?;
    let time = |seq: u64| texts.get(&seq).map(|text| text.interaction.time);
    let times: Vec<_> = record.scores.iter().filter_map(|score| time(score.seq)).collect();
    let excerpt = |seq: u64| {
        let text = texts.get(&seq)?;
        Some(text.interaction.response.chars().take(EXCERPT).collect())
    };
    let text = |scored: &spring_core::record::ScoredText| PeriodText {
        id: scored.id.to_string(),
        time: time(scored.seq).map(|time| time.to_string()),
        novelty: scored.score.novelty,
        quality: scored.score.quality,
        score: scored.score.score,
        selected: scored.selected.map(|rank| rank as u64),
        excerpt: excerpt(scored.seq),
    };
    let evicted = record.evicted.iter().filter_map(|evicted| {
        let id = texts.get(&evicted.item.key)?.interaction.id.to_string();
        Some(EvictedText { id, reason: evicted.reason.to_string() })
    });
    Ok(PeriodInfo {
        period: record.period,
        generation,
        finished: record.finished.to_string(),
        first: times.iter().min().map(ToString::to_string),
        last: times.iter().max().map(ToString::to_string),
        held_out: record.held_out as u64,
        selected: record.selection.selected as u64,
        cutoff: record.selection.cutoff,
        gate: record.gate_rule(),
        steps: record.update.steps as u64,
        seconds: record.seconds,
        texts: record.scores.iter().map(text).collect(),
        evicted: evicted.collect(),
        reason: record.selection.reason,
    })
}

/// Those of some texts that are still there.
fn present(store: &Store, user: &UserId, seqs: &[u64]) -> Result<Vec<u64>> {
    let there: std::collections::HashSet<u64> =
        store.history(user)?.entries.iter().map(|entry| entry.stored.seq).collect();
    let mut seqs: Vec<u64> = seqs.iter().copied().filter(|seq| there.contains(seq)).collect();
    seqs.sort_unstable();
    seqs.dedup();
    Ok(seqs)
}

/// The residual buffer of the generation in use, best first.
pub fn buffer(store: &Store, user: &UserId) -> Result<Vec<BufferText>> {
    let Some(generation) = store.generation(user, None)? else { return Ok(Vec::new()) };
    let seqs: Vec<u64> = generation.buffer.iter().map(|item| item.key).collect();
    let mut texts = by_seq(store, user, &seqs)?;
    let mut all = Vec::with_capacity(seqs.len());
    for item in generation.buffer {
        if let Some(text) = texts.remove(&item.key) {
            let place = store.place(user, item.key)?;
            let interaction = interaction(text.interaction, place);
            all.push(BufferText { score: item.score, interaction });
        }
    }
    Ok(all)
}

/// Whether a text is in the residual buffer.
pub fn is_in_buffer(store: &Store, user: &UserId, id: &InteractionId) -> Result<bool> {
    let Some(seq) = store.find(user, id)? else { return Ok(false) };
    let generation = store.generation(user, None)?;
    Ok(generation.is_some_and(|of| of.buffer.iter().any(|item| item.key == seq)))
}

pub fn adaptation(of: spring_engine::Adaptation) -> Adaptation {
    let (state, periods, generation, error) = match of.state {
        AdaptationState::Waiting => (JobState::Waiting, 0, None, of.held_up),
        AdaptationState::Running { learned, .. } => (JobState::Running, learned, None, None),
        // Where there was nothing new, what was not kept is of an earlier one.
        AdaptationState::Learned { generations, kept } if kept || generations.is_empty() => {
            (JobState::Done, short(generations.len()), generations.last().copied(), None)
        }
        AdaptationState::Learned { .. } => {
            let reason = "it predicts the held-out texts worse than before, so the earlier \
                          generation stays in use";
            (JobState::Failed, 0, None, Some(reason.to_owned()))
        }
        AdaptationState::TakenBack { .. } => {
            let reason = "it was learned, and somebody has gone back to another generation since";
            (JobState::Failed, 0, None, Some(reason.to_owned()))
        }
        AdaptationState::Failed { reason } => (JobState::Failed, 0, None, Some(reason)),
        _ => (JobState::Cancelled, 0, None, None),
    };
    Adaptation {
        id: of.id.to_string(),
        state,
        cause: if of.asked { "request" } else { "policy" }.into(),
        created: of.queued.to_string(),
        started: of.began.map(|time| time.to_string()),
        finished: of.ended.map(|time| time.to_string()),
        periods,
        generation,
        error,
    }
}

/// How an answer came about.
pub fn explanation(
    model: &dyn LanguageModel,
    response_id: &str,
    choice: u32,
    record: AnswerRecord,
) -> Explanation {
    let token = |trace: &spring_core::record::TokenTrace| ExplainedToken {
        text: match trace.text.is_empty() {
            true => String::from_utf8_lossy(&model.token_bytes(trace.token)).into_owned(),
            false => trace.text.clone(),
        },
        lambda: trace.lambda,
        retrieval_share: trace.retrieval_share,
    };
    Explanation {
        response_id: response_id.into(),
        choice,
        time: record.time.to_string(),
        finish_reason: (record.ended != Ending::Stopped)
            .then(|| bridge::finish_reason(record.ended)),
        detail: bridge::detail(&record),
        tokens: record.trace.iter().map(token).collect(),
        prompt: record.prompt,
        text: record.text,
    }
}
