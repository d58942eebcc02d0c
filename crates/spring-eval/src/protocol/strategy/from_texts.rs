//! An adapter that is trained on texts chosen without a score.

use std::sync::Arc;

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use spring_core::{
    ColdStart, Config, Progress, StoredInteraction, key,
    spring_drift::{DriftScore, Observation},
    spring_memory::{BufferItem, BufferPolicyConfig, NoEmbeddings},
};
use spring_lm::{Adapter, Sequence};

use super::{Answer, Learned, Period, Strategy, period::Training};
use crate::{Result, Trains, loss::encode};

/// Trains an adapter on texts that are chosen by a simple rule: all, some at random, all so far.
#[derive(Debug, Clone)]
pub struct FromTexts {
    trains: Trains,
    start: Option<Arc<Adapter>>,
    adapter: Option<Arc<Adapter>>,
}

impl FromTexts {
    /// By a rule; [`Trains::Selection`], which takes scores, is not one of its rules and trains on
    /// nothing.
    pub fn new(trains: Trains) -> Self {
        Self { trains, start: None, adapter: None }
    }

    /// The texts of a period that are learned.
    fn choose(&self, period: &Period<'_>) -> Result<Vec<StoredInteraction>> {
        Ok(match self.trains {
            Trains::Nothing | Trains::Selection => vec![],
            Trains::First if !period.is_first() => vec![],
            Trains::First | Trains::Everything | Trains::Replay => period.texts().to_vec(),
            Trains::SoFar => period.texts_so_far(),
            Trains::AsManyTexts => {
                // SPRInG as it is run here, or as it would be with this method's share and start.
                let like = period.spring_starting_alike(self.start.is_some());
                let count = match like.filter(|_| !period.has_own_share()) {
                    Some(count) => count,
                    None => self.own_share(period)?,
                };
                in_time(period.texts(), shuffled(period).into_iter().take(count))
            }
            Trains::AsManyTokens => {
                let wanted = period.spring_tokens();
                let encoded = encode(period.model(), period.config(), period.texts())?;
                let lengths: Vec<usize> =
                    encoded.iter().map(|text| text.sequence.response.len()).collect();
                in_time(period.texts(), up_to(&shuffled(period), &lengths, wanted))
            }
        })
    }

    /// As many texts as SPRInG with the same settings takes of this period.
    fn own_share(&self, period: &Period<'_>) -> Result<usize> {
        let (texts, drift) = (period.texts().len(), &period.config().drift);
        if period.is_first() && self.start.is_none() && drift.cold_start == ColdStart::All {
            return Ok(texts);
        }
        let equal = DriftScore::new(0.0, 0.0, 0.0);
        let observations: Vec<Observation> =
            (0..texts as u64).map(|order| Observation::new(0.0, None, order)).collect();
        let selected = drift.selection.select(&vec![equal; texts], &observations);
        Ok(selected.map_err(spring_core::Error::from)?.indices.len())
    }
}

impl Strategy for FromTexts {
    fn prepare(&mut self, _: &mut Config, start: Option<Arc<Adapter>>) -> Result<()> {
        self.start = start;
        self.adapter.clone_from(&self.start);
        Ok(())
    }

    fn learn(&mut self, period: &Period<'_>, progress: &mut dyn Progress) -> Result<Learned> {
        let texts = self.choose(period)?;
        if texts.is_empty() {
            return Ok(Learned::nothing());
        }
        if self.trains == Trains::SoFar {
            self.adapter.clone_from(&self.start);
        }
        let training = Training {
            start: self.adapter.as_deref(),
            texts: &texts,
            replayed: if self.trains == Trains::Replay { replayed(period)? } else { vec![] },
            since_first: self.trains == Trains::SoFar,
        };
        let trained = period.train_as(training, progress)?;
        self.adapter = Some(trained.adapter);
        Ok(Learned::of(texts.iter().map(|text| text.seq), trained.tokens))
    }

    fn answer(&self, _: &Period<'_>) -> Result<Answer> {
        Ok(Answer::with_adapter(self.adapter.clone()))
    }
}

fn shuffled(period: &Period<'_>) -> Vec<usize> {
    let (seed, user) = (period.config().seed, period.user().as_str());
    let seed = key::seed(seed, user, period.number(), "random selection");
    let mut order: Vec<usize> = (0..period.texts().len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    order
}

/// As many older texts as the period has, from a reservoir over all earlier periods.
fn replayed(period: &Period<'_>) -> Result<Vec<Sequence>> {
    // The same reservoir in every period of a user.
    let seed = key::seed(period.config().seed, period.user().as_str(), 0, "replay");
    let policy = BufferPolicyConfig::Reservoir { seed }.init().map_err(spring_core::Error::from)?;
    let earlier = period.earlier_texts();
    let items = earlier.iter().map(|text| BufferItem::new(text.seq, 0, 0.0, 0.0, 0.0));
    let count = period.texts().len().min(period.config().buffer.capacity);
    let kept = policy.retain(items.collect(), count, &NoEmbeddings);
    let kept = kept.map_err(spring_core::Error::from)?.kept;
    let kept: Vec<StoredInteraction> =
        earlier.into_iter().filter(|text| kept.iter().any(|item| item.key == text.seq)).collect();
    let encoded = encode(period.model(), period.config(), &kept)?;
    Ok(encoded.into_iter().map(|text| text.sequence).collect())
}

fn in_time(
    texts: &[StoredInteraction],
    chosen: impl Iterator<Item = usize>,
) -> Vec<StoredInteraction> {
    let mut places: Vec<usize> = chosen.collect();
    places.sort_unstable();
    places.into_iter().map(|place| texts[place].clone()).collect()
}

/// The first of an order whose lengths come nearest to a sum; at least one.
fn up_to(order: &[usize], lengths: &[usize], wanted: usize) -> impl Iterator<Item = usize> {
    let (mut sum, mut count) = (0usize, 0);
    for place in order {
        let with = sum.saturating_add(lengths[*place]);
        if count > 0 && with.abs_diff(wanted) > sum.abs_diff(wanted) {
            break;
        }
        (sum, count) = (with, count + 1);
    }
    order[..count].iter().copied()
}
