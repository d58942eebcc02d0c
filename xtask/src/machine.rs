//! On what something was measured.

use std::{fs, process::Command, thread};

/// One line about the machine, the compilers and this revision; what the system does not tell is
/// left out.
pub fn about(native: bool) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let arch = std::env::consts::ARCH;
    let build = if native {
        format!("compiled for this {arch}")
    } else {
        format!("compiled for any {arch}")
    };
    let lock = read(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock"));
    let parts = [
        processor(&read("/proc/cpuinfo")),
        thread::available_parallelism().ok().map(|cores| format!("{cores} cores")),
        memory(&read("/proc/meminfo")),
        system(&read("/etc/os-release")),
        said_by("rustc", &["--version"]).map(|version| short(&version)),
        locked(&lock, "burn"),
        Some(build),
        said_by("git", &["describe", "--always", "--dirty"])
            .map(|revision| format!("revision {revision}")),
        load(&read("/proc/loadavg")),
    ];
    format!("Measured on: {}.", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

fn field<'a>(text: &'a str, name: &str, separator: char) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(separator)?;
        (found.trim() == name).then(|| value.trim().trim_matches('"'))
    })
}

fn processor(cpuinfo: &str) -> Option<String> {
    field(cpuinfo, "model name", ':').map(str::to_owned)
}

fn memory(meminfo: &str) -> Option<String> {
    let kibibytes: u64 = field(meminfo, "MemTotal", ':')?.trim_end_matches(" kB").parse().ok()?;
    Some(format!("{} GiB", (kibibytes as f64 / f64::from(1 << 20)).round()))
}

fn system(os_release: &str) -> Option<String> {
    field(os_release, "PRETTY_NAME", '=').map(str::to_owned)
}

/// The mean number of programs that were running in the minute before.
fn load(loadavg: &str) -> Option<String> {
    loadavg
        .split(' ')
        .next()
        .filter(|load| !load.is_empty())
        .map(|load| format!("load {load} before"))
}

/// A package and its version in a Cargo.lock.
fn locked(lock: &str, package: &str) -> Option<String> {
    let (_, rest) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    Some(format!("{package} {}", rest.split_once('"')?.0))
}

/// `rustc 1.95.0 (59807616e 2026-04-14)` without its end.
fn short(version: &str) -> String {
    version.split(" (").next().unwrap_or(version).to_owned()
}

fn said_by(program: &str, args: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_system_are_read() {
        assert_eq!(
            processor("processor\t: 0\nmodel name\t: Some CPU\n").as_deref(),
            Some("Some CPU")
        );
        assert_eq!(memory("MemTotal:       24606748 kB\n").as_deref(), Some("23 GiB"));
        assert_eq!(system("NAME=\"D\"\nPRETTY_NAME=\"Debian 13\"\n").as_deref(), Some("Debian 13"));
        assert_eq!(load("0.50 1 2 3/4 5\n").as_deref(), Some("load 0.50 before"));
        assert_eq!(
            locked("name = \"burn\"\nversion = \"0.21.0\"\n", "burn").as_deref(),
            Some("burn 0.21.0")
        );
        assert_eq!(short("rustc 1.95.0 (abc 2026-04-14)"), "rustc 1.95.0");
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        assert_eq!(
            (processor(""), memory(""), system(""), load(""), locked("", "burn")),
            Default::default()
        );
    }
}
