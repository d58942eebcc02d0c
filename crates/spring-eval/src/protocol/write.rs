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

/// Answers as many prompts of the last test part as are asked for; `so_far` are the periods up to
/// it.
pub(super) fn write(
    model: UserModel<'_>,
    so_far: &[Split],
    generation: Generation,
    progress: &mut dyn Progress,
) -> Result<Vec<GeneratedText>> {
    let Some(split) = so_far.last() else { return Ok(vec![]) };
    let mut config = model.config().clone();
    config.decoding.max_new_tokens = Some(generation.tokens);
    let model = model.with_config(config);
    let written = asked(split, generation).into_iter().map(|text| {
        let answer = model.generate(&text.interaction.prompt, progress)?;
        let read = answer.retrieved.iter().filter(|found| found.used);
        let read = read.filter_map(|found| model.bank().text(found.seq));
        Ok(GeneratedText::new(answer.text, text, so_far, read))
    });
    written.collect()
}
