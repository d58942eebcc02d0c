//! What the program does with a state: several processes at once, interruption, going back,
//! forgetting.

#![cfg(all(feature = "cpu", unix))]
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use common::{fails, spring, succeeds};
use serde_json::Value;
use spring_core::{Access, SqliteStore};
use tempfile::TempDir;

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spring"));
    command.args(args);
    command
}

fn texts(user: &str, count: usize) -> String {
    let line = |i: usize| {
        let value = serde_json::json!({
            "user": user, "id": format!("{i}"),
            "time": format!("2024-03-01T10:{:02}:{:02}Z", i / 60, i % 60),
            "prompt": format!("Number {i}?"), "response": format!("{user} says {i}, of course."),
        });
        format!("{value}\n")
    };
    (0..count).map(line).collect()
}

/// A state of a tiny model; the folder goes with the value.
struct Place {
    dir: TempDir,
    state: String,
}

impl Place {
    fn new(config: &str, users: &[(&str, usize)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("me.db").to_str().unwrap().to_owned();
        let place = Self { dir, state };
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
        let config = place.file("spring.toml", config);
        succeeds(&[
            "init",
            "--state",
            &place.state,
            "--model",
            model.to_str().unwrap(),
            "--config",
            &config,
        ]);
        for (user, count) in users {
            let file = place.file("texts.jsonl", &texts(user, *count));
            succeeds(&["ingest", "--state", &place.state, &file]);
        }
        place
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn adapt(&self, more: &[&str]) -> String {
        // One period and nothing held out, unless the test says otherwise.
        let unsaid = [["--periods", "1"], ["--hold-out", "0"]];
        let unsaid = unsaid.into_iter().filter(|[name, _]| !more.contains(name)).flatten();
        let unsaid: Vec<&str> = unsaid.collect();
        succeeds(&[&["adapt", "--state", &self.state], more, &unsaid].concat())
    }

    /// `key` of each user, in the order of their names.
    fn users(&self, key: &str) -> Vec<u64> {
        let lines = succeeds(&["users", "--state", &self.state, "--json"]);
        let user = |line: &str| serde_json::from_str::<Value>(line).unwrap()[key].as_u64().unwrap();
        lines.lines().map(user).collect()
    }
}

/// Long enough to meet it at work, if it is not interrupted.
const SLOW: &str = "[training]\nepochs = 5000\n";

/// Waits until another process is told that this one trains the user.
fn wait_for_training(place: &Place, user: &str, child: &Child) -> String {
    let begin = Instant::now();
    // Until then it goes back to where it is.
    let generation = place.users("generation")[0].to_string();
    loop {
        let output =
            spring(&["rollback", "--state", &place.state, "--user", user, "--to", &generation]);
        let error = String::from_utf8(output.stderr).unwrap();
        if error.contains("is being updated by process") {
            assert!(error.contains(&child.id().to_string()), "{error}");
            return error;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "never began: {error}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn interrupt(child: &Child) {
    assert!(
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success()
    );
}

#[test]
fn a_second_process_is_told_who_is_at_work_and_ctrl_c_changes_nothing() {
    let place = Place::new(SLOW, &[("ada", 60), ("bob", 1)]);
    let mut first = command(&["adapt", "--state", &place.state, "--user", "ada"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for_training(&place, "ada", &first);
    let refused = fails(&["adapt", "--state", &place.state, "--user", "ada"]);
    assert!(
        refused.contains("user ada is being updated by process") && refused.contains("wait"),
        "{refused}"
    );
    // Everybody else goes on: readers, writers, and the training of another user.
    assert_eq!(place.users("generation"), [0, 0]);
    place.file("quick.toml", "[training]\nepochs = 1\n");
    let quick = place.dir.path().join("quick.toml");
    let output = spring(&["adapt", "--state", &place.state, "--config", quick.to_str().unwrap()]);
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && warning.contains("skipped: user ada is being updated"),
        "{warning}"
    );
    assert_eq!(place.users("generation"), [0, 1]);
    let file = place.file("more.jsonl", &texts("ada", 61));
    succeeds(&["ingest", "--state", &place.state, &file]);

    interrupt(&first);
    assert_eq!(first.wait().unwrap().code(), Some(130));
    let said = std::io::read_to_string(first.stderr.take().unwrap()).unwrap();
    assert!(said.contains("interrupted; what was committed before is kept"), "{said}");
    assert_eq!((place.users("generation"), place.users("periods")), (vec![0, 1], vec![0, 1]));
    assert_eq!(place.users("pending"), [61, 0]);
    place.adapt(&[]);
    assert_eq!(place.users("generation"), [1, 1]);
}

#[test]
fn a_killed_process_holds_nobody_up() {
    let place = Place::new(SLOW, &[("ada", 60)]);
    let mut first =
        command(&["adapt", "--state", &place.state]).stderr(Stdio::null()).spawn().unwrap();
    wait_for_training(&place, "ada", &first);
    first.kill().unwrap();
    first.wait().unwrap();
    let quick = place.file("quick.toml", "[training]\nepochs = 1\n");
    if cfg!(target_os = "linux") {
        place.adapt(&["--user", "ada", "--config", &quick]);
        assert_eq!(place.users("generation"), [1]);
    }
}

/// Interrupts the command where it asks for the `place`-th time whether it should stop. Gives its
/// exit code; `None` if it was done before.
fn interrupted(args: &[&str], place: usize) -> Option<i32> {
    let mut child = command(args)
        .env("SPRING_WAIT_AT", place.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Open to the end: the program goes on to write to it.
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let waits = lines.by_ref().map(Result::unwrap).any(|line| line == "waiting for Ctrl-C");
    if waits {
        interrupt(&child);
    }
    let code = child.wait().unwrap().code();
    assert!(waits || code == Some(0), "{args:?}: {code:?}");
    waits.then(|| code.unwrap())
}

// A release build does not wait.
#[cfg(debug_assertions)]
#[test]
fn ctrl_c_ends_every_command_in_order() {
    let mut big = Place::new("", &[("ada", 2500), ("bob", 2)]);
    big.adapt(&["--user", "bob", "--set", "training.epochs=1"]);
    let folder = big.dir.path().join("ada");
    let out = folder.to_str().unwrap().to_owned();
    succeeds(&["export", "--state", &big.state, "--user", "ada", "--out", &out]);
    let saved = std::fs::read(&big.state).unwrap();
    let path = |name: &str| big.dir.path().join(name).to_str().unwrap().to_owned();
    let (again, other) = (path("again"), path("other.db"));
    let state = big.state.clone();
    for (name, args) in [
        ("forget", vec!["forget", "--user", "ada", "--yes"]),
        ("export", vec!["export", "--user", "ada", "--out", again.as_str()]),
        ("import", vec!["import", out.as_str()]),
        ("check", vec!["check", "--json"]),
        ("rollback", vec!["rollback", "--user", "bob"]),
    ] {
        // At the first step, at some in between, and as far in as the command goes.
        let mut met = 0;
        for place in [1, 2, 3, 50, 2000] {
            for suffix in ["-wal", "-shm"] {
                let _ = std::fs::remove_file(format!("{state}{suffix}"));
            }
            std::fs::write(&state, &saved).unwrap();
            big.state = state.clone();
            if name == "import" {
                let _ = std::fs::remove_file(&other);
                let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
                succeeds(&["init", "--state", &other, "--model", model.to_str().unwrap()]);
                big.state = other.clone();
            }
            let code = interrupted(&[&args[..], &["--state", big.state.as_str()]].concat(), place);
            assert!(matches!(code, None | Some(130)), "{name} at {place}: {code:?}");
            let left = big.users("interactions");
            let (before, after): (&[u64], &[u64]) = match name {
                "forget" => (&[2500, 2], &[2]),
                "import" => (&[], &[2500]),
                _ => (&[2500, 2], &[2500, 2]),
            };
            assert!(left == before || left == after, "{name} at {place}: {left:?}");
            if name == "export" {
                // Whole, or not there.
                assert!(
                    !Path::new(&again).exists() || Path::new(&again).join("answers.jsonl").exists()
                );
                let _ = std::fs::remove_dir_all(&again);
            }
            if code.is_none() {
                break;
            }
            met += 1;
        }
        assert!(met > 0, "{name} never asks whether it should stop");
    }
}

#[test]
fn ctrl_c_while_a_text_is_forgotten_changes_nothing() {
    let place = Place::new("[training]\nepochs = 20\n", &[("ada", 60)]);
    place.adapt(&[]);
    let digests = || succeeds(&["check", "--state", &place.state, "--json"]);
    let before = digests();
    let mut child = command(&[
        "forget",
        "--state",
        &place.state,
        "--user",
        "ada",
        "--interaction",
        "3",
        "--yes",
    ])
    .stderr(Stdio::null())
    .spawn()
    .unwrap();
    wait_for_training(&place, "ada", &child);
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(digests(), before);
}

#[test]
fn settings_that_were_only_tried_are_not_kept() {
    let place = Place::new("", &[("ada", 12)]);
    let wild = ["--set", "training.learning_rate=1e30", "--set", "training.max_grad_norm=1e30"];
    let error = fails(&[&["adapt", "--state", &place.state, "--user", "ada"], &wild[..]].concat());
    assert!(error.contains("lower the learning rate"), "{error}");
    // With the settings of before, and these are kept by the first period learned with them.
    place.adapt(&["--user", "ada", "--set", "training.epochs=1"]);
    let file = place.file("more.jsonl", &texts("ada", 15));
    succeeds(&["ingest", "--state", &place.state, &file]);
    place.adapt(&[]);
    let json =
        succeeds(&["explain", "--state", &place.state, "--user", "ada", "--period", "2", "--json"]);
    assert!(
        json.contains("\"epochs\":1,") && !json.contains("1e+30") && !json.contains("1e30"),
        "{json}"
    );
}

#[test]
fn a_long_ingest_can_be_interrupted() {
    let place = Place::new("", &[("ada", 3)]);
    // A pipe that stays open: the program waits for the next line, and keeps nobody from writing
    // meanwhile.
    let mut child = command(&["ingest", "--state", &place.state, "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut writer = child.stdin.take().unwrap();
    let lines = texts("bob", 2000);
    let (some, rest) = lines.split_at(lines.len() / 2);
    std::io::Write::write_all(&mut writer, some.as_bytes()).unwrap();
    let file = place.file("more.jsonl", &texts("cy", 2));
    succeeds(&["ingest", "--state", &place.state, &file]);
    interrupt(&child);
    // It says so once it knows.
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("stopping") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0);
    }
    // What comes next wakes it up; it may have ended by then.
    let _ = std::io::Write::write_all(&mut writer, rest.as_bytes());
    drop(writer);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(place.users("interactions"), [3, 2]);
}

#[test]
fn jobs_change_no_adapter() {
    let explained = |jobs: &[&str]| {
        let place = Place::new(
            "[training]\nlearning_rate = 1e-2\n",
            &[("ada", 12), ("bob", 9), ("cy", 15)],
        );
        place.adapt(&[jobs, &["--periods", "2"]].concat());
        assert_eq!(place.users("generation"), [2, 2, 2]);
        ["ada", "bob", "cy"].map(|user| {
            let explained =
                succeeds(&["explain", "--state", &place.state, "--user", user, "--json"]);
            serde_json::from_str::<Value>(&explained).unwrap()["buffer"].clone()
        })
    };
    // The buffer's scores are those of the last adapter, to the last bit.
    let alone = explained(&["--jobs", "1"]);
    assert_eq!(alone, explained(&["--jobs", "3"]));
    assert_eq!(alone, explained(&["--batch", "3"]));
    assert_eq!(alone, explained(&["--jobs", "2", "--batch", "2"]));
}

#[test]
fn no_more_users_at_a_time_than_there_are_threads_for() {
    let place = Place::new("", &[("ada", 3), ("bob", 3)]);
    for command in ["adapt", "worker"] {
        let refused = fails(&[command, "--state", &place.state, "--jobs", "16", "--batch", "17"]);
        assert!(refused.contains("272 users at a time: 256 at most"), "{refused}");
    }
}

#[test]
fn there_is_a_way_back() {
    let place = Place::new("", &[("ada", 9)]);
    place.adapt(&["--periods", "3"]);
    let rollback = ["rollback", "--state", &place.state, "--user", "ada"];
    assert!(succeeds(&rollback).contains("ada: from generation 3 to generation 2"));
    let said = succeeds(&[&rollback[..], &["--to", "0"]].concat());
    assert!(said.contains("to the base alone") && said.contains("--to 2` goes back"), "{said}");
    let said = succeeds(&rollback);
    assert!(said.contains("the base alone was in use already"), "{said}");
    let report = place.dir.path().join("ada.html");
    let report = ["report", "--state", &place.state, "--out", report.to_str().unwrap()];
    let said = fails(&report);
    assert!(said.contains("after a rollback"), "{said}");
    let text = succeeds(&[&rollback[..], &["--to", "3", "--json"]].concat());
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["rollback"]["to"], 3);
    assert!(
        fails(&[&rollback[..], &["--to", "7"]].concat()).contains("user ada has no generation 7")
    );
    assert_eq!(place.users("generation"), [3]);
}

#[test]
fn what_is_forgotten_is_gone() {
    let place = Place::new("", &[("ada", 12), ("bob", 3)]);
    place.adapt(&[]);
    let forget = ["forget", "--state", &place.state, "--user", "ada", "--yes"];
    let said = succeeds(&[&forget[..], &["--interaction", "4"]].concat());
    assert!(said.contains("1 generation learned again") && said.contains("exports"), "{said}");
    assert!(
        fails(&[&forget[..], &["--interaction", "4"]].concat()).contains("has no interaction 4")
    );
    succeeds(&[&forget[..], &["--interaction", "0"]].concat());
    let unknown = fails(&[&forget[..], &["--interaction", "0"]].concat());
    assert!(unknown.contains("did you mean 10?"), "{unknown}");
    assert_eq!(place.users("interactions"), [10, 3]);
    let said = succeeds(&forget);
    assert!(said.contains("removed user ada: 10 interactions, 1 generation,"), "{said}");
    let unknown = fails(&forget);
    assert!(unknown.contains("user ada is not in state"), "{unknown}");
    // The library says what is wrong, the program which command helps.
    assert!(unknown.ends_with("; `spring users` lists those that are\n"), "{unknown}");
    let missing = fails(&["users", "--state", "no-such.db"]);
    let said = "spring: state no-such.db: there is no such file; `spring init` makes one\n";
    assert_eq!(missing, said);
    let bytes = std::fs::read(&place.state).unwrap();
    let find = |what: &str| bytes.windows(what.len()).any(|part| part == what.as_bytes());
    assert!(find("bob says 1") && !find("ada says"));
}

/// A small file system in memory, unmounted when the value goes.
struct Disk(PathBuf);

impl Disk {
    /// `None` without the right to mount, which is said.
    fn of(place: &Place, kilobytes: u32) -> Option<Self> {
        let folder = place.dir.path().join("disk");
        std::fs::create_dir(&folder).unwrap();
        let options = format!("size={kilobytes}k");
        let is_mounted =
            run("mount", &["-t", "tmpfs", "-o", &options, "tmpfs", folder.to_str().unwrap()]);
        if !is_mounted {
            eprintln!(
                "skipped: no right to mount a small file system, so no disk here is full or \
                 protected"
            );
        }
        is_mounted.then_some(Self(folder))
    }

    /// From now on nobody can write to it, root neither.
    fn protect(&self) {
        assert!(run("mount", &["-o", "remount,ro", self.0.to_str().unwrap()]));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["-l", self.0.to_str().unwrap()]);
    }
}

fn run(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
}

#[test]
fn a_file_that_may_not_be_written_is_read() {
    use std::os::unix::fs::PermissionsExt;
    let mut place = Place::new("", &[("ada", 3)]);
    std::fs::set_permissions(&place.state, std::fs::Permissions::from_mode(0o400)).unwrap();
    let mut disk = None;
    if std::fs::OpenOptions::new().write(true).open(&place.state).is_ok() {
        // For root a file is protected only where its whole file system is.
        let Some(mounted) = Disk::of(&place, 1024) else { return };
        let state = mounted.0.join("me.db");
        std::fs::copy(&place.state, &state).unwrap();
        mounted.protect();
        place.state = state.to_str().unwrap().to_owned();
        disk = Some(mounted);
    }
    assert_eq!(place.users("interactions"), [3]);
    for command in ["adapt", "rollback", "forget"] {
        let error = fails(&[command, "--state", &place.state, "--user", "ada"]);
        assert!(error.contains("write-protected") || error.contains("may be written"), "{error}");
    }
    drop(disk);
}

/// By a limit on the size of files, which is there without the right to mount. The removal itself
/// fits below it.
#[test]
fn a_file_that_cannot_be_rewritten_says_why_and_is_rewritten_later() {
    let place = Place::new("", &[("ada", 3), ("bob", 3500)]);
    let kilobytes = std::fs::metadata(&place.state).unwrap().len() / 1024;
    assert!(kilobytes > 300, "{kilobytes}");
    let script = "ulimit -f \"$0\" && trap '' XFSZ && exec \"$@\"";
    let limit = (kilobytes / 2).to_string();
    let forget = ["forget", "--state", &place.state, "--user", "ada", "--yes"];
    let output = Command::new("bash")
        .args(["-c", script, limit.as_str(), env!("CARGO_BIN_EXE_spring")])
        .args(forget)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        said.contains("free pages still hold what was removed: ")
            && !said.contains("another process"),
        "{said}"
    );
    assert_eq!(place.users("interactions"), [3500]);
    let none = place.file("none.jsonl", "");
    succeeds(&["ingest", "--state", &place.state, &none]);
    let bytes = std::fs::read(&place.state).unwrap();
    assert!(!bytes.windows(8).any(|part| part == b"ada says"));
}

/// Needs the right to mount; without it, the store's own test of a full disk remains.
#[test]
fn a_full_disk_leaves_the_state_before() {
    let place = Place::new("", &[("ada", 40)]);
    let Some(disk) = Disk::of(&place, 256) else { return };
    let state = disk.0.join("me.db");
    std::fs::copy(&place.state, &state).unwrap();
    let full = state.to_str().unwrap();
    let file = place.file("many.jsonl", &texts("bob", 3000));
    let errors = [fails(&["ingest", "--state", full, &file]), {
        // No room for an adapter either.
        let room = disk.0.join("fill");
        let left = (0..)
            .map(|i| std::fs::write(&room, vec![1; i << 12]))
            .take_while(|r| r.is_ok())
            .count();
        std::fs::write(&room, vec![1; left.saturating_sub(9) << 12]).unwrap();
        fails(&["adapt", "--state", full])
    }];
    for error in errors {
        assert!(error.contains("the disk is full; nothing was changed"), "{error}");
    }
    let users: Value =
        serde_json::from_str(&succeeds(&["users", "--state", full, "--json"])).unwrap();
    assert_eq!((&users["interactions"], &users["pending"]), (&40.into(), &40.into()));
}

#[test]
fn a_user_moves_from_one_state_to_another() {
    let place = Place::new("", &[("ada", 9), ("bob", 2)]);
    place.adapt(&["--periods", "2"]);
    let out = place.dir.path().join("ada");
    let folder = out.to_str().unwrap();
    let said = succeeds(&["export", "--state", &place.state, "--user", "ada", "--out", folder]);
    assert!(
        said.contains("9 interactions, 2 generations") && said.contains("is private"),
        "{said}"
    );
    let again = fails(&["import", "--state", &place.state, folder]);
    assert!(again.contains("has a user ada already"), "{again}");
    assert!(again.ends_with("; `spring forget` removes them\n"), "{again}");
    let other = Place::new("[training]\nepochs = 1\n", &[]);
    let output = spring(&["import", "--state", &other.state, folder]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("settings differ"));
    assert!(output.status.success());
    assert_eq!((other.users("generation"), other.users("interactions")), (vec![2], vec![9]));
    // The history alone is a file to ingest.
    let third = Place::new("", &[]);
    succeeds(&["ingest", "--state", &third.state, out.join("history.jsonl").to_str().unwrap()]);
    assert_eq!((third.users("generation"), third.users("pending")), (vec![0], vec![9]));
}

#[test]
fn a_state_can_be_checked() {
    let place = Place::new("", &[("ada", 4), ("bob", 2)]);
    let check = ["check", "--state", &place.state];
    let digests = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let before = digests(succeeds(&[&check[..], &["--json"]].concat()));
    assert_eq!(before.len(), 2);
    place.adapt(&["--user", "ada"]);
    let after = digests(succeeds(&[&check[..], &["--json"]].concat()));
    assert_eq!((before[0] == after[0], before[1] == after[1]), (false, true));
    assert!(succeeds(&check).contains("whole: 2 users"));
    let mut bytes = std::fs::read(&place.state).unwrap();
    // Not anywhere: between the cells of a page nothing is damaged.
    let text = b"ada says 3, of course.";
    let at = bytes.windows(text.len()).position(|part| part == text).unwrap();
    bytes[at..at + text.len()].fill(b'x');
    std::fs::write(&place.state, bytes).unwrap();
    assert!(fails(&check).contains("damaged"));
}

#[test]
fn a_user_can_be_inspected_and_asked_where_things_came_from() {
    let place = Place::new("[decoding]\nmax_new_tokens = 6\n", &[("ada", 90)]);
    let inspect = ["inspect", "--state", &place.state, "--user", "ada"];
    assert!(succeeds(&inspect).contains("nothing learned yet"));
    place.adapt(&["--periods", "3"]);
    succeeds(&["rollback", "--state", &place.state, "--user", "ada"]);
    place.adapt(&[]);
    let text = succeeds(&inspect);
    for part in [
        "generation 4 in use",
        "left by a rollback",
        "the base",
        "Buffer: 48 texts; 30 of period 1",
    ] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    let json: Value =
        serde_json::from_str(&succeeds(&[&inspect[..], &["--json"]].concat())).unwrap();
    assert_eq!(
        (json["generations"].as_array().unwrap().len(), json["drift"].as_array().unwrap().len()),
        (4, 3)
    );
    assert!(
        json["bytes"]["adapters"].as_u64().unwrap() > 1000
            && json["drift"][1]["novelty"].is_number()
    );
    // The drift signal: none after the first period, then running over all texts.
    let terms = succeeds(&[&inspect[..], &["--terms"]].concat());
    for part in ["recent N", "drifting", "Now: recent mean N", "not drifting: "] {
        assert!(terms.contains(part), "{part} is missing:\n{terms}");
    }
    // In plain words without the letters.
    assert!(text.contains("Now: not drifting: ") && !text.contains(" N "), "{text}");
    assert!(json["drift"][0]["signal"].is_null());
    let signal = &json["signal"];
    assert_eq!((signal["period"].as_u64(), signal["seen"].as_u64()), (Some(3), Some(60)));
    assert!(signal["mean"].is_number() && signal["band"][0].as_f64() < signal["mean"].as_f64());
    assert!(signal["drifting"].is_boolean() && signal["evidence"].is_string());
    assert_eq!(json["drift"][2]["signal"], *signal);

    let explain = |more: &[&str]| {
        succeeds(
            &[&["explain", "--state", &place.state, "--user", "ada", "--rows", "3"], more].concat(),
        )
    };
    let plain = explain(&[]);
    for letter in [" N ", " Q ", " S ", "α", "λ", "ρ", "σ"] {
        assert!(!plain.contains(letter), "{letter}:\n{plain}");
    }
    assert!(explain(&["--generation-id", "3"]).contains("Period 3 (generation 3 from 2)"));
    assert!(explain(&["--period", "3"]).contains("Period 3 (generation 4 from 2)"));
    assert_eq!(explain(&["--terms"]).matches("  drift signal: recent mean N").count(), 2);
    for (which, generation) in [(["--period", "3"], 4), (["--generation-id", "3"], 3)] {
        let told = explain(&[&which[..], &["--explain"]].concat());
        assert_eq!(told.matches("  drift signal: recent mean N").count(), 1, "{told}");
        let json: Value =
            serde_json::from_str(&explain(&[&which[..], &["--json"]].concat())).unwrap();
        let signals = json["signals"].as_array().unwrap();
        assert_eq!(signals.len(), 1, "{signals:?}");
        assert_eq!(
            (&signals[0]["generation"], &signals[0]["seen"]),
            (&generation.into(), &60.into())
        );
    }
    // Texts 30 to 59 are period 2: nine of them were learned.
    let (since, until) = ("2024-03-01T10:00:30Z", "2024-03-01T10:01:00Z");
    let learned = explain(&["--since", since, "--until", until]);
    assert!(
        learned.contains("9 texts written from") && learned.contains("… and 6 more"),
        "{learned}"
    );
    let json: Value =
        serde_json::from_str(&explain(&["--since", since, "--until", until, "--json"])).unwrap();
    let learned = json["learned"].as_array().unwrap();
    assert!(learned.iter().all(|text| text["period"] == 2 && text["generation"] == 2));
    assert!(explain(&["--until", "2024-03-01"]).starts_with("0 texts written"));

    succeeds(&["generate", "--state", &place.state, "--user", "ada", "--prompt", "Number 7?"]);
    let answers: Value = serde_json::from_str(&explain(&["--json"])).unwrap();
    let written = answers["answers"][0]["text"].as_str().unwrap();
    let why = explain(&["--text", written]);
    assert!(why.contains("to the prompt: Number 7?") && why.contains("gate "), "{why}");
    let why = explain(&["--text", "ada says 7, of course."]);
    assert!(why.contains("No recorded answer") && why.contains("ada says 7,"), "{why}");
    let json: Value = serde_json::from_str(&explain(&["--text", "says 7, of", "--json"])).unwrap();
    assert_eq!(json["provenance"]["alike"][0]["interaction"]["id"], "7");
}

#[test]
fn one_answer_can_have_settings_of_its_own() {
    let place = Place::new("[decoding]\nmax_new_tokens = 6\n", &[("ada", 20)]);
    place.adapt(&[]);
    let generate = ["generate", "--state", &place.state, "--user", "ada", "--prompt", "Number 7?"];
    let told = succeeds(
        &[
            &generate[..],
            &["--explain", "--set", "gate=always", "--set", "fusion.lambda=divergence"],
            &["--set", "decoding.sampler.temperature=0.5", "--set", "decoding.sampler.top_p=0.9"],
            &["--set", "decoding.penalties.repetition=1.1", "--seed", "3"],
        ]
        .concat(),
    );
    for part in [
        "no threshold",
        "λ divergence (agree 0.25, disagree 0.75)",
        "tokens drawn (seed 3, temperature 0.5, top_p 0.9), penalties (frequency 0.0, presence \
         0.0, repetition 1.1)",
        "| from retrieved texts | divergence of the",
    ] {
        assert!(told.contains(part), "{part:?} is missing:\n{told}");
    }
    let explain = ["explain", "--state", &place.state, "--user", "ada"];
    let json: Value =
        serde_json::from_str(&succeeds(&[&explain[..], &["--json"]].concat())).unwrap();
    let answer = &json["answers"][0];
    assert_eq!(
        answer["decoding"]["sampler"]["top_p"].as_f64().map(|p| p as f32),
        Some(0.9),
        "{answer}"
    );
    assert!(
        answer["trace"].as_array().unwrap().iter().all(|token| token["divergence"].is_number())
    );
    // A row for every token that is kept, as many as are asked for.
    let rows = |n: &str| {
        let told = succeeds(&[&explain[..], &["--terms", "--rows", n]].concat());
        let table = told.split("divergence of the").nth(1).unwrap().to_owned();
        table.lines().skip(2).take_while(|line| line.starts_with('|')).count()
    };
    let tokens = answer["trace"].as_array().unwrap().len();
    assert_eq!((rows("1"), rows("100")), (1, tokens));

    // The contrast with the base, with retrieved texts and without.
    let contrast = "contrast (plausibility 0.1, tail keep, weight 0.25)";
    let open = ["--explain", "--set", "gate=always", "--set", "fusion.contrast=0.25"];
    let told = succeeds(&[&generate[..], &open].concat());
    assert!(told.contains(&format!("λ fixed (value 0.5), {contrast}")), "{told}");
    let closed = ["--explain", "--set", "gate=never", "--set", "fusion.contrast=0.25"];
    let told = succeeds(&[&generate[..], &closed].concat());
    let alone = "contrasted with the base (plausibility 0.1, tail keep, weight 0.25), no retrieved";
    assert!(told.contains(alone), "{told}");

    // The state keeps its own.
    let plain = succeeds(&[&generate[..], &["--explain"]].concat());
    assert!(plain.contains("quantile of 20 calibration scores"), "{plain}");
    assert!(
        plain.contains("tokens greedy, penalties (frequency 0.0, presence 0.0, repetition 1.2)"),
        "{plain}"
    );
    for (bad, word) in [
        ("training.epochs=3", "one answer can have its own gate, fusion and decoding"),
        ("retrieval.retriever=dense", "one answer can have its own"),
        ("fusion.contrast=-1", "fusion.contrast.weight = -1"),
        ("fusion.contrast.tail=cut", "cut"),
        ("gate=sometimes", "sometimes"),
        ("gate", "KEY=VALUE"),
    ] {
        let error = fails(&[&generate[..], &["--set", bad]].concat());
        assert!(error.contains(word), "{bad}: {error}");
    }
}

/// In the record of an answer, and in what `explain` says of a person.
#[test]
fn what_reading_along_has_gained_is_told() {
    let config = "[gate]\nkind = \"calibrated\"\n[fusion]\nlambda = \"calibrated\"\n\
                  [buffer]\nbank = \"history\"\n[decoding]\nmax_new_tokens = 4\n";
    let place = Place::new(config, &[("ada", 20)]);
    place.adapt(&[]);
    let generate = ["generate", "--state", &place.state, "--user", "ada", "--prompt", "Number 7?"];
    let told = succeeds(&[&generate[..], &["--explain"]].concat());
    assert!(told.contains("nats per token at λ "), "{told}");
    assert!(told.contains("by 20 texts of the past"), "{told}");
    let explain = ["explain", "--state", &place.state, "--user", "ada"];
    let told = succeeds(&explain);
    assert!(told.contains("Gain of reading along, measured on 20 texts of the past"), "{told}");
    assert!(told.contains("expected gain, nats/token"), "{told}");
    let told = succeeds(&[&explain[..], &["--terms"]].concat());
    assert!(told.contains(", over the whole history"), "{told}");
    let json: Value =
        serde_json::from_str(&succeeds(&[&explain[..], &["--json"]].concat())).unwrap();
    assert_eq!(json["calibration"]["gains"]["texts"].as_array().unwrap().len(), 20, "{json}");
    assert!(json["answers"][0]["gate"]["expected_gain"].is_number(), "{json}");
    let out = place.dir.path().join("exported");
    let folder = out.to_str().unwrap();
    succeeds(&["export", "--state", &place.state, "--user", "ada", "--out", folder]);
    let lines = std::fs::read_to_string(out.join("generations.jsonl")).unwrap();
    assert!(lines.contains("\"gains\":{\"measured_under\":\""), "{lines}");
    let other = Place::new(config, &[]);
    succeeds(&["import", "--state", &other.state, folder]);
    let explain = ["explain", "--state", &other.state, "--user", "ada"];
    assert!(succeeds(&explain).contains("measured on 20 texts of the past"));
}

#[test]
fn an_answer_comes_as_it_is_written_and_ends_before_a_stop_string() {
    let place = Place::new("[decoding]\nmax_new_tokens = 24\n", &[("ada", 20)]);
    place.adapt(&[]);
    let generate = ["generate", "--state", &place.state, "--user", "ada", "--prompt", "About soup"];
    let ask = |more: &[&str]| succeeds(&[&generate[..], more].concat());
    let whole = ask(&[]);
    assert_eq!(ask(&["--stream"]), whole);
    let characters: Vec<char> = whole.trim_end().chars().collect();
    let stop: String = characters[characters.len() / 2..].iter().take(4).collect();
    let expected = whole[..whole.find(&stop).unwrap()].to_owned() + "\n";
    for more in [&[][..], &["--stream"]] {
        assert_eq!(ask(&[more, &["--stop", "never written", "--stop", &stop]].concat()), expected);
    }
    let json: Value = serde_json::from_str(&ask(&["--stream", "--json", "--stop", &stop])).unwrap();
    assert_eq!(json["answer"]["ended"], "stop_string");
    assert_eq!(json["answer"]["decoding"]["stop"][0].as_str(), Some(&*stop));
    let empty = fails(&[&generate[..], &["--set", "decoding.stop=[\"\"]"]].concat());
    assert!(empty.contains("stop"), "{empty}");
}

#[test]
fn what_is_chosen_by_name_is_done_and_told() {
    let place = Place::new("[decoding]\nmax_new_tokens = 4\n", &[("ada", 40)]);
    place.adapt(&[]);
    let mut count = 40;
    for (settings, told, answered, kept) in [
        (
            vec![
                "drift.scorer=loss",
                "drift.selection={kind=\"top_count\",count=3}",
                "buffer.policy=recency",
            ],
            vec![
                "scorer loss",
                "selection top_count (count 3)",
                "buffer recency of 200",
                "selected 3: ",
                "retriever bm25 (b 0.75, epsilon 0.25, normalise false, tokenizer whitespace, \
                 variant okapi, fields both)",
                "decoding greedy, penalties (frequency 0.0, presence 0.0, repetition 1.2)",
            ],
            "gate ",
            "by policy recency: the newest",
        ),
        (
            vec!["gate=always", "fusion.space=logit", "fusion.lambda=0.25", "buffer.capacity=12"],
            vec![
                "gate always (k 2)",
                "mixture logit, λ fixed (value 0.25)",
                "of 12",
                "left the buffer: text",
                "gate: always open",
            ],
            "mixture logit, λ fixed (value 0.25)",
            "texts of at most 12 by policy recency",
        ),
        (
            vec![
                "drift.scorer=novelty",
                "drift.selection=adaptive",
                "retrieval.retriever=dense",
                "gate={kind=\"margin\",margin=0.5}",
            ],
            vec![
                "scorer novelty",
                "selection adaptive",
                "retriever dense",
                "gate margin (k 2, margin 0.5)",
                "gate: opens 0.5 above the runner-up",
            ],
            "dense",
            "by policy recency: the newest",
        ),
        (
            vec![
                "gate={kind=\"fixed\",threshold=0.5}",
                "fusion.space=contrastive",
                "buffer.policy=diversity",
            ],
            vec![
                "gate fixed (k 2, threshold 0.5)",
                "mixture contrastive",
                "buffer diversity",
                "gate: opens at 0.500",
            ],
            "gate ",
            "by policy diversity: those least like each other",
        ),
        (
            vec![
                "drift.scorer=random",
                "gate=never",
                "buffer.policy={kind=\"reservoir\",seed=3}",
                "retrieval.retriever=bm25",
            ],
            vec![
                "scorer random",
                "gate never",
                "buffer reservoir (seed 3) of",
                "retriever bm25",
                "gate: never open",
            ],
            "one branch",
            "by policy reservoir: a random sample",
        ),
    ] {
        count += 10;
        let file = place.file("more.jsonl", &texts("ada", count));
        succeeds(&["ingest", "--state", &place.state, &file]);
        let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        place.adapt(&settings);
        let period = place.users("periods")[0].to_string();
        let explained =
            succeeds(&["explain", "--state", &place.state, "--period", &period, "--terms"]);
        for part in told {
            assert!(explained.contains(part), "{part:?} is missing:\n{explained}");
        }
        let whole = succeeds(&["explain", "--state", &place.state, "--terms"]);
        assert!(whole.contains(kept), "{kept:?} is missing:\n{whole}");
        let answer = succeeds(&[
            "generate",
            "--state",
            &place.state,
            "--user",
            "ada",
            "--prompt",
            "Number 7?",
            "--explain",
        ]);
        assert!(answer.contains(answered), "{answered:?} is missing:\n{answer}");
    }
    for (bad, word) in [
        ("gate=sometimes", "sometimes"),
        ("drift.scorr=loss", "scorr"),
        ("buffer.policy=oldest", "oldest"),
        ("fusion.lambda=2.5", "lambda"),
        ("retrieval.retriever.kind=bm25", "retriever"),
        ("training.epochs", "KEY=VALUE"),
        ("=", "keys cannot be empty"),
    ] {
        let error = fails(&["adapt", "--state", &place.state, "--set", bad]);
        assert!(error.contains(word), "{bad}: {error}");
    }
}

/// Keys are part of what moves: none that was revoked comes back, and none is left without a word.
#[test]
fn a_move_says_what_becomes_of_keys() {
    let place = Place::new("", &[("ada", 3), ("bob", 2)]);
    let to = place.dir.path().join("new.db").to_str().unwrap().to_owned();
    let add = |state: &str, more: &[&str]| {
        succeeds(&[&["key", "add", "--state", state], more].concat());
        ids(state).pop().unwrap().0
    };
    let both = add(&place.state, &["--user", "ada"]);
    let moving = ["move", "--from", &place.state, "--to", &to, "--quiet"];
    let moved = succeeds(&moving);
    assert!(moved.contains("its keys open it, too"), "{moved}");
    assert!(!moved.contains("spring key revoke"), "there is nothing else to say: {moved}");
    // There, one is revoked and others are made; here, ada goes on.
    succeeds(&["key", "revoke", "--state", &to, &both]);
    let (ada, bob) = (add(&to, &["--user", "ada"]), add(&to, &["--user", "bob"]));
    let admin = add(&to, &["--admin"]);
    let more = place.file("texts.jsonl", &texts("ada", 4));
    succeeds(&["ingest", "--state", &place.state, &more]);
    let differs = fails(&moving);
    assert!(differs.contains("user ada is there already and differs"), "{differs}");
    let moved = succeeds(&[&moving[..], &["--replace"]].concat());
    assert!(moved.contains("revoked 1 key of users who were replaced"), "{moved}");
    let own = format!("{bob}, {admin}; `spring key revoke`");
    assert!(moved.contains(&own) && !moved.contains(&ada), "{moved}");
    let mut opens: Vec<String> =
        ids(&to).into_iter().filter(|(_, revoked)| !revoked).map(|(id, _)| id).collect();
    opens.sort();
    let mut expected = [bob, admin];
    expected.sort();
    assert_eq!(opens, expected, "neither {both} nor {ada}");
    let told = succeeds(&[&moving[..], &["--json"]].concat());
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["keys"], &told["keys_revoked"]), (&0.into(), &0.into()), "{told}");
    assert_eq!(told["keys_of_its_own"].as_array().unwrap().len(), 2, "{told}");
}

/// A key that was revoked since the last move opens nothing of users who are there already.
#[test]
fn a_move_takes_revocations_along_though_the_users_are_there_already() {
    let place = Place::new("", &[("ada", 2)]);
    let to = place.dir.path().join("there.db").to_str().unwrap().to_owned();
    succeeds(&["key", "add", "--state", &place.state, "--gateway"]);
    let moving = ["move", "--from", &place.state, "--to", &to, "--quiet", "--json"];
    succeeds(&moving);
    let gateway = ids(&to).pop().unwrap().0;
    succeeds(&["key", "revoke", "--state", &place.state, &gateway]);
    let told: Value = serde_json::from_str(&succeeds(&moving)).unwrap();
    assert_eq!((&told["there_already"], &told["keys"]), (&1.into(), &1.into()), "{told}");
    assert_eq!(ids(&to), [(gateway, true)]);
}

/// Whoever ended between the commit and the comparison has not said whether it stays.
#[test]
fn what_one_run_had_no_time_to_judge_is_judged_by_the_next() {
    let place = Place::new("", &[("ada", 24)]);
    let waits = || {
        let store = SqliteStore::open(&place.state, Access::ReadOnly).unwrap();
        store.users_with_something_unjudged(None, 9).unwrap().len()
    };
    let adapt = ["adapt", "--state", &place.state, "--user", "ada", "--periods", "1"];
    // Nobody reads what it says of the period, which comes before the comparison.
    let mut first = command(&adapt).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(first.stdout.take());
    first.wait().unwrap();
    assert_eq!((place.users("generation"), waits()), (vec![1], 1));
    let said = succeeds(&adapt);
    assert!(said.contains("held-out text") && said.contains("nothing new"), "{said}");
    assert_eq!((place.users("generation"), waits()), (vec![1], 0));
    assert!(!succeeds(&adapt).contains("held-out"), "once");
}

/// A mark that nobody is about to take away would let a server go back behind all of it one day.
#[test]
fn what_nobody_is_about_to_judge_is_not_marked() {
    let place = Place::new("", &[("ada", 14), ("bob", 14)]);
    let marks = |command: &[&str]| {
        let said = succeeds(&[command, &["--state", &place.state, "--json"]].concat());
        let lines = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let learned = lines.filter(|line| line["learned"].is_object());
        learned.map(|line| line["learned"]["unjudged"] == true).collect::<Vec<_>>()
    };
    assert_eq!(marks(&["adapt"]), [false, false], "all users");
    for (count, command, mark) in [
        (15, &["adapt", "--user", "ada"][..], true),
        (16, &["adapt", "--user", "ada", "--keep"], false),
        (17, &["worker", "--once"], false),
    ] {
        let more = place.file("more.jsonl", &texts("ada", count));
        succeeds(&["ingest", "--state", &place.state, &more]);
        assert_eq!(marks(command), [mark], "{command:?}");
        let store = SqliteStore::open(&place.state, Access::ReadOnly).unwrap();
        assert!(store.users_with_something_unjudged(None, 9).unwrap().is_empty());
    }
}

/// The ids of a state's keys in the order in which they were made, and whether they were revoked.
fn ids(state: &str) -> Vec<(String, bool)> {
    let listed = succeeds(&["key", "list", "--state", state, "--json"]);
    let key = |line: &str| {
        let key: Value = serde_json::from_str(line).unwrap();
        (key["id"].as_str().unwrap().to_owned(), !key["revoked"].is_null())
    };
    listed.lines().map(key).collect()
}
