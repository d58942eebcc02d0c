//! How many tokens the rows of the batch may hold: their keys and values are most of its memory.

use std::fs;

use anyhow::{Result, ensure};
use spring_core::spring_lm::ModelConfig;

/// Tokens that there is room for by default, where there is the memory.
const USUAL: u64 = 1 << 16;

/// With fewer hardly a conversation would fit.
const LEAST: u64 = 1 << 10;

/// Bytes of the keys and values of one token: they are in 32 bits whatever the weights are in.
fn of_a_token(shape: &ModelConfig) -> u64 {
    let values = 2 * shape.num_layers * shape.num_kv_heads * shape.head_dim;
    ((values * size_of::<f32>()) as u64).max(1)
}

/// The tokens that fit into so many MiB; without a number as many as usual, or what half of the
/// memory takes that is free beside the caches, of so many MiB each, but a whole context of the
/// model at least if that is no more than usual.
///
/// # Errors
///
/// If hardly a conversation fits into what was asked for.
pub fn positions(shape: &ModelConfig, mib: Option<u32>, caches: [u32; 2]) -> Result<usize> {
    let each = of_a_token(shape);
    let positions = match mib {
        Some(mib) => {
            let positions = (u64::from(mib) << 20) / each;
            let least = (LEAST * each).div_ceil(1 << 20);
            ensure!(
                positions >= LEAST,
                "--kv-cache {mib}: a token of this model takes {each} bytes, so {positions} would \
                 fit; give at least {least}"
            );
            positions
        }
        None => by_default(each, shape.max_positions as u64, available(), caches),
    };
    Ok(usize::try_from(positions).unwrap_or(usize::MAX))
}

fn by_default(each: u64, context: u64, available: Option<u64>, caches: [u32; 2]) -> u64 {
    let caches: u64 = caches.iter().map(|mib| u64::from(*mib) << 20).sum();
    let free = available.map(|available| available.saturating_sub(caches) / 2 / each);
    // Memory that the caches have not filled yet would hold a long conversation, too.
    free.map_or(USUAL, |free| free.clamp(context.clamp(LEAST, USUAL), USUAL))
}

/// Bytes of memory that are free for this program, as far as Linux says: of the machine and of the
/// group that it may be confined to.
fn available() -> Option<u64> {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let group = number("/sys/fs/cgroup/memory.max").map(|most| {
        let used = number("/sys/fs/cgroup/memory.current").unwrap_or_default();
        let stat = fs::read_to_string("/sys/fs/cgroup/memory.stat").unwrap_or_default();
        // Pages of files that nobody has used lately go when memory is short.
        most.saturating_sub(used.saturating_sub(inactive_files(&stat)))
    });
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| of_machine(&text));
    machine.into_iter().chain(group).min()
}

fn inactive_files(stat: &str) -> u64 {
    let bytes = stat.lines().find_map(|line| line.strip_prefix("inactive_file "));
    bytes.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or_default()
}

fn of_machine(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use spring_core::LanguageModel;

    use super::*;
    use crate::embedded;

    #[test]
    fn bytes_become_tokens_by_the_shape_of_the_model() {
        let files = embedded::model_files(embedded::NAME).unwrap();
        let model = spring_model::AnyModel::load(&files, spring_model::Device::Cpu).unwrap();
        let shape = model.config().clone();
        let each = of_a_token(&shape);
        // What a session really keeps of one token.
        let model: std::sync::Arc<dyn LanguageModel> = std::sync::Arc::new(model);
        let mut session = model.session().unwrap();
        let length = session.part_length().unwrap();
        let context: Vec<u32> = vec![40; length + 1];
        let rows = session.begin_branches(&[&context], None, 1).unwrap();
        while session.read_on(rows[0]).unwrap() > 0 {}
        let part = session.part(rows[0], 0).unwrap();
        assert_eq!(part.bytes(), each * length as u64);
        assert_eq!(positions(&shape, Some(64), [0, 0]).unwrap() as u64, (64 << 20) / each);
    }

    #[test]
    fn too_little_is_refused_with_what_is_needed() {
        let files = embedded::model_files(embedded::NAME).unwrap();
        let mut shape = spring_model::AnyModel::load(&files, spring_model::Device::Cpu)
            .unwrap()
            .config()
            .clone();
        shape.num_layers = 1000;
        let error = positions(&shape, Some(1), [0, 0]).unwrap_err().to_string();
        assert!(error.contains("--kv-cache 1") && error.contains("give at least"), "{error}");
    }

    #[test]
    fn by_default_it_is_as_usual_or_half_of_what_the_caches_leave() {
        let of = |each, available, caches| by_default(each, 2048, available, caches);
        assert_eq!(of(1000, None, [1024, 512]), USUAL);
        assert_eq!(of(1000, Some(1 << 40), [1024, 512]), USUAL);
        assert_eq!(of(1 << 10, Some(3 << 30), [1024, 1024]), USUAL);
        assert_eq!(of(1 << 16, Some(3 << 30), [1024, 1024]), 1 << 13);
        // A whole context fits, and no more than usual is asked for it.
        assert_eq!(of(1 << 16, Some(0), [1024, 1024]), 2048);
        assert_eq!(by_default(1 << 16, 1 << 20, Some(0), [0, 0]), USUAL);
        assert_eq!(by_default(1 << 16, 16, Some(0), [0, 0]), LEAST);
        let stat = "anon 7\ninactive_file 4096\nactive_file 9\n";
        assert_eq!((inactive_files(stat), inactive_files("")), (4096, 0));
        let text = "MemTotal:  8 kB\nMemAvailable:      6 kB\n";
        assert_eq!((of_machine(text), of_machine("")), (Some(6144), None));
    }
}
