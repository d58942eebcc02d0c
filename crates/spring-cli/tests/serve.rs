//! `spring serve` from outside: two people, streams, cancellation, learning, and the end.

#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/server.rs"]
mod server;

use std::{
    io::BufRead,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use common::{fails, succeeds};
use serde_json::{Value, json};
use server::Server;
use spring_core::{Access, Backend, SqliteStore, spring_memory::UserId};

const SEED: i64 = 7;
const PROMPT: &str = "Write a review of the film \"The Long Harbour\".";

/// Reads a stream of server-sent events to its end: the text, the reason, and whether it ended
/// well.
fn read(stream: impl BufRead) -> (String, Option<String>, bool) {
    let (mut text, mut reason, mut done) = (String::new(), None, false);
    for line in stream.lines() {
        let line = line.unwrap();
        let Some(data) = line.strip_prefix("data: ") else { continue };
        if data == "[DONE]" {
            done = true;
            continue;
        }
        assert!(!done, "nothing comes after [DONE]");
        let chunk: Value = serde_json::from_str(data).unwrap();
        assert!(chunk.get("error").is_none(), "{chunk}");
        let choice = &chunk["choices"][0];
        text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        if let Some(ended) = choice["finish_reason"].as_str() {
            reason = Some(ended.to_owned());
        }
    }
    (text, reason, done)
}

fn history(user: &str, ids: std::ops::Range<usize>) -> Vec<Value> {
    let line = |i: usize| {
        json!({
            "user": user, "id": format!("{user}-{i}"),
            "time": format!("2024-02-{:02}T10:00:00Z", i + 1),
            "prompt": format!("Write a review of the film \"Part {i}\"."),
            "response": format!("{user} says that part {i} was a fine evening, all in all."),
        })
    };
    ids.map(line).collect()
}

/// A state in which ada was learned and bob was not.
fn state(dir: &Path) -> PathBuf {
    let path = dir.join("team.db");
    let state = path.to_str().unwrap();
    succeeds(&["init", "--state", state, "--set", "training.epochs=1", "--set", "gate=always"]);
    let lines: Vec<String> =
        history("ada", 0..8).iter().chain(&history("bob", 0..3)).map(ToString::to_string).collect();
    let file = dir.join("history.jsonl");
    std::fs::write(&file, lines.join("\n")).unwrap();
    succeeds(&["ingest", "--state", state, file.to_str().unwrap()]);
    succeeds(&["adapt", "--quiet", "--state", state, "--user", "ada"]);
    path
}

/// What the program answers by itself.
fn generated(state: &Path, user: &str) -> String {
    let answer = succeeds(&[
        "generate",
        "--quiet",
        "--json",
        "--state",
        state.to_str().unwrap(),
        "--user",
        user,
        "--prompt",
        PROMPT,
        "--temperature",
        "0.9",
        "--seed",
        "7",
        "--max-new-tokens",
        "24",
    ]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["answer"]["text"].as_str().unwrap().to_owned()
}

fn asked(user: &str) -> Value {
    json!({
        "model": format!("embedded:{user}"), "seed": SEED, "temperature": 0.9, "max_tokens": 24,
        "messages": [{"role": "user", "content": PROMPT}],
    })
}

#[test]
fn what_cannot_be_served_is_said_before_it_listens() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("team.db");
    let state = path.to_str().unwrap();
    assert!(fails(&["serve", "--state", state]).contains("there is no such file"));
    succeeds(&["init", "--state", state]);
    let open = fails(&["serve", "--state", state, "--listen", "0.0.0.0:0"]);
    assert!(open.contains("--insecure") && open.contains("spring key add"), "{open}");
    for (address, reason) in
        [("10.0.0.5:8080", "http://"), ("ftp://a", "http://"), ("http://a:b@c", "password")]
    {
        let refused = common::spring(&["serve", "--state", state, "--advertise", address]);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains(reason) && said.contains("such as http://10.0.0.5:8080"), "{said}");
    }
}

#[test]
fn people_are_answered_as_by_the_program_stream_and_leave_learn_and_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = state(dir.path());
    let expected = ["ada", "bob"].map(|user| generated(&path, user));
    let mut server = Server::start(&path);
    assert!(server.get("/readyz").contains("ready"));
    assert!(server.get("/v1/models").contains("embedded"));

    // Both at once, in streams and whole.
    thread::scope(|scope| {
        for (user, expected) in ["ada", "bob"].iter().zip(&expected) {
            let server = &server;
            scope.spawn(move || {
                let whole = server.post("/v1/chat/completions", &asked(user));
                let choice = &whole["choices"][0];
                assert_eq!(choice["message"]["content"].as_str(), Some(&**expected), "{whole}");
            });
            scope.spawn(move || {
                let (text, reason, done) = read(server.stream(&asked(user)));
                assert_eq!(text, *expected, "{user}");
                assert!(done && reason.is_some());
            });
        }
    });
    assert_ne!(expected[0], expected[1]);
    let unknown = server.send("POST", "/v1/chat/completions", &asked("nobody")).unwrap_err();
    assert_eq!(unknown.0, 404, "{unknown:?}");
    let long = json!({
        "model": "embedded:ada", "max_tokens": 5,
        "messages": [{"role": "user", "content": "word ".repeat(3000)}],
    });
    let too_long = server.send("POST", "/v1/chat/completions", &long).unwrap_err();
    assert_eq!(
        (too_long.0, &too_long.1["error"]["code"]),
        (400, &json!("context_length_exceeded"))
    );

    // Who leaves is not written for any more.
    let mut endless = asked("ada");
    endless["max_tokens"] = json!(900);
    let mut stream = server.stream(&endless);
    let mut first = String::new();
    stream.read_line(&mut first).unwrap();
    drop(stream);
    let begin = Instant::now();
    while server.metric("spring_num_requests_running") > 0.0 {
        assert!(begin.elapsed() < Duration::from_secs(60), "it is still being written");
        thread::sleep(Duration::from_millis(5));
    }

    // Bob writes more, and is learned while Ada is answered.
    let texts: Vec<Value> = history("bob", 3..12)
        .into_iter()
        .map(|mut text| {
            text.as_object_mut().unwrap().remove("user");
            text
        })
        .collect();
    let added = server.post("/v1/users/bob/interactions", &json!({"interactions": texts}));
    assert_eq!(added["added"], 9, "{added}");
    let adaptation = server.post("/v1/users/bob/adapt", &json!({}));
    let whole = server.post("/v1/chat/completions", &asked("ada"));
    assert_eq!(whole["choices"][0]["message"]["content"].as_str(), Some(&*expected[0]));
    let begin = Instant::now();
    loop {
        let all: Value = serde_json::from_str(&server.get("/v1/users/bob/adaptations")).unwrap();
        let latest = all["data"][0].clone();
        assert_eq!(latest["id"], adaptation["id"]);
        match latest["state"].as_str().unwrap() {
            "done" => break,
            "waiting" | "running" => thread::sleep(Duration::from_millis(20)),
            other => panic!("{other}: {latest}"),
        }
        assert!(begin.elapsed() < Duration::from_secs(240), "{latest}");
    }
    let learned = server.post("/v1/chat/completions", &asked("bob"));
    let text = learned["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert_eq!(text, generated(&path, "bob"), "the program sees the same generation");
    assert_ne!(text, expected[1]);

    // How it came about can be asked later, and what was really used comes back.
    let id = learned["id"].as_str().unwrap();
    let why: Value =
        serde_json::from_str(&server.get(&format!("/v1/users/bob/explain?response_id={id}")))
            .unwrap();
    assert_eq!((&why["text"], &why["generation"]), (&json!(text), &json!(1)), "{why}");
    let used = json!({"response_id": id, "text": "Bob would rather say this."});
    assert_eq!(server.post("/v1/users/bob/feedback", &used)["added"], 1);
    assert_eq!(server.post("/v1/users/bob/feedback", &used)["added"], 0);

    // Everything of a person comes out and goes in again, and a person can go.
    let mut archive = Vec::new();
    let export = ureq::get(&server.url("/v1/users/bob/export")).call().unwrap();
    export.into_reader().read_to_end(&mut archive).unwrap();
    let receipt = server.send("DELETE", "/v1/users/bob", &Value::Null).unwrap();
    assert!(receipt.to_string().contains("history"), "{receipt}");
    assert_eq!(server.send("POST", "/v1/chat/completions", &asked("bob")).unwrap_err().0, 404);
    let imported = ureq::post(&server.url("/v1/users/bob/import"))
        .set("Content-Type", "application/zip")
        .send_bytes(&archive)
        .unwrap();
    assert!(imported.into_string().unwrap().contains("13"));
    let again = server.post("/v1/chat/completions", &asked("bob"));
    assert_eq!(again["choices"][0]["message"]["content"].as_str(), Some(&*text));

    // The last answer is written to its end.
    let stream = server.stream(&asked("ada"));
    server.end();
    let (text, _, done) = read(stream);
    assert_eq!((text, done), (expected[0].clone(), true));
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    succeeds(&["check", "--state", path.to_str().unwrap()]);
}

/// A request with a key: the status, the code of a refusal, and what was answered.
fn with_key(server: &Server, key: &str, method: &str, path: &str, body: &Value) -> (u16, String) {
    let mut request =
        ureq::request(method, &server.url(path)).set("Content-Type", "application/json");
    if !key.is_empty() {
        request = request.set("Authorization", &format!("Bearer {key}"));
    }
    match request.send_string(&body.to_string()) {
        Ok(response) => (response.status(), response.into_string().unwrap()),
        Err(ureq::Error::Status(status, response)) => (status, response.into_string().unwrap()),
        Err(error) => panic!("{error}"),
    }
}

/// The adaptations of ada, latest first.
fn adaptations(server: &Server) -> Vec<Value> {
    let all: Value = serde_json::from_str(&server.get("/v1/users/ada/adaptations")).unwrap();
    all["data"].as_array().unwrap().clone()
}

/// Waits until the server trains ada, and has her for itself.
fn wait_for_training(server: &Server, state: &Path) {
    let store = SqliteStore::open(state, Access::ReadOnly).unwrap();
    let is_reserved = || {
        let mut reserved = false;
        let read = store.backend().read(&mut |rows| {
            let ada = rows.user(&UserId::new("ada").unwrap())?.unwrap();
            // The row of one that was given back stays.
            reserved = rows.lease(ada.key)?.is_some_and(|lease| lease.expires > 0);
            Ok(())
        });
        read.is_ok() && reserved
    };
    let begin = Instant::now();
    while adaptations(server)[0]["state"] != "running" || !is_reserved() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", adaptations(server));
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn keys_of_the_state_decide_who_may_what_and_acts_are_on_record() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("team.db");
    let state = path.to_str().unwrap();
    let log = dir.path().join("audit.jsonl");
    let audit = log.to_str().unwrap();
    succeeds(&["init", "--state", state]);
    let add = |more: &[&str]| {
        let key = succeeds(&[&["key", "add", "--state", state, "--audit", audit], more].concat());
        key.trim().to_owned()
    };
    let ada = add(&["--user", "ada", "--label", "laptop"]);
    let gateway = add(&["--gateway", "--requests-per-minute", "5"]);
    let admin = add(&["--admin"]);
    let listed = succeeds(&["key", "list", "--state", state, "--json"]);
    assert!(!listed.contains(&ada) && listed.contains("laptop"), "{listed}");
    let keys: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(keys.len(), 3);
    // Elsewhere than on loopback, too, now that there are keys.
    let mut server = Server::start_with(&path, "0.0.0.0:0", &["--audit", audit]);
    server.address = server.address.replace("0.0.0.0", "127.0.0.1");
    let ask = |key: &str, method: &str, path: &str, body: Value| {
        with_key(&server, key, method, path, &body)
    };
    let none = ask("", "GET", "/v1/models", Value::Null);
    assert_eq!(none.0, 401);
    assert!(none.1.contains("invalid_api_key"), "{none:?}");
    assert_eq!(ask("", "GET", "/", Value::Null).0, 200);
    assert_eq!(ask(&ada, "GET", "/v1/users/ada", Value::Null).0, 200);
    assert_eq!(ask(&ada, "GET", "/v1/users/bob", Value::Null).0, 404);
    assert_eq!(ask(&ada, "GET", "/metrics", Value::Null).0, 403);
    assert_eq!(ask(&admin, "GET", "/metrics", Value::Null).0, 200);
    assert_eq!(ask(&gateway, "DELETE", "/v1/users/ada", Value::Null).0, 403);
    for _ in 0..4 {
        assert_eq!(ask(&gateway, "GET", "/v1/models", Value::Null).0, 200);
    }
    let early = ask(&gateway, "GET", "/v1/models", Value::Null);
    assert_eq!(early.0, 429);
    assert!(early.1.contains("rate_limit_exceeded"), "{early:?}");

    // Conversations are kept once ada says so, and not any more once she does not.
    let count = || {
        let user = ask(&ada, "GET", "/v1/users/ada", Value::Null).1;
        serde_json::from_str::<Value>(&user).unwrap()["interactions"].as_u64().unwrap()
    };
    let chat = |more: Value| {
        let mut body = json!({
            "model": "embedded", "max_tokens": 8, "seed": SEED,
            "messages": [{"role": "user", "content": PROMPT}],
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = ask(&ada, "POST", "/v1/chat/completions", body);
        assert_eq!(answer.0, 200, "{answer:?}");
        serde_json::from_str::<Value>(&answer.1).unwrap()
    };
    chat(json!({}));
    assert_eq!(count(), 0);
    let said = ask(&ada, "PUT", "/v1/users/ada/consent", json!({"keep_conversations": true}));
    assert!(said.1.contains("since"), "{said:?}");
    let said = ask(&ada, "PUT", "/v1/users/ada/consent", json!({"contribute": true})).1;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["keep_conversations"], &said["contribute"]), (&json!(true), &json!(true)));
    let of_ada = succeeds(&["consent", "--state", state, "--user", "ada", "--json"]);
    let of_ada: Value = serde_json::from_str(&of_ada).unwrap();
    assert_eq!(of_ada["contribution"]["contributes"], true);
    assert_eq!(of_ada["contribution"]["since"], said["contribute_since"]);
    let answer = chat(json!({}));
    chat(json!({"store": false}));
    assert_eq!(count(), 1);
    let kept = ask(&ada, "GET", "/v1/users/ada/interactions", Value::Null).1;
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept["data"][0]["prompt"], PROMPT);
    assert_eq!(kept["data"][0]["response"], answer["choices"][0]["message"]["content"]);
    // What she really used takes its place.
    let used = json!({"response_id": answer["id"], "text": "What I sent in the end."});
    for added in [1, 0] {
        let said = ask(&ada, "POST", "/v1/users/ada/feedback", used.clone());
        assert_eq!(said.0, 200, "{said:?}");
        let said: Value = serde_json::from_str(&said.1).unwrap();
        assert_eq!(said["added"], added, "{said}");
    }
    assert_eq!(count(), 1);
    let why = format!("/v1/users/ada/explain?response_id={}", answer["id"].as_str().unwrap());
    assert_eq!(ask(&ada, "GET", &why, Value::Null).0, 200, "the record of the answer stays");
    succeeds(&["consent", "--state", state, "--user", "ada", "--set", "no", "--audit", audit]);
    chat(json!({}));
    assert_eq!(count(), 1);
    let shown = succeeds(&["consent", "--state", state, "--user", "ada"]);
    assert!(shown.contains("are not kept"), "{shown}");

    // A key that is revoked opens nothing a moment later.
    let id = keys[0]["id"].as_str().unwrap();
    succeeds(&["key", "revoke", "--state", state, id, "--audit", audit]);
    let begin = Instant::now();
    while ask(&ada, "GET", "/v1/models", Value::Null).0 != 401 {
        assert!(begin.elapsed() < Duration::from_secs(20), "it still opens");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(ask(&admin, "DELETE", "/v1/users/ada", Value::Null).0, 200);
    let unknown = fails(&["key", "revoke", "--state", state, id]);
    assert!(unknown.contains("spring key list"), "{unknown}");

    let record = std::fs::read_to_string(&log).unwrap();
    let acts: Vec<Value> = record.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = acts.iter().map(|act| act["act"].as_str().unwrap()).collect();
    let expected = [
        "key.add",
        "key.add",
        "key.add",
        "consent.set",
        "contribution.set",
        "consent.set",
        "key.revoke",
        "user.delete",
    ];
    assert_eq!(names, expected, "{record}");
    assert_eq!((&acts[3]["key"], &acts[3]["user"]), (&json!(id), &json!("ada")));
    assert_eq!((&acts[4]["user"], &acts[4]["object"]), (&json!("ada"), &json!("true")));
    assert_eq!(acts[7]["key"], keys[2]["id"]);
    for secret in [&ada, &gateway, &admin, &PROMPT.to_owned()] {
        assert!(!record.contains(secret.as_str()), "{record}");
    }
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&log).unwrap());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_is_read_of_a_person_is_there_while_they_learn_and_forgetting_does_not_wait_for_that() {
    let dir = tempfile::tempdir().unwrap();
    let path = state(dir.path());
    let server = Server::start(&path);
    let answer = server.post("/v1/chat/completions", &asked("ada"));
    let answered = format!("/explain?response_id={}", answer["id"].as_str().unwrap());
    let texts: Vec<Value> = (0..240)
        .map(|i| {
            let response = format!("Ada watched it {i} times, and says so at length. ").repeat(6);
            json!({"id": format!("new-{i}"), "prompt": format!("Film {i}?"), "response": response})
        })
        .collect();
    server.post("/v1/users/ada/interactions", &json!({"interactions": texts}));
    server.post("/v1/users/ada/adapt", &json!({}));
    wait_for_training(&server, &path);
    for rest in [
        "",
        "/periods",
        "/buffer",
        "/generations",
        "/interactions",
        "/interactions/new-1",
        "/search?q=evening",
        &answered,
        "/consent",
    ] {
        assert!(server.get(&format!("/v1/users/ada{rest}")).contains('{'), "{rest}");
    }
    assert!(ureq::get(&server.url("/v1/users/ada/export")).call().is_ok());
    let beside = server.post("/v1/chat/completions", &asked("ada"));
    assert_eq!(beside["choices"], answer["choices"], "the generation before answers until then");
    let learns = adaptations(&server)[0].clone();
    assert_eq!(learns["state"], "running", "all of it was while she learned");

    let text = "/v1/users/ada/interactions/new-7";
    let receipt = server.send("DELETE", text, &Value::Null).unwrap();
    assert_eq!(receipt["removed"][0]["count"], 1, "{receipt}");
    assert_ne!(adaptations(&server)[0]["id"], learns["id"], "it was asked for, and begins anew");
    wait_for_training(&server, &path);
    let back = server.post("/v1/users/ada/rollback", &json!({"to": 0}));
    assert_eq!((&back["from"], &back["to"]), (&json!(1), &json!(0)), "{back}");
    assert_eq!(adaptations(&server)[0]["state"], "cancelled");
}

#[test]
fn an_adaptation_that_was_asked_for_waits_for_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = state(dir.path());
    let server = Server::start(&path);
    let texts: Vec<Value> = history("ada", 8..12)
        .into_iter()
        .map(|text| {
            json!({
                "id": text["id"], "prompt": text["prompt"], "response": text["response"],
            })
        })
        .collect();
    server.post("/v1/users/ada/interactions", &json!({"interactions": texts}));
    let store = SqliteStore::open(&path, Access::ReadWrite).unwrap();
    let lease = store.lease(&UserId::new("ada").unwrap()).unwrap();
    let asked = server.post("/v1/users/ada/adapt", &json!({}));
    let wait = |is_so: &dyn Fn(&Value) -> bool| {
        let begin = Instant::now();
        while !is_so(&adaptations(&server)[0]) {
            assert!(begin.elapsed() < Duration::from_secs(120), "{:?}", adaptations(&server));
            thread::sleep(Duration::from_millis(5));
        }
    };
    wait(&|latest| latest["error"].is_string());
    let latest = adaptations(&server).remove(0);
    assert_eq!((&latest["id"], &latest["state"]), (&asked["id"], &json!("waiting")), "{latest}");
    assert!(latest["error"].as_str().unwrap().contains("another process"), "{latest}");
    store.release(&lease).unwrap();
    wait(&|latest| latest["state"] == "done");
    assert_eq!(adaptations(&server).len(), 1);
    assert_eq!(adaptations(&server)[0]["error"], Value::Null);
}

#[test]
fn a_conversation_that_goes_on_is_not_read_from_its_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let path = state(dir.path());
    let server = Server::start(&path);
    let ask_for = |user: &str, base: bool, question: &str| {
        let system = "Be short, be kind, and say what is good about it. ".repeat(20);
        let answer = server.post(
            "/v1/chat/completions",
            &json!({
                "model": "embedded", "user": user, "spring": {"base": base}, "max_tokens": 4,
                "messages": [
                    {"role": "system", "content": system},
                    {"role": "user", "content": question},
                ],
            }),
        );
        let usage = &answer["usage"];
        let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
        assert!(cached < usage["prompt_tokens"].as_u64().unwrap());
        cached
    };
    let ask = |user: &str, question: &str| ask_for(user, false, question);
    assert_eq!(ask("ada", "And a lamp?"), 0);
    assert_eq!(ask("bob", "And a lamp?"), 0, "what ada has sent is hers");
    let again = ask("ada", "And a kettle?");
    assert!(again >= 128 && again.is_multiple_of(128), "{again}");
    // Of the base, too, and of people who are no users.
    for person in ["ada", "bob", "eve"] {
        assert_eq!(ask_for(person, true, "And a lamp?"), 0, "{person} asks the base first");
        assert_eq!(ask_for(person, true, "And a kettle?"), again, "{person}");
    }
    assert!(server.metric("spring_prefix_cache_hits_total") >= again as f64);
    assert!(server.metric("spring_prefix_cache_bytes") > 0.0);
}

/// The bytes of a token by its name.
fn bytes_of(name: &Value) -> Vec<u8> {
    let name = name.as_str().unwrap();
    match name.strip_prefix("bytes:\\x") {
        Some(bytes) => {
            bytes.split("\\x").map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
        }
        None => name.into(),
    }
}

#[test]
fn the_bytes_of_tokens_are_those_of_their_text() {
    let dir = tempfile::tempdir().unwrap();
    let path = state(dir.path());
    let server = Server::start(&path);
    for text in ["日本 😀 é", "Two words, and a third.\n"] {
        let asked = json!({
            "model": "embedded", "prompt": text, "add_special_tokens": false,
            "return_token_strs": true,
        });
        let answer = server.post("/tokenize", &asked);
        let names = answer["token_strs"].as_array().unwrap();
        let bytes: Vec<u8> = names.iter().flat_map(bytes_of).collect();
        assert_eq!(String::from_utf8(bytes).unwrap(), text, "{answer}");
    }

    let mut wanted = asked("ada");
    (wanted["logprobs"], wanted["top_logprobs"]) = (json!(true), json!(20));
    let choice = server.post("/v1/chat/completions", &wanted)["choices"][0].clone();
    let tokens = choice["logprobs"]["content"].as_array().unwrap();
    let bytes =
        |token: &Value| -> Vec<u8> { serde_json::from_value(token["bytes"].clone()).unwrap() };
    let written: Vec<u8> = tokens.iter().flat_map(&bytes).collect();
    assert_eq!(String::from_utf8(written).unwrap(), choice["message"]["content"]);

    let mut wanted = json!({"model": "embedded", "prompt": "日", "max_tokens": 8, "logprobs": 20});
    wanted["temperature"] = json!(0);
    let choice = server.post("/v1/completions", &wanted)["choices"][0].clone();
    for likely in choice["logprobs"]["top_logprobs"].as_array().unwrap() {
        assert_eq!(likely.as_object().unwrap().len(), 20, "each by its own name: {likely}");
    }
}

#[test]
fn who_is_pinned_stays_ready_and_the_base_stands_in_only_if_that_is_set() {
    let dir = tempfile::tempdir().unwrap();
    let path = state(dir.path());
    let of_state = ["serve", "--listen", "127.0.0.1:0", "--state", path.to_str().unwrap()];
    for wrong in [["--kv-cache", "0"], ["--unknown-users", "perhaps"]] {
        let refused = common::spring(&[&of_state[..], &wrong].concat());
        assert_eq!(refused.status.code(), Some(2), "{wrong:?}");
    }
    // Who is not there keeps nobody else from being answered.
    let pinned = ["--pin", "nobody", "--pin", "ada", "--cache", "0"];
    let more = ["--unknown-users", "base", "--kv-cache", "256"];
    let server = Server::start_with(&path, "127.0.0.1:0", &[&pinned[..], &more].concat());
    let loads = || server.metric("spring_adapter_loads_total");
    assert_eq!((server.metric("spring_adapters_loaded"), loads()), (1.0, 1.0));
    let mut answers = Vec::new();
    for user in ["ada", "bob", "ada", "nobody"] {
        answers.push(server.post("/v1/chat/completions", &asked(user))["model"].clone());
    }
    assert_eq!(answers, ["embedded:ada", "embedded:bob", "embedded:ada", "embedded"]);
    // Bob alone was read, and did not stay.
    assert_eq!((server.metric("spring_adapters_loaded"), loads()), (1.0, 2.0));
}

#[test]
fn a_receipt_says_what_went_from_memory_the_buffer_and_the_keys() {
    let dir = tempfile::tempdir().unwrap();
    let path = state(dir.path());
    let server = Server::start(&path);
    let count = |receipt: &Value, place: &str| {
        let removed = receipt["removed"].as_array().unwrap();
        let of_place = removed.iter().find(|removed| removed["place"] == place);
        of_place.unwrap_or_else(|| panic!("no {place}: {receipt}"))["count"].as_u64().unwrap()
    };
    let mut long = asked("ada");
    let system = "Be short, be kind, and say what is good about it. ".repeat(20);
    long["messages"] = json!([
        {"role": "system", "content": system}, {"role": "user", "content": PROMPT},
    ]);
    server.post("/v1/chat/completions", &long);
    let buffer: Value = serde_json::from_str(&server.get("/v1/users/ada/buffer")).unwrap();
    let id = buffer["data"][0]["interaction"]["id"].as_str().unwrap();
    let text = format!("/v1/users/ada/interactions/{id}");
    let receipt = server.send("DELETE", &text, &Value::Null).unwrap();
    for place in ["history", "buffer", "models in memory"] {
        assert_eq!(count(&receipt, place), 1, "{place}: {receipt}");
    }
    assert!(count(&receipt, "prefixes in memory") > 0, "{receipt}");
    assert_eq!(count(&receipt, "answers being written"), 0);

    // What is pending is in no buffer.
    server.post("/v1/users/ada/interactions", &json!({"id": "new", "response": "A new text."}));
    let pending = "/v1/users/ada/interactions/new";
    let receipt = server.send("DELETE", pending, &Value::Null).unwrap();
    assert_eq!((count(&receipt, "history"), count(&receipt, "buffer")), (1, 0));
    drop(server);

    let add = |more: &[&str]| {
        let key = succeeds(&[&["key", "add", "--state", path.to_str().unwrap()], more].concat());
        key.trim().to_owned()
    };
    add(&["--user", "ada"]);
    add(&["--user", "bob"]);
    let admin = add(&["--admin"]);
    let server = Server::start(&path);
    let reply = with_key(&server, &admin, "DELETE", "/v1/users/ada", &Value::Null);
    assert_eq!(reply.0, 200, "{}", reply.1);
    let receipt: Value = serde_json::from_str(&reply.1).unwrap();
    assert_eq!((count(&receipt, "keys"), count(&receipt, "models in memory")), (1, 0));
}

#[test]
fn several_servers_of_a_file_know_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = state(dir.path());
    let known = || {
        let store = SqliteStore::open(&path, Access::ReadOnly).unwrap();
        let all = store.replicas(Duration::from_secs(86_400)).unwrap();
        all.into_iter().map(|replica| replica.url).collect()
    };
    server::several_on_one_state(&path, &known);
}

#[test]
fn a_server_without_an_address_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&state(dir.path()));
    let (status, said) = server.send("GET", "/route?user=ada", &Value::Null).unwrap_err();
    assert_eq!((status, &said["error"]["code"]), (404, &json!("not_advertised")));
    let ada = ureq::get(&server.url("/v1/users/ada")).call().unwrap();
    assert_eq!(ada.header("x-spring-replica"), None);
}
