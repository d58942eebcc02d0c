//! A person's own endpoints.

use serde_json::json;
use spring_serve::Limits;

use crate::common::Running;

#[test]
fn texts_are_kept_once_listed_found_and_forgotten() {
    let server = Running::start();
    let client = &server.client;
    let path = "/v1/users/ada/interactions";
    let texts = json!([
        {"id": "t1", "time": "2026-01-01T00:00:00Z", "prompt": "p", "response": "one"},
        {"id": "t2", "response": "two", "meta": {"from": "mail"}},
    ]);
    let first = client.post(path, &texts).json();
    assert_eq!(first, json!({"added": 2, "known": 0, "ids": ["t1", "t2"]}));
    assert_eq!(client.post(path, &texts).json()["known"], 2);
    let other = client.post(path, &json!({"id": "t1", "response": "another"}));
    assert_eq!((other.status, other.code()), (409, "conflict".into()));
    assert_eq!(other.header("x-should-retry"), Some("false"));
    let page = client.get("/v1/users/ada/interactions?limit=1").json();
    assert_eq!((&page["has_more"], &page["data"][0]["id"]), (&json!(true), &json!("t2")));
    let page = client.get("/v1/users/ada/interactions?limit=1&after=t2").json();
    assert_eq!((&page["has_more"], &page["data"][0]["id"]), (&json!(false), &json!("t1")));
    assert_eq!(client.get(&format!("{path}/t1")).json()["response"], "one");
    let found = client.get("/v1/users/ada/search?q=tw").json();
    assert_eq!(found["data"][0]["interaction"]["id"], "t2");
    for path in
        ["/v1/users/ada/search", "/v1/users/ada/search?q=", "/v1/users/ada/search?q=a&limit=0"]
    {
        assert_eq!(client.get(path).status, 400, "{path}");
    }
    for count in [1, 0] {
        let receipt = client.delete(&format!("{path}/t1")).json();
        assert_eq!(receipt["removed"], json!([{"place": "history", "count": count}]));
        assert_eq!(receipt["interaction"], "t1");
    }
    assert_eq!(client.get(&format!("{path}/t1")).code(), "not_found");
}

#[test]
fn under_an_idempotency_key_texts_without_ids_are_kept_once() {
    let server = Running::start();
    let text = json!({"prompt": "p", "response": "one"});
    let path = "/v1/users/ada/interactions";
    let client = server.client.with("Idempotency-Key", "k1");
    let first = client.post(path, &text).json();
    let again = client.post(path, &text).json();
    assert_eq!((&first["added"], &again["known"]), (&json!(1), &json!(1)));
    assert_eq!(first["ids"], again["ids"]);
    let other = server.client.with("Idempotency-Key", "k2").post(path, &text).json();
    assert_ne!(first["ids"], other["ids"]);
    let misused = client.post(path, &json!({"prompt": "p", "response": "another"}));
    assert_eq!((misused.status, misused.code()), (409, "conflict".into()));
}

#[test]
fn a_user_is_made_once_and_removed_with_a_receipt() {
    let server = Running::start();
    let client = &server.client;
    assert_eq!(client.put("/v1/users/ada", &json!({})).status, 201);
    assert_eq!(client.put("/v1/users/ada", &json!({})).status, 200);
    assert_eq!(client.get("/v1/users").json()["data"][0]["id"], "ada");
    client.post("/v1/users/ada/interactions", &json!({"response": "x"}));
    let receipt = client.delete("/v1/users/ada").json();
    assert_eq!(receipt["removed"][0], json!({"place": "history", "count": 1}));
    assert_eq!(client.delete("/v1/users/ada").code(), "user_not_found");
    for (path, status) in [("/v1/users/%20", 400), ("/v1/users/a%0Ab", 400), ("/v1/users/%ff", 400)]
    {
        assert_eq!(client.put(path, &json!({})).status, status, "{path}");
    }
    // A user's id may be any text.
    for user in ["a%2Fb", "%E2%82%AC", "..%2F..%2Fetc", "a%3Ab", "%3Cscript%3E"] {
        let path = format!("/v1/users/{user}");
        assert_eq!(client.put(&path, &json!({})).status, 201, "{user}");
        assert_eq!(client.get(&path).status, 200, "{user}");
    }
}

#[test]
fn learning_is_started_watched_and_taken_back() {
    let server = Running::start();
    let client = &server.client;
    client.put("/v1/users/ada", &json!({}));
    let started = client.send("POST", "/v1/users/ada/adapt", None);
    assert_eq!((started.status, started.json()["state"].clone()), (202, json!("done")));
    assert_eq!(client.get("/v1/users/ada/adaptations").json()["data"][0]["generation"], 1);
    assert_eq!(client.get("/v1/users/ada/generations").json()["data"][0]["current"], true);
    let back = client.post("/v1/users/ada/rollback", &json!({"to": 0})).json();
    assert_eq!(back, json!({"from": 1, "to": 0}));
    for to in [json!({}), json!({"to": -1}), json!({"to": "1"}), json!({"to": 1.5})] {
        assert_eq!(client.post("/v1/users/ada/rollback", &to).status, 400, "{to}");
    }
    assert_eq!(client.post("/v1/users/ada/rollback", &json!({"to": 9})).code(), "not_found");
    let periods = client.get("/v1/users/ada/periods").json();
    assert_eq!(
        (periods["data"][0]["period"].clone(), periods["has_more"].clone()),
        (json!(1), json!(false))
    );
    let buffer = client.get("/v1/users/ada/buffer").json();
    assert_eq!(buffer, json!({"object": "list", "data": [], "has_more": false}));
}

#[test]
fn an_answer_is_explained_and_corrected_by_its_id() {
    let server = Running::start();
    let client = &server.client;
    client.put("/v1/users/ada", &json!({}));
    client.put("/v1/users/bob", &json!({}));
    let body = json!({"model": "echo:ada", "messages": [{"role": "user", "content": "hi"}]});
    let id = client.post("/v1/chat/completions", &body).json()["id"].clone();
    let id = id.as_str().unwrap();
    let explained = client.get(&format!("/v1/users/ada/explain?response_id={id}")).json();
    assert_eq!((&explained["text"], &explained["generation"]), (&json!("ada: hi"), &json!(7)));
    let of_another = client.get(&format!("/v1/users/bob/explain?response_id={id}"));
    assert_eq!((of_another.status, of_another.code()), (404, "not_found".into()));
    assert_eq!(client.get("/v1/users/ada/explain").code(), "invalid_value");
    let used = json!({"response_id": id, "text": "Hi!"});
    assert_eq!(client.post("/v1/users/ada/feedback", &used).json()["added"], 1);
    assert_eq!(client.post("/v1/users/ada/feedback", &used).json()["known"], 1);
    assert_eq!(client.post("/v1/users/bob/feedback", &used).status, 404);
    let empty = json!({"response_id": id, "text": ""});
    assert_eq!(client.post("/v1/users/ada/feedback", &empty).code(), "invalid_value");
}

#[test]
fn consent_is_off_until_it_is_given() {
    let server = Running::start();
    let client = &server.client;
    client.put("/v1/users/ada", &json!({}));
    assert_eq!(client.get("/v1/users/ada/consent").json()["keep_conversations"], false);
    let given = client.put("/v1/users/ada/consent", &json!({"keep_conversations": true}));
    assert_eq!(given.json()["keep_conversations"], true);
    assert_eq!(client.put("/v1/users/ada/consent", &json!({})).code(), "invalid_value");
    assert_eq!(client.put("/v1/users/ada/consent", &json!({"keep_conversations": 1})).status, 400);
    let ask = |more: serde_json::Value| {
        let mut body = json!({"user": "ada", "messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        client.post("/v1/chat/completions", &body);
        server.service.requests.lock().unwrap().last().unwrap().keep
    };
    assert!(ask(json!({})));
    assert!(!ask(json!({"store": false})));
}

#[test]
fn contributing_is_said_beside_keeping_and_each_alone() {
    let server = Running::start();
    let client = &server.client;
    let say = |said: serde_json::Value| client.put("/v1/users/ada/consent", &said).json();
    let is = |said: &serde_json::Value, keep: bool, contribute: bool| {
        assert_eq!(
            (&said["keep_conversations"], &said["contribute"]),
            (&json!(keep), &json!(contribute))
        );
    };
    let said = say(json!({"contribute": true}));
    is(&said, false, true);
    assert!(said["contribute_since"].is_string() && said["since"].is_null(), "{said}");
    is(&say(json!({"keep_conversations": true})), true, true);
    is(&say(json!({"keep_conversations": false, "contribute": false})), false, false);
    is(&client.get("/v1/users/ada/consent").json(), false, false);
    let wrong = client.put("/v1/users/ada/consent", &json!({"contribute": "yes"}));
    assert_eq!((wrong.status, wrong.code()), (400, "invalid_type".into()));
    is(&client.get("/v1/users/ada/consent").json(), false, false);
    // Each is an act of its own.
    let acts: Vec<(&str, Option<String>)> = server
        .service
        .audited
        .lock()
        .unwrap()
        .iter()
        .map(|event| (event.act, event.object.clone()))
        .collect();
    let yes = || Some("true".to_owned());
    let no = || Some("false".to_owned());
    let expected = [
        ("contribution.set", yes()),
        ("consent.set", yes()),
        ("contribution.set", no()),
        ("consent.set", no()),
    ];
    assert_eq!(acts, expected);
}

#[test]
fn everything_of_a_user_goes_out_and_comes_in() {
    let server = Running::start();
    let client = &server.client;
    let texts: Vec<_> =
        (0..500).map(|n| json!({"id": n.to_string(), "response": "x".repeat(500)})).collect();
    client.post("/v1/users/ada/interactions", &json!(texts));
    let export = client.get("/v1/users/ada/export");
    assert_eq!(export.header("content-type"), Some("application/jsonl"));
    assert_eq!(export.header("content-disposition"), Some("attachment; filename=\"export.jsonl\""));
    let imported = client.send("POST", "/v1/users/bob/import", Some(&export.body));
    assert_eq!(imported.json()["interactions"], 500);
    assert_eq!(client.get("/v1/users/nobody/export").code(), "user_not_found");
}

#[test]
fn an_export_that_fails_is_not_taken_for_a_whole_one() {
    let server = Running::start();
    server.client.post("/v1/users/broken/interactions", &json!({"response": "x"}));
    let mut stream = server.client.open("GET", "/v1/users/broken/export", None);
    let broke =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(
            || {
                while stream.piece().is_some() {}
            },
        ));
    assert!(broke.is_err(), "the transfer ended as if it were whole");
}

#[test]
fn an_import_that_is_too_long_or_breaks_off_changes_nothing() {
    let server = Running::with_limits(Limits::default().with_import(1000));
    let line = format!("{}\n", json!({"id": "1", "prompt": "", "response": "x".repeat(900)}));
    let long = line.repeat(3);
    let reply = server.client.send("POST", "/v1/users/ada/import", Some(long.as_bytes()));
    assert_eq!((reply.status, reply.code()), (413, "request_too_large".into()));
    assert_eq!(server.client.get("/v1/users/ada").status, 404);
    let mut socket = server.client.connect();
    let head = format!(
        "POST /v1/users/ada/import HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        line.len() + 1
    );
    std::io::Write::write_all(&mut socket, (head + &line).as_bytes()).unwrap();
    drop(socket);
    for _ in 0..20 {
        std::thread::sleep(std::time::Duration::from_millis(10));
        assert_eq!(server.client.get("/v1/users/ada").status, 404);
    }
}
