//! Texts generated on the diagonal of R.

use spring_core::{Progress, StoredInteraction, UserModel};

use spring_data::is_question;

use crate::{GeneratedText, Generation, Result, Split};

/// The texts of a test part whose prompts are answered: the data set's own questions first, then
/// the oldest.
pub(crate) fn asked(split: &Split, generation: Generation) -> Vec<&StoredInteraction> {
    let mut tests: Vec<&StoredInteraction> = split.test.iter().collect();
    tests.sort_by_key(|text| !is_question(&text.interaction));
    tests.truncate(generation.texts);
    tests
}

/// Answers as many prompts of a test part as are asked for.
pub(super) fn write(
    model: UserModel<'_>,
    split: &Split,
    generation: Generation,
    progress: &mut dyn Progress,
) -> Result<Vec<GeneratedText>> {
    let mut config = model.config().clone();
    config.decoding.max_new_tokens = Some(generation.tokens);
    let model = model.with_config(config);
    let written = asked(split, generation).into_iter().map(|text| {
        let answer = model.generate(&text.interaction.prompt, progress)?;
        Ok(GeneratedText::new(split.period, answer.text, text))
    });
    written.collect()
}
