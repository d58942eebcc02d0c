//! Requests to a hub: redirects, tokens, and answers as files of the cache.

use std::{
    fs,
    io::{Read, Write},
    path::Path,
    time::Duration,
};

use spring_numerics::{digest::Digest, words::of_system};

use super::{Failure, Settings};
use crate::ModelError;

const REDIRECTS: usize = 10;
/// More files of a folder than this are left out.
const MOST_FILES: usize = 32;
/// A server that is busy is asked again after a moment.
const TRIES: u32 = 3;

pub(super) struct Client<'a> {
    agent: ureq::Agent,
    settings: &'a Settings,
}

/// What a server says of a file.
pub(super) enum Answer {
    Found(Box<Found>),
    /// The model has no such file.
    Lacking,
}

/// A file that is being sent.
pub(super) struct Found {
    body: ureq::Response,
    commit: Option<String>,
    etag: Option<String>,
    /// Length in bytes, as far as the server tells.
    size: Option<u64>,
    label: String,
    progress: bool,
}

impl<'a> Client<'a> {
    pub(super) fn new(settings: &'a Settings) -> Self {
        // Redirects are followed here: their headers name the commit, and another host gets no
        // token.
        let agent = ureq::AgentBuilder::new()
            .redirects(0)
            .timeout_connect(Duration::from_secs(20))
            .timeout_read(Duration::from_secs(60))
            .try_proxy_from_env(true)
            .user_agent(concat!("spring/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent, settings }
    }

    /// Asks for a file of a model.
    pub(super) fn get(&self, id: &str, revision: &str, file: &str) -> Result<Answer, Failure> {
        let revision = revision.replace('/', "%2F");
        let mut url = format!("{}/{id}/resolve/{revision}/{file}", self.settings.endpoint);
        let (mut commit, mut etag, mut size) = (None, None, None);
        for _ in 0..=REDIRECTS {
            let answer = self.send(&url)?;
            let header = |name: &str| answer.header(name).map(str::to_owned);
            commit = commit.or_else(|| header("x-repo-commit"));
            etag = etag.or_else(|| header("x-linked-etag"));
            size = size.or_else(|| header("x-linked-size").and_then(|text| text.parse().ok()));
            match answer.status() {
                200..=299 => {
                    return Ok(Answer::Found(Box::new(Found {
                        etag: etag.or_else(|| header("etag")),
                        size: size.or_else(|| {
                            header("content-length").and_then(|text| text.parse().ok())
                        }),
                        commit: commit.filter(|commit| is_plain(commit)),
                        label: file.rsplit('/').next().unwrap_or(file).into(),
                        progress: self.settings.progress,
                        body: answer,
                    })));
                }
                300..=399 => {
                    let next = header("location").and_then(|to| join(&url, &to));
                    url = next.ok_or_else(|| {
                        Failure::Refused(format!("{url}: a redirect that leads nowhere"))
                    })?;
                }
                404 if header("x-error-code").is_none_or(|code| code == "EntryNotFound") => {
                    return Ok(Answer::Lacking);
                }
                status => {
                    return Err(Failure::Refused(self.refusal(
                        status,
                        header("x-error-code").as_deref(),
                        &url,
                    )));
                }
            }
        }
        Err(Failure::Refused(format!("{file}: more than {REDIRECTS} redirects")))
    }

    /// The commit of a revision, from a server that does not send it with files.
    pub(super) fn commit(&self, id: &str, revision: &str) -> Result<String, Failure> {
        let revision = revision.replace('/', "%2F");
        let url = format!("{}/api/models/{id}/revision/{revision}", self.settings.endpoint);
        let fail = |reason: &str| Failure::Refused(format!("{url}: {reason}"));
        let answer = self.send(&url)?;
        if answer.status() != 200 {
            return Err(fail("the server does not say which commit this is"));
        }
        let mut bytes = Vec::new();
        let read = answer.into_reader().take(16 << 20).read_to_end(&mut bytes);
        read.map_err(|e| Failure::Unreachable(format!("{url}: {}", of_system(&e))))?;
        let json = crate::json::parse(&bytes).map_err(|reason| fail(&reason))?;
        let commit = json.get("sha").and_then(|sha| sha.as_str()).filter(|sha| is_plain(sha));
        commit
            .map(str::to_owned)
            .ok_or_else(|| fail("the server does not say which commit this is"))
    }

    /// The paths of the templates in a folder of a model; none from a server that does not list
    /// them.
    pub(super) fn list(
        &self,
        id: &str,
        commit: &str,
        folder: &str,
    ) -> Result<Vec<String>, Failure> {
        let url = format!("{}/api/models/{id}/tree/{commit}/{folder}", self.settings.endpoint);
        // A model without the folder gives 404, as many a mirror does for whatever is no file.
        let Ok(answer) = self.send(&url) else { return Ok(Vec::new()) };
        if answer.status() != 200 {
            return Ok(Vec::new());
        }
        let mut bytes = Vec::new();
        let read = answer.into_reader().take(1 << 20).read_to_end(&mut bytes);
        read.map_err(|e| Failure::Unreachable(format!("{url}: {}", of_system(&e))))?;
        let Ok(list) = crate::json::parse(&bytes) else {
            return Ok(Vec::new());
        };
        let paths =
            list.as_array().into_iter().flatten().filter_map(|entry| entry["path"].as_str());
        // A name from a server may not lead out of the folder.
        let is_inside = |path: &&str| {
            path.strip_prefix(folder)
                .and_then(|rest| rest.strip_prefix('/'))
                .is_some_and(|name| name.strip_suffix(".jinja").is_some_and(is_plain))
        };
        Ok(paths.filter(is_inside).take(MOST_FILES).map(str::to_owned).collect())
    }

    fn send(&self, url: &str) -> Result<ureq::Response, Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut request = self.agent.get(url);
            if let Some(token) = self.settings.token.as_ref().filter(|_| self.is_own(url)) {
                request = request.set("Authorization", &format!("Bearer {token}"));
            }
            match request.call() {
                Ok(answer) => return Ok(answer),
                Err(ureq::Error::Status(429 | 500..=599, answer)) if tries == TRIES => {
                    return Err(Failure::Refused(format!(
                        "{url}: status {}; whether the model has this file is not known, try again",
                        answer.status()
                    )));
                }
                Err(ureq::Error::Status(429 | 500..=599, _)) => {
                    std::thread::sleep(Duration::from_millis(200 << tries));
                }
                Err(ureq::Error::Status(_, answer)) => return Ok(answer),
                Err(ureq::Error::Transport(error)) => {
                    return Err(Failure::Unreachable(format!(
                        "{url}: {}; whether the model has this file is not known, try again",
                        unreachable(&error)
                    )));
                }
            }
        }
    }

    /// Whether an address is the hub's own, and not that of a storage it sends us to.
    fn is_own(&self, url: &str) -> bool {
        let rest = url.strip_prefix(self.settings.endpoint.as_str());
        rest.is_some_and(|rest| rest.starts_with('/'))
    }

    /// What a refusal means, and what to do.
    fn refusal(&self, status: u16, code: Option<&str>, url: &str) -> String {
        let token = match self.settings.token {
            Some(_) => "the token that was sent has no access",
            None => "no token was sent: put one into HF_TOKEN, or log in with `hf auth login`",
        };
        match (status, code) {
            (_, Some("GatedRepo")) => format!(
                "the model is gated: accept its terms on its page, with the account of the token \
                 ({token})"
            ),
            (_, Some("RevisionNotFound")) => "the model has no such revision".into(),
            (_, Some("RepoNotFound")) | (401, _) => {
                format!("there is no such model, or it is private: check its name ({token})")
            }
            (403, _) => format!("access is forbidden ({token})"),
            _ => format!(
                "{url}: status {status}; whether the model has this file is not known, try again"
            ),
        }
    }
}

impl Found {
    pub(super) fn commit(&self) -> Option<&str> {
        self.commit.as_deref()
    }

    /// Writes the file into the cache: its bytes by their tag, and a link of its name to them.
    pub(super) fn store(self, root: &Path, snapshot: &Path, name: &str) -> Result<(), Failure> {
        let io = |path: &Path| {
            let path = path.to_path_buf();
            move |source| Failure::Model(ModelError::Io { path, source })
        };
        let target = snapshot.join(name);
        if target.exists() {
            return Ok(());
        }
        let blobs = root.join("blobs");
        let place = target.parent().unwrap_or(snapshot);
        for folder in [blobs.as_path(), place] {
            fs::create_dir_all(folder).map_err(io(folder))?;
        }
        let tag = self
            .etag
            .as_deref()
            .map(|tag| tag.trim_start_matches("W/").trim_matches('"').to_owned());
        let known = tag.filter(|tag| is_plain(tag));
        let blob = match known {
            Some(tag) if blobs.join(&tag).exists() => tag,
            known => self.receive(&blobs, known)?,
        };
        let depth = Path::new(name).components().count();
        link(&blobs.join(&blob), &target, depth).map_err(io(&target))
    }

    /// Reads the body; gives the name of its bytes in `blobs`.
    fn receive(self, blobs: &Path, tag: Option<String>) -> Result<String, Failure> {
        let partial = blobs.join(format!(
            "{}.{}.incomplete",
            self.label.replace('/', "-"),
            std::process::id()
        ));
        let io = |source| Failure::Model(ModelError::Io { path: partial.clone(), source });
        let bar = match self.progress {
            true => indicatif::ProgressBar::new(self.size.unwrap_or_default())
                .with_message(self.label.clone()),
            false => indicatif::ProgressBar::hidden(),
        };
        let style = indicatif::ProgressStyle::with_template(
            "{msg} {bytes} of {total_bytes} {bytes_per_sec}",
        );
        bar.set_style(style.unwrap_or_else(|_| indicatif::ProgressStyle::default_bar()));
        let mut file = fs::File::create(&partial).map_err(io)?;
        let (mut hash, mut buffer, mut total) = (Digest::new(), vec![0; 1 << 16], 0_u64);
        let mut body = self.body.into_reader();
        let received = loop {
            match body.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(read) => {
                    file.write_all(&buffer[..read]).map_err(io)?;
                    hash.update(&buffer[..read]);
                    total += read as u64;
                    bar.set_position(total);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => break Err(of_system(&error)),
            }
        };
        bar.finish_and_clear();
        let whole = received.and_then(|()| match self.size {
            Some(size) if size != total => Err(format!("{total} of {size} bytes came")),
            _ => Ok(()),
        });
        if let Err(reason) = whole {
            let _ = fs::remove_file(&partial);
            return Err(Failure::Unreachable(format!("{}: {reason}; try again", self.label)));
        }
        file.sync_all().map_err(io)?;
        let hash = hash.hex();
        let name = tag.unwrap_or(hash);
        fs::rename(&partial, blobs.join(&name)).map_err(io)?;
        Ok(name)
    }
}

/// Why a server did not answer.
fn unreachable(error: &ureq::Transport) -> String {
    use ureq::ErrorKind as Kind;
    let plain = match error.kind() {
        Kind::Dns => "the server's name is not known here: check HF_ENDPOINT and the connection",
        Kind::ConnectionFailed => "nobody takes connections there, or there is no network",
        Kind::InvalidUrl | Kind::UnknownScheme => {
            "not an address of http or https: check HF_ENDPOINT"
        }
        Kind::BadStatus | Kind::BadHeader => "what answers there does not speak HTTP",
        Kind::InvalidProxyUrl | Kind::ProxyConnect | Kind::ProxyUnauthorized => {
            "the proxy does not let it through"
        }
        Kind::TooManyRedirects => "more redirects than are followed",
        _ => "the connection broke, or nobody answered in time",
    };
    plain.to_owned()
}

/// Whether a header's word can be a file's name.
fn is_plain(word: &str) -> bool {
    (1..=128).contains(&word.len())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}

/// A link's target, seen from the page that it stands on.
fn join(from: &str, to: &str) -> Option<String> {
    if to.starts_with("http://") || to.starts_with("https://") {
        return Some(to.into());
    }
    let host = from.find("://").map(|at| at + 3)?;
    let root = from[host..].find('/').map_or(from.len(), |at| host + at);
    match to.starts_with('/') {
        true => Some(format!("{}{to}", &from[..root])),
        false => Some(format!("{}/{to}", from.rsplit_once('/')?.0)),
    }
}

/// `depth` is how many folders below the snapshots' own the link stands.
#[cfg(unix)]
fn link(blob: &Path, target: &Path, depth: usize) -> std::io::Result<()> {
    let name = blob.file_name().unwrap_or_default();
    let root = "../".repeat(depth + 1);
    match std::os::unix::fs::symlink(Path::new(&root).join("blobs").join(name), target) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

#[cfg(not(unix))]
fn link(blob: &Path, target: &Path, _: usize) -> std::io::Result<()> {
    fs::copy(blob, target).map(drop)
}
