//! Texts generated on the diagonal of R.

use spring_core::{Progress, StoredInteraction, UserModel};

use spring_data::is_question;

use crate::{GeneratedText, Generation, Result, Split};

/// Answers as many prompts of a test part as are asked for: the data set's own questions first,
/// then the oldest.
pub(super) fn write(
    model: UserModel<'_>,
    split: &Split,
    generation: Generation,
    progress: &mut dyn Progress,
) -> Result<Vec<GeneratedText>> {
    let mut config = model.config().clone();
    config.decoding.max_new_tokens = Some(generation.tokens);
    let model = model.with_config(config);
    let mut tests: Vec<&StoredInteraction> = split.test.iter().collect();
    tests.sort_by_key(|text| !is_question(&text.interaction));
    let written = tests.into_iter().take(generation.texts).map(|text| {
        let answer = model.generate(&text.interaction.prompt, progress)?;
        Ok(GeneratedText {
            period: split.period,
            predicted: answer.text,
            written: text.interaction.response.clone(),
            question: is_question(&text.interaction),
        })
    });
    written.collect()
}
