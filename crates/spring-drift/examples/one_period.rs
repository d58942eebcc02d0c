//! One period, scored by every scorer: what each would take, and how the paper's score divides
//! between its terms.
//!
//! `cargo run -p spring-drift --example one_period`

use spring_drift::{Alpha, DriftError, Observation, ScoreStatistics, ScorerConfig, Selection};

fn main() -> Result<(), DriftError> {
    // Base, adapter, and what the text is.
    let texts = [
        (-3.1, -2.2, "usual"),
        (-3.4, -2.6, "usual"),
        (-3.0, -4.1, "new topic"),
        (-9.5, -9.9, "keyboard noise"),
        (-3.3, -3.9, "new topic"),
        (-2.8, -2.1, "usual"),
        (-5.9, -5.2, "rare words"),
    ];
    let observations: Vec<Observation> = (0..)
        .zip(texts)
        .map(|(order, (base, adapter, _))| Observation::new(base, Some(adapter), order))
        .collect();
    for name in ["spring", "loss", "novelty", "quality", "recency", "random"] {
        let config: ScorerConfig = name.parse()?;
        let scores = config.init()?.score(&observations)?;
        let selected = Selection::default().select(&scores, &observations)?;
        let taken: Vec<&str> = selected.indices.iter().map(|&index| texts[index].2).collect();
        println!("{name:8} {}\n         {taken:?}", selected.reason);
        if config == ScorerConfig::default() {
            println!("         {:?}", ScoreStatistics::of(&scores, Alpha::default())?);
        }
    }
    Ok(())
}
