//! `target_modules` and what narrows it down: which layers have factors.

use std::collections::{BTreeMap, BTreeSet};

use fancy_regex::Regex;
use serde_json::Value;

use super::{MAX_PATTERN, module};
use crate::{Projection, adapter::LoraPair};

/// Which modules a PEFT configuration adapts.
#[derive(Debug)]
pub(super) struct Targets {
    pub(super) modules: Modules,
    /// `exclude_modules`
    pub(super) excluded: Option<Modules>,
    /// `layers_to_transform`
    pub(super) blocks: Option<BTreeSet<usize>>,
}

#[derive(Debug)]
pub(super) enum Modules {
    All,
    /// Those that the file has factors for.
    Found,
    /// Each names a module, or ends the path of some.
    Names(Vec<String>),
    Pattern(Regex),
}

impl Modules {
    pub(super) fn read(key: &str, value: &Value) -> Result<Self, String> {
        let strings = |value: &Value| -> Option<Vec<String>> {
            value.as_array()?.iter().map(|v| Some(v.as_str()?.to_owned())).collect()
        };
        match value {
            Value::String(all) if all == "all-linear" => Ok(Self::All),
            Value::String(pattern) if pattern.len() <= MAX_PATTERN => {
                Regex::new(&format!("^(?:{pattern})$"))
                    .map(Self::Pattern)
                    .map_err(|e| format!("{key} is no regular expression: {e}"))
            }
            value => strings(value).filter(|list| !list.is_empty()).map(Self::Names).ok_or_else(|| {
                format!(
                    "{key} = {value}; a list of names, a regular expression or \"all-linear\" is \
                     wanted"
                )
            }),
        }
    }

    fn contains(&self, path: &str) -> bool {
        match self {
            Self::All | Self::Found => true,
            Self::Names(names) => names.iter().any(|name| is_suffix(path, name)),
            // A pattern that runs into the library's limit of steps matches nothing, and the
            // factors then do not fit.
            Self::Pattern(pattern) => pattern.is_match(path).unwrap_or(false),
        }
    }
}

impl Targets {
    /// `blocks` is where the file has its blocks: names and patterns are of that spelling.
    fn contains(&self, layer: usize, projection: Projection, blocks: &str) -> bool {
        let path = module(blocks, layer, projection);
        self.modules.contains(&path)
            && !self.excluded.as_ref().is_some_and(|excluded| excluded.contains(&path))
            && self.blocks.as_ref().is_none_or(|blocks| blocks.contains(&layer))
    }

    /// Compares the factors of a file with what its configuration says; fills in the targets and
    /// gives the blocks.
    pub(super) fn check(
        &self,
        targets: &mut Vec<Projection>,
        layers: &BTreeMap<(usize, Projection), LoraPair>,
        place: &str,
    ) -> Result<Option<Vec<usize>>, String> {
        let blocks: BTreeSet<usize> = layers.keys().map(|(layer, _)| *layer).collect();
        *targets = Projection::ALL
            .into_iter()
            .filter(|p| layers.keys().any(|(_, found)| found == p))
            .collect();
        for &layer in &blocks {
            for projection in Projection::ALL {
                let (wanted, name) = (self.contains(layer, projection, place), projection.name());
                match layers.contains_key(&(layer, projection)) {
                    true if !wanted => {
                        return Err(format!(
                            "layer {layer} {name} has factors, but is not among target_modules"
                        ));
                    }
                    // What PEFT chose by itself may be less than all that it could have.
                    false if wanted && !matches!(self.modules, Modules::Found) => {
                        return Err(format!(
                            "layer {layer} {name} is missing: target_modules names it, and the \
                             file has no factors of it; save the adapter anew"
                        ));
                    }
                    _ => {}
                }
            }
        }
        // PEFT passes over names that no module has; one of a block that the file lacks would be a
        // file cut short.
        if let Modules::Names(names) = &self.modules {
            let lacks = |name: &&String| {
                let block = block_of(name).filter(|block| !blocks.contains(block));
                block.is_some_and(|block| {
                    let paths = Projection::ALL.map(|p| format!("{place}{block}.{}", p.path()));
                    paths.iter().any(|path| is_suffix(path, name))
                })
            };
            if let Some(name) = names.iter().find(lacks) {
                return Err(format!(
                    "target_modules names {name:?}, for which there are no factors"
                ));
            }
        }
        if let Some(missing) = self.blocks.iter().flatten().find(|block| !blocks.contains(block)) {
            return Err(format!(
                "layers_to_transform names {missing}, for which there are no factors"
            ));
        }
        let all = match &self.modules {
            _ if self.blocks.is_some() => false,
            Modules::All | Modules::Found => true,
            Modules::Names(names) => names.iter().all(|name| !name.contains("layers.")),
            Modules::Pattern(_) => false,
        };
        Ok((!all).then(|| blocks.into_iter().collect()))
    }
}

/// The number of the block that a module's name goes through.
fn block_of(name: &str) -> Option<usize> {
    name.rsplit_once("layers.")?.1.split_once('.')?.0.parse().ok()
}

/// Whether a name is a path or its last parts.
fn is_suffix(path: &str, name: &str) -> bool {
    path.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::peft::{BLOCKS, config::parse_config};

    /// What a file with factors for these places gives under a `target_modules` and a
    /// `layers_to_transform`.
    fn blocks(
        places: &[(usize, Projection)],
        modules: Value,
        blocks: Value,
        place: &str,
    ) -> Result<Option<Vec<usize>>, String> {
        let json = json!({
            "peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": modules,
            "layers_to_transform": blocks
        });
        let (mut config, targets) = parse_config(json.as_object().unwrap(), "test").unwrap();
        let pair = LoraPair { a: ndarray::array![[1.0]], b: ndarray::array![[1.0]] };
        let layers = places.iter().map(|place| (*place, pair.clone())).collect();
        targets.check(&mut config.targets, &layers, place)
    }

    #[test]
    fn target_modules_say_which_factors_must_be_there() {
        use Projection::{Down, Q, V};
        let both = [(0, Q), (0, V), (1, Q), (1, V)];
        let [text, newer, older] = BLOCKS;
        assert_eq!(blocks(&both, json!(["q_proj", "v_proj"]), Value::Null, text), Ok(None));
        assert_eq!(
            blocks(&both, json!(["self_attn.q_proj", "v_proj"]), Value::Null, text),
            Ok(None)
        );
        assert_eq!(
            blocks(&both, r".*self_attn\.[qv]_proj".into(), Value::Null, text),
            Ok(Some(vec![0, 1]))
        );
        let deeper = r"model\.language_model\.layers\.\d+\.self_attn\.(q|v)_proj";
        assert_eq!(blocks(&both, deeper.into(), Value::Null, newer), Ok(Some(vec![0, 1])));
        // The layout that a file does not have is not the one that its pattern is for.
        assert!(
            blocks(&both, deeper.into(), Value::Null, older).unwrap_err().contains("not among")
        );
        let deeper = r"language_model\.model\.layers\.\d+\.self_attn\.(q|v)_proj";
        assert_eq!(blocks(&both, deeper.into(), Value::Null, older), Ok(Some(vec![0, 1])));
        let whole = json!(["language_model.model.layers.1.self_attn.q_proj"]);
        assert_eq!(blocks(&[(1, Q)], whole, Value::Null, older), Ok(Some(vec![1])));
        // Every layer may have its own.
        let places = [(0, Q), (1, Down)];
        let own = r".*(0.self_attn.q|1.mlp.down)_proj";
        assert_eq!(blocks(&places, own.into(), Value::Null, text), Ok(Some(vec![0, 1])));
        assert_eq!(blocks(&both, Value::Null, Value::Null, text), Ok(None));
        // PEFT passes over names that no module has.
        assert_eq!(
            blocks(&both, json!(["q_proj", "v_proj", "c_attn"]), Value::Null, text),
            Ok(None)
        );
        assert_eq!(
            blocks(&both, json!(["q_proj", "v_proj"]), json!([1, 0]), text),
            Ok(Some(vec![0, 1]))
        );
        assert_eq!(blocks(&[(2, Q)], json!(["q_proj"]), json!(2), text), Ok(Some(vec![2])));
        assert_eq!(
            blocks(&[(1, Q)], json!(["layers.1.self_attn.q_proj"]), Value::Null, text),
            Ok(Some(vec![1]))
        );
        for (places, modules, list, word) in [
            (&both[..3], json!(["q_proj", "v_proj"]), Value::Null, "layer 1 v_proj is missing"),
            (&both[..], json!(["q_proj"]), Value::Null, "v_proj has factors"),
            (
                &both[..],
                json!(["q_proj", "v_proj", "layers.2.mlp.up_proj"]),
                Value::Null,
                "layers.2.mlp.up_proj",
            ),
            (&both[..], json!(["c_attn"]), Value::Null, "not among"),
            (&both[..], json!(["q_proj", "v_proj"]), json!([0, 1, 2]), "names 2"),
            (&both[..], "all-linear".into(), Value::Null, "k_proj is missing"),
            (&both[..], r"(x+x+)+y.*".into(), Value::Null, "not among"),
        ] {
            let error = blocks(places, modules, list, text).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
