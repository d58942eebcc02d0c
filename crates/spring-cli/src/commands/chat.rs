//! `spring chat`: a conversation with a person's model.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use anyhow::{Context, Result, ensure};
use spring_core::{
    Access, Store, UserModel, UserVersion,
    prompt::Turn,
    record::{AnswerRecord, Ending},
};

use super::{explain, generate::Printer};
use crate::{
    args::{Args, ChatArgs},
    interrupt::{self, Interrupted},
    output,
    progress::Bars,
    session,
};

const HELP: &str = "\
/why    where the last answer came from
/base   the last question, answered by the base model alone
/undo   take back the last question and its answer
/new    begin a new conversation
/help   this list
/quit   end (so does Ctrl-D)";

/// The longest question, in bytes.
const LONGEST: u64 = 1 << 20;

pub fn run(args: &Args, command: &ChatArgs) -> Result<()> {
    let path = &command.state.state;
    // A state that cannot be written still answers; only the records are missing.
    let (store, writable) = match session::open(path, Access::ReadWrite) {
        Ok(store) => (store, true),
        Err(_) => (session::open(path, Access::ReadOnly)?, false),
    };
    let user = session::user_of(&store, command.user.as_deref(), path)?;
    explain::warn_of_base(&store, &user)?;
    let bars = Bars::new(args.quiet);
    bars.say("loading the model");
    let model = session::model_of(&store, args)?;
    let snapshot = store.recall(&user, None)?;
    let version = snapshot.version.clone();
    let mut config = store.settings().config.clone();
    if config.decoding.max_new_tokens.is_none() {
        config.decoding.max_new_tokens = session::own_length(&store, &user, &model)?;
    }
    let person = UserModel::of_snapshot(&model, store.settings(), snapshot)?;
    let person = person.with_config(config.clone());
    let base = UserModel::fresh(&model, config, None)?;
    bars.finish();
    let record = writable.then_some((&store as &Store, &version));
    let asked = session::latest_prompt(&store, &user)?;
    Chat { args, person, base, record, asked, turns: Vec::new(), last: None }.run()
}

struct Chat<'a> {
    args: &'a Args,
    person: UserModel<'a>,
    base: UserModel<'a>,
    /// Where answers are kept, and what they were made from.
    record: Option<(&'a Store, &'a UserVersion)>,
    /// How one of the person's texts was asked for.
    asked: Option<String>,
    turns: Vec<Turn>,
    last: Option<AnswerRecord>,
}

impl Chat<'_> {
    fn run(&mut self) -> Result<()> {
        let asks = io::stdin().is_terminal();
        if asks && !self.args.quiet {
            output::say("Type a question; /help lists what else can be typed.");
            if let Some(asked) = &self.asked {
                output::say(&format!(
                    "The person's texts answered such as this, so ask in the same way:\n  {}",
                    output::excerpt(asked, 76)
                ));
            }
        }
        loop {
            if asks {
                let _ = write!(io::stderr(), "\n> ").and_then(|()| io::stderr().flush());
            }
            let Some(line) = next_line(&mut io::stdin().lock())? else { return Ok(()) };
            match line.trim() {
                "" => {}
                "/quit" | "/exit" => return Ok(()),
                "/help" | "/?" => output::line(HELP)?,
                "/new" => {
                    (self.turns, self.last) = (Vec::new(), None);
                    output::line("a new conversation")?;
                }
                "/undo" => self.undo()?,
                "/why" => self.why()?,
                "/base" => self.answer_of_base()?,
                other if other.starts_with('/') => {
                    output::line(&format!("{}: unknown\n{HELP}", output::excerpt(other, 40)))?;
                }
                question => self.ask(question)?,
            }
            if interrupt::requested() {
                return Err(Interrupted.into());
            }
        }
    }

    fn ask(&mut self, question: &str) -> Result<()> {
        let mut printer = Printer::new(Bars::new(self.args.quiet), true);
        let answer = self.person.generate_after(&self.turns, question, &mut printer)?;
        printer.finish(&answer.text)?;
        answer.cuts.iter().for_each(|cut| output::say(&format!("spring: warning: {cut}")));
        if let Some((store, version)) = self.record
            && let Err(error) = store.record_answer(version, &answer)
        {
            output::say(&format!("spring: warning: this answer is not on record: {error}"));
        }
        if answer.ended != Ending::Stopped {
            let (prompt, response) = (question.to_owned(), answer.text.clone());
            self.turns.push(Turn { prompt, response });
        }
        self.last = Some(answer);
        Ok(())
    }

    fn answer_of_base(&mut self) -> Result<()> {
        let Some(last) = &self.last else { return output::line("nothing was asked yet") };
        // The conversation before the last question.
        let before = &self.turns[..self.turns.len().saturating_sub(1)];
        let mut printer = Printer::new(Bars::new(self.args.quiet), true);
        let answer = self.base.generate_after(before, &last.prompt, &mut printer)?;
        printer.finish(&answer.text)
    }

    fn why(&self) -> Result<()> {
        match &self.last {
            None => output::line("nothing was asked yet"),
            Some(answer) => {
                let texts = explain::by_seq(self.person.bank().texts().to_vec());
                explain::answer(answer, &texts, explain::Shown { rows: 0, terms: false })
            }
        }
    }

    fn undo(&mut self) -> Result<()> {
        self.last = None;
        match self.turns.pop() {
            None => output::line("nothing was asked yet"),
            Some(turn) => {
                output::line(&format!("taken back: {}", output::excerpt(&turn.prompt, 60)))
            }
        }
    }
}

/// The next line of the input; `None` at its end.
fn next_line(input: &mut impl BufRead) -> Result<Option<String>> {
    let mut bytes = Vec::new();
    let read = input.take(LONGEST + 1).read_until(b'\n', &mut bytes);
    if interrupt::requested() {
        return Err(Interrupted.into());
    }
    read.context("standard input")?;
    ensure!(bytes.len() as u64 <= LONGEST, "standard input: a line of more than {LONGEST} bytes");
    Ok((!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned()))
}
