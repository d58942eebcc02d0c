//! A program that is spoken with by lines, with limits on all that it does.

use std::{
    io::{BufRead, BufReader, Read, Write},
    ops::ControlFlow,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{Error, Result};

/// The longest line of a program, in bytes.
const LONGEST_LINE: u64 = 1 << 20;
/// Lines that wait to be read; a program that writes more waits itself.
const WAITING: usize = 64;
/// The longest part of a line on standard error that is logged, in bytes.
const LONGEST_SAID: usize = 4 << 10;
/// Lines on standard error that are logged; later ones are read and dropped.
const MOST_SAID: usize = 1000;
/// How often somebody who waits looks whether to stop.
const TICK: Duration = Duration::from_millis(50);

/// Whether to go on waiting.
pub(crate) type GoesOn<'g> = &'g mut dyn FnMut() -> ControlFlow<()>;

/// What a program's standard output gives.
enum Output {
    Line(Vec<u8>),
    TooLong,
    Broken(std::io::Error),
}

/// A program that runs. It is ended, with all that it started, when this is dropped.
pub(crate) struct Running {
    name: String,
    /// Whose texts it gets, for errors.
    user: Option<String>,
    child: Child,
    /// Whether it was waited for, after which its number may be another's.
    is_reaped: bool,
    input: Option<Sender<String>>,
    output: Receiver<Output>,
    /// The last line on standard error.
    said: Arc<Mutex<String>>,
    /// Ends with standard error.
    told: Receiver<()>,
    /// Lines read so far.
    lines: u64,
    timeout: Duration,
    deadline: Instant,
}

impl Running {
    /// Starts a command, without a shell, in the folder where this program runs.
    pub(crate) fn start(
        name: &str,
        user: Option<&str>,
        command: &[String],
        timeout: u64,
    ) -> Result<Self> {
        let timeout = Duration::from_secs(timeout);
        let mut made = Command::new(command.first().map_or("", String::as_str));
        made.args(command.get(1..).unwrap_or_default());
        made.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: what it starts ends with it.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut made, 0);
        let fail = |reason: String| Error::Program {
            program: name.to_owned(),
            line: None,
            user: user.map(str::to_owned),
            reason,
        };
        let mut child = made.spawn().map_err(|error| {
            fail(format!("cannot be started: {error}; the command is {}", super::spelled(command)))
        })?;
        let (input, to_write) = mpsc::channel();
        let (lines, output) = mpsc::sync_channel(WAITING);
        let (done, told) = mpsc::channel();
        let said = Arc::<Mutex<String>>::default();
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(fail("cannot be started: it has no pipes".into()));
        };
        let logged = (name.to_owned(), user.unwrap_or_default().to_owned(), Arc::clone(&said));
        let running = Self {
            name: name.to_owned(),
            user: user.map(str::to_owned),
            child,
            is_reaped: false,
            input: Some(input),
            output,
            said,
            told,
            lines: 0,
            timeout,
            deadline: Instant::now() + timeout,
        };
        // They end with the pipes, which the process' end closes.
        let threads: [Box<dyn FnOnce() + Send>; 3] = [
            Box::new(move || write(stdin, &to_write)),
            Box::new(move || read(stdout, &lines)),
            Box::new(move || log(stderr, logged, done)),
        ];
        for thread in threads {
            thread::Builder::new()
                .spawn(thread)
                .map_err(|error| fail(format!("cannot be spoken with: {error}")))?;
        }
        Ok(running)
    }

    /// Hands it a line, which it may read whenever it likes.
    pub(crate) fn send(&self, line: &serde_json::Value) {
        if let Some(input) = &self.input {
            // Whether it still reads shows in what it answers.
            let _ = input.send(format!("{line}\n"));
        }
    }

    /// Ends its input.
    pub(crate) fn close(&mut self) {
        self.input = None;
    }

    /// From now on it has its whole time again.
    pub(crate) fn restart_clock(&mut self) {
        self.deadline = Instant::now() + self.timeout;
    }

    /// The next line that is not empty, `None` at the end of its output; `expected` says in words
    /// what is waited for.
    pub(crate) fn next(&mut self, expected: &str, goes_on: GoesOn<'_>) -> Result<Option<Vec<u8>>> {
        loop {
            match self.output.recv_timeout(TICK) {
                Ok(Output::Line(line)) => {
                    self.lines += 1;
                    if !line.iter().all(u8::is_ascii_whitespace) {
                        return Ok(Some(line));
                    }
                }
                Ok(Output::TooLong) => {
                    self.lines += 1;
                    return Err(self.fail(format!("longer than {LONGEST_LINE} bytes")));
                }
                Ok(Output::Broken(error)) => return Err(self.fail(error.to_string())),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.wait_on(expected, &mut *goes_on)?;
        }
    }

    /// Refuses to wait longer than it may take, or than somebody wants to.
    fn wait_on(&self, expected: &str, goes_on: GoesOn<'_>) -> Result<()> {
        if goes_on().is_break() {
            return Err(spring_core::Error::from(spring_lm::ModelError::Stopped).into());
        }
        if Instant::now() < self.deadline {
            return Ok(());
        }
        let seconds = self.timeout.as_secs();
        Err(self.whole(format!(
            "took longer than its {seconds} seconds, with {expected}; it has to flush what it \
             writes and not wait for the end of its input, or needs a larger timeout{}",
            self.last_said()
        )))
    }

    /// Waits for its end, which has to be a good one.
    pub(crate) fn end(&mut self, goes_on: GoesOn<'_>) -> Result<()> {
        let status = self.status("all answers given but no end", goes_on)?;
        if status.success() {
            return Ok(());
        }
        Err(self.whole(format!("{}{}", in_words(status), self.last_said())))
    }

    /// The error of a program whose output ended before it had said all.
    pub(crate) fn ended_early(&mut self, expected: &str, goes_on: GoesOn<'_>) -> Error {
        match self.status(expected, goes_on) {
            Ok(status) => {
                let how = in_words(status);
                self.whole(format!("{how}, with {expected}{}", self.last_said()))
            }
            Err(error) => error,
        }
    }

    fn status(&mut self, expected: &str, goes_on: GoesOn<'_>) -> Result<ExitStatus> {
        loop {
            match self.has_ended() {
                Ok(true) => {
                    self.end_group();
                    self.is_reaped = true;
                    return self.child.wait().map_err(|error| self.whole(error.to_string()));
                }
                Ok(false) => {}
                Err(error) => return Err(self.whole(error.to_string())),
            }
            thread::sleep(Duration::from_millis(5));
            self.wait_on(expected, &mut *goes_on)?;
        }
    }

    /// Whether it has ended by itself. It is not waited for yet: until then nobody else gets its
    /// number, which is also that of its group.
    #[cfg(unix)]
    fn has_ended(&mut self) -> std::io::Result<bool> {
        use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(Pid::from_child(&self.child)), options)?.is_some())
    }

    #[cfg(not(unix))]
    fn has_ended(&mut self) -> std::io::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Ends what it started and left behind.
    fn end_group(&self) {
        #[cfg(unix)]
        {
            use rustix::process::{Pid, Signal, kill_process_group};
            // Where nobody is left there is nobody to end.
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        }
    }

    /// An error at the line that was read last.
    pub(crate) fn fail(&self, reason: String) -> Error {
        self.error(Some(self.lines), reason)
    }

    /// An error of no line.
    pub(crate) fn whole(&self, reason: String) -> Error {
        self.error(None, reason)
    }

    fn error(&self, line: Option<u64>, reason: String) -> Error {
        Error::Program { program: self.name.clone(), line, user: self.user.clone(), reason }
    }

    /// From here on errors are about this user.
    pub(crate) fn about(&mut self, user: &str) {
        self.user = Some(user.to_owned());
    }

    /// What it said last on standard error, as the end of a sentence.
    fn last_said(&self) -> String {
        // What it said at its end may still be on its way.
        let _ = self.told.recv_timeout(Duration::from_millis(500));
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        match said.as_str() {
            "" => String::new(),
            said => format!("; the last that it said: {said}"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_reaped {
            self.end_group();
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// How a program ended.
fn in_words(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("was ended by signal {signal}");
    }
    match status.code() {
        Some(code) => format!("ended with exit code {code}"),
        None => "ended without an exit code".into(),
    }
}

fn write(mut stdin: ChildStdin, lines: &Receiver<String>) {
    for line in lines {
        if stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush()).is_err() {
            break;
        }
    }
}

fn read(stdout: ChildStdout, lines: &SyncSender<Output>) {
    let mut reader = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        let found = reader.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut line);
        let sent = match found {
            Ok(0) => return,
            Ok(_) if line.len() as u64 > LONGEST_LINE => {
                let _ = lines.send(Output::TooLong);
                return;
            }
            Ok(_) => lines.send(Output::Line(line)),
            Err(error) => lines.send(Output::Broken(error)),
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Logs what a program says about itself, to its end: a full pipe would stop it.
fn log(stderr: ChildStderr, about: (String, String, Arc<Mutex<String>>), _done: Sender<()>) {
    let (program, user, last) = about;
    let (mut reader, mut said) = (BufReader::new(stderr), 0);
    loop {
        let mut line = Vec::new();
        let found = reader.by_ref().take(LONGEST_SAID as u64).read_until(b'\n', &mut line);
        if !found.is_ok_and(|bytes| bytes > 0) {
            return;
        }
        let text = String::from_utf8_lossy(&line);
        let clean: String = text.trim().chars().filter(|sign| !sign.is_control()).collect();
        if clean.is_empty() {
            continue;
        }
        said += 1;
        if said <= MOST_SAID {
            tracing::info!(%program, %user, "{clean}");
        } else if said == MOST_SAID + 1 {
            tracing::info!(%program, %user, "more than {MOST_SAID} lines; the rest is dropped");
        }
        *last.lock().unwrap_or_else(PoisonError::into_inner) = clean.chars().take(400).collect();
    }
}
