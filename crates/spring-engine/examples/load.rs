//! How an engine does under load: people together and alone, open gates, and somebody's adaptation
//! beside the answers.
//!
//! ```sh
//! cargo run --release -p spring-engine --example load -- path/to/model [people] [tokens]
//! ```

use std::{
    error::Error,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use spring_core::{
    Config, LanguageModel, MemoryStore, Periods, Settings, Store, Tokenize, adapt, ingest_jsonl,
    spring_fuse::GateConfig, spring_memory::UserId,
};
use spring_engine::{Changes, Engine, EngineConfig, Event, Input, Request, channel};
use spring_model::{AnyModel, Device, ModelFiles};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let mut args = std::env::args().skip(1);
    let model = args.next().ok_or("which model? a folder or a GGUF file")?;
    let people: usize = args.next().map_or(Ok(16), |count| count.parse())?;
    let tokens: usize = args.next().map_or(Ok(64), |count| count.parse())?;
    let model = Arc::new(AnyModel::load(&ModelFiles::open(Path::new(&model))?, Device::Cpu)?);

    for gate in [GateConfig::Never {}, GateConfig::Always { k: 2 }] {
        let store = learned(&model, gate, people)?;
        let config = EngineConfig::default().with_rows(2 * people);
        let engine = Engine::start(model.clone() as Arc<dyn LanguageModel>, store.clone(), config)?;
        println!("gate {gate:?}");
        let first = together(&engine, 0..1, tokens)?;
        println!("  one person      {first}");
        for count in [8, people] {
            println!("  {count:>2} people       {}", together(&engine, 0..count, tokens)?);
        }
        // New texts of somebody who is not asked.
        ingest_jsonl(&*store, lines(people, 100..130).as_bytes(), "history")?;
        let adaptation = engine.adapt(&name(people)?)?;
        let mut gaps = Vec::new();
        let begin = Instant::now();
        let is_over = || {
            let all = engine.adaptations(None);
            all.iter().any(|a| a.id == adaptation.id && a.state.is_over())
        };
        while !is_over() && begin.elapsed() < Duration::from_secs(60) {
            gaps.extend(together(&engine, 0..1, tokens)?.gaps);
        }
        println!(
            "  one, adapting   between tokens: median {:.1} ms, p95 {:.1} ms, over {:.1} s{}",
            at(&mut gaps, 0.5),
            at(&mut gaps, 0.95),
            begin.elapsed().as_secs_f64(),
            if is_over() { "" } else { " (it is not done yet)" }
        );
        let begin = Instant::now();
        while !is_over() {
            thread::sleep(Duration::from_millis(10));
        }
        println!("  the rest of the adaptation alone took {:.1} s", begin.elapsed().as_secs_f64());
    }
    Ok(())
}

fn name(i: usize) -> Outcome<UserId> {
    Ok(UserId::new(format!("person {i}"))?)
}

fn lines(person: usize, texts: std::ops::Range<usize>) -> String {
    let subjects = ["the sea", "a train", "my dog", "old films", "soup"];
    let line = |i: usize| {
        let day = jiff::Timestamp::from_second(1_700_000_000 + 86_400 * i as i64).ok();
        let subject = subjects[(i + person) % 5];
        let value = serde_json::json!({
            "user": format!("person {person}"), "id": format!("{i}"), "time": day,
            "prompt": format!("What of {subject}?"),
            "response": format!(
                "On day {i} I thought of {subject} again, and found it better than expected, \
                 though not by much; {} would agree.", ["Ann", "Tom", "nobody"][i % 3]
            ),
        });
        format!("{value}\n")
    };
    texts.map(line).collect()
}

/// A state whose people each have an adapter of their own, and one more who has texts only.
fn learned(model: &Arc<AnyModel>, gate: GateConfig, people: usize) -> Outcome<Arc<Store>> {
    let fingerprint = model.info().fingerprint.clone();
    let mut config = Config::default().with_gate(gate);
    config.training.epochs = 1;
    let settings = Settings::new("load", fingerprint, config);
    let store = MemoryStore::in_memory(&settings)?;
    for person in 0..=people {
        ingest_jsonl(&store, lines(person, 0..8).as_bytes(), "history")?;
        if person < people {
            adapt(&**model, &store, &name(person)?, Periods::default(), &mut ())?;
        }
    }
    Ok(Arc::new(store))
}

/// What some people's answers at once came to.
struct Together {
    tokens: usize,
    seconds: f64,
    /// Each person's tokens a second.
    rates: Vec<f64>,
    /// Milliseconds to the first tokens.
    firsts: Vec<f64>,
    /// Milliseconds between tokens.
    gaps: Vec<f64>,
}

impl std::fmt::Display for Together {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { tokens, seconds, rates, firsts, gaps } = self;
        let slowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
        let fastest = rates.iter().copied().fold(0.0, f64::max);
        write!(
            f,
            "{:.1} tokens/s, fastest/slowest {:.2}; first token median {:.0} ms; between tokens: \
             median {:.1} ms, p95 {:.1} ms",
            *tokens as f64 / seconds,
            fastest / slowest,
            at(&mut firsts.clone(), 0.5),
            at(&mut gaps.clone(), 0.5),
            at(&mut gaps.clone(), 0.95)
        )
    }
}

/// The value below which this part lies.
fn at(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get((values.len() as f64 * part) as usize).copied().unwrap_or(f64::NAN)
}

fn together(engine: &Engine, people: std::ops::Range<usize>, most: usize) -> Outcome<Together> {
    let begin = Instant::now();
    let answers: Vec<Outcome<Vec<f64>>> = thread::scope(|scope| {
        let ask = |person: usize| {
            move || -> Outcome<Vec<f64>> {
                // An answer that ends early says nothing of the speed, so no token ends it.
                let changes = Changes::default()
                    .with_max_tokens(Some(most))
                    .with_temperature(Some(1.0))
                    .with_seed(Some(person as u64))
                    .with_repetition(Some(1.0));
                let prompt =
                    "What do you think of a train by the sea, and of old films? ".repeat(8);
                let request = Request::new(Input::prompt(prompt))
                    .of_user(name(person)?)
                    .with_changes(changes);
                let (sink, events) = channel(4 * most);
                let begin = Instant::now();
                engine.submit(request, sink)?;
                let mut times = Vec::new();
                for event in events {
                    match event {
                        Event::Text { token: Some(_), .. } => {
                            times.push(begin.elapsed().as_secs_f64() * 1e3);
                        }
                        Event::Failed(failure) => return Err(failure.into()),
                        _ => {}
                    }
                }
                Ok(times)
            }
        };
        let asked: Vec<_> = people.map(|person| scope.spawn(ask(person))).collect();
        let joined = asked.into_iter().map(thread::ScopedJoinHandle::join);
        joined.map(|answer| answer.unwrap_or_else(|_| Err("a reader panicked".into()))).collect()
    });
    let mut all = Together {
        tokens: 0,
        seconds: begin.elapsed().as_secs_f64(),
        rates: vec![],
        firsts: vec![],
        gaps: vec![],
    };
    for times in answers {
        let times = times?;
        all.tokens += times.len();
        if let (Some(first), Some(last)) = (times.first(), times.last()) {
            all.firsts.push(*first);
            if times.len() > 1 {
                all.rates.push((times.len() - 1) as f64 * 1e3 / (last - first));
            }
        }
        all.gaps.extend(times.windows(2).map(|pair| pair[1] - pair[0]));
    }
    Ok(all)
}
