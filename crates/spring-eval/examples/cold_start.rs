//! What a prior is worth to somebody new: the loss on later texts and the first answers, when
//! nothing was learned of the person and after the first five texts, from the base and from a prior
//! that was learned from everybody else; means over users with 95 % intervals.
//!
//! ```sh
//! # interactions as JSONL, and a model: a folder or a GGUF file
//! cargo run --release -p spring-eval --example cold_start -- texts.jsonl path/to/model --users 12
//! # on a GPU, with other settings, as JSON
//! cargo run --release -p spring-eval --features spring-model/cuda --example cold_start -- \
//!     texts.jsonl path/to/model --device cuda --precision bf16 --set training.epochs=3 --json
//! ```

use std::{collections::BTreeMap, error::Error, fs::File, io::BufReader, path::Path};

use serde::Serialize;
use spring_core::{
    Config, Contributors, LanguageModel, MemoryStore, Periods, PriorPlan, Settings, Store,
    StoredInteraction, UserModel, adapt, key,
    spring_memory::{Interaction, JsonlReader, UserId},
    train_prior,
};
use spring_eval::{encode, losses};
use spring_metrics::{Interval, UserScores, bootstrap, paired_test, rouge};
use spring_model::{AnyModel, Device, LoadOptions, ModelFiles, Precision, TrainConfig};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The texts of each person, in the order of time.
pub type People = BTreeMap<UserId, Vec<Interaction>>;

const USAGE: &str = "cold_start TEXTS.jsonl MODEL [--users 8] [--seed 0] [--texts-of-others 100] \
                     [--first 5] [--later 20] [--answers 2] [--tokens 64] [--set KEY=VALUE]… \
                     [--device cpu] [--precision f32] [--json]";

/// What is measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Users who are new, drawn by the seed; the others are those the prior is learned from.
    pub users: usize,
    /// What users and intervals are drawn with.
    pub seed: u64,
    /// The latest texts of each of the others.
    pub texts_of_others: usize,
    /// Texts that somebody new has written.
    pub first: usize,
    /// Of the texts after those, how many are scored.
    pub later: usize,
    /// Of their prompts, how many are answered.
    pub answers: usize,
    /// Most tokens of an answer.
    pub tokens: usize,
}

impl Default for Plan {
    fn default() -> Self {
        let (users, seed, texts_of_others) = (8, 0, 100);
        Self { users, seed, texts_of_others, first: 5, later: 20, answers: 2, tokens: 64 }
    }
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Of prior and persons alike.
    pub learning_rate: f64,
    /// What users and intervals were drawn with.
    pub seed: u64,
    /// Users that the prior was learned from.
    pub prior_users: usize,
    /// Their texts.
    pub prior_texts: usize,
    /// Over users, for each start.
    pub means: Vec<Means>,
    /// The prior against the base.
    pub gains: Vec<Gain>,
    /// Those who are new.
    pub people: Vec<Person>,
}

/// Somebody new.
#[derive(Debug, Clone, Serialize)]
pub struct Person {
    /// The name.
    pub user: UserId,
    /// Texts scored.
    pub texts: usize,
    /// What is answered, and what the person really wrote.
    pub asked: Vec<[String; 2]>,
    /// From the base, from the prior, and both after the first texts.
    pub found: Vec<Found>,
}

/// What a start gives one person.
#[derive(Debug, Clone, Serialize)]
pub struct Found {
    /// `base` or `prior`.
    pub start: &'static str,
    /// Texts learned of the person.
    pub learned: usize,
    /// Nats per byte of the later texts.
    pub loss: f64,
    /// Greedy answers to the prompts that are asked.
    pub answers: Vec<String>,
    /// ROUGE-L of the answers, their mean; `None` without answers.
    pub rouge_l: Option<f64>,
}

/// The same over users.
#[derive(Debug, Clone, Serialize)]
pub struct Means {
    /// `base` or `prior`.
    pub start: &'static str,
    /// Texts learned of each person.
    pub learned: usize,
    /// Nats per byte of the later texts.
    pub loss: Option<Interval>,
    /// ROUGE-L of the answers.
    pub rouge_l: Option<Interval>,
}

/// The prior less the base, user by user.
#[derive(Debug, Clone, Serialize)]
pub struct Gain {
    /// Texts learned of each person.
    pub learned: usize,
    /// Nats per byte of the later texts; below 0 where the prior is better.
    pub loss: Option<Interval>,
    /// Of a sign-flip test, not corrected for there being one before and one after the first texts.
    pub loss_p_uncorrected: Option<f64>,
    /// Users whose loss is lower from the prior.
    pub better: usize,
    /// ROUGE-L of the answers; above 0 where the prior is better.
    pub rouge_l: Option<Interval>,
}

fn main() -> Outcome<()> {
    let (mut plan, mut options, mut json) = (Plan::default(), LoadOptions::default(), false);
    let (mut places, mut changes): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument}: a value\n{USAGE}"));
        match argument.as_str() {
            "--users" => plan.users = value()?.parse()?,
            "--seed" => plan.seed = value()?.parse()?,
            "--texts-of-others" => plan.texts_of_others = value()?.parse()?,
            "--first" => plan.first = value()?.parse()?,
            "--later" => plan.later = value()?.parse()?,
            "--answers" => plan.answers = value()?.parse()?,
            "--tokens" => plan.tokens = value()?.parse()?,
            "--set" => changes.push(value()?),
            "--device" => options = options.with_device(value()?.parse::<Device>()?),
            "--precision" => {
                options = options.with_precision(Some(value()?.parse::<Precision>()?));
            }
            "--json" => json = true,
            unknown if unknown.starts_with("--") => {
                return Err(format!("{unknown}\n{USAGE}").into());
            }
            _ => places.push(argument),
        }
    }
    let [texts, model] = places.as_slice() else { return Err(USAGE.into()) };
    let model = AnyModel::load_with(&ModelFiles::open(Path::new(model))?, &options)?;
    let rate = TrainConfig::rate_for(model.config().parameters());
    let config = Config::default().with_training(TrainConfig::default().with_learning_rate(rate));
    let report = measure(&model, &config.with_changes(&changes)?, &people(texts)?, &plan)?;
    match json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => print!("{}", markdown(&report, &plan)),
    }
    Ok(())
}

fn people(texts: &str) -> Outcome<People> {
    let mut people = People::new();
    for interaction in JsonlReader::new(BufReader::new(File::open(texts)?), texts) {
        let (_, interaction) = interaction?;
        people.entry(interaction.user.clone()).or_default().push(interaction);
    }
    people.values_mut().for_each(|texts| texts.sort_by_key(|text| text.time));
    Ok(people)
}

/// Measures somebody new after somebody new.
pub fn measure(
    model: &dyn LanguageModel,
    config: &Config,
    people: &People,
    plan: &Plan,
) -> Outcome<Report> {
    let draw = |user: &UserId| key::seed(plan.seed, user.as_str(), 0, "who is new");
    let mut chosen: Vec<&UserId> =
        people.iter().filter(|(_, texts)| texts.len() > plan.first).map(|(user, _)| user).collect();
    chosen.sort_by_key(|user| draw(user));
    chosen.truncate(plan.users);
    chosen.sort();
    if plan.first == 0 {
        return Err("somebody new has written at least one text".into());
    }
    if chosen.is_empty() || chosen.len() == people.len() {
        let reason = format!(
            "{} users of more than {} texts are new, of {}: there have to be some, and others",
            chosen.len(),
            plan.first,
            people.len()
        );
        return Err(reason.into());
    }
    let fingerprint = model.info().fingerprint.clone();
    let settings = Settings::new("the model", fingerprint, config.clone());
    let prior = learn_prior(model, &settings, people, &chosen, plan)?;
    let learned = prior.priors()?.remove(0).record;
    let mut report = Report {
        learning_rate: config.training.learning_rate,
        seed: plan.seed,
        prior_users: learned.users,
        prior_texts: learned.texts,
        means: Vec::new(),
        gains: Vec::new(),
        people: Vec::new(),
    };
    for (done, user) in chosen.iter().enumerate() {
        eprintln!("{} of {}: {user}", done + 1, chosen.len());
        report.people.push(one(model, &settings, &prior, (*user, people[*user].as_slice()), plan)?);
    }
    report.over_users(plan);
    Ok(report)
}

/// A state with a prior of all but those who are new.
fn learn_prior(
    model: &dyn LanguageModel,
    settings: &Settings,
    people: &People,
    new: &[&UserId],
    plan: &Plan,
) -> Outcome<MemoryStore> {
    let store = MemoryStore::in_memory(settings)?;
    for (user, texts) in people.iter().filter(|(user, _)| !new.contains(user)) {
        store.ingest(texts.clone())?;
        store.cut_periods(user, 1, 0.0)?;
    }
    let from = PriorPlan::default().with_from(Contributors::All).with_most(plan.texts_of_others);
    eprintln!("learning the prior");
    train_prior(model, &store, &from, &mut ())?;
    Ok(store)
}

/// Both starts of one person, before and after the first texts.
fn one(
    model: &dyn LanguageModel,
    settings: &Settings,
    prior: &Store,
    (user, texts): (&UserId, &[Interaction]),
    plan: &Plan,
) -> Outcome<Person> {
    let (first, later) = texts.split_at(plan.first);
    let later = &later[..later.len().min(plan.later)];
    let numbered = later.iter().cloned().zip(1..);
    let numbered: Vec<_> = numbered.map(|(text, seq)| StoredInteraction::new(seq, text)).collect();
    let encoded = encode(model, &settings.config, &numbered)?;
    let (base, started) = (MemoryStore::in_memory(settings)?, MemoryStore::in_memory(settings)?);
    started.copy_priors(prior)?;
    let stores = [("base", base), ("prior", started)];
    let asked: Vec<&Interaction> = later.iter().take(plan.answers).collect();
    let mut found = Vec::new();
    for learned in [0, first.len()] {
        for (start, store) in &stores {
            match learned {
                0 => {
                    store.add_user(user)?;
                }
                _ => {
                    store.ingest(first.to_vec())?;
                    adapt(model, store, user, Periods::default(), &mut ())?;
                }
            }
            let mut config = settings.config.clone();
            config.decoding.max_new_tokens = Some(plan.tokens);
            let person = UserModel::recall(model, store, user, None)?.with_config(config);
            let loss = losses(model, &[person.adapter()], &encoded)?[0].per_byte();
            let answer = |text: &&Interaction| -> Outcome<String> {
                Ok(person.generate(&text.prompt, &mut ())?.text)
            };
            let answers: Vec<String> = asked.iter().map(answer).collect::<Outcome<_>>()?;
            let scores = answers.iter().zip(&asked);
            let sum: f64 = scores.map(|(own, text)| rouge(own, &text.response).rouge_l).sum();
            let rouge_l = (!answers.is_empty()).then(|| sum / answers.len() as f64);
            found.push(Found { start, learned, loss, answers, rouge_l });
        }
    }
    let asked = asked.iter().map(|text| [text.prompt.clone(), text.response.clone()]).collect();
    Ok(Person { user: user.clone(), texts: later.len(), asked, found })
}

impl Report {
    /// A number of every person, from one start.
    fn scores(
        &self,
        start: &str,
        learned: usize,
        number: impl Fn(&Found) -> Option<f64>,
    ) -> UserScores {
        let of = |person: &Person| {
            let is_asked = |found: &&Found| found.start == start && found.learned == learned;
            let found = person.found.iter().find(is_asked)?;
            Some((person.user.to_string(), number(found)?))
        };
        self.people.iter().filter_map(of).collect()
    }

    fn over_users(&mut self, plan: &Plan) {
        let loss = |found: &Found| Some(found.loss);
        let rouge_l = |found: &Found| found.rouge_l;
        for learned in [0, plan.first] {
            for start in ["base", "prior"] {
                self.means.push(Means {
                    start,
                    learned,
                    loss: bootstrap(&self.scores(start, learned, loss), plan.seed),
                    rouge_l: bootstrap(&self.scores(start, learned, rouge_l), plan.seed),
                });
            }
            let [base, prior] = ["base", "prior"].map(|start| self.scores(start, learned, loss));
            let better = prior
                .iter()
                .filter(|(user, loss)| base.get(*user).is_some_and(|base| *loss < base))
                .count();
            let test = paired_test(&prior, &base, plan.seed);
            let [base, prior] = ["base", "prior"].map(|start| self.scores(start, learned, rouge_l));
            self.gains.push(Gain {
                learned,
                loss: test.as_ref().map(|test| test.difference),
                loss_p_uncorrected: test.map(|test| test.p),
                better,
                rouge_l: paired_test(&prior, &base, plan.seed).map(|test| test.difference),
            });
        }
    }
}

/// A mean with its interval.
fn shown(interval: Option<Interval>) -> String {
    interval.map_or("".into(), |i| format!("{:.4} [{:.4}, {:.4}]", i.mean, i.low, i.high))
}

fn markdown(report: &Report, plan: &Plan) -> String {
    let Report { learning_rate, seed, prior_users, prior_texts, .. } = report;
    let mut page = format!(
        "A prior of {prior_texts} texts of {prior_users} users; {} new users, drawn by seed \
         {seed}; learning rate {learning_rate:.1e}. Losses in nats per byte of up to {} texts \
         after the first {}; answers to the first {} of their prompts. Means over users with 95 % \
         intervals.\n\n| texts learned | start | loss | ROUGE-L of answers |\n|---|---|---|---|\n",
        report.people.len(),
        plan.later,
        plan.first,
        plan.answers,
    );
    for Means { start, learned, loss, rouge_l } in &report.means {
        page += &format!("| {learned} | {start} | {} | {} |\n", shown(*loss), shown(*rouge_l));
    }
    page +=
        "\n| texts learned | prior less base: loss | p (uncorrected) | users better | ROUGE-L |\n";
    page += "|---|---|---|---|---|\n";
    for Gain { learned, loss, loss_p_uncorrected, better, rouge_l } in &report.gains {
        page += &format!(
            "| {learned} | {} | {} | {better} of {} | {} |\n",
            shown(*loss),
            loss_p_uncorrected.map_or("".into(), |p| format!("{p:.3}")),
            report.people.len(),
            shown(*rouge_l)
        );
    }
    page += "\n| user | texts | base | prior | base, learned | prior, learned |\n";
    page += "|---|---|---|---|---|---|\n";
    for Person { user, texts, found, .. } in &report.people {
        let losses: Vec<String> = found.iter().map(|found| format!("{:.4}", found.loss)).collect();
        page += &format!("| {user} | {texts} | {} |\n", losses.join(" | "));
    }
    for Person { user, asked, found, .. } in &report.people {
        for (place, [prompt, response]) in asked.iter().enumerate() {
            page += &format!("\n## {user}: {}\n\n- written: {}\n", line(prompt), line(response));
            for Found { start, learned, answers, .. } in found {
                page += &format!("- {start}, {learned} learned: {}\n", line(&answers[place]));
            }
        }
    }
    page
}

/// A text in one line.
fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
