//! The simulated cluster seen from above.
//!
//! Duty: what no client can see (whole logs, who owns what, every commit that counted), and assertions
//! over it. It is the durable part of the world: it stays when workers crash.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use towpath_broker::{LocalCluster, Logged, Quirks, Visibility};
use towpath_sdk::record::TopicPartition;

use crate::net::Net;

/// A commit that the broker took from a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Simulated time since the world began.
    pub at: Duration,
    /// The group.
    pub group: String,
    /// The partition.
    pub partition: TopicPartition,
    /// The offset.
    pub offset: i64,
    /// Whether the partition was assigned to the member that committed.
    pub assigned: bool,
}

/// What happened in the broker, and its quirks.
pub(crate) struct Watchman {
    net: Arc<Net>,
    began: Instant,
    commits: Mutex<Vec<Commit>>,
    observer: Mutex<Option<Observer>>,
}

type Observer = Box<dyn Fn(&Commit) + Send + Sync>;

impl Watchman {
    pub(crate) fn new(net: Arc<Net>) -> Self {
        Self { net, began: Instant::now(), commits: Mutex::default(), observer: Mutex::default() }
    }

    pub(crate) fn observe(&self, observer: Observer) {
        *self.observer.lock() = Some(observer);
    }
}

impl Quirks for Watchman {
    fn gap(&self) -> u32 {
        if self.net.chance(0.2) {
            1 + u32::try_from(self.net.pick(5)).unwrap_or_default()
        } else {
            0
        }
    }

    fn batch_rows(&self) -> usize {
        if self.net.chance(0.5) { 1 + self.net.pick(20) } else { usize::MAX }
    }

    fn committed(&self, group: &str, partition: &TopicPartition, offset: i64, assigned: bool) {
        let commit = Commit {
            at: self.began.elapsed(),
            group: group.to_owned(),
            partition: partition.clone(),
            offset,
            assigned,
        };
        if let Some(observer) = &*self.observer.lock() {
            observer(&commit);
        }
        self.commits.lock().push(commit);
    }
}

/// See the module's head.
#[derive(Clone)]
pub struct World {
    pub(crate) cluster: LocalCluster,
    pub(crate) watchman: Arc<Watchman>,
}

impl World {
    /// Every record of `topic` with its visibility; none if there is no such topic.
    #[must_use]
    pub fn log(&self, topic: &str) -> Vec<Logged> {
        self.cluster.log(topic).unwrap_or_default()
    }

    /// The records of `topic` that a read-committed reader sees.
    #[must_use]
    pub fn visible(&self, topic: &str) -> Vec<Logged> {
        let mut log = self.log(topic);
        log.retain(|record| record.visibility == Visibility::Visible);
        log
    }

    /// The committed offsets of `group`.
    #[must_use]
    pub fn committed(&self, group: &str) -> BTreeMap<TopicPartition, i64> {
        self.cluster.committed(group).into_iter().collect()
    }

    /// Every commit that the broker took, in order.
    #[must_use]
    pub fn commits(&self) -> Vec<Commit> {
        self.watchman.commits.lock().clone()
    }

    /// The cluster without the network around it.
    #[must_use]
    pub fn cluster(&self) -> &LocalCluster {
        &self.cluster
    }

    /// Whether no member committed for a partition that was not its own.
    ///
    /// # Errors
    /// With the first such commit.
    pub fn check_commits_are_of_owners(&self) -> Result<(), String> {
        match self.commits().into_iter().find(|commit| !commit.assigned) {
            None => Ok(()),
            Some(commit) => Err(format!("{commit:?} is of a partition that was not assigned")),
        }
    }

    /// Whether every committed offset of `group` covers only records for which `safe` holds.
    ///
    /// # Errors
    /// With the first record that is committed and not safe.
    pub fn check_committed_is_safe(
        &self,
        group: &str,
        safe: impl Fn(&TopicPartition, i64) -> bool,
    ) -> Result<(), String> {
        for (at, committed) in self.committed(group) {
            let unsafe_one = self
                .visible(&at.topic)
                .into_iter()
                .filter(|r| r.partition == at.partition && r.offset < committed)
                .find(|r| !safe(&at, r.offset));
            if let Some(record) = unsafe_one {
                return Err(format!(
                    "{at} is committed up to {committed}, but the record at {} is neither durable nor \
                     settled",
                    record.offset
                ));
            }
        }
        Ok(())
    }
}

/// Whether every one of `expect` is among `got`.
///
/// # Errors
/// With some of those that are not.
pub fn check_nothing_lost<T: Ord + std::fmt::Debug>(
    expect: impl IntoIterator<Item = T>,
    got: impl IntoIterator<Item = T>,
) -> Result<(), String> {
    let got: BTreeSet<T> = got.into_iter().collect();
    let lost: Vec<T> = expect.into_iter().filter(|one| !got.contains(one)).collect();
    if lost.is_empty() {
        return Ok(());
    }
    Err(format!("{} are lost, the first: {:?}", lost.len(), &lost[..lost.len().min(5)]))
}

/// Whether nothing is there twice.
///
/// # Errors
/// With the first that is.
pub fn check_no_duplicates<T: Ord + std::fmt::Debug>(
    got: impl IntoIterator<Item = T>,
) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for one in got {
        if seen.contains(&one) {
            return Err(format!("{one:?} is there twice"));
        }
        seen.insert(one);
    }
    Ok(())
}

/// Whether the numbers of each key go up by one, except that they may fall back to an earlier number
/// (as after a restart) and go up from there.
///
/// # Errors
/// With the first that skips ahead.
pub fn check_order_per_key<K: Ord + std::fmt::Debug>(
    got: impl IntoIterator<Item = (K, u64)>,
) -> Result<(), String> {
    let mut last: BTreeMap<K, u64> = BTreeMap::new();
    for (key, number) in got {
        let skips = match last.get(&key) {
            Some(before) => number > before + 1,
            None => number > 0,
        };
        if skips {
            let before = last.get(&key).copied();
            return Err(format!("key {key:?}: {number} comes right after {before:?}"));
        }
        last.insert(key, number);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_assertion_can_fail() {
        assert!(check_nothing_lost([1, 2], [2, 1, 1]).is_ok());
        assert!(check_nothing_lost([1, 2], [2]).is_err());
        assert!(check_no_duplicates([1, 2]).is_ok());
        assert!(check_no_duplicates([1, 2, 1]).is_err());
        assert!(check_order_per_key([("a", 0), ("b", 0), ("a", 1), ("a", 0), ("a", 1)]).is_ok());
        assert!(check_order_per_key([("a", 0), ("a", 2)]).is_err());
        assert!(check_order_per_key([("a", 1)]).is_err());
    }
}
