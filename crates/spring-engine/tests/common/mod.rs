//! A tiny real model, and people whose texts it has learned.

#![allow(dead_code, clippy::unwrap_used)]

use std::{
    fs,
    path::Path,
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};

use spring_core::{
    Config, LanguageModel, MemoryStore, Periods, Settings, Store, Tokenize, UserModel, adapt,
    ingest_jsonl,
    record::AnswerRecord,
    spring_fuse::{Contrast, GateConfig},
    spring_memory::UserId,
};
use spring_engine::{Engine, EngineConfig, Event, Events, Request, channel};
use spring_model::{AnyModel, Device, ModelFiles, TrainConfig};

pub fn model() -> Arc<AnyModel> {
    static MODEL: OnceLock<Arc<AnyModel>> = OnceLock::new();
    let load = || {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
        AnyModel::load(&ModelFiles::from_dir(folder).unwrap(), Device::Cpu).unwrap()
    };
    MODEL.get_or_init(|| Arc::new(load())).clone()
}

pub fn any_model() -> Arc<dyn LanguageModel> {
    model()
}

/// The same with a longer context.
pub fn long_model() -> Arc<AnyModel> {
    static MODEL: OnceLock<Arc<AnyModel>> = OnceLock::new();
    let load = || {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
        let folder = tempfile::tempdir().unwrap();
        for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
        {
            fs::copy(from.join(file), folder.path().join(file)).unwrap();
        }
        let config = folder.path().join("config.json");
        let mut value: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&config).unwrap()).unwrap();
        value["max_position_embeddings"] = 1024.into();
        fs::write(&config, value.to_string()).unwrap();
        AnyModel::load(&ModelFiles::from_dir(folder.path()).unwrap(), Device::Cpu).unwrap()
    };
    MODEL.get_or_init(|| Arc::new(load())).clone()
}

/// The gate is open for whoever has a buffer.
pub fn config() -> Config {
    let mut config = Config::default().with_gate(GateConfig::Always { k: 2 });
    config.training = TrainConfig::default().with_learning_rate(1e-2);
    config.decoding.max_new_tokens = Some(24);
    config
}

pub fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

/// Texts of a user, one a day, as lines.
pub fn texts(user: &str, ids: impl IntoIterator<Item = usize>) -> String {
    let subjects = ["the sea", "a train", "my dog", "old films", "soup"];
    let line = |i: usize| {
        let day = jiff::Timestamp::from_second(1_700_000_000 + 86_400 * i as i64).unwrap();
        let (subject, found) = (subjects[i % 5], ["lovely", "dull", "odd"][i % 3]);
        let value = serde_json::json!({
            "user": user, "id": format!("{i}"), "time": day, "prompt": format!("About {subject}"),
            "response": format!("{user} finds {subject} {found} on day {i}."),
        });
        format!("{value}\n")
    };
    ids.into_iter().map(line).collect()
}

pub fn ingest(store: &Store, lines: &str) {
    ingest_jsonl(store, lines.as_bytes(), "history").unwrap();
}

/// The same with everybody contrasted with the base.
pub fn contrasted() -> Config {
    let mut config = config();
    config.fusion.contrast = Some(Contrast::default());
    config
}

/// A state with three people who were learned, and one of whom nothing was.
pub fn store() -> Arc<Store> {
    store_of(&model())
}

pub fn store_of(model: &AnyModel) -> Arc<Store> {
    store_with(model, config())
}

/// The same with other settings.
pub fn store_with(model: &AnyModel, config: Config) -> Arc<Store> {
    let fingerprint = model.info().fingerprint.clone();
    let settings = Settings::new("tiny", fingerprint, config);
    let store = MemoryStore::in_memory(&settings).unwrap();
    for (i, name) in ["ada", "bob", "cy"].into_iter().enumerate() {
        ingest(&store, &texts(name, 0..10 + i));
        adapt(model, &store, &user(name), Periods::default(), &mut ()).unwrap();
    }
    ingest(&store, &texts("dan", 0..3));
    Arc::new(store)
}

pub fn engine(store: &Arc<Store>, config: EngineConfig) -> Engine {
    Engine::start(any_model(), store.clone(), config).unwrap()
}

/// All that came of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub texts: Vec<String>,
    pub tokens: Vec<Vec<u32>>,
    pub records: Vec<AnswerRecord>,
}

pub fn timeless(record: AnswerRecord) -> AnswerRecord {
    AnswerRecord { time: jiff::Timestamp::UNIX_EPOCH, ..record }
}

/// Reads events to their end; the last word of a request that failed is the error.
pub fn collect(events: Events, choices: usize) -> Result<Answer, String> {
    let mut texts = vec![String::new(); choices];
    let mut tokens = vec![Vec::new(); choices];
    let mut records: Vec<Option<AnswerRecord>> = vec![None; choices];
    let (mut started, mut done) = (false, false);
    for event in events {
        assert!(!done, "nothing comes after the end");
        match event {
            Event::Started(_) => {
                assert!(!std::mem::replace(&mut started, true));
            }
            Event::Text { choice, text, token, .. } => {
                assert!(started && records[choice].is_none());
                texts[choice].push_str(&text);
                tokens[choice].extend(token);
            }
            Event::Ended { choice, tokens: count, record } => {
                assert_eq!(count, tokens[choice].len());
                assert!(records[choice].replace(timeless(*record)).is_none());
            }
            Event::Done => done = true,
            Event::Failed(failure) => return Err(failure.to_string()),
        }
    }
    if !done {
        return Err("the events ended too early".into());
    }
    let records: Vec<AnswerRecord> = records.into_iter().map(Option::unwrap).collect();
    for (text, record) in texts.iter().zip(&records) {
        assert_eq!(*text, record.text);
    }
    Ok(Answer { texts, tokens, records })
}

pub fn ask(engine: &Engine, request: Request) -> Answer {
    let choices = request.choices;
    let (sink, events) = channel(256);
    engine.submit(request, sink).unwrap();
    collect(events, choices).unwrap()
}

/// What the library answers without an engine.
pub fn alone(
    store: &Store,
    name: &str,
    prompt: &str,
    change: impl FnOnce(&mut Config),
) -> AnswerRecord {
    let model = model();
    let person = UserModel::recall(&*model, store, &user(name), None).unwrap();
    let mut config = person.config().clone();
    change(&mut config);
    timeless(person.with_config(config).generate(prompt, &mut ()).unwrap())
}

/// Waits for something that another thread does.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(120), "{what} does not come");
        thread::sleep(Duration::from_millis(2));
    }
}
