//! How an engine does under load: people together and alone, a warm person's first token beside the
//! prompt read alone, open gates beside closed ones, somebody's adaptation beside the answers, and
//! more people than are at work.
//!
//! ```sh
//! cargo run --release -p spring-engine --example load -- \
//!     path/to/model [people] [tokens] [known] [active]
//! ```
//!
//! | argument | default | what |
//! |---|---|---|
//! | model | | a folder or a GGUF file |
//! | people | 16 | who ask at once; each has learned an adapter |
//! | tokens | 64 | new tokens of each answer |
//! | known | 10000 | users of the last part, each with a small adapter that nobody has trained |
//! | active | 200 | those of them who ask, `people` at a time and in turn; 0 leaves the part out |
//!
//! Everything is printed; nothing is judged. Times are the wall clock's, so the machine should have
//! nothing else to do.

use std::{
    error::Error,
    ops::{ControlFlow, Range},
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use spring_core::{
    Config, Decode, LanguageModel, MemoryStore, Periods, Score, Settings, Store, Tokenize, Train,
    adapt, ingest_jsonl,
    spring_fuse::GateConfig,
    spring_lm::{
        AdaptOutcome, Adapter, Branch, BranchVisitor, Parts, ScoreRow, TrainRequest, TrainStep,
    },
    spring_memory::UserId,
};
use spring_engine::{Changes, Engine, EngineConfig, Event, Input, Request, channel};
use spring_model::{AnyModel, Device, ModelFiles};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Tokens of the prompt whose first token is waited for.
const PROMPT: usize = 200;

/// How often that is done.
const TIMES: usize = 15;

fn main() -> Outcome<()> {
    let mut args = std::env::args().skip(1);
    let model = args.next().ok_or("which model? a folder or a GGUF file")?;
    let mut number = |usual: usize| args.next().map_or(Ok(usual), |count| count.parse());
    let (people, tokens) = (number(16)?.max(1), number(64)?.max(2));
    let (known, active) = (number(10_000)?, number(200)?);
    let model = Arc::new(AnyModel::load(&ModelFiles::open(Path::new(&model))?, Device::Cpu)?);

    let closed = under_load(&model, GateConfig::Never {}, people, tokens)?;
    let open = under_load(&model, GateConfig::Always { k: 2 }, people, tokens)?;
    println!(
        "an open gate's cost per token in a batch of 8: {open:.2} ms beside {closed:.2} ms, \
         {:.2} times",
        open / closed
    );
    if active > 0 {
        in_turn(&model, known.max(active), active, people, tokens)?;
    }
    Ok(())
}

/// People together and alone, and one beside somebody's adaptation; gives the median milliseconds
/// between the tokens of each of eight people.
fn under_load(
    model: &Arc<AnyModel>,
    gate: GateConfig,
    people: usize,
    tokens: usize,
) -> Outcome<f64> {
    let store = learned(model, gate, people.max(8))?;
    // What was read before is read again: this is about reading.
    let config = EngineConfig::default().with_rows(2 * people.max(8)).with_prefixes(0);
    let engine = Engine::start(model.clone() as Arc<dyn LanguageModel>, store.clone(), config)?;
    println!("gate {gate:?}");
    if gate == (GateConfig::Never {}) {
        first_token(model, &engine)?;
    }
    let first = together(&engine, 0..1, tokens)?;
    println!("  one person      {first}");
    let mut eight = together(&engine, 0..8, tokens)?;
    println!("   8 people       {eight}");
    if people != 8 {
        println!("  {people:>2} people       {}", together(&engine, 0..people, tokens)?);
    }
    // New texts of somebody who is not asked.
    let learner = people.max(8);
    ingest_jsonl(&*store, lines(learner, 100..130).as_bytes(), "history")?;
    let adaptation = engine.adapt(&name(learner)?)?;
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
    Ok(at(&mut eight.gaps, 0.5))
}

/// A warm person's first token, where nobody else asks, beside the same tokens read by a session
/// alone.
fn first_token(model: &Arc<AnyModel>, engine: &Engine) -> Outcome<()> {
    let text = "What do you think of a train by the sea, and of old films? ".repeat(PROMPT);
    let mut prompt = model.encode(&text)?;
    prompt.truncate(PROMPT);
    let person = engine.person(&name(0)?)?;
    let adapter = person.model.memories().adapter.clone();
    let mut session = model.session()?;
    let (mut alone, mut first) = (Vec::new(), Vec::new());
    // In turns, so that what else the machine does meets both.
    for _ in 0..TIMES {
        let begin = Instant::now();
        let rows = session.begin_branches(&[&prompt], adapter.as_ref(), 2)?;
        for row in &rows {
            while session.read_on(*row)? > 0 {}
        }
        alone.push(begin.elapsed().as_secs_f64() * 1e3);
        rows.into_iter().for_each(|row| session.leave(row));

        let changes = Changes::default().with_max_tokens(Some(1)).with_temperature(Some(0.0));
        let request =
            Request::new(Input::Tokens(prompt.clone())).of_user(name(0)?).with_changes(changes);
        let (sink, events) = channel(16);
        let begin = Instant::now();
        engine.submit(request, sink)?;
        for event in events {
            match event {
                Event::Text { token: Some(_), .. } => {
                    first.push(begin.elapsed().as_secs_f64() * 1e3);
                }
                Event::Failed(failure) => return Err(failure.into()),
                _ => {}
            }
        }
    }
    let (alone, first) = (at(&mut alone, 0.5), at(&mut first, 0.5));
    println!(
        "  a warm person's first token after {} tokens of prompt: {first:.1} ms, the prompt alone \
         {alone:.1} ms, {:.2} times",
        prompt.len(),
        first / alone
    );
    Ok(())
}

/// Learning that costs nothing: everybody gets the same numbers, each a copy of their own.
struct Untrained(Adapter);

impl Train for Untrained {
    fn train(
        &self,
        _: TrainRequest<'_>,
        _: &mut dyn FnMut(TrainStep) -> ControlFlow<()>,
    ) -> spring_core::spring_lm::Result<AdaptOutcome> {
        Ok(AdaptOutcome { adapter: self.0.clone(), steps: 0, tokens: 0, losses: Vec::new() })
    }
}

impl Score for Untrained {
    fn score(&self, rows: &[ScoreRow<'_>]) -> spring_core::spring_lm::Result<Vec<Vec<f32>>> {
        Ok(rows.iter().map(|(sequence, _)| vec![-1.0; sequence.response.len()]).collect())
    }

    fn score_branches(
        &self,
        _: &[Branch<'_>],
        _: &[u32],
        _: &mut BranchVisitor<'_>,
    ) -> spring_core::spring_lm::Result<()> {
        Err(spring_core::spring_lm::ModelError::Sequence("nothing is mixed here".into()))
    }
}

/// Many who are known, some of whom ask in turn, beside as few as ask at once, who stay warm.
fn in_turn(
    model: &Arc<AnyModel>,
    known: usize,
    active: usize,
    people: usize,
    tokens: usize,
) -> Outcome<()> {
    let mut config = Config::default().with_gate(GateConfig::Never {});
    config.lora.rank = 2;
    config.training.epochs = 1;
    let settings = Settings::new("load", model.info().fingerprint.clone(), config);
    let begin = Instant::now();
    // One is really trained; what the numbers are makes no difference to what they cost.
    let one = MemoryStore::in_memory(&settings)?;
    ingest_jsonl(&one, lines(0, 0..2).as_bytes(), "history")?;
    adapt(&**model, &one, &name(0)?, Periods::default(), &mut ())?;
    let adapter =
        spring_core::UserModel::recall(&**model, &one, &name(0)?, None)?.adapter().cloned();
    let untrained = Untrained(adapter.ok_or("nothing was learned")?);
    let parts = Parts::of(&**model).with_train(&untrained).with_score(&untrained);
    let store = MemoryStore::in_memory(&settings)?;
    for person in 0..known {
        ingest_jsonl(&store, lines(person, 0..2).as_bytes(), "history")?;
        adapt(&parts, &store, &name(person)?, Periods::default(), &mut ())?;
    }
    let store: Arc<Store> = Arc::new(store);
    println!("{known} users known, made in {:.1} s", begin.elapsed().as_secs_f64());

    let people = people.min(active);
    let groups: Vec<Range<usize>> =
        (0..active).step_by(people).map(|from| from..(from + people).min(active)).collect();
    // Room for all who are active, and for a quarter of them.
    let each = {
        let engine = start(model, &store, people, 1 << 40)?;
        together(&engine, 0..1, 2)?;
        engine.stats().cache.bytes
    };
    for (what, budget) in
        [("all of them fit", each * active as u64), ("a quarter fits", each * active as u64 / 4)]
    {
        let engine = start(model, &store, people, budget + each)?;
        let resident = resident();
        together(&engine, groups[0].clone(), tokens)?;
        let warm: Vec<Together> = (0..groups.len().min(4))
            .map(|_| together(&engine, groups[0].clone(), tokens))
            .collect::<Outcome<_>>()?;
        // The first time all are read from the state; then they are there, if they fit.
        let mut rounds = Vec::new();
        for _ in 0..2 {
            let round = groups.iter().map(|group| together(&engine, group.clone(), tokens));
            rounds.push(rate(&round.collect::<Outcome<Vec<_>>>()?));
        }
        let cache = engine.stats().cache;
        println!(
            "  {active} active, {people} at a time, {what}: {:.1} tokens/s the first time, {:.1} \
             then; {people} who stay warm {:.1}, so {:.1} % of that; cache {:.1} of {:.1} MiB, {} \
             people, {} evicted; the process grew by {} MiB",
            rounds[0],
            rounds[1],
            rate(&warm),
            100.0 * rounds[1] / rate(&warm),
            cache.bytes as f64 / MIB,
            (budget + each) as f64 / MIB,
            cache.people,
            cache.evicted,
            match (resident, self::resident()) {
                (Some(before), Some(after)) => format!("{:.1}", (after - before) / MIB),
                _ => "an unknown number of".into(),
            }
        );
    }
    Ok(())
}

const MIB: f64 = (1 << 20) as f64;

fn start(model: &Arc<AnyModel>, store: &Arc<Store>, people: usize, cache: u64) -> Outcome<Engine> {
    let config = EngineConfig::default().with_rows(2 * people).with_cache(cache).with_prefixes(0);
    Ok(Engine::start(model.clone() as Arc<dyn LanguageModel>, store.clone(), config)?)
}

/// Tokens a second over all of these.
fn rate(all: &[Together]) -> f64 {
    let tokens: usize = all.iter().map(|one| one.tokens).sum();
    tokens as f64 / all.iter().map(|one| one.seconds).sum::<f64>()
}

/// Bytes of memory that this process holds, where the system says so.
fn resident() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0)
}

fn name(i: usize) -> Outcome<UserId> {
    Ok(UserId::new(format!("person {i}"))?)
}

fn lines(person: usize, texts: Range<usize>) -> String {
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
    /// Each person's tokens a second, after the first token.
    rates: Vec<f64>,
    /// The same of the whole answer, the wait for the first token included.
    whole: Vec<f64>,
    /// Milliseconds to the first tokens.
    firsts: Vec<f64>,
    /// Milliseconds between tokens.
    gaps: Vec<f64>,
}

impl std::fmt::Display for Together {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { tokens, seconds, rates, whole, firsts, gaps } = self;
        let spread = |rates: &[f64]| {
            let slowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
            rates.iter().copied().fold(0.0, f64::max) / slowest
        };
        write!(
            f,
            "{:.1} tokens/s, fastest/slowest {:.2} after the first token and {:.2} whole; first \
             token median {:.0} ms; between tokens: median {:.1} ms, p95 {:.1} ms",
            *tokens as f64 / seconds,
            spread(rates),
            spread(whole),
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

fn together(engine: &Engine, people: Range<usize>, most: usize) -> Outcome<Together> {
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
        whole: vec![],
        firsts: vec![],
        gaps: vec![],
    };
    for times in answers {
        let times = times?;
        all.tokens += times.len();
        if let (Some(first), Some(last)) = (times.first(), times.last()) {
            all.firsts.push(*first);
            all.whole.push(times.len() as f64 * 1e3 / last);
            if times.len() > 1 {
                all.rates.push((times.len() - 1) as f64 * 1e3 / (last - first));
            }
        }
        all.gaps.extend(times.windows(2).map(|pair| pair[1] - pair[0]));
    }
    Ok(all)
}
