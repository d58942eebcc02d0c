//! An exported user as one file, and back: a ZIP archive whose files are stored as they are.

use std::{
    fs::{self, File},
    io::{self, Seek},
    path::Path,
};

use spring_core::spring_memory::UserId;
use zip::{CompressionMethod, ZipArchive, ZipWriter, write::SimpleFileOptions};

/// The most files of an archive; a user has three for each generation that is kept.
const MOST_FILES: usize = 100_000;

/// Packs a folder into a file that is nowhere else, and is at its beginning.
///
/// # Errors
///
/// If a file cannot be read, or there is no room.
pub fn pack(folder: &Path) -> io::Result<File> {
    let mut writer = ZipWriter::new(tempfile::tempfile()?);
    let options =
        SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
    let mut folders = vec![String::new()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(folder.join(&inner))? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_str().ok_or_else(|| io::Error::other("a name is not UTF-8"))?;
            let name = if inner.is_empty() { name.into() } else { format!("{inner}/{name}") };
            if entry.file_type()?.is_dir() {
                folders.push(name);
                continue;
            }
            writer.start_file(name, options)?;
            io::copy(&mut File::open(entry.path())?, &mut writer)?;
        }
    }
    let mut file = writer.finish()?;
    file.rewind()?;
    Ok(file)
}

/// Unpacks an archive into a new folder. It is not trusted: files are stored as they are, so they
/// take no more room than the archive, and none gets out of the folder.
///
/// # Errors
///
/// What is wrong with the archive, in words.
pub fn unpack(archive: File, folder: &Path) -> Result<(), String> {
    let unusable = |error: &dyn std::fmt::Display| format!("no archive of a user: {error}");
    let length = archive.metadata().map_err(|error| unusable(&error))?.len();
    let mut archive = ZipArchive::new(archive).map_err(|error| unusable(&error))?;
    if archive.len() > MOST_FILES {
        return Err(unusable(&format!("{} files are too many", archive.len())));
    }
    fs::create_dir(folder).map_err(|error| unusable(&error))?;
    let mut written = 0;
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).map_err(|error| unusable(&error))?;
        let name = entry.name().to_owned();
        let odd = || unusable(&format!("{name:?} is not a plain file in it"));
        let inner = entry.enclosed_name().ok_or_else(odd)?;
        let is_plain = entry.is_file() && entry.compression() == CompressionMethod::Stored;
        // Parts of the archive that several entries share would come out more than once.
        written += entry.size();
        if !is_plain || written > length {
            return Err(odd());
        }
        let path = folder.join(inner);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| unusable(&error))?;
        }
        let mut file = File::create_new(&path).map_err(|error| unusable(&error))?;
        let copied = io::copy(&mut io::Read::take(&mut entry, length), &mut file);
        copied.map_err(|error| unusable(&error))?;
    }
    Ok(())
}

/// Refuses the folder of another user than the one that it is to become.
///
/// # Errors
///
/// Whose it is, or that it cannot be read.
pub fn check_user(folder: &Path, user: &UserId) -> Result<(), String> {
    const LONGEST: u64 = 1 << 20;
    let path = folder.join("user.json");
    let is_short = fs::metadata(&path).is_ok_and(|file| file.is_file() && file.len() <= LONGEST);
    let header = is_short.then(|| fs::read_to_string(&path).ok()).flatten();
    let header: Option<serde_json::Value> =
        header.and_then(|header| serde_json::from_str(&header).ok());
    match header.as_ref().and_then(|header| header.get("user")?.as_str()) {
        Some(name) if name == user.as_str() => Ok(()),
        Some(_) => Err(format!("the archive is of another user than {user}")),
        None => Err("no archive of a user: its user.json cannot be read".into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_folder_comes_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::write(from.join("user.json"), r#"{"user": "ada"}"#).unwrap();
        fs::write(from.join("a/b/c"), [1, 2, 3]).unwrap();
        unpack(pack(&from).unwrap(), &to).unwrap();
        assert_eq!(fs::read(to.join("a/b/c")).unwrap(), [1, 2, 3]);
        check_user(&to, &UserId::new("ada").unwrap()).unwrap();
        assert!(check_user(&to, &UserId::new("bob").unwrap()).unwrap_err().contains("another"));
    }

    #[test]
    fn an_archive_does_not_reach_out_of_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["../out", "/out", "a/../../out"] {
            let mut writer = ZipWriter::new(tempfile::tempfile().unwrap());
            writer.start_file(name, SimpleFileOptions::default()).unwrap();
            writer.write_all(b"x").unwrap();
            let file = writer.finish().unwrap();
            let folder = dir.path().join("in");
            let result = unpack(file, &folder);
            assert!(!dir.path().join("out").exists() && !Path::new("/out").exists());
            let inside = folder.join("out").exists();
            assert!(result.is_err() || inside, "{name}: {result:?}");
            fs::remove_dir_all(&folder).unwrap();
        }
        let mut text = tempfile::tempfile().unwrap();
        text.write_all(b"no archive").unwrap();
        assert!(unpack(text, &dir.path().join("in")).unwrap_err().contains("no archive"));
    }
}
