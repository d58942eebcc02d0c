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
    prompt: String,
    /// Whether its prompt is a question of its own, and not that of a text.
    is_question: bool,
    /// Whether it must be on record: nothing was asked to be forgotten since.
    is_owed: bool,
}

/// What is kept of an answer as an interaction: a conversation, or what was really used.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kept {
    /// Acknowledged: it must be there, and where it is known so must be what it says.
    Owed(Option<String>),
    /// It may be there: the request that kept it, or removed it, has no answer.
    Perhaps,
    /// Acknowledged to be forgotten: it must not be there.
    Gone,
}

/// The first text of an answer.
struct Answer {
    id: String,
    model: String,
    text: String,
}

impl Answer {
    /// Reads it; `None` if it did not come to its end.
    fn read(reply: &Reply, is_stream: bool) -> Result<Option<Self>> {
        let of = |value: &Value, name: &str| -> Result<String> {
            Ok(value[name].as_str().with_context(|| format!("an answer without {name}"))?.into())
        };
        if !is_stream {
            let whole = reply.json()?;
            let text = of(&whole["choices"][0]["message"], "content")?;
            return Ok(Some(Self { id: of(&whole, "id")?, model: of(&whole, "model")?, text }));
        }
        let mut events = reply.body.lines().filter_map(|line| line.strip_prefix("data: "));
        if events.next_back() != Some("[DONE]") {
            return Ok(None);
        }
        let mut answer = None;
        for event in events {
            let chunk: Value = serde_json::from_str(event)?;
            let (id, model) = (of(&chunk, "id")?, of(&chunk, "model")?);
            let answer = answer.get_or_insert(Self { id, model, text: String::new() });
            for choice in chunk["choices"].as_array().into_iter().flatten() {
                if choice["index"] == 0 {
                    answer.text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
                }
            }
        }
        Ok(Some(answer.context("a stream without an event")?))
    }
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
    /// What was kept of answers, by the id of the interaction.
    kept: BTreeMap<String, Kept>,
    /// Whether conversations are kept; `None` where that was said and not acknowledged.
    consent: Option<bool>,
    /// Whether a conversation may have been kept whose answer never came.
    has_lost_answers: bool,
    /// Questions and final texts so far.
    said: u32,
    pub account: Account,
}

/// What is there of a person.
#[derive(Debug, Default)]
struct There {
    texts: BTreeSet<u32>,
    /// What responses say that were kept of answers, by id.
    kept: BTreeMap<String, String>,
}

/// The most new tokens of a conversation that may be kept. What is kept is not forgotten with a
/// text that it quotes, and with so few it quotes none.
const SHORT: u32 = 4;

impl Person {
    /// `sentences` is how long the instructions are that stand above half of their questions.
    pub fn new(name: &'static str, model: &str, sentences: usize) -> Self {
        Self {
            name,
            model: model.into(),
            instructions: "Be short, and kind. ".repeat(sentences),
            texts: BTreeMap::new(),
            answers: Vec::new(),
            kept: BTreeMap::new(),
            consent: Some(false),
            has_lost_answers: false,
            said: 0,
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

    /// A text that no other is like, and that no text that is forgotten is quoted in.
    fn new_words(&mut self, what: &str) -> String {
        self.said += 1;
        format!("{what} {CANARY}-{}-said-{}.", self.name, self.said)
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
            67..71 => self.agree(address, rng),
            71..77 => self.correct(address, rng),
            77..80 => self.go_back(address, rng),
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

    fn question(&self, prompt: &str, rng: &mut impl Rng) -> Value {
        let mut messages = Vec::new();
        if rng.random_bool(0.5) {
            messages.push(json!({"role": "system", "content": self.instructions}));
        }
        messages.push(json!({"role": "user", "content": prompt}));
        json!({
            "model": format!("{}:{}", self.model, self.name), "messages": messages,
            "max_tokens": rng.random_range(1..12), "seed": rng.random_range(0..1000),
            "n": if rng.random_bool(0.2) { 2 } else { 1 }, "stream": rng.random_bool(0.4),
        })
    }

    fn ask(&mut self, address: &str, rng: &mut impl Rng) -> Result<bool> {
        let Some(number) = self.one_of(Fate::Kept, rng) else { return Ok(true) };
        let may_be_kept = self.consent != Some(false);
        let is_question = may_be_kept || rng.random_bool(0.5);
        let prompt = match is_question {
            true => self.new_words("What of the sea?"),
            false => self.prompt(number),
        };
        let mut question = self.question(&prompt, rng);
        if may_be_kept {
            question["max_tokens"] = json!(rng.random_range(1..=SHORT));
        }
        let reply = server::request(address, "POST", "/v1/chat/completions", Some(&question));
        let reply = self.answered(reply, &[200])?;
        if reply.as_ref().is_some_and(|reply| reply.status != 200) {
            return Ok(true);
        }
        let is_stream = question["stream"] == true;
        let answer = reply.map(|reply| Answer::read(&reply, is_stream)).transpose()?.flatten();
        let Some(Answer { id, model, text }) = answer else {
            self.has_lost_answers |= may_be_kept;
            return Ok(false);
        };
        let asked = question["model"].as_str();
        ensure!(Some(&*model) == asked, "{model} answers for {asked:?}");
        match self.consent {
            Some(true) if !text.trim().is_empty() => {
                self.kept.insert(format!("{id}/0"), Kept::Owed(Some(text)));
                self.account.conversations += 1;
            }
            None => drop(self.kept.insert(format!("{id}/0"), Kept::Perhaps)),
            Some(_) => {}
        }
        self.answers.push(Answered { id, prompt, is_question, is_owed: true });
        self.account.answers += 1;
        Ok(true)
    }

    /// Says whether conversations are kept from now on.
    fn agree(&mut self, address: &str, rng: &mut impl Rng) -> Result<bool> {
        let (before, yes) = (self.consent.take(), rng.random_bool(0.7));
        let body = json!({"keep_conversations": yes});
        let reply = server::request(address, "PUT", &self.path("/consent"), Some(&body));
        let Some(reply) = self.answered(reply, &[200])? else { return Ok(false) };
        self.consent = if reply.status == 200 { Some(yes) } else { before };
        self.account.consents += u64::from(reply.status == 200);
        Ok(true)
    }

    /// Sends what was really used of an answer.
    fn correct(&mut self, address: &str, rng: &mut impl Rng) -> Result<bool> {
        let questions = self.answers.iter().filter(|answer| answer.is_question);
        let Some(id) = questions.map(|answer| answer.id.clone()).choose(rng) else {
            return Ok(true);
        };
        let text = self.new_words("What I sent in the end:");
        let kept_as = format!("{id}/0");
        let before = self.kept.get(&kept_as).cloned();
        let meanwhile = match before {
            Some(Kept::Owed(_)) => Kept::Owed(None),
            _ => Kept::Perhaps,
        };
        self.kept.insert(kept_as.clone(), meanwhile);
        let body = json!({"response_id": id, "choice": 0, "text": text});
        let reply = server::request(address, "POST", &self.path("/feedback"), Some(&body));
        // The record may be gone, and the first text may be learned.
        let Some(reply) = self.answered(reply, &[200, 404, 409])? else { return Ok(false) };
        match (reply.status, before) {
            (200, _) => {
                self.kept.insert(kept_as, Kept::Owed(Some(text)));
                self.account.feedback += 1;
            }
            (_, Some(before)) => drop(self.kept.insert(kept_as, before)),
            (_, None) => drop(self.kept.remove(&kept_as)),
        }
        Ok(true)
    }

    /// Takes another generation into use.
    fn go_back(&mut self, address: &str, rng: &mut impl Rng) -> Result<bool> {
        let reply = server::request(address, "GET", &self.path("/generations"), None);
        let Some(reply) = self.answered(reply, &[200, 404])? else { return Ok(false) };
        if reply.status != 200 {
            return Ok(true);
        }
        let list = reply.json()?;
        let numbers = list["data"].as_array().context("no list")?.iter();
        let numbers = numbers.filter_map(|generation| generation["number"].as_u64());
        let to = numbers.chain([0]).choose(rng).unwrap_or(0);
        let body = json!({"to": to});
        let reply = server::request(address, "POST", &self.path("/rollback"), Some(&body));
        // It may have been pruned, or be in use.
        let Some(reply) = self.answered(reply, &[200, 404, 409])? else { return Ok(false) };
        self.account.rollbacks += u64::from(reply.status == 200);
        Ok(true)
    }

    /// Asks for a long answer, and goes before its end.
    fn leave(&mut self, address: &str, rng: &mut impl Rng) -> Result<bool> {
        let Some(number) = self.one_of(Fate::Kept, rng) else { return Ok(true) };
        let prompt = self.prompt(number);
        let mut question = self.question(&prompt, rng);
        (question["stream"], question["max_tokens"]) = (json!(true), json!(60));
        // It may come to its end, and with it to a text that is to be forgotten.
        question["store"] = json!(false);
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
        let before = (self.texts.clone(), self.kept.clone(), self.consent.take());
        self.leaving(&all);
        let kept = self.kept.values_mut().filter(|kept| **kept != Kept::Gone);
        kept.for_each(|kept| *kept = Kept::Perhaps);
        let reply = server::request(address, "DELETE", &self.path(""), None);
        let Some(reply) = self.answered(reply, &[200, 404])? else { return Ok(false) };
        if reply.status == 200 {
            self.texts.values_mut().for_each(|fate| *fate = Fate::Forgotten);
            self.kept.values_mut().for_each(|kept| *kept = Kept::Gone);
            (self.consent, self.has_lost_answers) = (Some(false), false);
            self.account.users_forgotten += 1;
        } else {
            (self.texts, self.kept, self.consent) = before;
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
            let is_there = there.texts.contains(number);
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
        let mut texts = there.texts.iter();
        if let Some(unknown) = texts.find(|number| !self.texts.contains_key(number)) {
            bail!("user {} has a text {unknown} that nobody sent", self.name);
        }
        self.settle_kept(there.kept)?;
        self.settle_consent(address)?;
        self.settle_answers(address)
    }

    /// Compares what is there of answers with what was acknowledged.
    fn settle_kept(&mut self, mut there: BTreeMap<String, String>) -> Result<()> {
        let name = self.name;
        for (id, kept) in &mut self.kept {
            let now = match (&*kept, there.remove(id)) {
                (Kept::Owed(_), None) => {
                    bail!("{id} of user {name} was acknowledged to be kept and is lost")
                }
                (Kept::Gone, Some(_)) => bail!("{id} of user {name} was forgotten and is back"),
                (Kept::Owed(Some(expected)), Some(is)) if is != *expected => {
                    bail!("{id} of user {name} is {is:?}, not {expected:?}")
                }
                (_, Some(is)) => Kept::Owed(Some(is)),
                (_, None) => Kept::Gone,
            };
            *kept = now;
        }
        for (id, is) in there {
            ensure!(self.has_lost_answers, "{id} of user {name} was kept without consent");
            self.kept.insert(id, Kept::Owed(Some(is)));
        }
        self.has_lost_answers = false;
        Ok(())
    }

    fn settle_consent(&mut self, address: &str) -> Result<()> {
        let reply = server::request(address, "GET", &self.path("/consent"), None)?;
        let said = match reply.status {
            200 => reply.json()?["keep_conversations"].as_bool().context("no consent")?,
            404 => false,
            status => bail!("status {status}: {}", reply.body),
        };
        let acknowledged = self.consent.replace(said);
        ensure!(
            acknowledged.is_none_or(|acknowledged| acknowledged == said),
            "the consent of user {} is {said}, and {acknowledged:?} was acknowledged",
            self.name
        );
        Ok(())
    }

    /// What is there.
    fn there(&self, address: &str) -> Result<There> {
        let (mut there, mut after) = (There::default(), String::new());
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
                if last.starts_with("chatcmpl-") {
                    let response = text["response"].as_str().context("no response")?;
                    let is_new = there.kept.insert(last.into(), response.into()).is_none();
                    ensure!(is_new, "{last} is there twice");
                    continue;
                }
                let number = last.trim_end_matches('.').rsplit('-').next();
                let number = number.and_then(|number| number.parse().ok()).context("an odd id")?;
                ensure!(last == self.canary(number), "an odd id: {last}");
                ensure!(there.texts.insert(number), "text {number} is there twice");
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
            let Answered { id, prompt, is_owed, .. } = answer;
            match reply.status {
                404 => {
                    ensure!(!is_owed, "answer {id} of user {} is lost", self.name);
                    gone.insert(id.clone());
                }
                200 => {
                    let is_own = reply.json()?["prompt"] == **prompt;
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
