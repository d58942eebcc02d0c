//! Files, folders, archives and pipes as one list of entries, within bounds.

use std::{
    cell::RefCell,
    fs::{self, File},
    io::{self, BufRead, BufReader, Cursor, Read, Seek},
    path::{Path, PathBuf},
};

use spring_numerics::words::{GIT_LFS, GIT_LFS_ADVICE, of_system};

use super::{
    error::{Error, Result},
    left_out::{Reason, Tally},
};

/// The most bytes of one entry once it is unpacked: a mailbox of decades, no more.
const LONGEST: u64 = 16 << 30;

/// The most bytes of an entry that is read as a whole.
pub(crate) const WHOLE: usize = 256 << 20;

/// The most files of a folder or an archive.
const MOST_FILES: usize = 500_000;

/// How deep folders may lie in each other.
const DEEPEST: usize = 32;

/// How much of an entry shows what it is.
pub(crate) const HEAD: usize = 64 << 10;

trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

enum Origin {
    Path(PathBuf),
    Member(usize),
    Bytes(Vec<u8>),
}

/// One file.
pub(crate) struct Entry {
    /// The file as messages name it.
    pub(crate) label: String,
    /// Its path within the folder or archive, with `/`; the file's name for a file alone.
    pub(crate) name: String,
    origin: Origin,
}

impl Entry {
    /// The last part of its path.
    pub(crate) fn file_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    /// The folder that it lies in, within the whole.
    pub(crate) fn folder(&self) -> &str {
        self.name.rsplit_once('/').map_or("", |(folder, _)| folder)
    }
}

/// What one argument stands for.
pub(crate) struct Bundle {
    /// The argument as messages name it.
    pub(crate) label: String,
    /// The folder, if it is one.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) entries: Vec<Entry>,
    archive: Option<RefCell<zip::ZipArchive<Box<dyn ReadSeek>>>>,
    stop: fn() -> bool,
}

impl Bundle {
    /// Opens a file, a folder, an archive, or standard input (`-`).
    pub(crate) fn open(path: &Path, stop: fn() -> bool, tally: &mut Tally) -> Result<Self> {
        let label =
            if path == Path::new("-") { "stdin".into() } else { path.display().to_string() };
        let fail = |error: io::Error| file_error(&label, &of_system(&error));
        let mut bundle =
            Self { label: label.clone(), folder: None, entries: Vec::new(), archive: None, stop };
        if path == Path::new("-") {
            let bytes = bundle.drain(io::stdin())?;
            return bundle.of_bytes(bytes, "stdin");
        }
        let kind = fs::metadata(path).map_err(fail)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if kind.is_dir() {
            bundle.folder = Some(path.to_owned());
            // A repository's texts are its history.
            if !path.join(".git").exists() {
                bundle.walk(path, "", 0, tally)?;
                bundle.entries.sort_by(|a, b| a.name.cmp(&b.name));
            }
            return Ok(bundle);
        }
        if !kind.is_file() {
            // A pipe can be read once.
            let bytes = bundle.drain(File::open(path).map_err(fail)?)?;
            return bundle.of_bytes(bytes, &name);
        }
        let mut file = spring_numerics::file::open(path).map_err(fail)?;
        let mut magic = [0; 4];
        let read = file.read(&mut magic).map_err(fail)?;
        if read == 4 && magic == *b"PK\x03\x04" {
            file.rewind().map_err(fail)?;
            return bundle.of_archive(Box::new(BufReader::new(file)));
        }
        bundle.entries.push(Entry { label, name, origin: Origin::Path(path.to_owned()) });
        Ok(bundle)
    }

    /// Everything of a stream that can be read once.
    fn drain(&self, reader: impl Read) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.guarded(reader).take(4 * WHOLE as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|error| self.read_error(&self.label, &error))?;
        match bytes.len() > 4 * WHOLE {
            true => Err(file_error(&self.label, "more than 1 GiB in a pipe: name a file instead")),
            false => Ok(bytes),
        }
    }

    fn of_bytes(mut self, bytes: Vec<u8>, name: &str) -> Result<Self> {
        if bytes.starts_with(b"PK\x03\x04") {
            return self.of_archive(Box::new(Cursor::new(bytes)));
        }
        let label = self.label.clone();
        self.entries.push(Entry { label, name: name.into(), origin: Origin::Bytes(bytes) });
        Ok(self)
    }

    fn of_archive(mut self, reader: Box<dyn ReadSeek>) -> Result<Self> {
        let fail = |error| file_error(&self.label, &format!("a damaged zip archive: {error}"));
        let archive = zip::ZipArchive::new(reader).map_err(fail)?;
        if archive.len() > MOST_FILES {
            return Err(file_error(&self.label, &format!("more than {MOST_FILES} files")));
        }
        for index in 0..archive.len() {
            let Some(Ok(name)) = archive.name_for_index(index) else { continue };
            let name = name.into_owned();
            // The Mac's own files beside each file.
            if !name.ends_with('/') && !name.starts_with("__MACOSX/") {
                self.entries.push(Entry {
                    label: format!("{}/{name}", self.label),
                    name,
                    origin: Origin::Member(index),
                });
            }
        }
        self.archive = Some(RefCell::new(archive));
        self.entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(self)
    }

    fn walk(&mut self, folder: &Path, within: &str, depth: usize, tally: &mut Tally) -> Result<()> {
        let label = folder.display().to_string();
        if depth > DEEPEST {
            return Err(file_error(&label, &format!("folders more than {DEEPEST} deep")));
        }
        let fail = |error: io::Error| file_error(&label, &of_system(&error));
        for item in fs::read_dir(folder).map_err(fail)? {
            if (self.stop)() {
                return Err(Error::Stopped);
            }
            let item = item.map_err(fail)?;
            let name = item.file_name().to_string_lossy().into_owned();
            let (path, kind) = (item.path(), item.file_type().map_err(fail)?);
            let inside = if within.is_empty() { name.clone() } else { format!("{within}/{name}") };
            if kind.is_symlink() {
                tally.add(Reason::Link, &path.display().to_string(), 0);
            } else if kind.is_dir() {
                // Settings of programs, deleted notes, other repositories.
                let hidden = name.starts_with('.') && !is_maildir(&path);
                if !hidden && !path.join(".git").exists() {
                    self.walk(&path, &inside, depth + 1, tally)?;
                }
            } else if kind.is_file() {
                if self.entries.len() == MOST_FILES {
                    return Err(file_error(&self.label, &format!("more than {MOST_FILES} files")));
                }
                if !name.starts_with('.') {
                    let label = path.display().to_string();
                    self.entries.push(Entry { label, name: inside, origin: Origin::Path(path) });
                }
            }
        }
        Ok(())
    }

    /// Reads an entry, unpacked, with `read`.
    pub(crate) fn read<T>(
        &self,
        entry: &Entry,
        read: impl FnOnce(&mut dyn BufRead) -> Result<T>,
    ) -> Result<T> {
        let fail = |reason: String| file_error(&entry.label, &reason);
        match &entry.origin {
            Origin::Bytes(bytes) => self.unpacked(entry, Cursor::new(bytes), read),
            Origin::Path(path) => {
                let file = spring_numerics::file::open(path).map_err(|e| fail(of_system(&e)))?;
                self.unpacked(entry, file, read)
            }
            Origin::Member(index) => {
                let Some(archive) = &self.archive else { return Err(fail("no archive".into())) };
                let mut archive = archive.borrow_mut();
                let member = archive.by_index(*index).map_err(|error| {
                    fail(format!("cannot be unpacked ({error}): unpack the archive yourself"))
                })?;
                self.unpacked(entry, member, read)
            }
        }
    }

    fn unpacked<T>(
        &self,
        entry: &Entry,
        source: impl Read,
        read: impl FnOnce(&mut dyn BufRead) -> Result<T>,
    ) -> Result<T> {
        let mut source = BufReader::with_capacity(1 << 16, self.guarded(source));
        let head = source.fill_buf().map_err(|error| self.read_error(&entry.label, &error))?;
        match head {
            [0x1f, 0x8b, ..] => {
                let unpacked = flate2::bufread::MultiGzDecoder::new(source);
                read(&mut BufReader::with_capacity(1 << 16, self.guarded(unpacked)))
            }
            [0x28, 0xb5, 0x2f, 0xfd, ..] => {
                let unpacked =
                    ruzstd::decoding::StreamingDecoder::new(source).map_err(|error| {
                        file_error(&entry.label, &format!("a damaged zstd archive: {error}"))
                    })?;
                read(&mut BufReader::with_capacity(1 << 16, self.guarded(unpacked)))
            }
            head if head.starts_with(GIT_LFS) => Err(file_error(&entry.label, GIT_LFS_ADVICE)),
            [b'B', b'Z', b'h', ..] => {
                Err(file_error(&entry.label, "a bzip2 archive: unpack it first (bunzip2)"))
            }
            [0xfd, b'7', b'z', b'X', b'Z', ..] => {
                Err(file_error(&entry.label, "an xz archive: unpack it first (unxz)"))
            }
            _ => read(&mut source),
        }
    }

    fn guarded<R: Read>(&self, source: R) -> Guarded<R> {
        Guarded { source, left: LONGEST, stop: self.stop }
    }

    fn read_error(&self, label: &str, error: &io::Error) -> Error {
        if (self.stop)() { Error::Stopped } else { file_error(label, &of_system(error)) }
    }

    /// The first bytes of an entry; nothing of one that cannot be unpacked.
    pub(crate) fn head(&self, entry: &Entry) -> Result<Vec<u8>> {
        self.read(entry, |reader| {
            let mut head = Vec::new();
            let read = reader.take(HEAD as u64).read_to_end(&mut head);
            read.map_err(|error| self.read_error(&entry.label, &error))?;
            Ok(head)
        })
    }

    /// All bytes of an entry, if they are not too many.
    pub(crate) fn bytes(&self, entry: &Entry) -> Result<Vec<u8>> {
        self.read(entry, |reader| {
            let mut bytes = Vec::new();
            let read = reader.take(WHOLE as u64 + 1).read_to_end(&mut bytes);
            read.map_err(|error| self.read_error(&entry.label, &error))?;
            match bytes.len() > WHOLE {
                true => Err(file_error(&entry.label, "larger than 256 MiB: take it apart first")),
                false => Ok(bytes),
            }
        })
    }

    /// An entry as text, whatever its encoding.
    pub(crate) fn text(&self, entry: &Entry) -> Result<String> {
        Ok(decoded(self.bytes(entry)?))
    }
}

/// Whether a folder is a mailbox in Maildir's layout.
pub(crate) fn is_maildir(path: &Path) -> bool {
    path.join("cur").is_dir() && path.join("new").is_dir()
}

/// Ends with an error once the caller wants to stop or the bytes are too many.
struct Guarded<R> {
    source: R,
    left: u64,
    stop: fn() -> bool,
}

impl<R: Read> Read for Guarded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.stop)() {
            return Err(io::Error::other("interrupted"));
        }
        let read = self.source.read(buffer)?;
        if (self.stop)() {
            return Err(io::Error::other("interrupted"));
        }
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::other("more than 16 GiB once it is unpacked"))?;
        Ok(read)
    }
}

pub(crate) fn file_error(file: &str, reason: &str) -> Error {
    Error::File { file: file.to_owned(), reason: reason.to_owned() }
}

/// Bytes as text: by their byte-order mark, as UTF-8, as UTF-16 without a mark, else as
/// Windows-1252, which is what is left in the files of people. Line breaks become line feeds.
pub(crate) fn decoded(bytes: Vec<u8>) -> String {
    let text = match encoding_rs::Encoding::for_bom(&bytes) {
        Some((encoding, mark)) => {
            encoding.decode_without_bom_handling(&bytes[mark..]).0.into_owned()
        }
        None => match String::from_utf8(bytes) {
            Ok(text) if !looks_like_utf16(text.as_bytes()) => text,
            Ok(text) => wide(text.as_bytes()),
            Err(error) => {
                let bytes = error.into_bytes();
                if looks_like_utf16(&bytes) {
                    wide(&bytes)
                } else {
                    encoding_rs::WINDOWS_1252.decode_without_bom_handling(&bytes).0.into_owned()
                }
            }
        },
    };
    unix_lines(text)
}

/// Every other byte of the beginning is zero, as in UTF-16 of Western text.
fn looks_like_utf16(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(64)];
    let zeros = |from| head.iter().skip(from).step_by(2).filter(|byte| **byte == 0).count();
    head.len() >= 4 && zeros(0).max(zeros(1)) * 3 >= head.len()
}

fn wide(bytes: &[u8]) -> String {
    let little = bytes.first() != Some(&0);
    let encoding = if little { encoding_rs::UTF_16LE } else { encoding_rs::UTF_16BE };
    encoding.decode_without_bom_handling(bytes).0.into_owned()
}

/// Line feeds for all line breaks.
pub(crate) fn unix_lines(text: String) -> String {
    if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n") } else { text }
}

/// One line with its line break in `line`, at most `most` bytes of it; the rest is skipped. `false`
/// at the end.
pub(crate) fn read_line(
    reader: &mut dyn BufRead,
    line: &mut Vec<u8>,
    most: usize,
) -> io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let chunk = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if chunk.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = chunk.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let used = end.unwrap_or(chunk.len());
        let room = most.saturating_sub(line.len());
        line.extend_from_slice(&chunk[..used.min(room)]);
        reader.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_of_peoples_files() {
        let utf16: Vec<u8> =
            "\u{feff}Grüße\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(decoded(utf16), "Grüße\n");
        let bare: Vec<u8> = "hello there".encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(decoded(bare), "hello there");
        assert_eq!(decoded(b"\xef\xbb\xbfa\rb\r\nc".to_vec()), "a\nb\nc");
        assert_eq!(decoded(b"caf\xe9 \x80".to_vec()), "café €");
    }

    #[test]
    fn a_line_is_cut_at_the_limit_and_the_next_one_is_whole() {
        let mut reader = Cursor::new("abcdef\ngh");
        let mut line = Vec::new();
        assert!(read_line(&mut reader, &mut line, 3).unwrap());
        assert_eq!(line, b"abc");
        assert!(read_line(&mut reader, &mut line, 3).unwrap());
        assert_eq!(line, b"gh");
        assert!(!read_line(&mut reader, &mut line, 3).unwrap());
    }
}
