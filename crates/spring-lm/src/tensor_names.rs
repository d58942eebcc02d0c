//! How checkpoints name their tensors.

/// The name that a text model's checkpoint has for a tensor of a multimodal one, or of a model
/// saved without its head; all spellings in the wild are known.
pub fn canonical(name: &str) -> String {
    if ["layers.", "embed_tokens.", "norm."].iter().any(|first| name.starts_with(first)) {
        return format!("model.{name}");
    }
    if let Some(rest) = name.strip_prefix("model.language_model.") {
        return format!("model.{rest}");
    }
    name.strip_prefix("language_model.").unwrap_or(name).into()
}

/// Whether a tensor belongs to the vision part of a multimodal model.
pub fn is_vision(name: &str) -> bool {
    let name = name.strip_prefix("model.").unwrap_or(name);
    name.starts_with("vision_tower.") || name.starts_with("multi_modal_projector.")
}
