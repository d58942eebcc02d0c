//! Which process holds a lease, and whether it still runs.

use std::fs;

use rusqlite::Row;

/// A process that holds a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    /// For people: the process and its machine.
    pub(super) name: String,
    /// Start of the machine and the table of processes, within which a process number means something.
    pub(super) place: String,
    /// The process number.
    pub(super) process: u32,
    /// When it started, in the machine's ticks: numbers are given again.
    pub(super) started: i64,
}

impl Holder {
    /// This process.
    pub(super) fn here() -> Self {
        let process = std::process::id();
        let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let on = if machine.trim().is_empty() { String::new() } else { format!(" on {}", machine.trim()) };
        Self {
            name: format!("process {process}{on}"),
            place: place(),
            process,
            started: started(process).unwrap_or_default(),
        }
    }

    /// Of a row of the table `leases`.
    pub(super) fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            name: row.get("holder")?,
            place: row.get("place")?,
            process: row.get("process")?,
            started: row.get("started")?,
        })
    }

    /// Whether it certainly runs no more. False where that cannot be known: on another machine, or on a system without
    /// `/proc`.
    pub(super) fn is_gone(&self) -> bool {
        !self.place.is_empty() && self.place == place() && started(self.process) != Some(self.started)
    }
}

/// Empty on systems without `/proc`.
fn place() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let table = fs::read_link("/proc/self/ns/pid");
    match (boot, table) {
        (Ok(boot), Ok(table)) => format!("{} {}", boot.trim(), table.display()),
        _ => String::new(),
    }
}

/// The 22nd field of `/proc/PID/stat`, of a process that is more than an unread exit code; the second field is in
/// brackets and may hold anything.
fn started(process: u32) -> Option<i64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    match fields.next()? {
        "Z" | "X" => None,
        _ => fields.nth(18)?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_runs() {
        assert!(!Holder::here().is_gone());
        assert!(Holder::here().name.starts_with("process "));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_number_given_again_is_another_process() {
        let here = Holder::here();
        assert!(here.started > 0);
        assert!(Holder { started: here.started + 1, ..here.clone() }.is_gone());
        assert!(!Holder { place: "elsewhere".into(), started: 0, ..here }.is_gone());
    }
}
