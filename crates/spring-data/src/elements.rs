//! Splits a JSON file into its records without holding more than one of them: the elements of an
//! array, the `golds` of an object, or one value after the other as in JSON Lines.

use std::io::{BufRead, Chain, Cursor, ErrorKind, Read};

use spring_numerics::words::of_system;

use crate::{Result, data_error};

/// The longest record, in bytes. A user's whole profile is one record: real ones reach a few MB.
const LONGEST: usize = 64 << 20;

/// The most line breaks between records. Those before the first record are kept until it is known
/// what the file is, so that its lines keep their numbers.
const MOST_BREAKS: u64 = 1 << 20;

/// The longest name of a task in a file of outputs; longer ones are left out.
const LONGEST_NAME: usize = 64;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// How files of other kinds begin, and what to do with them.
const KINDS: &[(&[u8], &str)] = &[
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"PK\x03", "a zip archive: unpack it first"),
    (b"BZh", "a bzip2 archive: unpack it first"),
    (b"\xfd7z", "an xz archive: unpack it first"),
    (b"\x28\xb5\x2f", "a zstd archive: unpack it first"),
    (b"\xff\xfe", "UTF-16: convert it to UTF-8"),
    (b"\xfe\xff", "UTF-16: convert it to UTF-8"),
];

/// How the records stand in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `[…, …]`
    Array,
    /// `{"task": "…", "golds": […, …]}`
    Golds {
        /// The task.
        task: Option<String>,
    },
    /// One value after the other.
    Lines,
}

/// The records of a stream, as bytes.
#[derive(Debug)]
pub(crate) struct Elements<R> {
    reader: Chain<Cursor<Vec<u8>>, R>,
    label: String,
    layout: Layout,
    /// The line of the next byte, from 1.
    line: u64,
    /// Records so far.
    row: u64,
    /// The line on which the last one begins.
    record_line: u64,
    /// Bytes taken from the file so far, and before the last record.
    taken: u64,
    begin: u64,
    /// Whether the record in the buffer comes once more.
    again: bool,
    ended: bool,
    buffer: Vec<u8>,
}

impl<R: BufRead> Elements<R> {
    /// Looks at the beginning of a stream; `label` stands for the file in errors.
    pub(crate) fn new(mut reader: R, label: &str) -> Result<Self> {
        let mut head = Vec::new();
        let read = reader.by_ref().take(BOM.len() as u64).read_to_end(&mut head);
        read.map_err(|error| {
            data_error(label, 1, 0, format!("cannot be read: {}", of_system(&error)))
        })?;
        if head == BOM {
            head.clear();
        }
        // A byte order mark counts as part of the file.
        let taken = if head.is_empty() { BOM.len() as u64 } else { 0 };
        let other = KINDS.iter().find(|(magic, _)| head.starts_with(magic));
        if let Some((_, kind)) = other {
            return Err(data_error(label, 1, 0, (*kind).into()));
        }
        let reader = Cursor::new(head).chain(reader);
        let (layout, line, buffer) = (Layout::Lines, 1, Vec::new());
        let label = label.to_owned();
        let (row, record_line) = (0, 1);
        let mut elements = Self {
            reader,
            label,
            layout,
            line,
            row,
            record_line,
            taken,
            begin: taken,
            again: false,
            ended: false,
            buffer,
        };
        let line_breaks = elements.skip_space()?;
        match elements.peek()? {
            None => return Err(elements.error("the file is empty")),
            Some(b'[') => {
                elements.take()?;
                elements.layout = Layout::Array;
            }
            Some(b'{') => {
                elements.take()?;
                let mut seen = vec![b'\n'; line_breaks];
                seen.push(b'{');
                let before = elements.line;
                elements.skip_space()?;
                seen.extend((before..elements.line).map(|_| b'\n'));
                elements.read_value()?;
                if matches!(elements.buffer.as_slice(), b"\"task\"" | b"\"golds\"") {
                    elements.golds()?;
                } else {
                    // A record, of which the first key is already read: back to its beginning.
                    seen.append(&mut elements.buffer);
                    let (rest, reader) = elements.reader.into_inner();
                    let at = rest.position() as usize;
                    seen.extend_from_slice(&rest.get_ref()[at..]);
                    elements.reader = Cursor::new(seen).chain(reader);
                    elements.line = 1;
                    elements.taken = taken;
                }
            }
            Some(byte) => {
                let reason =
                    format!("begins with {:?}: expected JSON, \"[\" or \"{{\"", char::from(byte));
                return Err(elements.error(&reason));
            }
        }
        Ok(elements)
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The number of the record that came last, from 1.
    pub(crate) fn row(&self) -> u64 {
        self.row
    }

    /// How many bytes of the file stand before the record that came last.
    pub(crate) fn begin(&self) -> u64 {
        self.begin
    }

    /// Lets the record that came last come once more.
    pub(crate) fn put_back(&mut self) {
        self.again = true;
    }

    /// Everything again from the first record on, which alone may have been read.
    pub(crate) fn into_reader(self) -> Chain<Cursor<Vec<u8>>, R> {
        let mut seen = vec![b'\n'; (self.record_line - 1) as usize];
        seen.extend(self.buffer);
        let (rest, reader) = self.reader.into_inner();
        seen.extend_from_slice(&rest.get_ref()[rest.position() as usize..]);
        Cursor::new(seen).chain(reader)
    }

    /// The next record, with the line on which it begins.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, &[u8])>> {
        if std::mem::take(&mut self.again) {
            return Ok(Some((self.record_line, &self.buffer)));
        }
        if self.ended {
            return Ok(None);
        }
        self.skip_space()?;
        if self.layout == Layout::Lines {
            if self.peek()?.is_none() {
                self.ended = true;
                return Ok(None);
            }
        } else {
            match (self.peek()?, self.row) {
                (Some(b']'), _) => {
                    self.take()?;
                    self.end()?;
                    return Ok(None);
                }
                (Some(b','), 1..) => {
                    self.take()?;
                    self.skip_space()?;
                }
                (Some(_), 0) => {}
                (Some(_), _) => return Err(self.error("expected \",\" or \"]\" after the record")),
                (None, _) => return Err(self.error("the file is cut off: the list is not closed")),
            }
        }
        self.record_line = self.line;
        self.begin = self.taken;
        self.row += 1;
        self.read_value()?;
        Ok(Some((self.record_line, &self.buffer)))
    }

    /// After the key `task` or `golds`, which lies in the buffer: goes on to the first of the
    /// golds.
    fn golds(&mut self) -> Result<()> {
        let mut task = None;
        while !self.value_of_key(&mut task)? {
            self.skip_space()?;
            if self.take()? != Some(b',') {
                return Err(self.error("an object with \"task\", but without a list \"golds\""));
            }
            self.skip_space()?;
            self.read_value()?;
        }
        self.layout = Layout::Golds { task };
        Ok(())
    }

    /// Reads the value of the key in the buffer, and whether it is the list of golds, of which only
    /// the bracket is read.
    fn value_of_key(&mut self, task: &mut Option<String>) -> Result<bool> {
        let key = std::mem::take(&mut self.buffer);
        self.skip_space()?;
        if self.take()? != Some(b':') {
            return Err(self.error("expected \":\" after the key"));
        }
        self.skip_space()?;
        if key == b"\"golds\"" && self.peek()? == Some(b'[') {
            self.take()?;
            return Ok(true);
        }
        self.read_value()?;
        if key == b"\"task\"" {
            let name = serde_json::from_slice::<String>(&self.buffer).ok();
            *task =
                name.filter(|name| name.len() <= LONGEST_NAME && !name.contains(char::is_control));
        }
        Ok(false)
    }

    /// After the closing bracket: nothing may follow but the rest of an object with `golds`.
    fn end(&mut self) -> Result<()> {
        self.ended = true;
        self.skip_space()?;
        if let Layout::Golds { task } = &self.layout {
            let mut task = task.clone();
            while self.peek()? == Some(b',') {
                self.take()?;
                self.skip_space()?;
                self.read_value()?;
                if self.value_of_key(&mut task)? {
                    return Err(self.error("a second list \"golds\""));
                }
                self.skip_space()?;
            }
            if self.take()? != Some(b'}') {
                return Err(self.error("the file is cut off: the object is not closed"));
            }
            self.layout = Layout::Golds { task };
            self.skip_space()?;
        }
        match self.peek()? {
            None => Ok(()),
            Some(_) => Err(self.error("more text after the end of the list")),
        }
    }

    /// Leaves one JSON value in the buffer; whether it is well-formed is for the parser to say.
    fn read_value(&mut self) -> Result<()> {
        self.buffer.clear();
        let mut scan = Scan::default();
        loop {
            let chunk = match self.reader.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(self.error(&format!("cannot be read: {}", of_system(&error))));
                }
                Ok(chunk) => chunk,
            };
            let at_end = chunk.is_empty();
            let (used, complete) = scan.advance(chunk);
            self.line += count_breaks(&chunk[..used]);
            self.buffer.extend_from_slice(&chunk[..used]);
            self.reader.consume(used);
            self.taken += used as u64;
            if complete || at_end {
                return match self.buffer.is_empty() {
                    true => Err(self.error("expected a record")),
                    false if scan.depth > 0 || scan.inside_text => {
                        Err(self.error("the file is cut off inside a record"))
                    }
                    false => Ok(()),
                };
            }
            if self.buffer.len() > LONGEST {
                return Err(self.error(&format!("the record is longer than {} MiB", LONGEST >> 20)));
            }
        }
    }

    /// Skips white space; returns how many line breaks.
    fn skip_space(&mut self) -> Result<usize> {
        let before = self.line;
        while let Some(byte) = self.peek()? {
            if !byte.is_ascii_whitespace() {
                break;
            }
            self.take()?;
            if self.line - before > MOST_BREAKS {
                return Err(self.error(&format!("more than {MOST_BREAKS} line breaks in a row")));
            }
        }
        Ok((self.line - before) as usize)
    }

    fn peek(&mut self) -> Result<Option<u8>> {
        loop {
            match self.reader.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(self.error(&format!("cannot be read: {}", of_system(&error))));
                }
                Ok(chunk) => return Ok(chunk.first().copied()),
            }
        }
    }

    fn take(&mut self) -> Result<Option<u8>> {
        let byte = self.peek()?;
        if let Some(byte) = byte {
            self.line += u64::from(byte == b'\n');
            self.reader.consume(1);
            self.taken += 1;
        }
        Ok(byte)
    }

    fn error(&self, reason: &str) -> crate::Error {
        data_error(&self.label, self.line, self.row, reason.to_owned())
    }
}

fn count_breaks(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Where a scan stands within a value.
#[derive(Debug, Default)]
struct Scan {
    depth: usize,
    inside_text: bool,
    escaped: bool,
}

impl Scan {
    /// How many bytes belong to the value, and whether it is complete with them.
    fn advance(&mut self, chunk: &[u8]) -> (usize, bool) {
        for (i, byte) in chunk.iter().enumerate() {
            if self.inside_text {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => {
                        self.inside_text = false;
                        if self.depth == 0 {
                            return (i + 1, true);
                        }
                    }
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.inside_text = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' | b',' | b':' if self.depth == 0 => return (i, true),
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return (i + 1, true);
                    }
                }
                byte if self.depth == 0 && byte.is_ascii_whitespace() => return (i, true),
                _ => {}
            }
        }
        (chunk.len(), false)
    }
}
