//! Searches a history in JSON Lines: `cargo run -p spring-memory --example search_history FILE
//! "query" [FROM]`, for example with `2026-01-01T00:00:00Z` as FROM. Without arguments it searches
//! a small history of its own.

use std::{
    error::Error,
    fs::File,
    io::{BufRead, BufReader},
};

use spring_memory::{
    HistoryConfig, HistoryIndex, Interaction, JsonlReader, SearchFilter, SearchRequest,
};

const SAMPLE: &str = concat!(
    r#"{"user":"ada","id":"1","time":"2026-01-05T08:00:00Z","prompt":"Review a lamp","#,
    r#""response":"Bright, but it hums."}"#,
    "\n",
    r#"{"user":"ada","id":"2","time":"2026-01-19T20:15:00Z","prompt":"Review a kettle","#,
    r#""response":"Boils fast. No hum."}"#,
    "\n",
    r#"{"user":"ada","id":"3","time":"2026-02-02T07:30:00Z","prompt":"Review a novel","#,
    r#""response":"Slow start, fine end."}"#,
    "\n",
);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (reader, label): (Box<dyn BufRead>, _) = match arguments.next() {
        Some(path) => (Box::new(BufReader::new(File::open(&path)?)), path),
        None => (Box::new(SAMPLE.as_bytes()), "sample".to_owned()),
    };
    let query = arguments.next().unwrap_or_else(|| "a kettle that boils fast".to_owned());
    let from = arguments.next().map(|time| time.parse()).transpose()?;

    let mut index = HistoryIndex::new(HistoryConfig::default())?;
    let mut interactions: Vec<Interaction> = Vec::new();
    for record in JsonlReader::new(reader, label) {
        match record {
            Ok((_, interaction)) => {
                index.add(interactions.len() as u64, &interaction, None, None)?;
                interactions.push(interaction);
            }
            Err(error) => eprintln!("skipped: {error}"),
        }
    }
    let filter = SearchFilter::default().with_from(from);
    let request = SearchRequest::new(&query, 5).with_filter(filter);
    for hit in index.search(&request)? {
        let Interaction { user, id, time, prompt, .. } = &interactions[hit.key as usize];
        let prompt = prompt.lines().next().unwrap_or_default();
        println!("{:8.3}  {time}  {user}/{id}  {prompt}", hit.score);
    }
    Ok(())
}
