//! Whether something that was said quotes a text: also in part, in other case, with other line
//! breaks or punctuation.

use std::collections::HashSet;

use unicode_normalization::UnicodeNormalization;

/// This many words of a text in a row are a quotation; fewer are said by chance, unless they are
/// all of it.
const RUN: usize = 5;
/// Fewer characters than this are said by chance: they quote a text only where they are all that is
/// said.
const FEW: usize = 4;
/// This many characters quote a text also where they begin or end inside a word.
const MANY: usize = 16;

/// What of a text's prompt and response no other text of the user says too.
#[derive(Debug)]
pub(super) struct Quotable {
    /// Prompt and response, those that no other text has.
    whole: Vec<Side>,
    /// Their runs of words that are in no other text.
    runs: HashSet<Vec<String>>,
}

#[derive(Debug)]
struct Side {
    text: String,
    words: Vec<String>,
}

impl Quotable {
    /// What can be quoted of a prompt and a response, before anything else is known.
    pub(super) fn of(prompt: &str, response: &str) -> Self {
        let side = |text: &str| Side { text: text.trim().to_owned(), words: words(text) };
        let whole: Vec<Side> = [prompt, response].map(side).into();
        let runs = whole.iter().flat_map(|side| side.words.windows(RUN)).map(<[_]>::to_vec);
        Self { runs: runs.collect(), whole }
    }

    /// Takes away what another text says too.
    pub(super) fn without(&mut self, other: &str) {
        let said = words(other);
        self.whole.retain(|side| side.text != other.trim() && !is_same(&side.words, &said));
        if !self.runs.is_empty() {
            for run in said.windows(RUN) {
                self.runs.remove(run);
            }
        }
    }

    /// Whether something quotes it: one of its sides, or a run of its words.
    pub(super) fn is_in(&self, said: &str) -> bool {
        if self.whole.iter().any(|side| is_whole_in(said, &side.text)) {
            return true;
        }
        let said = words(said);
        let is_whole_of = |side: &Side| {
            let letters: usize = side.words.iter().map(|word| word.chars().count()).sum();
            match letters {
                0 => false,
                1..FEW => side.words == said,
                _ => said.windows(side.words.len()).any(|run| *run == side.words),
            }
        };
        self.whole.iter().any(is_whole_of)
            || (!self.runs.is_empty() && said.windows(RUN).any(|run| self.runs.contains(run)))
    }
}

fn is_same(one: &[String], other: &[String]) -> bool {
    !one.is_empty() && one == other
}

/// The words of a text as they compare: compatibility characters and accents composed (NFKC), in
/// lower case, without punctuation, joined again where a hyphen divides them at a line's end.
/// Characters of scripts that put no spaces between words are words of their own.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut end = |word: &mut String| {
        if !word.is_empty() {
            words.push(std::mem::take(word));
        }
    };
    let mut letters = text.nfkc().flat_map(char::to_lowercase).peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{ad}' | '\'' | '\u{2019}' => {}
            '-' | '\u{2010}' if !word.is_empty() && letters.peek().is_some_and(is_line_end) => {
                while letters.next_if(|next| next.is_whitespace()).is_some() {}
            }
            _ if is_unspaced(letter) => {
                end(&mut word);
                end(&mut letter.to_string());
            }
            _ if letter.is_alphanumeric() => word.push(letter),
            _ => end(&mut word),
        }
    }
    end(&mut word);
    words
}

fn is_line_end(letter: &char) -> bool {
    matches!(letter, '\n' | '\r')
}

/// Thai to Khmer, kana, and the ideographs.
fn is_unspaced(letter: char) -> bool {
    matches!(letter, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{20000}'..='\u{323af}')
}

/// Whether something that was said has a text in it, letter by letter.
fn is_whole_in(said: &str, text: &str) -> bool {
    let is_cut = |before: Option<char>, after: Option<char>| {
        [before, after].iter().all(|side| side.is_some_and(char::is_alphanumeric))
    };
    let mut found = said.match_indices(text);
    match text.chars().count() {
        0 => false,
        1..FEW => said.trim() == text,
        FEW..MANY => found.any(|(at, _)| {
            let (before, after) = (&said[..at], &said[at + text.len()..]);
            !is_cut(before.chars().next_back(), text.chars().next())
                && !is_cut(text.chars().next_back(), after.chars().next())
        }),
        MANY.. => found.next().is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quotation_is_no_chance() {
        for (said, text, is_quoted) in [
            ("anything", "", false),
            ("anything", " ", false),
            ("5", "5", true),
            (" 5\n", "5", true),
            ("5.", "5", true),
            ("at 5 o'clock", "5", false),
            ("a comedy, then", "comedy", true),
            ("comedy", "comedy ", true),
            ("a comedy2", "comedy", false),
            ("tragicomedy, comedy", "comedy", true),
            ("Ünot", "not!", false),
            ("x(not!)x", "not!", true),
            ("notaries not", "nota", false),
            ("so he was a singular personalit", "he was a singular person", true),
        ] {
            assert_eq!(Quotable::of("", text).is_in(said), is_quoted, "{said:?} {text:?}");
        }
    }

    const LETTER: &str = "Dear Ms Okafor, the results of your biopsy came back on Tuesday, and \
                          they are clear. Don't worry about the co-payment.";

    #[test]
    fn a_quotation_may_be_partial_recased_and_rewrapped() {
        let letter = Quotable::of("What shall I write?", LETTER);
        for (said, is_quoted) in [
            // All of it, in other case and on other lines.
            (LETTER.to_uppercase().as_str(), true),
            (&LETTER.replace(' ', "\n> "), true),
            // A part, with other punctuation, quotation marks, a soft and a hard hyphen.
            ("You wrote: \"THE RESULTS -- of your biopsy\" (sic)", true),
            ("the results of your bi\u{ad}opsy", true),
            ("…results of your bi-\n  opsy came…", true),
            ("‘Dont worry about the Co Payment’", true),
            ("ＲＥＳＵＬＴＳ of your biopsy came", true),
            // Four words, or five in another order, are nobody's.
            ("The results of your survey came back", false),
            ("of the results your biopsy came", false),
            ("biopsy", false),
            ("", false),
            ("what shall i\nwrite", true),
            ("What shall I write about?", true),
            ("What shall I do?", false),
        ] {
            assert_eq!(letter.is_in(said), is_quoted, "{said:?}");
        }
        // Accents, written as one character or as two.
        assert!(
            Quotable::of("", "Café très agréable à Orléans")
                .is_in("CAFE\u{301} tre\u{300}s agréable à Orléans")
        );
        // A script without spaces.
        let japanese = Quotable::of("", "検査の結果は火曜日に届きました");
        assert!(japanese.is_in("先生によると、結果は火曜日\nに届いた"));
        assert!(!japanese.is_in("火曜日に会いましょう"));
    }

    #[test]
    fn what_another_text_says_too_is_not_this_ones() {
        let mut letter = Quotable::of("Rate it, please.", LETTER);
        letter.without("RATE IT PLEASE");
        letter.without("As I said, the results of your biopsy came back on Tuesday.");
        for (said, is_quoted) in [
            ("Rate it, please.", false),
            ("the results of your biopsy came back on Tuesday", false),
            ("on Tuesday, and they are clear", true),
            ("biopsy came back on Tuesday, and", true),
        ] {
            assert_eq!(letter.is_in(said), is_quoted, "{said:?}");
        }
    }
}
