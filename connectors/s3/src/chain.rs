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
//! An instance that was replaced may live on for a while and go on storing and completing. So instances
//! take turns: each begins by claiming the next [`Group::turn`], and stores states of its own turn, so
//! that a late one can't hide what its successor stored, nor the other way round. Whoever begins reads
//! the states of the last [`TURNS`] turns together. If two claim the same turn, the claim that is found
//! after states were stored tells which of them must begin anew before it completes anything.
//!
//! Duty: these decisions, and the form in which groups and links are stored. Deliberately absent:
//! S3, the state store, time.

use std::collections::{HashMap, HashSet, VecDeque};
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
const LINKS: usize = 512;
/// States of so many turns are kept.
pub const TURNS: i64 = 8;

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
    /// How many instances have written this partition up to now, the one that stores this included.
    pub turn: i64,
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
    /// Our object under that name holds the records of this path, but it is not known up to where.
    HeldSomehow,
    /// The name is taken by somebody else.
    Taken,
}

/// What became of an object whose completion was refused or left unanswered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is there, with exactly our records.
    Complete,
    /// It is not there: try again.
    Absent,
    /// Another instance of ours has completed other bounds: begin anew from what is durable.
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
        None => Verdict::HeldSomehow,
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
            Verdict::Held(_) | Verdict::HeldSomehow => Outcome::Overtaken,
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
    /// The record at the start must come by with this checksum before any other of the range does: a
    /// topic that was deleted and created anew has other records at the same offsets.
    first: Option<u32>,
}

impl Held {
    /// The records of `path` from `start` up to `end` are in the bucket; with `first`, on condition
    /// that the record at `start` comes by with this checksum. Leave it out where reading goes on
    /// behind `start`.
    pub fn add(&mut self, path: &Arc<str>, start: i64, end: i64, first: Option<u32>) {
        let range = HeldRange { offsets: start..end, first };
        self.paths.entry(Arc::clone(path)).or_default().push(range);
    }

    /// Whether the record of `path` at `offset` is in the bucket.
    pub fn holds(&mut self, path: &str, offset: i64, checksum: impl Fn() -> u32) -> bool {
        let Some(ranges) = self.paths.get_mut(path) else { return false };
        ranges.retain_mut(|range| match range.first {
            Some(first) if range.offsets.contains(&offset) => {
                let proven = offset == range.offsets.start && checksum() == first;
                range.first = None;
                proven
            }
            _ => true,
        });
        ranges.iter().any(|range| range.offsets.contains(&offset))
    }
}

impl Group {
    /// What the next instance stores before all else, after what earlier ones have stored; `new` is
    /// who writes if there were none.
    #[must_use]
    pub fn next_turn(before: Option<&Self>, new: Arc<str>) -> Self {
        let intents = Vec::new();
        match before {
            Some(Self { writer, turn, end, span, .. }) => {
                let writer = Arc::clone(writer);
                Self { writer, turn: turn + 1, end: *end, span: *span, intents }
            }
            None => Self { writer: new, turn: 1, end: 0, span: 0, intents },
        }
    }

    /// What the groups of several turns say together.
    #[must_use]
    pub fn merged(groups: impl IntoIterator<Item = Self>) -> Option<Self> {
        groups.into_iter().reduce(|mut all, group| {
            if group.turn > all.turn {
                (all.turn, all.writer) = (group.turn, group.writer);
            }
            all.end = all.end.max(group.end);
            all.span = all.span.max(group.span);
            all.intents.extend(group.intents);
            all
        })
    }

    /// The state that claims the turn for the instance called `id`.
    #[must_use]
    pub fn to_claim(&self, of: &TopicPartition, id: &str) -> (OffsetMap, OffsetMap) {
        (Self::claim_key(of, self.turn), self.head(id, 0))
    }

    /// The key under which the claim of `turn` is stored.
    #[must_use]
    pub fn claim_key(of: &TopicPartition, turn: i64) -> OffsetMap {
        state_key(of, &format!("turn.{}", turn.rem_euclid(TURNS)))
    }

    fn head(&self, id: &str, chunks: usize) -> OffsetMap {
        let head: [(&str, serde_json::Value); 7] = [
            ("v", VERSION.into()),
            ("writer", (*self.writer).into()),
            ("turn", self.turn.into()),
            ("end", self.end.into()),
            ("span", self.span.into()),
            ("id", id.into()),
            ("chunks", chunks.into()),
        ];
        OffsetMap::of(head)
    }

    /// The states to store, in this order; the last one makes the others count.
    #[must_use]
    pub fn to_states(&self, of: &TopicPartition) -> Vec<(OffsetMap, OffsetMap)> {
        let id = self.intents.first().map_or("", |intent| &intent.nonce);
        let mut chunks: Vec<String> = Vec::new();
        for intent in &self.intents {
            let line = serde_json::to_string(intent).unwrap_or_default();
            match chunks.last_mut() {
                Some(chunk) if chunk.len() + line.len() < CHUNK_BYTES => {
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
        states.push((Self::head_key(of, self.turn), self.head(id, count)));
        states
    }

    /// The key under which the head of a group of `turn` is stored.
    #[must_use]
    pub fn head_key(of: &TopicPartition, turn: i64) -> OffsetMap {
        state_key(of, &format!("group.{}", turn.rem_euclid(TURNS)))
    }

    /// Reads the head; gives the group without intents, and the keys of the chunks to read.
    ///
    /// # Errors
    /// If it was stored by a later version, or is damaged.
    pub fn from_head(of: &TopicPartition, head: &OffsetMap) -> Result<(Self, Vec<OffsetMap>)> {
        check_version(head, "group")?;
        let damaged = || Error::internal("the stored state of the S3 sink is damaged");
        let writer = head.get_str("writer").ok_or_else(damaged)?;
        let turn = head.get_i64("turn").ok_or_else(damaged)?;
        let end = head.get_i64("end").ok_or_else(damaged)?;
        let span = head.get_i64("span").ok_or_else(damaged)?;
        let chunks = head.get_i64("chunks").ok_or_else(damaged)?;
        let keys = (0..chunks).map(|at| state_key(of, &format!("intents.{at}"))).collect();
        Ok((Self { writer: writer.into(), turn, end, span, intents: Vec::new() }, keys))
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
    /// Of the instance that stored them.
    turn: i64,
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

    /// What the links of several turns say together; the oldest go when there are too many.
    #[must_use]
    pub fn merged(mut stored: Vec<Self>) -> Self {
        stored.sort_by_key(|links| links.turn);
        stored.iter().fold(Self::default(), |mut all, links| {
            all.merge(links);
            all
        })
    }

    /// Adds what `later` has and this has not.
    pub fn merge(&mut self, later: &Self) {
        let known: HashSet<Arc<str>> = self.ends.iter().map(|(n, _)| Arc::clone(n)).collect();
        for (nonce, end) in later.ends.iter().filter(|(nonce, _)| !known.contains(nonce)) {
            self.add(nonce, *end);
        }
    }

    fn end_of(&self, nonce: &str) -> Option<i64> {
        self.ends.iter().rev().find(|(n, _)| **n == *nonce).map(|(_, end)| *end)
    }

    /// The key under which those of `turn` are stored.
    #[must_use]
    pub fn key(of: &TopicPartition, turn: i64) -> OffsetMap {
        state_key(of, &format!("links.{}", turn.rem_euclid(TURNS)))
    }

    /// The state to store in `turn`.
    #[must_use]
    pub fn to_state(&self, turn: i64) -> OffsetMap {
        let ends: Vec<String> = self.ends.iter().map(|(n, end)| format!("{n}={end}")).collect();
        let entries: [(&str, serde_json::Value); 3] =
            [("v", VERSION.into()), ("turn", turn.into()), ("ends", ends.join(" ").into())];
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
        Ok(Self { turn: state.get_i64("turn").unwrap_or_default(), ends: ends.collect() })
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
