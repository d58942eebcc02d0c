//! Tokenizers and chat templates of foreign models in a process of their own.
//!
//! The libraries underneath may be brought to overflow their stack, to run for ever or to ask for
//! all memory by what a model's files hold; none of that can be caught within a process. A program
//! that calls [`use_program`] has every tokenizer that is read from files run by a second process
//! with limits on its memory and its computing time, and goes on when that one ends.

use std::{
    ffi::OsString,
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    panic,
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, ExitStatus, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
};

use serde::{Deserialize, Serialize};
use spring_numerics::words::of_system;

use crate::{Message, ModelError, ModelFiles, Result, Role, tokenizer::LocalTokenizer};

/// Computing time for loading a tokenizer, in seconds; the largest in use take two.
const LOADING: u64 = 60;
/// Computing time for a text or a conversation, in seconds. A megabyte takes one.
const ANSWERING: u64 = 20;
/// Memory beside what the program itself has: so much, and so much for each byte of the files. The
/// largest tokenizers in use take 25 bytes for each.
const MEMORY: u64 = 1 << 30;
const MEMORY_PER_BYTE: u64 = 64;
/// A GGUF file's metadata and vocabulary are not told apart from its weights by size.
const MEMORY_OF_GGUF: u64 = 4 << 30;
/// The longest reply, in bytes.
const LONGEST: u64 = 1 << 30;

static PROGRAM: OnceLock<(PathBuf, Vec<OsString>)> = OnceLock::new();

/// From now on tokenizers of files are run by `program` with `arguments`, which has to call
/// [`serve`]. The first call counts. Without one they run in this process, and files from strangers
/// should not be read.
pub fn use_program(program: PathBuf, arguments: Vec<OsString>) {
    let _ = PROGRAM.set((program, arguments));
}

#[derive(Debug, Serialize, Deserialize)]
enum Request {
    /// The contents follow, one behind the other.
    Load {
        label: String,
        vocab_size: usize,
        gguf: Option<PathBuf>,
        parts: Vec<(String, usize)>,
    },
    Encode(String),
    Chat(Vec<(Role, String)>),
    Decode(Vec<u32>),
    IsByte(u32),
    Bytes(u32),
}

#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    Loaded(Facts),
    Ids(Option<Vec<u32>>),
    Text(String),
    Is(bool),
    Bytes(Vec<u8>),
    OfTokenizer { file: String, reason: String },
    OfConfig { file: String, reason: String },
    Failed(String),
}

/// What does not change.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) has_chat: bool,
    /// Whether the tokenizer's files say with which token a text begins, be it none.
    pub(crate) says_begin: bool,
    pub(crate) begin: Option<u32>,
    pub(crate) ends: Vec<u32>,
    pub(crate) end_of_turn: Option<u32>,
    pub(crate) tokens: usize,
}

impl Facts {
    fn of(tokenizer: &LocalTokenizer) -> Self {
        // No id is as high.
        let unsaid = Some(u32::MAX);
        let begin = tokenizer.begin_token(unsaid);
        Self {
            has_chat: tokenizer.has_chat_template(),
            says_begin: begin != unsaid,
            begin,
            ends: tokenizer.end_tokens(&[]),
            end_of_turn: tokenizer.end_of_turn(),
            tokens: tokenizer.tokens(),
        }
    }
}

/// A tokenizer in another process, which is started again for the next text after one that ended
/// it.
#[derive(Debug)]
pub(crate) struct Helper {
    files: ModelFiles,
    vocab_size: usize,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    to: BufWriter<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Helper {
    /// Starts a process with a model's tokenizer; `None` where this process runs them itself.
    pub(crate) fn start(files: &ModelFiles, vocab_size: usize) -> Result<Option<(Self, Facts)>> {
        if PROGRAM.get().is_none() || files.is_built_in() {
            return Ok(None);
        }
        let files = files.of_tokenizer();
        let helper = Self { files, vocab_size, running: Mutex::default() };
        let (running, facts) = helper.run()?;
        *helper.lock() = Some(running);
        Ok(Some((helper, facts)))
    }

    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>> {
        match self.ask(&Request::Encode(text.into()))? {
            Reply::Ids(Some(ids)) => Ok(ids),
            other => Err(self.unexpected(other)),
        }
    }

    pub(crate) fn encode_chat(&self, messages: &[Message<'_>]) -> Result<Option<Vec<u32>>> {
        let turns = messages.iter().map(|turn| (turn.role, turn.content.to_owned())).collect();
        match self.ask(&Request::Chat(turns))? {
            Reply::Ids(ids) => Ok(ids),
            other => Err(self.unexpected(other)),
        }
    }

    pub(crate) fn decode(&self, ids: &[u32]) -> Result<String> {
        match self.ask(&Request::Decode(ids.into()))? {
            Reply::Text(text) => Ok(text),
            other => Err(self.unexpected(other)),
        }
    }

    pub(crate) fn is_byte(&self, id: u32) -> bool {
        matches!(self.ask(&Request::IsByte(id)), Ok(Reply::Is(true)))
    }

    pub(crate) fn token_bytes(&self, id: u32) -> Vec<u8> {
        match self.ask(&Request::Bytes(id)) {
            Ok(Reply::Bytes(bytes)) => bytes,
            _ => Vec::new(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, request: &Request) -> Result<Reply> {
        let mut running = self.lock();
        if running.is_none() {
            *running = Some(self.run()?.0);
        }
        let Some(process) = running.as_mut() else { return Err(self.failed("it did not start")) };
        match process.ask(request, &[]) {
            Ok(reply) => Ok(reply),
            Err(error) => {
                let ended = running.take().map(Running::end);
                Err(self.ended(ended, &error, ANSWERING))
            }
        }
    }

    fn run(&self) -> Result<(Running, Facts)> {
        let Some((program, arguments)) = PROGRAM.get() else {
            return Err(self.failed("there is no program to run it"));
        };
        let start = |error: io::Error| {
            self.failed(&format!(
                "the process that runs it cannot be started: {}",
                of_system(&error)
            ))
        };
        let mut running = Running::start(program, arguments).map_err(start)?;
        let parts = self.files.tokenizer_parts();
        let request = Request::Load {
            label: self.files.label().to_owned(),
            vocab_size: self.vocab_size,
            gguf: self.files.gguf_path(),
            parts: parts.iter().map(|(name, bytes)| (name.clone(), bytes.len())).collect(),
        };
        let contents: Vec<&[u8]> = parts.iter().map(|(_, bytes)| *bytes).collect();
        match running.ask(&request, &contents) {
            Ok(Reply::Loaded(facts)) => Ok((running, facts)),
            Ok(other) => {
                running.end();
                Err(self.unexpected(other))
            }
            Err(error) => Err(self.ended(Some(running.end()), &error, LOADING)),
        }
    }

    fn unexpected(&self, reply: Reply) -> ModelError {
        match reply {
            Reply::OfTokenizer { file, reason } => ModelError::Tokenizer { file, reason },
            Reply::OfConfig { file, reason } => ModelError::Config { file, reason },
            Reply::Failed(reason) => self.failed(&reason),
            _ => self.failed("the process that runs it gave another answer than was asked for"),
        }
    }

    fn failed(&self, reason: &str) -> ModelError {
        ModelError::Tokenizer {
            file: self.files.label().to_owned(),
            reason: format!("tokenizer or chat template: {reason}"),
        }
    }

    /// Why a process ended, as far as the system says.
    fn ended(&self, status: Option<ExitStatus>, error: &io::Error, seconds: u64) -> ModelError {
        #[cfg(unix)]
        let signal =
            status.and_then(|status| std::os::unix::process::ExitStatusExt::signal(&status));
        #[cfg(not(unix))]
        let signal: Option<i32> = None;
        self.failed(&match (signal, status) {
            // Linux's and macOS' numbers of SIGXCPU, SIGKILL, SIGABRT, SIGSEGV and SIGBUS.
            (Some(24 | 9), _) => format!("it took more than {seconds} s of computing time"),
            (Some(6), _) => "it asked for more memory than a tokenizer may have".into(),
            (Some(7 | 10 | 11), _) => "it overflowed its stack".into(),
            (_, Some(status)) => {
                format!("the process that runs it ended ({status}): {}", of_system(error))
            }
            _ => format!("the process that runs it ended: {}", of_system(error)),
        })
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if let Some(running) = self.lock().take() {
            running.end();
        }
    }
}

impl Running {
    fn start(program: &PathBuf, arguments: &[OsString]) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments);
        // What a library prints before it ends is no message for a user.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // mimalloc maps a gigabyte at first, in which a limit on what is mapped would not be met.
        command.env("MIMALLOC_ARENA_RESERVE", "0");
        // Ctrl-C is for the program that asks, which may need an answer before it ends.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(to), Some(from)) => {
                Ok(Self { child, to: BufWriter::new(to), from: BufReader::new(from) })
            }
            _ => Err(io::Error::other("it has no pipes")),
        }
    }

    fn ask(&mut self, request: &Request, contents: &[&[u8]]) -> io::Result<Reply> {
        serde_json::to_writer(&mut self.to, request)?;
        self.to.write_all(b"\n")?;
        for bytes in contents {
            self.to.write_all(bytes)?;
        }
        self.to.flush()?;
        let mut line = Vec::new();
        (&mut self.from).take(LONGEST).read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&line)?)
    }

    /// Closes the pipes, upon which the process ends if it has not, and waits for that.
    fn end(self) -> ExitStatus {
        let Self { mut child, to, from } = self;
        // A reply that is too long may still be coming.
        drop((to.into_parts(), from));
        child.wait().unwrap_or_default()
    }
}

/// Answers the process that started this one, until it closes its end: what a program does that was
/// started with the arguments of [`use_program`].
pub fn serve() -> ExitCode {
    panic::set_hook(Box::new(|_| {}));
    let (mut from, mut to) = (io::stdin().lock(), io::stdout().lock());
    let mut tokenizer = None;
    loop {
        match answer(&mut from, &mut to, &mut tokenizer) {
            Ok(true) => {}
            Ok(false) => return ExitCode::SUCCESS,
            Err(_) => return ExitCode::FAILURE,
        }
    }
}

/// A limit that a test has set, in debug builds, so that what exceeds it does no harm elsewhere.
fn lowered(variable: &str) -> Option<u64> {
    cfg!(debug_assertions).then(|| std::env::var(variable).ok()?.parse().ok()).flatten()
}

/// Answers one request; false at the end of all.
fn answer(
    from: &mut impl BufRead,
    to: &mut impl Write,
    tokenizer: &mut Option<LocalTokenizer>,
) -> io::Result<bool> {
    let mut line = Vec::new();
    if from.read_until(b'\n', &mut line)? == 0 {
        return Ok(false);
    }
    let request: Request = serde_json::from_slice(&line)?;
    let contents = match &request {
        Request::Load { parts, gguf, .. } => {
            let bytes = parts.iter().map(|(_, length)| *length as u64).sum::<u64>();
            let more = if gguf.is_some() { MEMORY_OF_GGUF } else { bytes * MEMORY_PER_BYTE };
            let mib = lowered("SPRING_HELPER_MIB").map(|mib| mib << 20);
            limits::memory(mib.unwrap_or(MEMORY + bytes + more))?;
            let read = |(name, length): &(String, usize)| {
                let mut bytes = vec![0; *length];
                from.read_exact(&mut bytes)?;
                Ok((name.clone(), bytes))
            };
            parts.iter().map(read).collect::<io::Result<Vec<_>>>()?
        }
        _ => Vec::new(),
    };
    let seconds = if contents.is_empty() { ANSWERING } else { LOADING };
    limits::time(lowered("SPRING_HELPER_SECONDS").unwrap_or(seconds))?;
    let work = panic::AssertUnwindSafe(|| reply(request, contents, tokenizer));
    let reply = panic::catch_unwind(work)
        .unwrap_or_else(|_| Reply::Failed("the library that runs it failed".into()));
    serde_json::to_writer(&mut *to, &reply)?;
    to.write_all(b"\n")?;
    to.flush()?;
    Ok(true)
}

fn reply(
    request: Request,
    contents: Vec<(String, Vec<u8>)>,
    tokenizer: &mut Option<LocalTokenizer>,
) -> Reply {
    let answer = |request: Request| -> Result<Reply> {
        if let Request::Load { label, vocab_size, gguf, .. } = request {
            let files = match gguf {
                Some(path) => ModelFiles::from_gguf(path)?,
                None => ModelFiles::of_parts(&label, contents),
            };
            let loaded = LocalTokenizer::load(&files, vocab_size)?;
            return Ok(Reply::Loaded(Facts::of(tokenizer.insert(loaded))));
        }
        let Some(tokenizer) = &*tokenizer else {
            return Ok(Reply::Failed("it is not loaded".into()));
        };
        Ok(match request {
            Request::Load { .. } => Reply::Failed("it is loaded already".into()),
            Request::Encode(text) => Reply::Ids(Some(tokenizer.encode(&text)?)),
            Request::Chat(turns) => {
                let turns: Vec<Message<'_>> =
                    turns.iter().map(|(role, content)| Message { role: *role, content }).collect();
                Reply::Ids(tokenizer.encode_chat(&turns)?)
            }
            Request::Decode(ids) => Reply::Text(tokenizer.decode(&ids)?),
            Request::IsByte(id) => Reply::Is(tokenizer.is_byte(id)),
            Request::Bytes(id) => Reply::Bytes(tokenizer.token_bytes(id)),
        })
    };
    match answer(request) {
        Ok(reply) => reply,
        Err(ModelError::Tokenizer { file, reason }) => Reply::OfTokenizer { file, reason },
        Err(ModelError::Config { file, reason }) => Reply::OfConfig { file, reason },
        Err(other) => Reply::Failed(other.to_string()),
    }
}

/// What this process may take; elsewhere than on Unix the system has no such limits.
#[cfg(unix)]
mod limits {
    use std::io;

    use rustix::{
        process::{Resource, Rlimit, getrlimit, setrlimit},
        time::{ClockId, clock_gettime},
    };

    /// Memory beside what is mapped already, in bytes. An allocation beyond it ends the process.
    pub(super) fn memory(bytes: u64) -> io::Result<()> {
        // In pages of 4 KiB, the smallest there are: the limit is no higher than meant.
        let mapped = std::fs::read_to_string("/proc/self/statm").ok();
        let pages = mapped.and_then(|line| line.split(' ').next()?.parse::<u64>().ok());
        let limit = pages.unwrap_or_default() * 4096 + bytes;
        lower(Resource::As, limit)?;
        lower(Resource::Core, 0)?;
        lower(Resource::Fsize, 0)
    }

    /// Computing time from now on, in seconds.
    pub(super) fn time(seconds: u64) -> io::Result<()> {
        let used = clock_gettime(ClockId::ProcessCPUTime).tv_sec;
        let limit = u64::try_from(used).unwrap_or_default() + seconds + 1;
        let maximum = getrlimit(Resource::Cpu).maximum;
        let current = Some(maximum.map_or(limit, |maximum| limit.min(maximum)));
        Ok(setrlimit(Resource::Cpu, Rlimit { current, maximum })?)
    }

    fn lower(resource: Resource, limit: u64) -> io::Result<()> {
        let found = getrlimit(resource);
        let limit = found.maximum.map_or(limit, |maximum| limit.min(maximum));
        let limit = found.current.map_or(limit, |current| limit.min(current));
        let new = Rlimit { current: Some(limit), maximum: Some(limit) };
        match setrlimit(resource, new) {
            // Some systems have no such limit.
            Err(rustix::io::Errno::INVAL) if !cfg!(target_os = "linux") => Ok(()),
            other => Ok(other?),
        }
    }
}

#[cfg(not(unix))]
mod limits {
    use std::io;

    pub(super) fn memory(_: u64) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn time(_: u64) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text that begins with no token is another case than one whose beginning nobody tells.
    #[test]
    fn what_does_not_change_survives_the_way() {
        for (says_begin, begin) in [(true, None), (true, Some(1)), (false, None)] {
            let facts = Facts {
                has_chat: true,
                says_begin,
                begin,
                ends: vec![2],
                end_of_turn: Some(2),
                tokens: 3,
            };
            let line = serde_json::to_string(&Reply::Loaded(facts)).unwrap();
            let Ok(Reply::Loaded(facts)) = serde_json::from_str(&line) else { panic!("{line}") };
            assert_eq!((facts.says_begin, facts.begin), (says_begin, begin));
        }
    }
}
