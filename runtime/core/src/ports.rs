//! What the engine needs of the world, as traits.
//!
//! Duty: the line between decisions and I/O. The engine knows Kafka's terms (topics, offsets, groups,
//! transactions) but no client. [`Cluster`] makes the rest; `towpath-kafka`, `towpath-embedded` and
//! `towpath-sim` implement it, and one conformance suite (`towpath_sim::conformance`) runs on all
//! three.
//!
//! Invariants:
//! - an outcome is typed: done, failed, or **unknown**; unknown is never treated as failed;
//! - offsets have gaps (compaction, transaction markers): nobody may compute `offset + 1` of a record
//!   to find the next one; a batch says where it ends;
//! - every call made here may take long; whoever must stay responsive bounds it.

mod admin;
mod consumer;
mod membership;
mod producer;
mod table;

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use indexmap::IndexMap;

pub use admin::{Admin, GroupMember, GroupOffset, NewTopic, TopicDescription};
pub use consumer::{CommitOutcome, Consumer, ConsumerEvent, ConsumerSpec, Revoked, Subscription};
pub use membership::{Membership, MembershipEvent};
pub use producer::{
    OutBatch, OutHeaders, OutRecord, ProduceFailure, Producer, ProducerSpec, Receipt,
    TransactionOutcome, TransactionalProducer,
};
pub use table::{CompactedTable, Entry, TableEvent, TableSpec};

/// The result of a port's call.
pub type PortResult<T> = Result<T, PortError>;

/// Java names of client properties to values, as a person wrote them (`producer.override.*` and so
/// on, without the prefix).
pub type ClientOverrides = IndexMap<String, String>;

/// A Kafka cluster, or what stands in for one.
pub trait Cluster: Send + Sync + 'static {
    /// The cluster's id, for `GET /`; `None` while it can't be reached.
    fn id(&self) -> BoxFuture<'_, PortResult<String>>;

    /// An idempotent producer.
    fn producer(&self, spec: ProducerSpec) -> BoxFuture<'_, PortResult<Arc<dyn Producer>>>;

    /// A producer with a transactional id. Resolves when older instances with that id are fenced and
    /// their open transactions ended.
    fn transactional_producer(
        &self,
        transactional_id: String,
        spec: ProducerSpec,
    ) -> BoxFuture<'_, PortResult<Arc<dyn TransactionalProducer>>>;

    /// A member of a consumer group.
    fn consumer(&self, spec: ConsumerSpec) -> BoxFuture<'_, PortResult<Box<dyn Consumer>>>;

    /// Administration, as `overrides` say.
    fn admin(&self, overrides: ClientOverrides) -> BoxFuture<'_, PortResult<Arc<dyn Admin>>>;

    /// A compacted topic as a table, created if it is not there. Resolves when it was read to its end.
    fn table(&self, spec: TableSpec) -> BoxFuture<'_, PortResult<Arc<dyn CompactedTable>>>;

    /// Joins the fleet `group_id` as the worker reachable at `advertised` (`host:port`).
    fn join(
        &self,
        group_id: String,
        advertised: String,
    ) -> BoxFuture<'_, PortResult<Box<dyn Membership>>>;
}

/// What the engine must know of a port's error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortErrorKind {
    /// No broker answers.
    Unreachable,
    /// The broker did not answer in time; the request may have been carried out.
    Unknown,
    /// The credentials were refused.
    Unauthenticated,
    /// An ACL is missing.
    Forbidden,
    /// The topic or group is not there.
    NotFound,
    /// It is there already.
    Exists,
    /// The cluster, or a topic, is not as it must be (uncompacted, too few replicas).
    Invalid,
    /// A newer instance has taken over.
    Fenced,
    /// The record is larger than the broker takes.
    TooLarge,
    /// Fewer replicas are in sync than asked, or no leader: it heals by itself.
    Degraded,
    /// The disk is full.
    OutOfSpace,
    /// Another worker holds what was asked for.
    Occupied,
    /// A defect, or something nobody foresaw.
    Internal,
}

/// An error of a port.
#[derive(Debug, Clone)]
pub struct PortError {
    /// The kind.
    pub kind: PortErrorKind,
    /// For a person: lower case, no full stop, hints the fix.
    pub text: String,
}

impl PortError {
    /// An error of `kind` which `text` explains.
    pub fn new(kind: PortErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// Puts `text` in front.
    #[must_use]
    pub fn context(mut self, text: impl fmt::Display) -> Self {
        self.text = format!("{text}: {}", self.text);
        self
    }
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for PortError {}

impl From<PortError> for towpath_sdk::Error {
    fn from(error: PortError) -> Self {
        use towpath_sdk::ErrorKind;
        let kind = match error.kind {
            PortErrorKind::Unreachable | PortErrorKind::Degraded => ErrorKind::Unavailable,
            PortErrorKind::Unknown => ErrorKind::Timeout,
            PortErrorKind::Unauthenticated => ErrorKind::Unauthenticated,
            PortErrorKind::Forbidden => ErrorKind::Forbidden,
            PortErrorKind::NotFound => ErrorKind::NotFound,
            PortErrorKind::Exists | PortErrorKind::Occupied => ErrorKind::Conflict,
            PortErrorKind::Invalid => ErrorKind::Config,
            PortErrorKind::Fenced => ErrorKind::Fenced,
            PortErrorKind::TooLarge => ErrorKind::TooLarge,
            PortErrorKind::OutOfSpace => ErrorKind::OutOfSpace,
            PortErrorKind::Internal => ErrorKind::Internal,
        };
        Self::new(kind, error.text)
    }
}
