//! What reading retrieved texts along gains for a person's own texts, measured text by text, for a
//! gate and a λ that are calibrated by use.

use spring_fuse::{Calibration, Gains, Lambda, MixtureConfig, Space, TextGain};
use spring_lm::{Adapter, Branch, Sequence};
use spring_memory::Hit;

use crate::{
    Config, Error, LanguageModel, Result, Retriever, StoredInteraction,
    branches::{check_scores, rows, token_at},
    prompt::{Encoded, RetrievedPair, contexts_of_rest, encode_pair},
};

/// A token that a branch holds impossible costs this many nats, so that a gain stays a number.
const IMPOSSIBLE: f64 = 1000.0;

/// A text that is measured: its response, and what stands before it in the two branches.
struct Pair {
    key: u64,
    /// The best score of what was retrieved.
    score: f64,
    plain: Sequence,
    with: Sequence,
}

/// Measures on the latest texts of a bank what reading along gains, each of them left out of what
/// is searched for it: the k best of the others stand before it as they do when it is generated.
/// `None` where the settings ask for no such thing, and where nothing was retrieved for any text.
///
/// Of the others the later ones count, too. A prompt that is answered finds all of the bank before
/// it, and in a bank of earlier texts alone there would be fewer to choose from, and lower scores,
/// the earlier the text.
pub(crate) fn measure(
    model: &dyn LanguageModel,
    config: &Config,
    adapter: Option<&Adapter>,
    retriever: &dyn Retriever,
    bank: &[StoredInteraction],
) -> Result<Option<Gains>> {
    let Some(measured_under) = config.gains_under(config) else { return Ok(None) };
    let mut texts: Vec<&StoredInteraction> = bank.iter().collect();
    texts.sort_by_key(|text| (text.interaction.time, text.seq));
    let latest = texts.len().saturating_sub(config.retrieval.gain_texts);
    let mut pairs = Vec::new();
    for text in &texts[latest..] {
        let prompt = &text.interaction.prompt;
        let hits = retriever.search_without(model, prompt, config.gate.k(), text.seq)?;
        pairs.extend(pair(model, config, text, &hits, bank)?);
    }
    if pairs.is_empty() {
        return Ok(None);
    }
    let lambdas = lambdas(config);
    let texts = match config.fusion.space {
        Space::Probability {} => by_likelihoods(model, adapter, &pairs, &lambdas)?,
        _ => by_mixing(model, config, adapter, &pairs, &lambdas)?,
    };
    Ok(Some(Gains::new(measured_under, lambdas, texts)))
}

/// The two contexts of a text; `None` where nothing is retrieved for it or fits before it.
fn pair(
    model: &dyn LanguageModel,
    config: &Config,
    text: &StoredInteraction,
    hits: &[Hit],
    bank: &[StoredInteraction],
) -> Result<Option<Pair>> {
    let (prompt, response) = (&text.interaction.prompt, &text.interaction.response);
    let encoded = encode_pair(model, prompt, response, config.training.max_tokens)?;
    let lost = encoded.lost_of_prompt();
    let Encoded { sequence: plain, .. } = encoded;
    let is_found = |hit: &&Hit| hit.score > 0.0 && hit.key != text.seq;
    let found: Vec<&Hit> = hits.iter().filter(is_found).collect();
    let kept: Vec<RetrievedPair<'_>> = found
        .iter()
        .filter_map(|hit| bank.iter().find(|text| text.seq == hit.key))
        .map(RetrievedPair::of)
        .collect();
    let room = Some(plain.response.len());
    let contexts = contexts_of_rest(model, prompt, lost, &kept, room)?;
    let (Some(context), Some(best)) = (contexts.retrieval, found.first()) else { return Ok(None) };
    if plain.response.is_empty() {
        return Ok(None);
    }
    let with = Sequence { context, response: plain.response.clone() };
    Ok(Some(Pair { key: text.seq, score: best.score, plain, with }))
}

/// The λ at which gains are measured. In the contrastive space λ moves nothing, so there it is the
/// one of the settings.
fn lambdas(config: &Config) -> Vec<f64> {
    match (config.fusion.space, config.fusion.lambda) {
        (Space::Contrastive { .. }, Lambda::Fixed(lambda)) if lambda > 0.0 => {
            vec![nearest(lambda)]
        }
        _ => Gains::grid(),
    }
}

/// The gains of a mixture of probabilities, which is known from the branches' log-likelihoods:
/// ln((1−λ)·p + λ·q) − ln p, token by token.
fn by_likelihoods(
    model: &dyn LanguageModel,
    adapter: Option<&Adapter>,
    pairs: &[Pair],
    lambdas: &[f64],
) -> Result<Vec<TextGain>> {
    let rows: Vec<(&Sequence, Option<&Adapter>)> =
        pairs.iter().flat_map(|pair| [(&pair.plain, adapter), (&pair.with, adapter)]).collect();
    let scores = model.score(&rows)?;
    if scores.len() != rows.len() {
        let reason = format!("scores of {} rows where {} were asked", scores.len(), rows.len());
        return Err(Error::Contract { reason });
    }
    let mut texts = Vec::with_capacity(pairs.len());
    for (pair, scores) in pairs.iter().zip(scores.chunks(2)) {
        let response = &pair.plain.response;
        let [without, with] =
            [0, 1].map(|branch| scores.get(branch).map_or(&[][..], Vec::as_slice));
        check_scores(without, response)?;
        check_scores(with, response)?;
        let gains = lambdas.iter().map(|&lambda| {
            let tokens = without.iter().zip(with);
            tokens.map(|(p, q)| gain(f64::from(*p), f64::from(*q), lambda)).sum::<f64>()
                / response.len() as f64
        });
        texts.push(TextGain::new(pair.key, pair.score, gains.collect()));
    }
    Ok(texts)
}

/// ln((1−λ)·eᵖ + λ·e^q) − p, within what a token may cost.
fn gain(p: f64, q: f64, lambda: f64) -> f64 {
    // Where they cannot be told apart, as where both are impossible, nothing is gained.
    let ratio = if p == q { 0.0 } else { (q - p).clamp(-IMPOSSIBLE, IMPOSSIBLE) };
    match lambda {
        _ if lambda == 1.0 => ratio,
        // Without an overflow of the exponential for large ratios.
        _ if ratio > 0.0 => ratio + (lambda + (1.0 - lambda) * (-ratio).exp()).ln(),
        _ => (lambda * ratio.exp_m1()).ln_1p(),
    }
}

/// The gains of any mixture, by mixing the branches' whole distributions at each λ.
fn by_mixing(
    model: &dyn LanguageModel,
    config: &Config,
    adapter: Option<&Adapter>,
    pairs: &[Pair],
    lambdas: &[f64],
) -> Result<Vec<TextGain>> {
    let mut mixture = MixtureConfig::default().with_space(config.fusion.space).init()?;
    let mut mixed = vec![0.0; model.info().vocabulary];
    let mut texts = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let response = &pair.plain.response;
        let branches: [Branch<'_>; 2] =
            [(&pair.plain.context, adapter), (&pair.with.context, adapter)];
        let mut gains = vec![0.0; lambdas.len()];
        let mut failure = None;
        model.score_branches(&branches, response, &mut |position, log_probs| {
            if failure.is_some() {
                return Ok(());
            }
            let mut add = || -> Result<()> {
                let rows = rows(&log_probs, branches.len(), mixed.len())?;
                let token = token_at(response, position)? as usize;
                for (gain, &lambda) in gains.iter_mut().zip(lambdas) {
                    let weights = Lambda::Fixed(lambda as f32).weights(2, None)?;
                    mixture.mix(&rows, &weights, &mut mixed)?;
                    // A token outside the vocabulary is the model's fault, and is told as such.
                    let chosen = |row: &[f32]| row.get(token).copied().unwrap_or(f32::NAN);
                    let (own, with) = (f64::from(chosen(rows[0])), f64::from(chosen(&mixed)));
                    if own != with {
                        let nats = (with - own).clamp(-IMPOSSIBLE, IMPOSSIBLE);
                        *gain += nats / response.len() as f64;
                    }
                }
                Ok(())
            };
            failure = add().err();
            Ok(())
        })?;
        if let Some(error) = failure {
            return Err(error);
        }
        texts.push(TextGain::new(pair.key, pair.score, gains));
    }
    Ok(texts)
}

/// What a gate is asked with: the gains only if they were measured under these settings, and at the
/// one λ where it is fixed.
pub(crate) fn as_asked(calibration: &Calibration, bank: &Config, asked: &Config) -> Calibration {
    let scores = || Calibration::new(calibration.sample.clone());
    let Some(gains) = &calibration.gains else { return scores() };
    if bank.gains_under(asked).as_ref() != Some(&gains.measured_under) {
        return scores();
    }
    scores().with_gains(match asked.fusion.lambda {
        Lambda::Fixed(lambda) => gains.at_lambda(nearest(lambda)),
        _ => Some(gains.clone()),
    })
}

/// The number that is meant by a setting of single precision: 0.7, and not 0.699999988.
fn nearest(lambda: f32) -> f64 {
    lambda.to_string().parse().unwrap_or(f64::from(lambda))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gain_is_the_logarithm_of_the_mixture_over_that_of_the_branch() {
        for (p, q, lambda) in [(0.2, 0.6, 0.5), (0.6, 0.2, 0.1), (0.5, 0.5, 0.7), (0.9, 1e-6, 1.0)]
        {
            let expected = f64::ln(((1.0 - lambda) * p + lambda * q) / p);
            let actual = gain(f64::ln(p), f64::ln(q), lambda);
            assert!((actual - expected).abs() < 1e-12, "{p} {q} {lambda}: {actual}, {expected}");
        }
        assert_eq!(gain(f64::NEG_INFINITY, f64::NEG_INFINITY, 0.5), 0.0);
        assert_eq!(gain(-1.0, f64::NEG_INFINITY, 1.0), -IMPOSSIBLE);
        assert!((gain(-1.0, f64::NEG_INFINITY, 0.5) - 0.5f64.ln()).abs() < 1e-12);
        assert!((gain(f64::NEG_INFINITY, -1.0, 0.5) - (IMPOSSIBLE + 0.5f64.ln())).abs() < 1e-9);
    }

    #[test]
    fn gains_are_for_the_settings_that_they_were_measured_under() {
        let plain = Config::default();
        assert_eq!(plain.gains_under(&plain), None);
        let of = |changes: &[&str]| plain.with_changes(changes).unwrap();
        let config = of(&["gate=calibrated"]);
        let name = config.gains_under(&config).unwrap();
        let text = TextGain::new(1, 2.0, Gains::grid().iter().map(|lambda| lambda / 2.0).collect());
        let gains = Gains::new(name.clone(), Gains::grid(), vec![text]);
        let calibration = Calibration::new(vec![1.0]).with_gains(gains.clone());
        let asked = |config: &Config| as_asked(&calibration, config, config).gains;
        // At the λ of the settings alone, and all of them where λ is calibrated.
        assert_eq!(asked(&config).unwrap().lambdas, [0.5]);
        let other = of(&["gate=calibrated", "fusion.lambda=0.7"]);
        assert_eq!(asked(&other).unwrap(), gains.at_lambda(0.7).unwrap());
        assert_eq!(asked(&of(&["fusion.lambda=calibrated"])), Some(gains));
        for change in [
            "retrieval.retriever=latest",
            "retrieval.half_life=5",
            "retrieval.fields=prompt",
            "bm25.b=0.5",
            "buffer.bank=history",
            "gate.k=3",
            "fusion.space=logit",
        ] {
            let changed = of(&["gate=calibrated", change]);
            assert_ne!(changed.gains_under(&changed), Some(name.clone()), "{change}");
            assert_eq!(asked(&changed), None, "{change}");
        }
        assert_eq!(asked(&plain), None);
        // How many texts are measured, and what decides instead, change no gain.
        let same = of(&["gate=calibrated", "gate.otherwise=never", "retrieval.gain_texts=9"]);
        assert_eq!(same.gains_under(&same), Some(name));
    }
}
