//! Which learning rate suits a base: adapters trained with several of them on one user's earlier
//! texts, and how well each then explains the user's later ones.
//!
//! cargo run --release -p spring-model --example learning_rate -- [--epochs N] [--texts N]
//! [--rates A,B,…] MODEL TEXTS.jsonl USER
//!
//! `TEXTS.jsonl` has `user`, `prompt` and `response` in each line. The first three quarters of the
//! user's texts are trained on, with the default settings but for the rate; the rest is held out.
//! The table goes to standard output, as Markdown; losses are nats per token of the responses.

#![allow(clippy::print_stdout)]

use std::{ops::ControlFlow, time::Instant};

use spring_model::{
    Adapter, AnyModel, Device, LoraConfig, Message, ModelFiles, Role, Score, Sequence, Tokenize,
    Train, TrainConfig, TrainRequest,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let mut config = TrainConfig::default().with_max_tokens(384);
    let (mut most, mut rates) = (64, vec![1e-4, 3e-4, 1e-3, 2e-3, 3e-3, 5e-3, 1e-2]);
    let mut names = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--epochs" => config.epochs = value()?.parse()?,
            "--texts" => most = value()?.parse()?,
            "--rates" => rates = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
            _ => names.push(arg),
        }
    }
    let [model, file, user] = &names[..] else { return Err("MODEL TEXTS.jsonl USER".into()) };
    let model = AnyModel::load(&ModelFiles::open(model)?, Device::Cpu)?;
    let mut texts = Vec::new();
    for line in std::fs::read_to_string(file)?.lines() {
        let line: serde_json::Value = serde_json::from_str(line)?;
        let field = |name: &str| line[name].as_str().unwrap_or_default();
        if field("user") == user {
            texts.push(sequence(&model, field("prompt"), field("response"), config.max_tokens)?);
        }
    }
    texts.truncate(most);
    let (trained, held_out) = texts.split_at(texts.len() * 3 / 4);
    println!("{user}: {} texts to train on, {} held out\n", trained.len(), held_out.len());
    println!("| rate | trained on | held out | seconds |\n|---|---|---|---|");
    println!(
        "| base | {:.3} | {:.3} | |",
        loss(&model, trained, None)?,
        loss(&model, held_out, None)?
    );
    for rate in rates {
        config.learning_rate = rate;
        let lora = LoraConfig::default();
        let start = Instant::now();
        let request = TrainRequest::new(&lora, trained, &config, 1);
        let shown = match model.train(request, &mut |_| ControlFlow::Continue(())) {
            Ok(outcome) => {
                let seconds = start.elapsed().as_secs_f64();
                let adapter = Some(&outcome.adapter);
                format!(
                    "{:.3} | {:.3} | {seconds:.0}",
                    loss(&model, trained, adapter)?,
                    loss(&model, held_out, adapter)?
                )
            }
            Err(error) => format!("{error} | | "),
        };
        println!("| {rate:.0e} | {shown} |");
    }
    Ok(())
}

/// The response behind the prompt as the chat template has it, or two line breaks.
fn sequence(
    model: &AnyModel,
    prompt: &str,
    response: &str,
    most: usize,
) -> Result<Sequence, Error> {
    let info = model.info();
    let mut context = match info.chat {
        true => model.encode_chat(&[Message { role: Role::User, content: prompt }])?,
        false => {
            let mut ids: Vec<u32> = info.bos.into_iter().collect();
            ids.extend(model.encode(&format!("{prompt}\n\n"))?);
            ids
        }
    };
    let mut response = model.encode(response)?;
    response.extend(info.eos.first());
    context.truncate(most / 2);
    response.truncate(most - context.len());
    Ok(Sequence { context, response })
}

fn loss(model: &AnyModel, texts: &[Sequence], adapter: Option<&Adapter>) -> Result<f64, Error> {
    let rows: Vec<_> = texts.iter().map(|text| (text, adapter)).collect();
    let scores = model.score(&rows)?;
    let all: Vec<f64> = scores.into_iter().flatten().map(f64::from).collect();
    Ok(-all.iter().sum::<f64>() / all.len().max(1) as f64)
}
