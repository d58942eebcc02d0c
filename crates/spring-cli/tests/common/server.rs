//! `spring serve` as a process of a test's own.

// Not every test needs all of it.
#![allow(dead_code, clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use spring_serve::{Replica, Replicas};

/// A server on a port of its own; ended with the test.
pub struct Server {
    pub child: Child,
    pub address: String,
}

impl Server {
    pub fn start(state: &Path) -> Self {
        Self::start_with(state, "127.0.0.1:0", &[])
    }

    pub fn start_with(state: &Path, listen: &str, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_spring"))
            .args(["serve", "--no-adapt", "--listen", listen, "--state"])
            .arg(state)
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { child, address }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    pub fn get(&self, path: &str) -> String {
        ureq::get(&self.url(path)).call().unwrap().into_string().unwrap()
    }

    pub fn send(&self, method: &str, path: &str, body: &Value) -> Result<Value, (u16, Value)> {
        let request =
            ureq::request(method, &self.url(path)).set("Content-Type", "application/json");
        let parse = |response: ureq::Response| {
            let text = response.into_string().unwrap();
            serde_json::from_str(&text).unwrap_or(Value::Null)
        };
        match request.send_string(&body.to_string()) {
            Ok(response) => Ok(parse(response)),
            Err(ureq::Error::Status(status, response)) => Err((status, parse(response))),
            Err(error) => panic!("{error}"),
        }
    }

    pub fn post(&self, path: &str, body: &Value) -> Value {
        self.send("POST", path, body).unwrap()
    }

    pub fn stream(&self, body: &Value) -> BufReader<Box<dyn Read + Send + Sync>> {
        let mut body = body.clone();
        body["stream"] = json!(true);
        let response = ureq::post(&self.url("/v1/chat/completions"))
            .set("Content-Type", "application/json")
            .send_string(&body.to_string())
            .unwrap();
        BufReader::new(response.into_reader())
    }

    /// A number of the metrics, over all labels.
    pub fn metric(&self, name: &str) -> f64 {
        let all = self.get("/metrics");
        let lines = all.lines().filter(|line| line.starts_with(name));
        let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        lines.map(value).sum()
    }

    pub fn end(&mut self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks again and again until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..1200 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("{what}: not within a minute");
}

impl Server {
    /// Which server is to be asked for a user, as this one says it: that and the next.
    fn route(&self, user: &str) -> (String, Option<String>) {
        let reply = ureq::get(&self.url(&format!("/route?user={user}"))).call().unwrap();
        let header = reply.header("x-spring-replica").unwrap().to_owned();
        let body: Value = serde_json::from_str(&reply.into_string().unwrap()).unwrap();
        assert_eq!((&body["user"], &body["replica"]), (&json!(user), &json!(header)));
        (header, body["second"].as_str().map(str::to_owned))
    }

    /// All servers that this one sends anybody to.
    fn sees(&self) -> BTreeSet<String> {
        (0..64).map(|i| self.route(&format!("user-{i}")).0).collect()
    }

    /// Which servers are to be asked for each of them: the first and the next.
    fn routes(&self, users: &[String]) -> Vec<(String, Option<String>)> {
        users.iter().map(|user| self.route(user)).collect()
    }

    /// Has a text of a user's continued; gives a header of the answer.
    fn continues(&self, user: &str, header: &str) -> String {
        let body = json!({"prompt": "number 3", "user": user, "max_tokens": 2});
        let reply = ureq::post(&self.url("/v1/completions"))
            .set("Content-Type", "application/json")
            .send_string(&body.to_string())
            .unwrap();
        reply.header(header).unwrap().to_owned()
    }
}

/// Three servers of one state, of which ada was learned: what each says of the others while one
/// ends and one is killed, and what it makes of what another has changed. `known` gives the
/// addresses that stand in the state, those that count no more among them.
///
/// A server that gets no time to say that it is there is off the lists for a while, so what they
/// say is waited for each time.
pub fn several_on_one_state(state: &Path, known: &dyn Fn() -> Vec<String>) {
    let names = ["http://10.0.0.1:8080", "http://10.0.0.2:8080", "http://10.0.0.3:8080"];
    let start = |name| Server::start_with(state, "127.0.0.1:0", &["--advertise", name]);
    let mut servers: Vec<(&str, Server)> = names.map(|name| (name, start(name))).into();
    let all = BTreeSet::from(names.map(str::to_owned));
    let users: Vec<String> = (0..64).map(|i| format!("user-{i}")).chain(["ada".into()]).collect();
    let list = names.map(|name| Replica { url: name.into(), load: 0.0 });
    let list = Replicas::new(names[0], list);
    let chosen = |user: &String| {
        let chosen = list.choose(user).unwrap();
        (chosen.replica.to_owned(), chosen.second.map(str::to_owned))
    };
    let before: Vec<(String, Option<String>)> = users.iter().map(chosen).collect();
    for (name, server) in &servers {
        until(name, || server.sees() == all && server.routes(&users) == before);
    }
    // Ordinary answers say it, too.
    let (warm, second) = before.last().unwrap().clone();
    let second = second.unwrap();
    for (name, server) in &servers {
        until(name, || server.continues("ada", "x-spring-replica") == warm);
        until(name, || {
            let ada = ureq::get(&server.url("/v1/users/ada")).call().unwrap();
            ada.header("x-spring-replica") == Some(warm.as_str())
        });
    }
    // What one has changed is in the next answer of another.
    let seen = |at: usize| servers[at].1.continues("ada", "x-spring-generation");
    assert_eq!([seen(0), seen(1), seen(2)], ["1", "1", "1"]);
    for (generation, by) in [(0, 0), (1, 2)] {
        servers[by].1.post("/v1/users/ada/rollback", &json!({"to": generation}));
        assert_eq!(
            [seen(0), seen(1), seen(2)],
            [generation, generation, generation].map(|g: u32| g.to_string())
        );
    }
    // One that is told to end takes itself off the list, and its users alone move.
    let at = servers.iter().position(|(name, _)| *name == warm).unwrap();
    let (_, mut ended) = servers.remove(at);
    ended.end();
    assert!(ended.child.wait().unwrap().success());
    until("who has ended is off the list", || !known().contains(&warm));
    let after = |(first, second): &(String, Option<String>)| match *first == warm {
        true => second.clone().unwrap(),
        false => first.clone(),
    };
    let after: Vec<String> = before.iter().map(after).collect();
    for (name, server) in &servers {
        until(name, || {
            let routes = server.routes(&users);
            routes.into_iter().map(|(first, _)| first).collect::<Vec<_>>() == after
        });
        until(name, || server.continues("ada", "x-spring-replica") == second);
    }
    // One that is killed is missed, and the next one removes it.
    let at = servers.iter().position(|(name, _)| *name == second).unwrap();
    let (_, mut killed) = servers.remove(at);
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    let (name, last) = &servers[0];
    until("who is killed is gone", || last.route("ada") == ((*name).to_owned(), None));
    until("nothing is left of it", || known() == [*name]);
    until("everybody is sent to the last", || last.sees() == BTreeSet::from([(*name).to_owned()]));
}
