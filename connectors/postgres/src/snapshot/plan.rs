//! Which blocks of which table are still to be read, and under which condition.
//!
//! Duty: cut tables into ranges of blocks, take up what an earlier pass has stored, and say what a
//! reader asks for. Pure. Why this is sound: `docs/decisions/040-reading-a-postgres-server.md`.
//!
//! A range remembers up to which tuple it was read, and the xmin of the oldest snapshot under which a
//! part of it was. A later pass reads the rest, and of what was read the rows that such a snapshot may
//! not have seen.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value as JsonValue;
use towpath_sdk::offset::{SourceOffset, SourcePartition, StoredOffsets};
use towpath_sdk::source::Mark;

use crate::offset::SERVER;

const TABLE: &str = "table";
const FROM: &str = "from";
const END: &str = "end";
const READ_TO: &str = "read_to";
const IS_DONE: &str = "done";
const FILENODE: &str = "filenode";
const XMIN: &str = "xmin";

/// Blocks of a range, at least: 8 MiB with PostgreSQL's usual blocks of 8 KiB.
const RANGE_BLOCKS: u32 = 1024;
/// Ranges of a table, at most.
const RANGES: u32 = 4096;

/// Where a tuple is: its block, and its number in it from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tid {
    /// The block.
    pub(crate) block: u32,
    /// The number in it.
    pub(crate) tuple: u16,
}

impl fmt::Display for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({},{})", self.block, self.tuple)
    }
}

impl std::str::FromStr for Tid {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).ok_or(())?;
        let (block, tuple) = inner.split_once(',').ok_or(())?;
        Ok(Self { block: block.parse().map_err(drop)?, tuple: tuple.parse().map_err(drop)? })
    }
}

/// Blocks of a table, and what was read of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    /// The first block.
    pub(crate) from: u32,
    /// The block after the last; the last range of a table has no end, since tables grow.
    pub(crate) end: Option<u32>,
    /// What an earlier pass has read.
    pub(crate) read: Option<Read>,
}

/// What was read of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Read {
    /// Up to this tuple; `None` is all of it.
    pub(crate) to: Option<Tid>,
    /// The xmin of the oldest snapshot that a part of it was read under.
    pub(crate) xmin: u32,
}

/// A query's part of a range: tuples from one place to before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slice {
    /// After this tuple.
    pub(crate) after: Option<Tid>,
    /// The first block.
    pub(crate) from: u32,
    /// Up to this tuple and with it.
    pub(crate) upto: Option<Tid>,
    /// The block after the last.
    pub(crate) end: Option<u32>,
    /// Only rows whose xmin is not before this.
    pub(crate) since: Option<u32>,
}

impl Range {
    /// What is to be read, in this order: what changed of what was read, and the rest.
    #[must_use]
    pub(crate) fn slices(&self) -> Vec<Slice> {
        let whole = Slice { after: None, from: self.from, upto: None, end: self.end, since: None };
        match self.read {
            None => vec![whole],
            Some(Read { to: None, xmin }) => vec![Slice { since: Some(xmin), ..whole }],
            Some(Read { to: Some(to), xmin }) => vec![
                Slice { upto: Some(to), since: Some(xmin), ..whole },
                Slice { after: Some(to), ..whole },
            ],
        }
    }

    /// What is known once everything up to `to` (`None`: all) was read under a snapshot with `xmin`.
    /// Until all of it is read again, what an older snapshot has seen counts as that one's.
    #[must_use]
    pub(crate) fn progress(&self, to: Option<Tid>, xmin: u32) -> Read {
        match (to, self.read) {
            (None, _) | (_, None) => Read { to, xmin },
            (Some(_), Some(before)) => Read { to, xmin: before.xmin },
        }
    }
}

impl Slice {
    /// The condition of a query, without the word WHERE.
    #[must_use]
    pub(crate) fn condition(&self) -> String {
        let mut parts = Vec::new();
        match self.after {
            Some(tid) => parts.push(format!("ctid > '{tid}'::pg_catalog.tid")),
            None if self.from > 0 => {
                parts.push(format!("ctid >= '({},0)'::pg_catalog.tid", self.from))
            }
            None => {}
        }
        match (self.upto, self.end) {
            (Some(tid), _) => parts.push(format!("ctid <= '{tid}'::pg_catalog.tid")),
            (None, Some(end)) => parts.push(format!("ctid < '({end},0)'::pg_catalog.tid")),
            (None, None) => {}
        }
        if let Some(xmin) = self.since {
            // How far the row's xmin is ahead, on the circle of 2^32; less than half of it is ahead.
            parts.push(format!(
                "((xmin::pg_catalog.text::pg_catalog.int8 - {xmin} + 4294967296) % 4294967296) < 2147483648"
            ));
        }
        if parts.is_empty() { "true".to_owned() } else { parts.join(" and ") }
    }
}

/// The ranges of a table with `blocks`, none of which was read.
fn cut(from: u32, blocks: u32, ranges: &mut Vec<Range>) {
    let step = RANGE_BLOCKS.max(blocks / RANGES + 1);
    let mut start = from;
    while let Some(next) = start.checked_add(step).filter(|next| *next < blocks) {
        ranges.push(Range { from: start, end: Some(next), read: None });
        start = next;
    }
    ranges.push(Range { from: start, end: None, read: None });
}

/// The ranges of a table: those that an earlier pass has begun, and what is between and behind them.
#[must_use]
pub(crate) fn ranges(blocks: u32, has_places: bool, known: Vec<Range>) -> Vec<Range> {
    let mut ranges = Vec::new();
    if !has_places {
        return vec![Range { from: 0, end: None, read: None }];
    }
    let mut known = known;
    known.sort_by_key(|range| range.from);
    // Where the next range begins; `None` once the one without an end is there.
    let mut at = Some(0);
    for range in known {
        let Some(start) = at else { break };
        if range.from < start {
            continue;
        }
        if range.from > start {
            ranges.push(Range { from: start, end: Some(range.from), read: None });
        }
        at = range.end;
        ranges.push(range);
    }
    if let Some(start) = at {
        cut(start, blocks, &mut ranges);
    }
    ranges
}

/// Ranges that are stored, by table, each with its filenode.
pub(crate) type Known = BTreeMap<u32, Vec<(u32, Range)>>;

/// Where the progress of ranges is stored.
#[derive(Debug, Clone)]
pub(crate) struct Marks {
    topic_prefix: String,
}

impl Marks {
    /// For the connector with this prefix.
    #[must_use]
    pub(crate) fn new(topic_prefix: &str) -> Self {
        Self { topic_prefix: topic_prefix.to_owned() }
    }

    /// The mark that forgets a range, before all records.
    #[must_use]
    pub(crate) fn forget(&self, table: u32, from: u32) -> Mark {
        Mark::forget(0, self.partition(table, from))
    }

    /// The partition of a range.
    #[must_use]
    pub(crate) fn partition(&self, table: u32, from: u32) -> SourcePartition {
        SourcePartition::of([
            (SERVER, JsonValue::from(self.topic_prefix.as_str())),
            (TABLE, table.into()),
            (FROM, from.into()),
        ])
    }

    /// The offset of a range of which so much was read.
    #[must_use]
    pub(crate) fn offset(range: &Range, read: Read, filenode: u32) -> SourceOffset {
        SourceOffset::of([
            (END, range.end.map_or(JsonValue::Null, JsonValue::from)),
            (READ_TO, read.to.map_or(JsonValue::Null, |to| to.to_string().into())),
            (IS_DONE, read.to.is_none().into()),
            (XMIN, read.xmin.into()),
            (FILENODE, filenode.into()),
        ])
    }

    /// The ranges that are stored, by table, each with its filenode. What can't be read is left out: it
    /// is read again.
    #[must_use]
    pub(crate) fn stored(&self, offsets: &StoredOffsets) -> Known {
        let mut tables = Known::new();
        for (partition, offset) in offsets.iter() {
            if partition.get_str(SERVER) != Some(&self.topic_prefix) {
                continue;
            }
            let number =
                |map: &SourceOffset, key| map.get_i64(key).and_then(|n| u32::try_from(n).ok());
            let Some(table) = number(&partition.0, TABLE) else { continue };
            let range = || {
                let to = match offset.get_str(READ_TO) {
                    Some(tid) => Some(tid.parse().ok()?),
                    None if offset.get(IS_DONE)?.as_bool()? => None,
                    None => return None,
                };
                let end = match offset.get(END)? {
                    JsonValue::Null => None,
                    _ => Some(number(offset, END)?),
                };
                let from = number(&partition.0, FROM)?;
                let read = Some(Read { to, xmin: number(offset, XMIN)? });
                Some((number(offset, FILENODE)?, Range { from, end, read }))
            };
            let known = tables.entry(table).or_default();
            known.extend(range());
        }
        tables
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slice(read: Option<Read>) -> Vec<String> {
        let range = Range { from: 8, end: Some(16), read };
        range.slices().iter().map(Slice::condition).collect()
    }

    #[test]
    fn conditions() {
        let tid = |tid: &str| tid.parse::<Tid>().unwrap();
        assert_eq!(
            slice(None),
            ["ctid >= '(8,0)'::pg_catalog.tid and ctid < '(16,0)'::pg_catalog.tid"]
        );
        let halves = slice(Some(Read { to: Some(tid("(9,3)")), xmin: 700 }));
        assert_eq!(
            halves,
            [
                "ctid >= '(8,0)'::pg_catalog.tid and ctid <= '(9,3)'::pg_catalog.tid and \
                 ((xmin::pg_catalog.text::pg_catalog.int8 - 700 + 4294967296) % 4294967296) < 2147483648",
                "ctid > '(9,3)'::pg_catalog.tid and ctid < '(16,0)'::pg_catalog.tid",
            ]
        );
        let all = Range { from: 0, end: None, read: None };
        assert_eq!(all.slices()[0].condition(), "true");
        for wrong in ["", "1,2", "(1)", "(1,x)", "(-1,2)", "(1,70000)"] {
            assert!(wrong.parse::<Tid>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn tables_are_cut_and_the_last_range_has_no_end() {
        assert_eq!(ranges(0, true, vec![]), [Range { from: 0, end: None, read: None }]);
        let two = ranges(RANGE_BLOCKS + 1, true, vec![]);
        assert_eq!(two[0].end, Some(RANGE_BLOCKS));
        assert_eq!((two[1].from, two[1].end), (RANGE_BLOCKS, None));
        assert!(ranges(u32::MAX, true, vec![]).len() <= RANGES as usize + 1);
        assert_eq!(ranges(u32::MAX, false, vec![]).len(), 1);
    }

    /// A table's rows: where each is, and which transaction made it so.
    type Rows = BTreeMap<u32, (Tid, u32)>;

    /// What a slice selects of the rows that a snapshot sees.
    fn select(rows: &Rows, slice: &Slice) -> Vec<(Tid, u32)> {
        let inside = |tid: &Tid, xmin: u32| {
            tid.block >= slice.from
                && slice.end.is_none_or(|end| tid.block < end)
                && slice.after.is_none_or(|after| *tid > after)
                && slice.upto.is_none_or(|upto| *tid <= upto)
                && slice.since.is_none_or(|since| xmin.wrapping_sub(since) < 1 << 31)
        };
        let mut found: Vec<(Tid, u32)> = rows
            .iter()
            .filter(|(_, (tid, xmin))| inside(tid, *xmin))
            .map(|(id, (tid, _))| (*tid, *id))
            .collect();
        found.sort_unstable();
        found
    }

    proptest! {
        /// Several passes end anywhere, while rows are updated (which moves them), inserted and deleted
        /// between: every row of the last snapshot was read at or after its last change but those that
        /// the stream carries whole, and none twice in a pass.
        #[test]
        fn no_row_is_missed_wherever_passes_end(
            first in 1_u32..40,
            passes in proptest::collection::vec(
                (
                    // How many rows this pass reads, and what happens before the next: (row, to where).
                    0_usize..60,
                    proptest::collection::vec((0_u32..60, 0_u32..6000, any::<bool>()), 0..30),
                    // How many transactions are still open when the pass's snapshot is taken.
                    0_u32..4,
                ),
                1..6,
            ),
            start in prop_oneof![Just(1000_u32), Just(u32::MAX - 20)],
        ) {
            let marks = Marks::new("p");
            let mut rows: Rows = (0..first)
                .map(|id| (id, (Tid { block: id * 70, tuple: 1 }, start.wrapping_sub(10))))
                .collect();
            let mut xid = start;
            let mut stored = StoredOffsets::default();
            // When each row was read last, as the xid that was next then.
            let mut read_at: BTreeMap<u32, u32> = BTreeMap::new();
            let count = passes.len();
            for (n, (budget, changes, open)) in passes.into_iter().enumerate() {
                let budget = if n + 1 == count { usize::MAX } else { budget };
                let known = marks.stored(&stored).remove(&5).unwrap_or_default();
                let known = known.into_iter().map(|(_, range)| range).collect();
                let blocks = rows.values().map(|(tid, _)| tid.block + 1).max().unwrap_or(0);
                // Those that are open may have made rows that are seen later: the xmin is before them.
                let xmin = xid.wrapping_sub(open);
                let (mut left, mut seen) = (budget, BTreeMap::new());
                'pass: for range in ranges(blocks, true, known) {
                    for slice in range.slices() {
                        for (tid, id) in select(&rows, &slice) {
                            if left == 0 {
                                break 'pass;
                            }
                            left -= 1;
                            *seen.entry(id).or_insert(0) += 1;
                            read_at.insert(id, xid);
                            if slice.since.is_none() {
                                let read = range.progress(Some(tid), xmin);
                                let offset = Marks::offset(&range, read, 9);
                                stored.set(marks.partition(5, range.from), Some(offset));
                            }
                        }
                    }
                    let offset = Marks::offset(&range, range.progress(None, xmin), 9);
                    stored.set(marks.partition(5, range.from), Some(offset));
                }
                prop_assert!(seen.values().all(|times| *times == 1), "twice in one pass");
                if n + 1 == count {
                    break;
                }
                for (id, block, delete) in changes {
                    xid = xid.wrapping_add(1);
                    if delete {
                        rows.remove(&id);
                    } else {
                        let free = (1..).find(|tuple| {
                            let tid = Tid { block, tuple: *tuple };
                            rows.values().all(|(taken, _)| *taken != tid)
                        });
                        rows.insert(id, (Tid { block, tuple: free.unwrap() }, xid));
                    }
                    xid = xid.wrapping_add(1);
                }
            }
            for (id, (_, xmin)) in &rows {
                let read = read_at.get(id);
                prop_assert!(read.is_some(), "row {id} was never read");
                // Read after its last change: what the snapshot had is what the row is.
                let ahead = read.unwrap().wrapping_sub(*xmin);
                prop_assert!(ahead > 0 && ahead < 1 << 31, "row {id} was read before its last change");
            }
        }
    }
}
