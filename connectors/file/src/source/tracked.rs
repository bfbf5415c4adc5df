//! One file that is followed.
//!
//! Duty: turn what is new in it into records, notice when it is cut or is another file, and remember
//! how to recognise it.

use std::fs::{File, Metadata};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use tokio::time::Instant;
use towpath_sdk::Text;
use towpath_sdk::offset::SourcePartition;
use towpath_sdk::record::Record;

use super::client::{At, Input, Look, holds, keep_last, recognise, skip_to};
use super::config::LongLines;
use super::names::stem_path;
use super::place::{FileId, Place, Print, TAIL_MAX, created};
use super::shape::{Room, Shape, as_text, cut};
use crate::error::FileError;
use crate::lines::{Line, LineBuffer, LineEnd};

/// How much is read at once; see `stream_source`.
const CHUNK: usize = 256 * 1024;

/// A file that is followed.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) id: FileId,
    pub(super) path: PathBuf,
    /// What all names of this log begin with.
    pub(super) stem: PathBuf,
    pub(super) partition: SourcePartition,
    /// The path as records show it.
    shown: Text,
    created: Option<i64>,
    is_gzip: bool,
    lines: LineBuffer,
    input: Option<Input>,
    head: Print,
    tail: Print,
    /// The last bytes that were read.
    before: Vec<u8>,
    /// A line that is too long and has no end yet.
    long: Option<Long>,
    pub(super) condition: Condition,
    /// The file as it was before it was read to its end.
    pub(super) look: Look,
    /// Since when nothing has changed.
    pub(super) quiet_since: Instant,
    /// Up to where all is acknowledged.
    pub(super) acknowledged: u64,
    /// Whether an offset of it was handed out.
    pub(super) is_marked: bool,
    /// Whether the patterns lead to it.
    pub(super) is_named: bool,
    /// Whether it has any name.
    pub(super) is_there: bool,
}

/// What is kept of a line that is too long.
#[derive(Debug)]
struct Long {
    beginning: Bytes,
    /// The file's head as it will be after what was let go.
    head: Print,
}

/// Whether there is anything to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// There may be.
    More,
    /// Not when it was looked at last.
    End,
    /// It can't be read on.
    Stuck { reason: String, until: Until },
}

/// What may end being stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Time.
    Retry,
    /// Any change of the file.
    Changed,
    /// The file becoming shorter.
    Cut,
}

impl Tracked {
    /// A file that was found, to be read from where it is known to have been read to.
    pub(super) fn new(
        path: PathBuf,
        metadata: &Metadata,
        place: Option<&Place>,
        at: Instant,
    ) -> Self {
        let id = FileId::of(metadata);
        let created = created(metadata);
        let place = place.filter(|place| place.may_be_of(created));
        let position = place.map_or(0, |place| place.position);
        let mut tracked = Self {
            id,
            stem: PathBuf::new(),
            partition: id.partition(),
            shown: Text::new(),
            created,
            is_gzip: false,
            path: PathBuf::new(),
            lines: LineBuffer::new(LineEnd::Newline, position),
            input: None,
            head: place.map_or(Print::NOTHING, |place| place.head),
            tail: place.map_or(Print::NOTHING, |place| place.tail),
            before: Vec::new(),
            long: None,
            condition: Condition::More,
            look: Look::of(metadata),
            quiet_since: at,
            acknowledged: position,
            is_marked: place.is_some(),
            is_named: false,
            is_there: true,
        };
        tracked.rename(path);
        tracked.is_gzip = tracked.path.extension().is_some_and(|e| e == "gz");
        tracked
    }

    fn rename(&mut self, path: PathBuf) {
        if path != self.path {
            self.stem = stem_path(&path);
            self.shown = path.to_string_lossy().into_owned().into();
            self.path = path;
        }
    }

    /// A look-up has found the file at `path`. Says whether it is another one by now.
    pub(super) fn found(&mut self, path: PathBuf, metadata: &Metadata, at: Instant) -> bool {
        if self.input.is_none() && self.created != created(metadata) {
            return false;
        }
        self.is_there = true;
        self.rename(path);
        self.notice(Look::of(metadata), at);
        if let Condition::Stuck { until: Until::Retry, .. } = self.condition {
            self.condition = Condition::More;
        }
        true
    }

    fn notice(&mut self, look: Look, at: Instant) {
        if look == self.look {
            return;
        }
        let wakes = match &self.condition {
            Condition::More => false,
            Condition::End | Condition::Stuck { until: Until::Retry | Until::Changed, .. } => true,
            Condition::Stuck { until: Until::Cut, .. } => look.length < self.look.length,
        };
        self.quiet_since = at;
        if wakes {
            self.condition = Condition::More;
        }
        self.look = look;
    }

    pub(super) fn is_open(&self) -> bool {
        self.input.is_some()
    }

    /// Closes a file that has been read to its end; it is opened again when it has changed.
    pub(super) fn close(&mut self) {
        self.input = None;
        self.forget_rest();
    }

    fn forget_rest(&mut self) {
        self.lines.reset(self.lines.position());
        self.long = None;
    }

    /// Whether it has been read to its end and has not changed since `pause` ago.
    pub(super) fn is_finished(&self, pause: Duration, now: Instant) -> bool {
        self.condition == Condition::End && self.quiet_since + pause <= now
    }

    /// Bytes of a last line without an end.
    pub(super) fn has_rest(&self) -> bool {
        self.lines.end() > self.lines.position()
    }

    pub(super) fn is_gzip(&self) -> bool {
        self.is_gzip
    }

    /// The byte at which the next line begins.
    pub(super) fn position(&self) -> u64 {
        self.lines.position()
    }

    /// A finished file can't be put away.
    pub(super) fn cannot_be_put_away(&mut self, reason: String) {
        self.condition = Condition::Stuck { reason, until: Until::Retry };
    }

    /// Where it has been read to.
    pub(super) fn place(&self) -> Place {
        Place {
            position: self.lines.position(),
            path: Some(self.path.clone()),
            created: self.created,
            head: self.head,
            tail: self.tail,
        }
    }

    /// Looks whether an open file has changed.
    pub(super) fn look_again(&mut self, at: Instant) {
        if let (Some(Input::Plain(file)), Condition::End | Condition::Stuck { .. }) =
            (&self.input, &self.condition)
            && let Ok(metadata) = file.metadata()
        {
            self.notice(Look::of(&metadata), at);
        }
    }

    /// Goes back to `place`, or to the start.
    pub(super) fn rewind(&mut self, place: Option<&Place>) {
        let place = place.filter(|place| place.may_be_of(self.created));
        self.head = place.map_or(Print::NOTHING, |place| place.head);
        self.tail = place.map_or(Print::NOTHING, |place| place.tail);
        let position = place.map_or(0, |place| place.position);
        self.acknowledged = position;
        self.is_marked = place.is_some();
        self.condition = Condition::More;
        self.go_back(position);
    }

    /// Forgets what was read beyond `position`. A file that may have no name any more stays open.
    fn go_back(&mut self, position: u64) {
        self.lines.reset(position);
        self.long = None;
        let place = self.place();
        match &self.input {
            Some(Input::Plain(file)) => match recognise(file, &place) {
                Ok(Some(before)) => self.before = before,
                // It has been cut since.
                Ok(None) | Err(_) => self.restart(),
            },
            _ => self.input = None,
        }
    }

    /// Reads from the start what is another file, or another content.
    fn restart(&mut self) {
        self.lines.reset(0);
        self.head = Print::NOTHING;
        self.tail = Print::NOTHING;
        self.before.clear();
        self.long = None;
    }

    /// Reads until there is no room left or nothing more; appends to `records`. Says how many times the
    /// file turned out to be cut or another.
    pub(super) fn take(
        &mut self,
        shape: &Shape,
        room: &mut Room,
        records: &mut Vec<Record>,
        at: Instant,
    ) -> u64 {
        let mut restarts = 0;
        while self.condition == Condition::More {
            self.take_lines(shape, room, records);
            if room.is_full() || self.condition != Condition::More {
                break;
            }
            match self.fill(&mut restarts) {
                Ok(0) => self.condition = Condition::End,
                Ok(_) => self.quiet_since = at,
                Err(stuck) => {
                    self.close();
                    self.condition = stuck;
                }
            }
        }
        if self.condition == Condition::End && self.is_gzip {
            self.input = None;
        }
        restarts
    }

    /// Takes a last line that has no end, if there is room for it.
    pub(super) fn take_rest(&mut self, shape: &Shape, room: &mut Room, records: &mut Vec<Record>) {
        if let Some(line) = self.lines.peek_rest() {
            self.take_line(line, shape, room, records);
        }
        self.tail_of_taken();
    }

    /// Takes whole lines that have been read.
    fn take_lines(&mut self, shape: &Shape, room: &mut Room, records: &mut Vec<Record>) {
        let held = self.lines.held();
        let mut first = true;
        while let Some(line) = self.lines.peek() {
            if std::mem::take(&mut first) {
                // A guess from the first line, so that the vector grows seldom.
                records.reserve((held / line.size()).clamp(1, room.records().max(1)));
            }
            if !self.take_line(line, shape, room, records) {
                break;
            }
        }
        self.tail_of_taken();
        if !room.is_full() && self.condition == Condition::More {
            self.let_go_of_long(shape);
        }
    }

    fn tail_of_taken(&mut self) {
        let before = self.lines.before(TAIL_MAX);
        if !before.is_empty() {
            self.tail = Print::of(before);
        }
    }

    /// Takes one line; false if there is no room for it or the file stops at it.
    fn take_line(
        &mut self,
        line: Line,
        shape: &Shape,
        room: &mut Room,
        records: &mut Vec<Record>,
    ) -> bool {
        let is_long = self.long.is_some() || line.len() > shape.max_line;
        let size = line.len().min(shape.max_line) + shape.overhead(&self.shown);
        match shape.long_lines {
            LongLines::Stop if is_long => {
                self.stop_at_long(shape);
                return false;
            }
            LongLines::Skip if is_long => {}
            _ if !room.admits(size) => return false,
            _ => {
                let value = if is_long {
                    let kept = self.long.as_ref().map(|long| long.beginning.clone());
                    let bytes = kept.unwrap_or_else(|| self.lines.bytes(line));
                    as_text(cut(bytes, shape.max_line))
                } else {
                    self.lines.text(line)
                };
                let position = self.lines.position();
                records.push(shape.record(value, &self.shown, position, room));
            }
        }
        if let Some(long) = self.long.take() {
            self.head = long.head;
        }
        self.head.add_head(self.lines.whole(line));
        self.lines.advance(line);
        true
    }

    /// Keeps no more of a line than becomes a record.
    fn let_go_of_long(&mut self, shape: &Shape) {
        let held = self.lines.unfinished();
        // One more could be the `\r` of its end.
        if self.long.is_none() && held.len() <= shape.max_line + 1 {
            return;
        }
        if shape.long_lines == LongLines::Stop {
            return self.stop_at_long(shape);
        }
        let long = self.long.get_or_insert_with(|| Long {
            beginning: Bytes::copy_from_slice(&held[..shape.max_line]),
            head: self.head,
        });
        long.head.add_head(held);
        self.lines.skip_unfinished();
    }

    fn stop_at_long(&mut self, shape: &Shape) {
        let reason = format!(
            "'{}' is not read on from byte {}: the line there has more than {} bytes; raise \
             max.line.bytes, or set long.lines to cut or skip",
            self.path.display(),
            self.lines.position(),
            shape.max_line
        );
        self.go_back(self.lines.position());
        self.condition = Condition::Stuck { reason, until: Until::Cut };
    }

    /// Reads a chunk. None came at the file's end.
    fn fill(&mut self, restarts: &mut u64) -> Result<usize, Condition> {
        self.open(restarts).map_err(|error| self.stuck(error))?;
        if !self.is_still_the_same()? {
            *restarts += 1;
            self.restart();
        }
        let position = self.lines.end();
        let came = match &mut self.input {
            Some(Input::Plain(file)) => self.lines.fill(&mut At { file, position }, CHUNK),
            Some(Input::Gzip(decoder)) => self.lines.fill(decoder, CHUNK),
            None => Ok(0),
        };
        let came = came.map_err(|error| self.stuck(error))?;
        keep_last(&mut self.before, self.lines.last(came));
        Ok(came)
    }

    /// Whether what was read last is still there.
    fn is_still_the_same(&mut self) -> Result<bool, Condition> {
        let Some(Input::Plain(file)) = &self.input else { return Ok(true) };
        let start = self.lines.end() - self.before.len() as u64;
        let same = file.metadata().and_then(|metadata| {
            // What is written while it is read shows as a change at the next look.
            self.look = Look::of(&metadata);
            holds(file, start, &self.before)
        });
        same.map_err(|error| self.stuck(error))
    }

    /// Opens the file where it was read to, or at its start if it is not what was read.
    fn open(&mut self, restarts: &mut u64) -> io::Result<()> {
        if self.input.is_some() {
            return Ok(());
        }
        let file = File::open(&self.path)?;
        let metadata = file.metadata()?;
        if FileId::of(&metadata) != self.id {
            // It has just been renamed; the next look-up finds it.
            return Err(io::ErrorKind::NotFound.into());
        }
        self.look = Look::of(&metadata);
        // A closed one may still hold a last line without an end: it is read anew.
        self.forget_rest();
        let place = self.place();
        if !self.is_gzip {
            match recognise(&file, &place)? {
                Some(before) => self.before = before,
                None => {
                    *restarts += 1;
                    self.restart();
                }
            }
            self.input = Some(Input::Plain(file));
            return Ok(());
        }
        let mut decoder = MultiGzDecoder::new(file);
        if !skip_to(&mut decoder, &place)? {
            *restarts += 1;
            self.restart();
            decoder = MultiGzDecoder::new(File::open(&self.path)?);
        }
        self.input = Some(Input::Gzip(Box::new(decoder)));
        Ok(())
    }

    fn stuck(&self, error: io::Error) -> Condition {
        let path = self.path.display();
        match error.kind() {
            io::ErrorKind::UnexpectedEof if self.is_gzip => Condition::Stuck {
                reason: format!(
                    "'{path}' ends in the middle of its compressed content; waiting until it has grown"
                ),
                until: Until::Changed,
            },
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData if self.is_gzip => {
                Condition::Stuck {
                    reason: format!("'{path}' is no gzip file, or is damaged ({error})"),
                    until: Until::Changed,
                }
            }
            _ => {
                let error = towpath_sdk::Error::from(FileError::new("read", &self.path, error));
                Condition::Stuck { reason: error.chain(), until: Until::Retry }
            }
        }
    }
}
