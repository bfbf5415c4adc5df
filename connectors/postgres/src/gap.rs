//! Whether changes are missing between the stored offset and what the server can send.
//!
//! Duty: compare an offset with slot, cluster and timeline, say what is wrong, and whether the rows'
//! `xmin` tell what changed since. Pure. A gap is never stepped over in silence: what is done about it
//! is [`mending`]'s to say.

use crate::catalog::Slot;
use crate::config::replication::Loss;
use crate::insurance::{Insured, Sample};
use crate::lsn::Lsn;
use crate::offset::{Origin, Position, Stored};

/// What the server says of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerState<'a> {
    /// Which cluster it is, on which timeline.
    pub(crate) origin: Origin,
    /// Where its log ends.
    pub(crate) flushed: Lsn,
    /// Whether it is a standby, which is behind its primary.
    pub(crate) is_standby: bool,
    /// How its timeline came of the stored offset's.
    pub(crate) descent: Descent,
    /// The slot, if it is there.
    pub(crate) slot: Option<&'a Slot>,
    /// Whether what the slot has skipped is not missed (`offset.mismatch.strategy`).
    pub(crate) trusts_slot: bool,
}

/// How a timeline came of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Descent {
    /// It is the same, or the offset does not say.
    Same,
    /// That one ended there.
    Branched(Lsn),
    /// Not at all.
    None,
}

/// What an offset means to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// All changes after it can be sent.
    Whole,
    /// The server has not come so far, but will; why.
    Behind(String),
    /// Changes after it are missing.
    Gap(Gap),
}

/// Changes are missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gap {
    /// Why.
    pub(crate) why: String,
    /// Whether all that is covered by the offset has happened on the server, too.
    pub(crate) shares_past: bool,
}

/// What is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mending {
    /// All rows.
    AllRows,
    /// Rows whose xmin is not before this.
    Since(u32),
}

/// What `stored` means to the server.
#[must_use]
pub(crate) fn gap(name: &str, stored: &Stored, server: &ServerState<'_>) -> Finding {
    let Position { end, .. } = stored.position;
    let other_past = |why| Finding::Gap(Gap { why, shares_past: false });
    if let Some(origin) = stored.origin {
        if origin.system != server.origin.system {
            return other_past(format!(
                "the stored offset is of the cluster {}, but this is {}",
                origin.system, server.origin.system
            ));
        }
        if origin.timeline > server.origin.timeline || server.descent == Descent::None {
            return other_past(format!(
                "the stored offset is of timeline {}, but the server is on {}, which does not come after it",
                origin.timeline, server.origin.timeline
            ));
        }
    }
    match server.descent {
        Descent::Branched(at) if end > at => {
            return other_past(format!(
                "the server was promoted at {at}, before the stored offset {end}: what was read after \
                 that has not happened there"
            ));
        }
        _ => {}
    }
    if server.flushed < end && server.is_standby {
        return Finding::Behind(format!(
            "the server is a standby whose log ends at {}, before the stored offset {end}; waiting \
             until it has come so far",
            server.flushed
        ));
    }
    if server.flushed < end {
        return other_past(format!(
            "the server's log ends at {}, before the stored offset {end}, as if it had been restored \
             from a backup",
            server.flushed
        ));
    }
    let same_past = |why| Finding::Gap(Gap { why, shares_past: true });
    let Some(slot) = server.slot else {
        return same_past(format!("the replication slot {name} is gone"));
    };
    if slot.wal_status.as_deref() == Some("lost") {
        let reason = match &slot.invalidated {
            Some(reason) => format!("the server has invalidated it ({reason})"),
            None => "the server has removed log that it needs".to_owned(),
        };
        return same_past(format!("the replication slot {name} is lost: {reason}"));
    }
    match slot.confirmed {
        Some(confirmed) if is_ahead(confirmed, end) && !server.trusts_slot => same_past(format!(
            "the replication slot {name} was moved to {confirmed}, past the stored offset {end}"
        )),
        _ => Finding::Whole,
    }
}

/// What is done about a gap; `None` is nothing but to fail. With it comes why not only the rows that
/// changed are read, if they were to be.
#[must_use]
pub(crate) fn mending(
    gap: &Gap,
    policy: Loss,
    insured: &Insured,
    now: &Sample,
) -> Option<(Mending, Option<&'static str>)> {
    let all = |why| Some((Mending::AllRows, Some(why)));
    match policy {
        Loss::Fail => None,
        Loss::Resnapshot => Some((Mending::AllRows, None)),
        Loss::Backfill if !gap.shares_past => all("what is in the topics is of another history"),
        Loss::Backfill => match insured.oldest_xid {
            None => all("the offset does not say which transactions it has not covered"),
            Some(oldest) if oldest > now.next => {
                all("the server has not come so far in its transactions")
            }
            // Rows have 32 bits of it, of which half can be told to be ahead.
            Some(oldest) if now.next - oldest >= 1 << 31 => {
                all("too many transactions were since, so that a row's xmin does not tell its age")
            }
            Some(oldest) => Some((Mending::Since((oldest & u64::from(u32::MAX)) as u32), None)),
        },
    }
}

/// Whether a slot at `confirmed` lacks changes after an offset at `end`.
#[must_use]
pub(crate) fn is_ahead(confirmed: Lsn, end: Lsn) -> bool {
    // Debezium's offset before its first commit leaves it to the slot.
    end != Lsn::ZERO && confirmed > end
}

/// How a later timeline came of `timeline`, as the later one's history tells
/// (<https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES>).
#[must_use]
pub(crate) fn descent(history: &str, timeline: u32) -> Descent {
    let branched = history.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let of: u32 = fields.next()?.parse().ok()?;
        (of == timeline).then(|| fields.next()?.parse().ok()).flatten()
    });
    branched.map_or(Descent::None, Descent::Branched)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offset::Trail;

    #[test]
    fn what_is_missing_is_said() {
        let origin = Origin { system: 7, timeline: 2 };
        let stored = |end| Stored {
            position: Position::between(Lsn(end)),
            origin: Some(origin),
            is_snapshot_done: true,
            trail: Trail::default(),
            insured: Insured::default(),
        };
        let slot = |confirmed, status: &str| Slot {
            plugin: Some("pgoutput".to_owned()),
            database: Some("d".to_owned()),
            active_pid: None,
            confirmed: Some(Lsn(confirmed)),
            restart: Some(Lsn(1)),
            wal_status: Some(status.to_owned()),
            invalidated: None,
            is_copy: false,
        };
        let good = slot(50, "reserved");
        let server = ServerState {
            origin,
            flushed: Lsn(100),
            is_standby: false,
            descent: Descent::Same,
            slot: Some(&good),
            trusts_slot: false,
        };
        let check = |stored: &Stored, server: &ServerState<'_>, expect: Option<&str>| match (
            gap("s", stored, server),
            expect,
        ) {
            (Finding::Whole, None) => {}
            (Finding::Gap(Gap { why, .. }) | Finding::Behind(why), Some(text)) => {
                assert!(why.contains(text), "{why}");
            }
            (found, _) => panic!("{found:?}, but expected {expect:?}"),
        };
        check(&stored(50), &server, None);
        check(&stored(100), &server, None);
        check(&stored(49), &server, Some("past the stored offset"));
        check(&stored(49), &ServerState { trusts_slot: true, ..server }, None);
        check(&stored(101), &server, Some("ends at 0/64"));
        // Debezium's offset before its first commit.
        check(&stored(0), &server, None);
        let other = Origin { system: 8, timeline: 2 };
        check(
            &stored(50),
            &ServerState { origin: other, ..server },
            Some("cluster 7, but this is 8"),
        );
        let older = Origin { system: 7, timeline: 1 };
        check(&stored(50), &ServerState { origin: older, ..server }, Some("timeline 2"));
        let newer = Origin { system: 7, timeline: 3 };
        let promoted = |at| {
            let descent = Descent::Branched(Lsn(at));
            ServerState { origin: newer, descent, ..server }
        };
        check(&stored(50), &promoted(60), None);
        check(&stored(61), &promoted(60), Some("promoted at 0/3C"));
        let unrelated = ServerState { origin: newer, descent: Descent::None, ..server };
        check(&stored(50), &unrelated, Some("does not come after it"));
        let standby = ServerState { is_standby: true, ..server };
        check(&stored(101), &standby, Some("waiting until it has come so far"));
        check(&stored(50), &ServerState { slot: None, ..server }, Some("slot s is gone"));
        let lost = slot(50, "lost");
        let server = ServerState { slot: Some(&lost), trusts_slot: true, ..server };
        check(&stored(50), &server, Some("is lost"));
    }

    #[test]
    fn what_is_read_again_is_as_little_as_is_sound() {
        let gap = |shares_past| Gap { why: String::new(), shares_past };
        let insured = |oldest_xid| Insured { oldest_xid, missing: None };
        let now = |next| Sample { oldest: next, next, lsn: Lsn(1) };
        let check = |policy, gap: &Gap, oldest, next, expect: Option<Mending>| {
            let found = mending(gap, policy, &insured(oldest), &now(next));
            assert_eq!(found.map(|(mending, _)| mending), expect, "{found:?}");
            let is_less = expect == Some(Mending::AllRows) && policy == Loss::Backfill;
            assert_eq!(found.is_some_and(|(_, why)| why.is_some()), is_less);
        };
        let all = Some(Mending::AllRows);
        check(Loss::Fail, &gap(true), Some(7), 9, None);
        check(Loss::Resnapshot, &gap(true), Some(7), 9, all);
        check(Loss::Backfill, &gap(true), Some(7), 9, Some(Mending::Since(7)));
        check(Loss::Backfill, &gap(false), Some(7), 9, all);
        check(Loss::Backfill, &gap(true), None, 9, all);
        check(Loss::Backfill, &gap(true), Some(10), 9, all);
        let epoch = 3 << 32;
        check(
            Loss::Backfill,
            &gap(true),
            Some(epoch - 2),
            epoch + 5,
            Some(Mending::Since(u32::MAX - 1)),
        );
        check(Loss::Backfill, &gap(true), Some(epoch), epoch + (1 << 31), all);
    }

    #[test]
    fn a_history_tells_where_timelines_ended() {
        let history = "1\t0/3000150\tno recovery target specified\n\n2\t1/A0\tbefore 2000-01-01\n";
        assert_eq!(descent(history, 1), Descent::Branched(Lsn(0x300_0150)));
        assert_eq!(descent(history, 2), Descent::Branched(Lsn(0x1_0000_00A0)));
        assert_eq!(descent(history, 3), Descent::None);
    }
}
