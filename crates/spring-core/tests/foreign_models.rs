//! Models of other people behind the trait: what is not as it asks is an error, never a panic.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{config, ingest, model, settings, texts, user};
use ndarray::{Array2, ArrayView2, ShapeBuilder, s};
use spring_core::{
    Error, Periods, SqliteStore, UserModel, adapt, prompt::encode_pair, spring_fuse::GateConfig,
};
use spring_lm::{
    Adapter, Branch, BranchVisitor, Decode, ModelError, Parts, RowId, Score, ScoreRow, Session,
};

/// What is wrong with the log-probabilities `[branches, vocabulary]`.
#[derive(Debug, Clone, Copy)]
enum Wrong {
    NoRow,
    ShortRows,
    LongRows,
    ColumnByColumn,
    OneRowMore,
}

impl Wrong {
    fn of(self, log_probs: ArrayView2<'_, f32>) -> Array2<f32> {
        let (rows, columns) = log_probs.dim();
        match self {
            Self::NoRow => Array2::zeros((0, columns)),
            Self::ShortRows => log_probs.slice(s![.., 1..]).to_owned(),
            Self::LongRows => Array2::zeros((rows, columns + 1)),
            Self::ColumnByColumn => {
                let mut turned = Array2::zeros((rows.max(2), columns).f());
                turned.slice_mut(s![..rows, ..]).assign(&log_probs);
                turned.slice(s![..rows, ..]).to_owned()
            }
            Self::OneRowMore => Array2::zeros((rows + 1, columns)),
        }
    }
}

/// The small model, whose distributions come out wrong.
struct Foreign(Wrong);

struct ForeignSession {
    inner: Box<dyn Session>,
    wrong: Wrong,
    log_probs: Vec<f32>,
}

impl Session for ForeignSession {
    fn open(
        &mut self,
        adapter: Option<Arc<Adapter>>,
        capacity: usize,
    ) -> Result<RowId, ModelError> {
        self.inner.open(adapter, capacity)
    }

    fn read(&mut self, row: RowId, tokens: &[u32]) -> Result<(), ModelError> {
        self.inner.read(row, tokens)?;
        let right = self.inner.log_probs(row).unwrap();
        let right = ArrayView2::from_shape((1, right.len()), right).unwrap();
        self.log_probs = self.wrong.of(right).into_raw_vec_and_offset().0;
        Ok(())
    }

    fn leave(&mut self, row: RowId) {
        self.inner.leave(row);
    }

    fn step(&mut self, tokens: &[(RowId, u32)]) -> Result<(), ModelError> {
        self.inner.step(tokens)
    }

    fn log_probs(&self, _: RowId) -> Option<&[f32]> {
        match self.wrong {
            Wrong::NoRow => None,
            _ => Some(&self.log_probs),
        }
    }
}

impl Score for Foreign {
    fn score(&self, _: &[ScoreRow<'_>]) -> Result<Vec<Vec<f32>>, ModelError> {
        Ok(vec![vec![-1.0]])
    }

    fn score_branches(
        &self,
        branches: &[Branch<'_>],
        response: &[u32],
        visit: &mut BranchVisitor<'_>,
    ) -> Result<(), ModelError> {
        model().score_branches(branches, response, &mut |position, log_probs| {
            visit(position, self.0.of(log_probs).view())
        })
    }
}

impl Decode for Foreign {
    fn session(&self) -> Result<Box<dyn Session>, ModelError> {
        let inner = model().session()?;
        Ok(Box::new(ForeignSession { inner, wrong: self.0, log_probs: Vec::new() }))
    }
}

fn learned() -> UserModel<'static> {
    let ada = user("ada");
    let store = SqliteStore::in_memory(&settings(config())).unwrap();
    ingest(&store, &texts("ada", 0..12));
    adapt(model(), &store, &ada, Periods::default(), &mut ()).unwrap();
    UserModel::recall(model(), &store, &ada, None).unwrap()
}

#[test]
fn distributions_of_another_shape_are_refused() {
    let (memories, bank) = learned().into_parts();
    let mut config = config();
    config.decoding.max_new_tokens = Some(4);
    let response = encode_pair(model(), "About soup", "Soup is odd.", 768).unwrap();
    for gate in [GateConfig::Never {}, GateConfig::Always { k: 2 }] {
        let config = config.clone().with_gate(gate);
        for wrong in [
            Wrong::NoRow,
            Wrong::ShortRows,
            Wrong::LongRows,
            Wrong::ColumnByColumn,
            Wrong::OneRowMore,
        ] {
            // One row is the same either way.
            if matches!((wrong, gate), (Wrong::ColumnByColumn, GateConfig::Never {})) {
                continue;
            }
            let foreign = Foreign(wrong);
            let model = Parts::of(model()).with_score(&foreign).with_decode(&foreign);
            let ada = UserModel::new(&model, config.clone(), memories.clone(), bank.clone());
            // A session gives one row at a time, which has no columns.
            if !matches!(wrong, Wrong::ColumnByColumn) {
                let error = ada.generate("About soup", &mut ()).unwrap_err();
                assert!(matches!(error, Error::Contract { .. }), "{wrong:?}: {error}");
                assert!(error.to_string().contains("log-probabilities"), "{error}");
            }
            let error = ada.score("About soup", &response).unwrap_err();
            assert!(matches!(error, Error::Contract { .. }), "{wrong:?}: {error}");
        }
    }
}
