//! Model folders downloaded from a hub.

use crate::{ModelError, ModelFiles, Result};

/// Files that a model may have beside its config and weights.
const OPTIONAL: &[&str] =
    &["tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"];
const INDEX: &str = "model.safetensors.index.json";

impl ModelFiles {
    /// Downloads a model, named `owner/name` or `owner/name@revision`, or takes it from the cache of earlier downloads.
    ///
    /// The environment decides as for every program of the hub's family: `HF_ENDPOINT` is the server, `HF_HOME` the
    /// folder of the cache and of an access token.
    ///
    /// # Errors
    ///
    /// [`ModelError::Hub`] for a malformed name, a missing file or a failed download; otherwise as
    /// [`from_dir`](Self::from_dir).
    pub fn from_hub(name: &str, progress: bool) -> Result<Self> {
        let fail = |reason: String| ModelError::Hub { model: name.into(), reason };
        let (id, revision) = name.split_once('@').unwrap_or((name, "main"));
        let plain = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let known = id.split_once('/').is_some_and(|(owner, model)| plain(owner) && plain(model));
        if !known || !plain(revision) {
            return Err(fail("a name is owner/name or owner/name@revision".into()));
        }
        let api = hf_hub::api::sync::ApiBuilder::from_env()
            .with_progress(progress)
            .build()
            .map_err(|e| fail(e.to_string()))?;
        let repository =
            api.repo(hf_hub::Repo::with_revision(id.into(), hf_hub::RepoType::Model, revision.into()));
        let get = |file: &str| repository.get(file).map_err(|e| fail(format!("{file}: {e}")));
        let config = get("config.json")?;
        for file in OPTIONAL {
            // Which of them a model has is only known by asking.
            if let Err(error) = get(file) {
                tracing::debug!("{error}");
            }
        }
        let dir = config.parent().unwrap_or(&config);
        if get("model.safetensors").is_err() {
            get(INDEX)?;
            for shard in Self::shard_names(dir)? {
                get(&shard)?;
            }
        }
        Self::from_dir(dir)
    }
}
