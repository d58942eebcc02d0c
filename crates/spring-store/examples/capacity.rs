//! What a number of users needs, computed from what `load_state` and others measured: the tables of
//! docs/guide/capacity.md. Every input has a name and may be given as `NAME=NUMBER`:
//!
//! ```sh
//! cargo run -p spring-store --example capacity
//! cargo run -p spring-store --example capacity -- users=3e6 adapter_bytes=1.9e6 train_seconds=4
//! ```

use std::error::Error;

/// An input: its name, its value unless it is told otherwise, and what it is.
const INPUTS: [(&str, f64, &str); 16] = [
    ("users", 0.0, "users; 0 for a table of 1 M and 100 M"),
    ("active", 0.2, "part of them who write something on a day"),
    ("texts", 10.0, "texts that an active user writes on a day"),
    ("updates", 1.0, "times that an active user's adapter is updated on a day"),
    ("peak", 3.0, "the busiest hour's updates, as a multiple of the mean"),
    ("kept_texts", 1000.0, "texts of a user that are kept"),
    ("text_bytes", TEXT_BYTES, "bytes of a text of 115 characters, with its rows and indexes"),
    ("text_log_bytes", TEXT_LOG_BYTES, "bytes of write-ahead log of such a text"),
    ("adapter_bytes", ADAPTER_BYTES, "bytes of an adapter; 174,768 for the built-in model"),
    ("generations", 8.0, "generations whose adapters are kept (state.keep_generations)"),
    ("user_bytes", USER_BYTES, "bytes of a generation's other rows: record, buffer, period"),
    ("train_seconds", TRAIN_SECONDS, "seconds that one worker trains for an update of 50 texts"),
    (
        "database_seconds",
        DATABASE_SECONDS,
        "seconds of a worker that go to the database for an update",
    ),
    ("commits", COMMITS, "updates a second that one database was seen to take, at 4 connections"),
    ("log_bytes", LOG_BYTES, "bytes of write-ahead log of an update, beyond its adapter"),
    ("workers_a_machine", 8.0, "workers on a machine, one to a core or to a part of a GPU"),
];

// What was seen: docs/results/postgres.md says where, and how.
const TEXT_BYTES: f64 = 359.0 + 133.0;
const TEXT_LOG_BYTES: f64 = 498.0;
const ADAPTER_BYTES: f64 = 174_768.0;
const USER_BYTES: f64 = 185_452.0 - ADAPTER_BYTES + 4_323.0;
const TRAIN_SECONDS: f64 = 2.3;
const DATABASE_SECONDS: f64 = 0.025;
const COMMITS: f64 = 160.0;
const LOG_BYTES: f64 = 610e3 - ADAPTER_BYTES;

/// PostgreSQL's largest table, in bytes, at pages of 8 kB.
const LARGEST_TABLE: f64 = 32.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0;

/// Transactions after which PostgreSQL must have looked at every row once.
const WRAPAROUND: f64 = 2e9;

/// Transactions that write, of an update: claim, commit, release.
const WRITES: f64 = 3.0;

const DAY: f64 = 86_400.0;

fn main() -> Result<(), Box<dyn Error>> {
    let mut inputs = INPUTS.map(|(_, value, _)| value);
    for argument in std::env::args().skip(1) {
        let (name, number) = argument.split_once('=').ok_or("inputs are NAME=NUMBER")?;
        let at = INPUTS.iter().position(|(known, ..)| *known == name);
        let at = at.ok_or_else(|| format!("there is no input {name}"))?;
        inputs[at] = number.parse()?;
    }
    println!("| input | value | what it is |\n|---|---|---|");
    for ((name, _, what), value) in INPUTS.iter().zip(inputs).skip(1) {
        println!("| `{name}` | {} | {what} |", short(value));
    }
    let users = match inputs[0] {
        0.0 => vec![1e6, 100e6],
        users => vec![users],
    };
    let head: String = users.iter().map(|users| format!(" {} users |", short(*users))).collect();
    println!("\n| what is needed |{head}\n|---|{}", "---|".repeat(users.len()));
    let columns: Vec<_> = users.iter().map(|users| needs(*users, inputs)).collect();
    for (at, (what, _)) in columns[0].iter().enumerate() {
        let values: String = columns.iter().map(|rows| format!(" {} |", rows[at].1)).collect();
        println!("| {what} |{values}");
    }
    Ok(())
}

fn needs(users: f64, inputs: [f64; INPUTS.len()]) -> Vec<(&'static str, String)> {
    let [
        _,
        active,
        texts,
        updates,
        peak,
        kept_texts,
        text_bytes,
        text_log_bytes,
        adapter_bytes,
        generations,
        user_bytes,
        train_seconds,
        database_seconds,
        commits,
        log_bytes,
        workers_a_machine,
    ] = inputs;
    let mean = users * active * updates / DAY;
    let most = mean * peak;
    let workers = most * (train_seconds + database_seconds);
    let text_storage = users * kept_texts * text_bytes;
    let adapters = users * generations * adapter_bytes;
    let others = users * generations * user_bytes;
    let log = users * active * updates * (adapter_bytes + log_bytes)
        + users * active * texts * text_log_bytes;
    let writes = (mean * WRITES + users * active * texts / DAY) * DAY;
    let whole = |number: f64| format!("{}", number.ceil());
    let bytes = |bytes: f64| match bytes {
        1e12.. => format!("{} TB", short(bytes / 1e12)),
        1e9.. => format!("{} GB", short(bytes / 1e9)),
        _ => format!("{} MB", short(bytes / 1e6)),
    };
    vec![
        ("updates a second, over the day", short(mean)),
        ("updates a second, in the busiest hour", short(most)),
        ("workers in the busiest hour", whole(workers)),
        ("machines of these workers", whole(workers / workers_a_machine)),
        ("databases by their commits", whole(most / commits)),
        ("transactions that write, a second in the busiest hour", short(writes / DAY * peak)),
        ("texts, with their indexes", bytes(text_storage)),
        ("adapters", bytes(adapters)),
        ("records, buffers and the rest", bytes(others)),
        ("all of it", bytes(text_storage + adapters + others)),
        ("tables of adapters, of 35 TB at most", whole(adapters / LARGEST_TABLE)),
        ("write-ahead log a day, to archive and to replicate", bytes(log)),
        ("bytes of log a second in the busiest hour", bytes(log / DAY * peak) + "/s"),
        ("days until transaction numbers come round", short(WRAPAROUND / writes)),
    ]
}

/// A number to two or three digits.
fn short(number: f64) -> String {
    match number {
        1e9.. => format!("{} G", short(number / 1e9)),
        1e6.. => format!("{} M", short(number / 1e6)),
        1e4.. => format!("{} k", short(number / 1e3)),
        100.0.. => format!("{number:.0}"),
        10.0.. => format!("{}", (number * 10.0).round() / 10.0),
        1.0.. => format!("{}", (number * 100.0).round() / 100.0),
        _ => format!("{}", (number * 1000.0).round() / 1000.0),
    }
}
