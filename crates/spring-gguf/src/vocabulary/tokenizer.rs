use std::collections::HashMap;

use tokenizers::decoders::DecoderWrapper;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::{NormalizerWrapper, Prepend, Replace};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::template::{SpecialToken, TemplateProcessing};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};
use tokenizers::{decoders, normalizers, pre_tokenizers};

use super::{PreTokenizer, TokenKind, Vocabulary, VocabularyModel};
use crate::GgufFile;
use crate::error::Result;

/// A space inside SentencePiece's pieces.
const SPACE: char = '▁';

impl GgufFile {
    /// The file's tokenizer: it cuts texts into the ids that llama.cpp cuts them into.
    ///
    /// Control tokens are special tokens: they are found in texts unless
    /// `set_encode_special_tokens(true)` is called, after which texts cannot contain any.
    /// User-defined tokens are always found.
    ///
    /// # Errors
    ///
    /// As [`GgufFile::vocabulary`], and if the vocabulary makes no tokenizer.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        let vocabulary = self.vocabulary()?;
        let key = match vocabulary.model {
            VocabularyModel::BytePairs(_) => "tokenizer.ggml.merges",
            VocabularyModel::SentencePiece => "tokenizer.ggml.scores",
        };
        build(&vocabulary).map_err(|error| {
            self.at_key(key, format!("makes no tokenizer ({error}); take a complete file"))
        })
    }
}

impl Vocabulary {
    /// [`GgufFile::tokenizer`] of a vocabulary that has been read already.
    ///
    /// # Errors
    ///
    /// If the vocabulary makes no tokenizer.
    pub fn tokenizer(&self) -> tokenizers::Result<Tokenizer> {
        build(self)
    }
}

fn build(vocabulary: &Vocabulary) -> tokenizers::Result<Tokenizer> {
    let mut tokenizer = match vocabulary.model {
        VocabularyModel::BytePairs(pre) => byte_pairs(vocabulary, pre)?,
        VocabularyModel::SentencePiece => sentence_piece(vocabulary)?,
    };
    let added = vocabulary.tokens.iter().zip(&vocabulary.kinds).filter_map(|(token, kind)| {
        let special = match kind {
            TokenKind::Control | TokenKind::Unknown => true,
            TokenKind::UserDefined => false,
            _ => return None,
        };
        // They stand for themselves in a text, whatever is done to the rest of it.
        let token = AddedToken::from(token.as_str(), special).normalized(false);
        (!token.content.is_empty()).then_some(token)
    });
    tokenizer.add_tokens(&added.collect::<Vec<_>>());
    if let Some(template) = template(vocabulary)? {
        tokenizer.with_post_processor(Some(template));
    }
    Ok(tokenizer)
}

fn ids(vocabulary: &Vocabulary) -> HashMap<&str, u32> {
    vocabulary.tokens.iter().map(String::as_str).zip(0..).collect()
}

fn owned(ids: &HashMap<&str, u32>) -> tokenizers::models::bpe::Vocab {
    ids.iter().map(|(&token, &id)| (token.to_owned(), id)).collect()
}

fn byte_pairs(vocabulary: &Vocabulary, pre: PreTokenizer) -> tokenizers::Result<Tokenizer> {
    let merges = vocabulary.merges.iter().map(|pair| {
        // The first half may be a space's stand-in but never empty.
        let at = pair.char_indices().skip(1).find(|&(_, c)| c == ' ').map(|(at, _)| at);
        let at = at.ok_or_else(|| format!("the pair {pair:?} has no space between its halves"))?;
        Ok((pair[..at].to_owned(), pair[at + 1..].to_owned()))
    });
    let merges = merges.collect::<tokenizers::Result<Vec<_>>>()?;
    let model = BPE::builder()
        .vocab_and_merges(owned(&ids(vocabulary)), merges)
        .ignore_merges(pre.keeps_whole_pieces())
        .build()?;
    let mut cuts: Vec<PreTokenizerWrapper> = Vec::new();
    for expression in pre.expressions() {
        let pattern = SplitPattern::Regex((*expression).to_owned());
        cuts.push(Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?.into());
    }
    // Only maps bytes to their letters: the cuts have been made.
    cuts.push(ByteLevel::new(false, false, false).into());
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(pre_tokenizers::sequence::Sequence::new(cuts)));
    tokenizer.with_decoder(Some(ByteLevel::new(false, false, false)));
    Ok(tokenizer)
}

/// SentencePiece joins the two neighbours whose joint piece has the best score. That is byte
/// pairs with one rank per piece, best score first, for each way in which two pieces make it.
fn sentence_piece(vocabulary: &Vocabulary) -> tokenizers::Result<Tokenizer> {
    let ids = ids(vocabulary);
    let mut order: Vec<usize> = (0..vocabulary.tokens.len()).collect();
    order.sort_by(|&a, &b| vocabulary.scores[b].total_cmp(&vocabulary.scores[a]));
    let mut merges = Vec::new();
    for token in order {
        let token = vocabulary.tokens[token].as_str();
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if ids.contains_key(left) && ids.contains_key(right) {
                merges.push((left.to_owned(), right.to_owned()));
            }
        }
    }
    let mut model = BPE::builder().vocab_and_merges(owned(&ids), merges).byte_fallback(true);
    if let Some(unknown) = vocabulary.unknown {
        model = model.unk_token(vocabulary.tokens[unknown as usize].clone());
    }
    let mut tokenizer = Tokenizer::new(model.build()?);
    let mut normalizers: Vec<NormalizerWrapper> = Vec::new();
    let mut decoders: Vec<DecoderWrapper> = vec![
        Replace::new(SPACE.to_string(), " ")?.into(),
        ByteFallback::new().into(),
        Fuse::new().into(),
    ];
    if vocabulary.add_space_prefix {
        normalizers.push(Prepend::new(SPACE.to_string()).into());
        decoders.push(Strip::new(' ', 1, 0).into());
    }
    normalizers.push(Replace::new(" ", SPACE.to_string())?.into());
    tokenizer.with_normalizer(Some(normalizers::Sequence::new(normalizers)));
    tokenizer.with_decoder(Some(decoders::sequence::Sequence::new(decoders)));
    Ok(tokenizer)
}

/// What is put around a text, where anything is.
fn template(vocabulary: &Vocabulary) -> tokenizers::Result<Option<TemplateProcessing>> {
    let bos = vocabulary.bos.filter(|_| vocabulary.add_bos);
    let eos = vocabulary.eos.filter(|_| vocabulary.add_eos);
    if bos.is_none() && eos.is_none() {
        return Ok(None);
    }
    let (mut single, mut pair, mut special) = (Vec::new(), Vec::new(), Vec::new());
    if let Some(id) = bos {
        single.push("bos:0");
        pair.push("bos:0");
        let token = vocabulary.tokens[id as usize].clone();
        special.push(SpecialToken::new("bos".to_owned(), vec![id], vec![token])?);
    }
    single.push("$A:0");
    pair.extend(["$A:0", "$B:1"]);
    if let Some(id) = eos {
        single.push("eos:0");
        pair.push("eos:1");
        let token = vocabulary.tokens[id as usize].clone();
        special.push(SpecialToken::new("eos".to_owned(), vec![id], vec![token])?);
    }
    let template = TemplateProcessing::builder()
        .try_single(single)?
        .try_pair(pair)?
        .special_tokens(special)
        .build()?;
    Ok(Some(template))
}
