//! What a prior is worth to somebody new: the loss on texts that are held out, when nothing was
//! learned of them and after their first five texts, from the base and from a prior that was
//! learned from everybody else.
//!
//! ```sh
//! # interactions as JSONL, a model's folder, users who are new, texts of each other user
//! cargo run --release -p spring-core --example cold_start -- texts.jsonl path/to/model 3 100
//! ```

use std::{collections::BTreeMap, fs::File, io::BufReader, path::Path};

use spring_core::{
    Config, Contributors, LanguageModel, MemoryStore, Periods, PriorPlan, Settings, Store,
    Tokenize, UserModel, adapt,
    prompt::encode_pair,
    spring_lm::Adapter,
    spring_memory::{Interaction, JsonlReader, UserId},
    train_prior,
};
use spring_model::{AnyModel, Device, ModelFiles, TrainConfig};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Texts that somebody new has written.
const FIRST: usize = 5;

/// Of the texts after those, how many are scored.
const HELD_OUT: usize = 20;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "cold_start TEXTS.jsonl MODEL [NEW USERS] [TEXTS OF EACH OTHER]";
    let (texts, folder) = (arguments.next().ok_or(usage)?, arguments.next().ok_or(usage)?);
    let new: usize = arguments.next().map_or(Ok(3), |number| number.parse())?;
    let most: usize = arguments.next().map_or(Ok(100), |number| number.parse())?;
    let model = AnyModel::load(&ModelFiles::open(Path::new(&folder))?, Device::Cpu)?;
    let rate = TrainConfig::rate_for(model.config().parameters());
    let config = Config::default().with_training(TrainConfig::default().with_learning_rate(rate));
    let settings = Settings::new(&folder, model.info().fingerprint.clone(), config.clone());

    let mut people: BTreeMap<UserId, Vec<_>> = BTreeMap::new();
    for interaction in JsonlReader::new(BufReader::new(File::open(&texts)?), texts.clone()) {
        let (_, interaction) = interaction?;
        people.entry(interaction.user.clone()).or_default().push(interaction);
    }
    people.values_mut().for_each(|texts| texts.sort_by_key(|text| text.time));
    let is_long = |texts: &Vec<_>| texts.len() > FIRST;
    let chosen: Vec<UserId> = people
        .iter()
        .filter(|(_, texts)| is_long(texts))
        .map(|(user, _)| user.clone())
        .take(new)
        .collect();

    println!("nats per byte of up to {HELD_OUT} texts after the first {FIRST}; rate {rate:.1e}\n");
    println!("| user | texts | base | prior | base, {FIRST} learned | prior, {FIRST} learned |");
    println!("|---|---|---|---|---|---|");
    let prior = learn_prior(&model, &settings, &people, &chosen, most)?;
    for user in &chosen {
        let (first, later) = people[user].split_at(FIRST);
        let later = &later[..later.len().min(HELD_OUT)];
        let mut row = format!("| {user} | {} ", later.len());
        let from_base = MemoryStore::in_memory(&settings)?;
        let from_prior = MemoryStore::in_memory(&settings)?;
        from_prior.copy_priors(&prior)?;
        let stores: [&Store; 2] = [&from_base, &from_prior];
        for store in stores {
            store.add_user(user)?;
            row += &format!("| {:.4} ", loss(&model, store, user, &config, later)?);
        }
        for store in stores {
            store.ingest(first.to_vec())?;
            adapt(&model, store, user, Periods::default(), &mut ())?;
            row += &format!("| {:.4} ", loss(&model, store, user, &config, later)?);
        }
        println!("{row}|");
    }
    Ok(())
}

/// A state with a prior of all but those who are new.
fn learn_prior(
    model: &AnyModel,
    settings: &Settings,
    people: &BTreeMap<UserId, Vec<Interaction>>,
    new: &[UserId],
    most: usize,
) -> Outcome<MemoryStore> {
    let store = MemoryStore::in_memory(settings)?;
    for (user, texts) in people.iter().filter(|(user, _)| !new.contains(user)) {
        store.ingest(texts.clone())?;
        store.cut_periods(user, 1, 0.0)?;
    }
    let plan = PriorPlan::default().with_from(Contributors::All).with_most(most);
    train_prior(model, &store, &plan, &mut ())?;
    Ok(store)
}

/// Mean loss of some texts under a person's adapter, in nats per byte of the responses.
fn loss(
    model: &dyn LanguageModel,
    store: &Store,
    user: &UserId,
    config: &Config,
    texts: &[Interaction],
) -> Outcome<f64> {
    let person = UserModel::recall(model, store, user, None)?;
    let adapter: Option<&Adapter> = person.adapter();
    let (mut nats, mut bytes) = (0.0, 0);
    for text in texts {
        let encoded = encode_pair(model, &text.prompt, &text.response, config.training.max_tokens)?;
        let scored = model.score(&[(&encoded.sequence, adapter)])?;
        nats -= scored.iter().flatten().map(|token| f64::from(*token)).sum::<f64>();
        bytes += encoded.response_bytes;
    }
    Ok(nats / bytes.max(1) as f64)
}
