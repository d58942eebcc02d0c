//! What is done once for all methods: the domain adapter, and the base's scores.

use spring_core::{
    Config, Event, LanguageModel, Progress, StoredInteraction, key, mean_log_likelihood,
};
use spring_lm::{Adapter, Sequence, TrainRequest};

use crate::{Error, Result, Split, loss::encode};

/// Trains the domain adapter on the first periods of users that are not evaluated.
///
/// # Errors
///
/// [`Error::NotEnough`] without texts; otherwise what the model refuses.
pub fn domain_adapter(
    model: &dyn LanguageModel,
    config: &Config,
    texts: &[StoredInteraction],
    progress: &mut dyn Progress,
) -> Result<Adapter> {
    if texts.is_empty() {
        let reason = "the domain adapter needs texts of users that are not evaluated; \
                      evaluate fewer users";
        return Err(Error::NotEnough(reason.into()));
    }
    let encoded = encode(model, config, texts)?;
    let examples: Vec<Sequence> = encoded.into_iter().map(|text| text.sequence).collect();
    let seed = key::seed(config.seed, "domain", 1, "adapter");
    let request = TrainRequest::new(&config.lora, &examples, &config.training, seed);
    let outcome = model.train(request, &mut |step| {
        progress.on(Event::Training { done: step.done, steps: step.steps, loss: step.loss })
    });
    Ok(outcome.map_err(spring_core::Error::from)?.adapter)
}

/// The base's log-likelihood of every training text that has none yet, once for all methods.
pub(crate) fn score_base(
    model: &dyn LanguageModel,
    config: &Config,
    splits: &mut [Split],
) -> Result<()> {
    for split in splits {
        let unscored: Vec<usize> =
            (0..split.train.len()).filter(|place| split.train[*place].base.is_none()).collect();
        let texts: Vec<StoredInteraction> =
            unscored.iter().map(|place| split.train[*place].clone()).collect();
        let encoded = encode(model, config, &texts)?;
        let rows: Vec<_> = encoded.iter().map(|text| (&text.sequence, None)).collect();
        let scores = model.score(&rows).map_err(spring_core::Error::from)?;
        for (place, tokens) in unscored.into_iter().zip(scores) {
            split.train[place].base = Some(mean_log_likelihood(&tokens));
        }
    }
    Ok(())
}
