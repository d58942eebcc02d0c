//! Namespaces of this test's own: everything in them ends with it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use super::FaultTest;

/// What the first three bytes of everybody's address are.
const NET: &str = "10.77.0";

/// Where Debian has the library that sets clocks.
const FAKETIME: &str = "faketime/libfaketimeMT.so.1";

/// Starts this program again, in namespaces of its own: network, mounts and processes. What it
/// mounts and starts there is gone once it has ended, even by SIGKILL.
///
/// # Errors
///
/// This is no Linux, not root, or a program is missing; or what failed inside.
pub(super) fn enter(test: &FaultTest, program: &Path, folder: &Path) -> Result<()> {
    check()?;
    opened(folder)?;
    let own = std::env::current_exe()?;
    let status = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        // A shell takes in the processes that others left.
        .args(["sh", "-c", "\"$0\" \"$@\"; exit $?"])
        .arg(own)
        .args(["fault-test", "--namespaces", "--inside"])
        .arg(folder)
        .arg("--program")
        .arg(program)
        .arg("--pg-ctl")
        .arg(test.pg_ctl())
        .args(["--rounds", &test.rounds.to_string(), "--seed", &test.seed.to_string()])
        .status()?;
    ensure!(status.success(), "the rounds in namespaces: {status}");
    Ok(())
}

/// Refuses to begin where something is missing.
fn check() -> Result<()> {
    ensure!(cfg!(target_os = "linux"), "--namespaces: only Linux has them");
    ensure!(
        is_root(),
        "--namespaces makes network namespaces and mounts, which only root may: run this as root, \
         or without it on a database (--postgres)"
    );
    for (program, package) in [
        ("unshare", "util-linux"),
        ("setpriv", "util-linux"),
        ("ip", "iproute2"),
        ("iptables", "iptables"),
        ("psql", "postgresql-client"),
    ] {
        let found = Command::new(program).arg("--version").output();
        ensure!(found.is_ok(), "{program} is not there; Debian has it in the package {package}");
    }
    faketime().map(drop)
}

fn is_root() -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
    }
    #[cfg(not(unix))]
    false
}

/// The library that sets the clock of a program.
pub(super) fn faketime() -> Result<PathBuf> {
    let folders = fs::read_dir("/usr/lib").context("/usr/lib")?.flatten();
    let mut found = folders.map(|folder| folder.path().join(FAKETIME)).filter(|file| file.exists());
    found.next().context("libfaketime is not there; Debian has it in the package faketime")
}

/// Lets others than its owner into a folder, such as the owner of a database.
fn opened(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o711))?;
    }
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// A network: namespaces on one bridge.
pub(super) struct Network;

impl Network {
    /// Makes it, inside [`enter`]: nothing of it can be seen outside.
    pub(super) fn lay(names: &[&str]) -> Result<Self> {
        run("mkdir", &["-p", "/run/netns"])?;
        run("mount", &["-t", "tmpfs", "none", "/run/netns"])?;
        run("mount", &["-t", "tmpfs", "-o", "mode=1777", "none", "/dev/shm"])?;
        run("ip", &["link", "set", "lo", "up"])?;
        run("ip", &["link", "add", "hub", "type", "bridge"])?;
        run("ip", &["addr", "add", &format!("{NET}.254/24"), "dev", "hub"])?;
        run("ip", &["link", "set", "hub", "up"])?;
        for (&name, number) in names.iter().zip(1..) {
            let cable = cable(name);
            run("ip", &["netns", "add", name])?;
            let ends = ["type", "veth", "peer", "name", "eth0", "netns", name];
            run("ip", &[&["link", "add", &cable][..], &ends[..]].concat())?;
            run("ip", &["link", "set", &cable, "master", "hub", "up"])?;
            let address = format!("{NET}.{number}/24");
            run("ip", &["-n", name, "addr", "add", &address, "dev", "eth0"])?;
            run("ip", &["-n", name, "link", "set", "eth0", "up"])?;
            run("ip", &["-n", name, "link", "set", "lo", "up"])?;
        }
        Ok(Self)
    }

    /// The address of the machine of that number, from 1.
    pub(super) fn address(number: usize) -> String {
        format!("{NET}.{number}")
    }

    /// Pulls a machine's cable, or plugs it in again.
    pub(super) fn plug(&self, name: &str, is_in: bool) -> Result<()> {
        run("ip", &["link", "set", &cable(name), if is_in { "up" } else { "down" }])
    }

    /// Drops what comes to a machine from others, and not what it sends; or no more.
    pub(super) fn hear(&self, name: &str, hears: bool) -> Result<()> {
        let change = if hears { "-D" } else { "-I" };
        let rule = ["iptables", "-w", change, "INPUT", "-i", "eth0", "-j", "DROP"];
        run("ip", &[&["netns", "exec", name][..], &rule[..]].concat())
    }
}

fn cable(name: &str) -> String {
    format!("to-{name}")
}

/// Runs a command that must end well.
pub(super) fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output().context(program.to_owned())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {}: {}", arguments.join(" "), said.trim());
    }
    Ok(())
}
