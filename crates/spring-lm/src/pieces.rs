//! From the pieces of a vocabulary to the bytes that they stand for.

use serde_json::Value;

/// How a vocabulary spells the bytes of a token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pieces {
    /// A character for each byte, as byte-level vocabularies have it.
    in_alphabet: bool,
    /// A byte by itself as `<0xE2>`.
    has_bytes: bool,
    /// What stands for other text: a mark for a space, first of all.
    replaced: Vec<(String, String)>,
    /// What marks the inside of a word, and stands for nothing.
    inside: Option<String>,
}

impl Pieces {
    /// As a tokenizer's decoder, and its pre-tokenizer, have it.
    pub(crate) fn of(tokenizer: &tokenizers::Tokenizer) -> Self {
        let mut pieces = Self::default();
        // Their parts are private, what they are written to is not.
        for part in [
            serde_json::to_value(tokenizer.get_decoder()),
            serde_json::to_value(tokenizer.get_pre_tokenizer()),
        ] {
            pieces.read(&part.unwrap_or_default());
        }
        pieces
    }

    fn read(&mut self, part: &Value) {
        let text = |name: &str| part[name].as_str().filter(|text| !text.is_empty());
        match part["type"].as_str() {
            Some("Sequence") => {
                let parts = part["decoders"].as_array().or(part["pretokenizers"].as_array());
                parts.into_iter().flatten().for_each(|part| self.read(part));
            }
            Some("ByteLevel") => self.in_alphabet = true,
            Some("ByteFallback") => self.has_bytes = true,
            Some("Metaspace") => {
                self.replaced.extend(text("replacement").map(|mark| (mark.into(), " ".into())));
            }
            Some("Replace") => {
                if let (Some(from), Some(to)) =
                    (part["pattern"]["String"].as_str(), part["content"].as_str())
                {
                    self.replaced.push((from.into(), to.into()));
                }
            }
            Some("WordPiece") => self.inside = text("prefix").map(str::to_owned),
            _ => {}
        }
    }

    /// The bytes of a piece.
    pub(crate) fn bytes(&self, piece: &str) -> Vec<u8> {
        if self.in_alphabet {
            let bytes: Option<Vec<u8>> = piece.chars().map(byte_of).collect();
            // What is not in the alphabet was put into the vocabulary as it is.
            return bytes.unwrap_or_else(|| piece.into());
        }
        if self.has_bytes
            && let Some(byte) = single(piece)
        {
            return vec![byte];
        }
        let piece =
            self.inside.as_deref().and_then(|mark| piece.strip_prefix(mark)).unwrap_or(piece);
        let replace = |text: String, (from, to): &(String, String)| text.replace(from, to);
        self.replaced.iter().fold(piece.to_owned(), replace).into_bytes()
    }
}

/// The byte of `<0xE2>`.
fn single(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// The byte that a character of GPT-2's alphabet stands for: those that can be seen stand for
/// themselves, the others are numbered from 256 on.
fn byte_of(character: char) -> Option<u8> {
    let code = u32::from(character);
    let byte = match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => code,
        0x100..=0x120 => code - 0x100,
        0x121..=0x142 => code - 0x121 + 0x7f,
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    use super::*;

    #[test]
    fn every_character_of_the_librarys_alphabet_is_one_byte() {
        let bytes: BTreeSet<u8> = ByteLevel::alphabet()
            .into_iter()
            .map(|character| byte_of(character).unwrap())
            .collect();
        assert_eq!(bytes.len(), 256);
        assert_eq!([byte_of(' '), byte_of('▁'), byte_of('Ġ')], [None, None, Some(b' ')]);
    }

    /// An SPM-like vocabulary with byte fallback: `a` and `b`, the mark for a space, and all bytes.
    fn tokenizer(prefixed: bool) -> tokenizers::Tokenizer {
        let mut vocabulary = vec!["<unk>".to_owned(), "</s>".into()];
        vocabulary.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
        vocabulary.extend(["▁", "a", "b", "▁a"].map(str::to_owned));
        let vocabulary: serde_json::Map<String, Value> =
            vocabulary.into_iter().zip(0u32..).map(|(piece, id)| (piece, id.into())).collect();
        let mut normalizers =
            vec![json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"})];
        if prefixed {
            normalizers.insert(0, json!({"type": "Prepend", "prepend": "▁"}));
        }
        let strip = json!({"type": "Strip", "content": " ", "start": 1, "stop": 0});
        let mut decoders = vec![
            json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        decoders.extend(prefixed.then_some(strip));
        let file = json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [{
                "id": 1, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            }],
            "normalizer": {"type": "Sequence", "normalizers": normalizers},
            "pre_tokenizer": null, "post_processor": null,
            "decoder": {"type": "Sequence", "decoders": decoders},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": "<unk>",
                "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true,
                "byte_fallback": true, "vocab": vocabulary, "merges": ["▁ a"],
            },
        });
        tokenizers::Tokenizer::from_bytes(file.to_string()).unwrap()
    }

    #[test]
    fn the_bytes_of_a_texts_pieces_are_the_texts_with_a_space_before_it_where_one_is_put_there() {
        let text = "ab  a日本 😀 é\n";
        for (prefixed, expected) in [(false, text.to_owned()), (true, format!(" {text}"))] {
            let tokenizer = tokenizer(prefixed);
            let pieces = Pieces::of(&tokenizer);
            let ids = tokenizer.encode_fast(text, false).unwrap();
            let bytes: Vec<Vec<u8>> = ids
                .get_ids()
                .iter()
                .map(|id| pieces.bytes(&tokenizer.id_to_token(*id).unwrap()))
                .collect();
            assert_eq!(String::from_utf8(bytes.concat()).unwrap(), expected);
            assert!(bytes.contains(&vec![0xe6]), "a part of a character is its byte: {bytes:?}");
        }
    }

    #[test]
    fn other_vocabularies_mark_spaces_and_the_inside_of_words_in_their_own_ways() {
        let of = |part: Value| {
            let mut pieces = Pieces::default();
            pieces.read(&part);
            pieces
        };
        let metaspace = of(json!({"type": "Metaspace", "replacement": "▁", "split": true}));
        assert_eq!(metaspace.bytes("▁the"), b" the");
        assert_eq!(metaspace.bytes("<0x41>"), b"<0x41>");
        let words = of(json!({"type": "WordPiece", "prefix": "##", "cleanup": true}));
        assert_eq!([words.bytes("##ing"), words.bytes("go")], [b"ing".to_vec(), b"go".to_vec()]);
        let level = of(json!({"type": "Sequence", "decoders": [{"type": "ByteLevel"}]}));
        assert_eq!(level.bytes("Ġæ"), [b' ', 0xe6]);
        assert_eq!(level.bytes("日本"), "日本".as_bytes(), "not in the alphabet");
    }
}
