//! Embeddings of a user's texts under the base: what dense search and the diversity policy compare.

use spring_memory::{DocumentFields, Interaction};

use crate::{EmbeddingMap, LanguageModel, Result, Store, StoredInteraction, UserVersion};

/// A text's beginning tells its topic: what stands behind that many tokens is not embedded.
const EMBEDDED_TOKENS: usize = 512;

/// The embedding of any text; the end of a long one is left out.
///
/// Texts go through the model one by one: in a batch the last bit of a number may depend on the
/// company, and what is learned from it would not come out the same again.
///
/// # Errors
///
/// If the tokenizer refuses the text.
pub fn embed_text(model: &dyn LanguageModel, text: &str) -> Result<Vec<f32>> {
    let info = model.info();
    let mut ids: Vec<u32> = info.start.into_iter().chain(model.encode(text)?).collect();
    ids.truncate(EMBEDDED_TOKENS.min(info.context));
    Ok(model.embed_tokens(&[ids])?.into_iter().collect())
}

/// The embedding of an interaction: of its prompt, a line break, and its response.
///
/// # Errors
///
/// If the tokenizer refuses the text.
pub fn embed_interaction(model: &dyn LanguageModel, interaction: &Interaction) -> Result<Vec<f32>> {
    embed_text(model, &DocumentFields::Both.document(&interaction.prompt, &interaction.response))
}

/// The embeddings of those texts that have none yet.
pub(crate) fn embed_missing<'t>(
    model: &dyn LanguageModel,
    texts: impl IntoIterator<Item = &'t StoredInteraction>,
    known: &EmbeddingMap,
) -> Result<EmbeddingMap> {
    let missing = texts.into_iter().filter(|text| !known.contains_key(&text.seq));
    missing.map(|text| Ok((text.seq, embed_interaction(model, &text.interaction)?))).collect()
}

/// Keeps embeddings that were computed on the way from texts of a version. They can be computed
/// again, so that a state that takes none is no reason to fail; says whether it took them.
pub(crate) fn keep(store: &Store, version: &UserVersion, embeddings: &EmbeddingMap) -> bool {
    let kept = store.set_embeddings(version, embeddings);
    if let Err(error) = &kept {
        let user = version.user();
        tracing::warn!(
            "embeddings of user {user} are not kept and will be computed again: {error}"
        );
    }
    kept.is_ok()
}
