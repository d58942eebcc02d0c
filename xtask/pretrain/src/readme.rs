//! The README beside a trained model: how it came about, and how good it is.

use spring_model::ModelConfig;

use crate::{codec::Codec, progress::Progress, report::Report, settings::Settings, texts::Texts};

/// The README's text.
pub fn readme(
    settings: &Settings,
    texts: &Texts,
    codec: &Codec,
    config: &ModelConfig,
    progress: &Progress,
    report: &Report,
) -> String {
    let file_names: Vec<_> =
        settings.data.iter().filter_map(|path| path.file_name()?.to_str()).collect();
    let embeddings = if config.tie_word_embeddings { "tied" } else { "untied" };
    let share = 100.0 * progress.with_related as f64 / progress.sequences.max(1) as f64;
    let start = match &settings.start {
        None => "From random weights".to_owned(),
        Some(dir) => format!("From the model {:?}", dir.file_name().unwrap_or_default()),
    };
    let training = &settings.training;
    format!(
        "# A small language model

{} architecture, Hugging Face layout, float16: {} layers, width {}, {} heads, {} key/value heads, \
feed-forward width {}, {embeddings} embeddings, \
context {}. Byte-level BPE of {} tokens.

Trained by `cargo xtask pretrain` on {} ({} texts, {} others kept from training). {start}: {} \
steps, {} tokens in {} sequences, \
{share:.1} % of them with 1 to 3 related texts before their target or, {:.0} % of all, the target \
itself, {:.0} s. Batches of about {} tokens, learning rate {}, warm-up {}, decay {}, \
weight decay {}, seed {}.

Format of a text: `<|begin|>` prompt, two line breaks, response, `<|end|>` (ids {} and {}). \
Retrieved texts stand before the prompt in the same form. \
There is no chat template.

{}",
        config.model_type,
        config.num_layers,
        config.hidden_size,
        config.num_heads,
        config.num_kv_heads,
        config.intermediate_size,
        config.max_positions,
        codec.vocabulary(),
        file_names.join(", "),
        texts.train.len(),
        texts.valid.len(),
        training.steps,
        progress.tokens,
        progress.sequences,
        100.0 * settings.texts.copies,
        progress.seconds,
        training.batch_tokens,
        training.learning_rate,
        training.warmup,
        training.decay,
        training.weight_decay,
        settings.seed,
        codec.begin,
        codec.end,
        report.markdown(),
    )
}
