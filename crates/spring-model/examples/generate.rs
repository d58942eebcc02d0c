//! Loads a model folder and continues a prompt greedily, with a PEFT adapter if one is given.
//!
//! cargo run --release -p spring-model --example generate -- MODEL "Once upon a time" [ADAPTER]

#![allow(clippy::print_stdout)]

use std::sync::Arc;

use spring_model::{Adapter, AnyModel, Decode, Device, Message, ModelFiles, Role};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, prompt, adapter @ ..] = args.as_slice() else {
        return Err("usage: generate MODEL PROMPT [ADAPTER]".into());
    };
    let model = AnyModel::load(&ModelFiles::from_dir(model)?, Device::Cpu)?;
    let adapter = adapter.first().map(Adapter::load_peft).transpose()?;

    let tokenizer = model.tokenizer()?;
    let chat = tokenizer.encode_chat(&[Message { role: Role::User, content: prompt }])?;
    let context = match chat {
        Some(ids) => ids,
        None => model.config().bos.into_iter().chain(tokenizer.encode(prompt)?).collect(),
    };
    let stop: Vec<u32> =
        tokenizer.end_of_turn().into_iter().chain(model.config().eos.clone()).collect();

    let (most, mut written) = (100, Vec::new());
    let mut session = model.session()?;
    let row = session.join(&context, adapter.map(Arc::new), most)?;
    while let (true, Some(log_probs)) = (written.len() < most, session.log_probs(row)) {
        let best = log_probs.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        let token = best.map_or(0, |(id, _)| id as u32);
        if stop.contains(&token) {
            break;
        }
        written.push(token);
        session.step(&[(row, token)])?;
    }
    println!("{}", tokenizer.decode(&written)?);
    Ok(())
}
