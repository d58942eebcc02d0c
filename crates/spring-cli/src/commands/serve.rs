//! `spring serve`

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use spring_core::{
    Access, Error, LanguageModel, Store, check_base, record::LearnedPeriod, spring_memory::UserId,
    spring_store::Error as StoreError,
};
use spring_engine::{Engine, EngineConfig, Judge, LearningPolicy};
use spring_eval::{Change, change};
use spring_serve::{Limits, ServeConfig, Server, Shutdown, UnknownUsers};

use crate::{
    args::{self, Args, ServeArgs},
    embedded, interrupt, output,
    serve::{AuditLog, Leaving, STILL_ASKED, Served, kv_cache},
    session,
};

pub fn run(args: &Args, command: &ServeArgs) -> Result<()> {
    let path = &command.state.state;
    let audit = command.audit.audit.as_deref().map(AuditLog::open).transpose()?;
    let store = session::open(path, Access::ReadWrite)?;
    let name = command.model.clone().unwrap_or_else(|| store.settings().model.clone());
    let model = embedded::load_model(&name, args)?;
    check_base(&model, &store)?;
    let rows = usize::from(command.rows);
    let rows_of_text = match store.settings().config.fusion.contrasting() {
        Some(_) => 3,
        None => 2,
    };
    ensure!(
        rows >= rows_of_text,
        "--rows {rows}: a text that is contrasted with the base and whose gate is open takes \
         {rows_of_text} rows; give at least as many, or set fusion.contrast to 0"
    );
    let shape = model.config().clone();
    let caches = [command.cache, command.prefix_cache];
    let positions = kv_cache::positions(&shape, command.kv_cache, caches)?;
    let (model, store): (Arc<dyn LanguageModel>, Arc<Store>) = (Arc::new(model), Arc::from(store));

    let policy = LearningPolicy::default()
        .with_pending(command.adapt_pending)
        .with_idle(Duration::from_secs(command.adapt_idle));
    let config = EngineConfig::default()
        .with_rows(rows)
        .with_tokens(positions)
        .with_choices((rows / rows_of_text).min(16))
        .with_cache(u64::from(command.cache) << 20)
        .with_prefixes(u64::from(command.prefix_cache) << 20)
        .with_learning((!command.no_adapt).then_some(policy))
        .with_judge(Some(judge(store.clone())));
    let (waiting, waiting_per_key, choices) =
        (config.waiting, config.waiting_per_key, config.choices);
    let engine = Engine::start(model, store, config)?;
    for name in &command.pin {
        let user = UserId::new(name.clone()).with_context(|| format!("--pin {name}"))?;
        engine.pin(&user);
        // It is read now, so that the first answer does not wait for it.
        let read = engine.person(&user);
        if matches!(read, Err(Error::Store(StoreError::UnknownUser { .. }))) {
            // The others are to be answered after a restart, too.
            output::say(&format!("spring: --pin {name}: there is no such user, as yet"));
            continue;
        }
        read.with_context(|| format!("--pin {name}"))?;
    }
    let served = Arc::new(Served::new(engine, shape, &name, args.device.name(), audit)?);

    let drain = Duration::from_secs(command.drain);
    let limits = Limits::default()
        .with_drain_time(drain)
        .with_choices(u32::try_from(choices).unwrap_or(1))
        // The engine's queue is the one that is full first.
        .with_answers(2 * waiting)
        .with_answers_per_key(2 * waiting_per_key)
        .with_requests_per_minute(command.requests_per_minute)
        .with_requests_at_once(command.requests_at_once);
    let config = ServeConfig::default()
        .with_listen(command.listen)
        .with_insecure(command.insecure)
        .with_hosts(command.host.clone())
        .with_origins(command.origin.clone())
        .with_unknown_users(match command.unknown_users {
            args::UnknownUsers::Refuse => UnknownUsers::Refuse,
            args::UnknownUsers::Base => UnknownUsers::Base,
        })
        .with_limits(limits);
    let server = Server::bind(config, served.clone())?;
    let leaving = match &command.advertise {
        Some(url) => Some(served.advertise(url, rows)?),
        None => None,
    };
    let shutdown = server.shutdown();
    let is_told = AtomicBool::new(false);
    interrupt::call(move || match (&leaving, is_told.swap(true, Ordering::SeqCst)) {
        (Some(leaving), false) => leave(leaving, &shutdown),
        (None, false) => shutdown.shut_down(),
        // The second time what still runs is cut, though the server may not have begun to drain.
        (_, true) => {
            shutdown.shut_down();
            shutdown.shut_down();
        }
    });
    if !args.quiet {
        output::say(&format!("spring: keys and values of up to {positions} tokens at once"));
    }
    let address = server.address();
    match args.json {
        true => output::json(&json!({"listening": address.to_string()}))?,
        false => output::line(&format!("listening on http://{address}"))?,
    }
    server.run();
    served.drain(Duration::ZERO);
    Ok(())
}

/// Shuts a server down once the others have heard that it leaves: until then they send people to
/// it, who would be refused. Does not wait.
fn leave(leaving: &Leaving, shutdown: &Shutdown) {
    leaving.leave();
    shutdown.leave();
    let server = shutdown.clone();
    let wait = thread::Builder::new().name("leaving".into()).spawn(move || {
        thread::sleep(STILL_ASKED);
        server.shut_down();
    });
    if wait.is_err() {
        shutdown.shut_down();
    }
}

/// What predicts the texts that were held out worse than before is not kept, as with
/// `spring adapt`.
fn judge(store: Arc<Store>) -> Judge {
    Judge::with_model(move |model, user, before, learned: &[LearnedPeriod]| {
        let periods: Vec<u32> = learned.iter().map(|learned| learned.record.period).collect();
        let change = change(model, &store, user, before, &periods);
        let change = change.map_err(|error| error.to_string())?;
        Ok(!change.as_ref().is_some_and(Change::is_worse))
    })
}
