//! What the system may do to a program: signals, no more threads, closed and full outputs, pipes in
//! place of files, a limit on the size of files.

#![cfg(all(feature = "cpu", unix))]
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use common::{fails, spring, succeeds};
use serde_json::Value;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_spring");

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama")
}

fn texts(user: &str, count: usize) -> String {
    let line = |i: usize| {
        let value = serde_json::json!({
            "user": user, "id": format!("{i}"), "time": format!("2024-03-01T10:00:{i:02}Z"),
            "prompt": format!("Number {i}?"), "response": format!("{user} says {i}."),
        });
        format!("{value}\n")
    };
    (0..count).map(line).collect()
}

struct Place {
    dir: TempDir,
    state: String,
}

impl Place {
    /// A state of the tiny model with twelve texts of one user.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("me.db").to_str().unwrap().to_owned();
        let place = Self { dir, state };
        succeeds(&["init", "--state", &place.state, "--model", model().to_str().unwrap()]);
        let file = place.file("ada.jsonl", &texts("ada", 12));
        succeeds(&["ingest", "--state", &place.state, &file]);
        place
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn file(&self, name: &str, content: &str) -> String {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// What bash makes of a line in which `spring` is the program, in the place's folder.
    fn shell(&self, line: &str) -> Output {
        let line = line.replace("spring ", &format!("{PROGRAM} "));
        Command::new("bash").args(["-c", &line]).current_dir(self.dir.path()).output().unwrap()
    }
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_signal_ends_a_command_that_waits_within_seconds() {
    let place = Place::new();
    for (signal, args) in [
        ("-TERM", vec!["ingest", "--state", &place.state, "-"]),
        ("-INT", vec!["score", "-"]),
        ("-HUP", vec!["generate", "--state", &place.state, "--user", "ada", "--prompt-file", "-"]),
    ] {
        let mut child = Command::new(PROGRAM)
            .args(&args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Standard input stays open, and nothing comes.
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(texts("bob", 1).as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(1500));
        let begin = Instant::now();
        assert!(
            Command::new("kill")
                .args([signal, &child.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(child.wait().unwrap().code(), Some(130), "{args:?}");
        assert!(begin.elapsed() < Duration::from_secs(15), "{args:?}: {:?}", begin.elapsed());
        drop(stdin);
    }
    assert_eq!(succeeds(&["users", "--state", &place.state, "--json"]).lines().count(), 1);
}

#[test]
fn where_no_thread_can_be_started_a_command_ends_with_an_error() {
    let place = Place::new();
    for args in [
        vec!["users", "--state", &place.state],
        vec!["adapt", "--state", &place.state],
        vec!["generate", "--state", &place.state, "--user", "ada", "--prompt", "x"],
        vec!["demo"],
    ] {
        // More than any machine has: the system refuses every thread.
        let output =
            Command::new(PROGRAM).args(&args).env("RUST_MIN_STACK", "1000000000000000").output();
        let output = output.unwrap();
        let said = told(&output);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.starts_with("spring: ") && said.contains("thread"), "{args:?}: {said}");
        assert!(!said.contains("panicked") && !said.contains("internal"), "{args:?}: {said}");
    }
}

#[test]
fn outputs_that_are_closed_or_full_are_an_error_and_no_panic() {
    let place = Place::new();
    for (line, code, says) in [
        ("spring users --state me.db > /dev/full", 1, "standard output: No space left"),
        ("spring man > /dev/full", 1, "standard output: No space left"),
        ("spring completions bash > /dev/full", 1, "standard output: No space left"),
        ("spring data synth > /dev/full", 1, "standard output: No space left"),
        ("spring users --state me.db 2>/dev/full", 0, ""),
        ("spring users --state none.db 2>/dev/full", 1, ""),
        ("spring users --state none.db 2>&-", 1, ""),
        ("spring ingest --state me.db - 2>/dev/full <&-", 0, ""),
        ("SPRING_LOG=trace spring adapt --state me.db 2>/dev/full", 0, ""),
        ("set -o pipefail; spring data synth --users 500 | head -1 > /dev/null", 141, ""),
        ("{ spring users --state none.db; echo $? >&3; } 3>&1 2>&1 >/dev/null | true", 0, ""),
    ] {
        let output = place.shell(line);
        let said = told(&output);
        assert_eq!(output.status.code(), Some(code), "{line}: {said}");
        assert!(said.contains(says) && !said.contains("panicked"), "{line}: {said}");
    }
}

#[test]
fn a_pipe_or_a_device_in_place_of_a_file_is_refused_before_it_is_opened() {
    let place = Place::new();
    assert!(place.shell("mkfifo pipe folder.pipe").status.success());
    let folder = |name: &str| {
        let folder = place.dir.path().join(name);
        fs::create_dir(&folder).unwrap();
        for file in ["config.json", "tokenizer.json", "model.safetensors"] {
            fs::copy(model().join(file), folder.join(file)).unwrap();
        }
        folder
    };
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        let folder = folder(&format!("without-{file}"));
        fs::remove_file(folder.join(file)).unwrap();
        assert!(Command::new("mkfifo").arg(folder.join(file)).status().unwrap().success());
    }
    let mut lines: Vec<String> = ["pipe", "/dev/zero"]
        .into_iter()
        .flat_map(|file| {
            [
                format!("spring ingest --state me.db {file}"),
                format!("spring score {file}"),
                format!("spring users --state {file}"),
                format!("spring init --state new.db --config {file}"),
                format!("spring init --state new.db --model {file}"),
                format!("spring generate --state me.db --user ada --prompt-file {file}"),
                format!("spring search --state me.db --user ada --query-file {file}"),
                format!("spring explain --state me.db --user ada --text-file {file}"),
                format!("spring data inspect {file}"),
                format!("spring data convert {file}"),
                format!("spring data convert ada.jsonl --outputs {file}"),
                format!("spring eval metrics --predictions {file} --references ada.jsonl"),
                format!("spring eval metrics --predictions ada.jsonl --references {file}"),
                format!("spring eval --suite {file}"),
                format!("spring eval --suite first-loop --data texts={file}"),
                format!("spring demo --out {file}"),
            ]
        })
        .collect();
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        lines.push(format!("spring score --model without-{file} ada.jsonl"));
    }
    for line in lines {
        let output = place.shell(&format!("exec timeout 60 {line}"));
        let said = told(&output);
        assert_eq!(output.status.code(), Some(1), "{line}: {said}");
        let what = if line.contains("/dev/zero") { "a device" } else { "a pipe" };
        assert!(said.contains(what), "{line}: {said}");
    }
    // What is meant to be a stream is one.
    for line in [
        "spring score - < ada.jsonl",
        "cat ada.jsonl | spring score /dev/stdin",
        "spring score <(cat ada.jsonl)",
        "spring ingest --state me.db - < ada.jsonl",
    ] {
        let output = place.shell(line);
        assert!(output.status.success(), "{line}: {}", told(&output));
    }
}

#[test]
fn a_limit_on_the_size_of_files_is_like_a_full_disk() {
    let place = Place::new();
    succeeds(&["adapt", "--state", &place.state]);
    for (line, left) in [
        ("spring demo -q --out report.html", "report.html"),
        ("spring export --state me.db --user ada --out ada", "ada"),
        ("mkdir pages; spring man --out pages", "pages/spring.1"),
        ("spring data synth > synth.jsonl", ""),
    ] {
        let output = place.shell(&format!("ulimit -f 4; {line}"));
        let said = told(&output);
        assert_eq!(output.status.code(), Some(1), "{line}: {said}");
        assert!(said.contains("larger than a file may be"), "{line}: {said}");
        assert!(left.is_empty() || !place.dir.path().join(left).exists(), "{line}: {left} is left");
    }
    let names = fs::read_dir(place.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.starts_with(".spring")), "{names:?}");
    // The state takes no harm.
    let output = place.shell("ulimit -f 4; spring ingest --state me.db <(spring data synth)");
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(succeeds(&["check", "--state", &place.state]).contains("1 users"));
}

#[test]
fn what_holds_texts_is_its_owners_alone() {
    let place = Place::new();
    succeeds(&["adapt", "--state", &place.state]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for (mask, line) in [
        ("022", "spring export --state me.db --user ada --out out-022"),
        ("000", "spring export --state me.db --user ada --out out-000"),
        ("277", "spring data convert ada.jsonl > out-277"),
        ("022", "spring eval --suite first-loop --data texts=ada.jsonl --out out-run"),
    ] {
        let output = place.shell(&format!("umask {mask}; {line}"));
        // Too few texts for a comparison: what was written is looked at all the same.
        assert!(output.status.success() || line.contains("eval"), "{line}: {}", told(&output));
    }
    let mut pending = vec![place.path("out-022"), place.path("out-000")];
    let run = place.path("out-run");
    pending.extend(Path::new(&run).exists().then_some(run));
    let mut seen = 0;
    while let Some(path) = pending.pop() {
        let path = PathBuf::from(path);
        let wanted = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(&path), wanted, "{}", path.display());
        seen += 1;
        if path.is_dir() {
            let entries = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
            pending.extend(entries.map(|path| path.to_str().unwrap().to_owned()));
        }
    }
    assert!(seen > 12, "{seen}");
    // Manual pages are for everybody.
    assert!(place.shell("umask 022; mkdir pages; spring man --out pages").status.success());
    assert_eq!(mode(&place.dir.path().join("pages/spring.1")), 0o644);
}

#[test]
fn private_texts_come_from_files_and_standard_input() {
    let place = Place::new();
    let state = place.state.as_str();
    place.file("prompt.txt", "Number 5?\n");
    let answer = |line: &str| -> Value {
        let output = place.shell(line);
        assert!(output.status.success(), "{line}: {}", told(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let generate = "spring generate --state me.db --user ada --max-new-tokens 4 --json";
    let given = answer(&format!("{generate} --prompt 'Number 5?'"));
    for line in [
        format!("{generate} --prompt-file prompt.txt"),
        format!("{generate} --prompt-file - < prompt.txt"),
    ] {
        let read = answer(&line);
        assert_eq!(read["answer"]["prompt"], given["answer"]["prompt"], "{line}");
        assert_eq!(read["answer"]["text"], given["answer"]["text"], "{line}");
    }
    let found = answer("spring search --state me.db --user ada --json --query-file prompt.txt");
    assert_eq!(found["query"], "Number 5?");
    assert!(
        place
            .shell("spring explain --state me.db --user ada --text-file - < prompt.txt")
            .status
            .success()
    );
    assert_eq!(spring(&["generate", "--state", state, "--user", "ada"]).status.code(), Some(2));
    fs::write(place.path("latin1.txt"), b"caf\xe9").unwrap();
    let latin1 = place.path("latin1.txt");
    let said = fails(&["generate", "--state", state, "--user", "ada", "--prompt-file", &latin1]);
    assert!(said.contains("latin1.txt: not UTF-8 from byte 4 on"), "{said}");
}

/// The tiny model with other files beside it.
fn with(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(model().join(file), folder.path().join(file)).unwrap();
    }
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

/// In debug builds the limits of the process that runs tokenizers and templates can be lowered, so
/// that what exceeds them here does no harm elsewhere.
#[cfg(debug_assertions)]
#[test]
fn a_template_or_tokenizer_without_measure_ends_its_own_process_alone() {
    let doubling = "{% set ns = namespace(x='ab') %}{% for i in range(27) %}{% set ns.x = ns.x ~ \
                    ns.x %}{% endfor %}{{ ns.x | length }}";
    // Few steps of the engine that each take long.
    let slow = "{% set r = range(99999) | list %}{% for i in range(3000) %}\
                {% set x = r | tojson %}{% endfor %}{{ messages[0].content }}";
    let fuel = "{% for i in range(99999) %}{% for j in range(99999) %}{% set x = i * j %}\
                {% endfor %}{% endfor %}";
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(2000), ")".repeat(2000));
    // Only a longer text makes it large: loading does not tell.
    let later = "{% if messages[0].content | length > 5 %}{% set ns = namespace(x='ab') %}\
                 {% for i in range(27) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}\
                 {{ ns.x | length }}{% endif %}{{ messages[0].content }}";
    let tokenizer: Value =
        serde_json::from_slice(&fs::read(model().join("tokenizer.json")).unwrap()).unwrap();
    let growing = |steps: usize| {
        let mut tokenizer = tokenizer.clone();
        let step = serde_json::json!({
            "type": "Replace", "pattern": {"String": "a"}, "content": "a".repeat(64)
        });
        tokenizer["normalizer"] =
            serde_json::json!({"type": "Sequence", "normalizers": vec![step; steps]});
        tokenizer.to_string()
    };
    let line = texts("ada", 1);
    for (name, content, says) in [
        ("chat_template.jinja", doubling, "it asked for more memory"),
        ("chat_template.jinja", later, "it asked for more memory"),
        ("chat_template.jinja", slow, "s of computing time"),
        ("chat_template.jinja", fuel, "chat template: "),
        ("chat_template.jinja", deep.as_str(), "chat template: "),
        ("tokenizer.json", growing(5).as_str(), "it asked for more memory"),
    ] {
        let folder = with(&[(name, content)]);
        let history = folder.path().join("history.jsonl");
        fs::write(&history, &line).unwrap();
        let begin = Instant::now();
        let output = Command::new(PROGRAM)
            .args(["score", "--model"])
            .args([folder.path(), &history])
            .env("SPRING_HELPER_MIB", "96")
            .env("SPRING_HELPER_SECONDS", "2")
            .output()
            .unwrap();
        let said = told(&output);
        assert_eq!(output.status.code(), Some(1), "{content:.80}: {said}");
        assert!(said.contains(says) && said.lines().count() == 1, "{content:.80}: {said}");
        assert!(said.contains(folder.path().to_str().unwrap()), "{said}");
        assert!(begin.elapsed() < Duration::from_secs(60), "{content:.80}: {:?}", begin.elapsed());
    }
}

#[cfg(debug_assertions)]
#[test]
fn ctrl_c_reaches_a_program_whose_tokenizer_runs_elsewhere() {
    let place = Place::new();
    let mut child = Command::new(PROGRAM)
        .args(["adapt", "--state", &place.state])
        .env("SPRING_WAIT_AT", "2")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.by_ref().map(Result::unwrap).any(|line| line == "waiting for Ctrl-C"));
    assert!(
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success()
    );
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
