//! The log's directory.
//!
//! Duty: make it, keep it private, mark its format, and let one process in.
//!
//! Invariant: a directory that holds something else is never touched.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::{OpenError, OpenErrorKind};

/// Private to the user.
const MODE: u32 = 0o700;
/// Marks the directory and its format.
const FORMAT_FILE: &str = "FORMAT";
const FORMAT: &str = "towpath-log 1\n";
/// Held by the process that has the log, whose id it holds.
const LOCK_FILE: &str = "LOCK";
/// The store's own directory.
const STORE: &str = "store";

/// A directory that is ours as long as this lives.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Makes `path` if need be and takes it.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let io = |doing: &'static str| move |error| OpenError::io(path, doing, error);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(MODE)
            .create(path)
            .map_err(io("make the directory"))?;
        let path = &path.canonicalize().map_err(io("find the directory"))?;
        let fresh = check_format(path)?;
        let permissions = Permissions::from_mode(MODE);
        fs::set_permissions(path, permissions).map_err(io("make the directory private"))?;
        let lock = take_lock(path)?;
        if fresh {
            write_format(path).map_err(io("mark the format"))?;
        }
        Ok(Self { path: path.clone(), _lock: lock })
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The store's part of it.
    pub(crate) fn store(&self) -> PathBuf {
        self.path.join(STORE)
    }
}

/// Whether the directory is new; an error if it is not ours.
fn check_format(path: &Path) -> Result<bool, OpenError> {
    match fs::read_to_string(path.join(FORMAT_FILE)) {
        Ok(found) if found == FORMAT => Ok(false),
        Ok(found) => Err(OpenError::new(
            OpenErrorKind::Foreign,
            path,
            format!(
                "has the format '{}', but this version reads '{}': use the version that wrote it, or another \
                 directory",
                found.trim().chars().take(40).collect::<String>(),
                FORMAT.trim()
            ),
        )),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let entries =
                fs::read_dir(path).map_err(|e| OpenError::io(path, "list the directory", e))?;
            let foreign = entries.flatten().find(|entry| entry.file_name() != LOCK_FILE);
            match foreign {
                None => Ok(true),
                Some(entry) => Err(OpenError::new(
                    OpenErrorKind::Foreign,
                    path,
                    format!(
                        "can't be made in a directory that holds something else ({}): give an empty one",
                        entry.file_name().display()
                    ),
                )),
            }
        }
        Err(error) => Err(OpenError::io(path, "read the format", error)),
    }
}

fn take_lock(path: &Path) -> Result<File, OpenError> {
    let io = |error| OpenError::io(path, "take the lock", error);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(path.join(LOCK_FILE)).map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::Error(error)) => return Err(io(error)),
        Err(fs::TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let read = file.read_to_string(&mut holder);
            let holder = match holder.trim() {
                id if read.is_ok() && !id.is_empty() => format!("process {id}"),
                _ => "another process".to_owned(),
            };
            return Err(OpenError::new(
                OpenErrorKind::Occupied,
                path,
                format!("is in use by {holder}: stop it, or give another directory"),
            ));
        }
    }
    file.set_len(0).map_err(io)?;
    file.rewind().map_err(io)?;
    write!(file, "{}", std::process::id()).map_err(io)?;
    Ok(file)
}

/// Writes the marker so that it is there as a whole or not at all.
fn write_format(path: &Path) -> std::io::Result<()> {
    let temporary = path.join("FORMAT.new");
    let mut file = File::create(&temporary)?;
    file.write_all(FORMAT.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path.join(FORMAT_FILE))?;
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(path: &Path) -> OpenErrorKind {
        Directory::open(path).expect_err("it is not ours").kind
    }

    #[test]
    fn it_is_private_and_one_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/log");
        let first = Directory::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        let second = Directory::open(&path).unwrap_err();
        assert_eq!(second.kind, OpenErrorKind::Occupied);
        assert!(second.to_string().contains(&std::process::id().to_string()), "{second}");
        drop(first);
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        let again = Directory::open(&path).unwrap();
        assert_eq!(fs::metadata(again.path()).unwrap().permissions().mode() & 0o777, MODE);
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path();
        fs::write(path.join("thesis.txt"), "mine").unwrap();
        assert_eq!(kind(path), OpenErrorKind::Foreign);
        assert_eq!(fs::read_dir(path).unwrap().count(), 1);

        let other = parent.path().join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join(FORMAT_FILE), "towpath-log 99\n").unwrap();
        let error = Directory::open(&other).unwrap_err();
        assert_eq!(error.kind, OpenErrorKind::Foreign);
        assert!(error.to_string().contains("towpath-log 99"), "{error}");
    }
}
