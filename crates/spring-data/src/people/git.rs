//! Git: commit messages, from a repository by the git program, or from what `git log` printed.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Command, Stdio},
};

use spring_numerics::words::of_system;

use super::{
    error::{Error, Result},
    found::{Found, Kind, Message, one_line},
    input::{Bundle, Entry, decoded, file_error},
    left_out::Reason,
    options::Options,
    reader::Reader,
};

/// A repository's folder, or the output of `git log` in its usual form (or `--format=fuller`).
pub(crate) struct Git;

/// What a commit is printed as: fields with a zero byte behind each.
const FORMAT: &str = "--format=%H%x00%P%x00%an%x00%ae%x00%aI%x00%B%x00";

/// The longest commit message that is read.
const LONGEST: usize = 1 << 20;

/// Settings of a repository may name programs that git runs: these turn off those that `git log`
/// could come to.
const SAFE: &[&str] = &[
    "core.fsmonitor=",
    "core.pager=cat",
    "core.hooksPath=/dev/null",
    "core.sshCommand=false",
    "core.alternateRefsCommand=true",
    "log.showSignature=false",
    "gpg.program=false",
    "gpg.ssh.program=false",
    "gpg.x509.program=false",
    "protocol.allow=never",
];

impl Reader for Git {
    fn read(
        &self,
        bundle: &Bundle,
        entries: &[&Entry],
        options: &Options,
        found: &mut Found,
    ) -> Result<()> {
        if let Some(folder) = &bundle.folder
            && folder.join(".git").exists()
        {
            return repository(folder, &bundle.label, options, found);
        }
        for entry in entries {
            let file = found.file(&entry.label);
            log(&bundle.text(entry)?, file, options, found)?;
        }
        Ok(())
    }
}

fn git(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder);
    for setting in SAFE {
        command.args(["-c", setting]);
    }
    // What is set around us is about another repository.
    for name in
        ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_EXTERNAL_DIFF", "GIT_CONFIG_PARAMETERS"]
    {
        command.env_remove(name);
    }
    command
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null());
    command
}

fn repository(folder: &Path, label: &str, options: &Options, found: &mut Found) -> Result<()> {
    let file = found.file(label);
    let fail = |reason: String| file_error(label, &reason);
    let mut child = git(folder)
        .args(["log", "--encoding=UTF-8", "--no-color", "--no-decorate", "--no-notes"])
        .args(["--no-show-signature", "--no-ext-diff", "--no-textconv", "--no-patch", FORMAT])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| {
            fail(format!("the git program cannot be run: {}; is it installed?", of_system(&error)))
        })?;
    let (Some(stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(fail("the git program has no output".into()));
    };
    let said = std::thread::spawn(move || {
        let mut said = String::new();
        let _ = stderr.by_ref().take(4096).read_to_string(&mut said);
        // Whatever else it says must not block it.
        let _ = std::io::copy(&mut stderr, &mut std::io::sink());
        said
    });
    let result = commits(&mut BufReader::new(stdout), file, label, options, found);
    if result.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| fail(of_system(&error)))?;
    let said = said.join().unwrap_or_default();
    result?;
    if !status.success() {
        let said = one_line(said.lines().next().unwrap_or("git log failed"));
        return Err(fail(said));
    }
    let configured = git(folder).args(["config", "--get", "user.email"]).output().ok();
    let email = configured.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let me = email.filter(|email| !email.is_empty()).and_then(|email| {
        found.people.iter().position(|person| person.address.eq_ignore_ascii_case(&email))
    });
    if let Some(me) = me {
        let who = super::whose::shown(&found.people[me]);
        found.guess = Some((vec![me], format!("{who}, from git's settings")));
    }
    Ok(())
}

fn commits(
    reader: &mut dyn BufRead,
    file: usize,
    label: &str,
    options: &Options,
    found: &mut Found,
) -> Result<()> {
    let mut fields: Vec<String> = Vec::new();
    let mut number = 0;
    loop {
        if (options.stop)() {
            return Err(Error::Stopped);
        }
        let mut field = Vec::new();
        let most = 16 * LONGEST as u64;
        let read = (&mut *reader)
            .take(most)
            .read_until(0, &mut field)
            .map_err(|error| file_error(label, &of_system(&error)))?;
        if read == 0 {
            return Ok(());
        }
        if read as u64 == most {
            return Err(file_error(label, "a commit's message is longer than 16 MiB"));
        }
        if field.pop() != Some(0) {
            // The line feed behind the last commit.
            return Ok(());
        }
        fields.push(decoded(field));
        if let [hash, parents, name, email, time, text] = &fields[..] {
            number += 1;
            let commit = Commit {
                hash: hash.trim(),
                is_merge: parents.split_whitespace().count() > 1,
                name,
                email,
                time,
                text,
            };
            commit.take(file, number, options, found)?;
            fields.clear();
        }
    }
}

struct Commit<'c> {
    hash: &'c str,
    is_merge: bool,
    name: &'c str,
    email: &'c str,
    time: &'c str,
    text: &'c str,
}

impl Commit<'_> {
    fn take(&self, file: usize, line: u64, options: &Options, found: &mut Found) -> Result<()> {
        let text = self.text.trim();
        let (subject, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let body = without_trailers(body);
        let reason = if self.is_merge {
            Some(Reason::Merge)
        } else if self.name.ends_with("[bot]") || self.email.contains("[bot]") {
            Some(Reason::Automatic)
        } else if body.is_empty() {
            Some(Reason::NoBody)
        } else if text.len() > LONGEST {
            Some(Reason::TooLong)
        } else {
            None
        };
        let from = found.person(self.name, self.email)?;
        if let Some(reason) = reason {
            found.leave_out(reason, file, line);
            return Ok(());
        }
        let time = found.time(self.time, options);
        let conversation = found.conversation("commits", Kind::Commit, "");
        found.push(Message {
            conversation,
            from,
            id: Some(self.hash.to_owned()),
            time,
            text: body,
            title: Some(one_line(subject)),
            file,
            line,
            ..Message::default()
        })
    }
}

/// A commit's text without the trailers at its end, which programs write.
fn without_trailers(body: &str) -> String {
    let body = body.trim();
    let (before, last) = body.rsplit_once("\n\n").unwrap_or(("", body));
    let is_trailer = |line: &str| {
        line.split_once(": ").is_some_and(|(key, _)| {
            key.contains('-')
                && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
    };
    match last.lines().all(is_trailer) {
        true => before.trim().to_owned(),
        false => body.to_owned(),
    }
}

/// What `git log` prints: a head of fields, then the message, four spaces in.
fn log(text: &str, file: usize, options: &Options, found: &mut Found) -> Result<()> {
    let mut lines = (1_u64..).zip(text.lines()).peekable();
    while let Some((number, line)) = lines.next() {
        let Some(rest) = line.strip_prefix("commit ") else {
            if !line.trim().is_empty() {
                found.problem(
                    file,
                    number,
                    None,
                    "not a commit: \"commit\" and its hash are needed",
                );
            }
            continue;
        };
        let hash = rest.split_whitespace().next().unwrap_or_default().to_owned();
        let (mut author, mut date, mut is_merge) = (String::new(), String::new(), false);
        while let Some((_, line)) =
            lines.next_if(|(_, line)| !line.is_empty() && !line.starts_with("commit "))
        {
            let Some((key, value)) = line.split_once(':') else { continue };
            match key {
                "Author" => author = value.trim().to_owned(),
                "Date" | "AuthorDate" => date = value.trim().to_owned(),
                "Merge" => is_merge = true,
                _ => {}
            }
        }
        let mut message = String::new();
        while let Some((_, line)) = lines.next_if(|(_, line)| !line.starts_with("commit ")) {
            // A diff or statistics behind the message are not indented by four spaces.
            if line.is_empty() || line.starts_with("    ") {
                message.push_str(line.strip_prefix("    ").unwrap_or(line));
                message.push('\n');
            }
        }
        let (name, email) = author.rsplit_once('<').unwrap_or((author.as_str(), ""));
        let commit = Commit {
            hash: &hash,
            is_merge,
            name: name.trim(),
            email: email.trim_end_matches('>'),
            time: &date,
            text: &message,
        };
        if author.is_empty() {
            found.problem(file, number, Some("Author"), "missing");
            continue;
        }
        commit.take(file, number, options, found)?;
    }
    Ok(())
}
