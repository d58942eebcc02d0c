//! Who may do what, and from where.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use spring_serve::{Access, Key, KeyHash, ServeConfig, ServeError, Server, UnknownUsers};

use crate::common::{MemoryService, Running};

const CHAT: &str = "/v1/chat/completions";

fn ask() -> serde_json::Value {
    json!({"model": "echo", "messages": [{"role": "user", "content": "hi"}]})
}

#[test]
fn with_keys_nothing_is_answered_without_one() {
    let server = Running::with_keys(ServeConfig::default());
    for client in [
        server.client.clone(),
        server.client.with_key("wrong"),
        server.client.with("Authorization", "Basic YWRhOmFkYQ=="),
        server.client.with("Authorization", "ada"),
    ] {
        for path in ["/v1/models", "/v1/users/ada", "/metrics", "/v1/users"] {
            let reply = client.get(path);
            assert_eq!((reply.status, reply.code()), (401, "invalid_api_key".into()), "{path}");
            assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        }
        assert_eq!(client.post(CHAT, &ask()).status, 401);
    }
    for path in ["/healthz", "/readyz", "/openapi.json", "/"] {
        assert_eq!(server.client.get(path).status, 200, "{path}");
    }
    assert_eq!(server.client.with_key("ada").get("/v1/models").status, 200);
    assert_eq!(server.client.with("Authorization", "bearer ada").get("/v1/models").status, 200);
}

#[test]
fn a_key_may_stand_in_either_header_and_two_must_be_the_same() {
    let server = Running::with_keys(ServeConfig::default());
    let plain = |token: &str| server.client.with("X-Api-Key", token);
    for client in [
        plain("ada"),
        plain(" ada "),
        plain("ada").with_key("ada"),
        // What is empty, or of another scheme, is no key.
        plain("").with_key("ada"),
        plain("ada").with_key(""),
        plain("ada").with("Authorization", "Basic YWRhOmFkYQ=="),
    ] {
        assert_eq!(client.get("/v1/models").status, 200, "{client:?}");
        // The same key with the same rights.
        assert_eq!(client.get("/v1/users/bob").status, 404, "{client:?}");
        assert_eq!(client.get("/metrics").status, 403, "{client:?}");
    }
    let mut twice = plain("ada");
    twice.headers.push(("x-api-key".into(), "admin".into()));
    for (client, word) in [
        (plain("ada").with_key("admin"), "different keys"),
        (plain("admin").with_key("wrong"), "different keys"),
        (plain("wrong").with_key("admin"), "different keys"),
        (twice, "different keys"),
        (plain("wrong"), "not known"),
        (plain(""), "is needed"),
    ] {
        let reply = client.get("/metrics");
        assert_eq!((reply.status, reply.code()), (401, "invalid_api_key".into()), "{client:?}");
        assert!(reply.text().contains(word), "{}", reply.text());
    }
    assert_eq!(plain("admin").get("/metrics").status, 200);
}

#[test]
fn without_keys_loopback_lets_everybody_in_whatever_they_send() {
    let server = Running::start();
    assert_eq!(server.client.get("/v1/models").status, 200);
    assert_eq!(server.client.with_key("none").get("/v1/models").status, 200);
    let both = server.client.with_key("none").with("X-Api-Key", "other");
    assert_eq!(both.get("/v1/models").status, 200);
}

#[test]
fn other_addresses_need_keys_or_a_word() {
    let config = ServeConfig::default().with_listen("0.0.0.0:0".parse().unwrap());
    let open = Server::bind(config.clone(), Arc::new(MemoryService::default()));
    let error = open.unwrap_err();
    assert!(matches!(error, ServeError::Open(_)));
    assert!(error.to_string().contains("behind a proxy"), "{error}");
    let config = config.with_insecure(true);
    assert!(Server::bind(config, Arc::new(MemoryService::default())).is_ok());
}

#[test]
fn the_key_of_a_user_never_sees_another() {
    let server = Running::with_keys(ServeConfig::default());
    let admin = server.client.with_key("admin");
    let text = json!({"id": "t1", "prompt": "", "response": "of bob"});
    for user in ["ada", "bob"] {
        assert_eq!(admin.post(&format!("/v1/users/{user}/interactions"), &text).status, 200);
    }
    let ada = server.client.with_key("ada");
    let nobody = admin.get("/v1/users/nobody");
    for (method, path, body) in [
        ("GET", "", None),
        ("DELETE", "", None),
        ("PUT", "", None),
        ("GET", "/interactions", None),
        ("POST", "/interactions", Some(&text)),
        ("GET", "/interactions/t1", None),
        ("DELETE", "/interactions/t1", None),
        ("GET", "/search?q=of", None),
        ("POST", "/adapt", None),
        ("GET", "/adaptations", None),
        ("GET", "/generations", None),
        ("POST", "/rollback", Some(&text)),
        ("GET", "/periods", None),
        ("GET", "/buffer", None),
        ("GET", "/explain?response_id=x", None),
        ("POST", "/feedback", Some(&text)),
        ("GET", "/consent", None),
        ("PUT", "/consent", Some(&text)),
        ("GET", "/export", None),
        ("POST", "/import", Some(&text)),
    ] {
        let body = body.map(|body| body.to_string().into_bytes());
        let reply = ada.send(method, &format!("/v1/users/bob{path}"), body.as_deref());
        assert_eq!((reply.status, reply.code()), (404, "user_not_found".into()), "{method} {path}");
        // In the words for users who are not there.
        assert_eq!(reply.text().replace("bob", "nobody"), nobody.text(), "{method} {path}");
    }
    for more in
        [json!({"model": "echo:bob"}), json!({"user": "bob"}), json!({"safety_identifier": "bob"})]
    {
        let mut body = ask();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(ada.post(CHAT, &body).status, 404, "{more}");
    }
    let believed = ada.with("x-spring-user", "bob").post(CHAT, &ask());
    assert_eq!(believed.json()["model"], "echo:ada");
    assert_eq!(ada.get("/v1/users").status, 403);
    assert_eq!(ada.get("/metrics").status, 403);
    assert_eq!(ada.get("/v1/models/echo:bob").code(), "model_not_found");
    assert!(!ada.get("/v1/models").text().contains("bob"));
    assert_eq!(admin.get("/v1/users/bob").json()["interactions"], 1);
}

#[test]
fn a_gateway_names_users_by_header() {
    let server = Running::with_keys(ServeConfig::default());
    let gateway = server.client.with_key("gateway");
    assert_eq!(gateway.put("/v1/users/carol", &json!({})).status, 201);
    for header in ["X-Spring-User", "X-OpenWebUI-User-Id", "x-litellm-end-user-id"] {
        let reply = gateway.with(header, "carol").post(CHAT, &ask());
        assert_eq!(reply.json()["model"], "echo:carol", "{header}");
    }
    let reply = gateway.with("x-spring-user", "carool").post(CHAT, &ask());
    assert_eq!((reply.status, reply.code()), (404, "user_not_found".into()));
    let reply = gateway.post(CHAT, &ask());
    assert_eq!(reply.json()["model"], "echo");
}

#[test]
fn the_base_stands_in_for_an_unknown_user_only_if_that_is_set_and_says_so() {
    let config = ServeConfig::default().with_unknown_users(UnknownUsers::Base);
    let server = Running::with_keys(config);
    let gateway = server.client.with_key("gateway");
    let reply = gateway.with("x-spring-user", "nobody").post(CHAT, &ask());
    assert_eq!(reply.json()["model"], "echo");
    assert_eq!(reply.header("x-spring-unknown-user"), Some("true"));
    // A key's own user who is gone is no stranger.
    assert_eq!(server.client.with_key("ada").post(CHAT, &ask()).status, 404);
}

#[test]
fn pages_from_elsewhere_cannot_call_it() {
    let server = Running::start();
    for (name, value, code) in [
        ("Host", "evil.example", "host_not_allowed"),
        ("Host", "evil.example:8080", "host_not_allowed"),
        ("Origin", "http://evil.example", "origin_not_allowed"),
        ("Origin", "null", "origin_not_allowed"),
        ("Origin", "http://127.0.0.1:1", "origin_not_allowed"),
    ] {
        for (method, path) in
            [("GET", "/v1/models"), ("POST", CHAT), ("GET", "/"), ("OPTIONS", CHAT), ("GET", "/x")]
        {
            let reply = server.client.with(name, value).send(method, path, Some(b"{}"));
            assert_eq!((reply.status, reply.code().as_str()), (403, code), "{value} {path}");
            assert_eq!(reply.header("access-control-allow-origin"), None);
        }
    }
    let own = format!("http://{}", server.client.address);
    let reply = server.client.with("Origin", &own).get("/v1/models");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("access-control-allow-origin"), None);
    let absolute = server.client.get("http://evil.example/v1/models");
    assert_eq!(absolute.code(), "host_not_allowed");
}

#[test]
fn an_origin_that_is_set_may_call_it() {
    let page = "https://chat.example.org";
    let config = ServeConfig::default().with_origins(vec![page.into()]);
    let server = Running::with(config, MemoryService::default());
    let client = server.client.with("Origin", page);
    let preflight = client.send("OPTIONS", CHAT, None);
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some(page));
    assert!(preflight.header("access-control-allow-headers").unwrap().contains("authorization"));
    let reply = client.post(CHAT, &ask());
    assert_eq!(reply.header("access-control-allow-origin"), Some(page));
    assert_eq!(server.client.with("Origin", "https://x.example").get("/v1/models").status, 403);
}

#[test]
fn acts_are_logged_without_texts() {
    let server = Running::with_keys(ServeConfig::default());
    let admin = server.client.with_key("admin").with("x-request-id", "r-1");
    let text = json!({"id": "t1", "prompt": "a secret", "response": "another secret"});
    admin.post("/v1/users/ada/interactions", &text);
    admin.delete("/v1/users/ada/interactions/t1");
    admin.post("/v1/users/ada/rollback", &json!({"to": 9}));
    admin.delete("/v1/users/ada");
    server.client.with_key("ada").delete("/v1/users/bob");
    let audited = server.service.audited.lock().unwrap();
    let acts: Vec<_> = audited
        .iter()
        .map(|event| (event.act, event.user.as_deref(), event.object.as_deref(), event.status))
        .collect();
    assert_eq!(
        acts,
        [
            ("interaction.delete", Some("ada"), Some("t1"), 200),
            ("rollback", Some("ada"), Some("9"), 404),
            ("user.delete", Some("ada"), None, 200),
        ]
    );
    assert!(audited.iter().all(|event| event.key == "admin" && event.request_id == "r-1"));
    assert!(!format!("{audited:?}").contains("secret"));
}

fn refused_within_seconds(client: &crate::common::Client) {
    let begun = Instant::now();
    while client.get("/v1/models").status != 401 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the key still opens");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn keys_are_not_asked_for_with_every_request_and_changes_are_heard_of() {
    let server = Running::start();
    assert_eq!(server.client.get("/v1/models").status, 200);
    server.service.add_key(KeyHash::of("a"), Key::new("a", Access::Admin));
    refused_within_seconds(&server.client);
    let client = server.client.with_key("a");
    let begun = Instant::now();
    for _ in 0..50 {
        assert_eq!(client.get("/v1/models").status, 200);
    }
    let asked = u64::from(*server.service.asked_for_keys.lock().unwrap());
    assert!(asked <= begun.elapsed().as_secs() + 1, "asked {asked} times");
    server.service.take_keys_away();
    refused_within_seconds(&client);
    // Not even on loopback.
    assert_eq!(server.client.get("/v1/models").status, 401);
}

#[test]
fn what_concerns_all_or_a_whole_user_is_not_for_gateways() {
    let server = Running::with_keys(ServeConfig::default());
    let (admin, gateway) = (server.client.with_key("admin"), server.client.with_key("gateway"));
    admin.put("/v1/users/ada", &json!({}));
    for (method, path) in [
        ("GET", "/metrics"),
        ("DELETE", "/v1/users/ada"),
        ("GET", "/v1/users/ada/export"),
        ("POST", "/v1/users/ada/import"),
    ] {
        let reply = gateway.send(method, path, Some(b""));
        assert_eq!((reply.status, reply.code()), (403, "forbidden".into()), "{method} {path}");
    }
    assert_eq!(admin.get("/metrics").status, 200);
    assert_eq!(server.client.with_key("ada").get("/v1/users/ada/export").status, 200);
    assert_eq!(admin.delete("/v1/users/ada").status, 200);
}

#[test]
fn a_server_whose_last_key_is_gone_stays_closed_to_the_network() {
    let config = ServeConfig::default().with_listen("0.0.0.0:0".parse().unwrap());
    let service = Arc::new(MemoryService::default());
    let key = Key::new("a", Access::Admin);
    service.add_key(KeyHash::of("a"), key);
    let server = Server::bind(config, Arc::clone(&service) as _).unwrap();
    let port = server.address().port();
    let shutdown = server.shutdown();
    let thread = server.spawn().unwrap();
    let client = crate::common::Client::new(format!("127.0.0.1:{port}").parse().unwrap());
    assert_eq!(client.with_key("a").get("/v1/models").status, 200);
    service.take_keys_away();
    refused_within_seconds(&client.with_key("a"));
    assert_eq!(client.get("/v1/models").status, 401);
    shutdown.shut_down();
    thread.join().unwrap();
}
