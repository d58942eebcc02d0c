#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How a server differs from the real one.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// Small files by a redirect on the same host, weights by one to another.
    Hub,
    /// Files at once, without commit.
    Mirror,
    /// Only with a token.
    Gated,
    /// 500 for what it lacks.
    Broken,
}

/// A server with a model's files; every request is noted.
struct Server {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

fn serve(manner: Manner, files: BTreeMap<String, Vec<u8>>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&requests);
    std::thread::spawn(move || {
        listener
            .incoming()
            .for_each(|stream| answer(stream.unwrap(), manner, &files, port, &noted));
    });
    Server { address: format!("http://127.0.0.1:{port}"), requests }
}

fn answer(
    mut stream: TcpStream,
    manner: Manner,
    files: &BTreeMap<String, Vec<u8>>,
    port: u16,
    noted: &Mutex<Vec<String>>,
) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(io::Result::ok);
    let request = lines.next().unwrap_or_default();
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let token =
        headers.iter().any(|header| header.eq_ignore_ascii_case("authorization: bearer hf_abc"));
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    noted.lock().unwrap().push(format!("{path} {token}"));
    let mut send = |status: &str, headers: &str, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}connection: close\r\n\r\n",
            body.len()
        );
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    };
    // The storage behind the hub wants no token.
    if manner == Manner::Gated && !token && !path.starts_with("/stored/") {
        return send("401 Unauthorized", "x-error-code: GatedRepo\r\n", b"");
    }
    if path.starts_with("/api/models/some-body/tiny/revision/") {
        return send("200 OK", "", format!("{{\"sha\": \"{COMMIT}\"}}").as_bytes());
    }
    if let Some(folder) = path.strip_prefix(&format!("/api/models/some-body/tiny/tree/{COMMIT}/")) {
        let inside = files.keys().filter(|name| name.starts_with(folder));
        let list: Vec<String> = inside.map(|name| format!("{{\"path\": {name:?}}}")).collect();
        return match list.is_empty() {
            true => send("404 Not Found", "x-error-code: EntryNotFound\r\n", b""),
            false => send("200 OK", "", format!("[{}]", list.join(", ")).as_bytes()),
        };
    }
    let resolved =
        path.strip_prefix("/some-body/tiny/resolve/").and_then(|rest| rest.split_once('/'));
    let known = |revision: &str| [COMMIT, "main", "refs%2Fpr%2F1"].contains(&revision);
    let name = match resolved {
        Some((revision, name)) if known(revision) => name,
        Some(_) => return send("404 Not Found", "x-error-code: RevisionNotFound\r\n", b""),
        None => path.strip_prefix("/stored/").unwrap_or_default(),
    };
    let Some(body) = files.get(name) else {
        return match (manner, resolved) {
            (Manner::Broken, _) => send("500 Internal Server Error", "", b""),
            (_, Some(_)) => send("404 Not Found", "x-error-code: EntryNotFound\r\n", b""),
            (_, None) => send("401 Unauthorized", "x-error-code: RepoNotFound\r\n", b""),
        };
    };
    let tag = format!("\"{name}-tag\"").replace('.', "-");
    match (manner, resolved) {
        (Manner::Mirror, _) | (_, None) => send("200 OK", &format!("etag: W/{tag}\r\n"), body),
        (_, Some(_)) => {
            // Another host for weights, where the token has no business.
            let host = if name.ends_with(".safetensors") {
                format!("http://localhost:{port}")
            } else {
                String::new()
            };
            let headers = format!(
                "x-repo-commit: {COMMIT}\r\nx-linked-etag: {tag}\r\nx-linked-size: {}\r\nlocation: \
                 {host}/stored/{name}\r\n",
                body.len()
            );
            send("302 Found", &headers, b"");
        }
    }
}

/// A model that is as small as one can be; the weights are not looked at here.
fn model() -> BTreeMap<String, Vec<u8>> {
    let weights = safetensors::serialize(
        [(
            "x",
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &[0; 4])
                .unwrap(),
        )],
        None,
    );
    [
        ("config.json", b"{}".to_vec()),
        ("tokenizer.json", b"{}".to_vec()),
        ("model.safetensors", weights.unwrap()),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into()
}

fn settings(endpoint: &str, cache: &Path) -> Settings {
    Settings {
        endpoint: endpoint.into(),
        cache: cache.into(),
        token: None,
        offline: false,
        progress: false,
    }
}

fn fetch(settings: &Settings) -> std::result::Result<String, String> {
    let files = from_settings("some-body/tiny", settings).map_err(|e| e.to_string())?;
    files.fingerprint().map_err(|e| e.to_string())
}

/// An address at which nobody listens.
const NOBODY: &str = "http://127.0.0.1:9";

#[test]
fn a_model_is_fetched_once_and_its_cache_has_the_common_layout() {
    let cache = tempfile::tempdir().unwrap();
    let server = serve(Manner::Hub, model());
    let settings =
        Settings { token: Some("hf_abc".into()), ..settings(&server.address, cache.path()) };
    let whole = fetch(&settings).unwrap();
    let root = cache.path().join("models--some-body--tiny");
    assert_eq!(fs::read_to_string(root.join("refs/main")).unwrap(), COMMIT);
    assert_eq!(fs::read(root.join("blobs/config-json-tag")).unwrap(), b"{}");
    let snapshot = root.join("snapshots").join(COMMIT);
    assert_eq!(fs::read(snapshot.join("tokenizer.json")).unwrap(), b"{}");
    assert!(root.join(LACKING).join(COMMIT).join("generation_config.json").exists());
    // The token stays with the hub, and after the first file the commit is asked for.
    let requests = server.requests.lock().unwrap().clone();
    assert!(
        requests.iter().all(|line| line.ends_with("true") != (line.contains("/stored/model"))),
        "{requests:?}"
    );
    assert_eq!(requests.iter().filter(|line| line.contains("/resolve/main/")).count(), 1);
    // Nothing is asked again.
    assert_eq!(fetch(&Settings { endpoint: NOBODY.into(), ..settings.clone() }).unwrap(), whole);
    assert_eq!(server.requests.lock().unwrap().len(), requests.len());
}

#[test]
fn further_templates_come_along() {
    let cache = tempfile::tempdir().unwrap();
    let mut files = model();
    let template = "additional_chat_templates/rag.jinja";
    files.insert(template.into(), b"x".to_vec());
    files.insert("additional_chat_templates/../../x.jinja".into(), b"x".to_vec());
    let server = serve(Manner::Hub, files);
    let found = from_settings("some-body/tiny", &settings(&server.address, cache.path())).unwrap();
    assert_eq!(found.chat_templates.keys().collect::<Vec<_>>(), ["rag"]);
    let root = cache.path().join("models--some-body--tiny");
    let link = root.join("snapshots").join(COMMIT).join(template);
    assert_eq!(fs::read(&link).unwrap(), b"x");
    #[cfg(unix)]
    assert!(fs::read_link(&link).unwrap().starts_with("../../../blobs"));
}

#[test]
fn a_mirror_need_not_know_commits_and_ranges() {
    let cache = tempfile::tempdir().unwrap();
    let server = serve(Manner::Mirror, model());
    fetch(&settings(&server.address, cache.path())).unwrap();
    let snapshots = cache.path().join("models--some-body--tiny/snapshots");
    assert!(snapshots.join(COMMIT).join(WEIGHTS).exists());
}

#[test]
fn a_revision_may_have_slashes() {
    let cache = tempfile::tempdir().unwrap();
    let server = serve(Manner::Hub, model());
    let settings = settings(&server.address, cache.path());
    from_settings("some-body/tiny@refs/pr/1", &settings).unwrap();
    assert!(cache.path().join("models--some-body--tiny/refs/refs/pr/1").exists());
    for bad in
        ["some-body/tiny@../x", "some-body/tiny@/x", "some-body/tiny@a//b", "tiny", "a/b/c", "a/.b"]
    {
        let error = from_settings(bad, &settings).unwrap_err().to_string();
        assert!(error.contains("owner/name"), "{bad}: {error}");
    }
    let error = from_settings("some-body/tiny@v9", &settings).unwrap_err().to_string();
    assert!(error.contains("no such revision"), "{error}");
}

#[test]
fn gated_and_unknown_models_are_told_apart() {
    let cache = tempfile::tempdir().unwrap();
    let gated = serve(Manner::Gated, model());
    let plain = settings(&gated.address, cache.path());
    let error = fetch(&plain).unwrap_err();
    assert!(error.contains("gated") && error.contains("HF_TOKEN"), "{error}");
    let error = fetch(&Settings { token: Some("hf_other".into()), ..plain.clone() }).unwrap_err();
    assert!(error.contains("has no access"), "{error}");
    fetch(&Settings { token: Some("hf_abc".into()), ..plain }).unwrap();
    let unknown = from_settings(
        "some-body/else",
        &settings(&serve(Manner::Hub, model()).address, cache.path()),
    );
    let error = unknown.unwrap_err().to_string();
    assert!(error.contains("no such model") && error.contains("HF_TOKEN"), "{error}");
}

#[test]
fn a_cache_that_another_program_filled_works_without_network() {
    let cache = tempfile::tempdir().unwrap();
    let server = serve(Manner::Hub, model());
    let online = settings(&server.address, cache.path());
    let offline = Settings { offline: true, endpoint: NOBODY.into(), ..online.clone() };
    assert!(fetch(&offline).unwrap_err().contains("HF_HUB_OFFLINE"));
    let whole = fetch(&online).unwrap();
    // Other programs do not note what they did not ask for.
    fs::remove_dir_all(cache.path().join("models--some-body--tiny").join(LACKING)).unwrap();
    assert_eq!(fetch(&offline).unwrap(), whole);
    assert_eq!(fetch(&Settings { offline: false, ..offline.clone() }).unwrap(), whole);
    // Without weights a copy is none.
    fs::remove_file(
        cache.path().join("models--some-body--tiny/snapshots").join(COMMIT).join(WEIGHTS),
    )
    .unwrap();
    assert!(fetch(&offline).unwrap_err().contains("weights"));
    assert!(fetch(&Settings { offline: false, ..offline }).unwrap_err().contains("try again"));
}

#[test]
fn only_a_404_says_that_a_model_lacks_a_file() {
    let cache = tempfile::tempdir().unwrap();
    let error =
        fetch(&settings(&serve(Manner::Broken, model()).address, cache.path())).unwrap_err();
    assert!(OPTIONAL.iter().any(|file| error.contains(file)) && error.contains("500"), "{error}");
    assert!(fetch(&settings(&serve(Manner::Hub, model()).address, cache.path())).is_ok());
}

#[test]
fn a_model_without_safetensors_says_what_it_has() {
    let cache = tempfile::tempdir().unwrap();
    let mut files = model();
    files.remove(WEIGHTS);
    files.insert(PICKLE.into(), b"x".to_vec());
    let error = fetch(&settings(&serve(Manner::Hub, files).address, cache.path())).unwrap_err();
    assert!(error.contains(PICKLE) && error.contains("safetensors"), "{error}");
}

#[test]
fn one_gguf_file_of_a_model_is_fetched_with_all_its_parts() {
    assert_eq!(split_file("a/b"), ("a/b", None));
    assert_eq!(split_file("a/b/c"), ("a/b/c", None));
    assert_eq!(split_file("a/b/q4/c.gguf"), ("a/b", Some("q4/c.gguf")));
    assert_eq!(parts("c.gguf"), ["c.gguf"]);
    assert_eq!(parts("c-00002-of-00002.gguf"), ["c-00001-of-00002.gguf", "c-00002-of-00002.gguf"]);
    assert_eq!(parts("c-00002-of-99999.gguf"), ["c-00002-of-99999.gguf"]);

    let cache = tempfile::tempdir().unwrap();
    let names = ["q4/c-00001-of-00002.gguf", "q4/c-00002-of-00002.gguf"];
    let files = names.map(|name| (name.to_owned(), name.as_bytes().to_vec()));
    let server = serve(Manner::Hub, files.into());
    let online = settings(&server.address, cache.path());
    let offline = Settings { offline: true, endpoint: NOBODY.into(), ..online.clone() };
    let open = |name: &str, settings: &Settings| {
        from_settings(&format!("some-body/tiny/{name}"), settings).unwrap_err().to_string()
    };
    assert!(open(names[0], &offline).contains("HF_HUB_OFFLINE"));
    // Both are there afterwards, and the reader is the first to see that they are no models.
    for settings in [&online, &offline] {
        let error = open(names[0], settings);
        assert!(error.contains("not a GGUF file") && error.contains(names[0]), "{error}");
    }
    let snapshot = cache.path().join("models--some-body--tiny/snapshots").join(COMMIT);
    for name in names {
        assert_eq!(fs::read(snapshot.join(name)).unwrap(), name.as_bytes());
    }
    assert!(open("other.gguf", &online).contains("other.gguf"));
    assert!(open("../other.gguf", &online).contains("owner/name"));
}
