//! Which transactions a snapshot sees.
//!
//! Duty: read `pg_current_snapshot()`, say of a transaction of the stream whether its rows were there,
//! and remember which transactions the stream brought lately. Pure.
//!
//! A commit record is in the log, and may have been sent to us, a moment before other sessions see the
//! transaction (with synchronous replication the moment can be long). So a snapshot that is taken after
//! a change was handed over may not show that change yet; [`Recent`] is there to notice.

use std::collections::VecDeque;

use towpath_sdk::{Error, Result};

/// Transactions that are remembered. No more than one per server process can be committed and not seen
/// yet, so that this is generous.
const RECENT: usize = 16 * 1024;

/// A transaction's id, without the epoch; ids go round, and are compared on the circle.
pub(crate) type Xid = u32;

const fn is_before(a: Xid, b: Xid) -> bool {
    a.wrapping_sub(b) > 1 << 31
}

/// What a snapshot sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// All before it have ended.
    xmin: Xid,
    /// None from it on is seen.
    xmax: Xid,
    /// Those between that had not ended; `None` on a standby, where the server does not name them.
    running: Option<Vec<Xid>>,
}

impl Seen {
    /// Reads `xmin:xmax:xid,…`, the text of a `pg_snapshot`
    /// (<https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-SNAPSHOT-PARTS>).
    ///
    /// # Errors
    /// If it is none.
    pub(crate) fn read(text: &str, is_standby: bool) -> Result<Self> {
        let wrong = || Error::internal(format!("read the snapshot '{text}'"));
        // The lower half of a 64-bit id is what the log has.
        let xid = |text: &str| text.parse::<u64>().map(|id| id as Xid).map_err(|_| wrong());
        let mut parts = text.splitn(3, ':');
        let mut part = || parts.next().ok_or_else(wrong);
        let (xmin, xmax) = (xid(part()?)?, xid(part()?)?);
        let running = part()?.split(',').filter(|text| !text.is_empty()).map(xid);
        let running = running.collect::<Result<_>>()?;
        Ok(Self { xmin, xmax, running: (!is_standby).then_some(running) })
    }

    /// Whether the transaction's rows were there. On a standby those that may have been count as not:
    /// a change that the rows show already is handed over in their place then, and those after it follow.
    #[must_use]
    pub(crate) fn sees(&self, xid: Xid) -> bool {
        if is_before(xid, self.xmin) {
            return true;
        }
        match &self.running {
            Some(running) => is_before(xid, self.xmax) && !running.contains(&xid),
            None => false,
        }
    }
}

/// The transactions that the stream brought last, in its order, and those that an earlier stream may have
/// brought.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    xids: VecDeque<Xid>,
    /// Those that were running when this stream was asked for the first time; that some of them were
    /// brought before it began is possible until they are seen.
    earlier: Option<Vec<Xid>>,
    /// How many were brought in all.
    count: u64,
}

impl Recent {
    /// The stream has brought a transaction.
    pub(crate) fn push(&mut self, xid: Xid) {
        if self.xids.len() == RECENT {
            self.xids.pop_front();
        }
        self.xids.push_back(xid);
        self.count += 1;
    }

    /// How many were brought so far.
    #[must_use]
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// Whether `seen` shows all that were brought among the first `count`, and before that. A standby
    /// shows what it sends.
    #[must_use]
    pub(crate) fn are_seen(&mut self, count: u64, seen: &Seen) -> bool {
        let Some(running) = &seen.running else { return true };
        let earlier = self.earlier.get_or_insert_with(|| running.clone());
        earlier.retain(|xid| !seen.sees(*xid));
        let first = self.count - self.xids.len() as u64;
        let upto = usize::try_from(count.saturating_sub(first)).unwrap_or(usize::MAX);
        earlier.is_empty() && self.xids.iter().take(upto).all(|xid| seen.sees(*xid))
    }

    /// The transactions whose end is waited for, since they were running when the stream began.
    #[must_use]
    pub(crate) fn waits_for(&self) -> &[Xid] {
        self.earlier.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_says_what_it_sees() {
        let seen = Seen::read("10:20:10,14", false).unwrap();
        let sees: Vec<u32> = (5..25).filter(|xid| seen.sees(*xid)).collect();
        assert_eq!(sees, [5, 6, 7, 8, 9, 11, 12, 13, 15, 16, 17, 18, 19]);
        let standby = Seen::read("10:20:", true).unwrap();
        assert!(standby.sees(9) && !standby.sees(10) && !standby.sees(19));
        // 2^32 ids further on, and around the end of the circle.
        let seen = Seen::read("4294967290:4294967300:4294967295", false).unwrap();
        assert!(seen.sees(4_294_967_289) && !seen.sees(4_294_967_295));
        assert!(seen.sees(0) && seen.sees(3) && !seen.sees(4) && !seen.sees(100));
        for wrong in ["", "1", "1:2", "a:2:", "1:2:x"] {
            assert!(Seen::read(wrong, false).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_came_before_a_snapshot_and_is_not_in_it_is_noticed() {
        let mut recent = Recent::default();
        for xid in [9, 15, 14, 30] {
            recent.push(xid);
        }
        let before = Seen::read("40:40:", false).unwrap();
        assert!(recent.are_seen(4, &before));
        let seen = Seen::read("10:20:14", false).unwrap();
        assert!(recent.are_seen(0, &seen) && recent.are_seen(2, &seen));
        assert!(!recent.are_seen(3, &seen) && !recent.are_seen(4, &seen));
        assert!(recent.are_seen(4, &Seen::read("10:20:", true).unwrap()));
        for xid in 0..RECENT as u32 {
            recent.push(xid % 9);
        }
        assert!(recent.are_seen(recent.count(), &seen));
        recent.push(14);
        assert!(recent.are_seen(recent.count() - 1, &seen));
        assert!(!recent.are_seen(recent.count(), &seen));
    }

    #[test]
    fn what_was_running_at_first_is_waited_for() {
        let mut recent = Recent::default();
        let seen = |text| Seen::read(text, false).unwrap();
        assert!(!recent.are_seen(0, &seen("10:20:10,14")));
        assert!(!recent.are_seen(0, &seen("14:30:14,25")));
        assert_eq!(recent.waits_for(), [14]);
        // Those that have begun since are of no concern.
        assert!(recent.are_seen(0, &seen("25:30:25")));
        assert!(recent.are_seen(0, &seen("25:40:25,33")));
    }
}
