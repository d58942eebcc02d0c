//! A machine: a network namespace with a clock and a name of its own, and a program on it.

use std::{
    fs,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::world;

/// How soon a changed clock shows: programs read its file so often.
pub(super) const CLOCK: Duration = Duration::from_millis(1100);

/// A machine.
pub(super) struct Node {
    pub(super) name: &'static str,
    /// By which a program tells machines apart: the file it finds as the kernel's `boot_id`.
    boot: PathBuf,
    /// How far its clock is off, as libfaketime reads it.
    clock: PathBuf,
    faketime: PathBuf,
}

impl Node {
    /// A machine whose network is there.
    pub(super) fn new(name: &'static str, number: usize, folder: &Path) -> Result<Self> {
        let boot = folder.join(format!("{name}.boot"));
        fs::write(&boot, format!("00000000-0000-4000-8000-{number:012}\n"))?;
        let (clock, faketime) = (folder.join(format!("{name}.clock")), world::faketime()?);
        let node = Self { name, boot, clock, faketime };
        node.set_clock(0)?;
        Ok(node)
    }

    /// Sets the clock off by that many minutes; clocks that measure durations go on.
    pub(super) fn set_clock(&self, minutes: i64) -> Result<()> {
        // A program that reads it finds the old one or the new one, and never half of it.
        let next = self.clock.with_extension("next");
        fs::write(&next, format!("{:+}\n", minutes * 60))?;
        Ok(fs::rename(next, &self.clock)?)
    }

    /// What starts a program here, with its arguments, of which the last is the program's path.
    /// `as_user` is what stands before it, such as `setpriv` with its arguments.
    pub(super) fn starter(&self, as_user: &[String]) -> Result<Vec<String>> {
        let text = |path: &Path| path.to_str().map(str::to_owned).context("a path is not UTF-8");
        let script = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"";
        let first = ["ip", "netns", "exec", self.name, "sh", "-c", script].map(str::to_owned);
        let mut starter = first.to_vec();
        starter.push(text(&self.boot)?);
        starter.extend_from_slice(as_user);
        starter.extend([
            "env".to_owned(),
            format!("LD_PRELOAD={}", text(&self.faketime)?),
            format!("FAKETIME_TIMESTAMP_FILE={}", text(&self.clock)?),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
            "FAKETIME_CACHE_DURATION=1".to_owned(),
        ]);
        Ok(starter)
    }

    /// Starts a program whose output goes into a file.
    pub(super) fn start(
        &self,
        program: &Path,
        arguments: &[&str],
        as_user: &[String],
        log: PathBuf,
    ) -> Result<Running> {
        let starter = self.starter(as_user)?;
        let (first, rest) = starter.split_first().context("nothing to start")?;
        let child = Command::new(first)
            .args(rest)
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .spawn()?;
        Ok(Running { child, log })
    }
}

/// A program that was started; it does not outlive the value.
pub(super) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has said until now.
    pub(super) fn said(&self) -> String {
        fs::read(&self.log).map(|said| String::from_utf8_lossy(&said).into()).unwrap_or_default()
    }

    /// How it has ended, if it has.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Ends it at once, without a word to it (SIGKILL).
    pub(super) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends a signal, such as `STOP`.
    pub(super) fn signal(&self, signal: &str) -> Result<()> {
        world::run("kill", &[&format!("-{signal}"), &self.id().to_string()])
    }

    /// Asks it to end (SIGTERM), and waits for that.
    pub(super) fn stop(&mut self, patience: Duration) -> Result<ExitStatus> {
        if let Some(ended) = self.ended()? {
            bail!("it has ended by itself: {ended}: {}", self.said().trim());
        }
        self.signal("TERM")?;
        let begin = Instant::now();
        loop {
            if let Some(ended) = self.ended()? {
                return Ok(ended);
            }
            ensure!(begin.elapsed() < patience, "it does not end: {}", self.said().trim());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended cannot be ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
