//! `--model hub:owner/name` against a server that the test starts.

#![cfg(feature = "cpu")]
#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

const COMMIT: &str = "0123456789abcdef";

/// Serves the files of some model folders as a hub does; gives its address.
fn serve(models: &'static [(&'static str, &'static str)]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), models);
        }
    });
    address
}

fn answer(mut stream: TcpStream, models: &[(&str, &str)]) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let file = models.iter().find_map(|(name, folder)| {
        let file = ["main", COMMIT]
            .iter()
            .find_map(|revision| path.strip_prefix(&format!("/{name}/resolve/{revision}/")))?;
        std::fs::read(fixtures().join(folder).join(file)).ok()
    });
    let Some(file) = file else {
        let _ = stream
            .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        return;
    };
    let range = headers
        .iter()
        .find_map(|h| h.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let status = if range.is_some() { "206 Partial Content" } else { "200 OK" };
    let range = range.unwrap_or("0-".into());
    let (from, to) = range.split_once('-').unwrap();
    let from: usize = from.parse().unwrap();
    let to = to.parse().map_or(file.len(), |to: usize| (to + 1).min(file.len()));
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\ncontent-range: bytes \
         {from}-{}/{}\r\n\
         etag: \"{:016x}\"\r\nx-repo-commit: {COMMIT}\r\nconnection: close\r\n\r\n",
        to - from,
        to - 1,
        file.len(),
        // Files of one name and length are the same here.
        path.bytes().fold(file.len() as u64, |sum, byte| sum.wrapping_mul(31) + u64::from(byte)),
    );
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&file[from..to]));
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn score(model: &str, endpoint: &str, home: &Path) -> Output {
    let texts = home.join("texts.jsonl");
    let text = serde_json::json!({
        "user": "u", "id": "1", "time": "2024-01-01T00:00:00Z", "prompt": "Rain.",
        "response": "The kettle sings."
    });
    std::fs::write(&texts, format!("{text}\n")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_spring"))
        .args(["score", "--json", "--model", model, texts.to_str().unwrap()])
        .env("HF_ENDPOINT", endpoint)
        .env("HF_HOME", home)
        .output()
        .unwrap()
}

fn numbers(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_model_is_downloaded_once_and_then_taken_from_the_cache() {
    let home = tempfile::tempdir().unwrap();
    let endpoint = serve(&[("some-body/tiny.llama", "tiny-llama")]);
    let local =
        numbers(&score(fixtures().join("tiny-llama").to_str().unwrap(), &endpoint, home.path()));
    let downloaded = numbers(&score("hub:some-body/tiny.llama", &endpoint, home.path()));
    assert_eq!(local, downloaded);
    // Nobody listens there.
    let cached = numbers(&score("hub:some-body/tiny.llama", "http://127.0.0.1:9", home.path()));
    assert_eq!(local, cached);
}

#[test]
fn what_cannot_be_downloaded_is_named() {
    let home = tempfile::tempdir().unwrap();
    let endpoint = serve(&[("some-body/shards", "parity/qwen2-shards")]);
    for (model, word) in [
        ("hub:some-body/absent", "config.json"),
        ("hub:../../etc/passwd", "owner/name"),
        ("hub:plain", "owner/name"),
        ("hub:some-body/x@../y", "owner/name"),
        // Its shards come; what it lacks is a tokenizer.
        ("hub:some-body/shards", "tokenizer.json"),
    ] {
        let output = score(model, &endpoint, home.path());
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{model}: {error}");
        assert!(error.contains(word) && !error.contains("panicked"), "{model}: {error}");
    }
    let shards = home.path().join("hub/models--some-body--shards/snapshots").join(COMMIT);
    assert!(shards.join("model-00002-of-00002.safetensors").exists());
}
