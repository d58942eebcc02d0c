//! `spring search`

use anyhow::Result;
use serde_json::json;
use spring_core::{
    Access, HistorySearch, LanguageModel,
    spring_memory::{GraphOrigin, SearchFilter, SearchMode, Tokenizer},
};

use crate::{
    args::{Args, SearchArgs},
    files, interrupt,
    output::{self, excerpt},
    progress::Bars,
    session,
};

pub fn run(args: &Args, command: &SearchArgs) -> Result<()> {
    let path = &command.state.state;
    let mut store = session::open(path, Access::ReadOnly)?;
    let query = files::given(command.query.as_deref(), command.query_file.as_deref())?;
    let user = session::user_of(&store, command.user.as_deref(), path)?;
    let settings = store.settings().config.search.clone();
    let (mode, limit) =
        (command.mode.unwrap_or(settings.mode), command.limit.unwrap_or(settings.limit));
    store.user(&user)?;
    let model = match mode {
        SearchMode::Bm25 => None,
        _ => {
            // A state that cannot be written is searched all the same; the embeddings are computed
            // every time then.
            match session::open(path, Access::ReadWrite) {
                Ok(writable) => store = writable,
                Err(error) => {
                    output::say(&format!("spring: warning: embeddings are not kept: {error}"))
                }
            }
            Some(session::model_of(&store, args)?)
        }
    };
    let model = model.as_ref().map(|model| model as &dyn LanguageModel);
    let filter = SearchFilter::default()
        .with_from(command.since)
        .with_before(command.until)
        .with_periods(command.period.map(|period| period..=period));
    let mut bars = Bars::new(args.quiet);
    let stemmed = command.stem.map(Tokenizer::Stemmed);
    let opened =
        HistorySearch::open_with(model, &store, &user, mode, command.held_out, stemmed, &mut bars);
    bars.finish();
    let history = interrupt::or_interrupted(opened.map_err(|error| error.of_user(&user)))?;
    let found = history.search(model, &query, limit, &filter)?;
    if args.json {
        let graph = match history.graph() {
            GraphOrigin::NotNeeded => "not_needed",
            GraphOrigin::Loaded => "loaded",
            _ => "rebuilt",
        };
        return output::json(&json!({
            "user": user, "query": query, "mode": mode, "searched": history.len(),
            "embedded": history.embedded(), "graph": graph, "found": found
        }));
    }
    if found.is_empty() {
        let searched = output::count(history.len() as u64, "text");
        output::line(&format!("nothing found in {searched} of user {user}"))?;
        let held_out = store.user(&user)?.interactions.saturating_sub(history.len() as u64);
        if held_out > 0 {
            let texts = output::count(held_out, "text");
            output::line(&format!("--held-out also searches the {texts} held out to measure by"))?;
        }
        return match (mode, command.stem) {
            (SearchMode::Bm25 | SearchMode::Hybrid, None) => output::line(
                "--stem=english (or another language) also finds other forms of a word, such as \
                 its plural",
            ),
            _ => Ok(()),
        };
    }
    let mut table = output::table(&["score", "written", "period", "id", "text"], &[2, 3, 4]);
    for text in &found {
        let interaction = &text.interaction;
        let period = match (text.period, text.held_out) {
            (Some(period), true) => format!("{period}, held out"),
            (Some(period), false) => period.to_string(),
            (None, _) => "–".into(),
        };
        table.add_row([
            format!("{:.4}", text.score),
            interaction.time.strftime("%Y-%m-%d").to_string(),
            period,
            excerpt(interaction.id.as_str(), 200),
            excerpt(&format!("{} {}", interaction.prompt, interaction.response), 70),
        ]);
    }
    output::line(&table.to_string())
}
