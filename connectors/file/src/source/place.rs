//! Where a file was read to, and how it is recognised.
//!
//! Duty: source partitions and source offsets of this connector, both ways. Pure. Their shape stands
//! in the head of the parent module.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value as JsonValue;
use towpath_sdk::offset::{SourceOffset, SourcePartition, StoredOffsets};
use towpath_sdk::{Error, Result};

const DEVICE: &str = "device";
const INODE: &str = "inode";
const POSITION: &str = "position";
const PATH: &str = "path";
const CREATED: &str = "created";
const HEAD: &str = "head";
const HEAD_BYTES: &str = "head.bytes";
const TAIL: &str = "tail";
const TAIL_BYTES: &str = "tail.bytes";

/// How many bytes at the start of a file tell it from others.
pub(super) const HEAD_MAX: usize = 1024;
/// How many bytes before the position do.
pub(super) const TAIL_MAX: usize = 64;

/// FNV-1a with 64 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>): it is stored, so it must not
/// change with a library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fnv(u64);

/// A fingerprint of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Print {
    hash: Fnv,
    pub(super) bytes: usize,
}

/// What the operating system calls a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FileId {
    device: u64,
    pub(super) inode: u64,
}

/// How far a file was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) position: u64,
    pub(super) path: Option<PathBuf>,
    pub(super) created: Option<i64>,
    pub(super) head: Print,
    pub(super) tail: Print,
}

impl Fnv {
    pub(super) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    pub(super) const fn get(self) -> u64 {
        self.0
    }
}

impl Print {
    pub(super) const NOTHING: Self = Self { hash: Fnv::new(), bytes: 0 };

    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut print = Self::NOTHING;
        print.add(bytes);
        print
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.hash.add(bytes);
        self.bytes += bytes.len();
    }

    /// Adds what belongs to a file's head.
    pub(super) fn add_head(&mut self, bytes: &[u8]) {
        let room = HEAD_MAX.saturating_sub(self.bytes).min(bytes.len());
        self.add(&bytes[..room]);
    }

    fn read(offset: &SourceOffset, hash: &str, bytes: &str, most: usize) -> Option<Self> {
        let hash = u64::from_str_radix(offset.get_str(hash)?, 16).ok()?;
        let bytes = usize::try_from(offset.get_i64(bytes)?).ok().filter(|bytes| *bytes <= most)?;
        Some(Self { hash: Fnv(hash), bytes })
    }

    fn text(self) -> String {
        format!("{:016x}", self.hash.get())
    }
}

impl FileId {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }

    pub(super) fn partition(self) -> SourcePartition {
        SourcePartition::of([(DEVICE, self.device), (INODE, self.inode)])
    }

    fn read(partition: &SourcePartition) -> Option<Self> {
        let number = |key| partition.get_i64(key).and_then(|number| u64::try_from(number).ok());
        Some(Self { device: number(DEVICE)?, inode: number(INODE)? })
    }
}

/// When the file's inode was made, where the file system tells.
pub(super) fn created(metadata: &Metadata) -> Option<i64> {
    let since = metadata.created().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_nanos()).ok()
}

impl Place {
    /// Whether it can be a place of a file that was made at `created`: an inode that was made anew is
    /// another file, whatever is in it.
    pub(super) fn may_be_of(&self, created: Option<i64>) -> bool {
        match (self.created, created) {
            (Some(known), Some(found)) => known == found,
            _ => true,
        }
    }

    pub(super) fn offset(&self) -> SourceOffset {
        let json = JsonValue::from;
        let path = self.path.as_ref().map(|path| path.to_string_lossy());
        SourceOffset::of([
            (POSITION, json(self.position)),
            (PATH, path.map_or(JsonValue::Null, JsonValue::from)),
            (CREATED, self.created.map_or(JsonValue::Null, JsonValue::from)),
            (HEAD, JsonValue::from(self.head.text())),
            (HEAD_BYTES, JsonValue::from(self.head.bytes)),
            (TAIL, JsonValue::from(self.tail.text())),
            (TAIL_BYTES, JsonValue::from(self.tail.bytes)),
        ])
    }

    fn read(offset: &SourceOffset) -> Result<Self> {
        let position = offset.get_i64(POSITION).and_then(|position| u64::try_from(position).ok());
        let position = position.ok_or_else(|| Error::config(WRONG_OFFSET))?;
        let print = |hash, bytes, most| {
            Print::read(offset, hash, bytes, most).filter(|p| p.bytes as u64 <= position)
        };
        Ok(Self {
            position,
            path: offset.get_str(PATH).map(PathBuf::from),
            created: offset.get_i64(CREATED),
            head: print(HEAD, HEAD_BYTES, HEAD_MAX).unwrap_or(Print::NOTHING),
            tail: print(TAIL, TAIL_BYTES, TAIL_MAX).unwrap_or(Print::NOTHING),
        })
    }
}

const WRONG_OFFSET: &str = "an offset of file-source is {\"position\": the byte at which the next line \
                            begins}";

/// Whether a person may set this offset.
pub(super) fn check(partition: &SourcePartition, offset: Option<&SourceOffset>) -> Result<()> {
    // Anything may be forgotten.
    let Some(offset) = offset else { return Ok(()) };
    if FileId::read(partition).is_none() {
        return Err(Error::config(
            "a partition of file-source is {\"device\": number, \"inode\": number}, as stat shows them",
        ));
    }
    Place::read(offset).map(drop)
}

/// What the stored offsets say, by inode.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(HashMap<u64, Vec<(FileId, Place)>>);

impl Places {
    pub(super) fn new(stored: &StoredOffsets) -> Result<Self> {
        let mut places: HashMap<u64, Vec<_>> = HashMap::new();
        for (partition, offset) in stored.iter() {
            if let Some(id) = FileId::read(partition) {
                places.entry(id.inode).or_default().push((id, Place::read(offset)?));
            }
        }
        Ok(Self(places))
    }

    /// The place of the file; one with the same inode and path on another device counts, since
    /// devices can be numbered anew when a system starts.
    pub(super) fn get(&self, id: FileId, path: &Path) -> Option<&Place> {
        let places = self.0.get(&id.inode)?;
        let same = places.iter().find(|(known, _)| *known == id);
        let moved = || places.iter().find(|(_, place)| place.path.as_deref() == Some(path));
        same.or_else(moved).map(|(_, place)| place)
    }

    /// Remembers how far a file was read that is not followed for now.
    pub(super) fn set(&mut self, id: FileId, place: Place) {
        self.forget(id);
        self.0.entry(id.inode).or_default().push((id, place));
    }

    /// Forgets a file that was deleted.
    pub(super) fn forget(&mut self, id: FileId) {
        if let Some(places) = self.0.get_mut(&id.inode) {
            places.retain(|(known, _)| *known != id);
        }
    }

    /// The files, with where they were.
    pub(super) fn iter(&self) -> impl Iterator<Item = (FileId, &Path)> {
        self.0.values().flatten().filter_map(|(id, place)| Some((*id, place.path.as_deref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        // From the authors' own table.
        for (text, expect) in [("", 0xcbf2_9ce4_8422_2325), ("foobar", 0x8594_4171_f739_67e8)] {
            assert_eq!(Print::of(text.as_bytes()).hash.get(), expect);
        }
        let mut head = Print::NOTHING;
        head.add_head(&[7; 1000]);
        head.add_head(&[8; 1000]);
        assert_eq!(head.bytes, HEAD_MAX);
    }

    #[test]
    fn places_come_back() {
        let id = FileId { device: 3, inode: 4 };
        let place = Place {
            position: 9,
            path: Some("/a/b".into()),
            created: Some(1_700_000_000_123_456_789),
            head: Print::of(b"one\ntwo\n!"),
            tail: Print::of(b"two\n!"),
        };
        let stored = StoredOffsets::new(vec![(id.partition(), place.offset())]);
        let places = Places::new(&stored).unwrap();
        assert_eq!(places.get(id, Path::new("/elsewhere")), Some(&place));
        let renumbered = FileId { device: 5, inode: 4 };
        assert_eq!(places.get(renumbered, Path::new("/a/b")), Some(&place));
        assert_eq!(places.get(renumbered, Path::new("/a/c")), None);
        let text = serde_json::to_string(&(id.partition(), place.offset())).unwrap();
        assert_eq!(
            text,
            r#"[{"device":3,"inode":4},{"position":9,"path":"/a/b","created":1700000000123456789,"head":"74b5295dc6ca75a2","head.bytes":9,"tail":"78ec10bf9fe20d28","tail.bytes":5}]"#
        );
    }

    #[test]
    fn people_may_set_a_position() {
        let partition = FileId { device: 3, inode: 4 }.partition();
        let offset = |text: &str| serde_json::from_str::<SourceOffset>(text).unwrap();
        assert!(check(&partition, Some(&offset(r#"{"position":7}"#))).is_ok());
        assert!(check(&partition, None).is_ok());
        for wrong in [r"{}", r#"{"position":-1}"#, r#"{"position":"x"}"#] {
            let error = check(&partition, Some(&offset(wrong))).unwrap_err();
            assert!(error.to_string().contains("\"position\""), "{error}");
        }
        let other = SourcePartition::of([("filename", "/a")]);
        assert!(check(&other, Some(&offset(r#"{"position":7}"#))).is_err());
        let place = Place::read(&offset(r#"{"position":7,"head":"x","head.bytes":9}"#)).unwrap();
        assert_eq!((place.head, place.position), (Print::NOTHING, 7));
    }
}
