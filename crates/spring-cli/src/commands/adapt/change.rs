//! What an adaptation changed, in three lines: held-out texts before and after, and one prompt
//! answered by the base and by the person's model.

use anyhow::Result;
use serde_json::json;
use spring_core::{LanguageModel, Store, UserModel, record::LearnedPeriod, spring_memory::UserId};
use spring_eval::{Change, change};

use crate::{
    args::Args,
    interrupt,
    output::{self, excerpt},
    progress::Bars,
};

/// Fewer texts than this are little to learn from.
const FEW: u64 = 30;

/// Tokens of the two answers.
const TOKENS: usize = 60;

/// Compares what was learned with the generation that was in use before; one that is worse on the
/// held-out texts is rolled back, unless it is to be kept. So is what an earlier run learned that
/// ended before it came to this.
pub fn tell(
    args: &Args,
    model: &dyn LanguageModel,
    store: &Store,
    user: &UserId,
    before: u32,
    learned: &[LearnedPeriod],
    keep: bool,
) -> Result<()> {
    let unjudged = if keep { None } else { store.unjudged(user)? };
    let (before, learned) = match &unjudged {
        Some(waiting) => (waiting.before, waiting.learned.as_slice()),
        None => (before, learned),
    };
    let periods: Vec<u32> = learned.iter().map(|learned| learned.record.period).collect();
    let mut bars = Bars::new(args.quiet);
    bars.say("scoring the held-out texts");
    let change = match change(model, store, user, before, &periods) {
        Err(spring_eval::Error::Core(error)) => interrupt::or_interrupted(Err(error))?,
        other => other?,
    };
    let is_worse = change.as_ref().is_some_and(Change::is_worse);
    // Somebody may have judged it, or chosen another generation, meanwhile.
    let is_judged = match &unjudged {
        Some(waiting) => store.judge(waiting, !is_worse)?,
        None => false,
    };
    let rolled_back = is_worse && is_judged;
    if args.json {
        bars.finish();
        return output::json(&json!({
            "user": user, "change": change, "rolled_back": rolled_back
        }));
    }
    let answers = match rolled_back {
        true => None,
        false => interrupt::or_interrupted(answers(model, store, user, learned, &mut bars))?,
    };
    bars.finish();
    let held_out = learned.iter().map(|learned| learned.record.held_out).sum();
    output::line(&in_words(change.as_ref(), before, held_out))?;
    let texts = store.user(user)?.interactions;
    if texts < FEW {
        let texts = output::count(texts, "text");
        output::line(&format!("{texts}: from some forty on, more of a person is learned"))?;
    }
    if rolled_back {
        return output::line(
            "it got worse, so the earlier generation stays in use; a lower \
             training.learning_rate may help, and --keep keeps what was learned anyway",
        );
    }
    if is_worse && !keep {
        let in_use = store.user(user)?.generation;
        return output::line(&format!(
            "it got worse, but somebody else has said meanwhile what is in use: generation \
             {in_use}; `spring rollback` goes back"
        ));
    }
    let Some(Answers { prompt, base, person, really }) = answers else { return Ok(()) };
    output::line(&format!("asked: {}", excerpt(&prompt, 90)))?;
    output::line(&format!("  base: {}", excerpt(&base, 240)))?;
    output::line(&format!("  {}: {}", excerpt(user.as_str(), 20), excerpt(&person, 240)))?;
    output::line(&format!("  really written: {}", excerpt(&really, 240)))
}

fn in_words(change: Option<&Change>, before: u32, held_out: usize) -> String {
    let Some(change) = change else {
        return match held_out {
            0 => "no text was held out, so what was learned is not measured (--hold-out)".into(),
            _ => format!(
                "of {held_out} held-out texts each nearly equals a learned one, so what was \
                 learned is not measured"
            ),
        };
    };
    let Change { texts, base, before: earlier, after, difference, .. } = change;
    let since = match before {
        // Nothing was there before but the base, unless it was a prior.
        0 if base == earlier => format!("base {base:.3}"),
        _ => format!("base {base:.3}, before {earlier:.3}"),
    };
    let compared = output::count(*texts as u64, "held-out text");
    let scores = format!("{compared}: {since}, with what was learned {after:.3} nats/token");
    if *texts == 1 {
        return format!("{scores} ({:+.3}; one text alone tells little)", difference.mean);
    }
    let verdict = match (change.is_better(), change.is_worse()) {
        (true, _) => "better",
        (_, true) => "worse",
        _ => "no clear change",
    };
    format!(
        "{scores}: {verdict} ({:+.3}, 95 % {:+.3} to {:+.3})",
        difference.mean, difference.low, difference.high
    )
}

/// One prompt, answered twice.
struct Answers {
    prompt: String,
    base: String,
    person: String,
    /// The person's own answer.
    really: String,
}

/// The prompt of the latest text, held out if there is one.
fn answers(
    model: &dyn LanguageModel,
    store: &Store,
    user: &UserId,
    learned: &[LearnedPeriod],
    bars: &mut Bars,
) -> spring_core::Result<Option<Answers>> {
    let Some(newest) = learned.last() else { return Ok(None) };
    let members = store.members(user, newest.record.period)?;
    let order = |member: &spring_core::Member| {
        let stored = &member.stored;
        (member.held_out, stored.interaction.time, stored.seq)
    };
    let latest = members.into_iter().max_by_key(order);
    let Some(latest) = latest.map(|member| member.stored.interaction) else { return Ok(None) };
    let (prompt, really) = (latest.prompt, latest.response);
    if prompt.trim().is_empty() {
        return Ok(None);
    }
    let person = UserModel::recall(model, store, user, None)?;
    let mut config = person.config().clone();
    config.decoding.max_new_tokens = Some(TOKENS);
    let base = UserModel::fresh(model, config.clone(), None)?.generate(&prompt, bars)?.text;
    let person = person.with_config(config).generate(&prompt, bars)?.text;
    Ok(Some(Answers { prompt, base, person, really }))
}
