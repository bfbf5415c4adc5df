//! The source pipeline: poll → convert → produce → store offsets → acknowledge.
//!
//! Duty: move a source's batches into Kafka and its offsets into the offset topic, in that order.
//! [`at_least_once`] keeps many batches in flight and stores the offsets of the acknowledged prefix;
//! [`exactly_once`] puts records, dead letters and offsets into one Kafka transaction. Both convert
//! with [`convert`].
//!
//! Invariants:
//! - an offset is stored only when the broker holds every record before it, or its dead letter, or it
//!   was skipped because the user said so;
//! - the source is told ([`towpath_sdk::source::SourceTask::acknowledge`]) only what is stored;
//! - batches stay in poll order from conversion to produce; bytes in flight are bounded.

mod at_least_once;
mod convert;
mod exactly_once;
mod lent;
mod pending;
mod sent;
mod uncovered;
mod written;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use towpath_sdk::Result;
use towpath_sdk::config::Properties;
use towpath_sdk::plugin::DynSourcePlugin;
use towpath_sdk::source::TaskShare;

use crate::chain::Chain;
use crate::dead_letters::DeadLetters;
use crate::ports::{Cluster, Producer, ProducerSpec};
use crate::settings::PipelineSettings;
use crate::task::host::TaskHost;
use crate::task::{TaskId, Wanted};
use crate::topics::TopicCreator;

pub use self::written::WrittenTopics;

/// All that a source task needs.
pub struct SourceSpec {
    /// Which task.
    pub id: TaskId,
    /// The connector.
    pub plugin: Arc<dyn DynSourcePlugin>,
    /// The connector's properties, resolved.
    pub properties: Properties,
    /// The task's share of the work.
    pub share: TaskShare,
    /// Converters and transforms.
    pub chain: Arc<Chain>,
    /// The framework's settings.
    pub settings: PipelineSettings,
    /// Creates missing topics.
    pub topics: Arc<TopicCreator>,
    /// Whether offsets and records go into transactions.
    pub exactly_once: Option<Transactions>,
}

/// How an exactly-once task cuts its transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transactions {
    /// `<group.id>-<connector>-<task>`: Connect's own, so that ACLs hold and a zombie on the JVM is
    /// fenced too.
    pub transactional_id: String,
    /// Where transactions end.
    pub boundary: Boundary,
    /// Bytes after which a transaction ends in any case.
    pub max_bytes: usize,
    /// Age after which a transaction ends in any case, well below the producer's transaction timeout.
    pub max_age: Duration,
}

/// `transaction.boundary`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// With each polled batch.
    Poll,
    /// After this long.
    Interval(Duration),
    /// Where the connector says that a transaction of its source ends.
    Connector,
}

/// Runs the task until it is told to stop, or fails.
///
/// # Errors
/// What ended it; its action says whether a restart helps.
pub async fn run(
    spec: SourceSpec,
    cluster: Arc<dyn Cluster>,
    host: Arc<TaskHost>,
    wanted: watch::Receiver<Wanted>,
) -> Result<()> {
    match spec.exactly_once.clone() {
        None => at_least_once::run(spec, cluster, host, wanted).await,
        Some(transactions) => exactly_once::run(spec, transactions, cluster, host, wanted).await,
    }
}

fn producer_spec(spec: &SourceSpec) -> ProducerSpec {
    ProducerSpec {
        client_id: format!("connector-producer-{}-{}", spec.id.connector, spec.id.task),
        overrides: spec.settings.producer.clone(),
    }
}

async fn open_dead_letters(
    spec: &SourceSpec,
    cluster: &dyn Cluster,
    producer: Arc<dyn Producer>,
) -> Result<Option<DeadLetters>> {
    let Some(settings) = spec.settings.tolerance.dead_letters.clone() else { return Ok(None) };
    let admin = cluster.admin(spec.settings.admin.clone()).await?;
    Ok(Some(DeadLetters::open(settings, spec.id.clone(), producer, &*admin).await?))
}
