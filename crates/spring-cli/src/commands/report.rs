//! `spring report`: a page about one person.

use std::collections::HashMap;

use anyhow::{Context, Result};
use spring_core::{
    Access, Store, StoredInteraction, Tokenize, UserModel,
    record::{AnswerRecord, PeriodRecord},
    spring_memory::UserId,
};
use spring_eval::evaluate_state;
use spring_model::AnyModel;
use spring_report::{UserReport, html};

use crate::{
    args::{Args, ReportArgs},
    embedded, files, interrupt, output,
    progress::Bars,
    session,
};

pub fn run(args: &Args, command: &ReportArgs) -> Result<()> {
    files::plain(&command.out)?;
    let path = &command.state.state;
    let store = session::open(path, Access::ReadOnly)?;
    let user = session::user_of(&store, command.user.as_deref(), path)?;
    let learned = store.period_records(&user, None)?;
    let newest = learned.last().context("nothing learned yet; run `spring adapt`")?;
    let mut texts = HashMap::new();
    for period in &learned {
        for member in store.members(&user, period.record.period)? {
            texts.insert(member.stored.seq, member.stored);
        }
    }
    let mut bars = Bars::new(args.quiet);
    bars.say("loading the model");
    let model = session::model_of(&store, args)?;
    bars.say("scoring the held-out texts");
    let losses = match evaluate_state(&model, &store, &user) {
        Err(spring_eval::Error::Core(error)) => interrupt::or_interrupted(Err(error))?,
        other => other?,
    };
    let person = UserModel::recall(&model, &store, &user, None)?;
    let mut config = person.config().clone();
    if config.decoding.max_new_tokens.is_none() {
        config.decoding.max_new_tokens = session::own_length(&store, &user, &model)?;
    }
    let person = person.with_config(config);
    let prompt = match &command.prompt {
        Some(prompt) => Some(prompt.clone()),
        None => latest_prompt(&store, &user, newest.record.period)?,
    };
    let answer = match &prompt {
        Some(prompt) => Some(interrupt::or_interrupted(person.generate(prompt, &mut bars))?),
        None => None,
    };
    bars.finish();
    let tokens = tokens_of(&model, answer.as_ref())?;
    let periods: Vec<PeriodRecord> = learned.into_iter().map(|learned| learned.record).collect();
    let page = html(&UserReport {
        user: &user,
        model: &model_in_words(&store.settings().model),
        periods: &periods,
        losses: &losses,
        texts: &texts,
        buffer: &person.memories().buffer,
        calibration: &person.memories().calibration,
        answer: answer.as_ref(),
        tokens: &tokens,
    })?;
    files::write_whole(&command.out, page.as_bytes())?;
    match args.quiet {
        true => Ok(()),
        false => output::line(&command.out.display().to_string()),
    }
}

/// The prompt of the person's latest text: something that they have answered themselves.
fn latest_prompt(store: &Store, user: &UserId, period: u32) -> Result<Option<String>> {
    let members = store.members(user, period)?;
    let order = |text: &StoredInteraction| (text.interaction.time, text.seq);
    let latest = members.into_iter().map(|member| member.stored).max_by_key(order);
    Ok(latest.map(|text| text.interaction.prompt).filter(|prompt| !prompt.trim().is_empty()))
}

/// The texts of the answer's tokens, one for each entry of its trace.
fn tokens_of(model: &AnyModel, answer: Option<&AnswerRecord>) -> Result<Vec<String>> {
    let trace = answer.into_iter().flat_map(|answer| &answer.trace);
    Ok(trace.map(|token| model.decode_text(&[token.token])).collect::<Result<_, _>>()?)
}

fn model_in_words(model: &str) -> String {
    match model {
        embedded::NAME => "the built-in model of 5 million parameters".into(),
        other => other.to_owned(),
    }
}
