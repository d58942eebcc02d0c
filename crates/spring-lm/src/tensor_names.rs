//! How checkpoints name their tensors.

/// The name that a text model's checkpoint has for a tensor of a multimodal one; both spellings in
/// the wild are known.
pub fn canonical(name: &str) -> String {
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
