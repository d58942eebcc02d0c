//! Whose text it is, by its character n-grams: a nearest-centroid classifier over TF-IDF, the
//! baseline of the shared tasks on authorship (M. Kestemont et al., "Overview of the Cross-Domain
//! Authorship Verification Task at PAN 2020": cosines between TF-IDF vectors of character
//! n-grams).
//!
//! The vectors are those of scikit-learn's `TfidfVectorizer(analyzer="char", ngram_range=(3, 5),
//! lowercase=False)`, a person is the mean of the vectors of their texts, and a text goes to the
//! person with the largest cosine. Nothing is drawn, tuned or trained by steps.
//!
//! The mean of many texts is nearer to any text than that of few: what one text has by accident
//! averages out, and what everybody writes remains. Whoever wants a fair comparison learns from the
//! same number of texts of each person.

use std::collections::{BTreeMap, HashMap};

use spring_numerics::whitespace::is_python_space;

/// The lengths of the n-grams, in characters.
const LENGTHS: std::ops::RangeInclusive<usize> = 3..=5;

/// A vector as its entries that are not 0: the n-gram's number and its weight, by number.
type Sparse = Vec<(u32, f64)>;

/// A classifier that says which of some people wrote a text.
///
/// ```
/// use spring_metrics::Attribution;
/// let known = [
///     ("ada", "Dear Tom, I should be glad to hear from you."),
///     ("bob", "hey!! sounds gr8, c u l8r"),
/// ];
/// let attribution = Attribution::fit(known);
/// assert_eq!(attribution.attribute("Dear Jane, I should be delighted."), Some("ada"));
/// assert_eq!(attribution.attribute("c u there!!"), Some("bob"));
/// // Nothing of it was ever seen.
/// assert_eq!(attribution.attribute("Ωμέγα"), None);
/// ```
#[derive(Debug, Clone)]
pub struct Attribution {
    /// The number of every n-gram.
    ngrams: HashMap<Box<str>, u32>,
    /// The weight of every n-gram, by its number: ln((1 + n) / (1 + df)) + 1 over n texts.
    idf: Vec<f64>,
    /// The people by name, each a vector of length 1.
    people: BTreeMap<String, Vec<f64>>,
}

impl Attribution {
    /// Learns from texts and who wrote them. A text of fewer than three characters tells nothing;
    /// a person with more texts than the others is likelier for it.
    ///
    /// Takes time and memory in proportion to the texts, and memory for each person in proportion
    /// to the different n-grams of all.
    pub fn fit<'t>(texts: impl IntoIterator<Item = (&'t str, &'t str)>) -> Self {
        let mut ngrams: HashMap<Box<str>, u32> = HashMap::new();
        let mut found_in: Vec<usize> = Vec::new();
        let mut counted: Vec<(&str, Sparse)> = Vec::new();
        for (person, text) in texts {
            let counts = counts(text, |ngram| {
                if let Some(number) = ngrams.get(ngram) {
                    return Some(*number);
                }
                let number = u32::try_from(ngrams.len()).ok()?;
                ngrams.insert(ngram.into(), number);
                found_in.push(0);
                Some(number)
            });
            counts.iter().for_each(|(number, _)| found_in[*number as usize] += 1);
            counted.push((person, counts));
        }
        let texts = counted.len() as f64;
        let idf: Vec<f64> = found_in
            .iter()
            .map(|found| ((1.0 + texts) / (1.0 + *found as f64)).ln() + 1.0)
            .collect();
        let mut people: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (person, counts) in counted {
            let sum = people.entry(person.to_owned()).or_insert_with(|| vec![0.0; idf.len()]);
            for (number, weight) in weighted(counts, &idf) {
                sum[number as usize] += weight;
            }
        }
        for sum in people.values_mut() {
            let norm = sum.iter().map(|weight| weight * weight).sum::<f64>().sqrt();
            if norm > 0.0 {
                sum.iter_mut().for_each(|weight| *weight /= norm);
            }
        }
        Self { ngrams, idf, people }
    }

    /// How many people it knows.
    pub fn people(&self) -> usize {
        self.people.len()
    }

    /// How often a guess is right that takes everybody alike: one in the number of people; 0
    /// without people. A guess that favours somebody reaches it as a mean over people only.
    pub fn chance(&self) -> f64 {
        if self.people.is_empty() { 0.0 } else { 1.0 / self.people.len() as f64 }
    }

    /// The cosine of a text to every person, 0 to 1, in the order of their names.
    pub fn similarities(&self, text: &str) -> Vec<(&str, f64)> {
        let counts = counts(text, |ngram| self.ngrams.get(ngram).copied());
        let vector = weighted(counts, &self.idf);
        let people = self.people.iter().map(|(person, mean)| {
            let cosine = vector.iter().map(|(number, weight)| weight * mean[*number as usize]);
            (person.as_str(), cosine.sum())
        });
        people.collect()
    }

    /// The person with the largest cosine, of equal ones the first by name. `None` for a text that
    /// shares no n-gram with anybody's.
    pub fn attribute(&self, text: &str) -> Option<&str> {
        let mut best: Option<(&str, f64)> = None;
        for (person, cosine) in self.similarities(text) {
            if cosine > best.map_or(0.0, |(_, cosine)| cosine) {
                best = Some((person, cosine));
            }
        }
        best.map(|(person, _)| person)
    }
}

/// How often each n-gram occurs that has a number, by number. As in scikit-learn, white space of
/// two characters or more counts as one space.
fn counts(text: &str, mut number_of: impl FnMut(&str) -> Option<u32>) -> Sparse {
    let text = with_single_spaces(text);
    let ends: Vec<usize> =
        text.char_indices().map(|(place, _)| place).chain(std::iter::once(text.len())).collect();
    let mut numbers: Vec<u32> = Vec::new();
    for length in LENGTHS {
        let windows = ends.windows(length + 1);
        numbers.extend(windows.filter_map(|ends| number_of(&text[ends[0]..ends[length]])));
    }
    numbers.sort_unstable();
    numbers.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as f64)).collect()
}

/// A text in which every run of at least two white-space characters is one space.
fn with_single_spaces(text: &str) -> String {
    let mut single = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(sign) = rest.next() {
        let is_run =
            is_python_space(sign) && rest.peek().is_some_and(|next| is_python_space(*next));
        single.push(if is_run { ' ' } else { sign });
        while is_run && rest.next_if(|next| is_python_space(*next)).is_some() {}
    }
    single
}

/// Counts times weights, scaled to the length 1.
fn weighted(counts: Sparse, idf: &[f64]) -> Sparse {
    let mut vector = counts;
    vector.iter_mut().for_each(|(number, count)| *count *= idf[*number as usize]);
    let norm = vector.iter().map(|(_, weight)| weight * weight).sum::<f64>().sqrt();
    vector.iter_mut().for_each(|(_, weight)| *weight /= norm);
    vector
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similarities_are_those_of_scikit_learn() {
        let fixture: serde_json::Value =
            serde_json::from_str(include_str!("../tests/fixtures/persons.json")).unwrap();
        let known = fixture["known"].as_array().unwrap().iter();
        let known = known.map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()));
        let attribution = Attribution::fit(known);
        assert_eq!((attribution.people(), attribution.chance()), (4, 0.25));
        let asked = fixture["attributed"].as_array().unwrap();
        assert!(asked.len() > 30);
        for text in asked {
            let similarities = attribution.similarities(text["text"].as_str().unwrap());
            assert_eq!(similarities.len(), 4);
            for (person, ours) in similarities {
                let theirs = text["similarities"][person].as_f64().unwrap();
                assert!((ours - theirs).abs() < 1e-9, "{person}: {ours} for {text}");
            }
        }
    }

    #[test]
    fn cosines_by_hand() {
        let attribution = Attribution::fit([("b", "abc"), ("a", "abc"), ("a", "")]);
        for (_, cosine) in attribution.similarities("abc") {
            assert!((cosine - 1.0).abs() < 1e-15, "{cosine}");
        }
        // Two texts: the second one has 5 n-grams of three characters, 4 of four and 3 of five in
        // "abc xyz". Of these "abc" is in both texts and weighs ln(3/3) + 1, the others are in one
        // and weigh ln(3/2) + 1.
        let attribution = Attribution::fit([("a", "abc"), ("b", "abc\n\nxyz")]);
        let rare = 1.5f64.ln() + 1.0;
        let (person, cosine) = attribution.similarities("abc")[1];
        assert_eq!(person, "b");
        assert!((cosine - 1.0 / (1.0 + 11.0 * rare * rare).sqrt()).abs() < 1e-15, "{cosine}");
    }

    #[test]
    fn more_texts_of_the_same_kind_are_nearer_to_any_text() {
        // "abc" is in all four texts and weighs ln(5/5) + 1, the two other n-grams of each text are
        // in that one alone.
        let attribution = Attribution::fit([
            ("few", "abcw"),
            ("many", "abcx"),
            ("many", "abcy"),
            ("many", "abcz"),
        ]);
        let rare = 2.5f64.ln() + 1.0;
        let expected =
            [1.0 / (1.0 + 2.0 * rare * rare).sqrt(), 3.0 / (9.0 + 6.0 * rare * rare).sqrt()];
        for ((_, cosine), expected) in attribution.similarities("abc").into_iter().zip(expected) {
            assert!((cosine - expected).abs() < 1e-12, "{cosine} for {expected}");
        }
        assert_eq!(attribution.attribute("abc"), Some("many"));
    }

    #[test]
    fn of_equal_people_the_first_by_name_is_taken() {
        let attribution = Attribution::fit([("b", "abc"), ("a", "abc")]);
        assert_eq!(attribution.attribute("abcd"), Some("a"));
    }

    #[test]
    fn what_nobody_wrote_is_nobody_s() {
        for attribution in [Attribution::fit([]), Attribution::fit([("a", "ab"), ("b", "")])] {
            assert_eq!(attribution.attribute("abc"), None);
            assert_eq!(attribution.attribute(""), None);
        }
        assert_eq!(Attribution::fit([]).chance(), 0.0);
        // Of one text each, the longer one does not win for its length.
        let much = "the same thing again and again ".repeat(50);
        let attribution = Attribution::fit([("much", much.as_str()), ("little", "a kettle")]);
        assert_eq!(attribution.attribute("the kettle"), Some("little"));
    }
}
