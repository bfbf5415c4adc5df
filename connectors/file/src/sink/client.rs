//! Files on their way to their names.
//!
//! Duty: all calls to the operating system of this connector. Everything here blocks and is called on
//! the blocking pool.
//!
//! A file is written under a temporary name in the partition's folder, then synchronised, then renamed;
//! then the directories are synchronised. Each step remembers how far it came, so that after an error
//! it is called again and goes on there, except after a failed synchronisation: what the operating
//! system could not write then may be gone, and the file must be written anew.

use std::collections::HashSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use flate2::write::GzEncoder;
use tokio::task::spawn_blocking;
use towpath_sdk::{Error, ErrorKind, Result};

use super::config::Compression;
use crate::error::{FileError, joined};

/// The folder of what is not complete, below the directory.
const WORK: &str = ".towpath";

/// Where the files of one partition are made.
#[derive(Debug)]
pub(super) struct Workshop {
    directory: PathBuf,
    /// Of this partition alone.
    folder: PathBuf,
    compression: Compression,
    fsync: bool,
}

/// The open files of one partition.
#[derive(Debug)]
pub(super) struct OpenFiles {
    workshop: Workshop,
    files: Vec<OpenFile>,
    /// Whether what an earlier lane left in the folder was removed.
    prepared: bool,
    /// Directories whose own entry is on the disk.
    known: HashSet<PathBuf>,
    /// The lane is gone: nothing more is to be renamed.
    abandoned: Arc<AtomicBool>,
}

#[derive(Debug)]
struct OpenFile {
    temporary: PathBuf,
    target: PathBuf,
    file: Option<File>,
    /// Lines that were not compressed yet, if they are to be.
    lines: Vec<u8>,
    encoder: Option<GzEncoder<Vec<u8>>>,
    /// What is to be written.
    pending: Vec<u8>,
    /// How much of `pending` was.
    written: usize,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    Synchronised,
    Renamed,
}

/// Why files could not be completed.
#[derive(Debug)]
pub(super) enum Failure {
    /// It can be tried again.
    Again(FileError),
    /// What was written is not to be relied on.
    Lost(FileError),
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::Again(error)
    }
}

impl Workshop {
    pub(super) fn new(
        directory: &Path,
        connector: &str,
        partition: &str,
        compression: Compression,
        fsync: bool,
    ) -> Self {
        let folder = directory.join(WORK).join(folder_name(connector)).join(partition);
        Self { directory: directory.to_owned(), folder, compression, fsync }
    }
}

/// A name that no other file has had, of this process or another.
fn temporary_name() -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    static BEGUN: AtomicU64 = AtomicU64::new(0);
    format!("{:016x}-{}.part", *PROCESS, BEGUN.fetch_add(1, Ordering::Relaxed))
}

/// A connector's name as the name of a folder: what could be misunderstood is written as its bytes.
fn folder_name(connector: &str) -> String {
    let mut name = String::new();
    for (at, byte) in connector.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(byte.into()),
            b'.' if at > 0 => name.push('.'),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    name
}

impl OpenFiles {
    pub(super) fn new(workshop: Workshop, abandoned: Arc<AtomicBool>) -> Self {
        Self { workshop, files: Vec::new(), prepared: false, known: HashSet::new(), abandoned }
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// Begins a file that will be `name` below the directory, with its first line; its number. Nothing
    /// happens on the disk yet.
    pub(super) fn begin(&mut self, name: &str, line: Vec<u8>) -> usize {
        let gzip = self.workshop.compression == Compression::Gzip;
        let (lines, pending) = if gzip { (line, Vec::new()) } else { (Vec::new(), line) };
        self.files.push(OpenFile {
            temporary: self.workshop.folder.join(temporary_name()),
            target: self.workshop.directory.join(name),
            file: None,
            lines,
            // The header holds no time, so that the same lines give the same file.
            encoder: gzip.then(|| GzEncoder::new(Vec::new(), flate2::Compression::default())),
            pending,
            written: 0,
            stage: Stage::Open,
        });
        self.files.len() - 1
    }

    /// The end of a file, to append lines to.
    pub(super) fn lines(&mut self, file: usize) -> Option<&mut Vec<u8>> {
        let file = self.files.get_mut(file)?;
        Some(if file.encoder.is_some() { &mut file.lines } else { &mut file.pending })
    }

    /// Writes all lines into the temporary files.
    pub(super) fn flush(&mut self) -> Result<(), FileError> {
        self.prepare()?;
        self.files.iter_mut().try_for_each(OpenFile::write)
    }

    /// Gives all files their names, for good.
    pub(super) fn complete(&mut self) -> Result<(), Failure> {
        self.flush()?;
        for file in &mut self.files {
            file.finish(self.workshop.fsync)?;
        }
        for at in 0..self.files.len() {
            self.rename(at)?;
        }
        self.synchronise_directories()?;
        self.files.clear();
        Ok(())
    }

    /// Gives the open files up, and removes the folder if it is empty.
    pub(super) fn discard(&mut self) -> Result<(), FileError> {
        for file in self.files.drain(..).filter(|file| file.file.is_some()) {
            remove(&file.temporary)?;
        }
        if self.prepared {
            self.prepared = false;
            // Others may have theirs beside it.
            let folders = self.workshop.folder.ancestors().take(3);
            let _gone: Result<(), io::Error> =
                folders.into_iter().try_for_each(std::fs::remove_dir);
        }
        Ok(())
    }

    /// Makes the folder, empty. Whoever had the partition before can't rename anything after this.
    fn prepare(&mut self) -> Result<(), FileError> {
        if self.prepared {
            return Ok(());
        }
        let folder = &self.workshop.folder;
        self.make_directory()?;
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(folder).map_err(FileError::at("create", folder))?;
        let entries = std::fs::read_dir(folder).map_err(FileError::at("list", folder))?;
        for entry in entries {
            remove(&entry.map_err(FileError::at("list", folder))?.path())?;
        }
        self.prepared = true;
        Ok(())
    }

    fn make_directory(&self) -> Result<(), FileError> {
        let directory = &self.workshop.directory;
        let missing: Vec<&Path> = directory.ancestors().take_while(|p| !p.exists()).collect();
        std::fs::create_dir_all(directory).map_err(FileError::at("create", directory))?;
        for above in missing.into_iter().filter_map(Path::parent).filter(|_| self.workshop.fsync) {
            let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
            synchronise(above)?;
        }
        Ok(())
    }

    fn rename(&mut self, at: usize) -> Result<(), Failure> {
        let Some(file) = self.files.get_mut(at).filter(|f| f.stage == Stage::Synchronised) else {
            return Ok(());
        };
        if let Some(parent) = file.target.parent() {
            std::fs::create_dir_all(parent).map_err(FileError::at("create", parent))?;
        }
        if self.abandoned.load(Ordering::Acquire) {
            let reason = io::Error::other("the partition was taken away");
            return Err(Failure::Lost(FileError::new("complete", &file.target, reason)));
        }
        let renamed = std::fs::rename(&file.temporary, &file.target);
        renamed.map_err(FileError::at("rename a file to", &file.target)).map_err(|error| {
            // The parent is there, so it is the file itself that somebody has removed.
            match error.io() {
                io::ErrorKind::NotFound => Failure::Lost(error),
                _ => Failure::Again(error),
            }
        })?;
        file.stage = Stage::Renamed;
        Ok(())
    }

    /// Makes the new names durable, and those of directories that may be new.
    fn synchronise_directories(&mut self) -> Result<(), Failure> {
        if !self.workshop.fsync {
            return Ok(());
        }
        let mut done = HashSet::new();
        for file in &self.files {
            let parents = file.target.ancestors().skip(1);
            let below = parents.take_while(|p| p.starts_with(&self.workshop.directory));
            for (above, directory) in below.enumerate() {
                let is_known = above > 0 && self.known.contains(directory);
                if !is_known && done.insert(directory) {
                    synchronise(directory).map_err(Failure::Lost)?;
                }
            }
        }
        let done: Vec<PathBuf> = done.into_iter().map(Path::to_owned).collect();
        // A bound, so that a new directory each hour does not add up for ever.
        if self.known.len() > 1000 {
            self.known.clear();
        }
        self.known.extend(done);
        Ok(())
    }
}

impl OpenFile {
    /// Compresses and writes what came.
    fn write(&mut self) -> Result<(), FileError> {
        if self.stage != Stage::Open {
            return Ok(());
        }
        if let Some(encoder) = &mut self.encoder {
            // A vector takes all bytes.
            let encoded = encoder.write_all(&self.lines);
            encoded.map_err(FileError::at("compress", &self.target))?;
            self.lines.clear();
            self.pending.append(encoder.get_mut());
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let mut options = OpenOptions::new();
                let created = options.write(true).create_new(true).open(&self.temporary);
                self.file.insert(created.map_err(FileError::at("create", &self.temporary))?)
            }
        };
        while self.written < self.pending.len() {
            match file.write(&self.pending[self.written..]) {
                Ok(0) => {
                    let error = io::ErrorKind::WriteZero.into();
                    return Err(FileError::new("write to", &self.temporary, error));
                }
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(FileError::new("write to", &self.temporary, error)),
            }
        }
        self.pending.clear();
        self.written = 0;
        Ok(())
    }

    /// Ends the file and makes it durable under its temporary name.
    fn finish(&mut self, fsync: bool) -> Result<(), Failure> {
        if self.stage != Stage::Open {
            return Ok(());
        }
        if let Some(encoder) = self.encoder.take() {
            let rest = encoder.finish().map_err(FileError::at("compress", &self.target))?;
            self.pending.extend(rest);
        }
        self.write()?;
        if let Some(file) = self.file.as_ref().filter(|_| fsync) {
            let synchronised = file.sync_all();
            synchronised
                .map_err(FileError::at("synchronise", &self.temporary))
                .map_err(Failure::Lost)?;
        }
        self.stage = Stage::Synchronised;
        Ok(())
    }
}

/// Makes the entries of a directory durable.
fn synchronise(directory: &Path) -> Result<(), FileError> {
    let synchronised = File::open(directory).and_then(|directory| directory.sync_all());
    synchronised.map_err(FileError::at("synchronise", directory))
}

/// Removes a file that may be gone.
fn remove(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::new("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Whether files can be made in `directory`. It is created if it is not there.
pub(super) async fn check(directory: PathBuf) -> Result<()> {
    let probe = move || {
        let workshop = Workshop::new(&directory, "check", "check", Compression::None, false);
        let mut files = OpenFiles::new(workshop, Arc::default());
        files.begin("check", Vec::new());
        let outcome = files.flush();
        files.discard().and(outcome)
    };
    Ok(spawn_blocking(probe).await.map_err(joined)??)
}

/// The engine's error for one of this module. What stands in the way of a name can be removed, and
/// then it goes on.
pub(super) fn refused(error: FileError) -> Error {
    let (kind, hint) = match error.io() {
        io::ErrorKind::CrossesDevices => {
            (ErrorKind::Config, "the directory and all below it must be one file system")
        }
        io::ErrorKind::AlreadyExists
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::DirectoryNotEmpty => {
            (ErrorKind::NotFound, "something else stands in its place: remove it")
        }
        _ => return error.into(),
    };
    Error::new(kind, format!("{error}; {hint}")).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(directory: &Path, compression: Compression) -> OpenFiles {
        let workshop = Workshop::new(directory, "c/1", "t-0", compression, true);
        OpenFiles::new(workshop, Arc::default())
    }

    fn tree(directory: &Path) -> Vec<String> {
        let mut names = Vec::new();
        let mut folders = vec![directory.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    names.push(path.strip_prefix(directory).unwrap().display().to_string());
                }
            }
        }
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_whole_under_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut open = files(folder.path(), Compression::None);
        let file = open.begin("a/b/x.txt", b"one\n".to_vec());
        open.flush().unwrap();
        let [temporary] = <[String; 1]>::try_from(tree(folder.path())).unwrap();
        assert!(temporary.starts_with(".towpath/c%2f1/t-0/"), "{temporary}");
        open.lines(file).unwrap().extend(b"two\n");
        open.complete().unwrap();
        assert_eq!(tree(folder.path()), ["a/b/x.txt"]);
        assert_eq!(std::fs::read(folder.path().join("a/b/x.txt")).unwrap(), b"one\ntwo\n");
        assert_eq!(open.len(), 0);
        open.discard().unwrap();
        assert!(!folder.path().join(".towpath").exists());
    }

    #[test]
    fn whoever_comes_next_clears_up_and_locks_out() {
        let folder = tempfile::tempdir().unwrap();
        let mut old = files(folder.path(), Compression::None);
        old.begin("x", b"old\n".to_vec());
        old.flush().unwrap();
        let mut new = files(folder.path(), Compression::None);
        new.flush().unwrap();
        assert_eq!(tree(folder.path()), [""; 0]);
        assert!(
            matches!(old.complete(), Err(Failure::Lost(e)) if e.io() == io::ErrorKind::NotFound)
        );
        assert_eq!(tree(folder.path()), [""; 0]);
    }

    #[test]
    fn nothing_is_renamed_for_a_lane_that_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let mut open = files(folder.path(), Compression::None);
        open.begin("x", Vec::new());
        open.abandoned.store(true, Ordering::Release);
        assert!(matches!(open.complete(), Err(Failure::Lost(_))));
        assert!(!folder.path().join("x").exists());
    }

    #[test]
    fn an_error_half_way_is_gone_over_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut open = files(folder.path(), Compression::None);
        for name in ["a", "blocked/b", "c"] {
            open.begin(name, name.as_bytes().to_vec());
        }
        // A file where a directory must be.
        std::fs::write(folder.path().join("blocked"), "").unwrap();
        assert!(matches!(open.complete(), Err(Failure::Again(_))));
        std::fs::remove_file(folder.path().join("blocked")).unwrap();
        open.complete().unwrap();
        assert_eq!(tree(folder.path()), ["a", "blocked/b", "c"]);
    }

    #[test]
    fn compressed_files_are_the_same_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, flushes: bool| {
            let mut open = files(folder.path(), Compression::Gzip);
            let file = open.begin(name, Vec::new());
            for line in 0..1000 {
                open.lines(file).unwrap().extend(format!("line {line}\n").as_bytes());
                if flushes && line % 100 == 0 {
                    open.flush().unwrap();
                }
            }
            open.complete().unwrap();
            std::fs::read(folder.path().join(name)).unwrap()
        };
        let one = write("one", true);
        assert_eq!(one, write("two", false));
        let mut text = String::new();
        io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&one[..]), &mut text).unwrap();
        assert_eq!((text.lines().count(), text.lines().last()), (1000, Some("line 999")));
    }

    #[test]
    fn folder_names_are_harmless() {
        for (name, expect) in
            [("a-b_1.x", "a-b_1.x"), ("..", "%2e."), ("a/../b", "a%2f..%2fb"), ("é", "%c3%a9")]
        {
            assert_eq!(folder_name(name), expect);
        }
    }
}
