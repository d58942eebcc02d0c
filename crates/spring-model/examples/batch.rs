//! Tokens per second of many people's small updates: one by one, on threads of their own, and
//! trained side by side in one batch.
//!
//! cargo run --release -p spring-model --example batch -- [--people N] [--texts N] [--tokens N]
//! [--rounds N] [--even] MODEL
//!
//! Texts have up to N response tokens, evenly spread, behind a context of some ten; with `--even`
//! all have N. The three run in turns. The table goes to standard output, as Markdown; tokens are
//! those of all texts over all epochs, without padding.

#![allow(clippy::print_stdout)]

use std::{ops::ControlFlow, time::Instant};

use spring_model::{
    Adapter, AdapterHash, AnyModel, Device, LoraConfig, ModelError, ModelFiles, Sequence, Train,
    TrainConfig, TrainRequest,
};

/// Keeps freed memory for the next tensor.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let (mut people, mut texts, mut tokens, mut rounds, mut even) = (32, 20, 90, 3, false);
    let mut path = None;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--people" => people = value()?.parse()?,
            "--texts" => texts = value()?.parse()?,
            "--tokens" => tokens = value()?.parse()?,
            "--rounds" => rounds = value()?.parse()?,
            "--even" => even = true,
            _ => path = Some(arg),
        }
    }
    let usage = "usage: batch [--people N] [--texts N] [--tokens N] [--rounds N] [--even] MODEL";
    let path = path.ok_or(usage)?;
    if tokens < 8 {
        return Err(format!("--tokens {tokens}: at least 8").into());
    }
    let model = AnyModel::load(&ModelFiles::from_dir(path)?, Device::Cpu)?;
    let vocabulary = model.config().vocab_size;
    if vocabulary <= 200 {
        return Err(format!("the model has {vocabulary} tokens: more than 200 are needed").into());
    }
    let text = |person: usize, text: usize| {
        let at = person * 7919 + text * 131;
        let token = |i: usize| (100 + (at * 31 + i * 7919) % (vocabulary - 200)) as u32;
        let context = 6 + at % 9;
        let response = if even { tokens } else { 8 + at * 37 % (tokens - 7) };
        Sequence {
            context: (0..context).map(token).collect(),
            response: (context..context + response).map(token).collect(),
        }
    };
    let texts: Vec<Vec<Sequence>> =
        (0..people).map(|person| (0..texts).map(|place| text(person, place)).collect()).collect();
    let (lora, config) = (LoraConfig::default(), TrainConfig::default());
    let tokens = config.epochs * texts.iter().flatten().map(Sequence::len).sum::<usize>();
    let requests: Vec<TrainRequest<'_>> = (0..)
        .zip(&texts)
        .map(|(seed, texts)| TrainRequest::new(&lora, texts, &config, seed))
        .collect();
    let alone = |request: &TrainRequest<'_>| {
        model.train(*request, &mut |_| ControlFlow::Continue(())).map(|outcome| outcome.adapter)
    };
    let threads = std::thread::available_parallelism()?.get();
    println!("| round | one by one | on {threads} threads | in one batch | ratio |");
    println!("|---|---|---|---|---|");
    for round in 1..=rounds {
        let timed = |work: &dyn Fn() -> Result<Vec<Adapter>, Error>| -> Result<_, Error> {
            let start = Instant::now();
            let adapters = work()?;
            Ok((tokens as f64 / start.elapsed().as_secs_f64(), adapters))
        };
        let (one, wanted) = timed(&|| Ok(requests.iter().map(alone).collect::<Result<_, _>>()?))?;
        let (side, _) = timed(&|| {
            std::thread::scope(|scope| {
                let (requests, alone) = (&requests, &alone);
                let work = |thread| {
                    move || -> Result<Vec<Adapter>, ModelError> {
                        requests.iter().skip(thread).step_by(threads).map(alone).collect()
                    }
                };
                let handles: Vec<_> = (0..threads).map(|t| scope.spawn(work(t))).collect();
                let mut all = Vec::new();
                for handle in handles {
                    all.extend(handle.join().map_err(|_| "a thread failed")??);
                }
                Ok(all)
            })
        })?;
        let (batch, adapters) = timed(&|| {
            let trained = model.train_many(&requests, &mut |_, _| ControlFlow::Continue(()));
            Ok(trained.into_iter().map(|t| t.map(|t| t.adapter)).collect::<Result<_, _>>()?)
        })?;
        for (person, (adapter, wanted)) in adapters.iter().zip(&wanted).enumerate() {
            if AdapterHash::of(adapter) != AdapterHash::of(wanted) {
                return Err(format!("person {person} has come out otherwise than alone").into());
            }
        }
        println!("| {round} | {one:.0} | {side:.0} | {batch:.0} | {:.2} |", batch / one);
    }
    Ok(())
}
