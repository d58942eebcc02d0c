//! This project's side of each comparison.

mod fuse;
mod model;
mod scale;
mod search;

use std::{fs::File, io::BufReader, path::Path, time::Instant};

use anyhow::{Context, Result};

use crate::{protocol::serve, work::Work};

/// Does one task whenever asked, until told to end.
///
/// # Errors
///
/// If the task cannot be read or done.
pub fn work(path: &Path) -> Result<()> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let work = serde_json::from_reader(BufReader::new(file))
        .with_context(|| format!("{} is no task", path.display()))?;
    let system = concat!("spring ", env!("CARGO_PKG_VERSION"));
    match work {
        Work::Load { model, tokens } => serve(system, model::first_token(model, tokens)),
        Work::Adapters { model, adapters, tokens, new_tokens, position, rows } => {
            serve(system, model::adapters(&model, &adapters, tokens, new_tokens, position, rows)?)
        }
        Work::Score { model, rows, adapter, .. } => {
            serve(system, model::score(&model, rows, adapter.as_deref())?)
        }
        Work::Train { model, rows, steps, settings } => {
            serve(system, model::train(&model, rows, steps, &settings)?)
        }
        Work::Prefill { model, tokens } => serve(system, model::prefill(&model, tokens)?),
        Work::Decode { model, tokens, new_tokens, positions, rows } => {
            serve(system, model::decode(&model, tokens, new_tokens, positions, rows)?)
        }
        Work::Bm25 { documents, queries, k } => serve(system, search::bm25(documents, queries, k)),
        Work::Dense { vectors, dimensions, count, links, ef_construction, ef_search, truth } => {
            let vectors = crate::inputs::read_vectors(&vectors, dimensions)?;
            serve(
                system,
                search::dense(
                    vectors,
                    dimensions,
                    count,
                    links,
                    ef_construction,
                    ef_search,
                    truth,
                )?,
            )
        }
        Work::Fuse { logits, vocabulary, steps, temperature, top_p } => {
            let logits =
                crate::inputs::read_vectors(&logits, vocabulary)?.collect::<Result<Vec<_>>>()?;
            serve(system, fuse::steps(&logits, steps, temperature, top_p)?)
        }
        Work::History { model, before, new, selected } => {
            serve(system, scale::history(&model, before, new, selected)?)
        }
        Work::Users { model, users, texts } => serve(system, scale::users(&model, users, texts)?),
    }
}

/// Seconds that some work takes, and what it gives.
fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let begin = Instant::now();
    let value = work();
    (begin.elapsed().as_secs_f64(), value)
}
