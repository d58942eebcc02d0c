//! One sequence of tokens: `begin`, earlier texts each as `prompt ⏎⏎ response end`, then the text
//! itself in the same form. It is the layout in which the model is later given retrieved texts.

use spring_model::Sequence;

/// Between a prompt and its response.
pub const SEPARATOR: &str = "\n\n";

/// A text as token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The prompt and the separator.
    pub prompt: Vec<u32>,
    /// The response and the end token.
    pub response: Vec<u32>,
}

impl Pair {
    /// Tokens in all.
    pub fn len(&self) -> usize {
        self.prompt.len() + self.response.len()
    }
}

/// Of some texts, best first, those that fit before `target` as wholes, best last.
pub fn fitting<'a>(candidates: &'a [Pair], target: &Pair, context: usize) -> Vec<&'a Pair> {
    let mut room = context.saturating_sub(1 + target.len());
    let mut chosen: Vec<&Pair> = Vec::new();
    for pair in candidates {
        if pair.len() <= room {
            room -= pair.len();
            chosen.push(pair);
        }
    }
    chosen.reverse();
    chosen
}

/// A sequence whose every token but the first is learned; what exceeds the context is cut at the
/// end.
pub fn to_learn(begin: u32, earlier: &[&Pair], target: &Pair, context: usize) -> Sequence {
    let mut ids: Vec<u32> = ids_of(earlier).collect();
    ids.extend(target.prompt.iter().chain(&target.response));
    ids.truncate(context - 1);
    Sequence { context: vec![begin], response: ids }
}

/// A sequence whose response alone is scored. What is too long loses the end of its response and
/// the beginning of its prompt; the prompt keeps half, or what the response leaves free.
pub fn to_score(begin: u32, earlier: &[&Pair], target: &Pair, context: usize) -> Sequence {
    let mut ids: Vec<u32> = [begin].into_iter().chain(ids_of(earlier)).collect();
    let room = context.saturating_sub(ids.len());
    let most = (room / 2).max(room.saturating_sub(target.response.len()));
    ids.extend(&target.prompt[target.prompt.len().saturating_sub(most)..]);
    let kept = target.response.len().min(context.saturating_sub(ids.len()));
    Sequence { context: ids, response: target.response[..kept].to_vec() }
}

fn ids_of(pairs: &[&Pair]) -> impl Iterator<Item = u32> {
    pairs.iter().flat_map(|pair| pair.prompt.iter().chain(&pair.response)).copied()
}
