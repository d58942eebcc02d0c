//! A model's files: in the Hugging Face layout, from a folder or from bytes inside the program, or
//! one GGUF file.

mod fingerprint;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use spring_gguf::GgufFile;

use crate::{ModelConfig, ModelError, Result, Weights, special::TokenSettings};

/// Where a model's folder has further templates.
pub(crate) const TEMPLATES: &str = "additional_chat_templates";

/// The files of one model.
///
/// Config and tokenizer are small and read at once; the weights are read shard by shard while
/// loading.
#[derive(Debug, Clone)]
pub struct ModelFiles {
    label: String,
    config: Cow<'static, [u8]>,
    generation_config: Option<Vec<u8>>,
    pub(crate) tokenizer_config: Option<Vec<u8>>,
    pub(crate) special_tokens_map: Option<Vec<u8>>,
    pub(crate) added_tokens: Option<Vec<u8>>,
    pub(crate) chat_template: Option<Vec<u8>>,
    /// Further templates by their names, from `additional_chat_templates/NAME.jinja`.
    pub(crate) chat_templates: BTreeMap<String, Vec<u8>>,
    /// Only what turns text into tokens needs it.
    tokenizer: Option<Cow<'static, [u8]>>,
    weights: Vec<Shard>,
    /// The file that says all of it, of a model that is in one.
    gguf: Option<Arc<GgufFile>>,
}

#[derive(Debug, Clone)]
enum Shard {
    File(PathBuf),
    Bytes(&'static [u8]),
}

/// Larger configuration files are refused: parsed JSON takes up to 32 times its text. The longest,
/// an index of shards, has some MB.
const MAX_CONFIG: u64 = 16 << 20;
/// The biggest tokenizers in the wild have about 40 MB.
const MAX_TOKENIZER: u64 = 128 << 20;

impl ModelFiles {
    /// The files of a folder: `config.json`, `model.safetensors` or the shards that
    /// `model.safetensors.index.json` lists, and, where they are there, `tokenizer.json`,
    /// `tokenizer_config.json`, `special_tokens_map.json`, `added_tokens.json`,
    /// `chat_template.jinja`, `additional_chat_templates/*.jinja` and `generation_config.json`.
    ///
    /// # Errors
    ///
    /// [`ModelError::Io`] or [`ModelError::Config`], naming the file that is missing or malformed.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        if !dir.join("config.json").exists() && dir.join("adapter_config.json").exists() {
            return Err(ModelError::Config {
                file: dir.display().to_string(),
                reason:
                    "the folder holds a PEFT adapter: give it by --adapter, and its base by --model"
                        .into(),
            });
        }
        let config = read_small(&dir.join("config.json"))?.into();
        let optional = |name: &str| {
            let path = dir.join(name);
            path.exists().then(|| read_small(&path)).transpose()
        };
        Ok(Self {
            label: dir.display().to_string(),
            config,
            generation_config: optional("generation_config.json")?,
            tokenizer_config: optional("tokenizer_config.json")?,
            special_tokens_map: optional("special_tokens_map.json")?,
            added_tokens: optional("added_tokens.json")?,
            chat_template: optional("chat_template.jinja")?,
            chat_templates: templates(&dir.join(TEMPLATES))?,
            tokenizer: match dir.join("tokenizer.json") {
                path if path.exists() => Some(read_limited(&path, MAX_TOKENIZER)?.into()),
                _ => None,
            },
            weights: shards(dir)?,
            gguf: None,
        })
    }

    /// A model in a GGUF file: configuration, tokenizer, chat template and weights are in it. Of a
    /// model in several files any part may be named.
    ///
    /// # Errors
    ///
    /// [`ModelError::Gguf`] for a file that is damaged, incomplete, or of another kind, with the
    /// key or tensor at fault; nothing of the weights is read.
    pub fn from_gguf(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = crate::gguf::open(path)?;
        Ok(Self {
            label: path.display().to_string(),
            config: Cow::Borrowed(&[]),
            generation_config: None,
            tokenizer_config: None,
            special_tokens_map: None,
            added_tokens: None,
            chat_template: file.chat_template(None).map(|text| text.as_bytes().to_vec()),
            chat_templates: BTreeMap::new(),
            tokenizer: None,
            weights: Vec::new(),
            gguf: Some(Arc::new(file)),
        })
    }

    /// The model at a path: a folder as of [`from_dir`](Self::from_dir), or a file as of
    /// [`from_gguf`](Self::from_gguf).
    ///
    /// # Errors
    ///
    /// As theirs.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        match path.is_file() {
            true => Self::from_gguf(path),
            false => Self::from_dir(path),
        }
    }

    /// The GGUF file that the model is in, if it is in one.
    pub fn gguf(&self) -> Option<&GgufFile> {
        self.gguf.as_deref()
    }

    /// The same files compiled into a program; `label` is how errors name them.
    pub fn from_static(
        label: &str,
        config: &'static [u8],
        tokenizer: &'static [u8],
        weights: &'static [u8],
    ) -> Self {
        Self {
            label: label.into(),
            config: config.into(),
            generation_config: None,
            tokenizer_config: None,
            special_tokens_map: None,
            added_tokens: None,
            chat_template: None,
            chat_templates: BTreeMap::new(),
            tokenizer: Some(tokenizer.into()),
            weights: vec![Shard::Bytes(weights)],
            gguf: None,
        }
    }

    /// Added tokens that `tokenizer.json` does not have.
    fn foreign_tokens(&self) -> Vec<String> {
        #[derive(serde::Deserialize)]
        struct File {
            #[serde(default)]
            added_tokens: Vec<Token>,
        }
        #[derive(serde::Deserialize)]
        struct Token {
            content: String,
        }
        // What cannot be read is refused where it is needed.
        let settings = TokenSettings::load(self).unwrap_or_default();
        if settings.added.is_empty() {
            return Vec::new();
        }
        let file: Option<File> =
            self.tokenizer.as_deref().and_then(|json| serde_json::from_slice(json).ok());
        let known: BTreeSet<String> = file
            .into_iter()
            .flat_map(|file| file.added_tokens)
            .map(|token| token.content)
            .collect();
        settings
            .added
            .into_iter()
            .map(|token| token.content)
            .filter(|text| !known.contains(text))
            .collect()
    }

    /// Whether there is a `tokenizer.json`; a GGUF file always has its tokenizer.
    pub fn has_tokenizer(&self) -> bool {
        self.tokenizer.is_some() || self.gguf.is_some()
    }

    /// The model's resolved `config.json`, with what `generation_config.json` changes of it.
    ///
    /// # Errors
    ///
    /// [`ModelError::Config`], naming the file and what is wrong with it.
    pub fn model_config(&self) -> Result<ModelConfig> {
        if let Some(file) = &self.gguf {
            return crate::gguf::config(file);
        }
        let config = ModelConfig::from_json(&self.config, &self.file("config.json"))?;
        match &self.generation_config {
            Some(json) => config.with_generation_config(json, &self.file("generation_config.json")),
            None => Ok(config),
        }
    }

    /// The repetition penalty that `generation_config.json` asks for, if it asks for one that
    /// changes anything: who tuned a model knows what keeps it from repeating itself.
    pub fn repetition_penalty(&self) -> Option<f32> {
        #[derive(serde::Deserialize)]
        struct Generation {
            repetition_penalty: Option<f32>,
        }
        let json = self.generation_config.as_deref()?;
        let generation: Generation = serde_json::from_slice(json).ok()?;
        generation.repetition_penalty.filter(|p| (1.0..=2.0).contains(p) && *p > 1.0)
    }

    pub(crate) fn tokenizer(&self) -> Result<&[u8]> {
        self.tokenizer.as_deref().ok_or_else(|| ModelError::Tokenizer {
            file: self.file("tokenizer.json"),
            reason: "no such file; only the fast tokenizers' format is read".into(),
        })
    }

    /// What errors call this model: its folder, or the label given.
    pub fn label(&self) -> &str {
        &self.label
    }

    pub(crate) fn file(&self, name: &str) -> String {
        match (&self.gguf, name) {
            (None, name) => format!("{}/{name}", self.label),
            (Some(_), "chat_template.jinja") => {
                format!("{}: key tokenizer.chat_template", self.label)
            }
            (Some(_), "tokenizer.json") => format!("{}: keys tokenizer.ggml", self.label),
            (Some(_), _) => self.label.clone(),
        }
    }

    /// Opens every weights file in turn.
    ///
    /// # Errors
    ///
    /// Each item's, as of [`Weights::open`] or [`Weights::from_bytes`].
    pub fn weights(&self) -> impl Iterator<Item = Result<Weights<'_>>> {
        self.weights.iter().map(|shard| match shard {
            Shard::File(path) => Weights::open(path),
            Shard::Bytes(bytes) => Weights::from_bytes(bytes, self.file("model.safetensors")),
        })
    }
}

/// What a tokenizer in another process needs.
impl ModelFiles {
    /// Whether the program carries the files itself.
    pub(crate) fn is_built_in(&self) -> bool {
        matches!(self.tokenizer, Some(Cow::Borrowed(_)))
    }

    /// Where the GGUF file is, if the model is in one.
    pub(crate) fn gguf_path(&self) -> Option<PathBuf> {
        self.gguf.as_ref().and_then(|file| file.paths().next()).map(Into::into)
    }

    /// The same files without those that a tokenizer does not need.
    pub(crate) fn of_tokenizer(&self) -> Self {
        Self {
            config: Cow::Borrowed(&[]),
            generation_config: None,
            weights: Vec::new(),
            ..self.clone()
        }
    }

    /// The contents of the files that a tokenizer needs, by their names.
    pub(crate) fn tokenizer_parts(&self) -> Vec<(String, &[u8])> {
        if self.gguf.is_some() {
            return Vec::new();
        }
        let named = [
            ("tokenizer.json", self.tokenizer.as_deref()),
            ("tokenizer_config.json", self.tokenizer_config.as_deref()),
            ("special_tokens_map.json", self.special_tokens_map.as_deref()),
            ("added_tokens.json", self.added_tokens.as_deref()),
            ("chat_template.jinja", self.chat_template.as_deref()),
        ];
        let named = named.into_iter().filter_map(|(name, bytes)| Some((name.to_owned(), bytes?)));
        let templates = self.chat_templates.iter();
        named
            .chain(templates.map(|(name, bytes)| (format!("{TEMPLATES}/{name}"), bytes.as_slice())))
            .collect()
    }

    /// A model of such contents, without configuration and weights.
    pub(crate) fn of_parts(label: &str, parts: Vec<(String, Vec<u8>)>) -> Self {
        let mut files = Self::from_static(label, &[], &[], &[]);
        (files.tokenizer, files.weights) = (None, Vec::new());
        for (name, bytes) in parts {
            match name.as_str() {
                "tokenizer.json" => files.tokenizer = Some(bytes.into()),
                "tokenizer_config.json" => files.tokenizer_config = Some(bytes),
                "special_tokens_map.json" => files.special_tokens_map = Some(bytes),
                "added_tokens.json" => files.added_tokens = Some(bytes),
                "chat_template.jinja" => files.chat_template = Some(bytes),
                name => {
                    if let Some(name) =
                        name.strip_prefix(TEMPLATES).and_then(|rest| rest.strip_prefix('/'))
                    {
                        files.chat_templates.insert(name.to_owned(), bytes);
                    }
                }
            }
        }
        files
    }
}

impl Shard {
    fn path(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Bytes(_) => "model.safetensors".into(),
        }
    }
}

/// A configuration file, whole.
pub(crate) fn read_small(path: &Path) -> Result<Vec<u8>> {
    read_limited(path, MAX_CONFIG)
}

fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let io = |source| ModelError::Io { path: path.into(), source };
    let mut bytes = Vec::new();
    spring_numerics::file::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(io)?;
    if bytes.len() as u64 > limit {
        let reason = format!("longer than {limit} bytes");
        return Err(ModelError::Config { file: path.display().to_string(), reason });
    }
    Ok(bytes)
}

/// The templates of a folder, by the names of their files.
fn templates(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(BTreeMap::new()) };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "jinja"))
        .filter_map(|path| Some((path.file_stem()?.to_str()?.to_owned(), path)))
        .map(|(name, path)| Ok((name, read_small(&path)?)))
        .collect()
}

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// What to do about a folder without weights that can be read.
pub(crate) fn without_weights(dir: &Path) -> String {
    let names = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let other = names
        .filter(|name| {
            [".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack"]
                .iter()
                .any(|end| name.ends_with(end))
        })
        .min();
    match other {
        Some(name) if name.ends_with(".gguf") => {
            format!("{name} is there: name this file itself, {}", dir.join(&name).display())
        }
        Some(name) => format!(
            "{name} is there, {WEIGHTS} is needed: convert it with transformers \
             (from_pretrained(...), then \
             save_pretrained(...) writes safetensors), or take a copy of the model that has them"
        ),
        None => format!("neither {WEIGHTS} nor {INDEX} is there"),
    }
}

fn shards(dir: &Path) -> Result<Vec<Shard>> {
    let single = dir.join(WEIGHTS);
    if single.exists() {
        return Ok(vec![Shard::File(single)]);
    }
    let fail = |reason: String| ModelError::Config { file: dir.display().to_string(), reason };
    if !dir.join(INDEX).exists() {
        return Err(fail(without_weights(dir)));
    }
    let names = ModelFiles::shard_names(dir)?;
    if let Some(absent) = names.iter().find(|name| !dir.join(name).exists()) {
        return Err(fail(format!("{INDEX} lists {absent}, which is not there: fetch it too")));
    }
    Ok(names.into_iter().map(|name| Shard::File(dir.join(name))).collect())
}

impl ModelFiles {
    /// The weights files that a folder's index names.
    pub(crate) fn shard_names(dir: &Path) -> Result<BTreeSet<String>> {
        #[derive(serde::Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }
        let index = dir.join(INDEX);
        let fail =
            |reason: String| ModelError::Config { file: index.display().to_string(), reason };
        let list: Index =
            crate::json::parse(&read_small(&index)?).map_err(&fail).and_then(|json| {
                serde_json::from_value(json)
                    .map_err(|_| fail("weight_map is no object of file names".into()))
            })?;
        let names: BTreeSet<String> = list.weight_map.into_values().collect();
        // A name from a file may not lead out of the folder.
        match names
            .iter()
            .find(|name| Path::new(name).file_name().is_none_or(|n| n != name.as_str()))
        {
            Some(name) => Err(fail(format!("{name:?} is not a plain file name"))),
            None => Ok(names),
        }
    }
}
