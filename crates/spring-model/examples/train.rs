//! Trains a LoRA adapter on the lines of a text file and saves it as a folder that Python's PEFT
//! loads.
//!
//! cargo run --release -p spring-model --example train -- MODEL lines.txt ADAPTER

#![allow(clippy::print_stdout)]

use std::ops::ControlFlow;

use spring_model::{
    AnyModel, Device, LoraConfig, ModelFiles, Sequence, Train, TrainConfig, TrainRequest,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [base, lines, folder] = args.as_slice() else {
        return Err("usage: train MODEL LINES ADAPTER".into());
    };
    let model = AnyModel::load(&ModelFiles::from_dir(base)?, Device::Cpu)?;
    let (begin, end) = (model.config().bos.unwrap_or_default(), model.config().end_token()?);
    let mut examples = Vec::new();
    for line in std::fs::read_to_string(lines)?.lines().filter(|line| !line.trim().is_empty()) {
        let mut response = model.tokenizer()?.encode(line)?;
        response.push(end);
        response.truncate(768);
        examples.push(Sequence { context: vec![begin], response });
    }
    let config = TrainConfig::default().with_learning_rate(1e-3);
    let lora = LoraConfig::default();
    let outcome = model.train(TrainRequest::new(&lora, &examples, &config, 0), &mut |step| {
        let loss =
            step.loss.map_or(String::new(), |loss| format!(", loss {loss:.3} nats per token"));
        println!("step {} of {}{loss}", step.done, step.steps);
        ControlFlow::Continue(())
    })?;
    outcome.adapter.save_peft(folder, Some(base))?;
    println!(
        "{folder}: {} numbers, trained on {} tokens",
        outcome.adapter.num_params(),
        outcome.tokens
    );
    Ok(())
}
