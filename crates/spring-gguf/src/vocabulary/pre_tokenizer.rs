/// The expressions that cut text before byte pairs are joined, known by names in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreTokenizer {
    name: &'static str,
    set: &'static Set,
}

/// What several names share.
#[derive(Debug, PartialEq, Eq)]
struct Set {
    names: &'static [&'static str],
    /// Applied one after the other, each to the pieces that the one before has left.
    expressions: &'static [&'static str],
    /// Whether a piece that is a token stays whole, whatever the pairs would make of it.
    whole_pieces: bool,
    /// Whether texts begin with the first token where the file does not say.
    add_bos: bool,
}

/// Contractions, words, numbers and signs, each with the space in front of it.
const WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";

const SETS: &[Set] = &[
    Set {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral"],
        expressions: &[THREE_DIGITS],
        whole_pieces: true,
        add_bos: true,
    },
    Set {
        names: &["dbrx", "smaug-bpe"],
        expressions: &[THREE_DIGITS],
        whole_pieces: false,
        add_bos: false,
    },
    Set {
        names: &["qwen2", "deepseek-r1-qwen", "stablelm2"],
        expressions: &[concat!(
            r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|",
            r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|",
            r"\s*[\r\n]+|\s+(?!\S)|\s+"
        )],
        whole_pieces: false,
        add_bos: false,
    },
    Set {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"],
        expressions: &[r"\p{N}", WORDS],
        whole_pieces: false,
        add_bos: false,
    },
    Set {
        names: &["gpt-2", "phi-2", "mpt", "olmo"],
        expressions: &[WORDS],
        whole_pieces: false,
        add_bos: false,
    },
    Set {
        names: &["tekken"],
        expressions: &[concat!(
            r"[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))*((?=[\p{L}])([^A-Z]))+|",
            r"[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))+((?=[\p{L}])([^A-Z]))*|",
            r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )],
        whole_pieces: true,
        add_bos: true,
    },
    Set {
        names: &["default"],
        expressions: &[r"[\p{P}\$\+<=>\^~\|]+", WORDS, r"\p{N}+", "[0-9][0-9][0-9]"],
        whole_pieces: false,
        add_bos: false,
    },
];

/// As [`WORDS`], with numbers in threes, line breaks by themselves and contractions in any case.
const THREE_DIGITS: &str = concat!(
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|",
    r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|",
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
);

impl PreTokenizer {
    /// The one with a name, as in the key `tokenizer.ggml.pre`.
    pub fn from_name(name: &str) -> Option<PreTokenizer> {
        SETS.iter().find_map(|set| {
            let name = set.names.iter().find(|&&own| own == name)?;
            Some(PreTokenizer { name, set })
        })
    }

    /// All names that are known, with commas between.
    pub fn names() -> String {
        let names: Vec<&str> = SETS.iter().flat_map(|set| set.names).copied().collect();
        names.join(", ")
    }

    /// The name.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// The regular expressions, applied one after the other to the pieces that the one before
    /// has left; what no match covers is a piece too.
    pub fn expressions(self) -> &'static [&'static str] {
        self.set.expressions
    }

    /// Whether a piece that is a token stays whole, whatever the pairs would make of it.
    pub fn keeps_whole_pieces(self) -> bool {
        self.set.whole_pieces
    }

    /// Whether texts begin with the first token where the file does not say.
    pub fn adds_bos(self) -> bool {
        self.set.add_bos
    }
}
