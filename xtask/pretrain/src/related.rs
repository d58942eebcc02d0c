//! Which training texts are like a given one.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use rand::seq::SliceRandom;
use spring_memory::{Bm25Config, Bm25Index, Tokenizer, template_stop_words};

use crate::{random::keyed, texts::Text};

/// A word that this part of the texts contains says little, and costs most of a search's time.
const COMMON: f64 = 0.1;
/// Texts from which common words are counted.
const SAMPLE: usize = 5000;
/// A word that this part of the prompts of a group contains belongs to their template.
const TEMPLATE: f64 = 0.9;

/// BM25 over the training texts, prompts and responses, without the words of prompt templates and
/// the most common ones.
#[derive(Debug)]
pub struct Related {
    index: Bm25Index,
}

impl Related {
    /// Indexes the texts; their place is their key.
    ///
    /// # Errors
    ///
    /// Never with the settings in this file.
    pub fn new(texts: &[Text], seed: u64) -> Result<Self> {
        let mut groups: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for text in texts {
            groups.entry(text.group()).or_default().push(&text.prompt);
        }
        let mut stop_words = BTreeSet::new();
        for prompts in groups.into_values() {
            stop_words.extend(template_stop_words(prompts, Tokenizer::Words, TEMPLATE));
        }
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.shuffle(&mut keyed(seed, "common words", 0));
        let sample = order.iter().take(SAMPLE).map(|i| texts[*i].response.as_str());
        stop_words.extend(template_stop_words(sample, Tokenizer::Words, COMMON));

        let config =
            Bm25Config::default().with_tokenizer(Tokenizer::Words).with_stop_words(stop_words);
        let mut index = Bm25Index::new(config)?;
        for (key, text) in texts.iter().enumerate() {
            index.add(key as u64, &whole(text));
        }
        Ok(Self { index })
    }

    /// The `count` texts most like the whole of `text`, best first, the one at the place `except`
    /// left out.
    pub fn to_text(&self, text: &Text, except: Option<usize>, count: usize) -> Vec<usize> {
        self.search(&whole(text), except, count)
    }

    /// The same by the prompt alone; `None` if all its words are its template's or common.
    pub fn to_prompt(&self, prompt: &str, count: usize) -> Option<Vec<usize>> {
        let config = self.index.config();
        let own = config
            .tokenizer
            .terms(prompt)
            .iter()
            .any(|term| !config.stop_words.contains(term.as_ref()));
        own.then(|| self.search(prompt, None, count))
    }

    fn search(&self, query: &str, except: Option<usize>, count: usize) -> Vec<usize> {
        let hits = self.index.search(query, count, |key| Some(key as usize) != except);
        hits.into_iter().map(|hit| hit.key as usize).collect()
    }
}

fn whole(text: &Text) -> String {
    format!("{}\n{}", text.prompt, text.response)
}
