//! Administration of topics and groups.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use towpath_sdk::record::TopicPartition;

use super::PortResult;

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// The name.
    pub name: String,
    /// Partitions; `None` is the broker's default.
    pub partitions: Option<i32>,
    /// Replicas of each; `None` is the broker's default.
    pub replication_factor: Option<i16>,
    /// Topic settings by Kafka's names.
    pub config: BTreeMap<String, String>,
}

/// What a topic looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    /// Partitions.
    pub partitions: i32,
    /// The smallest number of replicas of any partition.
    pub replication_factor: i16,
}

/// The committed offset of a group in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupOffset {
    /// The partition.
    pub partition: TopicPartition,
    /// Where the group goes on.
    pub offset: i64,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// The client id that it shows.
    pub client_id: String,
    /// The address that it connected from.
    pub host: String,
    /// Its static id, if it has one.
    pub instance_id: Option<String>,
}

/// Administration. All of it can be repeated safely.
pub trait Admin: Send + Sync + 'static {
    /// Creates a topic. `Ok(false)`: it was there.
    fn create_topic(&self, topic: NewTopic) -> BoxFuture<'_, PortResult<bool>>;

    /// Describes a topic; `None` if it is not there.
    fn describe_topic(&self, name: &str) -> BoxFuture<'_, PortResult<Option<TopicDescription>>>;

    /// The committed offsets of a group; empty if there is no such group.
    fn group_offsets(&self, group: &str) -> BoxFuture<'_, PortResult<Vec<GroupOffset>>>;

    /// The members of a group, those included that vanished without leaving and whose session has not
    /// ended; empty if there is no such group.
    fn group_members(&self, group: &str) -> BoxFuture<'_, PortResult<Vec<GroupMember>>>;

    /// Sets committed offsets of a group without members; `None` deletes the partition's.
    fn alter_group_offsets(
        &self,
        group: &str,
        offsets: Vec<(TopicPartition, Option<i64>)>,
    ) -> BoxFuture<'_, PortResult<()>>;

    /// Deletes a group without members; `Ok` if it is not there.
    fn delete_group(&self, group: &str) -> BoxFuture<'_, PortResult<()>>;

    /// Fences every producer with one of these transactional ids and ends its open transaction.
    fn fence(&self, transactional_ids: Vec<String>) -> BoxFuture<'_, PortResult<()>>;

    /// First and end offset of each partition of a topic, as a read-committed reader sees the end.
    fn topic_ends(&self, name: &str) -> BoxFuture<'_, PortResult<Vec<(i32, i64, i64)>>>;
}
