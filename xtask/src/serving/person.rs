//! A person who uses a server, and their account of what it owes them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
};

use anyhow::{Context, Result, bail, ensure};
use rand::{Rng, seq::IteratorRandom};
use serde_json::{Value, json};

use super::{
    account::Account,
    server::{self, Reply},
};

/// What only people write; a text's id, prompt and response have it with the person's name and the
/// text's number.
const CANARY: &str = "canary";

/// Names that no model makes up by chance.
pub const NAMES: [&str; 12] = [
    "alder", "birch", "cedar", "dogwood", "elder", "filbert", "ginkgo", "hawthorn", "juniper",
    "larch", "maple", "rowan",
];

/// What became of a text, as far as its writer was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Sent, and never acknowledged.
    Sent,
    /// Acknowledged: it must be there.
    Kept,
    /// Asked to be forgotten, and never acknowledged.
    Leaving,
    /// Acknowledged to be forgotten: it must be nowhere.
    Forgotten,
}

/// An answer that came to its end.
#[derive(Debug)]
struct Answered {
    id: String,
    /// The text whose prompt was asked again.
    number: u32,
    /// Whether it must be on record: nothing was asked to be forgotten since.
    is_owed: bool,
}

/// A person. What they do is one thing after the other.
#[derive(Debug)]
pub struct Person {
    name: &'static str,
    model: String,
    /// Stands above half of their questions.
    instructions: String,
    texts: BTreeMap<u32, Fate>,
    answers: Vec<Answered>,
    pub account: Account,
}

impl Person {
    /// `sentences` is how long the instructions are that stand above half of their questions.
    pub fn new(name: &'static str, model: &str, sentences: usize) -> Self {
        Self {
            name,
            model: model.into(),
            instructions: "Be short, and kind. ".repeat(sentences),
            texts: BTreeMap::new(),
            answers: Vec::new(),
            account: Account::default(),
        }
    }

    fn canary(&self, number: u32) -> String {
        format!("{CANARY}-{}-{number}.", self.name)
    }

    fn prompt(&self, number: u32) -> String {
        let subjects = ["the sea", "a train", "my dog", "old films", "soup"];
        format!("About {}, {}", subjects[number as usize % subjects.len()], self.canary(number))
    }

    fn text(&self, number: u32) -> Value {
        let canary = self.canary(number);
        json!({
            "id": canary, "prompt": self.prompt(number),
            "response": format!("{canary} {} likes that, and says so.", self.name),
        })
    }

    fn path(&self, rest: &str) -> String {
        format!("/v1/users/{}{rest}", self.name)
    }

    fn one_of(&self, fate: Fate, rng: &mut impl Rng) -> Option<u32> {
        self.texts.iter().filter(|(_, own)| **own == fate).map(|(n, _)| *n).choose(rng)
    }

    /// Does something, and of a hundred times forgets a text `forgets` times and everything once.
    /// False if the server did not answer.
    ///
    /// # Errors
    ///
    /// If an answer is not what this person is owed.
    pub fn act(&mut self, address: &str, forgets: u32, rng: &mut impl Rng) -> Result<bool> {
        let done = match rng.random_range(0..100) {
            0 => self.forget_everything(address),
            number if number <= forgets => self.forget(address, rng),
            1..45 => self.ask(address, rng),
            45..55 => self.leave(address, rng),
            55..62 => self.adapt(address),
            62..67 => self.look(address),
            _ => self.write(address, rng),
        };
        let is_answered = done.with_context(|| format!("user {}", self.name))?;
        self.account.unanswered += u64::from(!is_answered);
        Ok(is_answered)
    }

    /// What a request came to: `None` if no answer came.
    fn answered(&mut self, reply: Result<Reply>, expected: &[u16]) -> Result<Option<Reply>> {
        let Ok(reply) = reply else { return Ok(None) };
        self.check_own(&reply.body)?;
        let is_for_now = matches!(reply.status, 429 | 503);
        self.account.refused += u64::from(is_for_now);
        ensure!(
            is_for_now || expected.contains(&reply.status),
            "status {}: {}",
            reply.status,
            reply.body
        );
        Ok(Some(reply))
    }

    /// Refuses what another person wrote.
    fn check_own(&self, said: &str) -> Result<()> {
        let others = NAMES.iter().filter(|name| **name != self.name);
        let mut others = others.filter(|name| said.contains(&format!("{CANARY}-{name}-")));
        match others.next() {
            None => Ok(()),
            Some(other) => bail!("a text of {other}: {said}"),
        }
    }

    /// Sends new texts, or again those of which nothing was heard.
    fn write(&mut self, address: &str, rng: &mut impl Rng) -> Result<bool> {
        let again = self.one_of(Fate::Sent, rng).filter(|_| rng.random_bool(0.5));
        let numbers: Vec<u32> = match again {
            Some(number) => vec![number],
            None => {
                let next = self.texts.keys().last().map_or(0, |last| last + 1);
                (next..next + rng.random_range(1..4)).collect()
            }
        };
        let texts: Vec<Value> = numbers.iter().map(|number| self.text(*number)).collect();
        self.texts.extend(numbers.iter().map(|number| (*number, Fate::Sent)));
        let body = json!({"interactions": texts});
        let reply = server::request(address, "POST", &self.path("/interactions"), Some(&body));
        let Some(reply) = self.answered(reply, &[200])? else { return Ok(false) };
        if reply.status == 200 {
            self.texts.extend(numbers.iter().map(|number| (*number, Fate::Kept)));
            self.account.texts += numbers.len() as u64;
        }
        Ok(true)
    }

    fn question(&self, number: u32, rng: &mut impl Rng) -> Value {
        let mut messages = Vec::new();
        if rng.random_bool(0.5) {
            messages.push(json!({"role": "system", "content": self.instructions}));
        }
        messages.push(json!({"role": "user", "content": self.prompt(number)}));
        json!({
            "model": format!("{}:{}", self.model, self.name), "messages": messages,
            "max_tokens": rng.random_range(1..12), "seed": rng.random_range(0..1000),
            "n": if rng.random_bool(0.2) { 2 } else { 1 }, "stream": rng.random_bool(0.4),
        })
    }

    fn ask(&mut self, address: &str, rng: &mut impl Rng) -> Result<bool> {
        let Some(number) = self.one_of(Fate::Kept, rng) else { return Ok(true) };
        let question = self.question(number, rng);
        let reply = server::request(address, "POST", "/v1/chat/completions", Some(&question));
        let Some(reply) = self.answered(reply, &[200])? else { return Ok(false) };
        if reply.status != 200 {
            return Ok(true);
        }
        let first = match question["stream"] == true {
            false => reply.json()?,
            true => {
                let mut events = reply.body.lines().filter_map(|line| line.strip_prefix("data: "));
                let first = events.next().context("a stream without an event")?;
                if events.next_back() != Some("[DONE]") {
                    return Ok(false);
                }
                serde_json::from_str(first)?
            }
        };
        let asked = question["model"].as_str();
        ensure!(first["model"].as_str() == asked, "{} answers for {asked:?}", first["model"]);
        let id = first["id"].as_str().context("an answer without an id")?.to_owned();
        self.answers.push(Answered { id, number, is_owed: true });
        self.account.answers += 1;
        Ok(true)
    }

    /// Asks for a long answer, and goes before its end.
    fn leave(&mut self, address: &str, rng: &mut impl Rng) -> Result<bool> {
        let Some(number) = self.one_of(Fate::Kept, rng) else { return Ok(true) };
        let mut question = self.question(number, rng);
        (question["stream"], question["max_tokens"]) = (json!(true), json!(60));
        let sent = server::send(address, "POST", "/v1/chat/completions", Some(&question));
        let Ok(mut stream) = sent else { return Ok(false) };
        // What lies unread when a connection is closed makes an error of it at the other end.
        let mut some = vec![0; rng.random_range(0..600)];
        let read = stream.read(&mut some);
        self.account.cancelled += 1;
        Ok(read.is_ok())
    }

    fn adapt(&mut self, address: &str) -> Result<bool> {
        let reply = server::request(address, "POST", &self.path("/adapt"), Some(&json!({})));
        let Some(reply) = self.answered(reply, &[202, 404])? else { return Ok(false) };
        self.account.adaptations += u64::from(reply.status == 202);
        Ok(true)
    }

    /// What a person's page reads, which is there at any time.
    fn look(&mut self, address: &str) -> Result<bool> {
        for rest in ["", "/periods", "/buffer", "/generations", "/adaptations"] {
            let reply = server::request(address, "GET", &self.path(rest), None);
            let Some(reply) = self.answered(reply, &[200, 404])? else { return Ok(false) };
            ensure!(reply.status != 503, "{rest} cannot be read: {}", reply.body);
        }
        Ok(true)
    }

    fn forget(&mut self, address: &str, rng: &mut impl Rng) -> Result<bool> {
        let Some(number) = self.one_of(Fate::Kept, rng) else { return Ok(true) };
        self.leaving(&[number]);
        let path = self.path(&format!("/interactions/{}", self.canary(number)));
        let reply = server::request(address, "DELETE", &path, None);
        let Some(reply) = self.answered(reply, &[200])? else { return Ok(false) };
        let fate = if reply.status == 200 { Fate::Forgotten } else { Fate::Kept };
        self.texts.insert(number, fate);
        self.account.forgotten += u64::from(reply.status == 200);
        Ok(true)
    }

    fn forget_everything(&mut self, address: &str) -> Result<bool> {
        let all: Vec<u32> = self.texts.keys().copied().collect();
        let before = self.texts.clone();
        self.leaving(&all);
        let reply = server::request(address, "DELETE", &self.path(""), None);
        let Some(reply) = self.answered(reply, &[200, 404])? else { return Ok(false) };
        if reply.status == 200 {
            self.texts.values_mut().for_each(|fate| *fate = Fate::Forgotten);
            self.account.users_forgotten += 1;
        } else {
            self.texts = before;
        }
        Ok(true)
    }

    /// From now on these texts may be gone, and with them answers: those that quote them, and those
    /// of generations that had learned them.
    fn leaving(&mut self, numbers: &[u32]) {
        for number in numbers {
            if let Some(fate) = self.texts.get_mut(number)
                && *fate != Fate::Forgotten
            {
                *fate = Fate::Leaving;
            }
        }
        self.answers.iter_mut().for_each(|answer| answer.is_owed = false);
    }

    /// Compares what is there with the account, and finds out what became of requests without an
    /// answer.
    ///
    /// # Errors
    ///
    /// If something is lost, came back, or is another's.
    pub fn settle(&mut self, address: &str) -> Result<()> {
        let there = self.there(address)?;
        for (number, fate) in &mut self.texts {
            let is_there = there.contains(number);
            match (*fate, is_there) {
                (Fate::Kept, false) => {
                    bail!("text {number} of user {} was acknowledged and is lost", self.name)
                }
                (Fate::Forgotten, true) => {
                    bail!("text {number} of user {} was forgotten and is back", self.name)
                }
                (Fate::Sent, true) => {
                    *fate = Fate::Kept;
                    self.account.arrived += 1;
                }
                (Fate::Leaving, true) => *fate = Fate::Kept,
                (Fate::Leaving, false) => *fate = Fate::Forgotten,
                _ => {}
            }
        }
        if let Some(unknown) = there.iter().find(|number| !self.texts.contains_key(number)) {
            bail!("user {} has a text {unknown} that nobody sent", self.name);
        }
        self.settle_answers(address)
    }

    /// The numbers of the texts that are there.
    fn there(&self, address: &str) -> Result<BTreeSet<u32>> {
        let (mut there, mut after) = (BTreeSet::new(), String::new());
        loop {
            let path = self.path(&format!("/interactions?limit=1000{after}"));
            let reply = server::request(address, "GET", &path, None)?;
            if reply.status == 404 {
                return Ok(there);
            }
            ensure!(reply.status == 200, "status {}: {}", reply.status, reply.body);
            self.check_own(&reply.body)?;
            let page = reply.json()?;
            let mut last = "";
            for text in page["data"].as_array().context("no list")? {
                last = text["id"].as_str().context("a text without an id")?;
                let number = last.trim_end_matches('.').rsplit('-').next();
                let number = number.and_then(|number| number.parse().ok()).context("an odd id")?;
                ensure!(last == self.canary(number), "an odd id: {last}");
                ensure!(there.insert(number), "text {number} is there twice");
            }
            if page["has_more"] != true {
                return Ok(there);
            }
            after = format!("&after={last}");
        }
    }

    fn settle_answers(&mut self, address: &str) -> Result<()> {
        let forgotten: Vec<String> = self.forgotten().collect();
        let mut answers = std::mem::take(&mut self.answers);
        let mut gone = BTreeSet::new();
        for answer in &answers {
            let path = self.path(&format!("/explain?response_id={}", answer.id));
            let reply = server::request(address, "GET", &path, None)?;
            self.check_own(&reply.body)?;
            let Answered { id, number, is_owed } = answer;
            match reply.status {
                404 => {
                    ensure!(!is_owed, "answer {id} of user {} is lost", self.name);
                    gone.insert(id.clone());
                }
                200 => {
                    let is_own = reply.json()?["prompt"] == self.prompt(*number);
                    ensure!(is_own, "answer {id} is to another question: {}", reply.body);
                    let quoted = forgotten.iter().find(|text| reply.body.contains(*text));
                    ensure!(quoted.is_none(), "answer {id} quotes {quoted:?}, which was forgotten");
                }
                status => bail!("status {status}: {}", reply.body),
            }
        }
        answers.retain(|answer| !gone.contains(&answer.id));
        self.answers = answers;
        Ok(())
    }

    /// What must be nowhere.
    pub fn forgotten(&self) -> impl Iterator<Item = String> {
        let gone = self.texts.iter().filter(|(_, fate)| **fate == Fate::Forgotten);
        gone.map(|(number, _)| self.canary(*number))
    }
}
