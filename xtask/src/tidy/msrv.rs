//! No dependency may ask for a newer Rust than the workspace promises.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Finding;
use crate::step::Step;

/// Asks cargo for every locked package; it downloads those that are missing.
///
/// # Errors
///
/// Cargo could not be started or does not know the workspace.
pub fn check() -> Result<Vec<Finding>> {
    let step = Step::cargo("metadata", "metadata").args([
        "--locked",
        "--format-version",
        "1",
        "--all-features",
    ]);
    let output = step.process().output().with_context(|| format!("cannot start `{step}`"))?;
    ensure!(output.status.success(), "`{step}`: {}", String::from_utf8_lossy(&output.stderr));
    newer(&serde_json::from_slice(&output.stdout).context("cargo's metadata are not JSON")?)
}

/// The packages that ask for a newer Rust than the oldest that one of ours does.
fn newer(metadata: &Value) -> Result<Vec<Finding>> {
    let packages = metadata["packages"].as_array().context("cargo's metadata have no packages")?;
    let ours = packages.iter().filter(|package| package["source"].is_null());
    let promised = ours.filter_map(rust_version).min();
    let promised = promised.context("no package of the workspace has a rust-version")?;
    let others = packages.iter().filter(|package| !package["source"].is_null());
    let asking =
        others.filter(|package| rust_version(package).is_some_and(|asked| asked > promised));
    Ok(asking
        .map(|package| {
            let message = format!(
                "{} {} asks for Rust {}, but the workspace promises {}.{}: lock an older one, or \
                 raise rust-version and say so in CHANGELOG.md",
                package["name"].as_str().unwrap_or_default(),
                package["version"].as_str().unwrap_or_default(),
                package["rust_version"].as_str().unwrap_or_default(),
                promised.0,
                promised.1,
            );
            Finding::new("Cargo.lock", 0, message)
        })
        .collect())
}

fn rust_version(package: &Value) -> Option<(u32, u32)> {
    let mut parts = package["rust_version"].as_str()?.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next().unwrap_or(Ok(0)).ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_dependency_that_asks_for_a_newer_rust_is_found() {
        let package = |name: &str, source: Value, rust: Value| {
            json!({
                "name": name, "version": "1.0.0", "source": source, "rust_version": rust
            })
        };
        let metadata = json!({"packages": [
            package("ours", Value::Null, json!("1.92")),
            package("old", json!("registry"), json!("1.70.0")),
            package("same", json!("registry"), json!("1.92.1")),
            package("silent", json!("registry"), Value::Null),
            package("new", json!("registry"), json!("1.93")),
        ]});
        let found = newer(&metadata).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].to_string().starts_with("Cargo.lock: new 1.0.0 asks for Rust 1.93"));
    }
}
