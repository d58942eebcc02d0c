//! Which process holds a lease, and whether it still runs: by which the lease of a process that
//! died is free at once. Elsewhere than on Linux, and on other machines, leases end by their time.
//!
//! `/proc` and not a file lock: a lock belongs to a file, and a state has any number of users, so
//! each would need a file of its own beside the state, which a copy or a removal of the state would
//! miss. A process number alone says little, as numbers are given again; with the start of the
//! machine, the table of processes and the start of the process it names one process. It only ever
//! sets a user free; what keeps two from writing is the lease's token.

use std::fs;

use crate::backend::Holder;

/// This process.
pub(crate) fn here() -> Holder {
    let process = std::process::id();
    let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let on = match machine.trim() {
        "" => String::new(),
        machine => format!(" on {machine}"),
    };
    Holder {
        name: format!("process {process}{on}"),
        place: place(),
        process,
        started: started(process).unwrap_or_default(),
    }
}

/// Whether it certainly runs no more. False where that cannot be known: on another machine, or on a
/// system without `/proc`.
pub(crate) fn is_gone(holder: &Holder) -> bool {
    !holder.place.is_empty()
        && holder.place == place()
        && started(holder.process) != Some(holder.started)
}

/// Start of the machine and the table of processes; empty on systems without `/proc`.
fn place() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let table = fs::read_link("/proc/self/ns/pid");
    match (boot, table) {
        (Ok(boot), Ok(table)) => format!("{} {}", boot.trim(), table.display()),
        _ => String::new(),
    }
}

/// The 22nd field of `/proc/PID/stat`, of a process that is more than an unread exit code; the
/// second field is in brackets and may hold anything.
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
        assert!(!is_gone(&here()));
        assert!(here().name.starts_with("process "));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_number_given_again_is_another_process() {
        let here = here();
        assert!(here.started > 0);
        assert!(is_gone(&Holder { started: here.started + 1, ..here.clone() }));
        assert!(!is_gone(&Holder { place: "elsewhere".into(), started: 0, ..here }));
    }
}
