//! `rank_pattern` and `alpha_pattern`: ranks and scales of single modules.

use fancy_regex::Regex;

use super::MAX_PATTERN;

/// `rank_pattern` and `alpha_pattern`, in the order of the file: of several that fit a module the
/// first counts.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    ranks: Vec<(Regex, usize)>,
    alphas: Vec<(Regex, f64)>,
}

impl Patterns {
    pub(super) fn read(json: &[u8]) -> Result<Self, String> {
        #[derive(Default, serde::Deserialize)]
        struct Fields {
            rank_pattern: Option<Pairs>,
            alpha_pattern: Option<Pairs>,
        }
        // Other programs begin a file with a byte order mark.
        let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
        let fields: Fields = spring_numerics::words::from_json(json).map_err(|e| e.to_string())?;
        let compile = |name: &str, pairs: Option<Pairs>| -> Result<Vec<(Regex, f64)>, String> {
            let pairs = pairs.map_or_else(Vec::new, |pairs| pairs.0);
            pairs
                .into_iter()
                .map(|(pattern, value)| {
                    if pattern.len() > MAX_PATTERN {
                        return Err(format!("{name}: a pattern longer than {MAX_PATTERN} bytes"));
                    }
                    let regex = Regex::new(&format!(r"^(.*\.)?({pattern})$")).map_err(|e| {
                        format!("{name}: {pattern:?} is no regular expression: {e}")
                    })?;
                    Ok((regex, value))
                })
                .collect()
        };
        let ranks = compile("rank_pattern", fields.rank_pattern)?;
        let ranks = ranks
            .into_iter()
            .map(|(pattern, rank)| match rank {
                rank if rank.fract() == 0.0 && (1.0..=1024.0).contains(&rank) => {
                    Ok((pattern, rank as usize))
                }
                rank => Err(format!(
                    "rank_pattern has the rank {rank}; whole numbers from 1 to 1024 are allowed"
                )),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { ranks, alphas: compile("alpha_pattern", fields.alpha_pattern)? })
    }

    pub(super) fn rank(&self, module: &str) -> Option<usize> {
        first(&self.ranks, module)
    }

    pub(super) fn alpha(&self, module: &str) -> Option<f64> {
        first(&self.alphas, module)
    }
}

fn first<T: Copy>(patterns: &[(Regex, T)], module: &str) -> Option<T> {
    patterns
        .iter()
        .find(|(pattern, _)| pattern.is_match(module).unwrap_or(false))
        .map(|(_, value)| *value)
}

/// A JSON object in the order of its file.
#[derive(Debug, Default)]
struct Pairs(Vec<(String, f64)>);

impl<'de> serde::Deserialize<'de> for Pairs {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Pairs;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of numbers")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pattern_of_the_file_that_fits_gives_rank_and_scale() {
        let json =
            br#"{"rank_pattern": {"v_proj": 2, "layers.1.*v_proj": 4, "self_attn.q_proj": 8},
                        "alpha_pattern": {"z": 1, "(q|v)_proj": 6, "a": 3}}"#;
        let patterns = Patterns::read(json).unwrap();
        let of = |module| (patterns.rank(module), patterns.alpha(module));
        assert_eq!(of("model.layers.1.self_attn.v_proj"), (Some(2), Some(6.0)));
        assert_eq!(of("model.layers.0.self_attn.q_proj"), (Some(8), Some(6.0)));
        assert_eq!(of("model.layers.0.self_attn.k_proj"), (None, None));
        for bad in [
            r#"{"rank_pattern": {"v": 0}}"#,
            r#"{"alpha_pattern": [1]}"#,
            r#"{"rank_pattern": {"(": 1}}"#,
        ] {
            assert!(Patterns::read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
