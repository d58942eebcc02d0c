//! A client that shows every byte: HTTP/1.1 over a socket, with nothing but the standard library.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

/// How long a test waits for a byte.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is sent with every request.
#[derive(Debug, Clone)]
pub struct Client {
    pub address: SocketAddr,
    pub headers: Vec<(String, String)>,
}

/// An answer: its head and, once it is read, its body.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// An answer whose body is read piece by piece. Dropping it closes the connection.
pub struct Stream {
    pub head: Reply,
    reader: BufReader<TcpStream>,
    chunked: bool,
    ended: bool,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, headers: Vec::new() }
    }

    /// With one more header, or another value of it.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        client.headers.push((name.into(), value.into()));
        client
    }

    pub fn with_key(&self, token: &str) -> Self {
        self.with("Authorization", &format!("Bearer {token}"))
    }

    pub fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect_timeout(&self.address, PATIENCE).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// Sends a request and reads the head of its answer.
    pub fn open(&self, method: &str, path: &str, body: Option<&[u8]>) -> Stream {
        let mut socket = self.connect();
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        let has =
            |name: &str| self.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        if !has("host") {
            head.push_str(&format!("Host: {}\r\n", self.address));
        }
        head.push_str("Connection: close\r\n");
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
            if !has("content-type") {
                head.push_str("Content-Type: application/json\r\n");
            }
        }
        head.push_str("\r\n");
        socket.write_all(head.as_bytes()).unwrap();
        // A server that refuses a body early may have closed already.
        let _ = socket.write_all(body.unwrap_or_default());
        Stream::read(socket)
    }

    pub fn send(&self, method: &str, path: &str, body: Option<&[u8]>) -> Reply {
        self.open(method, path, body).whole()
    }

    pub fn get(&self, path: &str) -> Reply {
        self.send("GET", path, None)
    }

    pub fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, None)
    }

    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, Some(body.to_string().as_bytes()))
    }

    pub fn put(&self, path: &str, body: &Value) -> Reply {
        self.send("PUT", path, Some(body.to_string().as_bytes()))
    }

    /// A request whose answer is read as it comes.
    pub fn stream(&self, path: &str, body: &Value) -> Stream {
        self.open("POST", path, Some(body.to_string().as_bytes()))
    }
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The error's code; the whole answer is in the panic if there is none.
    pub fn code(&self) -> String {
        let json = self.json();
        match json["error"]["code"].as_str() {
            Some(code) => code.to_owned(),
            None => panic!("{} {json}", self.status),
        }
    }

    /// The data of a stream's events, in their order, without `[DONE]`.
    pub fn events(&self) -> Vec<Value> {
        let text = self.text();
        let data = text.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
        data.filter(|data| *data != "[DONE]")
            .map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }
}

impl Stream {
    fn read(socket: TcpStream) -> Self {
        let mut reader = BufReader::new(socket);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {line:?}"));
        let status = status.parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let line = line.trim_end();
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let head = Reply { status, headers, body: Vec::new() };
        let chunked = head.header("transfer-encoding") == Some("chunked");
        Self { head, reader, chunked, ended: false }
    }

    /// The next piece of the body; `None` at its end.
    pub fn piece(&mut self) -> Option<Vec<u8>> {
        if self.ended {
            return None;
        }
        if !self.chunked {
            let mut body = Vec::new();
            match self.head.header("content-length").map(|length| length.parse().unwrap()) {
                Some(length) => {
                    body.resize(length, 0);
                    self.reader.read_exact(&mut body).unwrap();
                }
                None => {
                    self.reader.read_to_end(&mut body).unwrap();
                }
            }
            self.ended = true;
            return Some(body);
        }
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the stream broke off");
        let length = usize::from_str_radix(line.trim(), 16).unwrap();
        let mut piece = vec![0; length + 2];
        self.reader.read_exact(&mut piece).unwrap();
        piece.truncate(length);
        self.ended = length == 0;
        (length > 0).then_some(piece)
    }

    /// Reads on until a text has come; what came.
    pub fn until(&mut self, text: &str) -> String {
        let mut read = String::new();
        while !read.contains(text) {
            let piece = self.piece().unwrap_or_else(|| panic!("no {text:?} in {read:?}"));
            read.push_str(&String::from_utf8(piece).unwrap());
        }
        read
    }

    /// The rest of the body.
    pub fn whole(mut self) -> Reply {
        while let Some(piece) = self.piece() {
            self.head.body.extend(piece);
        }
        self.head
    }
}
