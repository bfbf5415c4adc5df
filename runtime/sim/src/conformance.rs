//! What the ports promise, as checks that run on any cluster.
//!
//! Duty: one suite for the simulation, the embedded log and real Kafka. A check makes topics and groups
//! of its own from [`Bench::name`], so that checks may share a cluster and run again on it.
//!
//! Each check returns why it failed and never panics, so that its twin (a cluster that is wrong on
//! purpose, in this crate's tests) can show that it fails when it must.

mod admin;
mod consume;
mod group;
mod produce;
mod table;
mod transaction;
mod written;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use towpath_core::budget::Budget;
use towpath_core::ports::{
    Admin, ClientOverrides, Cluster, Consumer, ConsumerEvent, ConsumerSpec, NewTopic, OutHeaders,
    OutRecord, PortError, Producer, ProducerSpec, Subscription,
};
use towpath_sdk::record::{RawBatch, TopicPartition};
use towpath_sdk::sink::Epoch;

/// How long a check may take, on a real cluster. In simulated time it costs nothing.
pub const LIMIT: Duration = Duration::from_secs(90);

/// A check by name.
#[derive(Clone, Copy)]
pub struct Check {
    /// What is checked.
    pub name: &'static str,
    run: fn(Bench) -> BoxFuture<'static, Result<(), Failed>>,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Why a check failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed(pub String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

impl From<PortError> for Failed {
    fn from(error: PortError) -> Self {
        Self(format!("{:?}: {error}", error.kind))
    }
}

type Outcome = Result<(), Failed>;

/// Fails a check unless a condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err($crate::conformance::Failed(format!($($text)+)));
        }
    };
}
pub(crate) use ensure;

/// All checks.
#[must_use]
pub fn all() -> Vec<Check> {
    macro_rules! checks {
        ($($module:ident :: $name:ident),+ $(,)?) => {
            vec![$(Check {
                name: stringify!($name),
                run: |bench| Box::pin($module::$name(bench)),
            }),+]
        };
    }
    checks![
        produce::batches_arrive_in_call_order,
        produce::null_is_not_empty_and_headers_stay,
        produce::keys_go_where_java_puts_them,
        produce::a_record_too_large_fails_alone,
        consume::a_batch_says_where_it_ends,
        consume::a_commit_is_where_the_next_consumer_starts,
        consume::nothing_old_comes_after_a_move,
        consume::a_full_budget_stops_fetching_and_nothing_else,
        consume::a_record_larger_than_the_budget_passes,
        consume::dropping_next_loses_nothing,
        consume::the_budget_is_held_by_slices,
        group::a_second_member_takes_over,
        group::nothing_comes_after_revocation,
        group::a_pattern_finds_later_topics,
        transaction::a_commit_shows_all_and_an_abort_nothing,
        transaction::a_newer_producer_fences_the_older,
        transaction::the_admin_fences,
        table::a_table_is_read_from_its_beginning,
        table::a_table_shows_transactions_when_they_commit,
        table::an_uncompacted_topic_is_refused,
        admin::topics_are_created_once,
        admin::group_offsets_are_altered_and_deleted,
        admin::a_group_with_members_is_left_alone,
        admin::the_members_of_a_group_are_named,
        admin::a_second_worker_is_refused,
        written::what_was_written_is_read_to_its_end,
    ]
}

impl Check {
    /// Runs the check on `cluster`; all that it makes there begins with `prefix`.
    ///
    /// # Errors
    /// With what was not as promised.
    pub async fn run(&self, cluster: Arc<dyn Cluster>, prefix: &str) -> Outcome {
        let bench = Bench { cluster, prefix: format!("{prefix}-{}", self.name.replace('_', "-")) };
        let run = tokio::time::timeout(LIMIT, (self.run)(bench)).await;
        run.unwrap_or_else(|_| Err(Failed(format!("not done after {LIMIT:?}"))))
            .map_err(|failed| Failed(format!("{}: {failed}", self.name)))
    }
}

/// Runs every check, one after the other.
///
/// # Errors
/// With every check that failed.
pub async fn run_all(cluster: &Arc<dyn Cluster>, prefix: &str) -> Result<(), Vec<Failed>> {
    let mut failed = Vec::new();
    for check in all() {
        if let Err(why) = check.run(Arc::clone(cluster), prefix).await {
            failed.push(why);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed) }
}

/// What checks are made of.
pub(crate) struct Bench {
    cluster: Arc<dyn Cluster>,
    prefix: String,
}

impl Bench {
    /// A name of this check's own.
    fn name(&self, of: &str) -> String {
        format!("{}-{of}", self.prefix)
    }

    async fn admin(&self) -> Result<Arc<dyn Admin>, Failed> {
        Ok(self.cluster.admin(ClientOverrides::new()).await?)
    }

    /// A new topic.
    async fn topic(&self, of: &str, partitions: i32) -> Result<String, Failed> {
        let name = self.name(of);
        let topic = NewTopic {
            name: name.clone(),
            partitions: Some(partitions),
            replication_factor: Some(1),
            config: std::collections::BTreeMap::new(),
        };
        let admin = self.admin().await?;
        ensure!(admin.create_topic(topic).await?, "the topic {name} is not new");
        // A broker knows of it only after a moment.
        while admin.describe_topic(&name).await?.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(name)
    }

    async fn producer(&self) -> Result<Arc<dyn Producer>, Failed> {
        Ok(self.cluster.producer(ProducerSpec::default()).await?)
    }

    /// A consumer of `topics` with a budget of its own.
    async fn consumer(&self, group: &str, topics: &[&str]) -> Result<Reader, Failed> {
        self.consumer_with(group, topics, Budget::new(16 << 20)).await
    }

    async fn consumer_with(
        &self,
        group: &str,
        topics: &[&str],
        budget: Budget,
    ) -> Result<Reader, Failed> {
        let topics = topics.iter().map(|t| (*t).to_owned()).collect();
        self.subscriber(group, Subscription::Topics(topics), budget).await
    }

    async fn subscriber(
        &self,
        group: &str,
        subscription: Subscription,
        budget: Budget,
    ) -> Result<Reader, Failed> {
        let mut overrides = ClientOverrides::new();
        overrides.insert("isolation.level".to_owned(), "read_committed".to_owned());
        let spec = ConsumerSpec {
            group_id: self.name(group),
            client_id: self.name("client"),
            subscription,
            overrides,
            budget,
        };
        Ok(Reader { consumer: self.cluster.consumer(spec).await? })
    }
}

/// A consumer with a few words around it.
pub(crate) struct Reader {
    consumer: Box<dyn Consumer>,
}

impl Reader {
    /// The next event that is no trouble.
    async fn next(&mut self) -> Result<ConsumerEvent, Failed> {
        loop {
            match self.consumer.next().await? {
                ConsumerEvent::Trouble(_) => {}
                event => return Ok(event),
            }
        }
    }

    /// Waits until `count` partitions are assigned in all, starting each at its committed offset.
    async fn assigned(&mut self, count: usize) -> Result<(Vec<TopicPartition>, Epoch), Failed> {
        let mut all = Vec::new();
        loop {
            match self.next().await? {
                ConsumerEvent::Assigned { partitions, epoch } => {
                    let at = partitions.iter().map(|p| (p.clone(), None)).collect();
                    self.consumer.start(at).await?;
                    all.extend(partitions);
                    if all.len() >= count {
                        return Ok((all, epoch));
                    }
                }
                ConsumerEvent::Batch(_) => {}
                other => return Err(Failed(format!("{other:?} instead of an assignment"))),
            }
        }
    }

    /// The next batch.
    async fn batch(&mut self) -> Result<RawBatch, Failed> {
        match self.next().await? {
            ConsumerEvent::Batch(batch) => Ok(batch),
            other => Err(Failed(format!("{other:?} instead of a batch"))),
        }
    }

    /// Batches until `count` rows have come.
    async fn rows(&mut self, count: usize) -> Result<Vec<RawBatch>, Failed> {
        let mut batches = Vec::new();
        let mut seen = 0;
        while seen < count {
            let batch = self.batch().await?;
            seen += batch.rows.len();
            batches.push(batch);
        }
        Ok(batches)
    }

    /// Whether nothing comes for a while.
    async fn quiet(&mut self) -> Result<(), Failed> {
        match tokio::time::timeout(QUIET, self.next()).await {
            Err(_elapsed) => Ok(()),
            Ok(Ok(ConsumerEvent::Batch(batch))) if batch.rows.is_empty() => Ok(()),
            Ok(Ok(event)) => Err(Failed(format!("{event:?} came where nothing should"))),
            Ok(Err(failed)) => Err(failed),
        }
    }
}

/// How long "nothing comes" is watched.
const QUIET: Duration = Duration::from_millis(1500);

/// A record of `topic` with a text value.
fn record(topic: &str, partition: Option<i32>, key: Option<&str>, value: &str) -> OutRecord {
    OutRecord {
        topic: topic.into(),
        partition,
        key: key.map(|k| Bytes::copy_from_slice(k.as_bytes())),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        timestamp: None,
        headers: OutHeaders::default(),
    }
}

/// Sends `batch` and waits until the broker has it.
async fn produce(producer: &dyn Producer, batch: Vec<OutRecord>) -> Outcome {
    let failures = producer.send(batch.into()).await?.await;
    ensure!(failures.is_empty(), "records were refused: {failures:?}");
    Ok(())
}

/// The values of all rows as text.
fn values(batches: &[RawBatch]) -> Vec<String> {
    let text = |batch: &RawBatch| {
        let value = |slot| batch.slice(slot).unwrap_or_default();
        let texts =
            batch.rows.iter().map(|row| String::from_utf8_lossy(&value(&row.value)).into_owned());
        texts.collect::<Vec<_>>()
    };
    batches.iter().flat_map(text).collect()
}
