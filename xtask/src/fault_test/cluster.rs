//! A PostgreSQL of the test's own, on a machine and a small disk of its own.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    as_owner,
    node::{Node, Running},
    world::run,
};

/// What its disk holds, in MiB: a cluster takes half of it.
const DISK: u32 = 160;

/// How long it may take to start, also after a crash.
const STARTING: Duration = Duration::from_secs(60);

/// A server that is one process of this test, the postmaster, and what that starts.
pub(super) struct Cluster {
    pub(super) node: Node,
    programs: PathBuf,
    disk: PathBuf,
    as_user: Vec<String>,
    postmaster: Option<Running>,
    starts: u32,
}

impl Cluster {
    /// Makes a cluster with a database `spring`, and starts it.
    pub(super) fn make(node: Node, pg_ctl: &Path, folder: &Path) -> Result<Self> {
        let programs = pg_ctl.parent().map(Path::to_owned).unwrap_or_default();
        let disk = folder.join("disk");
        fs::create_dir_all(&disk)?;
        let path = disk.to_str().context("the temporary folder's path is not UTF-8")?;
        let owner = "postgres";
        run("mount", &["-t", "tmpfs", "-o", &format!("size={DISK}m"), "none", path])?;
        run("chown", &[owner, path])?;
        let data = disk.join("data");
        // PostgreSQL refuses to run as root.
        let made = as_owner(&disk, &programs.join("initdb"))?
            .arg("-D")
            .arg(&data)
            .args(["-U", "spring", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"])
            .args(["--wal-segsize=1"])
            .stdin(Stdio::null())
            .output()
            .context("initdb, beside pg_ctl")?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr).trim());
        let settings = "listen_addresses = '*'\nunix_socket_directories = ''\n\
                        max_connections = 100\nshared_buffers = 16MB\nmin_wal_size = 8MB\n\
                        max_wal_size = 24MB\n";
        File::options()
            .append(true)
            .open(data.join("postgresql.conf"))?
            .write_all(settings.as_bytes())?;
        File::options()
            .append(true)
            .open(data.join("pg_hba.conf"))?
            .write_all(b"host all all samenet trust\n")?;
        let as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"];
        let as_user = as_user.map(str::to_owned).to_vec();
        let mut cluster = Self { node, programs, disk, as_user, postmaster: None, starts: 0 };
        cluster.start()?;
        cluster.ask("postgres", "CREATE DATABASE spring")?;
        Ok(cluster)
    }

    /// Starts the server where it does not run, and waits until it answers.
    pub(super) fn start(&mut self) -> Result<()> {
        let begin = Instant::now();
        loop {
            let has_ended = match &mut self.postmaster {
                Some(postmaster) => postmaster.ended()?.is_some(),
                None => true,
            };
            if has_ended {
                self.spawn()?;
            }
            if self.ask("postgres", "SELECT 1").is_ok() {
                return Ok(());
            }
            if begin.elapsed() > STARTING {
                let said = self.postmaster.as_ref().map(Running::said).unwrap_or_default();
                let last: Vec<&str> = said.lines().rev().take(12).collect();
                bail!("the database does not start: {}", last.join(" < "));
            }
            // After a kill its parts may take a moment to see that they are alone.
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn spawn(&mut self) -> Result<()> {
        self.starts += 1;
        let log = self.disk.with_file_name(format!("postgres-{}.log", self.starts));
        let data = self.disk.join("data");
        let data = data.to_str().context("the temporary folder's path is not UTF-8")?;
        let program = self.programs.join("postgres");
        let started = self.node.start(&program, &["-D", data], &self.as_user, log)?;
        self.postmaster = Some(started);
        Ok(())
    }

    /// Kills the postmaster (SIGKILL) and starts it again.
    pub(super) fn kill(&mut self) -> Result<()> {
        if let Some(mut postmaster) = self.postmaster.take() {
            postmaster.kill()?;
        }
        self.start()
    }

    /// Ends the server without a checkpoint (as `pg_ctl -m immediate`) and starts it again.
    pub(super) fn restart(&mut self) -> Result<()> {
        if let Some(mut postmaster) = self.postmaster.take() {
            // It may have ended by itself, on a disk that is full.
            if postmaster.ended()?.is_none() {
                postmaster.signal("QUIT")?;
                let begin = Instant::now();
                while postmaster.ended()?.is_none() {
                    ensure!(begin.elapsed() < STARTING, "the database does not end");
                    thread::sleep(Duration::from_millis(10));
                }
            }
        }
        self.start()
    }

    /// Fills the disk to the last byte.
    pub(super) fn fill(&self) -> Result<()> {
        let mut file = File::create(self.disk.join("ballast"))?;
        // The smaller ones take what is left after the larger ones.
        for size in [1 << 20, 4096] {
            let zeros = vec![0_u8; size];
            while file.write_all(&zeros).is_ok() {}
        }
        Ok(())
    }

    /// Frees it again; a server that did not survive it is started.
    pub(super) fn free(&mut self) -> Result<()> {
        fs::remove_file(self.disk.join("ballast"))?;
        self.start()
    }

    /// Runs a statement on the database's own machine; gives the lines of what it returns, the
    /// values with `|` between them.
    pub(super) fn sql(&self, statement: &str) -> Result<Vec<String>> {
        self.ask("spring", statement)
    }

    fn ask(&self, database: &str, statement: &str) -> Result<Vec<String>> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.node.name]).arg(self.programs.join("psql"));
        command.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            "127.0.0.1",
            "-U",
            "spring",
        ]);
        command.args(["-d", database, "-c", statement]);
        let output = command.stdin(Stdio::null()).output().context("psql")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "psql: {}", said.trim());
        Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
    }
}
