//! How often each search mode finds a text of the same topic: the second table of
//! docs/results/memory.md.
//!
//! `cargo run --release -p spring-core --example search_topics -- MODEL FILE LABEL [FILE LABEL…]`
//!
//! Every text that shares its label with another one of its user is a query, by its prompt, among
//! all other texts of that user. LABEL is `prefix`, a title's words before its first colon (asked
//! for without them, as with them a search for words would find the label itself), or a key of
//! `meta`.

use std::{collections::BTreeMap, error::Error, fs::File, io::BufReader, path::Path};

use spring_core::{
    LanguageModel, embed_interaction, embed_text,
    spring_memory::{
        HistoryConfig, HistoryIndex, Interaction, JsonlReader, SearchMode, SearchRequest,
        template_stop_words,
    },
};
use spring_model::{AnyModel, Device, ModelFiles};

const K: usize = 5;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// The label of a text and what is asked.
fn label_and_query(interaction: &Interaction, label: &str) -> Option<(String, String)> {
    let meta = |key| interaction.meta.as_ref()?.get(key)?.as_str();
    match label {
        "prefix" => {
            let (prefix, rest) = meta("title")?.split_once(':')?;
            Some((prefix.to_owned(), interaction.prompt.replacen(meta("title")?, rest.trim(), 1)))
        }
        key => Some((meta(key)?.to_owned(), interaction.prompt.clone())),
    }
}

/// Of all queries: how many, with a hit among the first `K`, and the mean share of hits among them.
#[derive(Debug, Default)]
struct Found {
    queries: f64,
    any: f64,
    share: f64,
}

impl Found {
    fn add(&mut self, any: f64, share: f64) {
        self.queries += 1.0;
        self.any += any;
        self.share += share;
    }
}

fn measure(
    model: &dyn LanguageModel,
    file: &Path,
    label: &str,
) -> Result<BTreeMap<&'static str, Found>> {
    let mut users: BTreeMap<String, Vec<Interaction>> = BTreeMap::new();
    for line in JsonlReader::new(BufReader::new(File::open(file)?), file.display().to_string()) {
        let (_, interaction) = line?;
        users.entry(interaction.user.to_string()).or_default().push(interaction);
    }
    let mut results: BTreeMap<&'static str, Found> = BTreeMap::new();
    for texts in users.values() {
        let mut plain = HistoryIndex::new(HistoryConfig::default())?;
        let mut config = HistoryConfig::default();
        let prompts = texts.iter().map(|text| text.prompt.as_str());
        config.bm25.stop_words = template_stop_words(prompts, config.bm25.tokenizer, 0.9);
        let mut without_template = HistoryIndex::new(config)?;
        for (text, key) in texts.iter().zip(0..) {
            let embedding = embed_interaction(model, text)?;
            plain.add(key, text, None, Some(&embedding))?;
            without_template.add(key, text, None, Some(&embedding))?;
        }
        let labels: Vec<_> = texts.iter().map(|text| label_and_query(text, label)).collect();
        let name = |key: usize| labels[key].as_ref().map(|(label, _)| label.as_str());
        for (own, asked) in labels.iter().enumerate() {
            let Some((topic, query)) = asked else { continue };
            let others = (0..texts.len()).filter(|key| *key != own);
            let alike = others.filter(|key| name(*key) == Some(topic)).count();
            if alike == 0 {
                continue;
            }
            // Drawn without looking: hypergeometric.
            let all = texts.len() - 1;
            let missed: f64 = (0..K.min(all))
                .fold(1.0, |p, i| p * all.saturating_sub(alike + i) as f64 / (all - i) as f64);
            results.entry("0 chance").or_default().add(1.0 - missed, alike as f64 / all as f64);
            let embedding = embed_text(model, query)?;
            for (mode_name, index, mode) in [
                ("1 bm25", &plain, SearchMode::Bm25),
                ("2 bm25, template left out", &without_template, SearchMode::Bm25),
                ("3 dense", &plain, SearchMode::Dense),
                ("4 hybrid", &plain, SearchMode::Hybrid),
                ("5 hybrid, template left out", &without_template, SearchMode::Hybrid),
            ] {
                let request = SearchRequest::new(query, K + 1).with_mode(mode, Some(&embedding));
                let hits = index.search(&request)?;
                let hits = hits.iter().filter_map(|hit| usize::try_from(hit.key).ok());
                let right = hits
                    .filter(|key| *key != own)
                    .take(K)
                    .filter(|key| name(*key) == Some(topic))
                    .count();
                let any = if right > 0 { 1.0 } else { 0.0 };
                results.entry(mode_name).or_default().add(any, right as f64 / K.min(all) as f64);
            }
        }
    }
    Ok(results)
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, files @ ..] = arguments.as_slice() else {
        return Err("usage: search_topics MODEL FILE LABEL [FILE LABEL…]".into());
    };
    let model = AnyModel::load(&ModelFiles::from_dir(folder)?, Device::Cpu)?;
    println!("| data | label | queries | search | one of the same among {K} | share of the {K} |");
    println!("|---|---|---|---|---|---|");
    for pair in files.chunks_exact(2) {
        let file = Path::new(&pair[0]);
        for (mode, found) in measure(&model, file, &pair[1])? {
            println!(
                "| {} | {} | {} | {} | {:.1} % | {:.1} % |",
                file.file_stem().unwrap_or_default().display(),
                pair[1],
                found.queries,
                &mode[2..],
                100.0 * found.any / found.queries,
                100.0 * found.share / found.queries
            );
        }
    }
    Ok(())
}
