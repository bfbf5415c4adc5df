//! Positions in the stream of transactions, and stored offsets.
//!
//! Duty: what a position is, its two spellings (Debezium's fields and ours beside them), and which
//! changes are skipped when a stream is taken up again. Pure.
//!
//! A slot sends transactions whole, in the order of their commits, beginning with the first whose
//! commit record is not before the LSN asked for. Within a transaction the LSNs of changes ascend, and
//! several changes may share one (a COPY, a TRUNCATE of several tables); across transactions they do
//! not. So a [`Position`] is the end of the last transaction that was handed over whole, and how far
//! the next one was.
//!
//! Debezium's `lsn_commit`, `lsn_proc` and `lsn_events_processed` mean the same, so that either can go
//! on where the other stopped.

use serde_json::Value as JsonValue;
use towpath_sdk::offset::{SourceOffset, SourcePartition};
use towpath_sdk::{Error, Result};

use crate::insurance::Insured;
use crate::lsn::Lsn;

/// What every partition names: the logical name of the server.
pub(crate) const SERVER: &str = "server";
const LSN: &str = "lsn";
const LSN_PROC: &str = "lsn_proc";
const LSN_COMMIT: &str = "lsn_commit";
const EVENTS: &str = "lsn_events_processed";
const TX_ID: &str = "txId";
const TS_USEC: &str = "ts_usec";
const MESSAGE_TYPE: &str = "messageType";
const SNAPSHOT: &str = "snapshot";
const SNAPSHOT_COMPLETED: &str = "snapshot_completed";
const SYSTEM: &str = "system";
const TIMELINE: &str = "timeline";
const ORDINAL: &str = "ordinal";
/// Debezium's `messageType` once a transaction was handed over whole.
const COMMIT: &str = "COMMIT";
/// The same before its first change.
const BEGIN: &str = "BEGIN";

/// How far the stream was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Position {
    /// The end of the last transaction that was handed over whole: where a stream begins.
    pub(crate) end: Lsn,
    /// How far the transaction after it was, if it was begun.
    pub(crate) within: Option<Within>,
}

/// How far into a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Within {
    /// The LSN of the last change that was handed over, or that needed no record.
    pub(crate) lsn: Lsn,
    /// How many changes with this LSN were.
    pub(crate) ordinal: u64,
}

/// Which server the positions are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The system identifier that `initdb` made.
    pub(crate) system: u64,
    /// The timeline, which a promotion changes.
    pub(crate) timeline: u32,
}

/// Up to where everything is stored, on which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Confirmed {
    origin: Option<Origin>,
    end: Lsn,
}

impl Confirmed {
    /// Takes what an offset that was stored says; whether that is news. Offsets of one server ascend, and
    /// those of another say nothing of it.
    pub(crate) fn take(&mut self, stored: &Stored) -> bool {
        let (origin, end) = (stored.origin, stored.position.end);
        if self.origin == origin && end <= self.end {
            return false;
        }
        *self = Self { origin, end };
        true
    }

    /// What the server may be told.
    pub(crate) fn on(&self, origin: Origin) -> Lsn {
        if self.origin == Some(origin) { self.end } else { Lsn::ZERO }
    }
}

/// A stored offset of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The position.
    pub(crate) position: Position,
    /// The server, unless Debezium stored the offset.
    pub(crate) origin: Option<Origin>,
    /// Whether all rows of the initial snapshot were handed over.
    pub(crate) is_snapshot_done: bool,
    /// What Debezium keeps for people and for its own metrics.
    pub(crate) trail: Trail,
    /// What is known in case the slot is lost.
    pub(crate) insured: Insured,
}

/// The transaction that an offset is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Trail {
    /// Its id.
    pub(crate) tx_id: Option<u32>,
    /// When it was committed, in microseconds since 1970.
    pub(crate) ts_us: Option<i64>,
}

/// Debezium's source partition, byte by byte.
#[must_use]
pub(crate) fn partition(topic_prefix: &str) -> SourcePartition {
    SourcePartition::of([(SERVER, topic_prefix)])
}

impl Position {
    /// Between two transactions.
    #[must_use]
    pub(crate) const fn between(end: Lsn) -> Self {
        Self { end, within: None }
    }

    /// One more change, with `lsn`, of the transaction after `end`.
    pub(crate) fn advance(&mut self, lsn: Lsn) {
        self.within = match self.within {
            Some(within) if within.lsn == lsn => Some(Within { lsn, ordinal: within.ordinal + 1 }),
            _ => Some(Within { lsn, ordinal: 1 }),
        };
    }

    /// The last change's LSN, or the end of the last transaction.
    #[must_use]
    pub(crate) fn last(&self) -> Lsn {
        self.within.map_or(self.end, |within| within.lsn)
    }
}

/// What of a stream that was begun at a position was handed over before.
#[derive(Debug, Clone)]
pub(crate) struct Resume {
    within: Option<Within>,
    /// The LSN of the last change seen, and how many had it.
    seen: Option<Within>,
}

impl Resume {
    /// The stream is begun at `position`.
    #[must_use]
    pub(crate) const fn at(position: Position) -> Self {
        Self { within: position.within, seen: None }
    }

    /// Whether the next change, with `lsn`, was handed over before.
    pub(crate) fn skips(&mut self, lsn: Lsn) -> bool {
        let Some(within) = self.within else { return false };
        let ordinal = match self.seen {
            Some(seen) if seen.lsn == lsn => seen.ordinal + 1,
            _ => 1,
        };
        self.seen = Some(Within { lsn, ordinal });
        let is_old = (lsn, ordinal) <= (within.lsn, within.ordinal);
        if !is_old {
            self.within = None;
        }
        is_old
    }

    /// A transaction ended: only the first can have been begun before.
    pub(crate) const fn transaction_ended(&mut self) {
        self.within = None;
    }
}

impl Stored {
    /// A position between transactions; what is known beside it is still to be put in.
    #[must_use]
    pub(crate) fn between(position: Position, origin: Origin, is_snapshot_done: bool) -> Self {
        let (trail, insured) = (Trail::default(), Insured::default());
        Self { position, origin: Some(origin), is_snapshot_done, trail, insured }
    }

    /// As the offset topic has it.
    #[must_use]
    pub(crate) fn offset(&self) -> SourceOffset {
        let Self { position, origin, is_snapshot_done, trail, insured } = self;
        let number = |lsn: Lsn| JsonValue::from(lsn.0);
        let mut fields = vec![
            (LSN_PROC, number(position.last())),
            (LSN_COMMIT, number(position.end)),
            (LSN, number(position.last())),
        ];
        match position.within {
            None => fields.push((MESSAGE_TYPE, COMMIT.into())),
            Some(within) => {
                fields.push((EVENTS, within.ordinal.into()));
                fields.push((ORDINAL, within.ordinal.into()));
            }
        }
        if !is_snapshot_done {
            fields.push((SNAPSHOT, "INITIAL".into()));
            fields.push((SNAPSHOT_COMPLETED, false.into()));
        }
        if let Some(tx_id) = trail.tx_id {
            fields.push((TX_ID, tx_id.into()));
        }
        if let Some(ts_us) = trail.ts_us {
            fields.push((TS_USEC, ts_us.into()));
        }
        if let Some(origin) = origin {
            // As text: JSON numbers of others end at 2^53.
            fields.push((SYSTEM, origin.system.to_string().into()));
            fields.push((TIMELINE, origin.timeline.into()));
        }
        fields.extend(insured.fields());
        SourceOffset::of(fields)
    }

    /// Reads an offset of ours or of Debezium's.
    ///
    /// # Errors
    /// If it has no `lsn`, or something in it is not what it should be.
    pub(crate) fn read(offset: &SourceOffset) -> Result<Self> {
        let lsn = |key: &str| match offset.get(key) {
            None | Some(JsonValue::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(lsn) => Ok(Some(Lsn(lsn))),
                None => Err(wrong(key, value)),
            },
        };
        let last = lsn(LSN_PROC)?.or(lsn(LSN)?).ok_or_else(|| {
            Error::config(format!("an offset of this connector has at least '{LSN}'"))
        })?;
        // Before the first commit Debezium stores none: the slot knows where to begin.
        let end = lsn(LSN_COMMIT)?;
        let ordinal = offset.get_i64(ORDINAL).or_else(|| offset.get_i64(EVENTS));
        let is_within = match offset.get_str(MESSAGE_TYPE) {
            Some(COMMIT | BEGIN) => false,
            Some(_) => true,
            None => ordinal.is_some() || end.is_some_and(|end| end != last),
        };
        let within = is_within.then(|| Within {
            lsn: last,
            ordinal: ordinal.and_then(|n| u64::try_from(n).ok()).unwrap_or(1),
        });
        let end = end.unwrap_or(if is_within { Lsn::ZERO } else { last });
        let origin = match (offset.get_str(SYSTEM), offset.get_i64(TIMELINE)) {
            (Some(system), Some(timeline)) => {
                let system = system.parse().map_err(|_| wrong(SYSTEM, &JsonValue::from(system)))?;
                let timeline = u32::try_from(timeline)
                    .map_err(|_| wrong(TIMELINE, &JsonValue::from(timeline)))?;
                Some(Origin { system, timeline })
            }
            _ => None,
        };
        // Debezium: an offset with `snapshot` is of a snapshot that is not over, unless it says so.
        let is_completed = offset.get(SNAPSHOT_COMPLETED).and_then(JsonValue::as_bool);
        let in_snapshot = !matches!(offset.get(SNAPSHOT), None | Some(JsonValue::Null));
        Ok(Self {
            position: Position { end, within },
            origin,
            is_snapshot_done: !in_snapshot || is_completed == Some(true),
            trail: Trail {
                tx_id: offset.get_i64(TX_ID).and_then(|id| u32::try_from(id).ok()),
                ts_us: offset.get_i64(TS_USEC),
            },
            insured: Insured::read(offset),
        })
    }
}

fn wrong(key: &str, value: &JsonValue) -> Error {
    Error::config(format!("'{key}' of an offset can't be {value}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offset(json: &str) -> SourceOffset {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn debeziums_offsets_are_taken_over() {
        let within = r#"{"lsn_proc":27658936,"messageType":"MESSAGE","lsn_commit":27658856,"lsn":27658936,"txId":881,"ts_usec":1795229761736582}"#;
        let stored = Stored::read(&offset(within)).unwrap();
        assert_eq!(stored.position.end, Lsn(27_658_856));
        assert_eq!(stored.position.within, Some(Within { lsn: Lsn(27_658_936), ordinal: 1 }));
        assert_eq!((stored.origin, stored.is_snapshot_done), (None, true));
        let whole = r#"{"transaction_id":"881","lsn_proc":27658984,"messageType":"COMMIT","lsn_commit":27658984,"lsn":27658984,"txId":881}"#;
        let stored = Stored::read(&offset(whole)).unwrap();
        assert_eq!(stored.position, Position::between(Lsn(27_658_984)));
        let begun = r#"{"lsn_proc":9,"messageType":"BEGIN","lsn_commit":12,"lsn":9}"#;
        let stored = Stored::read(&offset(begun)).unwrap();
        assert_eq!(stored.position, Position::between(Lsn(12)));
        // A transaction that began before the last one was committed.
        let early = r#"{"lsn_proc":9,"messageType":"INSERT","lsn_commit":12,"lsn":9}"#;
        let stored = Stored::read(&offset(early)).unwrap();
        assert_eq!(stored.position.within, Some(Within { lsn: Lsn(9), ordinal: 1 }));
        let shared = r#"{"lsn_proc":9,"lsn_events_processed":4,"lsn_commit":5,"lsn":9}"#;
        let stored = Stored::read(&offset(shared)).unwrap();
        assert_eq!(stored.position.within, Some(Within { lsn: Lsn(9), ordinal: 4 }));
        let snapshot = r#"{"snapshot":"INITIAL","snapshot_completed":false,"lsn":7}"#;
        assert!(!Stored::read(&offset(snapshot)).unwrap().is_snapshot_done);
        assert!(Stored::read(&offset("{}")).is_err());
        assert!(Stored::read(&offset(r#"{"lsn":"7"}"#)).is_err());
    }

    #[test]
    fn what_is_stored_of_one_server_says_nothing_of_another() {
        let stored = |timeline, end| Stored {
            position: Position::between(Lsn(end)),
            origin: Some(Origin { system: 1, timeline }),
            is_snapshot_done: true,
            trail: Trail::default(),
            insured: Insured::default(),
        };
        let on = |confirmed: &Confirmed, timeline| confirmed.on(Origin { system: 1, timeline });
        let mut confirmed = Confirmed::default();
        assert!(confirmed.take(&stored(1, 100)) && !confirmed.take(&stored(1, 90)));
        assert_eq!((on(&confirmed, 1), on(&confirmed, 2)), (Lsn(100), Lsn::ZERO));
        assert!(confirmed.take(&stored(2, 50)));
        assert_eq!((on(&confirmed, 1), on(&confirmed, 2)), (Lsn::ZERO, Lsn(50)));
    }

    #[test]
    fn the_partition_is_debeziums() {
        let text = serde_json::to_string(&partition("dbz1")).unwrap();
        assert_eq!(text, r#"{"server":"dbz1"}"#);
    }

    /// Transactions as a slot sends them: the LSNs of their changes, and their ends.
    type Sent = Vec<(Vec<Lsn>, Lsn)>;

    /// Hands over what a stream from `position` sends until `count` changes were; where it then is.
    fn stream(
        sent: &Sent,
        mut position: Position,
        mut count: usize,
        got: &mut Vec<(usize, usize)>,
    ) -> Position {
        let mut resume = Resume::at(position);
        for (n, (changes, end)) in sent.iter().enumerate() {
            // The commit record is just before the end.
            if end.0 - 1 < position.end.0 {
                continue;
            }
            for (m, lsn) in changes.iter().enumerate() {
                if resume.skips(*lsn) {
                    continue;
                }
                if count == 0 {
                    return position;
                }
                count -= 1;
                got.push((n, m));
                position.advance(*lsn);
            }
            resume.transaction_ended();
            position = Position::between(*end);
        }
        position
    }

    proptest! {
        #[test]
        fn wherever_it_is_taken_up_each_change_comes_once(
            sizes in proptest::collection::vec(
                proptest::collection::vec((0_u64..40, 1_usize..4), 0..6), 1..8),
            cuts in proptest::collection::vec(0_usize..9, 0..12),
        ) {
            // Changes of transactions interleave in the log; commits come in order.
            let mut sent: Sent = Vec::new();
            for (n, changes) in sizes.iter().enumerate() {
                let commit = 100 + 50 * n as u64;
                let mut lsns: Vec<Lsn> = changes.iter()
                    .flat_map(|(lsn, times)| std::iter::repeat_n(Lsn(commit - 95 + 2 * lsn), *times))
                    .collect();
                lsns.sort_unstable();
                sent.push((lsns, Lsn(commit + 1)));
            }
            let expect: Vec<_> = sent.iter().enumerate()
                .flat_map(|(n, (changes, _))| (0..changes.len()).map(move |m| (n, m)))
                .collect();
            let (mut got, mut position) = (Vec::new(), Position::between(Lsn(1)));
            for cut in cuts {
                position = stream(&sent, position, cut, &mut got);
                let stored = Stored {
                    position,
                    origin: Some(Origin { system: u64::MAX, timeline: 3 }),
                    is_snapshot_done: true,
                    trail: Trail { tx_id: Some(u32::MAX), ts_us: Some(-1) },
                    insured: Insured { oldest_xid: Some(1 << 33), missing: None },
                };
                let read = Stored::read(&stored.offset()).unwrap();
                prop_assert_eq!(&read, &stored);
                position = read.position;
            }
            stream(&sent, position, usize::MAX, &mut got);
            prop_assert_eq!(got, expect);
        }
    }
}
