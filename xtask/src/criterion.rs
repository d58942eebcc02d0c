//! What criterion measured, from the files that it leaves.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde_json::Value;

/// A table of all benchmarks whose results lie below a folder: medians, and elements per second
/// where the bench says how many there are.
///
/// # Errors
///
/// A file of criterion's that cannot be read.
pub fn table(folder: &Path) -> Result<String> {
    let mut rows = Vec::new();
    collect(folder, &mut rows)?;
    rows.sort();
    let mut table = String::from("| benchmark | median | per second |\n|---|---|---|\n");
    for (name, median, rate) in rows {
        table += &format!("| {} | {median} | {rate} |\n", name.replace('|', "/"));
    }
    Ok(table)
}

fn collect(folder: &Path, rows: &mut Vec<(String, String, String)>) -> Result<()> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let path = entry?.path();
        if path.ends_with("new") && path.join("benchmark.json").is_file() {
            rows.push(row(
                &json(&path.join("benchmark.json"))?,
                &json(&path.join("estimates.json"))?,
            )?);
        } else if path.is_dir() {
            collect(&path, rows)?;
        }
    }
    Ok(())
}

fn json(path: &Path) -> Result<Value> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}

fn row(benchmark: &Value, estimates: &Value) -> Result<(String, String, String)> {
    let name = benchmark["full_id"].as_str().context("a benchmark without a name")?;
    let nanoseconds = estimates["median"]["point_estimate"].as_f64().context("no median")?;
    let elements = benchmark["throughput"]["Elements"].as_f64();
    let rate = elements.map_or(String::new(), |count| format!("{:.0}", count * 1e9 / nanoseconds));
    Ok((name.to_owned(), time(nanoseconds), rate))
}

/// Three digits and a unit.
fn time(nanoseconds: f64) -> String {
    let units = [(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")];
    let (size, unit) =
        units.into_iter().find(|(size, _)| nanoseconds >= *size).unwrap_or((1.0, "ns"));
    let value = nanoseconds / size;
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_become_rows() {
        let folder = tempfile::tempdir().unwrap();
        for (place, benchmark, median) in [
            ("score/base", r#"{"full_id": "score/base", "throughput": {"Elements": 2048}}"#, 2e8),
            ("buffer", r#"{"full_id": "buffer", "throughput": null}"#, 251.4),
        ] {
            for (round, median) in [("base", 1.0), ("new", median)] {
                let folder = folder.path().join(place).join(round);
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join("benchmark.json"), benchmark).unwrap();
                let estimates = format!(r#"{{"median": {{"point_estimate": {median}}}}}"#);
                fs::write(folder.join("estimates.json"), estimates).unwrap();
            }
        }
        let expected = "| buffer | 251 ns |  |\n| score/base | 200 ms | 10240 |\n";
        assert_eq!(table(folder.path()).unwrap().split_once("|---|\n").unwrap().1, expected);
    }

    #[test]
    fn times_have_three_digits_and_a_unit() {
        assert_eq!(
            [0.5, 12.34, 1.5e3, 9.9e6, 3e9].map(time).join(", "),
            "0.50 ns, 12.3 ns, 1.50 µs, 9.90 ms, 3.00 s"
        );
    }
}
