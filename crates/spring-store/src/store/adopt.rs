//! An adapter that another program has trained, as what a user begins with.

use std::collections::BTreeSet;

use jiff::Timestamp;
use spring_drift::{Alpha, DriftError, ScoreStatistics};
use spring_fuse::Calibration;
use spring_lm::{Adapter, LoraConfig, ModelError};
use spring_memory::UserId;

use super::{
    Store, commit::put_memories, encode::to_json, import::unlikely, lease, version::version,
};
use crate::{
    Config, Error, Result, UserVersion,
    backend::{Backend, Durability, LearnedRow, Outcome},
    record::{PeriodRecord, SelectionRecord, UpdateRecord},
};

impl<B: Backend + ?Sized> Store<B> {
    /// Makes an adapter that another program has trained a user's first generation, and adds the
    /// user if the state has none of the name. The texts that are pending stay so, and what is
    /// learned of them goes on from this adapter.
    ///
    /// It is kept with a period of its own that no text is in, and never pruned, since it cannot be
    /// learned again. What its file does not tell is taken from the state's settings: the dropout,
    /// and by what power of the rank it is scaled. `layers` is the number of the model's blocks;
    /// `check` refuses adapters that do not fit it, such as by [`Adapter::check`].
    ///
    /// # Errors
    ///
    /// [`ModelError::Adapter`], calling the adapter by `label`, if it has another shape than the
    /// settings of `lora`, with what to set, if it cannot have been trained on the state's base, or
    /// if the user has learned something already; [`Error::Leased`] while somebody trains the user.
    pub fn adopt(
        &self,
        user: &UserId,
        adapter: Adapter,
        label: &str,
        layers: usize,
        check: &dyn Fn(&Adapter) -> Result<(), ModelError>,
    ) -> Result<UserVersion> {
        let refuse = |reason: String| ModelError::Adapter { adapter: label.into(), reason };
        let (config, base) = (&self.settings.config, &self.settings.fingerprint);
        let adapter = fitted(adapter, &config.lora, layers, base).map_err(refuse)?;
        check(&adapter).map_err(|error| match error {
            ModelError::Adapter { reason, .. } => refuse(reason),
            other => other,
        })?;
        if let Some(reason) = unlikely(&adapter) {
            return Err(refuse(format!("it {reason}; train it anew")).into());
        }
        let bytes = adapter.to_bytes()?;
        let record = record_of(config).map_err(|error| refuse(error.to_string()))?;
        self.write_for(Durability::Power, |rows| {
            let mut row = match rows.user(user)? {
                Some(row) => row,
                None => {
                    let removals = rows.settings()?.removals;
                    rows.add_user(user, removals)?
                }
            };
            let mut adopt = || -> Outcome<UserVersion> {
                lease::check_free(&self.backend, &*rows, user, &row)?;
                if !rows.generations(row.key)?.is_empty() || !rows.periods(row.key)?.is_empty() {
                    let reason = "the user has learned something already, and an adapter is what \
                                  one begins with; give it to a new user";
                    return Err(Error::from(refuse(reason.into())).into());
                }
                rows.put_period(row.key, record.period, &[])?;
                let json = to_json(&format!("the record of user {user}"), &record)?;
                let (number, parent, period) = (1, record.parent, record.period);
                let learned = LearnedRow { number, parent, period, sum: 0, record: json.into() };
                rows.put_generation(row.key, &learned)?;
                let nothing = (bytes.as_slice(), &Vec::new(), &Calibration::default());
                put_memories(rows, user, row.key, number, nothing)?;
                row.generation = number;
                rows.put_user(&row)?;
                version(&*rows, user, &row)
            };
            adopt().map_err(|fault| fault.of_user(user))
        })
    }
}

/// The adapter with what its file does not tell, for a model of this many blocks, or why training
/// cannot go on from it.
fn fitted(
    mut adapter: Adapter,
    lora: &LoraConfig,
    layers: usize,
    base: &str,
) -> Result<Adapter, String> {
    let has = &adapter.config;
    let mut wrong = Vec::new();
    let mut differ = |key: &str, ours: String, theirs: String| {
        if ours != theirs {
            wrong.push(format!("{key} {theirs} in place of {ours}"));
        }
    };
    differ("rank", lora.rank.to_string(), has.rank.to_string());
    // What α has to be here for the same scale; files have it in 32 bits.
    let alpha = has.scale() * lora.alpha / lora.scale();
    if (alpha / lora.alpha - 1.0).abs() > 1e-6 {
        differ("alpha", lora.alpha.to_string(), (alpha as f32).to_string());
    }
    let names = |config: &LoraConfig| {
        let mut targets = config.targets.clone();
        targets.sort_unstable();
        let names: Vec<String> =
            targets.iter().map(|target| format!("\"{}\"", target.name())).collect();
        format!("[{}]", names.join(", "))
    };
    differ("targets", names(lora), names(has));
    // A list of all blocks says no more than none.
    let blocks = |config: &LoraConfig| -> BTreeSet<usize> {
        match &config.layers {
            Some(list) => list.iter().copied().collect(),
            None => (0..layers).collect(),
        }
    };
    if blocks(lora) != blocks(has) {
        let named = |config: &LoraConfig| match &config.layers {
            Some(layers) => format!("{layers:?}"),
            None => "all".to_owned(),
        };
        differ("layers", named(lora), named(has));
    }
    if !wrong.is_empty() {
        return Err(format!(
            "it has another shape than this state's adapters, and training could not go on from \
             it: {}; make a state with these settings of [lora]",
            wrong.join(", ")
        ));
    }
    adapter.config = lora.clone();
    if adapter.base.is_empty() {
        base.clone_into(&mut adapter.base);
    }
    Ok(adapter)
}

/// The record of a period in which no text was learned.
fn record_of(config: &Config) -> Result<PeriodRecord, DriftError> {
    let statistics = ScoreStatistics::of(&[], Alpha::default())?;
    Ok(PeriodRecord {
        period: 1,
        parent: 0,
        finished: Timestamp::now(),
        seconds: 0.0,
        held_out: 0,
        scores: Vec::new(),
        statistics,
        selection: SelectionRecord {
            selected: 0,
            cutoff: None,
            reason: "the adapter was imported, and no text was asked".into(),
        },
        update: UpdateRecord { steps: 0, tokens: 0, losses: Vec::new(), seed: 0, seconds: 0.0 },
        evicted: Vec::new(),
        gate_threshold: None,
        unjudged: false,
        imported: true,
        prior: None,
        config: config.clone(),
    })
}
