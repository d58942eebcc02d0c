//! What a test text may touch: nothing but the scoring of itself. A model that writes down what it
//! is asked is run through every method, and through periods as `spring adapt` learns them: every
//! pass over a text costs.

#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeSet, HashMap},
    ops::ControlFlow,
    path::Path,
    sync::{Arc, Mutex},
};

use ndarray::Array2;
use spring_core::{
    Config, MemoryStore, Periods, RetrieverKind, Settings, StoredInteraction, adapt, ingest_jsonl,
    prompt::encode_pair, spring_memory::UserId,
};
use spring_data::synth::{Drift, SynthConfig, synthesize};
use spring_eval::{
    Budget, Generation, Memo, PeriodRule, Protocol, Split, Start, UserInput, domain_adapter,
    run_user,
};
use spring_model::{
    AdaptOutcome, Adapter, AnyModel, Branch, BranchVisitor, Decode, Device, Embed, Message,
    ModelError, ModelFiles, ModelInfo, RowId, Score, ScoreRow, Sequence, Session, Tokenize, Train,
    TrainConfig, TrainRequest, TrainStep,
};

/// One call of the model.
#[derive(Debug, Clone)]
enum Call {
    /// The examples.
    Adapt(Vec<Sequence>),
    /// The rows, and how many of them have an adapter.
    Score(Vec<Sequence>, usize),
    /// The contexts, and the response that is scored behind all of them.
    Branches(Vec<Vec<u32>>, Vec<u32>),
    /// The contexts of what is generated.
    Decode(Vec<Vec<u32>>),
    /// The tokens of the texts.
    Embed(Vec<Vec<u32>>),
}

/// Writes down every call and hands it on.
struct Recorder {
    model: AnyModel,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Recorder {
    fn new() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
        let model = AnyModel::load(&ModelFiles::from_dir(folder).unwrap(), Device::Cpu).unwrap();
        Self { model, calls: Arc::default() }
    }

    fn note(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
    }

    /// What was called since the last time.
    fn taken(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    fn text(&self, ids: &[u32]) -> String {
        self.model.decode_text(ids).unwrap()
    }
}

fn contexts(branches: &[Branch<'_>]) -> Vec<Vec<u32>> {
    branches.iter().map(|branch| branch.0.to_vec()).collect()
}

impl Tokenize for Recorder {
    fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        self.model.encode(text)
    }

    fn encode_chat(&self, messages: &[Message<'_>]) -> Result<Vec<u32>, ModelError> {
        self.model.encode_chat(messages)
    }

    fn decode_text(&self, ids: &[u32]) -> Result<String, ModelError> {
        self.model.decode_text(ids)
    }
}

impl Embed for Recorder {
    fn embed_tokens(&self, rows: &[Vec<u32>]) -> Result<Array2<f32>, ModelError> {
        self.note(Call::Embed(rows.to_vec()));
        self.model.embed_tokens(rows)
    }
}

impl Score for Recorder {
    fn score(&self, rows: &[ScoreRow<'_>]) -> Result<Vec<Vec<f32>>, ModelError> {
        let adapted = rows.iter().filter(|row| row.1.is_some()).count();
        self.note(Call::Score(rows.iter().map(|row| row.0.clone()).collect(), adapted));
        self.model.score(rows)
    }

    fn score_branches(
        &self,
        branches: &[Branch<'_>],
        response: &[u32],
        visit: &mut BranchVisitor<'_>,
    ) -> Result<(), ModelError> {
        self.note(Call::Branches(contexts(branches), response.to_vec()));
        self.model.score_branches(branches, response, visit)
    }
}

impl Train for Recorder {
    fn train(
        &self,
        request: TrainRequest<'_>,
        progress: &mut dyn FnMut(TrainStep) -> ControlFlow<()>,
    ) -> Result<AdaptOutcome, ModelError> {
        self.note(Call::Adapt(request.examples.to_vec()));
        self.model.train(request, progress)
    }
}

impl Decode for Recorder {
    fn session(&self) -> Result<Box<dyn Session>, ModelError> {
        Ok(Box::new(RecordedSession { inner: self.model.session()?, calls: self.calls.clone() }))
    }
}

/// Writes down the contexts that are read.
struct RecordedSession {
    inner: Box<dyn Session>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Session for RecordedSession {
    fn open(
        &mut self,
        adapter: Option<Arc<Adapter>>,
        capacity: usize,
    ) -> Result<RowId, ModelError> {
        self.inner.open(adapter, capacity)
    }

    fn read(&mut self, row: RowId, tokens: &[u32]) -> Result<(), ModelError> {
        self.calls.lock().unwrap().push(Call::Decode(vec![tokens.to_vec()]));
        self.inner.read(row, tokens)
    }

    fn leave(&mut self, row: RowId) {
        self.inner.leave(row);
    }

    fn step(&mut self, tokens: &[(RowId, u32)]) -> Result<(), ModelError> {
        self.inner.step(tokens)
    }

    fn log_probs(&self, row: RowId) -> Option<&[f32]> {
        self.inner.log_probs(row)
    }
}

const PERIODS: u32 = 3;

/// Three periods whose responses say which period they are of and whether they are learned or
/// tested: "learned2 …", "tested2 …". Prompts are too long to stay whole.
fn splits(user: &UserId) -> Vec<Split> {
    let config = SynthConfig::default()
        .with_users(1)
        .with_texts(60)
        .with_drifts(vec![Drift::Sudden])
        .with_noise(0.0)
        .with_seed(1);
    let texts: Vec<StoredInteraction> = synthesize(&config)
        .unwrap()
        .into_iter()
        .zip(1..)
        .map(|(mut interaction, seq)| {
            interaction.user = user.clone();
            interaction.meta = None;
            interaction.prompt =
                interaction.prompt.chars().take(40).collect::<String>() + &" please".repeat(9);
            StoredInteraction::new(seq, interaction)
        })
        .collect();
    let mut splits = PeriodRule::default().with_periods(PERIODS).cut(&texts).unwrap();
    for split in &mut splits {
        for (kind, texts) in [("learned", &mut split.train), ("tested", &mut split.test)] {
            for text in texts {
                let rest: String = text.interaction.response.chars().take(40).collect();
                text.interaction.response = format!("{kind}{} {rest}", split.period);
            }
        }
    }
    splits
}

fn protocol(methods: &[&str], budget: Budget) -> Protocol {
    let training = TrainConfig::default().with_learning_rate(1e-2).with_max_tokens(64);
    let methods = methods.iter().map(|name| name.parse().unwrap()).collect();
    Protocol::new(Config::default().with_training(training), methods)
        .with_budget(budget)
        .with_generation(Generation::new(1, 2))
}

fn run(
    recorder: &Recorder,
    protocol: &Protocol,
    user: &str,
    domain: Option<&Adapter>,
) -> Vec<Call> {
    let user = UserId::new(user).unwrap();
    let splits = splits(&user);
    let input = UserInput::new(&user, &splits).with_domain(domain, Start::Base);
    drop(recorder.taken());
    run_user(recorder, protocol, input, &Memo::default(), &mut ()).unwrap();
    recorder.taken()
}

/// The latest period that a text learned from is of, 0 for none.
fn latest(text: &str) -> u32 {
    (1..=PERIODS).rev().find(|period| text.contains(&format!("learned{period}"))).unwrap_or(0)
}

#[test]
fn no_test_text_reaches_training_memories_or_what_is_read_along() {
    let recorder = Recorder::new();
    let methods = [
        "base",
        "domain",
        "rag",
        "recency",
        "static",
        "everything+retrieval:sigma=0",
        "random",
        "random_tokens",
        "replay",
        "cumulative",
        "l2",
        "spring_adapter",
        "spring:sigma=0",
        "no_gate",
        "random_buffer",
        "spring:start=domain,sigma=0",
        "spring:scorer=lookahead",
        "spring:reference=population",
    ];
    for (budget, retriever) in
        [(Budget::Epochs, RetrieverKind::Bm25), (Budget::Steps, RetrieverKind::Dense)]
    {
        let mut protocol = protocol(&methods, budget);
        protocol.config.retrieval.retriever = retriever;
        let strangers = splits(&UserId::new("stranger").unwrap());
        let domain =
            domain_adapter(&recorder, &protocol.config, &strangers[0].train[..4], &mut ()).unwrap();
        let calls = run(&recorder, &protocol, "ada", Some(&domain));
        // The period that is learned: SPRInG learns each one before any other method.
        let mut now = 0;
        let (mut read, mut tests, mut embedded) = (0, 0, 0);
        for call in calls {
            let beside: Vec<String> = match &call {
                Call::Adapt(examples) => {
                    for example in examples {
                        let response = recorder.text(&example.response);
                        assert!(response.starts_with("learned"), "{response:?} is learned");
                        now = now.max(latest(&response));
                    }
                    examples.iter().map(|example| recorder.text(&example.context)).collect()
                }
                Call::Score(rows, _) => {
                    // What decides over selection and buffer is scored in calls of its own.
                    let tested: Vec<bool> = rows
                        .iter()
                        .map(|row| recorder.text(&row.response).starts_with("tested"))
                        .collect();
                    assert!(tested.iter().all(|is| *is == tested[0]), "test texts among others");
                    tests += usize::from(tested.first() == Some(&true));
                    rows.iter().map(|row| recorder.text(&row.context)).collect()
                }
                Call::Branches(contexts, response) => {
                    assert!(recorder.text(response).starts_with("tested"));
                    contexts.iter().map(|context| recorder.text(context)).collect()
                }
                Call::Decode(contexts) => {
                    contexts.iter().map(|context| recorder.text(context)).collect()
                }
                Call::Embed(texts) => {
                    embedded += texts.len();
                    texts.iter().map(|text| recorder.text(text)).collect()
                }
            };
            for text in beside {
                assert!(!text.contains("tested"), "{call:?}: {text:?}");
                assert!(latest(&text) <= now, "period {now} reads {text:?}");
                read += usize::from(latest(&text) > 0);
            }
        }
        assert!(now == PERIODS && read > 20 && tests > 20, "{now} {read} {tests}");
        assert_eq!(embedded > 0, retriever == RetrieverKind::Dense);
    }
}

#[test]
fn a_prompt_is_cut_alike_with_and_without_retrieved_texts() {
    let recorder = Recorder::new();
    let methods = ["base", "rag", "recency", "no_gate", "everything+retrieval:sigma=0"];
    let calls = run(&recorder, &protocol(&methods, Budget::Epochs), "ada", None);
    let mut plain: HashMap<Vec<u32>, Vec<u32>> = HashMap::new();
    let mut behind = |response: Vec<u32>, context: Vec<u32>| {
        // The base is evaluated first.
        let alone = plain.entry(response).or_insert_with(|| context.clone());
        assert!(
            context.ends_with(&alone[1..]),
            "{:?} {:?}",
            recorder.text(&context),
            recorder.text(alone)
        );
        usize::from(context.len() > alone.len())
    };
    let mut read = [0, 0];
    for call in calls {
        match call {
            Call::Score(rows, _) => {
                for Sequence { context, response } in rows {
                    if recorder.text(&response).starts_with("tested") {
                        read[0] += behind(response, context);
                    }
                }
            }
            Call::Branches(contexts, response) => {
                for context in contexts {
                    read[1] += behind(response.clone(), context);
                }
            }
            _ => {}
        }
    }
    assert!(read.iter().all(|read| *read > 5), "{read:?}");
    let tests = splits(&UserId::new("ada").unwrap()).into_iter().flat_map(|split| split.test);
    let lost = tests.map(|text| {
        let (prompt, response) = (&text.interaction.prompt, &text.interaction.response);
        encode_pair(&recorder, prompt, response, 64).unwrap().lost_of_prompt()
    });
    assert!(lost.max() > Some(0), "no prompt was cut");
}

#[test]
fn users_keep_other_places_of_their_streams() {
    let recorder = Recorder::new();
    let replayed = |user: &str| -> BTreeSet<String> {
        let calls = run(&recorder, &protocol(&["replay"], Budget::Epochs), user, None);
        let Some(Call::Adapt(examples)) =
            calls.into_iter().rfind(|call| matches!(call, Call::Adapt(_)))
        else {
            panic!("nothing was learned")
        };
        let texts = examples.iter().map(|example| recorder.text(&example.response));
        texts.filter(|text| latest(text) < PERIODS).collect()
    };
    let (ada, ben) = (replayed("ada"), replayed("ben"));
    assert!(!ada.is_empty() && !ben.is_empty() && ada != ben);
    // With the same texts learned and the same questions, other texts that are found are of another
    // buffer.
    let found = |user: &str| -> BTreeSet<Vec<u32>> {
        let method = "spring:rho=1,capacity=4,buffer=reservoir,gate=always";
        let calls = run(&recorder, &protocol(&[method], Budget::Epochs), user, None).into_iter();
        let contexts = calls
            .filter_map(|call| if let Call::Branches(all, _) = call { Some(all) } else { None });
        contexts.filter_map(|all| all.get(1).cloned()).collect()
    };
    let (ada, ben) = (found("ada"), found("ben"));
    assert!(!ada.is_empty() && ada != ben);
}

#[derive(Debug, PartialEq, Eq)]
enum Pass {
    /// Texts scored under the base, and under an adapter.
    Score(usize, usize),
    /// Texts learned.
    Learn(usize),
    /// Anything else that runs the model.
    Other,
}

fn lines(days: std::ops::Range<usize>) -> String {
    let line = |i: usize| {
        serde_json::json!({
            "user": "ada", "id": format!("{i}"), "time": format!("2024-01-{:02}T08:00:00Z", i + 1),
            "prompt": "About the sea", "response": format!("It was wide on day {i}.")
        })
    };
    days.map(|i| line(i).to_string() + "\n").collect()
}

#[test]
fn a_period_runs_the_model_for_selection_training_and_the_buffer_alone() {
    let model = Recorder::new();
    let settings = Settings::new("tiny", model.info().fingerprint.clone(), Config::default());
    let store = MemoryStore::in_memory(&settings).unwrap();
    let learn = |days, count| {
        let text = lines(days);
        ingest_jsonl(&store, text.as_bytes(), "history").unwrap();
        let periods = Periods { count, hold_out: 0.0 };
        adapt(&model, &store, &UserId::new("ada").unwrap(), periods, &mut ()).unwrap();
        let calls = model.taken().into_iter().map(|call| match call {
            Call::Score(rows, adapted) => Score(rows.len() - adapted, adapted),
            Call::Adapt(examples) => Learn(examples.len()),
            _ => Pass::Other,
        });
        calls.filter(|pass| *pass != Score(0, 0)).collect::<Vec<_>>()
    };
    // Ten texts a period: each once under the base, and, if there is one, under the adapter; then
    // what is learned (all of the first period, ⌈0.3 · 10⌉ of the others); then all that the buffer
    // may hold, under the new adapter, whose values under the base are known.
    use Pass::{Learn, Score};
    let first = [Score(10, 0), Learn(10), Score(0, 10)];
    let second = [Score(10, 0), Score(0, 10), Learn(3), Score(0, 13)];
    assert_eq!(learn(0..20, 2), first.into_iter().chain(second).collect::<Vec<_>>());
    assert_eq!(learn(20..30, 1), [Score(10, 0), Score(0, 10), Learn(3), Score(0, 16)]);
}
