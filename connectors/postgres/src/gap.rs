//! Whether changes are missing between the stored offset and what the server can send.
//!
//! Duty: compare an offset with slot, cluster and timeline, and say what is wrong. Pure. A gap is never
//! stepped over in silence: `snapshot.mode=when_needed` reads all rows again, any other mode stops.

use crate::catalog::Slot;
use crate::lsn::Lsn;
use crate::offset::{Origin, Position, Stored};

/// What the server says of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerState<'a> {
    /// Which cluster it is, on which timeline.
    pub(crate) origin: Origin,
    /// Where its log ends.
    pub(crate) flushed: Lsn,
    /// Where the timeline of the stored offset ended, if the server is on a later one.
    pub(crate) branched_at: Option<Lsn>,
    /// The slot, if it is there.
    pub(crate) slot: Option<&'a Slot>,
    /// Whether what the slot has skipped is not missed (`offset.mismatch.strategy`).
    pub(crate) trusts_slot: bool,
}

/// Why changes after `stored` are missing; `None` if none are.
#[must_use]
pub(crate) fn gap(name: &str, stored: &Stored, server: &ServerState<'_>) -> Option<String> {
    let Position { end, .. } = stored.position;
    if let Some(origin) = stored.origin {
        if origin.system != server.origin.system {
            return Some(format!(
                "the stored offset is of the cluster {}, but this is {}",
                origin.system, server.origin.system
            ));
        }
        if origin.timeline > server.origin.timeline {
            return Some(format!(
                "the stored offset is of timeline {}, but the server is on {}, which does not come after it",
                origin.timeline, server.origin.timeline
            ));
        }
    }
    match server.branched_at {
        Some(branched_at) if end > branched_at => {
            return Some(format!(
                "the server was promoted at {branched_at}, before the stored offset {end}: what was read \
                 after that has not happened there"
            ));
        }
        _ => {}
    }
    if server.flushed < end {
        return Some(format!(
            "the server's log ends at {}, before the stored offset {end}, as if it had been restored \
             from a backup",
            server.flushed
        ));
    }
    let Some(slot) = server.slot else {
        return Some(format!("the replication slot {name} is gone"));
    };
    if slot.wal_status.as_deref() == Some("lost") {
        return Some(format!(
            "the replication slot {name} is lost: the server has removed log that it needs"
        ));
    }
    match slot.confirmed {
        Some(confirmed) if is_ahead(confirmed, end) && !server.trusts_slot => Some(format!(
            "the replication slot {name} was moved to {confirmed}, past the stored offset {end}"
        )),
        _ => None,
    }
}

/// Whether a slot at `confirmed` lacks changes after an offset at `end`.
#[must_use]
pub(crate) fn is_ahead(confirmed: Lsn, end: Lsn) -> bool {
    // Debezium's offset before its first commit leaves it to the slot.
    end != Lsn::ZERO && confirmed > end
}

/// Where `timeline` ended, as the history of a later one tells
/// (<https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES>).
#[must_use]
pub(crate) fn branched_at(history: &str, timeline: u32) -> Option<Lsn> {
    history.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let of: u32 = fields.next()?.parse().ok()?;
        (of == timeline).then(|| fields.next()?.parse().ok()).flatten()
    })
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
        };
        let slot = |confirmed, status: &str| Slot {
            plugin: Some("pgoutput".to_owned()),
            database: Some("d".to_owned()),
            active_pid: None,
            confirmed: Some(Lsn(confirmed)),
            restart: Some(Lsn(1)),
            wal_status: Some(status.to_owned()),
        };
        let good = slot(50, "reserved");
        let server = ServerState {
            origin,
            flushed: Lsn(100),
            branched_at: None,
            slot: Some(&good),
            trusts_slot: false,
        };
        let check = |stored: &Stored, server: &ServerState<'_>, expect: Option<&str>| {
            let found = gap("s", stored, server);
            match expect {
                None => assert_eq!(found, None),
                Some(text) => assert!(found.as_ref().unwrap().contains(text), "{found:?}"),
            }
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
        let promoted = |at| ServerState { origin: newer, branched_at: Some(Lsn(at)), ..server };
        check(&stored(50), &promoted(60), None);
        check(&stored(61), &promoted(60), Some("promoted at 0/3C"));
        check(&stored(50), &ServerState { slot: None, ..server }, Some("slot s is gone"));
        let lost = slot(50, "lost");
        let server = ServerState { slot: Some(&lost), trusts_slot: true, ..server };
        check(&stored(50), &server, Some("is lost"));
    }

    #[test]
    fn a_history_tells_where_timelines_ended() {
        let history = "1\t0/3000150\tno recovery target specified\n\n2\t1/A0\tbefore 2000-01-01\n";
        assert_eq!(branched_at(history, 1), Some(Lsn(0x300_0150)));
        assert_eq!(branched_at(history, 2), Some(Lsn(0x1_0000_00A0)));
        assert_eq!(branched_at(history, 3), None);
    }
}
