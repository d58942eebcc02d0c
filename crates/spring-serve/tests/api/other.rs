//! Models, embeddings, tokens, health, metrics, and what every answer has.

use std::io::{Read, Write};

use serde_json::{Value, json};
use spring_serve::Limits;

use crate::common::Running;

#[test]
fn models_are_listed_with_all_that_clients_read() {
    let server = Running::start();
    server.client.put("/v1/users/ada", &json!({}));
    let models = server.client.get("/v1/models").json();
    assert_eq!(models["object"], "list");
    let ids: Vec<&Value> = models["data"].as_array().unwrap().iter().map(|of| &of["id"]).collect();
    assert_eq!(ids, ["echo", "org/echo", "echo:ada"]);
    for card in models["data"].as_array().unwrap() {
        assert_eq!(card["object"], "model");
        assert!(card["created"].is_u64() && card["owned_by"].is_string());
        assert!(card.as_object().unwrap().values().all(|value| !value.is_null()), "{card}");
    }
    assert_eq!(server.client.get("/v1/models/echo:ada").json()["parent"], "echo");
    assert_eq!(server.client.get("/v1/models/org/echo").json()["id"], "org/echo");
    assert_eq!(server.client.get("/v1/models/org%2Fecho").json()["id"], "org/echo");
    for model in ["gpt-4o", "echo:nobody", "echo:"] {
        let reply = server.client.get(&format!("/v1/models/{model}"));
        assert_eq!((reply.status, reply.code()), (404, "model_not_found".into()), "{model}");
    }
}

#[test]
fn embeddings_come_as_numbers_or_as_base64() {
    let server = Running::start();
    let ask = |more: Value| {
        let mut body = json!({"model": "echo", "input": ["ab", "c"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.client.post("/v1/embeddings", &body)
    };
    let answer = ask(json!({})).json();
    assert_eq!(answer["object"], "list");
    assert_eq!(
        answer["data"][1],
        json!({"object": "embedding", "index": 1,
                                         "embedding": [1.0, 0.5, -1.0, 0.0]})
    );
    assert_eq!(answer["usage"], json!({"prompt_tokens": 3, "total_tokens": 3}));
    let encoded = ask(json!({"encoding_format": "base64", "dimensions": 4})).json();
    assert_eq!(encoded["data"][1]["embedding"], "AACAPwAAAD8AAIC/AAAAAA==");
    assert_eq!(ask(json!({"dimensions": 3})).code(), "unsupported_parameter");
    assert_eq!(ask(json!({"input": ""})).code(), "invalid_value");
    assert_eq!(ask(json!({"input": null})).code(), "invalid_value");
    assert_eq!(ask(json!({"encoding_format": "int8"})).code(), "invalid_value");
}

#[test]
fn a_text_becomes_tokens_and_comes_back() {
    let server = Running::start();
    let ask = |body: Value| server.client.post("/tokenize", &body).json();
    let tokens =
        ask(json!({"prompt": "ab", "add_special_tokens": false, "return_token_strs": true}));
    assert_eq!(
        tokens,
        json!({"count": 2, "max_model_len": 4096, "tokens": [97, 98], "token_strs": ["a", "b"]})
    );
    assert_eq!(ask(json!({"prompt": "ab"}))["tokens"], json!([2, 97, 98]));
    assert_eq!(ask(json!({"messages": [{"role": "user", "content": "a"}]}))["count"], 2);
    assert_eq!(ask(json!({}))["error"]["code"], "invalid_value");
    let back = server.client.post("/detokenize", &json!({"tokens": [97, 98]}));
    assert_eq!(back.json()["prompt"], "ab");
    assert_eq!(server.client.post("/detokenize", &json!({"tokens": "x"})).status, 400);
}

#[test]
fn readiness_follows_the_service() {
    let server = Running::start();
    *server.service.loading.lock().unwrap() = true;
    let reply = server.client.get("/readyz");
    assert_eq!((reply.status, reply.json()["status"].clone()), (503, json!("not_ready")));
    assert_eq!(server.client.get("/healthz").status, 200);
    *server.service.loading.lock().unwrap() = false;
    assert_eq!(server.client.get("/readyz").status, 200);
}

#[test]
fn a_wrong_method_is_not_a_missing_path() {
    let server = Running::start();
    for (method, path, allow) in [
        ("GET", "/v1/chat/completions", "POST"),
        ("DELETE", "/v1/completions", "POST"),
        ("POST", "/v1/models", "GET"),
        ("PATCH", "/v1/users/ada", "PUT"),
        ("POST", "/healthz", "GET"),
    ] {
        let reply = server.client.send(method, path, Some(b"{}"));
        assert_eq!((reply.status, reply.code()), (405, "method_not_allowed".into()), "{path}");
        assert!(reply.header("allow").unwrap().contains(allow), "{path} {:?}", reply.headers);
    }
    for path in ["/v1/nothing", "/v1", "/V1/models", "/v1/users/ada/nothing", "//", "/../x"] {
        let reply = server.client.get(path);
        assert_eq!((reply.status, reply.code()), (404, "unknown_path".into()), "{path}");
    }
}

#[test]
fn every_answer_has_an_id_the_clients_own_if_it_gave_one() {
    let server = Running::start();
    let reply = server.client.with("X-Request-ID", "mine-1").get("/healthz");
    assert_eq!(reply.header("x-request-id"), Some("mine-1"));
    for path in ["/healthz", "/nothing", "/v1/models"] {
        let given = server.client.get(path);
        assert!(given.header("x-request-id").unwrap().starts_with("req_"), "{path}");
        assert_eq!(given.header("x-content-type-options"), Some("nosniff"));
    }
    let forged = server.client.with("X-Request-ID", "a b").get("/healthz");
    assert!(forged.header("x-request-id").unwrap().starts_with("req_"));
}

#[test]
fn what_is_counted_can_be_scraped() {
    let server = Running::start();
    let body = json!({"model": "echo", "messages": [{"role": "user", "content": "abc"}]});
    server.client.post("/v1/chat/completions", &body);
    server.client.get("/v1/users/a-name-that-is-nobodys-business");
    let reply = server.client.get("/metrics");
    assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = reply.text();
    for line in [
        "spring_num_requests_running{model_name=\"echo\"} 3",
        "spring_num_requests_waiting{model_name=\"echo\"} 0",
        "spring_prompt_tokens_total{model_name=\"echo\"} 3",
        "spring_generation_tokens_total{model_name=\"echo\"} 3",
        "spring_request_success_total{model_name=\"echo\",finished_reason=\"stop\"} 1",
        "spring_time_to_first_token_seconds_count{model_name=\"echo\"} 1",
        "spring_inter_token_latency_seconds_count{model_name=\"echo\"} 2",
        "spring_e2e_request_latency_seconds_count{model_name=\"echo\"} 1",
        "spring_request_queue_time_seconds_count{model_name=\"echo\"} 1",
        "spring_http_requests_total{method=\"GET\",path=\"/v1/users/{user}\",status=\"404\"} 1",
        "spring_requests_refused_total{code=\"user_not_found\"} 1",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} in {text}");
    }
    assert!(!text.contains("nobodys"), "{text}");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("spring_"), "{line}");
        value.parse::<f64>().unwrap();
    }
}

#[test]
fn bodies_and_heads_have_limits() {
    let limits = Limits::default().with_body(1000).with_head(8192).with_headers(20);
    let server = Running::with_limits(limits);
    let long = "x".repeat(2000);
    let body = json!({"model": "echo", "messages": [{"role": "user", "content": long}]});
    let reply = server.client.post("/v1/chat/completions", &body);
    assert_eq!((reply.status, reply.code()), (413, "request_too_large".into()));
    // Of a length that is not said beforehand.
    let mut socket = server.client.connect();
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n\r\n7d0\r\n{long}\r\n0\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = socket.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let many = (0..30).fold(server.client.clone(), |client, n| client.with(&format!("x-{n}"), "1"));
    assert_eq!(many.get("/healthz").status, 431);
    assert_eq!(server.client.with("x-long", &"y".repeat(20_000)).get("/healthz").status, 431);
}

#[test]
fn deeply_nested_and_broken_bodies_are_refused() {
    let server = Running::start();
    let deep = "[".repeat(100_000);
    for body in [deep.as_bytes(), b"{\"model\":", b"", b"\xff\xfe", b"null", b"{\"a\":1}trailing"] {
        for path in ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/tokenize"] {
            let reply = server.client.send("POST", path, Some(body));
            assert_eq!((reply.status, reply.code()), (400, "invalid_json".into()), "{path}");
        }
    }
    // Half a surrogate pair has no character.
    let body = br#"{"model":"echo","messages":[{"role":"user","content":"\ud800"}]}"#;
    assert_eq!(server.client.send("POST", "/v1/chat/completions", Some(body)).status, 400);
}
