//! Many clients, clients that go, slow ones, and the server's end.

use std::{thread, time::Duration};

use serde_json::{Value, json};
use spring_serve::{Limits, ServeConfig};

use crate::common::{Client, Running, Stream};

const CHAT: &str = "/v1/chat/completions";

fn ask(text: &str, stream: bool) -> Value {
    json!({"model": "echo", "stream": stream, "messages": [{"role": "user", "content": text}]})
}

/// A stream whose first piece has come.
fn opened(server: &Running, text: &str) -> Stream {
    let mut stream = server.client.stream(CHAT, &ask(text, true));
    assert_eq!(stream.head.status, 200);
    stream.until("assistant");
    stream
}

#[test]
fn work_ends_when_its_client_goes_wherever_it_is() {
    let server = Running::start();
    // In the queue, in prefill, and while tokens are written.
    for (index, text) in ["!queue", "!hang", "!flood"].iter().enumerate() {
        drop(opened(&server, text));
        server.service.wait_cancelled(index + 1);
    }
    // Without a stream, there is nothing to write to a client that is gone.
    for (index, text) in ["!queue", "!hang"].iter().enumerate() {
        let mut socket = server.client.connect();
        let body = ask(text, false).to_string();
        let head = format!(
            "POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        std::io::Write::write_all(&mut socket, (head + &body).as_bytes()).unwrap();
        server.service.wait_requests(4 + index);
        drop(socket);
        server.service.wait_cancelled(4 + index);
    }
}

#[test]
fn a_client_that_goes_takes_nobody_with_it() {
    let server = Running::start();
    let waiting = opened(&server, "!queue");
    let mut other = opened(&server, "!pace and more text to write, slowly");
    drop(waiting);
    let cancelled = server.service.wait_cancelled(1);
    let rest = other.until("[DONE]");
    assert!(rest.contains("\"finish_reason\":\"stop\""));
    assert_eq!(cancelled.len(), 1);
    assert_eq!(server.client.post(CHAT, &ask("hi", false)).status, 200);
}

#[test]
fn a_full_queue_is_said_in_time_and_with_a_wait() {
    let limits = Limits::default().with_answers(3).with_answers_per_key(2);
    let server = Running::with_keys(ServeConfig::default().with_limits(limits));
    let gateway = server.client.with_key("gateway");
    let admin = server.client.with_key("admin");
    let hang = |client: &Client| {
        let mut stream = client.stream(CHAT, &ask("!hang", true));
        stream.until("assistant");
        stream
    };
    let first = hang(&gateway);
    let _second = hang(&gateway);
    let full = gateway.post(CHAT, &ask("hi", true));
    assert_eq!((full.status, full.code()), (429, "slow_down".into()));
    assert_eq!(full.json()["error"]["type"], "rate_limit_error");
    let _third = hang(&admin);
    let all_full = admin.post(CHAT, &ask("hi", false));
    assert_eq!((all_full.status, all_full.code()), (503, "server_is_overloaded".into()));
    for reply in [full, all_full] {
        let seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
        let milliseconds: u64 = reply.header("retry-after-ms").unwrap().parse().unwrap();
        assert!((1..=120).contains(&seconds) && milliseconds <= 120_000);
    }
    // What is not an answer is not in the queue.
    assert_eq!(admin.get("/v1/models").status, 200);
    drop(first);
    server.service.wait_cancelled(1);
    let mut again = 503;
    for _ in 0..300 {
        again = gateway.post(CHAT, &ask("hi", false)).status;
        if again == 200 {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(again, 200);
}

/// Whatever many clients send at once, no more of it is in memory than is allowed.
#[test]
fn bodies_that_do_not_fit_beside_the_others_are_refused_in_time() {
    // Room for one body of the greatest length, and a little more.
    let server = Running::with_limits(Limits::default().with_body(300_000).with_bodies(0));
    let large = ask(&"long ".repeat(50_000), false);
    let body = json!({"model": "echo", "max_tokens": 1, "messages": large["messages"]});
    let refused = |status: u16| {
        let mut last = None;
        for _ in 0..500 {
            let reply = server.client.post("/tokenize", &body);
            if reply.status == status {
                return reply;
            }
            last = Some(reply);
            thread::sleep(Duration::from_millis(10));
        }
        panic!("never {status}: {last:?}");
    };
    assert_eq!(refused(200).status, 200);
    // A length that is said and does not come takes no room.
    let mut silent = server.client.connect();
    let head = "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 260000\r\n\r\n";
    std::io::Write::write_all(&mut silent, head.as_bytes()).unwrap();
    thread::sleep(Duration::from_millis(100));
    assert_eq!(server.client.post("/tokenize", &body).status, 200);
    // What has come has its room, with and without a length.
    for (head, sent) in [
        ("Content-Length: 260000".to_owned(), " ".repeat(200_000)),
        (
            "Transfer-Encoding: chunked".to_owned(),
            format!("{:x}\r\n{}", 200_000, " ".repeat(200_000)),
        ),
    ] {
        let mut slow = server.client.connect();
        let head = format!("POST /tokenize HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n");
        std::io::Write::write_all(&mut slow, (head + &sent).as_bytes()).unwrap();
        let full = refused(503);
        assert_eq!(full.code(), "server_is_overloaded");
        assert_eq!(full.header("retry-after"), Some("1"));
        // Small ones fit, and what has no body is no matter.
        assert_eq!(server.client.post(CHAT, &ask("hi", false)).status, 200);
        assert_eq!(server.client.get("/v1/models").status, 200);
        drop(slow);
        refused(200);
    }
    let long = server.client.post("/tokenize", &ask(&"long ".repeat(70_000), false));
    assert_eq!((long.status, long.code()), (413, "request_too_large".into()));
}

#[test]
fn the_engines_own_refusals_keep_their_waits() {
    let server = Running::start();
    let reply = server.client.post(CHAT, &ask("!overloaded", true));
    assert_eq!((reply.status, reply.code()), (503, "server_is_overloaded".into()));
    assert_eq!(reply.header("retry-after-ms"), Some("1500"));
    assert_eq!(reply.header("retry-after"), Some("2"));
    let reply = server.client.post(CHAT, &ask("!slow_down", true));
    assert_eq!((reply.status, reply.code()), (429, "slow_down".into()));
    assert_eq!(reply.header("retry-after"), Some("1"));
}

#[test]
fn a_key_that_asks_too_often_is_slowed_down_alone() {
    let limits = Limits::default().with_requests_per_minute(3);
    let server = Running::with_keys(ServeConfig::default().with_limits(limits));
    let ada = server.client.with_key("ada");
    for _ in 0..3 {
        assert_eq!(ada.get("/v1/models").status, 200);
    }
    let reply = ada.get("/v1/models");
    assert_eq!((reply.status, reply.code()), (429, "rate_limit_exceeded".into()));
    assert_eq!(reply.header("x-ratelimit-limit-requests"), Some("3"));
    assert_eq!(reply.header("x-ratelimit-remaining-requests"), Some("0"));
    assert!(reply.header("x-ratelimit-reset-requests").is_some());
    let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    assert_eq!(server.client.with_key("bob").get("/v1/models").status, 200);
    assert_eq!(server.client.get("/healthz").status, 200);
}

#[test]
fn a_request_is_open_until_its_answer_has_ended() {
    let limits = Limits::default().with_requests_at_once(1);
    let server = Running::with_keys(ServeConfig::default().with_limits(limits));
    let (gateway, admin) = (server.client.with_key("gateway"), server.client.with_key("admin"));
    let mut stream = gateway.stream(CHAT, &ask("!hang", true));
    stream.until("assistant");
    let reply = gateway.get("/v1/models");
    assert_eq!((reply.status, reply.code()), (429, "rate_limit_exceeded".into()));
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(reply.header("x-ratelimit-limit-requests"), None, "there is no such limit");
    assert_eq!(admin.get("/v1/models").status, 200);
    drop(stream);
    server.service.wait_cancelled(1);
    let again = (0..300).any(|_| {
        thread::sleep(Duration::from_millis(10));
        gateway.get("/v1/models").status == 200
    });
    assert!(again, "it still counts as open");
}

#[test]
fn who_asks_one_thing_after_the_other_has_one_request_open() {
    let limits = Limits::default().with_requests_at_once(1);
    let server = Running::with_keys(ServeConfig::default().with_limits(limits));
    let admin = server.client.with_key("admin");
    assert!(admin.put("/v1/users/ada", &json!({})).status < 300);
    for _ in 0..100 {
        assert_eq!(admin.get("/v1/users/ada/generations").status, 200);
        let whole = admin.stream(CHAT, &ask("hi", true)).whole();
        assert_eq!(whole.status, 200, "{}", whole.text());
        assert_eq!(admin.post(CHAT, &ask("hi", false)).status, 200);
    }
}

#[test]
fn an_adaptation_that_runs_is_work_of_the_key_that_asked_for_it() {
    let limits = Limits::default().with_requests_at_once(1);
    let server = Running::with_keys(ServeConfig::default().with_limits(limits));
    let (ada, admin) = (server.client.with_key("ada"), server.client.with_key("admin"));
    assert!(admin.put("/v1/users/ada", &json!({})).status < 300);
    let adapt = || ada.post("/v1/users/ada/adapt", &json!({}));
    let asked = adapt();
    assert_eq!(asked.status, 202, "{}", asked.text());
    let asker = server.service.asker.lock().unwrap().take().unwrap();
    let works = |client: &Client| {
        let completion = json!({"model": "echo", "prompt": "hi"});
        let embedding = json!({"model": "echo", "input": "hi"});
        [
            client.post(CHAT, &ask("hi", false)),
            client.post("/v1/completions", &completion),
            client.post("/v1/embeddings", &embedding),
        ]
        .map(|reply| reply.status)
    };
    // It waits.
    assert_eq!(works(&ada), [200; 3]);
    let working = asker.works();
    for _ in 0..2 {
        assert_eq!(works(&ada), [429; 3]);
    }
    let refused = adapt();
    assert_eq!((refused.status, refused.code()), (429, "rate_limit_exceeded".into()));
    assert!(refused.text().contains("adaptations that it asked for"), "{}", refused.text());
    assert_eq!(works(&admin), [200; 3], "nobody else's");
    drop(working);
    assert_eq!(works(&ada), [200; 3]);
    assert_eq!(adapt().status, 202);
}

#[test]
fn who_is_adapted_can_look_and_stop_it_with_one_request_at_once() {
    let limits = Limits::default().with_requests_at_once(1);
    let server = Running::with_keys(ServeConfig::default().with_limits(limits));
    let ada = server.client.with_key("ada");
    assert!(server.client.with_key("admin").put("/v1/users/ada", &json!({})).status < 300);
    let texts = json!({"interactions": [{"id": "1", "prompt": "a", "response": "b"}]});
    let kept = ada.post("/v1/users/ada/interactions", &texts);
    assert!(kept.status < 300, "{}", kept.text());
    assert_eq!(ada.post("/v1/users/ada/adapt", &json!({})).status, 202);
    let _working = server.service.asker.lock().unwrap().take().unwrap().works();
    assert_eq!(ada.post(CHAT, &ask("hi", false)).status, 429);
    for path in [
        "",
        "/interactions",
        "/interactions/1",
        "/adaptations",
        "/generations",
        "/periods",
        "/buffer",
        "/consent",
        "/search?q=b",
    ] {
        let reply = ada.get(&format!("/v1/users/ada{path}"));
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    }
    let back = ada.post("/v1/users/ada/rollback", &json!({"to": 0}));
    assert_eq!(back.status, 200, "{}", back.text());
    for path in ["/interactions/1", ""] {
        let gone = ada.send("DELETE", &format!("/v1/users/ada{path}"), None);
        assert_eq!(gone.status, 200, "{path}: {}", gone.text());
    }
}

/// An act runs to its end though its client goes, and so does a call that reads.
#[test]
fn a_request_is_open_while_it_is_worked_on_though_its_client_has_gone() {
    let limits = Limits::default().with_requests_at_once(1);
    let server = Running::with_keys(ServeConfig::default().with_limits(limits));
    let ada = server.client.with_key("ada");
    let made = server.client.with_key("admin").put("/v1/users/ada", &json!({}));
    assert!(made.status < 300, "{}", made.text());
    for (begin, body) in
        [("POST /v1/users/ada/rollback", r#"{"to":0}"#), ("GET /v1/users/ada/generations", "")]
    {
        server.service.door.shut(true);
        let mut socket = server.client.connect();
        let head = format!(
            "{begin} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ada\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        std::io::Write::write_all(&mut socket, (head + body).as_bytes()).unwrap();
        server.service.door.wait_for_one();
        drop(socket);
        // Time to see that the client has gone.
        for _ in 0..30 {
            thread::sleep(Duration::from_millis(10));
            let reply = ada.get("/v1/models");
            assert_eq!((reply.status, reply.code()), (429, "rate_limit_exceeded".into()));
        }
        server.service.door.shut(false);
        let again = (0..300).any(|_| {
            thread::sleep(Duration::from_millis(10));
            ada.get("/v1/models").status == 200
        });
        assert!(again, "{begin} still counts as open");
    }
}

#[test]
fn a_silent_stream_is_kept_alive_by_comments_and_then_by_empty_chunks() {
    let limits = Limits::default()
        .with_keep_alive(Duration::from_millis(100))
        .with_empty_chunk(Duration::from_millis(350));
    let server = Running::with_limits(limits);
    let reply = server.client.stream(CHAT, &ask("!wait", true)).whole();
    let text = reply.text();
    assert!(text.contains("\n\n: keep-alive\n\ndata: "), "{text}");
    let data: String = text.replace(": keep-alive\n\n", "");
    let empty = data
        .split("\n\n")
        .skip(1)
        .filter(|event| event.contains(r#""delta":{"content":""}"#))
        .count();
    assert!(empty >= 1, "{text}");
    assert!(text.ends_with("data: [DONE]\n\n"));
}

#[test]
fn a_client_that_does_not_read_is_left() {
    let limits = Limits::default().with_write_time(Duration::from_millis(200));
    let server = Running::with_limits(limits);
    let _unread = opened(&server, "!flood");
    server.service.wait_cancelled(1);
    assert_eq!(server.client.post(CHAT, &ask("hi", false)).status, 200);
}

#[test]
fn an_answer_that_takes_too_long_is_cut_with_an_error() {
    let limits = Limits::default().with_answer_time(Duration::from_millis(200));
    let server = Running::with_limits(limits);
    let reply = server.client.stream(CHAT, &ask("!hang", true)).whole();
    assert_eq!(reply.events().last().unwrap()["error"]["code"], "answer_timeout");
    let reply = server.client.post(CHAT, &ask("!hang", false));
    assert_eq!((reply.status, reply.code()), (504, "answer_timeout".into()));
    assert_eq!(reply.header("x-should-retry"), Some("false"));
    server.service.wait_cancelled(2);
}

#[test]
fn a_shutdown_lets_running_answers_finish_and_takes_no_new_ones() {
    let mut server = Running::start();
    let mut running = opened(&server, "!pace and more text to write, slowly");
    server.shutdown.shut_down();
    let ready = server.client.get("/readyz");
    assert_eq!(ready.status, 503);
    let refused = server.client.post(CHAT, &ask("hi", false));
    assert_eq!((refused.status, refused.code()), (503, "server_shutting_down".into()));
    assert!(refused.header("retry-after").is_some());
    let rest = running.until("[DONE]");
    assert!(rest.contains("\"finish_reason\":\"stop\""), "{rest}");
    server.join();
    assert!(std::net::TcpStream::connect(server.client.address).is_err());
}

#[test]
fn a_server_that_is_about_to_end_still_answers_whoever_has_not_heard_of_it() {
    let mut server = Running::start();
    server.shutdown.leave();
    server.shutdown.leave();
    let ready = server.client.get("/readyz");
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["reason"], "the server is shutting down");
    for _ in 0..3 {
        let reply = server.client.post(CHAT, &ask("hi", false));
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let mut running = opened(&server, "!pace and more text to write, slowly");
    server.shutdown.shut_down();
    // There is no way back.
    server.shutdown.leave();
    let refused = server.client.post(CHAT, &ask("hi", false));
    assert_eq!((refused.status, refused.code()), (503, "server_shutting_down".into()));
    assert!(running.until("[DONE]").contains("\"finish_reason\":\"stop\""));
    server.join();
}

#[test]
fn what_does_not_finish_in_time_is_cut_with_an_error() {
    let limits = Limits::default().with_drain_time(Duration::from_millis(100));
    let mut server = Running::with_limits(limits);
    let running = opened(&server, "!hang");
    server.shutdown.shut_down();
    let reply = running.whole();
    assert_eq!(reply.events().last().unwrap()["error"]["code"], "server_shutting_down");
    server.service.wait_cancelled(1);
    server.join();
}

#[test]
fn slow_heads_and_slow_bodies_are_left() {
    let limits = Limits::default()
        .with_head_time(Duration::from_millis(200))
        .with_body_time(Duration::from_millis(200));
    let server = Running::with_limits(limits);
    let read = |sent: &str| {
        let mut socket = server.client.connect();
        std::io::Write::write_all(&mut socket, sent.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = std::io::Read::read_to_string(&mut socket, &mut answer);
        answer
    };
    // Both end, though the client says nothing more.
    read("GET /healthz HTTP/1.1\r\nHost: loc");
    read("");
    let slow = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{";
    let answer = read(slow);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("body_timeout"), "{answer}");
}

#[test]
fn more_connections_than_there_is_room_for_wait() {
    let server = Running::with_limits(Limits::default().with_connections(2));
    let first = opened(&server, "!hang");
    let second = opened(&server, "!hang");
    let client = server.client.clone();
    let third = thread::spawn(move || client.get("/healthz").status);
    drop(first);
    assert_eq!(third.join().unwrap(), 200);
    drop(second);
}

#[test]
fn many_clients_at_once_each_get_their_own() {
    let server = Running::start();
    for user in 0..16 {
        server.client.put(&format!("/v1/users/u{user}"), &json!({}));
    }
    thread::scope(|scope| {
        for user in 0..16 {
            let client = &server.client;
            scope.spawn(move || {
                for round in 0..4 {
                    let body = json!({
                        "model": format!("echo:u{user}"), "stream": round % 2 == 0,
                        "messages": [{"role": "user", "content": "who?"}],
                    });
                    let reply = client.post(CHAT, &body);
                    let said: String = match round % 2 {
                        0 => reply
                            .events()
                            .iter()
                            .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
                            .collect(),
                        _ => reply.json()["choices"][0]["message"]["content"]
                            .as_str()
                            .unwrap()
                            .to_owned(),
                    };
                    assert_eq!(said, format!("u{user}: who?"));
                }
            });
        }
    });
}
