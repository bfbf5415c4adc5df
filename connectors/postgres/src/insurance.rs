//! What is known beside a position, in case the slot is lost.
//!
//! Duty: which xid no transaction after a position is before, so that what such transactions changed can
//! be found by the rows' xmin; and whether deletes are missing since an earlier loss. Both are stored
//! with the offset. Pure, but for [`sample`].
//!
//! Why a sample is sound: the server's snapshot is taken first and the end of the log is asked for after
//! that. A transaction that is before the snapshot's xmin had ended when it was taken, so its commit
//! record is before that end, and a position that is not before that end is behind it. All that is not
//! covered by such a position has an xid that is not before the xmin, subtransactions (whose xids come
//! after their parent's) and prepared ones among them.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value as JsonValue;
use tokio_postgres::Client;
use towpath_sdk::offset::SourceOffset;
use towpath_sdk::{Error, ErrorKind, Result};

use crate::client::failed;
use crate::lsn::Lsn;

const OLDEST_XID: &str = "oldest_xid";
const MISSING_FROM: &str = "missing_deletes_from";
const MISSING_TO: &str = "missing_deletes_to";
const MISSING_AT: &str = "missing_deletes_at";
const MISSING_TABLES: &str = "missing_deletes_tables";

/// The transactions of a server at a moment. Xids have their epoch: they never wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// No transaction that goes on is before this.
    pub(crate) oldest: u64,
    /// No transaction that has begun is this or after it.
    pub(crate) next: u64,
    /// Where the log ended afterwards.
    pub(crate) lsn: Lsn,
}

/// Where in the log deletes may be missing from the topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    /// After this.
    pub(crate) from: Lsn,
    /// Before this.
    pub(crate) to: Lsn,
    /// When it was noticed, in milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// Of which tables.
    pub(crate) of: Of,
}

/// Of which tables deletes are missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Of {
    /// Of any: they were not looked for.
    Any,
    /// Of these, as people are told; of the others they were found. None of them, while rows are still
    /// read.
    These(Arc<str>),
}

/// What is stored with a position.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Insured {
    /// No transaction whose changes are not covered is before this, if it is known.
    pub(crate) oldest_xid: Option<u64>,
    /// What an earlier loss has cost.
    pub(crate) missing: Option<Missing>,
}

impl Insured {
    /// As fields of the offset.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'static str, JsonValue)> {
        let missing = self.missing.as_ref().map(|Missing { from, to, at_ms, of }| {
            let tables = match of {
                Of::Any => None,
                Of::These(tables) => Some((MISSING_TABLES, (**tables).into())),
            };
            let always = [
                (MISSING_FROM, from.0.into()),
                (MISSING_TO, to.0.into()),
                (MISSING_AT, (*at_ms).into()),
            ];
            always.into_iter().chain(tables)
        });
        let oldest = self.oldest_xid.map(|xid| (OLDEST_XID, xid.into()));
        oldest.into_iter().chain(missing.into_iter().flatten())
    }

    /// Reads them back. What is not there, or is nothing that was written here, is not known.
    #[must_use]
    pub(crate) fn read(offset: &SourceOffset) -> Self {
        let number = |key| offset.get(key).and_then(JsonValue::as_u64);
        let missing = || {
            Some(Missing {
                from: Lsn(number(MISSING_FROM)?),
                to: Lsn(number(MISSING_TO)?),
                at_ms: offset.get_i64(MISSING_AT).unwrap_or_default(),
                of: match offset.get(MISSING_TABLES).and_then(JsonValue::as_str) {
                    Some(tables) => Of::These(tables.into()),
                    None => Of::Any,
                },
            })
        };
        Self { oldest_xid: number(OLDEST_XID), missing: missing() }
    }
}

/// What is known while positions go on.
#[derive(Debug, Default)]
pub(crate) struct Insurance(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    now: Insured,
    /// A sample that counts once positions have reached its end of the log.
    next: Option<Sample>,
    /// The newest sample behind that.
    newest: Option<Sample>,
}

impl Insurance {
    /// Begins anew at a position with which `insured` was stored.
    pub(crate) fn begin(&self, insured: Insured) {
        *self.0.lock() = State { now: insured, ..State::default() };
    }

    /// Takes a sample.
    pub(crate) fn take(&self, sample: Sample) {
        let mut state = self.0.lock();
        match state.next {
            // It is not replaced, or it would never be reached where reading is always a bit behind.
            Some(_) => state.newest = Some(sample),
            None => state.next = Some(sample),
        }
    }

    /// Deletes are missing, of any table; what was known to be missing stays.
    pub(crate) fn miss(&self, from: Lsn, to: Lsn, at_ms: i64) {
        let mut state = self.0.lock();
        let before = state.now.missing.as_ref();
        let from = before.map_or(from, |before| before.from.min(from));
        state.now.missing = Some(Missing { from, to, at_ms, of: Of::Any });
    }

    /// They were looked for, and found but for those of `tables`.
    pub(crate) fn miss_only(&self, tables: &str) {
        if let Some(missing) = &mut self.0.lock().now.missing {
            missing.of = Of::These(tables.into());
        }
    }

    /// All that was to be read is: if nothing is missing any more, that need not be said.
    pub(crate) fn settle(&self) {
        let missing = &mut self.0.lock().now.missing;
        missing.take_if(|missing| missing.of.is_none());
    }

    /// What is missing.
    pub(crate) fn missing(&self) -> Option<Missing> {
        self.0.lock().now.missing.clone()
    }

    /// What goes with the position `end`. Positions ascend.
    pub(crate) fn at(&self, end: Lsn) -> Insured {
        let mut state = self.0.lock();
        while let Some(sample) = state.next.filter(|sample| sample.lsn <= end) {
            state.now.oldest_xid = Some(sample.oldest);
            state.next = state.newest.take();
        }
        state.now.clone()
    }
}

impl Of {
    /// Whether it is of no table.
    pub(crate) fn is_none(&self) -> bool {
        matches!(self, Self::These(tables) if tables.is_empty())
    }
}

/// Asks for a sample, of a standby too.
///
/// # Errors
/// If the server can't be asked.
pub(crate) async fn sample(client: &Client) -> Result<Sample> {
    let failed = |error| failed("look at the server's transactions", error);
    // The snapshot is the statement's own, which is taken before anything is computed. The functions of
    // PostgreSQL 13 have these names, too.
    let sql = "
        select txid_snapshot_xmin(s), txid_snapshot_xmax(s),
               (case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn()
                     else pg_catalog.pg_current_wal_insert_lsn() end)::text
          from txid_current_snapshot() s";
    let row = client.query_one(sql, &[]).await.map_err(failed)?;
    let xid = |at| -> Result<u64> {
        Ok(u64::try_from(row.try_get::<_, i64>(at).map_err(failed)?).unwrap_or_default())
    };
    let lsn: Option<String> = row.try_get(2).map_err(failed)?;
    let lsn = lsn.and_then(|text| text.parse().ok());
    let lsn = lsn.ok_or_else(|| {
        Error::new(
            ErrorKind::Unavailable,
            "the standby has not replayed any log yet; waiting for it",
        )
    })?;
    Ok(Sample { oldest: xid(0)?, next: xid(1)?, lsn })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_counts_once_it_is_reached() {
        let insurance = Insurance::default();
        let sample =
            |oldest, lsn| insurance.take(Sample { oldest, next: oldest + 9, lsn: Lsn(lsn) });
        let oldest = |end| insurance.at(Lsn(end)).oldest_xid;
        assert_eq!(oldest(5), None);
        sample(700, 10);
        sample(710, 20);
        sample(720, 30);
        assert_eq!((oldest(9), oldest(10)), (None, Some(700)));
        // Of those behind it only the newest was kept.
        assert_eq!((oldest(29), oldest(30)), (Some(700), Some(720)));
        sample(730, 40);
        insurance.begin(Insured { oldest_xid: Some(5), missing: None });
        assert_eq!(oldest(50), Some(5));
    }

    #[test]
    fn what_is_missing_stays_until_it_is_found() {
        let insurance = Insurance::default();
        let missing = |of| Missing { from: Lsn(30), to: Lsn(60), at_ms: 2, of };
        insurance.miss(Lsn(30), Lsn(40), 1);
        insurance.miss_only("public.u (it has no key)");
        // Another loss.
        insurance.miss(Lsn(50), Lsn(60), 2);
        let read_back = || {
            let now = insurance.at(Lsn(70));
            let all = Insured { oldest_xid: Some(1 << 40), ..now };
            assert_eq!(Insured::read(&SourceOffset::of(all.fields())), all);
            all.missing
        };
        assert_eq!(read_back(), Some(missing(Of::Any)));
        for tables in ["public.u (it has no key)", ""] {
            insurance.miss_only(tables);
            assert_eq!(read_back(), Some(missing(Of::These(tables.into()))));
        }
        insurance.settle();
        assert_eq!(read_back(), None);
        insurance.miss(Lsn(80), Lsn(90), 3);
        insurance.settle();
        assert_eq!(read_back().map(|missing| (missing.from, missing.of)), Some((Lsn(80), Of::Any)));
        assert_eq!(Insured::read(&SourceOffset::of([("lsn", 1)])), Insured::default());
    }
}
