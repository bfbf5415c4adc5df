//! What lines become, and how many of them.
//!
//! Duty: make records of lines, count what a batch still has room for, and cut lines that are too
//! long. Pure.

use std::sync::Arc;

use bytes::Bytes;
use towpath_sdk::Text;
use towpath_sdk::record::{Header, Record, Topic};
use towpath_sdk::schema::{Kind, Schema, SchemaRef};
use towpath_sdk::source::Budget;
use towpath_sdk::value::{Datum, Value};

use super::config::{FileSourceConfig, LongLines, RecordKey, ValueFormat};

/// What all records have in common.
#[derive(Debug)]
pub(super) struct Shape {
    topic: Topic,
    text: SchemaRef,
    bytes: SchemaRef,
    number: SchemaRef,
    value_format: ValueFormat,
    key: RecordKey,
    headers: bool,
    pub(super) max_line: usize,
    pub(super) long_lines: LongLines,
}

/// What a batch still has room for.
#[derive(Debug)]
pub(super) struct Room {
    records: usize,
    bytes: usize,
    is_empty: bool,
    is_full: bool,
    /// The records' timestamp.
    now_ms: i64,
}

impl Shape {
    pub(super) fn new(config: &FileSourceConfig) -> Self {
        let schema = |kind| Arc::new(Schema::new(kind));
        Self {
            topic: config.topic.as_str().into(),
            text: schema(Kind::String),
            bytes: schema(Kind::Bytes),
            number: schema(Kind::Int64),
            value_format: config.value_format,
            key: config.record_key,
            headers: config.file_headers,
            max_line: config.max_line_bytes as usize,
            long_lines: config.long_lines,
        }
    }

    /// What a record takes beyond its line.
    pub(super) fn overhead(&self, path: &Text) -> usize {
        let key = if self.key == RecordKey::Path { path.len() } else { 0 };
        let headers =
            if self.headers { PATH_HEADER.len() + path.len() + OFFSET_HEADER.len() + 8 } else { 0 };
        key + headers
    }

    /// The record of a line that begins at `position` of the file at `path`.
    pub(super) fn record(
        &self,
        line: Result<Text, Bytes>,
        path: &Text,
        position: u64,
        room: &Room,
    ) -> Record {
        let datum = |schema: &SchemaRef, value| Datum::new(Arc::clone(schema), value);
        let value = match line {
            Ok(text) if self.value_format == ValueFormat::Bytes => {
                datum(&self.bytes, Value::Bytes(text.into_bytes()))
            }
            Ok(text) => datum(&self.text, Value::String(text)),
            Err(bytes) => datum(&self.bytes, Value::Bytes(bytes)),
        };
        let mut record = Record::new(Arc::clone(&self.topic), value);
        record.timestamp = Some(room.now_ms);
        if self.key == RecordKey::Path {
            record.key = datum(&self.text, Value::String(path.clone()));
        }
        if self.headers {
            let position = i64::try_from(position).unwrap_or(i64::MAX);
            let path = datum(&self.text, Value::String(path.clone()));
            record.headers = vec![
                Header { key: Text::from_static(PATH_HEADER), value: path },
                Header {
                    key: Text::from_static(OFFSET_HEADER),
                    value: datum(&self.number, Value::Int64(position)),
                },
            ]
            .into();
        }
        record
    }
}

const PATH_HEADER: &str = "file.path";
const OFFSET_HEADER: &str = "file.offset";

impl Room {
    pub(super) fn new(budget: Budget, batch_size: usize, now_ms: i64) -> Self {
        let records = budget.records.clamp(1, batch_size);
        Self { records, bytes: budget.bytes, is_empty: true, is_full: false, now_ms }
    }

    /// Whether something did not fit.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// How many records it takes at most.
    pub(super) fn records(&self) -> usize {
        self.records
    }

    /// Takes a record of `bytes`, if there is room; one alone may be larger.
    pub(super) fn admits(&mut self, bytes: usize) -> bool {
        if self.records == 0 || (bytes > self.bytes && !self.is_empty) {
            self.is_full = true;
            return false;
        }
        self.records -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
        self.is_empty = false;
        true
    }
}

/// At most the first `most` bytes, and no part of a character at the end.
pub(super) fn cut(bytes: Bytes, most: usize) -> Bytes {
    let end = bytes.len().min(most);
    let is_inside = |at: &usize| bytes.get(*at).is_some_and(|byte| byte & 0xc0 == 0x80);
    // What follows is not known where the bytes were kept from a longer line: judge by the last start.
    let start = (end.saturating_sub(4)..end).rev().find(|at| !is_inside(at));
    let whole = match start {
        Some(at) if at + width(bytes[at]) > end => at,
        _ => end,
    };
    bytes.slice(..whole)
}

/// How many bytes a character has that begins with this one.
fn width(first: u8) -> usize {
    match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    }
}

/// Text, or bytes if it is none.
pub(super) fn as_text(bytes: Bytes) -> Result<Text, Bytes> {
    Text::try_from(bytes.clone()).map_err(|_| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_between_characters() {
        for (text, most, expect) in [
            ("abc", 2, "ab"),
            ("a€b", 2, "a"),
            ("a€b", 3, "a"),
            ("a€b", 4, "a€"),
            ("abc", 9, "abc"),
        ] {
            assert_eq!(cut(Bytes::from(text), most), expect, "{text} {most}");
        }
        // What was kept of a longer line ends where it ends.
        assert_eq!(cut(Bytes::from_static(b"ab\xe2\x82"), 4), "ab");
        assert_eq!(cut(Bytes::from_static(b"a\xff\xff\xff\xff"), 4), &b"a\xff\xff\xff"[..]);
    }

    #[test]
    fn one_record_may_exceed_the_room_alone() {
        let mut room = Room::new(Budget { bytes: 10, records: 5 }, 9, 0);
        assert!(room.admits(100) && !room.is_full());
        assert!(!room.admits(1) && room.is_full());
        let mut room = Room::new(Budget { bytes: 10, records: 5 }, 2, 0);
        assert!(room.admits(4) && room.admits(4) && !room.admits(1));
    }
}
