//! Which of several servers is to be asked for whom.

use std::sync::Arc;

use serde_json::json;
use spring_serve::{Limits, Replica, Replicas, ServeConfig};

use crate::common::{Client, Running};

const OWN: &str = "http://10.0.0.1:8080";
const OTHER: &str = "http://10.0.0.2:8080";

fn idle(urls: &[&str]) -> Arc<Replicas> {
    let all = urls.iter().map(|url| Replica { url: (*url).into(), load: 0.0 });
    Arc::new(Replicas::new(OWN, all))
}

fn know(server: &Running, urls: &[&str]) -> Arc<Replicas> {
    let replicas = idle(urls);
    *server.service.replicas.lock().unwrap() = Some(Arc::clone(&replicas));
    replicas
}

#[test]
fn a_user_is_routed_alike_by_whoever_may_name_them() {
    let server = Running::with_keys(ServeConfig::default());
    let replicas = know(&server, &[OWN, OTHER]);
    let as_key = |key: &str| server.client.with_key(key);
    for user in ["ada", "bob", "carol"] {
        let chosen = replicas.choose(user).unwrap();
        let expected = json!({"user": user, "replica": chosen.replica, "second": chosen.second});
        let is_routed = |client: &Client, path: &str| {
            let reply = client.get(path);
            assert_eq!((reply.status, reply.json()), (200, expected.clone()), "{path}");
            assert_eq!(reply.header("x-spring-replica"), Some(chosen.replica));
        };
        for key in ["gateway", "admin"] {
            is_routed(&as_key(key), &format!("/route?user={user}"));
            is_routed(&as_key(key).with("X-Spring-User", user), "/route");
            // What is asked for counts more than a header that a proxy passes on.
            let other = as_key(key).with("X-Spring-User", "dave");
            is_routed(&other, &format!("/route?user={user}"));
        }
        if user != "carol" {
            is_routed(&as_key(user), "/route");
            is_routed(&as_key(user).with("X-Spring-User", "dave"), "/route?user=");
            is_routed(&as_key(user), &format!("/route?user={user}"));
        }
    }
    let stranger = as_key("ada").get("/route?user=bob");
    assert_eq!((stranger.status, stranger.code()), (404, "user_not_found".into()));
    assert_eq!(stranger.header("x-spring-replica"), None);
    for client in [server.client.clone(), as_key("wrong")] {
        assert_eq!(client.get("/route?user=ada").code(), "invalid_api_key");
    }
    assert_eq!(as_key("ada").send("POST", "/route", None).code(), "method_not_allowed");
}

#[test]
fn who_names_nobody_is_sent_to_the_server_that_was_asked() {
    let server = Running::start();
    know(&server, &[OWN, OTHER]);
    let reply = server.client.get("/route");
    assert_eq!(reply.json(), json!({"user": null, "replica": OWN, "second": null}));
    assert_eq!(reply.header("x-spring-replica"), Some(OWN));
    // Not if it takes no requests any more.
    know(&server, &[OTHER]);
    assert_eq!(server.client.get("/route").json()["replica"], OTHER);
}

#[test]
fn a_server_that_knows_none_says_why() {
    let server = Running::start();
    let reply = server.client.get("/route?user=ada");
    assert_eq!((reply.status, reply.code()), (404, "not_advertised".into()));
    assert!(reply.text().contains("--advertise"), "{}", reply.text());
    know(&server, &[]);
    let reply = server.client.get("/route?user=ada");
    assert_eq!((reply.status, reply.code()), (503, "not_ready".into()));
    assert_eq!(server.client.put("/v1/users/ada", &json!({})).header("x-spring-replica"), None);
}

#[test]
fn ordinary_answers_say_who_is_warm_to_who_may_see_the_user() {
    let server = Running::with_keys(ServeConfig::default());
    let replicas = know(&server, &[OWN, OTHER]);
    let warm = |user: &str| replicas.choose(user).unwrap().replica.to_owned();
    let admin = server.client.with_key("admin");
    for user in ["ada", "bob"] {
        let made = admin.put(&format!("/v1/users/{user}"), &json!({}));
        assert_eq!(made.header("x-spring-replica"), Some(&*warm(user)));
        let own = server.client.with_key(user);
        for stream in [false, true] {
            let ask = json!({
                "model": "echo", "stream": stream, "messages": [{"role": "user", "content": "hi"}],
            });
            let reply = own.post("/v1/chat/completions", &ask);
            assert_eq!(reply.header("x-spring-replica"), Some(&*warm(user)));
        }
        let reply = own.get(&format!("/v1/users/{user}/generations"));
        assert_eq!(reply.header("x-spring-replica"), Some(&*warm(user)));
        // A fault of the request is no reason to go elsewhere with the next one.
        let reply = own.get(&format!("/v1/users/{user}/search"));
        assert_eq!((reply.status, reply.header("x-spring-replica")), (400, Some(&*warm(user))));
    }
    let ada = server.client.with_key("ada");
    assert_eq!(ada.get("/v1/users/bob").header("x-spring-replica"), None);
    assert_eq!(ada.get("/v1/models").header("x-spring-replica"), None);
    assert_eq!(server.client.get("/v1/users/ada").header("x-spring-replica"), None);
    // A name in the path stands there encoded.
    let odd = admin.put("/v1/users/a%20b%2Fc", &json!({}));
    assert_eq!(odd.header("x-spring-replica"), Some(&*warm("a b/c")));
    let odd = admin.get("/route?user=a%20b%2Fc").json();
    assert_eq!(odd, json!({"user": "a b/c", "replica": warm("a b/c"), "second": odd["second"]}));
}

#[test]
fn asking_for_the_way_is_not_counted_and_goes_on_while_the_server_ends() {
    let limits = Limits::default().with_requests_per_minute(1);
    let server = Running::with_keys(ServeConfig::default().with_limits(limits));
    know(&server, &[OWN, OTHER]);
    let ada = server.client.with_key("ada");
    for _ in 0..5 {
        assert_eq!(ada.get("/route").status, 200);
    }
    assert_eq!(ada.get("/v1/models").status, 200);
    assert_eq!(ada.get("/v1/models").code(), "rate_limit_exceeded");
    // An answer that runs keeps the server from its end.
    let gateway = server.client.with_key("gateway");
    let hang = json!({
        "model": "echo", "stream": true, "messages": [{"role": "user", "content": "!hang"}],
    });
    let _running = gateway.stream("/v1/chat/completions", &hang);
    server.shutdown.shut_down();
    know(&server, &[OTHER]);
    assert_eq!(ada.get("/readyz").status, 503);
    assert_eq!(ada.get("/route").json()["replica"], OTHER);
    assert_eq!(server.client.with_key("bob").get("/v1/models").code(), "server_shutting_down");
}

#[test]
fn an_address_that_cannot_stand_in_a_header_is_left_out_of_it() {
    let server = Running::start();
    know(&server, &["http://a\r\nx-evil: 1"]);
    let reply = server.client.get("/route?user=ada");
    assert_eq!((reply.status, reply.header("x-spring-replica")), (200, None));
    assert_eq!(reply.header("x-evil"), None);
}
