//! A server process, and a client for it.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// How long a client waits for bytes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server on a port of its own.
pub struct Server {
    child: Child,
    pub address: String,
}

/// What a server answered, to its end.
pub struct Reply {
    pub status: u16,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("no JSON: {}", self.body))
    }
}

impl Server {
    /// Starts a server on a state; what it logs goes into a file.
    pub fn start(program: &Path, state: &Path, arguments: &[&str], log: &Path) -> Result<Self> {
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--state"])
            .arg(state)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::options().append(true).create(true).open(log)?)
            .spawn()?;
        let mut line = String::new();
        if let Some(said) = &mut child.stdout {
            BufReader::new(said).read_line(&mut line)?;
        }
        let Some(address) = line.trim().strip_prefix("listening on http://") else {
            child.kill()?;
            child.wait()?;
            bail!("the server does not listen; {} says why", log.display());
        };
        Ok(Self { address: address.into(), child })
    }

    /// Ends it at once, without a word to it (SIGKILL).
    pub fn kill(mut self) -> Result<()> {
        ensure!(self.child.try_wait()?.is_none(), "the server has ended by itself");
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits until it has, which must be well.
    pub fn end(mut self) -> Result<()> {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        ensure!(told.success(), "the server cannot be told to end");
        let ended = self.child.wait()?;
        ensure!(ended.success(), "the server that was told to end: {ended}");
        Ok(())
    }

    /// KiB of memory that it holds; `None` where the system does not say.
    pub fn memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse().ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended cannot be ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a request; the answer is still to be read.
pub fn send(
    address: &str,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let body = body.map(Value::to_string).unwrap_or_default();
    // By HTTP/1.0 an answer is all that comes before the end, in one piece.
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    Ok(BufReader::new(stream))
}

/// Sends a request and reads the whole answer.
///
/// # Errors
///
/// If the connection breaks before its end: whether the request was fulfilled is then not known.
pub fn request(address: &str, method: &str, path: &str, body: Option<&Value>) -> Result<Reply> {
    let mut stream = send(address, method, path, body)?;
    let (mut line, mut length) = (String::new(), None);
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.context("the server went before it answered")?;
    loop {
        line.clear();
        ensure!(stream.read_line(&mut line)? > 0, "the head of an answer is cut short");
        let Some((name, value)) = line.split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse::<usize>()?);
        }
    }
    let mut body = String::new();
    stream.read_to_string(&mut body)?;
    ensure!(length.is_none_or(|length| length == body.len()), "an answer is cut short");
    Ok(Reply { status, body })
}

/// A number of `/metrics`, over all labels.
pub fn metric(page: &str, name: &str) -> f64 {
    let of_name =
        |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
    page.lines().filter(of_name).filter_map(value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_the_sum_over_its_labels() {
        let page = "# HELP a b\na{m=\"x\"} 2\na{m=\"y\"} 3.5\nab 7\n";
        assert_eq!((metric(page, "a"), metric(page, "ab"), metric(page, "c")), (5.5, 7.0, 0.0));
    }
}
