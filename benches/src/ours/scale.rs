//! The loop over a state: how its cost grows with a user's history, and with the number of users.

use std::{
    ops::{ControlFlow, Range},
    path::Path,
    slice::from_ref,
    sync::Mutex,
    time::Instant,
};

use anyhow::{Context, Result};
use jiff::Timestamp;
use spring_core::{
    ColdStart, Config, Event, Follow, LanguageModel, Periods, Progress, Settings, SqliteStore,
    adapt, adapt_users,
    record::LearnedPeriod,
    spring_drift::Selection,
    spring_memory::{Interaction, InteractionId, UserId},
};

use super::{model::load, timed};
use crate::protocol::Reply;

/// So that the buffer has been filled before the first text that counts.
const PERIODS_BEFORE: u32 = 4;

pub fn history(
    folder: &Path,
    before: usize,
    new: usize,
    selected: usize,
) -> Result<impl FnMut() -> Result<Reply>> {
    let model = load(folder)?;
    let mut config = Config::default();
    // The same number at any length of the history: the cost of learning is known, that of
    // remembering is asked for.
    config.drift.cold_start = ColdStart::Select;
    config.drift.selection = Selection::TopCount { count: selected };
    let place = tempfile::tempdir()?;
    let store = SqliteStore::create(place.path().join("state.db"), &settings(&model, config))?;
    let user = UserId::new("ada")?;
    let mut written = before;
    ingest(&store, from_ref(&user), 0..before)?;
    adapt(&model, &store, &user, Periods { count: PERIODS_BEFORE, hold_out: 0.0 }, &mut ())?;
    Ok(move || {
        // The state's folder lives as long as this closure.
        let _ = &place;
        let texts = written..written + new;
        written = texts.end;
        let (ingesting, done) = timed(|| ingest(&store, from_ref(&user), texts));
        done?;
        let (mut beginning, mut rescoring) = (Instant::now(), Instant::now());
        let mut follow = |event: Event<'_>| {
            match event {
                Event::Period { .. } => beginning = Instant::now(),
                Event::Rescoring { .. } => rescoring = Instant::now(),
                _ => {}
            }
            ControlFlow::Continue(())
        };
        let (all, learned) =
            timed(|| adapt(&model, &store, &user, Periods::default(), &mut follow));
        let record = learned?.pop().context("nothing was learned")?.record;
        let (up_to_buffer, training) =
            ((rescoring - beginning).as_secs_f64(), record.update.seconds);
        let parts = [
            ("ingest", ingesting),
            ("score and select", up_to_buffer - training),
            ("train", training),
            ("score the buffer, calibrate", record.seconds - up_to_buffer),
            ("read and commit", all - record.seconds),
            ("all", ingesting + all),
        ];
        let parts = parts.map(|(name, seconds)| (name.to_owned(), seconds)).into();
        Ok(Reply { parts, ..Reply::default() })
    })
}

pub fn users(folder: &Path, users: usize, texts: usize) -> Result<impl FnMut() -> Result<Reply>> {
    let model = load(folder)?;
    let names = (0..users)
        .map(|user| UserId::new(format!("user-{user:04}")))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(move || {
        let place = tempfile::tempdir()?;
        let path = place.path().join("state.db");
        let store = SqliteStore::create(&path, &settings(&model, Config::default()))?;
        ingest(&store, &names, 0..texts)?;
        let follow = Learned::default();
        let (seconds, done) = timed(|| adapt_users(&model, &store, 1, Periods::default(), &follow));
        done?;
        let learned = follow.0.into_inner().unwrap_or_default();
        anyhow::ensure!(learned == Some(users), "{learned:?} of {users} users learned");
        Ok(Reply { parts: vec![("adapt".into(), seconds)], ..Reply::default() })
    })
}

fn settings(model: &dyn LanguageModel, config: Config) -> Settings {
    Settings::new("bench", model.info().fingerprint.clone(), config)
}

/// The same made-up texts for everybody: what they say does not change what they cost.
fn ingest(store: &SqliteStore, users: &[UserId], texts: Range<usize>) -> Result<()> {
    let all = texts.flat_map(|text| users.iter().map(move |user| (user, text)));
    let interactions =
        all.map(|(user, text)| interaction(user.clone(), text)).collect::<Result<Vec<_>>>()?;
    store.ingest(interactions)?;
    Ok(())
}

fn interaction(user: UserId, text: usize) -> Result<Interaction> {
    let words = ["sea", "train", "garden", "film", "soup", "letter", "winter", "shop"];
    let word = |i: usize| words[(text * 3 + i * (text + 5)) % words.len()];
    let prompt = format!("Write about the {} and the {}.", word(0), word(1));
    let response = format!(
        "On day {text} I saw the {} by the {}; it was like a {} in a {}, and I would go there \
         again if the {} \
         were not so far.",
        word(2),
        word(3),
        word(4),
        word(5),
        word(6)
    );
    let time = Timestamp::from_second(1_600_000_000 + 3600 * text as i64)?;
    Ok(Interaction::new(user, InteractionId::new(text.to_string())?, time, prompt, response))
}

/// Counts the users who have learned; `None` after one who could not.
struct Learned(Mutex<Option<usize>>);

impl Default for Learned {
    fn default() -> Self {
        Self(Mutex::new(Some(0)))
    }
}

impl Follow for Learned {
    fn progress(&self) -> Box<dyn Progress + '_> {
        Box::new(())
    }

    fn done(
        &self,
        user: &UserId,
        learned: spring_core::Result<Vec<LearnedPeriod>>,
    ) -> ControlFlow<()> {
        let Ok(mut count) = self.0.lock() else { return ControlFlow::Break(()) };
        match learned {
            Ok(_) => *count = count.map(|count| count + 1),
            Err(error) => {
                eprintln!("{user}: {error}");
                *count = None;
            }
        }
        ControlFlow::Continue(())
    }
}
