//! How far the stream is behind, in all and for each table.
//!
//! Duty: remember what of each table was read since the last piece, and show as gauges by how much log
//! and by how much time that was behind when it was handed over. Nothing is looked up for a row: a
//! table is looked for when another than the last one's rows come.
//!
//! `lag_bytes` and `lag_ms` are of the last change at all, `table_lag_bytes` and `table_lag_ms` of a
//! table's last change; all are 0 once the server has nothing more for us.

use std::sync::Arc;

use towpath_sdk::clock::Timestamp;
use towpath_sdk::context::TaskContext;
use towpath_sdk::instruments::{Counter, Gauge};

use crate::lsn::Lsn;

/// The gauges of a stream.
pub(crate) struct Meters {
    cx: TaskContext,
    bytes: Gauge,
    millis: Gauge,
    tables: Vec<Table>,
    /// The one whose rows came last.
    last: usize,
    /// Where the server's log ended when it was heard of last.
    end: Lsn,
}

struct Table {
    collection: Arc<str>,
    changes: Counter,
    bytes: Gauge,
    millis: Gauge,
    /// Changes since the last piece, and the last of them.
    seen: u64,
    lsn: Lsn,
    ts_us: i64,
}

impl Meters {
    /// Of a task.
    pub(crate) fn new(cx: &TaskContext) -> Self {
        Self {
            cx: cx.clone(),
            bytes: cx.gauge("lag_bytes", &[]),
            millis: cx.gauge("lag_ms", &[]),
            tables: Vec::new(),
            last: 0,
            end: Lsn::ZERO,
        }
    }

    /// The server's log ends there, and what was just read is at `lsn`.
    pub(crate) fn heard(&mut self, lsn: Lsn, end: Lsn) {
        self.end = end;
        self.bytes.set(behind(lsn, end));
    }

    /// A change of a table, of a transaction that was committed at `ts_us`.
    pub(crate) fn saw(&mut self, collection: &Arc<str>, lsn: Lsn, ts_us: i64) {
        let is_it = |table: &Table| Arc::ptr_eq(&table.collection, collection);
        if !self.tables.get(self.last).is_some_and(is_it) {
            self.last = self.find(collection);
        }
        if let Some(table) = self.tables.get_mut(self.last) {
            table.seen += 1;
            (table.lsn, table.ts_us) = (lsn, ts_us);
        }
    }

    fn find(&mut self, collection: &Arc<str>) -> usize {
        let known = self.tables.iter().position(|table| table.collection == *collection);
        let at = known.unwrap_or_else(|| {
            let labels = [("table", &**collection)];
            self.tables.push(Table {
                collection: Arc::clone(collection),
                changes: self.cx.counter("table_changes", &labels),
                bytes: self.cx.gauge("table_lag_bytes", &labels),
                millis: self.cx.gauge("table_lag_ms", &labels),
                seen: 0,
                lsn: Lsn::ZERO,
                ts_us: 0,
            });
            self.tables.len() - 1
        });
        // Another description of the table has another one of its name.
        if let Some(table) = self.tables.get_mut(at) {
            table.collection = Arc::clone(collection);
        }
        at
    }

    /// A piece is handed over.
    pub(crate) fn show(&mut self, now: Timestamp) {
        for table in self.tables.iter_mut().filter(|table| table.seen > 0) {
            let millis = (now.millis() - table.ts_us.div_euclid(1000)).max(0);
            table.millis.set(millis);
            table.bytes.set(behind(table.lsn, self.end));
            table.changes.add(std::mem::take(&mut table.seen));
            self.millis.set(millis);
        }
    }

    /// The server has nothing more for us.
    pub(crate) fn caught_up(&mut self, end: Lsn) {
        self.heard(end, end);
        self.millis.set(0);
        for table in &self.tables {
            table.bytes.set(0);
            table.millis.set(0);
        }
    }
}

fn behind(lsn: Lsn, end: Lsn) -> i64 {
    i64::try_from(end.0.saturating_sub(lsn.0)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use towpath_testkit::FakeHost;

    use super::*;

    #[test]
    fn each_table_has_its_own() {
        let host = FakeHost::new();
        let mut meters = Meters::new(&host.task(0));
        let (a, b): (Arc<str>, Arc<str>) = ("s.a".into(), "s.b".into());
        meters.saw(&a, Lsn(100), 5_000_000);
        meters.saw(&a, Lsn(110), 6_000_000);
        meters.saw(&b, Lsn(120), 7_000_000);
        meters.heard(Lsn(120), Lsn(1000));
        meters.show(Timestamp(8_000));
        let gauge = |name, table| host.gauge(name, &[("table", table)]).unwrap();
        assert_eq!((gauge("table_lag_ms", "s.a"), gauge("table_lag_bytes", "s.a")), (2000, 890));
        assert_eq!((gauge("table_lag_ms", "s.b"), gauge("table_lag_bytes", "s.b")), (1000, 880));
        assert_eq!(host.counter("table_changes", &[("table", "s.a")]), Some(2));
        assert_eq!(
            (host.gauge("lag_ms", &[]), host.gauge("lag_bytes", &[])),
            (Some(1000), Some(880))
        );
        // A table that is described anew is the same.
        let again: Arc<str> = "s.a".into();
        meters.saw(&again, Lsn(130), 8_000_000);
        meters.show(Timestamp(8_000));
        assert_eq!(gauge("table_lag_ms", "s.a"), 0);
        // Nothing came of it since.
        assert_eq!(gauge("table_lag_ms", "s.b"), 1000);
        assert_eq!(host.counter("table_changes", &[("table", "s.a")]), Some(3));
        meters.caught_up(Lsn(1000));
        assert_eq!((gauge("table_lag_ms", "s.b"), gauge("table_lag_bytes", "s.b")), (0, 0));
        assert_eq!((host.gauge("lag_ms", &[]), host.gauge("lag_bytes", &[])), (Some(0), Some(0)));
    }
}
