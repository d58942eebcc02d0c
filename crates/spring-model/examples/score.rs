//! How likely a response is after a prompt: nats per token under a base model and, beside it, under
//! an adapter.
//!
//! cargo run --release -p spring-model --example score -- MODEL PROMPT RESPONSE [ADAPTER]

#![allow(clippy::print_stdout)]

use spring_model::{Adapter, AnyModel, Device, ModelFiles, Score, Sequence};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, prompt, response, adapter @ ..] = args.as_slice() else {
        return Err("usage: score MODEL PROMPT RESPONSE [ADAPTER]".into());
    };
    let model = AnyModel::load(&ModelFiles::from_dir(model)?, Device::Cpu)?;
    let tokenizer = model.tokenizer()?;
    let sequence = Sequence {
        context: model
            .config()
            .bos
            .into_iter()
            .chain(tokenizer.encode(&format!("{prompt}\n\n"))?)
            .collect(),
        response: tokenizer.encode(response)?,
    };
    // Base and adapter are rows of one batch.
    let adapter = adapter.first().map(Adapter::load_peft).transpose()?;
    let mut rows = vec![(&sequence, None)];
    rows.extend(adapter.as_ref().map(|adapter| (&sequence, Some(adapter))));
    for (scores, name) in model.score(&rows)?.iter().zip(["base", "adapter"]) {
        let mean = scores.iter().sum::<f32>() / scores.len() as f32;
        println!("{name}: {:.4} nats per token, perplexity {:.2}", -mean, (-mean).exp());
    }
    Ok(())
}
