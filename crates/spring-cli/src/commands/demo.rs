//! `spring demo`: the whole method on a built-in history, in a few screens.

use std::{collections::HashMap, path::Path};

use anyhow::Result;
use serde_json::json;
use spring_core::{
    Config, Periods, Settings, SqliteStore, StoredInteraction, Tokenize, UserModel, adapt,
    drift_signal, ingest_jsonl,
    record::{AnswerRecord, LearnedPeriod, PeriodRecord},
    spring_fuse::SamplerConfig,
    spring_memory::UserId,
};
use spring_eval::{PeriodLosses, evaluate_state};
use spring_model::{AnyModel, TrainConfig};
use spring_report::{UserReport, html};

use super::explain::{self, Shown};
use crate::{
    args::{Args, DemoArgs},
    embedded, files, interrupt,
    output::{self, excerpt},
    progress::Bars,
};

/// Four periods of 21 texts: the person's life changes at the end of the second.
const PERIODS: Periods = Periods { count: 4, hold_out: 0.2 };
/// A film that is not in the history, by a director who is.
const PROMPT: &str = "Write a review of the film \"The Restored Prints of Edvard Lunt\".";

/// The paper's settings, except for what a small base needs: a larger learning rate, and one of a
/// few million parameters also more epochs.
fn config(model: &AnyModel) -> Config {
    const FEW: u64 = 20_000_000;
    let parameters = model.config().parameters();
    let training = TrainConfig::default();
    let epochs = if parameters < FEW { 8 } else { training.epochs };
    let learning_rate = TrainConfig::rate_for(parameters);
    let training = training.with_learning_rate(learning_rate).with_epochs(epochs);
    Config::default().with_training(training)
}

/// All that the demo shows.
struct Demo<'m> {
    user: UserId,
    learned: Vec<LearnedPeriod>,
    losses: Vec<PeriodLosses>,
    texts: HashMap<u64, StoredInteraction>,
    person: UserModel<'m>,
    answer: AnswerRecord,
    tokens: Vec<String>,
}

pub fn run(args: &Args, command: &DemoArgs) -> Result<()> {
    command.out.iter().try_for_each(|path| files::plain(path))?;
    let mut bars = Bars::new(args.quiet);
    let built_in = command.model == embedded::NAME;
    let name = if built_in { "the built-in model" } else { command.model.as_str() };
    bars.say(&format!("loading {name}"));
    let model = embedded::load_learner(&command.model, args)?;
    let config = config(&model);
    let demo = interrupt::or_interrupted(learn(&model, &command.model, &config, &mut bars))??;
    bars.finish();
    if args.json {
        output::json(&json!({
            "periods": demo.learned, "losses": demo.losses, "buffer": demo.person.memories().buffer,
            "answer": demo.answer
        }))?;
    } else {
        show(&demo, &config, command.terms)?;
    }
    match &command.out {
        Some(path) => {
            write_report(&demo, name, path)?;
            if args.json {
                Ok(())
            } else {
                output::line(&format!("\nThe same with plots: {}", path.display()))
            }
        }
        None if args.json => Ok(()),
        None => output::line("\n--out report.html writes the same with plots."),
    }
}

fn learn<'m>(
    model: &'m AnyModel,
    name: &str,
    config: &Config,
    bars: &mut Bars,
) -> spring_core::Result<Result<Demo<'m>>> {
    let settings = Settings::new(name, model.info().fingerprint.clone(), config.clone());
    let store = SqliteStore::in_memory(&settings)?;
    ingest_jsonl(&store, embedded::HISTORY.as_bytes(), "history")?;
    let Some(user) = store.users(None, 1)?.pop().map(|summary| summary.user) else {
        return Ok(Err(anyhow::anyhow!("the built-in history is empty")));
    };
    let learned = adapt(model, &store, &user, PERIODS, bars)?;
    bars.say("scoring the held-out texts");
    let losses = match evaluate_state(model, &store, &user) {
        Ok(losses) => losses,
        Err(spring_eval::Error::Core(error)) => return Err(error),
        Err(other) => return Ok(Err(other.into())),
    };
    let mut texts = HashMap::new();
    for period in &learned {
        for member in store.members(&user, period.record.period)? {
            texts.insert(member.stored.seq, member.stored);
        }
    }
    let person = UserModel::recall(model, &store, &user, None)?;
    let mut config = settings.config;
    config.decoding.max_new_tokens = Some(96);
    // A model this small repeats itself when it decodes greedily.
    config.decoding.sampler = SamplerConfig::default().with_temperature(0.7).with_top_p(Some(0.9));
    let person = person.with_config(config);
    let answer = person.generate(PROMPT, bars)?;
    let tokens = answer
        .trace
        .iter()
        .map(|token| model.decode_text(&[token.token]))
        .collect::<Result<_, _>>()?;
    Ok(Ok(Demo { user, learned, losses, texts, person, answer, tokens }))
}

fn show(demo: &Demo<'_>, config: &Config, terms: bool) -> Result<()> {
    let label = |seq: u64| label_of(&demo.texts, seq);
    output::line(&format!(
        "One person's {} film reviews, in the order they were written. Half-way her life\n\
         and her taste change; a few messages are noise. The base model knows film\n\
         reviews but not her. After each of {} periods it learns what is new: a small\n\
         adapter is trained on the texts that carry new preference, and a buffer keeps\n\
         what it still explains badly.",
        demo.texts.len(),
        demo.learned.len()
    ))?;

    output::line("\n── 1. What was learned, and why ──")?;
    if terms {
        output::line(explain::TERMS)?;
    }
    let signals = drift_signal(config.drift.signal, &demo.learned)?;
    for learned in &demo.learned {
        let signal = signals.iter().find(|signal| signal.generation == learned.generation);
        explain::period(learned, signal, &demo.texts, Shown { rows: 5, terms })?;
    }
    let later = || demo.learned.iter().skip(1).flat_map(|learned| &learned.record.scores);
    let noise = later().filter(|score| label(score.seq) == "noise").count();
    let learned =
        later().filter(|score| label(score.seq) == "noise" && score.selected.is_some()).count();
    output::line(&format!(
        "\nThe labels in the data, which the method never reads: {learned} of {noise} noise \
         messages after the first period were selected."
    ))?;

    output::line("\n── 2. What stayed in the buffer ──")?;
    let shown = Shown { rows: 6, terms };
    explain::buffer_table(&demo.person.memories().buffer, config, &demo.texts, shown)?;

    output::line("\n── 3. How well the next texts are predicted ──")?;
    output::line("Perplexity on texts of each period that were held out; lower is better.")?;
    let headings =
        ["period", "held out", "base", "static adapter", "SPRInG's adapter", "with retrieval"];
    let mut table = output::table(&headings, &[3, 4, 5]);
    for period in &demo.losses {
        table.add_row([
            period.period.to_string(),
            format!("{} texts", period.base.texts),
            format!("{:.1}", period.base.perplexity()),
            format!("{:.1}", period.static_adapter.perplexity()),
            format!("{:.1}", period.adapter.perplexity()),
            format!("{:.1}", period.spring.fused.perplexity()),
        ]);
    }
    output::line(&table.to_string())?;

    output::line("\n── 4. A text in her words ──")?;
    output::line(&format!("{PROMPT}\n"))?;
    output::line(&format!("  {}\n", excerpt(&demo.answer.text, 1000)))?;
    let texts = explain::by_seq(demo.person.bank().texts().to_vec());
    explain::answer(&demo.answer, &texts, Shown { rows: 8, terms })
}

fn label_of(texts: &HashMap<u64, StoredInteraction>, seq: u64) -> &str {
    let meta = texts.get(&seq).and_then(|text| text.interaction.meta.as_ref());
    meta.and_then(|meta| meta.get("label")).and_then(|label| label.as_str()).unwrap_or_default()
}

fn write_report(demo: &Demo<'_>, model: &str, path: &Path) -> Result<()> {
    let periods: Vec<PeriodRecord> =
        demo.learned.iter().map(|learned| learned.record.clone()).collect();
    let memories = demo.person.memories();
    let report = UserReport::new(&demo.user, model, &demo.texts)
        .with_periods(&periods, &demo.losses)
        .with_buffer(&memories.buffer, &memories.calibration.sample)
        .with_answer(Some(&demo.answer), &demo.tokens);
    let page = html(&report)?;
    files::write_whole(path, page.as_bytes())
}
