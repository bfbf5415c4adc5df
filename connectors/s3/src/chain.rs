//! What is ours in the bucket, and where it ends: the decisions of recovery.
//!
//! The objects of one (Kafka partition, path) form a chain: each is named by the offset of its first
//! record, and the next one starts at the first record of that path behind its end. Before objects
//! are completed, their [`Intent`]s are stored and awaited as one [`Group`]; each object carries its
//! nonce, its bounds and the partition's writer id in its metadata ([`Mark`]). So whatever was cut
//! short, a later instance can tell of any object whether it is ours and which records it holds:
//!
//! - small objects say it themselves;
//! - a multipart object's metadata is written before its end is known: its intent says it, and
//!   [`Links`] keep the latest of those for as long as their offsets may still be uncommitted;
//! - an object without our writer id, or with another first record, belongs to somebody else (another
//!   tool, an earlier topic of the same name): it is stepped over, never overwritten;
//! - reading may go on in the middle of an object (a rejected record inside of it was not yet in the
//!   dead letter queue): such an object starts at most [`Group::span`] before.
//!
//! Duty: these decisions, and the form in which groups and links are stored. Deliberately absent:
//! S3, the state store, time.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use towpath_sdk::error::{Error, Result};
use towpath_sdk::offset::OffsetMap;
use towpath_sdk::record::TopicPartition;

/// A version of what is stored.
const VERSION: i64 = 1;
/// The most bytes of intents in one stored state, well below Kafka's default message size.
const CHUNK_BYTES: usize = 200 * 1024;
/// How many multipart objects of a partition are remembered.
const LINKS: usize = 1024;

/// What we are about to complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The path; see [`crate::name`].
    pub path: Arc<str>,
    /// The offset of the first record.
    pub start: i64,
    /// The last record's offset + 1.
    pub end: i64,
    /// How many names of others were stepped over.
    pub step: u32,
    /// Tells this object from any other.
    pub nonce: Arc<str>,
    /// A checksum over the first record.
    pub first: u32,
}

/// The objects of a partition that are completed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Who writes this partition, over all restarts.
    pub writer: Arc<str>,
    /// Behind the last record of this and all earlier groups.
    pub end: i64,
    /// The most offsets that any group of this writer spans.
    pub span: i64,
    /// The objects.
    pub intents: Vec<Intent>,
}

/// What an object's metadata says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// See [`Group::writer`].
    pub writer: Arc<str>,
    /// See [`Intent::nonce`].
    pub nonce: Arc<str>,
    /// The offset of the first record.
    pub start: i64,
    /// The last record's offset + 1; multipart objects do not say it.
    pub end: Option<i64>,
    /// A checksum over the first record.
    pub first: u32,
}

/// What the record at the front of a path is, in view of one object name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The name is free: start an object.
    Free,
    /// Our object under that name holds the records of this path up to here.
    Held(i64),
    /// The name is taken by somebody else, or by an object of ours that we know too little of.
    Taken,
}

/// What became of an object whose completion was refused or left unanswered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is there, with exactly our records.
    Complete,
    /// It is not there: try again.
    Absent,
    /// An earlier instance of ours has completed other bounds: begin anew from what is durable.
    Overtaken,
    /// The name is somebody else's: take the next.
    Taken,
}

/// Judges the name under which an object that starts with the record at `start` would be written.
#[must_use]
pub fn judge_name(found: Option<&Mark>, exists: bool, front: &Front<'_>, links: &Links) -> Verdict {
    let Some(mark) = found else {
        return if exists { Verdict::Taken } else { Verdict::Free };
    };
    let ours = mark.writer == *front.writer && mark.start == front.start;
    if !ours || mark.first != front.first {
        return Verdict::Taken;
    }
    match mark.end.or_else(|| links.end_of(&mark.nonce)) {
        Some(end) => Verdict::Held(end),
        None => Verdict::Taken,
    }
}

/// Judges an object which starts before the offset that reading goes on at: the end of its records,
/// if it is ours.
#[must_use]
pub fn judge_before(found: &Mark, writer: &str, links: &Links) -> Option<i64> {
    let end = found.end.or_else(|| links.end_of(&found.nonce));
    end.filter(|_| *found.writer == *writer)
}

/// The record at the front of a path.
#[derive(Debug, Clone, Copy)]
pub struct Front<'a> {
    /// Who we are.
    pub writer: &'a Arc<str>,
    /// The record's offset.
    pub start: i64,
    /// The record's checksum.
    pub first: u32,
}

/// Judges the object found under the name of `intent`, whose completion has no clear answer.
#[must_use]
pub fn judge_outcome(
    found: Option<&Mark>,
    exists: bool,
    intent: &Intent,
    front: &Front<'_>,
    links: &Links,
) -> Outcome {
    match found {
        None if !exists => Outcome::Absent,
        Some(mark) if mark.nonce == intent.nonce => Outcome::Complete,
        _ => match judge_name(found, exists, front, links) {
            Verdict::Held(end) if end == intent.end => Outcome::Complete,
            Verdict::Held(_) => Outcome::Overtaken,
            Verdict::Free | Verdict::Taken => Outcome::Taken,
        },
    }
}

/// Which offsets of which path are in the bucket already.
#[derive(Debug, Default)]
pub struct Held {
    paths: HashMap<Arc<str>, Vec<HeldRange>>,
}

#[derive(Debug)]
struct HeldRange {
    offsets: Range<i64>,
    /// If the record at the start comes by, it must have this checksum: a topic that was deleted and
    /// created anew has other records at the same offsets.
    first: Option<u32>,
}

impl Held {
    /// The records of `path` from `start` up to `end` are in the bucket; with `first`, on condition
    /// that the record at `start` has this checksum.
    pub fn add(&mut self, path: &Arc<str>, start: i64, end: i64, first: Option<u32>) {
        let range = HeldRange { offsets: start..end, first };
        self.paths.entry(Arc::clone(path)).or_default().push(range);
    }

    /// Whether the record of `path` at `offset` is in the bucket.
    pub fn holds(&mut self, path: &str, offset: i64, checksum: impl Fn() -> u32) -> bool {
        let Some(ranges) = self.paths.get_mut(path) else { return false };
        ranges.retain(|range| {
            let other = |first| offset == range.offsets.start && checksum() != first;
            !range.first.is_some_and(other)
        });
        ranges.iter().any(|range| range.offsets.contains(&offset))
    }
}

impl Group {
    /// The states to store, in this order; the last one makes the others count.
    #[must_use]
    pub fn to_states(&self, of: &TopicPartition) -> Vec<(OffsetMap, OffsetMap)> {
        let id = self.intents.first().map_or("", |intent| &intent.nonce);
        let mut chunks = vec![String::new()];
        for intent in &self.intents {
            let line = serde_json::to_string(intent).unwrap_or_default();
            match chunks.last_mut() {
                Some(chunk) if chunk.is_empty() || chunk.len() + line.len() < CHUNK_BYTES => {
                    chunk.push_str(&line);
                    chunk.push('\n');
                }
                _ => chunks.push(line + "\n"),
            }
        }
        let count = chunks.len();
        let mut states: Vec<_> = chunks
            .into_iter()
            .enumerate()
            .map(|(at, text)| {
                let value = [("id", id.into()), ("intents", serde_json::Value::from(text))];
                (state_key(of, &format!("intents.{at}")), OffsetMap::of(value))
            })
            .collect();
        let head: [(&str, serde_json::Value); 6] = [
            ("v", VERSION.into()),
            ("writer", (*self.writer).into()),
            ("end", self.end.into()),
            ("span", self.span.into()),
            ("id", id.into()),
            ("chunks", count.into()),
        ];
        states.push((state_key(of, "group"), OffsetMap::of(head)));
        states
    }

    /// The key under which the group's head is stored.
    #[must_use]
    pub fn head_key(of: &TopicPartition) -> OffsetMap {
        state_key(of, "group")
    }

    /// Reads the head; gives the group without intents, and the keys of the chunks to read.
    ///
    /// # Errors
    /// If it was stored by a later version, or is damaged.
    pub fn from_head(of: &TopicPartition, head: &OffsetMap) -> Result<(Self, Vec<OffsetMap>)> {
        check_version(head, "group")?;
        let damaged = || Error::internal("the stored state of the S3 sink is damaged");
        let writer = head.get_str("writer").ok_or_else(damaged)?;
        let end = head.get_i64("end").ok_or_else(damaged)?;
        let span = head.get_i64("span").ok_or_else(damaged)?;
        let chunks = head.get_i64("chunks").ok_or_else(damaged)?;
        let keys = (0..chunks).map(|at| state_key(of, &format!("intents.{at}"))).collect();
        Ok((Self { writer: writer.into(), end, span, intents: Vec::new() }, keys))
    }

    /// Adds the intents of a chunk. A chunk of another group is left out: that group was not stored
    /// to its end, so nothing of it was completed; and the group of `head` is complete by then.
    pub fn add_chunk(&mut self, head: &OffsetMap, chunk: &OffsetMap) {
        if chunk.get_str("id") != head.get_str("id") {
            return;
        }
        let lines = chunk.get_str("intents").unwrap_or_default().lines();
        self.intents.extend(lines.filter_map(|line| serde_json::from_str::<Intent>(line).ok()));
    }
}

/// Ends of the latest multipart objects of a partition, by nonce.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Links {
    ends: VecDeque<(Arc<str>, i64)>,
}

impl Links {
    /// Remembers an object; the oldest goes when there are too many.
    pub fn add(&mut self, nonce: &Arc<str>, end: i64) {
        if self.ends.len() == LINKS {
            self.ends.pop_front();
        }
        self.ends.push_back((Arc::clone(nonce), end));
    }

    fn end_of(&self, nonce: &str) -> Option<i64> {
        self.ends.iter().rev().find(|(n, _)| **n == *nonce).map(|(_, end)| *end)
    }

    /// The key under which they are stored.
    #[must_use]
    pub fn key(of: &TopicPartition) -> OffsetMap {
        state_key(of, "links")
    }

    /// The state to store.
    #[must_use]
    pub fn to_state(&self) -> OffsetMap {
        let ends: Vec<String> = self.ends.iter().map(|(n, end)| format!("{n}={end}")).collect();
        let entries: [(&str, serde_json::Value); 2] =
            [("v", VERSION.into()), ("ends", ends.join(" ").into())];
        OffsetMap::of(entries)
    }

    /// Reads what was stored.
    ///
    /// # Errors
    /// If it was stored by a later version.
    pub fn from_state(state: &OffsetMap) -> Result<Self> {
        check_version(state, "links")?;
        let ends = state.get_str("ends").unwrap_or_default().split(' ').filter_map(|entry| {
            let (nonce, end) = entry.split_once('=')?;
            Some((Arc::from(nonce), end.parse().ok()?))
        });
        Ok(Self { ends: ends.collect() })
    }
}

fn state_key(of: &TopicPartition, what: &str) -> OffsetMap {
    let entries: [(&str, serde_json::Value); 3] =
        [("topic", (*of.topic).into()), ("partition", of.partition.into()), ("s3", what.into())];
    OffsetMap::of(entries)
}

fn check_version(state: &OffsetMap, what: &str) -> Result<()> {
    match state.get_i64("v") {
        Some(VERSION) => Ok(()),
        other => Err(Error::internal(format!(
            "the stored {what} of the S3 sink has version {other:?}, this build knows {VERSION} \
             (a newer build wrote it: go on with that one)"
        ))),
    }
}

#[cfg(test)]
mod tests;
