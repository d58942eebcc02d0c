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

/// Letters of scripts that have two cases, with a space in front of them.
const CASED: &str = concat!(
    r"\s?[",
    "A-Za-z\u{b5}\u{c0}-\u{d6}\u{d8}-\u{f6}\u{f8}-\u{1ba}\u{1bc}-\u{1bf}\u{1c4}-\u{293}",
    "\u{295}-\u{2af}\u{370}-\u{373}\u{376}\u{377}\u{37b}-\u{37d}\u{37f}\u{386}",
    "\u{388}-\u{38a}\u{38c}\u{38e}-\u{3a1}\u{3a3}-\u{3f5}\u{3f7}-\u{481}\u{48a}-\u{52f}",
    "\u{531}-\u{556}\u{10a0}-\u{10c5}\u{13a0}-\u{13f5}\u{13f8}-\u{13fd}\u{1c90}-\u{1cba}",
    "\u{1cbd}-\u{1cbf}\u{1d00}-\u{1d2b}\u{1d6b}-\u{1d77}\u{1d79}-\u{1d9a}",
    "\u{1e00}-\u{1f15}\u{1f18}-\u{1f1d}\u{1f20}-\u{1f45}\u{1f48}-\u{1f4d}",
    "\u{1f50}-\u{1f57}\u{1f59}\u{1f5b}\u{1f5d}\u{1f5f}-\u{1f7d}\u{1f80}-\u{1fb4}",
    "\u{1fb6}-\u{1fbc}\u{1fbe}\u{1fc2}-\u{1fc4}\u{1fc6}-\u{1fcc}\u{1fd0}-\u{1fd3}",
    "\u{1fd6}-\u{1fdb}\u{1fe0}-\u{1fec}\u{1ff2}-\u{1ff4}\u{1ff6}-\u{1ffc}\u{2102}\u{2107}",
    "\u{210a}-\u{2113}\u{2115}\u{2119}-\u{211d}\u{2124}\u{2126}\u{2128}\u{212a}-\u{212d}",
    "\u{212f}-\u{2134}\u{2139}\u{213c}-\u{213f}\u{2145}-\u{2149}\u{214e}\u{2183}\u{2184}",
    "\u{2c00}-\u{2c7b}\u{2c7e}-\u{2ce4}\u{2ceb}-\u{2cee}\u{2cf2}\u{2cf3}\u{a640}-\u{a66d}",
    "\u{a680}-\u{a69b}\u{a722}-\u{a76f}\u{a771}-\u{a787}\u{a78b}-\u{a78e}",
    "\u{ab70}-\u{abbf}\u{fb00}-\u{fb06}\u{fb13}-\u{fb17}\u{ff21}-\u{ff3a}",
    "\u{ff41}-\u{ff5a}\u{10400}-\u{1044f}\u{104b0}-\u{104d3}\u{104d8}-\u{104fb}",
    "\u{10c80}-\u{10cb2}\u{10cc0}-\u{10cf2}\u{118a0}-\u{118df}\u{1e900}-\u{1e943}",
    "]+"
);

/// Letters of East Asia as deepseek-llm and deepseek-coder have them, U+0800 to U+4E00 among them.
/// llama.cpp takes spaces for spaces alone there, so those that lie between are left out.
const EAST_ASIAN: &str = concat!(
    "[一-龥\u{800}-\u{167f}\u{1681}-\u{1fff}\u{200b}-\u{2027}\u{202a}-\u{202e}",
    "\u{2030}-\u{205e}\u{2060}-\u{2fff}\u{3001}-\u{4e00}가-\u{d7ff}]+"
);

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
        names: &["gpt-4o", "llama4"],
        expressions: &[concat!(
            r"[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))*((?=[\p{L}])([^A-Z]))+",
            r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|",
            r"[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))+((?=[\p{L}])([^A-Z]))*",
            r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|",
            r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )],
        whole_pieces: false,
        add_bos: false,
    },
    Set {
        names: &["qwen35"],
        expressions: &[concat!(
            r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|",
            r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|",
            r"\s*[\r\n]+|\s+(?!\S)|\s+"
        )],
        whole_pieces: false,
        add_bos: false,
    },
    Set {
        names: &["deepseek-llm"],
        expressions: &[
            r"[\r\n]",
            CASED,
            r"\s?[!-/:-~！-／：-～‘-‟、-。]+",
            r"\s+$",
            EAST_ASIAN,
            r"\p{N}+",
        ],
        whole_pieces: false,
        add_bos: false,
    },
    Set {
        names: &["deepseek-coder"],
        expressions: &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", EAST_ASIAN, r"\p{N}"],
        whole_pieces: false,
        add_bos: false,
    },
    Set {
        names: &["deepseek-v3"],
        expressions: &[
            r"\p{N}{1,3}",
            "[一-龥぀-ゟ゠-ヿ]+",
            concat!(
                r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|"##,
                r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|",
                r"\s*[\r\n]+|\s+(?!\S)|\s+"
            ),
        ],
        whole_pieces: false,
        add_bos: false,
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
