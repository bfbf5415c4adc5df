//! From bytes to a [`Message`].
//!
//! Duty: the layout of each message, and the one cursor that all reading goes through. It never
//! passes the frame's end, and what a count announces is held against what is there before anything
//! is allocated for it.

use std::sync::Arc;

use bytes::Bytes;

use super::tuple::{self, Tuple};
use super::{
    Aborted, Begin, Commit, Delete, Insert, Logical, Message, Oid, Old, Origin, ParseError, Reason,
    Relation, RelationColumn, ReplicaIdentity, StreamAbort, StreamCommit, StreamStart, Truncate,
    Type, Update, Xid, unix_us,
};
use crate::lsn::Lsn;

type Result<T> = std::result::Result<T, ParseError>;

/// A column of a relation takes at least this: flags, an empty name, type, modifier.
const COLUMN_MIN: usize = 1 + 1 + 4 + 4;

/// Reads the whole frame.
pub(super) fn message(frame: &Bytes, in_stream: bool) -> Result<Message> {
    let mut cursor = Cursor { frame, position: 0, message: "message" };
    let tag = cursor.u8()?;
    let (name, read): (_, Reader) = match tag {
        b'I' => ("Insert", |c, s| Ok(Message::Insert(c.insert(s)?))),
        b'U' => ("Update", |c, s| Ok(Message::Update(c.update(s)?))),
        b'D' => ("Delete", |c, s| Ok(Message::Delete(c.delete(s)?))),
        b'B' => ("Begin", |c, _| Ok(Message::Begin(c.begin()?))),
        b'C' => ("Commit", |c, _| Ok(Message::Commit(c.commit()?))),
        b'R' => ("Relation", |c, s| Ok(Message::Relation(c.relation(s)?))),
        b'Y' => ("Type", |c, s| Ok(Message::Type(c.type_name(s)?))),
        b'O' => ("Origin", |c, _| Ok(Message::Origin(c.origin()?))),
        b'M' => ("Message", |c, s| Ok(Message::Logical(c.logical(s)?))),
        b'T' => ("Truncate", |c, s| Ok(Message::Truncate(c.truncate(s)?))),
        b'S' => ("Stream Start", |c, _| Ok(Message::StreamStart(c.stream_start()?))),
        b'E' => ("Stream Stop", |_, _| Ok(Message::StreamStop)),
        b'c' => ("Stream Commit", |c, _| Ok(Message::StreamCommit(c.stream_commit()?))),
        b'A' => ("Stream Abort", |c, _| Ok(Message::StreamAbort(c.stream_abort()?))),
        b'b' => ("Begin Prepare", two_phase),
        b'P' => ("Prepare", two_phase),
        b'K' => ("Commit Prepared", two_phase),
        b'r' => ("Rollback Prepared", two_phase),
        b'p' => ("Stream Prepare", two_phase),
        unknown => return Err(cursor.error(0, Reason::Unknown(unknown))),
    };
    cursor.message = name;
    let message = read(&mut cursor, in_stream)?;
    match cursor.left() {
        0 => Ok(message),
        surplus => Err(cursor.error(cursor.position, Reason::Long { surplus })),
    }
}

type Reader = fn(&mut Cursor<'_>, bool) -> Result<Message>;

fn two_phase(cursor: &mut Cursor<'_>, _: bool) -> Result<Message> {
    Err(cursor.error(0, Reason::TwoPhase))
}

/// A position in a frame.
pub(super) struct Cursor<'a> {
    frame: &'a Bytes,
    position: usize,
    message: &'static str,
}

impl<'a> Cursor<'a> {
    fn error(&self, position: usize, reason: Reason) -> ParseError {
        ParseError { message: self.message, position, reason }
    }

    fn left(&self) -> usize {
        self.frame.len() - self.position
    }

    /// The next `length` bytes; the only place where the position moves.
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let rest = self.frame.get(self.position..).unwrap_or_default();
        match rest.get(..length) {
            Some(bytes) => {
                self.position += length;
                Ok(bytes)
            }
            None => {
                let missing = length - rest.len();
                Err(self.error(self.position, Reason::Short { missing }))
            }
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32> {
        self.array().map(i32::from_be_bytes)
    }

    /// A count or length of 32 bits.
    pub(super) fn length(&mut self) -> Result<usize> {
        let at = self.position;
        let length = self.i32()?;
        usize::try_from(length).map_err(|_| self.error(at, Reason::Length(length)))
    }

    fn lsn(&mut self) -> Result<Lsn> {
        self.array().map(|bytes| Lsn(u64::from_be_bytes(bytes)))
    }

    fn time_us(&mut self) -> Result<i64> {
        self.array().map(|bytes| unix_us(i64::from_be_bytes(bytes)))
    }

    fn text(&mut self) -> Result<Arc<str>> {
        let at = self.position;
        let rest = self.frame.get(at..).unwrap_or_default();
        let end = memchr::memchr(0, rest).ok_or_else(|| self.error(at, Reason::Endless))?;
        let text = self.take(end + 1)?;
        let text = std::str::from_utf8(text.get(..end).unwrap_or_default());
        text.map(Arc::from).map_err(|_| self.error(at, Reason::NotUtf8))
    }

    fn namespace(&mut self) -> Result<Arc<str>> {
        let name = self.text()?;
        Ok(if name.is_empty() { Arc::from("pg_catalog") } else { name })
    }

    fn xid(&mut self, in_stream: bool) -> Result<Option<Xid>> {
        in_stream.then(|| self.u32()).transpose()
    }

    /// The tag that `known` maps to something.
    pub(super) fn tag<T>(&mut self, known: impl FnOnce(u8) -> Option<T>) -> Result<T> {
        let at = self.position;
        let tag = self.u8()?;
        known(tag).ok_or_else(|| self.error(at, Reason::Unknown(tag)))
    }

    fn tuple(&mut self) -> Result<Tuple> {
        let count = self.u16()?;
        let start = self.position;
        tuple::skip(self, count)?;
        Ok(Tuple::new(self.frame.slice(start..self.position), count))
    }

    fn new_tuple(&mut self) -> Result<Tuple> {
        self.tag(|tag| (tag == b'N').then_some(()))?;
        self.tuple()
    }

    fn begin(&mut self) -> Result<Begin> {
        Ok(Begin { commit_lsn: self.lsn()?, committed_at_us: self.time_us()?, xid: self.u32()? })
    }

    fn commit(&mut self) -> Result<Commit> {
        // Flags, none of which exist yet.
        self.u8()?;
        Ok(Commit {
            commit_lsn: self.lsn()?,
            end_lsn: self.lsn()?,
            committed_at_us: self.time_us()?,
        })
    }

    fn origin(&mut self) -> Result<Origin> {
        Ok(Origin { commit_lsn: self.lsn()?, name: self.text()? })
    }

    fn logical(&mut self, in_stream: bool) -> Result<Logical> {
        let xid = self.xid(in_stream)?;
        let transactional = self.u8()? & 1 != 0;
        let (lsn, prefix, length) = (self.lsn()?, self.text()?, self.length()?);
        let start = self.position;
        self.take(length)?;
        let content = self.frame.slice(start..self.position);
        Ok(Logical { xid, transactional, lsn, prefix, content })
    }

    fn relation(&mut self, in_stream: bool) -> Result<Relation> {
        let (xid, oid) = (self.xid(in_stream)?, self.u32()?);
        let (namespace, name) = (self.namespace()?, self.text()?);
        let replica_identity = self.tag(|tag| match tag {
            b'd' => Some(ReplicaIdentity::Default),
            b'n' => Some(ReplicaIdentity::Nothing),
            b'f' => Some(ReplicaIdentity::Full),
            b'i' => Some(ReplicaIdentity::Index),
            _ => None,
        })?;
        let count = usize::from(self.u16()?);
        let mut columns = Vec::with_capacity(count.min(self.left() / COLUMN_MIN));
        for _ in 0..count {
            columns.push(RelationColumn {
                is_key: self.u8()? & 1 != 0,
                name: self.text()?,
                type_oid: self.u32()?,
                type_modifier: self.i32()?,
            });
        }
        Ok(Relation { xid, oid, namespace, name, replica_identity, columns })
    }

    fn type_name(&mut self, in_stream: bool) -> Result<Type> {
        Ok(Type {
            xid: self.xid(in_stream)?,
            oid: self.u32()?,
            namespace: self.namespace()?,
            name: self.text()?,
        })
    }

    fn insert(&mut self, in_stream: bool) -> Result<Insert> {
        Ok(Insert { xid: self.xid(in_stream)?, relation: self.u32()?, new: self.new_tuple()? })
    }

    fn update(&mut self, in_stream: bool) -> Result<Update> {
        let (xid, relation) = (self.xid(in_stream)?, self.u32()?);
        let (old, new) = match self.tag(Part::of)? {
            Part::New => (None, self.tuple()?),
            Part::Key => (Some(Old::Key(self.tuple()?)), self.new_tuple()?),
            Part::Row => (Some(Old::Row(self.tuple()?)), self.new_tuple()?),
        };
        Ok(Update { xid, relation, old, new })
    }

    fn delete(&mut self, in_stream: bool) -> Result<Delete> {
        let (xid, relation) = (self.xid(in_stream)?, self.u32()?);
        let is_key = self.tag(|tag| match tag {
            b'K' => Some(true),
            b'O' => Some(false),
            _ => None,
        })?;
        let old = self.tuple()?;
        Ok(Delete { xid, relation, old: if is_key { Old::Key(old) } else { Old::Row(old) } })
    }

    fn truncate(&mut self, in_stream: bool) -> Result<Truncate> {
        let xid = self.xid(in_stream)?;
        let (count, options) = (self.length()?, self.u8()?);
        let mut relations: Vec<Oid> = Vec::with_capacity(count.min(self.left() / size_of::<Oid>()));
        for _ in 0..count {
            relations.push(self.u32()?);
        }
        let (cascade, restart_identity) = (options & 1 != 0, options & 2 != 0);
        Ok(Truncate { xid, cascade, restart_identity, relations })
    }

    fn stream_start(&mut self) -> Result<StreamStart> {
        Ok(StreamStart { xid: self.u32()?, first: self.u8()? == 1 })
    }

    fn stream_commit(&mut self) -> Result<StreamCommit> {
        Ok(StreamCommit { xid: self.u32()?, commit: self.commit()? })
    }

    fn stream_abort(&mut self) -> Result<StreamAbort> {
        let (xid, subxid) = (self.u32()?, self.u32()?);
        let aborted = match self.left() {
            0 => None,
            _ => Some(Aborted { lsn: self.lsn()?, at_us: self.time_us()? }),
        };
        Ok(StreamAbort { xid, subxid, aborted })
    }
}

/// Which row of an update comes next.
enum Part {
    Key,
    Row,
    New,
}

impl Part {
    fn of(tag: u8) -> Option<Self> {
        match tag {
            b'K' => Some(Self::Key),
            b'O' => Some(Self::Row),
            b'N' => Some(Self::New),
            _ => None,
        }
    }
}
