//! What tests see and do that no client can.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;
use towpath_core::ports::{PortError, PortErrorKind, PortResult};
use towpath_sdk::record::TopicPartition;

use crate::LocalCluster;
use crate::chunk::Kind;
use crate::group::{Identity, MemberId, Wants};
use crate::partition::{Isolation, sees};

/// Who sees a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Everybody.
    Visible,
    /// Nobody yet: its transaction is open.
    Open,
    /// Nobody: its transaction was aborted.
    Aborted,
}

/// A record as it lies in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    /// The key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Option<Bytes>,
    /// The headers.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// Who sees it.
    pub visibility: Visibility,
}

/// A member that only holds partitions.
#[derive(Debug)]
pub struct GhostMember {
    group: String,
    id: MemberId,
}

impl LocalCluster {
    /// Every record of a topic, by partition and offset.
    ///
    /// # Errors
    /// If there is no such topic, or it can't be read.
    pub fn log(&self, topic: &str) -> PortResult<Vec<Logged>> {
        let topic = self.broker.topic(topic).ok_or_else(|| {
            PortError::new(PortErrorKind::NotFound, format!("there is no topic {topic}"))
        })?;
        let mut all = Vec::new();
        for partition in &topic.partitions {
            let bounds = partition.bounds();
            let stable = bounds.last_stable();
            partition.chunks(&*self.broker.store, bounds.start, bounds.next, &mut |chunk| {
                let visibility = match chunk.head.kind {
                    Kind::Plain | Kind::Marker(_) => Visibility::Visible,
                    Kind::Transactional(id)
                        if bounds.open.get(&id).is_some_and(|f| chunk.base >= *f) =>
                    {
                        Visibility::Open
                    }
                    Kind::Transactional(_)
                        if sees(&bounds.aborted, Isolation::Committed, chunk) =>
                    {
                        Visibility::Visible
                    }
                    Kind::Transactional(_) => Visibility::Aborted,
                };
                debug_assert!(visibility != Visibility::Open || chunk.base >= stable);
                for row in chunk.rows() {
                    let row = row?;
                    all.push(Logged {
                        partition: partition.at.partition,
                        offset: chunk.base + i64::from(row.delta),
                        timestamp: row.timestamp,
                        key: row.key.map(Bytes::copy_from_slice),
                        value: row.value.map(Bytes::copy_from_slice),
                        headers: row
                            .headers
                            .iter()
                            .map(|(k, v)| ((*k).to_owned(), v.map(Bytes::copy_from_slice)))
                            .collect(),
                        visibility,
                    });
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(all)
    }

    /// The names of all topics.
    #[must_use]
    pub fn topic_names(&self) -> Vec<String> {
        self.broker.topics().iter().map(|t| t.name.to_string()).collect()
    }

    /// The committed offsets of a group.
    #[must_use]
    pub fn committed(&self, group: &str) -> Vec<(TopicPartition, i64)> {
        self.broker.groups.lock().offsets(group)
    }

    /// What is assigned in a group, and to which member.
    #[must_use]
    pub fn owners(&self, group: &str) -> Vec<(TopicPartition, u64)> {
        self.broker.groups.lock().owners(group)
    }

    /// The names of all groups.
    #[must_use]
    pub fn groups(&self) -> Vec<String> {
        self.broker.groups.lock().names()
    }

    /// The names of all fleets.
    #[must_use]
    pub fn fleets(&self) -> Vec<String> {
        self.broker.seats.lock().names()
    }

    /// The members of a group.
    #[must_use]
    pub fn members(&self, group: &str) -> Vec<u64> {
        self.broker.groups.lock().members(group)
    }

    /// Stored bytes of all logs.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.broker.log_bytes()
    }

    /// Compacts a compacted topic now.
    ///
    /// # Errors
    /// If the store fails.
    pub fn compact(&self, topic: &str) -> PortResult<()> {
        let Some(topic) = self.broker.topic(topic).filter(|t| t.settings.compacted) else {
            return Ok(());
        };
        let writer = self.broker.writer()?;
        topic.partitions.iter().try_for_each(|p| self.broker.compact(&topic, p))?;
        drop(writer);
        Ok(())
    }

    /// Lets `partitions` of `group` go to a member without a consumer, until it leaves.
    #[must_use]
    pub fn ghost(&self, group: &str, partitions: BTreeSet<TopicPartition>) -> GhostMember {
        let topics = self.broker.topics();
        let mut groups = self.broker.groups.lock();
        let wake = Arc::new(Notify::new());
        let identity = Identity { client: "ghost".to_owned(), instance: None };
        let id = groups.join(group, Wants::Exactly(partitions), identity, wake, &topics);
        GhostMember { group: group.to_owned(), id }
    }

    /// The ghost leaves; its partitions go to the others.
    pub fn ghost_leaves(&self, ghost: GhostMember) {
        self.expel(&ghost.group, ghost.id);
    }

    /// Ends a member's session: its partitions go to others before it knows.
    pub fn expel(&self, group: &str, member: u64) {
        let topics = self.broker.topics();
        self.broker.groups.lock().leave(group, member, &topics);
    }

    /// Ends the session of whoever holds the seat of `fleet`.
    pub fn expel_worker(&self, fleet: &str) {
        self.broker.seats.lock().expel(fleet);
    }
}
