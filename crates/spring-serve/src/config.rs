//! The server's settings and limits.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use spring_numerics::setters;

/// What a [`Server`](crate::Server) is told.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ServeConfig {
    /// Where it listens: 127.0.0.1:8080. Port 0 takes any that is free.
    pub listen: SocketAddr,
    /// Lets everybody in on an address other than loopback, too, where there are no keys.
    pub insecure: bool,
    /// Names that `Host` may have, besides `localhost` and addresses: those that a reverse proxy or
    /// DNS give this server. Without port.
    pub hosts: Vec<String>,
    /// Origins of pages from elsewhere that may call the server, as `https://chat.example.org`.
    pub origins: Vec<String>,
    /// What becomes of a request for a user who is not there.
    pub unknown_users: UnknownUsers,
    /// Its limits.
    pub limits: Limits,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            insecure: false,
            hosts: Vec::new(),
            origins: Vec::new(),
            unknown_users: UnknownUsers::default(),
            limits: Limits::default(),
        }
    }
}

setters! {
    ServeConfig {
        with_listen(listen: SocketAddr);
        with_insecure(insecure: bool);
        with_hosts(hosts: Vec<String>);
        with_origins(origins: Vec<String>);
        with_unknown_users(unknown_users: UnknownUsers);
        with_limits(limits: Limits);
    }
}

/// What becomes of a request for a user who is not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnknownUsers {
    /// 404 `user_not_found`.
    #[default]
    Refuse,
    /// The base answers; `model` of the answer is the base's name, and the header
    /// `x-spring-unknown-user: true` says so.
    Base,
}

/// Bounds on what one client, and all of them, can take.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a request's body: 4 MiB.
    pub body: usize,
    /// Bytes of all bodies that are read and worked on at once: 64 MiB, and one body always fits.
    /// What is made of a body takes up to 32 times its bytes.
    pub bodies: usize,
    /// Bytes of an import: 1 GiB.
    pub import: u64,
    /// Bytes of a request's head: 64 KiB.
    pub head: usize,
    /// Headers of a request: 100.
    pub headers: usize,
    /// Time for a request's head, and for the next one on the same connection: 75 s, longer than
    /// proxies keep connections that are idle, so that it is them who close one.
    pub head_time: Duration,
    /// Time for a request's body: 60 s.
    pub body_time: Duration,
    /// Time for a whole answer, the queue included: 10 minutes, after which clients give up.
    pub answer_time: Duration,
    /// Time in which a client must take a piece of an answer: 60 s.
    pub write_time: Duration,
    /// Time that running answers have when the server goes down: 30 s.
    pub drain_time: Duration,
    /// Silence in a stream after which a comment is sent: 10 s.
    pub keep_alive: Duration,
    /// Time without an event after which a chunk without text is sent: 60 s. Some clients give up
    /// 120 s after the last chunk, and do not count comments.
    pub empty_chunk: Duration,
    /// Connections: 1024.
    pub connections: usize,
    /// Answers that wait or are written, of all keys: 256. Each choice and each prompt counts.
    pub answers: usize,
    /// The same of one key: 64.
    pub answers_per_key: usize,
    /// Requests of one key in a minute, unless the key says otherwise; 0 sets no limit.
    pub requests_per_minute: u32,
    /// Requests of one key that are open at once, unless the key says otherwise; 0 sets no limit.
    /// An adaptation that was asked for is one of them while it runs, where answers, embeddings or
    /// other adaptations are asked for; every other request is let in beside it.
    pub requests_at_once: u32,
    /// Calls of the service at once: 64.
    pub calls: usize,
    /// Long calls at once, as forgetting, imports and exports: 4.
    pub long_calls: usize,
    /// Choices of a request: 16.
    pub choices: u32,
    /// Prompts of a request for completions: 64.
    pub prompts: usize,
    /// Inputs of a request for embeddings: 2048.
    pub inputs: usize,
    /// New tokens that a request may ask for: 32768.
    pub max_tokens: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 4 << 20,
            bodies: 64 << 20,
            import: 1 << 30,
            head: 64 << 10,
            headers: 100,
            head_time: Duration::from_secs(75),
            body_time: Duration::from_secs(60),
            answer_time: Duration::from_secs(600),
            write_time: Duration::from_secs(60),
            drain_time: Duration::from_secs(30),
            keep_alive: Duration::from_secs(10),
            empty_chunk: Duration::from_secs(60),
            connections: 1024,
            answers: 256,
            answers_per_key: 64,
            requests_per_minute: 0,
            requests_at_once: 0,
            calls: 64,
            long_calls: 4,
            choices: 16,
            prompts: 64,
            inputs: 2048,
            max_tokens: 32768,
        }
    }
}

setters! {
    Limits {
        with_body(body: usize);
        with_bodies(bodies: usize);
        with_import(import: u64);
        with_head(head: usize);
        with_headers(headers: usize);
        with_head_time(head_time: Duration);
        with_body_time(body_time: Duration);
        with_answer_time(answer_time: Duration);
        with_write_time(write_time: Duration);
        with_drain_time(drain_time: Duration);
        with_keep_alive(keep_alive: Duration);
        with_empty_chunk(empty_chunk: Duration);
        with_connections(connections: usize);
        with_answers(answers: usize);
        with_answers_per_key(answers_per_key: usize);
        with_requests_per_minute(requests_per_minute: u32);
        with_requests_at_once(requests_at_once: u32);
        with_calls(calls: usize);
        with_long_calls(long_calls: usize);
        with_choices(choices: u32);
        with_prompts(prompts: usize);
        with_inputs(inputs: usize);
        with_max_tokens(max_tokens: u32);
    }
}
