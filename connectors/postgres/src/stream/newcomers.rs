//! Tables that are captured from some time on: created then, or let through by other filters.
//!
//! Duty: know which tables were captured, notice others, have them published, and have their rows read
//! while the stream goes on (`snapshot.new.tables`).

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;
use towpath_sdk::Result;
use towpath_sdk::offset::{SourceOffset, SourcePartition, StoredOffsets};
use towpath_sdk::source::Mark;

use super::Reader;
use super::commands::captured;
use crate::catalog::Listed;
use crate::config::Patterns;
use crate::offset::SERVER;
use crate::preflight;
use crate::signal::Execute;

const CAPTURED: &str = "captured";
const TABLES: &str = "tables";
const OIDS: &str = "oids";

/// How often new tables are looked for while nothing shows that there are any.
const INTERVAL: Duration = Duration::from_secs(10);

/// The tables that were captured so far, by object id.
#[derive(Debug)]
pub(crate) struct Newcomers {
    /// `None` if that was never stored: all that there are now count as known.
    known: Option<BTreeSet<u32>>,
    next: Instant,
}

fn partition(topic_prefix: &str) -> SourcePartition {
    SourcePartition::of([(SERVER, topic_prefix), (CAPTURED, TABLES)])
}

/// The mark that stores which tables are captured, after `count` records.
#[must_use]
pub(crate) fn mark(count: usize, topic_prefix: &str, tables: impl Iterator<Item = u32>) -> Mark {
    let oids: Vec<String> = tables.map(|oid| oid.to_string()).collect();
    Mark::new(count, partition(topic_prefix), SourceOffset::of([(OIDS, oids.join(","))]))
}

impl Newcomers {
    /// Those of `offsets` are known.
    #[must_use]
    pub(crate) fn new(topic_prefix: &str, offsets: &StoredOffsets) -> Self {
        let stored = offsets.get(&partition(topic_prefix));
        let oids = stored.and_then(|offset| offset.get_str(OIDS));
        let known = oids.map(|oids| oids.split(',').filter_map(|oid| oid.parse().ok()).collect());
        Self { known, next: Instant::now() }
    }

    /// When to look again.
    #[must_use]
    pub(crate) const fn next(&self) -> Instant {
        self.next
    }

    /// Whether changes of this table show that it is new.
    #[must_use]
    pub(crate) fn is_new(&self, oid: u32) -> bool {
        self.known.as_ref().is_some_and(|known| !known.contains(&oid))
    }

    /// Looks at once.
    pub(crate) fn look(&mut self) {
        self.next = Instant::now();
    }

    /// Those of `captured` that are new; from now on all are known. `None`: nothing has changed.
    fn take(&mut self, captured: &[Listed]) -> Option<Vec<String>> {
        let now: BTreeSet<u32> = captured.iter().map(|table| table.oid).collect();
        self.next = Instant::now() + INTERVAL;
        let known = self.known.replace(now.clone());
        if known.as_ref() == Some(&now) {
            return None;
        }
        let is_new =
            |table: &&Listed| known.as_ref().is_some_and(|known| !known.contains(&table.oid));
        Some(captured.iter().filter(is_new).map(Listed::collection).collect())
    }
}

impl Reader<'_> {
    /// Looks for new tables, and begins to read their rows.
    pub(super) async fn look_for_newcomers(&mut self) -> Result<()> {
        if self.of.newcomers.is_none() {
            return Ok(());
        }
        let captured = captured(self.of.client, self.of.config).await?;
        let Some(newcomers) = &mut self.of.newcomers else { return Ok(()) };
        let Some(new) = newcomers.take(&captured) else { return Ok(()) };
        let oids = captured.iter().map(|table| table.oid);
        let mark = mark(self.piece.records.len(), &self.of.config.topic_prefix, oids);
        self.piece.marks.push(mark);
        let chosen = self.of.config.snapshot.include_collection_list.as_ref();
        let is_read = |name: &&String| chosen.is_none_or(|patterns| patterns.matches(name));
        let new: Vec<&str> = new.iter().filter(is_read).map(String::as_str).collect();
        if new.is_empty() {
            return Ok(());
        }
        // What is committed from here on is in the stream, and the rest is read.
        preflight::publication(self.of.client, self.of.config, &captured).await?;
        let patterns: Vec<_> = new.iter().map(|name| fancy_regex::escape(name)).collect();
        let Ok(tables) = Patterns::all(patterns.iter().map(|pattern| &**pattern)) else {
            return Ok(());
        };
        let names: Vec<String> = new.iter().map(|name| (*name).to_owned()).collect();
        let (incremental, mut out) = self.incremental();
        incremental.execute(&Execute::all("new-tables".to_owned(), tables), &names, &mut out)?;
        self.of.incremental.ask();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(oid: u32) -> Listed {
        let (schema, name) = ("s".to_owned(), format!("t{oid}"));
        Listed { oid, schema, name, is_partitioned: false, root: oid }
    }

    #[test]
    fn what_was_not_captured_before_is_new() {
        let mut offsets = StoredOffsets::default();
        let mut first = Newcomers::new("p", &offsets);
        assert_eq!(first.take(&[table(1), table(2)]), Some(vec![]));
        assert!(first.is_new(3) && !first.is_new(2));
        let Mark { partition, offset, .. } = mark(0, "p", [1, 2].into_iter());
        offsets.set(partition, offset);
        let mut next = Newcomers::new("p", &offsets);
        assert_eq!(next.take(&[table(1), table(2)]), None);
        assert_eq!(next.take(&[table(2), table(3)]), Some(vec!["s.t3".to_owned()]));
        // One that was not captured for a while is new again.
        assert_eq!(next.take(&[table(1), table(2), table(3)]), Some(vec!["s.t1".to_owned()]));
    }
}
