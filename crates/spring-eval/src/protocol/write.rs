//! Texts generated on the diagonal of R.

use spring_core::{Config, LanguageModel, Memories, Progress, RetrievalBank, StoredInteraction, generate};

use super::{GeneratedText, Generation};
use spring_data::is_question;

use crate::{Result, Split};

/// Answers as many prompts of a test part as are asked for: the data set's own questions first, then the oldest.
pub(super) fn write(
    model: &dyn LanguageModel,
    config: &Config,
    memories: &Memories,
    bank: &RetrievalBank,
    split: &Split,
    generation: Generation,
    progress: &mut dyn Progress,
) -> Result<Vec<GeneratedText>> {
    let mut config = config.clone();
    config.decoding.max_new_tokens = Some(generation.tokens);
    let mut tests: Vec<&StoredInteraction> = split.test.iter().collect();
    tests.sort_by_key(|text| !is_question(&text.interaction));
    let written = tests.into_iter().take(generation.texts).map(|text| {
        let answer = generate(model, &config, memories, bank, &text.interaction.prompt, progress)?;
        Ok(GeneratedText {
            period: split.period,
            predicted: answer.text,
            written: text.interaction.response.clone(),
            question: is_question(&text.interaction),
        })
    });
    written.collect()
}
