//! Priors: one adapter for all who have learned nothing yet, learned from users who agree.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use jiff::Timestamp;
use spring_lm::{Sequence, TrainRequest};
use spring_memory::UserId;

use crate::{
    Error, LanguageModel, Memories, PriorChange, PriorPlan, PriorTexts, Result, Store,
    adapt::{PATIENCE, patience, patiently},
    check_base,
    forget::Relearning,
    key,
    progress::{Event, Progress, tell},
    prompt::encode_pair,
    record::UpdateRecord,
};

/// Learns an adapter from the texts of users who agree, under the state's settings, and brings it
/// into use: who has learned nothing yet answers with it, and starts from it. What was learned
/// before stays as it is; [`apply_prior`] moves it.
///
/// It is learned from texts in periods that are not held out there, at most [`PriorPlan::most`] of
/// each user, the latest. The same users, texts and settings give the same adapter, to the last bit
/// on the CPU. Nothing is written before it is learned; then all is one transaction. Gives also the
/// texts that it was learned from, with those who were left out.
///
/// # Errors
///
/// [`Error::OtherBase`] for a model that the state was not made for, [`Error::NoContributors`]
/// without texts, [`Withheld`](spring_store::Error::Withheld) for a user who was named and has said
/// no, [`Outdated`](spring_store::Error::Outdated) if a text was forgotten meanwhile, or what stops
/// the training; nothing is changed then.
pub fn train_prior(
    model: &dyn LanguageModel,
    store: &Store,
    plan: &PriorPlan,
    progress: &mut dyn Progress,
) -> Result<(PriorChange, PriorTexts)> {
    check_base(model, store)?;
    let config = &store.settings().config;
    let texts = store.prior_texts(plan)?;
    let mut examples: Vec<Sequence> = Vec::new();
    for (version, texts) in &texts.contributors {
        // Whoever wants it to stop is asked between two users: tokens are not counted yet.
        tell(progress, Event::Scoring { texts: texts.len() })?;
        for text in texts {
            let (prompt, response) = (&text.interaction.prompt, &text.interaction.response);
            let encoded = encode_pair(model, prompt, response, config.training.max_tokens);
            examples.push(encoded.map_err(|error| error.of_user(version.user()))?.sequence);
        }
    }
    if examples.is_empty() {
        return Err(Error::NoContributors { state: store.backend().label().into() });
    }
    // Of no user, who may have any name: the purpose tells it from theirs.
    let seed = key::seed(config.seed, "", 0, "prior");
    let started = Instant::now();
    let request = TrainRequest::new(&config.lora, &examples, &config.training, seed);
    let outcome = model.train(request, &mut |step| {
        progress.on(Event::Training { done: step.done, steps: step.steps, loss: step.loss })
    })?;
    let update = UpdateRecord {
        steps: outcome.steps,
        tokens: outcome.tokens,
        losses: outcome.losses,
        seed,
        seconds: started.elapsed().as_secs_f64(),
    };
    let finished = Timestamp::now();
    let change = patiently(finished + PATIENCE, progress, || {
        Ok(store.commit_prior(&texts, &outcome.adapter, &update, finished)?)
    })?;
    Ok((change, texts))
}

/// Moves a user onto the prior in use, or onto the base where there is none: every generation is
/// learned again under its own number, with the period and the settings that it was learned with,
/// as if the user had started there. Gives how many were; none of a user who started there, or has
/// learned nothing.
///
/// Training comes first; then all changes are one transaction. Records of texts that were generated
/// before stay.
///
/// # Errors
///
/// [`Error::OtherBase`] for a model that the state was not made for, [`Error::Imported`] for a user
/// who began with an imported adapter, [`Leased`](spring_store::Error::Leased) while somebody else
/// trains this user, [`Conflict`](spring_store::Error::Conflict) if another prior has come into use
/// meanwhile, or what stops the training; nothing is changed then.
pub fn apply_prior(
    model: &dyn LanguageModel,
    store: &Store,
    user: &UserId,
    progress: &mut dyn Progress,
) -> Result<u64> {
    check_base(model, store)?;
    store.with_lease(user, |lease| {
        let start = store.prior()?;
        let start = start.map_or_else(Memories::default, |prior| Memories::from_prior(&prior));
        let relearning = Relearning::new(model, store, lease, None, progress)?;
        let moved = elsewhere(&relearning, start.prior.as_deref());
        if moved.is_empty() {
            return Ok(0);
        }
        // Of others, the adapter that was imported is what they begin with.
        if relearning.records.values().any(|record| record.imported) {
            return Err(Error::Imported { user: user.clone() });
        }
        let relearned = relearning.starting_from(start).run(&moved);
        let relearned = relearned.map_err(|error| error.of_user(user))?;
        patiently(patience(lease), progress, || Ok(store.relearn(lease, &relearned)?))?;
        Ok(relearned.len() as u64)
    })
}

/// The generations that came from another start than this one.
fn elsewhere(relearning: &Relearning<'_>, start: Option<&str>) -> BTreeSet<u32> {
    // Each comes after its parent.
    let mut starts: BTreeMap<u32, bool> = BTreeMap::new();
    for (number, generation) in &relearning.generations {
        let is_elsewhere = match generation.parent {
            0 => relearning
                .records
                .get(number)
                .is_none_or(|record| record.imported || record.prior.as_deref() != start),
            parent => starts.get(&parent).copied().unwrap_or_default(),
        };
        starts.insert(*number, is_elsewhere);
    }
    starts.into_iter().filter_map(|(number, is)| is.then_some(number)).collect()
}
