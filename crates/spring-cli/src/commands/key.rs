//! `spring key`

use anyhow::Result;
use jiff::Timestamp;
use serde_json::json;
use spring_core::{Access, ApiKey, KeyAccess, NewKey, spring_memory::UserId};
use spring_serve::new_key;

use crate::{
    args::{Args, KeyAddArgs, KeyListArgs, KeyRevokeArgs},
    output,
    serve::acted,
    session,
};

pub fn add(args: &Args, command: &KeyAddArgs) -> Result<()> {
    let path = &command.state.state;
    let store = session::open(path, Access::ReadWrite)?;
    let access = match &command.whose.user {
        Some(user) => KeyAccess::User(UserId::new(user.as_str())?),
        None if command.whose.admin => KeyAccess::Admin,
        None => KeyAccess::Gateway,
    };
    let new = NewKey::new(access)
        .with_label(command.label.clone())
        .with_requests_per_minute(command.requests_per_minute)
        .with_requests_at_once(command.requests_at_once);
    let log = command.audit.audit.as_deref();
    acted(log, "key.add", command.whose.user.as_deref(), |event| {
        let (token, hash) = new_key()?;
        let key = store.add_key(&hash.0, &new, Timestamp::now())?;
        event.object = Some(key.id.clone());
        // Before it is on record: nobody could show it again if that fails.
        show(args, &token, &key)
    })
}

fn show(args: &Args, token: &str, key: &ApiKey) -> Result<()> {
    if args.json {
        return output::json(&json!({"key": token, "made": key}));
    }
    output::say(&format!(
        "spring: {}, {}; the key is shown this once, as the state keeps its hash alone",
        key.id,
        whose(key)
    ));
    // Alone on standard output, for a program that takes it.
    output::line(token)
}

pub fn list(args: &Args, command: &KeyListArgs) -> Result<()> {
    let store = session::open(&command.state.state, Access::ReadOnly)?;
    let keys = store.keys()?;
    if args.json {
        return keys.iter().try_for_each(output::json);
    }
    if keys.is_empty() {
        return output::line("no keys; `spring key add` makes one");
    }
    let headings = ["key", "whose", "label", "made", "a minute", "at once", "revoked"];
    let mut table = output::table(&headings, &[2]);
    let day = |time: Timestamp| time.strftime("%Y-%m-%d").to_string();
    let limit = |limit: Option<u32>| match limit {
        None => "–".to_owned(),
        Some(0) => "any".to_owned(),
        Some(limit) => limit.to_string(),
    };
    for key in &keys {
        let record = &key.record;
        table.add_row([
            key.id.clone(),
            whose(key),
            output::excerpt(&record.label, 40),
            day(record.made),
            limit(record.requests_per_minute),
            limit(record.requests_at_once),
            record.revoked.map_or_else(String::new, day),
        ]);
    }
    output::line(&table.to_string())
}

pub fn revoke(args: &Args, command: &KeyRevokeArgs) -> Result<()> {
    let store = session::open(&command.state.state, Access::ReadWrite)?;
    let (log, id) = (command.audit.audit.as_deref(), command.id.as_str());
    let key = acted(log, "key.revoke", None, |event| {
        event.object = Some(id.to_owned());
        Ok(store.revoke_key(id, Timestamp::now())?)
    })?;
    match args.json {
        true => output::json(&json!({"revoked": key})),
        false => output::line(&format!(
            "{}, {}, opens nothing any more; a server hears of it within a second",
            key.id,
            whose(&key)
        )),
    }
}

fn whose(key: &ApiKey) -> String {
    match &key.record.access {
        KeyAccess::User(user) => format!("user {}", output::excerpt(user.as_str(), 40)),
        KeyAccess::Gateway => "gateway".into(),
        KeyAccess::Admin => "admin".into(),
        _ => "somebody".into(),
    }
}
