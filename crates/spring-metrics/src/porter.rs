//! Porter's stemmer with the extensions that nltk has by default (`PorterStemmer.NLTK_EXTENSIONS`),
//! which METEOR needs: M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980.
//!
//! Neither the original algorithm nor Snowball's "Porter 2" gives the same stems.

/// The stem of a word in lower case.
pub(super) fn stem(word: &str) -> String {
    if let Some((_, stem)) = IRREGULAR.iter().find(|(form, _)| *form == word) {
        return (*stem).to_owned();
    }
    let mut word: Vec<char> = word.chars().collect();
    if word.len() > 2 {
        for step in
            [plural, participle, final_y, double_suffix, suffix, last_suffix, final_e, final_l]
        {
            word = step(word);
        }
    }
    word.into_iter().collect()
}

const IRREGULAR: [(&str, &str); 16] = [
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("innings", "inning"),
    ("inning", "inning"),
    ("outings", "outing"),
    ("outing", "outing"),
    ("cannings", "canning"),
    ("canning", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
    ("exceed", "exceed"),
    ("succeed", "succeed"),
];

type Word = Vec<char>;

fn is_vowel(letter: char) -> bool {
    matches!(letter, 'a' | 'e' | 'i' | 'o' | 'u')
}

/// For each letter whether it is a consonant; y is one at the beginning and after a vowel.
fn consonants(word: &[char]) -> Vec<bool> {
    let mut flags: Vec<bool> = Vec::with_capacity(word.len());
    for &letter in word {
        let before = flags.last().copied().unwrap_or(false);
        flags.push(if letter == 'y' { !before } else { !is_vowel(letter) });
    }
    flags
}

/// Porter's m: how often a vowel is followed by a consonant.
fn measure(stem: &[char]) -> usize {
    consonants(stem).windows(2).filter(|pair| !pair[0] && pair[1]).count()
}

/// Porter's *d.
fn ends_double_consonant(word: &[char]) -> bool {
    matches!(word, [.., a, b] if a == b) && consonants(word).last() == Some(&true)
}

/// Porter's *o, and a word of a vowel and a consonant.
fn ends_short(word: &[char]) -> bool {
    match consonants(word).as_slice() {
        [false, true] => true,
        [.., true, false, true] => !matches!(word.last(), Some('w' | 'x' | 'y')),
        _ => false,
    }
}

fn without<'w>(word: &'w [char], suffix: &str) -> Option<&'w [char]> {
    let length = suffix.chars().count();
    let at = word.len().checked_sub(length)?;
    word[at..].iter().copied().eq(suffix.chars()).then(|| &word[..at])
}

fn with(stem: &[char], suffix: &str) -> Word {
    stem.iter().copied().chain(suffix.chars()).collect()
}

/// The first rule whose suffix the word has decides, whether or not its stem may lose it.
fn replace(word: Word, rules: &[(&str, &str)], may: impl Fn(&str, &[char]) -> bool) -> Word {
    for (suffix, replacement) in rules {
        if let Some(stem) = without(&word, suffix) {
            return if may(suffix, stem) { with(stem, replacement) } else { word };
        }
    }
    word
}

/// Step 1a.
fn plural(word: Word) -> Word {
    if word.len() == 4 && without(&word, "ies").is_some() {
        return word[..3].to_vec();
    }
    replace(word, &[("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")], |_, _| true)
}

/// Step 1b.
fn participle(word: Word) -> Word {
    if let Some(stem) = without(&word, "ied") {
        return with(stem, if word.len() == 4 { "ie" } else { "i" });
    }
    if let Some(stem) = without(&word, "eed") {
        return if measure(stem) > 0 { with(stem, "ee") } else { word };
    }
    let has_vowel = |stem: &&[char]| consonants(stem).contains(&false);
    let Some(stem) =
        ["ed", "ing"].iter().find_map(|suffix| without(&word, suffix).filter(has_vowel))
    else {
        return word;
    };
    let restored = [("at", "ate"), ("bl", "ble"), ("iz", "ize")];
    if restored.iter().any(|(suffix, _)| without(stem, suffix).is_some()) {
        return replace(stem.to_vec(), &restored, |_, _| true);
    }
    match stem.last() {
        Some('l' | 's' | 'z') if ends_double_consonant(stem) => stem.to_vec(),
        _ if ends_double_consonant(stem) => stem[..stem.len() - 1].to_vec(),
        _ if measure(stem) == 1 && ends_short(stem) => with(stem, "e"),
        _ => stem.to_vec(),
    }
}

/// Step 1c.
fn final_y(word: Word) -> Word {
    let after_consonant = |_: &str, stem: &[char]| {
        stem.len() > 1 && consonants(stem).last().copied().unwrap_or(false)
    };
    replace(word, &[("y", "i")], after_consonant)
}

/// Step 2.
fn double_suffix(word: Word) -> Word {
    if let Some(stem) = without(&word, "alli").filter(|stem| measure(stem) > 0) {
        return double_suffix(with(stem, "al"));
    }
    let rules = [
        ("ational", "ate"),
        ("tional", "tion"),
        ("enci", "ence"),
        ("anci", "ance"),
        ("izer", "ize"),
        ("bli", "ble"),
        ("alli", "al"),
        ("entli", "ent"),
        ("eli", "e"),
        ("ousli", "ous"),
        ("ization", "ize"),
        ("ation", "ate"),
        ("ator", "ate"),
        ("alism", "al"),
        ("iveness", "ive"),
        ("fulness", "ful"),
        ("ousness", "ous"),
        ("aliti", "al"),
        ("iviti", "ive"),
        ("biliti", "ble"),
        ("fulli", "ful"),
        ("logi", "log"),
    ];
    replace(word, &rules, |suffix, stem| match suffix {
        // The l belongs to the stem here, so that short ones like "theo" count.
        "logi" => measure(&with(stem, "l")) > 0,
        _ => measure(stem) > 0,
    })
}

/// Step 3.
fn suffix(word: Word) -> Word {
    let rules = [
        ("icate", "ic"),
        ("ative", ""),
        ("alize", "al"),
        ("iciti", "ic"),
        ("ical", "ic"),
        ("ful", ""),
        ("ness", ""),
    ];
    replace(word, &rules, |_, stem| measure(stem) > 0)
}

/// Step 4.
fn last_suffix(word: Word) -> Word {
    let suffixes = [
        "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion",
        "ou", "ism", "ate", "iti", "ous", "ive", "ize",
    ];
    replace(word, &suffixes.map(|suffix| (suffix, "")), |suffix, stem| {
        measure(stem) > 1 && (suffix != "ion" || matches!(stem.last(), Some('s' | 't')))
    })
}

/// Step 5a.
fn final_e(word: Word) -> Word {
    replace(word, &[("e", "")], |_, stem| match measure(stem) {
        0 => false,
        1 => !ends_short(stem),
        _ => true,
    })
}

/// Step 5b.
fn final_l(word: Word) -> Word {
    let shortened = word[..word.len().saturating_sub(1)].to_vec();
    replace(word, &[("ll", "l")], |_, _| measure(&shortened) > 1)
}

#[cfg(test)]
mod tests {
    use super::stem;

    #[test]
    fn stems_are_those_of_nltk() {
        let fixture: serde_json::Value =
            serde_json::from_str(include_str!("../tests/fixtures/metrics.json")).unwrap();
        let stems = fixture["stems"].as_object().unwrap();
        assert!(stems.len() > 1000);
        for (word, expected) in stems {
            assert_eq!(stem(word), expected.as_str().unwrap(), "{word}");
        }
    }
}
