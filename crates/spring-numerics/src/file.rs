//! Files that are judged by what was opened.
//!
//! A name may lead to a pipe, which is waited for without end, or to a device, which may never end;
//! and what a name leads to may be another thing between the look at it and the opening. So the
//! name is looked at first, the file is opened without waiting, and what counts is what the handle
//! says.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io,
    path::Path,
};

/// Opens a plain file for reading.
///
/// # Errors
///
/// The system's, and for a pipe, device, socket or folder one whose text says which it is.
pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
    let path = path.as_ref();
    refuse(&fs::metadata(path)?)?;
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        // Opening a pipe waits for its writer, and a terminal may become the program's own.
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.bits().cast_signed());
    }
    let file = options.open(path)?;
    refuse(&file.metadata()?)?;
    Ok(file)
}

/// Opens a plain file below a folder by its path there, such as `adapters/1/spring.json`, and
/// follows no link: not the file's, nor that of a folder on the way.
///
/// # Errors
///
/// As [`open`], and for a link or a path that leads out of the folder.
pub fn open_within(folder: &Path, name: &str) -> io::Result<File> {
    if name.split('/').any(|part| ["", ".", ".."].contains(&part)) {
        return Err(io::Error::other("a path that leads elsewhere; a plain file is needed"));
    }
    let file = step_by_step(folder, name)?;
    refuse(&file.metadata()?)?;
    Ok(file)
}

#[cfg(unix)]
fn step_by_step(folder: &Path, name: &str) -> io::Result<File> {
    use rustix::{
        fs::{AtFlags, FileType, Mode, OFlags, openat, statat},
        io::Errno,
    };
    let mut place = File::open(folder)?;
    let mut parts = name.split('/').peekable();
    while let Some(part) = parts.next() {
        let wanted = if parts.peek().is_some() { OFlags::DIRECTORY } else { OFlags::empty() };
        let found =
            FileType::from_raw_mode(statat(&place, part, AtFlags::SYMLINK_NOFOLLOW)?.st_mode);
        let is_right = match wanted.is_empty() {
            true => found == FileType::RegularFile,
            false => found == FileType::Directory,
        };
        if !is_right {
            let what = if wanted.is_empty() { "plain file" } else { "plain folder" };
            return Err(io::Error::other(format!("something else; a {what} is needed")));
        }
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | wanted;
        place = match openat(&place, part, flags, Mode::empty()) {
            Err(Errno::LOOP) => return Err(io::Error::other("a link; a plain file is needed")),
            other => other?.into(),
        };
    }
    Ok(place)
}

#[cfg(not(unix))]
fn step_by_step(folder: &Path, name: &str) -> io::Result<File> {
    let mut path = folder.to_path_buf();
    for part in name.split('/') {
        path.push(part);
        if fs::symlink_metadata(&path)?.is_symlink() {
            return Err(io::Error::other("a link; a plain file is needed"));
        }
    }
    open(path)
}

/// Reads a plain file that is not longer than `limit` bytes.
///
/// # Errors
///
/// As [`open`], and for one that is longer.
pub fn read(path: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(open(path)?, limit.saturating_add(1)), &mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(io::Error::other(format!("longer than the {limit} bytes that it may have"))),
        false => Ok(bytes),
    }
}

/// What something is that is not a plain file, with its article.
pub fn kind(found: &Metadata) -> Option<&'static str> {
    let file = found.file_type();
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if file.is_fifo() {
            return Some("a pipe");
        }
        if file.is_char_device() || file.is_block_device() {
            return Some("a device");
        }
        if file.is_socket() {
            return Some("a socket");
        }
    }
    if file.is_dir() {
        return Some("a folder");
    }
    if file.is_symlink() {
        return Some("a link");
    }
    (!file.is_file()).then_some("something else than a file")
}

fn refuse(found: &Metadata) -> io::Result<()> {
    match kind(found) {
        None => Ok(()),
        Some(what) => Err(io::Error::other(format!("{what}; a plain file is needed"))),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::{os::unix::fs::symlink, process::Command};

    use super::*;

    #[test]
    fn what_is_not_a_plain_file_is_refused_at_once() {
        let place = tempfile::tempdir().unwrap();
        let (pipe, link) = (place.path().join("pipe"), place.path().join("link"));
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        symlink(&pipe, &link).unwrap();
        for (path, what) in [
            (&*pipe, "a pipe"),
            (&*link, "a pipe"),
            (Path::new("/dev/null"), "a device"),
            (place.path(), "a folder"),
        ] {
            let error = open(path).unwrap_err().to_string();
            assert_eq!(error, format!("{what}; a plain file is needed"));
        }
        let file = place.path().join("file");
        fs::write(&file, "12345").unwrap();
        assert_eq!(read(&file, 5).unwrap(), b"12345");
        assert!(read(&file, 4).unwrap_err().to_string().contains("longer than the 4 bytes"));
        // Below a folder no link is followed.
        let inside = place.path().join("a/b");
        fs::create_dir_all(&inside).unwrap();
        fs::write(inside.join("file"), "").unwrap();
        symlink(&inside, place.path().join("a/c")).unwrap();
        symlink(&file, inside.join("link")).unwrap();
        assert!(open_within(place.path(), "a/b/file").is_ok());
        for name in ["a/c/file", "a/b/link", "a/b", "pipe", "a/../file", "/etc/passwd", "a//b"] {
            let error = open_within(place.path(), name).unwrap_err().to_string();
            assert!(error.ends_with(" is needed"), "{name}: {error}");
        }
        assert!(
            open_within(place.path(), "a/b/none").unwrap_err().kind() == io::ErrorKind::NotFound
        );
        // A link to a file is one: caches are full of them.
        let link = place.path().join("other");
        symlink(&file, &link).unwrap();
        assert!(open(&link).is_ok());
    }
}
