//! Models in several files, named `NAME-00001-of-0000N.gguf`.

use std::path::{Path, PathBuf};

use crate::error::{GgufError, Result};
use crate::{Limits, Metadata};

const COUNT: &str = "split.count";
const NUMBER: &str = "split.no";
const TENSORS: &str = "split.tensors.count";

/// In how many files a model is, by its metadata; 0 or 1 for one that is in one file.
pub(crate) fn count(metadata: &Metadata, path: &Path, limits: &Limits) -> Result<u64> {
    let Some(value) = metadata.get(COUNT) else { return Ok(0) };
    let Some(count) = value.as_u64() else {
        let (path, key) = (path.into(), COUNT.to_owned());
        let problem = format!("must be a whole number and is {}", value.kind());
        return Err(GgufError::Key { path, key, problem });
    };
    if count > limits.shards {
        let what = "the number of the model's files".to_owned();
        return Err(GgufError::Limit {
            path: path.into(),
            what,
            value: count,
            limit: limits.shards,
        });
    }
    Ok(count)
}

/// The path of part `number` (from 0), from any part's path.
pub(crate) fn sibling(path: &Path, number: u64, count: u64) -> Result<PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str());
    let stem = name.and_then(|name| {
        let rest = name.strip_suffix(".gguf")?.strip_suffix(&format!("-of-{count:05}"))?;
        let (stem, own) = rest.rsplit_once('-')?;
        (own.len() == 5 && own.bytes().all(|b| b.is_ascii_digit())).then_some(stem)
    });
    let Some(stem) = stem else {
        return Err(wrong(
            path,
            format!(
                "this is a part of a model in {count} files, so its name must end in \
                 -00001-of-{count:05}.gguf, with its own number; give it its name back"
            ),
        ));
    };
    Ok(path.with_file_name(format!("{stem}-{:05}-of-{count:05}.gguf", number + 1)))
}

/// Checks that a file is the part that its name says.
pub(crate) fn check(
    metadata: &Metadata,
    number: u64,
    total: u64,
    path: &Path,
    limits: &Limits,
) -> Result<()> {
    if count(metadata, path, limits)? != total {
        let problem = format!("this file is not part of a model in {total} files; fetch it again");
        return Err(wrong(path, problem));
    }
    if metadata.get(NUMBER).and_then(|value| value.as_u64()) != Some(number) {
        let problem =
            format!("this file is not part {} of the model; rename the parts", number + 1);
        return Err(wrong(path, problem));
    }
    Ok(())
}

/// Checks the number of tensors in all parts.
pub(crate) fn check_total(metadata: &Metadata, tensors: usize, path: &Path) -> Result<()> {
    match metadata.get(TENSORS).and_then(|value| value.as_u64()) {
        Some(expected) if expected != tensors as u64 => Err(wrong(
            path,
            format!("the model has {expected} tensors, its files {tensors}; fetch them again"),
        )),
        _ => Ok(()),
    }
}

fn wrong(path: &Path, problem: String) -> GgufError {
    GgufError::Shards { path: path.into(), problem }
}
