//! A row of R: the loss of what a method answers with, on every test part.

use std::hash::{DefaultHasher, Hash, Hasher};

use spring_core::{
    Config, LanguageModel, StoredInteraction,
    prompt::{Encoded, RetrievedPair, contexts_of_rest},
    spring_fuse::{Contrast, GateConfig},
};
use spring_lm::Sequence;

use super::{
    memo::adapter_key,
    strategy::{Answer, Period},
};
use crate::{
    FusedLoss, Reads, Result, Split,
    loss::{fused_loss, losses},
};

/// The loss of a kind of method on every test part; rows that were computed before are not computed
/// again.
pub(super) fn row(period: &Period<'_>, kind: &str, answer: &Answer) -> Result<Vec<FusedLoss>> {
    let (arena, config) = (period.arena, period.config);
    let mut hasher = DefaultHasher::new();
    adapter_key(answer.adapter()).map_err(spring_core::Error::from)?.hash(&mut hasher);
    if answer.reads != Reads::Nothing {
        let Config { gate, fusion, bm25, retrieval, .. } = config;
        let (reads, finds) = (answer.reads, answer.bank.retriever().name());
        let settings = format!("{reads:?} {gate:?} {fusion:?} {bm25:?} {retrieval:?}");
        (kind, finds, settings).hash(&mut hasher);
        answer.bank.texts().iter().for_each(|text| text.seq.hash(&mut hasher));
    } else if let Some(contrast) = contrast_of(config, answer) {
        format!("{contrast:?}").hash(&mut hasher);
    }
    arena.memo.row(hasher.finish(), || {
        let cells = arena.splits.iter().zip(&arena.tests);
        cells.map(|(split, tests)| cell(arena.model, config, answer, split, tests)).collect()
    })
}

/// What the answer is contrasted with the base by: nothing where it is the base.
fn contrast_of(config: &Config, answer: &Answer) -> Option<Contrast> {
    config.fusion.contrasting().filter(|_| answer.adapter().is_some())
}

/// The loss on one test part.
fn cell(
    model: &dyn LanguageModel,
    config: &Config,
    answer: &Answer,
    split: &Split,
    tests: &[Encoded],
) -> Result<FusedLoss> {
    let mut loss = FusedLoss::default();
    match answer.reads {
        Reads::Nothing if contrast_of(config, answer).is_some() => {
            let alone = config.clone().with_gate(GateConfig::Never {});
            let texts: Vec<_> = split.test.iter().zip(tests).collect();
            loss = fused_loss(&answer.user_model(model, &alone), &texts)?;
        }
        Reads::Nothing => loss.fused = losses(model, &[answer.adapter()], tests)?[0],
        Reads::Prompt => {
            for (text, test) in split.test.iter().zip(tests) {
                let found = best_for(model, config, answer, text)?;
                let with = with_texts(model, text, test, &found)?;
                // In one branch: λ = 1 without the cost of a mixture. And one by one: many texts
                // find the same as a period before, and are remembered.
                let read = with != *test;
                let own = losses(model, &[answer.adapter()], &[with])?[0];
                loss.fused = [loss.fused, own].into_iter().sum();
                loss.open_fused.texts += usize::from(read);
            }
        }
        Reads::Buffer => {
            let texts: Vec<_> = split.test.iter().zip(tests).collect();
            loss = fused_loss(&answer.user_model(model, config), &texts)?;
        }
    }
    Ok(loss)
}

/// The k texts of the bank that are read along with a prompt, best first.
fn best_for<'b>(
    model: &dyn LanguageModel,
    config: &Config,
    answer: &'b Answer,
    text: &StoredInteraction,
) -> Result<Vec<&'b StoredInteraction>> {
    let hits = answer.bank.search(model, &text.interaction.prompt, config.gate.k())?.into_iter();
    let found = hits.filter(|hit| hit.score > 0.0);
    Ok(found.filter_map(|hit| answer.bank.text(hit.key)).collect())
}

/// The test text behind some texts, best first, as far as they fit; the last one is the first to be
/// dropped. Its prompt is cut as it is without them.
fn with_texts(
    model: &dyn LanguageModel,
    text: &StoredInteraction,
    encoded: &Encoded,
    best: &[&StoredInteraction],
) -> Result<Encoded> {
    let pairs: Vec<RetrievedPair<'_>> = best.iter().map(|text| RetrievedPair::of(text)).collect();
    let response = &encoded.sequence.response;
    let (prompt, lost) = (&text.interaction.prompt, encoded.lost_of_prompt());
    let contexts = contexts_of_rest(model, prompt, lost, &pairs, Some(response.len()))?;
    let Some(context) = contexts.retrieval else { return Ok(encoded.clone()) };
    let mut behind = encoded.clone();
    behind.sequence = Sequence { context, response: response.clone() };
    Ok(behind)
}
