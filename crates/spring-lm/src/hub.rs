//! Model folders downloaded from a hub.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};

use crate::{ModelError, ModelFiles, Result};

/// Files that a model may have beside its config and weights.
const OPTIONAL: &[&str] =
    &["tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"];
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Where the hub's programs note, by commit, which files a model lacks.
const LACKING: &str = ".no_exist";

impl ModelFiles {
    /// Downloads a model, named `owner/name` or `owner/name@revision`, or takes it from the cache of earlier downloads.
    ///
    /// The environment decides as for every program of the hub's family: `HF_ENDPOINT` is the server, `HF_HOME` the
    /// folder of the cache and of an access token. That a model lacks a file is known when the server has said so once
    /// (404), which is noted in the cache; no other failure counts as that.
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
        let api = ApiBuilder::from_env().with_progress(progress).build().map_err(|e| fail(e.to_string()))?;
        download(&api, name, id, revision)
    }
}

fn download(api: &Api, name: &str, id: &str, revision: &str) -> Result<ModelFiles> {
    let repository =
        api.repo(hf_hub::Repo::with_revision(id.into(), hf_hub::RepoType::Model, revision.into()));
    let model = Remote { name, repository };
    let config = model.get("config.json")?;
    let dir = config.parent().unwrap_or(&config);
    for file in OPTIONAL {
        model.find(file, dir)?;
    }
    if !model.find(WEIGHTS, dir)? {
        model.get(INDEX)?;
        for shard in ModelFiles::shard_names(dir)? {
            model.get(&shard)?;
        }
    }
    ModelFiles::from_dir(dir)
}

struct Remote<'a> {
    name: &'a str,
    repository: ApiRepo,
}

impl Remote<'_> {
    fn fail(&self, reason: String) -> ModelError {
        ModelError::Hub { model: self.name.into(), reason }
    }

    /// A file that the model must have.
    fn get(&self, file: &str) -> Result<PathBuf> {
        self.repository.get(file).map_err(|e| self.fail(format!("{file}: {e}")))
    }

    /// Downloads a file that the model may lack, and says whether it has it; `dir` is where its files of this commit are.
    fn find(&self, file: &str, dir: &Path) -> Result<bool> {
        let lacking = lacking(dir);
        if lacking.join(file).exists() {
            return Ok(false);
        }
        let Err(error) = self.repository.get(file) else { return Ok(true) };
        let failure = format!("{file}: {error}; whether the model has this file is not known, try again");
        if !is_absent(error) {
            return Err(self.fail(failure));
        }
        if let Err(error) = note(&lacking, file) {
            tracing::debug!("{}: {error}; the server will be asked again", lacking.join(file).display());
        }
        Ok(false)
    }
}

/// `models--owner--name/.no_exist/COMMIT` of `models--owner--name/snapshots/COMMIT`.
fn lacking(dir: &Path) -> PathBuf {
    let root = dir.parent().and_then(Path::parent).unwrap_or(dir);
    root.join(LACKING).join(dir.file_name().unwrap_or_default())
}

fn note(lacking: &Path, file: &str) -> io::Result<()> {
    fs::create_dir_all(lacking)?;
    fs::write(lacking.join(file), b"")
}

/// Whether the server said that there is no such file.
fn is_absent(error: ApiError) -> bool {
    match error {
        ApiError::RequestError(error) => error.into_response().is_some_and(|answer| answer.status() == 404),
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    /// Serves the fixture's files as a hub does; what it has not is answered by `otherwise`. Gives its address.
    fn serve(otherwise: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || listener.incoming().for_each(|stream| answer(stream.unwrap(), otherwise)));
        address
    }

    fn answer(mut stream: TcpStream, otherwise: &str) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(io::Result::ok);
        let request = lines.next().unwrap_or_default();
        let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let path = request.split(' ').nth(1).unwrap_or_default();
        let name = path.strip_prefix("/some-body/tiny/resolve/main/").unwrap_or_default();
        let Ok(file) = fs::read(fixture().join(name)) else {
            let head = format!("HTTP/1.1 {otherwise}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            return drop(stream.write_all(head.as_bytes()));
        };
        let first_byte_alone = headers.iter().any(|header| header.eq_ignore_ascii_case("range: bytes=0-0"));
        let sent = if first_byte_alone { &file[..1] } else { &file[..] };
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\ncontent-length: {}\r\ncontent-range: bytes 0-{}/{}\r\n\
             etag: \"{name}\"\r\nx-repo-commit: 0123456789abcdef\r\nconnection: close\r\n\r\n",
            sent.len(),
            sent.len() - 1,
            file.len()
        );
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(sent));
    }

    fn fixture() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama")
    }

    fn fetch(endpoint: &str, cache: &Path) -> Result<ModelFiles> {
        let builder = ApiBuilder::from_cache(hf_hub::Cache::new(cache.into())).with_progress(false);
        let api = builder.with_endpoint(endpoint.into()).build().unwrap();
        download(&api, "some-body/tiny", "some-body/tiny", "main")
    }

    #[test]
    fn only_a_404_says_that_a_model_lacks_a_file() {
        let cache = tempfile::tempdir().unwrap();
        let error = fetch(&serve("500 Internal Server Error"), cache.path()).unwrap_err().to_string();
        assert!(OPTIONAL.iter().any(|file| error.contains(file)) && error.contains("500"), "{error}");
        // Nobody listens there.
        let nobody = "http://127.0.0.1:9";
        assert!(fetch(nobody, cache.path()).is_err());
        let whole = fetch(&serve("404 Not Found"), cache.path()).unwrap().fingerprint().unwrap();
        assert_eq!(whole, ModelFiles::from_dir(fixture()).unwrap().fingerprint().unwrap());
        // What it lacks is known by now.
        assert_eq!(fetch(nobody, cache.path()).unwrap().fingerprint().unwrap(), whole);
    }
}
