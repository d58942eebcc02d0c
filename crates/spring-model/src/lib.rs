//! A causal language model with LoRA adapters on burn: load, score, adapt, decode.
