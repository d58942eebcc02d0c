//! Texts to token ids: training a tokenizer, and the ids of prompts and responses.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use rand::seq::SliceRandom;
use tokenizers::{
    AddedToken, Tokenizer,
    models::{
        TrainerWrapper,
        bpe::{BPE, BpeTrainer},
    },
    pre_tokenizers::byte_level::ByteLevel,
    processors::template::TemplateProcessing,
};

use crate::{
    layout::{Pair, SEPARATOR},
    random::keyed,
    texts::Text,
};

/// Special tokens of a tokenizer made here, by id: padding, the beginning of a sequence, the end of
/// a text.
pub const SPECIAL: [&str; 3] = ["<|pad|>", "<|begin|>", "<|end|>"];

/// A tokenizer and the two tokens of the layout.
#[derive(Debug)]
pub struct Codec {
    inner: Tokenizer,
    /// Begins a sequence.
    pub begin: u32,
    /// Ends a text.
    pub end: u32,
}

impl Codec {
    /// Trains a byte-level BPE on a seeded sample of the texts.
    ///
    /// # Errors
    ///
    /// If the vocabulary is too small for the 256 bytes and the special tokens.
    pub fn train(texts: &[Text], sample: usize, vocabulary: usize, seed: u64) -> Result<Self> {
        let smallest = SPECIAL.len() + 256;
        anyhow::ensure!(
            vocabulary >= smallest,
            "a vocabulary of {vocabulary} is below the smallest, {smallest}"
        );
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.shuffle(&mut keyed(seed, "tokenizer", 0));
        let parts = order
            .into_iter()
            .take(sample)
            .flat_map(|i| [format!("{}{SEPARATOR}", texts[i].prompt), texts[i].response.clone()]);
        let trainer = BpeTrainer::builder()
            .vocab_size(vocabulary)
            .min_frequency(2)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens(SPECIAL.map(|token| AddedToken::from(token, true)).to_vec())
            .build();
        let mut inner = Tokenizer::new(BPE::default());
        inner.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
        inner.with_decoder(Some(ByteLevel::default()));
        inner.train(&mut TrainerWrapper::BpeTrainer(trainer), parts).map_err(|e| anyhow!(e))?;
        let template = TemplateProcessing::builder()
            .try_single("<|begin|>:0 $A:0")
            .map_err(|e| anyhow!(e))?
            .special_tokens(vec![(SPECIAL[1], 1)])
            .build()?;
        inner.with_post_processor(Some(template));
        Ok(Self::new(inner, 1, 2))
    }

    /// Reads a `tokenizer.json` that has the special tokens of this program.
    ///
    /// # Errors
    ///
    /// A file that is missing, malformed, or has other special tokens.
    pub fn read(file: &Path) -> Result<Self> {
        let inner = read(file)?;
        let id = |token: &str| {
            inner
                .token_to_id(token)
                .with_context(|| format!("{} has no token {token}", file.display()))
        };
        let [_, begin, end] = [id(SPECIAL[0])?, id(SPECIAL[1])?, id(SPECIAL[2])?];
        Ok(Self::new(inner, begin, end))
    }

    /// Reads the `tokenizer.json` of a model whose own configuration names the two tokens.
    ///
    /// # Errors
    ///
    /// A file that is missing or malformed.
    pub fn of_model(dir: &Path, begin: u32, end: u32) -> Result<Self> {
        Ok(Self::new(read(&dir.join("tokenizer.json"))?, begin, end))
    }

    fn new(mut inner: Tokenizer, begin: u32, end: u32) -> Self {
        // Text that spells a special token stays text.
        inner.set_encode_special_tokens(true);
        Self { inner, begin, end }
    }

    /// Number of tokens.
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Writes `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        let json = self.inner.to_string(true).map_err(|e| anyhow!(e))?;
        std::fs::write(file, json).with_context(|| format!("cannot write {}", file.display()))
    }

    /// The ids of a text, special tokens left out.
    ///
    /// # Errors
    ///
    /// If the tokenizer refuses it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.inner.encode_fast(text, false).map_err(|e| anyhow!(e))?.get_ids().to_vec())
    }

    /// The ids of a prompt and of its response, tokenised separately.
    ///
    /// # Errors
    ///
    /// If the tokenizer refuses a text.
    pub fn pair(&self, text: &Text) -> Result<Pair> {
        let prompt = self.encode(&format!("{}{SEPARATOR}", text.prompt))?;
        let mut response = self.encode(&text.response)?;
        response.push(self.end);
        Ok(Pair { prompt, response })
    }

    /// The bytes of each token of a response, 0 for the end token; together they are the
    /// response's.
    ///
    /// # Errors
    ///
    /// If the tokenizer refuses the text.
    pub fn response_bytes(&self, response: &str) -> Result<Vec<usize>> {
        let encoding = self.inner.encode(response, false).map_err(|e| anyhow!(e))?;
        let mut reached = 0;
        // Tokens that share a character all carry its whole range; the first of them takes it.
        let bytes = encoding.get_offsets().iter().map(|(_, end)| {
            let own = end.saturating_sub(reached);
            reached += own;
            own
        });
        let bytes: Vec<usize> = bytes.chain([0]).collect();
        Ok(bytes)
    }
}

fn read(file: &Path) -> Result<Tokenizer> {
    let mut inner = Tokenizer::from_file(file).map_err(|e| anyhow!("{}: {e}", file.display()))?;
    inner.with_padding(None);
    inner.with_truncation(None).map_err(|e| anyhow!(e))?;
    Ok(inner)
}
