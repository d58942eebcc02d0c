//! Model folders downloaded from a hub, in the cache that the hub's programs share.

mod client;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use self::client::{Answer, Client};
use crate::{
    ModelError, ModelFiles, Result,
    checkpoint::{TEMPLATES, without_weights},
};

/// Files that a model may have beside its config and weights.
const OPTIONAL: &[&str] = &[
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "chat_template.jinja",
];
const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// What a model without safetensors mostly has.
const PICKLE: &str = "pytorch_model.bin";
/// Where the hub's programs note, by commit, which files a model lacks.
const LACKING: &str = ".no_exist";
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// What the environment says, as it does to every program of the hub's family.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// `HF_ENDPOINT`
    endpoint: String,
    /// `HF_HUB_CACHE`, or `hub` in `HF_HOME`
    cache: PathBuf,
    /// `HF_TOKEN`, or the file that a login leaves
    token: Option<String>,
    /// `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE`
    offline: bool,
    progress: bool,
}

impl Settings {
    fn from_env(progress: bool) -> Self {
        let variable =
            |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let home = variable("HF_HOME").map(PathBuf::from).unwrap_or_else(|| {
            let cache = variable("XDG_CACHE_HOME").map(PathBuf::from).unwrap_or_else(|| {
                let home = variable("HOME").or_else(|| variable("USERPROFILE"));
                PathBuf::from(home.unwrap_or_else(|| ".".into())).join(".cache")
            });
            cache.join("huggingface")
        });
        let cache = variable("HF_HUB_CACHE").or_else(|| variable("HUGGINGFACE_HUB_CACHE"));
        let from_file = || {
            let path = variable("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
            fs::read_to_string(path).ok()
        };
        let token =
            variable("HF_TOKEN").or_else(|| variable("HUGGING_FACE_HUB_TOKEN")).or_else(from_file);
        let on = |name: &str| {
            variable(name).is_some_and(|value| {
                ["1", "on", "yes", "true"].contains(&value.trim().to_ascii_lowercase().as_str())
            })
        };
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.into());
        Self {
            endpoint: endpoint.trim_end_matches('/').into(),
            cache: cache.map_or_else(|| home.join("hub"), PathBuf::from),
            token: token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()),
            offline: on("HF_HUB_OFFLINE") || on("TRANSFORMERS_OFFLINE"),
            progress,
        }
    }
}

impl ModelFiles {
    /// Downloads a model, named `owner/name` or `owner/name@revision`, or takes it from the cache,
    /// whichever program filled it. `owner/name/file.gguf`, with a revision or not, is one GGUF
    /// file of the model, or all parts of one.
    ///
    /// The environment decides as for every program of the hub's family: `HF_ENDPOINT` is the
    /// server, `HF_HUB_CACHE` or `HF_HOME` the folder of the cache, `HF_TOKEN` or the file of a
    /// login the access token, and `HF_HUB_OFFLINE` forbids the network. A model that is whole in
    /// the cache is taken from there without asking. A server that cannot be reached counts as no
    /// network: what the cache has is used if configuration, tokenizer and weights are there. That
    /// a model lacks a file is known when the server has said so (404), which is noted in the
    /// cache; no other failure counts as that.
    ///
    /// # Errors
    ///
    /// [`ModelError::Hub`] for a malformed name, a missing file, a model that wants a token or a
    /// licence to be accepted, or a failed download; otherwise as [`from_dir`](Self::from_dir).
    pub fn from_hub(name: &str, progress: bool) -> Result<Self> {
        from_settings(name, &Settings::from_env(progress))
    }
}

fn from_settings(name: &str, settings: &Settings) -> Result<ModelFiles> {
    let (path, revision) = name.split_once('@').unwrap_or((name, "main"));
    let (id, file) = split_file(path);
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let known = id.split_once('/').is_some_and(|(owner, model)| plain(owner) && plain(model));
    if !known || !revision.split('/').all(plain) || !file.is_none_or(|f| f.split('/').all(plain)) {
        return Err(ModelError::Hub {
            model: name.into(),
            reason: "a name is owner/name or owner/name@revision, or has the name of a GGUF file \
                     behind owner/name"
                .into(),
        });
    }
    let folder = settings.cache.join(format!("models--{}", id.replace('/', "--")));
    let model = Model { name, id, revision, folder, settings };
    match file {
        Some(file) => model.gguf(file),
        None => model.files(),
    }
}

/// `owner/name/file.gguf` as model and file.
fn split_file(path: &str) -> (&str, Option<&str>) {
    let end = path.match_indices('/').nth(1).map(|(at, _)| at);
    match end {
        Some(end) if path.ends_with(".gguf") => (&path[..end], Some(&path[end + 1..])),
        _ => (path, None),
    }
}

/// More files than any released model has parts.
const MOST_PARTS: usize = 1000;

/// All parts of a model that is in several files, `NAME-00001-of-00003.gguf`; of another the file
/// itself.
fn parts(file: &str) -> Vec<String> {
    let named = || {
        let (stem, count) = file.strip_suffix(".gguf")?.rsplit_once("-of-")?;
        let (stem, own) = stem.rsplit_once('-')?;
        let number = |text: &str| text.parse::<usize>().ok().filter(|_| text.len() == 5);
        let count = number(count).filter(|count| (1..=MOST_PARTS).contains(count))?;
        number(own)?;
        Some((1..=count).map(|i| format!("{stem}-{i:05}-of-{count:05}.gguf")).collect())
    };
    named().unwrap_or_else(|| vec![file.into()])
}

/// A model at a revision, and its folder in the cache.
struct Model<'a> {
    name: &'a str,
    id: &'a str,
    revision: &'a str,
    folder: PathBuf,
    settings: &'a Settings,
}

impl Model<'_> {
    fn fail(&self, reason: impl Into<String>) -> ModelError {
        ModelError::Hub { model: self.name.into(), reason: reason.into() }
    }

    fn files(&self) -> Result<ModelFiles> {
        let cached = self.cached();
        if let Some(dir) = cached.as_ref().filter(|dir| self.settings.offline || is_whole(dir)) {
            return self.open(dir, "offline");
        }
        if self.settings.offline {
            return Err(self.fail(format!(
                "not in the cache {}, and HF_HUB_OFFLINE forbids to download it",
                self.settings.cache.display()
            )));
        }
        let client = Client::new(self.settings);
        match self.download(&client) {
            Err(Failure::Unreachable(reason)) => match cached.filter(|dir| is_usable(dir)) {
                Some(dir) => {
                    tracing::warn!("{}: {reason}; the copy in the cache is used", self.name);
                    self.open(&dir, "without network")
                }
                None => Err(self.fail(reason)),
            },
            Err(Failure::Refused(reason)) => Err(self.fail(reason)),
            Err(Failure::Model(error)) => Err(error),
            Ok(dir) => ModelFiles::from_dir(dir),
        }
    }

    /// A snapshot as it stands in the cache.
    fn open(&self, dir: &Path, how: &str) -> Result<ModelFiles> {
        match is_usable(dir) {
            true => ModelFiles::from_dir(dir),
            false => Err(self.fail(format!(
                "the copy in the cache, {}, lacks {CONFIG} or weights, and {how} they cannot be \
                 downloaded",
                dir.display()
            ))),
        }
    }

    /// Where the cache has this revision, or would have it.
    fn snapshot(&self) -> PathBuf {
        let named = fs::read_to_string(self.folder.join("refs").join(self.revision)).ok();
        let commit = named.map_or_else(|| self.revision.to_owned(), |text| text.trim().to_owned());
        self.folder.join("snapshots").join(commit)
    }

    fn cached(&self) -> Option<PathBuf> {
        Some(self.snapshot()).filter(|dir| dir.join(CONFIG).exists())
    }

    /// One GGUF file with all its parts.
    fn gguf(&self, file: &str) -> Result<ModelFiles> {
        let (parts, cached) = (parts(file), self.snapshot());
        if parts.iter().all(|part| cached.join(part).exists()) {
            return ModelFiles::from_gguf(cached.join(file));
        }
        if self.settings.offline {
            return Err(self.fail(format!(
                "{file} is not in the cache {}, and HF_HUB_OFFLINE forbids to download it",
                self.settings.cache.display()
            )));
        }
        match self.download_parts(&Client::new(self.settings), &parts) {
            Ok(dir) => ModelFiles::from_gguf(dir.join(file)),
            Err(Failure::Unreachable(reason) | Failure::Refused(reason)) => Err(self.fail(reason)),
            Err(Failure::Model(error)) => Err(error),
        }
    }

    fn download_parts(
        &self,
        client: &Client<'_>,
        parts: &[String],
    ) -> std::result::Result<PathBuf, Failure> {
        let mut dir = None;
        for part in parts {
            let Answer::Found(found) = client.get(self.id, self.revision, part)? else {
                return Err(Failure::Refused(format!(
                    "the model has no {part}: look at its list of files"
                )));
            };
            let dir = match &dir {
                Some(dir) => dir,
                None => {
                    let commit = match found.commit() {
                        Some(commit) => commit.to_owned(),
                        None => client.commit(self.id, self.revision)?,
                    };
                    self.note_commit(&commit)?;
                    dir.insert(self.folder.join("snapshots").join(commit))
                }
            };
            found.store(&self.folder, dir, part)?;
        }
        dir.ok_or_else(|| Failure::Refused("no file is named".into()))
    }

    /// Notes which commit the revision is.
    fn note_commit(&self, commit: &str) -> std::result::Result<(), Failure> {
        let reference = self.folder.join("refs").join(self.revision);
        if self.revision == commit {
            return Ok(());
        }
        let parent = reference.parent().unwrap_or(&reference);
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&reference, commit))
            .map_err(|source| Failure::Model(ModelError::Io { path: reference.clone(), source }))
    }

    fn download(&self, client: &Client<'_>) -> std::result::Result<PathBuf, Failure> {
        let config = client.get(self.id, self.revision, CONFIG)?;
        let Answer::Found(config) = config else {
            return Err(Failure::Refused(format!(
                "the model has no {CONFIG}: it is none of a kind that is run here"
            )));
        };
        let commit = match config.commit() {
            Some(commit) => commit.to_owned(),
            None => client.commit(self.id, self.revision)?,
        };
        let dir = self.folder.join("snapshots").join(&commit);
        config.store(&self.folder, &dir, CONFIG)?;
        self.note_commit(&commit)?;
        for file in OPTIONAL {
            self.find(client, file, &commit, &dir)?;
        }
        // Their names are the model's own.
        for file in client.list(self.id, &commit, TEMPLATES)? {
            self.find(client, &file, &commit, &dir)?;
        }
        if !self.find(client, WEIGHTS, &commit, &dir)? {
            if !self.find(client, INDEX, &commit, &dir)? {
                let pickle = client
                    .get(self.id, &commit, PICKLE)
                    .is_ok_and(|answer| matches!(answer, Answer::Found(_)));
                let has = if pickle {
                    format!("{PICKLE} is there, ")
                } else {
                    without_weights(&dir) + "; "
                };
                return Err(Failure::Refused(format!(
                    "{has}{WEIGHTS} is needed: take a revision or a copy of the model that has \
                     safetensors"
                )));
            }
            for shard in ModelFiles::shard_names(&dir).map_err(Failure::Model)? {
                if !self.find(client, &shard, &commit, &dir)? {
                    return Err(Failure::Refused(format!(
                        "{INDEX} lists {shard}, which the model does not have"
                    )));
                }
            }
        }
        Ok(dir)
    }

    /// Downloads a file that the model may lack, and says whether it has it.
    fn find(
        &self,
        client: &Client<'_>,
        file: &str,
        commit: &str,
        dir: &Path,
    ) -> std::result::Result<bool, Failure> {
        if dir.join(file).exists() {
            return Ok(true);
        }
        let lacking = lacking(dir).join(file);
        if lacking.exists() {
            return Ok(false);
        }
        match client.get(self.id, commit, file)? {
            Answer::Found(found) => found.store(&self.folder, dir, file).map(|()| true),
            Answer::Lacking => {
                if let Err(error) = note(&lacking) {
                    tracing::debug!(
                        "{}: {error}; the server will be asked again",
                        lacking.display()
                    );
                }
                Ok(false)
            }
        }
    }
}

/// Why a download did not come about.
#[derive(Debug)]
enum Failure {
    /// The server did not answer.
    Unreachable(String),
    /// It answered otherwise than with the file.
    Refused(String),
    Model(ModelError),
}

/// Whether a snapshot has what a model cannot do without.
fn is_usable(dir: &Path) -> bool {
    let index = || {
        ModelFiles::shard_names(dir)
            .is_ok_and(|names| names.iter().all(|name| dir.join(name).exists()))
    };
    dir.join(CONFIG).exists() && (dir.join(WEIGHTS).exists() || index())
}

/// Whether nothing is to be asked of the server: each file is there, or known to be lacking.
fn is_whole(dir: &Path) -> bool {
    let lacking = lacking(dir);
    is_usable(dir)
        && OPTIONAL.iter().all(|file| dir.join(file).exists() || lacking.join(file).exists())
}

/// `models--owner--name/.no_exist/COMMIT` of `models--owner--name/snapshots/COMMIT`.
fn lacking(dir: &Path) -> PathBuf {
    let root = dir.parent().and_then(Path::parent).unwrap_or(dir);
    root.join(LACKING).join(dir.file_name().unwrap_or_default())
}

fn note(file: &Path) -> io::Result<()> {
    fs::create_dir_all(file.parent().unwrap_or(file))?;
    fs::write(file, b"")
}

#[cfg(test)]
mod tests;
