//! What a period asks of the model, and what it does not: every pass over a text costs.

#![cfg(feature = "cpu")]
#![allow(clippy::unwrap_used)]

use std::{ops::ControlFlow, path::Path, sync::Mutex};

use ndarray::Array2;
use spring_core::{
    Config, LanguageModel, ModelInfo, Periods, Settings, SqliteStore, StateStore, adapt,
    spring_memory::{JsonlReader, UserId},
    spring_model::{
        AdaptOutcome, Adapter, AnyDecoder, AnyModel, Branch, BranchVisitor, Device, LoraConfig, Message,
        ModelError, ModelFiles, ScoreRow, Sequence, TrainConfig, TrainStep,
    },
};

#[derive(Debug, PartialEq, Eq)]
enum Pass {
    /// Texts scored under the base, and under an adapter.
    Score(usize, usize),
    /// Texts learned.
    Learn(usize),
    /// Anything else that runs the model.
    Other,
}

/// A model that counts.
struct Counter {
    model: AnyModel,
    passes: Mutex<Vec<Pass>>,
}

impl Counter {
    fn note(&self, pass: Pass) {
        self.passes.lock().unwrap().push(pass);
    }
}

impl LanguageModel for Counter {
    fn info(&self) -> ModelInfo {
        self.model.info()
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        LanguageModel::encode(&self.model, text)
    }

    fn encode_chat(&self, messages: &[Message<'_>]) -> Result<Vec<u32>, ModelError> {
        LanguageModel::encode_chat(&self.model, messages)
    }

    fn decode_text(&self, ids: &[u32]) -> Result<String, ModelError> {
        LanguageModel::decode_text(&self.model, ids)
    }

    fn embed(&self, texts: &[&str]) -> Result<Array2<f32>, ModelError> {
        self.note(Pass::Other);
        LanguageModel::embed(&self.model, texts)
    }

    fn score(&self, rows: &[ScoreRow<'_>]) -> Result<Vec<Vec<f32>>, ModelError> {
        let adapted = rows.iter().filter(|row| row.1.is_some()).count();
        if !rows.is_empty() {
            self.note(Pass::Score(rows.len() - adapted, adapted));
        }
        LanguageModel::score(&self.model, rows)
    }

    fn score_branches(
        &self,
        branches: &[Branch<'_>],
        response: &[u32],
        visit: &mut BranchVisitor<'_>,
    ) -> Result<(), ModelError> {
        self.note(Pass::Other);
        LanguageModel::score_branches(&self.model, branches, response, visit)
    }

    fn adapt(
        &self,
        start: Option<&Adapter>,
        lora: &LoraConfig,
        examples: &[Sequence],
        config: &TrainConfig,
        seed: u64,
        progress: &mut dyn FnMut(TrainStep) -> ControlFlow<()>,
    ) -> Result<AdaptOutcome, ModelError> {
        self.note(Pass::Learn(examples.len()));
        LanguageModel::adapt(&self.model, start, lora, examples, config, seed, progress)
    }

    fn decode(
        &self,
        branches: &[Branch<'_>],
        max_new: usize,
        run: &mut dyn FnMut(&mut dyn AnyDecoder) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        self.note(Pass::Other);
        LanguageModel::decode(&self.model, branches, max_new, run)
    }
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
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spring-model/tests/fixtures/tiny-llama");
    let model = AnyModel::load(&ModelFiles::from_dir(folder).unwrap(), Device::Cpu).unwrap();
    let model = Counter { model, passes: Mutex::default() };
    let settings =
        Settings { model: "tiny".into(), fingerprint: model.info().fingerprint, config: Config::default() };
    let mut store = SqliteStore::in_memory(&settings).unwrap();
    let mut learn = |days, count| {
        let text = lines(days);
        store.ingest("history", &mut JsonlReader::new(text.as_bytes(), "history")).unwrap();
        let periods = Periods { count, hold_out: 0.0 };
        adapt(&model, &mut store, &UserId::new("ada").unwrap(), periods, &mut ()).unwrap();
        std::mem::take(&mut *model.passes.lock().unwrap())
    };
    // Ten texts a period: each once under the base, and, if there is one, under the adapter; then what is learned (all of the
    // first period, ⌈0.3 · 10⌉ of the others); then all that the buffer may hold, under the new adapter, whose values under the
    // base are known.
    use Pass::{Learn, Score};
    let first = [Score(10, 0), Learn(10), Score(0, 10)];
    let second = [Score(10, 0), Score(0, 10), Learn(3), Score(0, 13)];
    assert_eq!(learn(0..20, 2), first.into_iter().chain(second).collect::<Vec<_>>());
    assert_eq!(learn(20..30, 1), [Score(10, 0), Score(0, 10), Learn(3), Score(0, 16)]);
}
