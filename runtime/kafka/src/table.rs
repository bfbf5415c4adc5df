//! Compacted topics as tables.
//!
//! Duty: create or check the topic, follow it from its beginning, write to it. A follower has a client
//! and a thread of its own, without a group.
//!
//! Invariant: `CaughtUp` comes after everything that a read-committed reader could see when following
//! began. Ends are asked for at the start; where the last record lies before the end (markers, gaps of
//! compaction) it is the broker's word that a partition's end was reached, which comes half a second
//! later.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use tokio::sync::mpsc;
use towpath_core::ports::{
    ClientOverrides, CompactedTable, Entry, NewTopic, OutHeaders, OutRecord, PortError,
    PortErrorKind, PortResult, TableEvent, TableSpec,
};
use towpath_sdk::record::{Topic, TopicPartition};

use crate::admin::{KafkaAdmin, list_offsets};
use crate::bell::Bell;
use crate::consumer::NativeConsumer;
use crate::context::{Context, Scope};
use crate::error;
use crate::native::{self, Fetched, PartitionReply, Queue, Records, TopicHandle, Which};
use crate::options::{ClientKind, KafkaOptions};
use crate::producer::{KafkaProducer, Running, no_queue, no_thread};

/// Events on their way to a follower.
const CHANNEL: usize = 16;
/// Messages taken at once.
const TAKE: usize = 1000;
/// librdkafka's name for the beginning of a partition.
const BEGINNING: i64 = -2;
/// How long a follower waits for the first answer of a broker.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// How often a troubled follower looks whether brokers answer again.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// The producer that all tables of a cluster write with. One that has failed for good, for want of a
/// permission above all, is replaced at the next write: it would never learn that this was granted.
/// What it can't write in time it gives up, since a person waits for most of it.
pub(crate) struct TableProducer {
    options: Arc<KafkaOptions>,
    producer: tokio::sync::Mutex<Option<Arc<KafkaProducer>>>,
}

impl TableProducer {
    pub(crate) fn new(options: Arc<KafkaOptions>) -> Self {
        Self { options, producer: tokio::sync::Mutex::default() }
    }

    /// The producer that works now.
    async fn get(&self) -> PortResult<Arc<KafkaProducer>> {
        let mut kept = self.producer.lock().await;
        if let Some(producer) = kept.as_ref().filter(|p| p.client().fatal().is_none()) {
            return Ok(Arc::clone(producer));
        }
        let timeout = self.options.request_timeout.as_millis().to_string();
        let settings = self.options.client(
            ClientKind::Producer,
            "towpath-tables",
            &ClientOverrides::new(),
            &[
                ("enable.idempotence", "true"),
                ("acks", "all"),
                ("delivery.timeout.ms", &timeout),
                ("linger.ms", "0"),
            ],
        )?;
        let running = Running::start(&settings, self.options.brokers())?;
        Ok(Arc::clone(kept.insert(Arc::new(KafkaProducer::new(running)))))
    }
}

/// A compacted topic.
pub(crate) struct KafkaTable {
    topic: Topic,
    partitions: i32,
    client_id: String,
    producer: Arc<TableProducer>,
    options: Arc<KafkaOptions>,
}

impl KafkaTable {
    /// Creates the topic if it is not there, and refuses one that is not fit.
    pub(crate) async fn open(
        spec: TableSpec,
        admin: &KafkaAdmin,
        producer: Arc<TableProducer>,
        options: Arc<KafkaOptions>,
    ) -> PortResult<Self> {
        let partitions = ensure(&spec, admin, options.request_timeout).await?;
        Ok(Self {
            topic: Topic::from(spec.topic.as_str()),
            partitions,
            client_id: spec.client_id,
            producer,
            options,
        })
    }

    async fn write(&self, entries: Vec<Entry>) -> PortResult<()> {
        let record = |entry: Entry| OutRecord {
            topic: Arc::clone(&self.topic),
            partition: None,
            key: Some(entry.key),
            value: entry.value,
            timestamp: None,
            headers: OutHeaders::default(),
        };
        let batch = Arc::new(entries.into_iter().map(record).collect());
        let producer = self.producer.get().await?;
        let receipt = producer.send_batch(batch).await?;
        match receipt.await.into_iter().next() {
            None => Ok(()),
            Some(failure) => Err(producer.client().context().explain_unknown(failure.error)),
        }
    }

    fn follower(&self) -> PortResult<mpsc::Receiver<TableEvent>> {
        let settings = self.options.client(
            ClientKind::Consumer,
            &self.client_id,
            &ClientOverrides::new(),
            &[("enable.partition.eof", "true"), ("isolation.level", "read_committed")],
        )?;
        let settings = settings.without_group();
        let context = Context::new(&self.client_id, self.options.brokers());
        let native = NativeConsumer::from_config_and_context(&settings.native(), context)
            .map_err(|e| error::from_kafka(&e))?;
        let native = Arc::new(native);
        let bell = Arc::new(Bell::default());
        let mut events = Queue::main(Arc::clone(&native) as _).ok_or_else(no_queue)?;
        let mut data = Queue::new(Arc::clone(&native) as _).ok_or_else(no_queue)?;
        events.ring(Arc::clone(&bell));
        data.ring(Arc::clone(&bell));
        let handle =
            TopicHandle::new(Arc::clone(&native) as _, &self.topic).map_err(error::from_code)?;
        let (out, entries) = mpsc::channel(CHANNEL);
        let follower = Follower {
            data,
            events,
            handle,
            out,
            ends: (0..self.partitions).map(|p| (p, i64::MAX)).collect(),
            topic: Arc::clone(&self.topic),
            failing: HashSet::new(),
            bell,
            native,
        };
        std::thread::Builder::new()
            .name(format!("kafka-{}", self.client_id))
            .spawn(move || follower.run())
            .map_err(no_thread)?;
        Ok(entries)
    }
}

impl CompactedTable for KafkaTable {
    fn follow(&self) -> BoxFuture<'_, PortResult<mpsc::Receiver<TableEvent>>> {
        Box::pin(std::future::ready(self.follower()))
    }

    fn put(&self, entries: Vec<Entry>) -> BoxFuture<'_, PortResult<()>> {
        Box::pin(self.write(entries))
    }

    fn topic(&self) -> &str {
        &self.topic
    }
}

/// Sees to it that the topic is there and compacted. Returns its partitions.
async fn ensure(spec: &TableSpec, admin: &KafkaAdmin, patience: Duration) -> PortResult<i32> {
    let name = &spec.topic;
    let partitions = match admin.describe(name).await? {
        Some(found) => {
            check_policy(spec, admin).await?;
            found.partitions
        }
        None => {
            let mut config = spec.config.clone();
            config.insert("cleanup.policy".to_owned(), "compact".to_owned());
            let topic = NewTopic {
                name: name.clone(),
                partitions: spec.partitions,
                replication_factor: spec.replication_factor,
                config,
            };
            if admin.create(topic).await? {
                tracing::info!(topic = %name, "created the {} topic", spec.purpose);
            } else {
                check_policy(spec, admin).await?;
            }
            appeared(name, admin, patience).await?
        }
    };
    if spec.partitions == Some(1) && partitions != 1 {
        let text = format!(
            "the {} topic {name} must have one partition, so that its records have one order, but \
             has {partitions}; use another topic, or recreate this one with one partition",
            spec.purpose
        );
        return Err(PortError::new(PortErrorKind::Invalid, text));
    }
    Ok(partitions)
}

/// A created topic is known to every broker only after a moment.
async fn appeared(name: &str, admin: &KafkaAdmin, patience: Duration) -> PortResult<i32> {
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        if let Some(found) = admin.describe(name).await? {
            return Ok(found.partitions);
        }
        if tokio::time::Instant::now() > deadline {
            let text = format!("topic {name} was created but no broker shows it yet; try again");
            return Err(PortError::new(PortErrorKind::Degraded, text));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn check_policy(spec: &TableSpec, admin: &KafkaAdmin) -> PortResult<()> {
    let (name, what) = (spec.topic.clone(), "failed to read the topic's settings".to_owned());
    let settings = admin
        .ask(what, move |client, timeout| native::topic_settings(&*client.native, &name, timeout))
        .await;
    match settings {
        Ok(settings) => policy(spec, &settings),
        // As Connect does: who may not look is believed, with a warning.
        Err(error) if error.kind == PortErrorKind::Forbidden => {
            tracing::warn!(
                topic = %spec.topic,
                "not allowed to see whether the {} topic is compacted (DescribeConfigs on the topic \
                 is missing); make sure that its cleanup.policy is compact",
                spec.purpose
            );
            Ok(())
        }
        Err(error) => Err(error.context(format!("{} topic {}", spec.purpose, spec.topic))),
    }
}

fn policy(spec: &TableSpec, settings: &BTreeMap<String, String>) -> PortResult<()> {
    let found = settings.get("cleanup.policy").map_or("", |p| p.trim());
    if found == "compact" {
        return Ok(());
    }
    let (name, purpose) = (&spec.topic, spec.purpose);
    Err(PortError::new(
        PortErrorKind::Invalid,
        format!(
            "the {purpose} topic {name} must have cleanup.policy=compact but has \
             cleanup.policy={found}, so that the broker would delete what is still needed; run \
             `kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config \
             cleanup.policy=compact`, or set {purpose}.storage.topic to another topic"
        ),
    ))
}

/// The thread of a follower.
struct Follower {
    data: Queue,
    events: Queue,
    handle: TopicHandle,
    out: mpsc::Sender<TableEvent>,
    /// Partitions whose end was not reached yet, with that end, if it is known.
    ends: HashMap<i32, i64>,
    topic: Topic,
    /// Partitions that can't be fetched now.
    failing: HashSet<i32>,
    bell: Arc<Bell>,
    native: Arc<NativeConsumer>,
}

impl Follower {
    fn run(mut self) {
        self.bell.listen();
        let partitions: Vec<i32> = self.ends.keys().copied().collect();
        self.look_at_ends();
        for &partition in &partitions {
            if let Err(code) = self.data.start(&self.handle, partition, BEGINNING) {
                self.native.context().troubled(error::from_code(code), Scope::Data);
            }
        }
        let mut gone = self.ends.is_empty() && self.send(TableEvent::CaughtUp).is_err();
        let waker = Waker::from(Arc::clone(&self.bell));
        let out = self.out.clone();
        let mut unwanted: Pin<Box<dyn Future<Output = ()>>> = Box::pin(out.closed());
        let mut cx = TaskContext::from_waker(&waker);
        let mut fetched = Vec::new();
        while !gone && unwanted.as_mut().poll(&mut cx).is_pending() {
            self.serve_events();
            let count = self.data.fetch(TAKE, &mut fetched);
            gone = fetched.drain(..).try_for_each(|item| self.deliver(item)).is_err()
                || self.tell_trouble().is_err();
            if count == 0 && !gone {
                let troubled = self.native.context().trouble_scope().is_some();
                Bell::wait(troubled.then_some(PROBE_INTERVAL));
            }
        }
        fetched.clear();
        for partition in partitions {
            self.data.stop(&self.handle, partition);
        }
        let Self { data, events, handle, native, .. } = self;
        drop((data, events, handle));
        drop(native);
    }

    /// Finds out where partitions end now. Also makes their leaders known, which librdkafka would
    /// take a second to ask for. Should it fail, librdkafka goes on asking, and tells each end.
    fn look_at_ends(&mut self) {
        let client = &*self.native;
        let leaders = native::metadata(client, &Which::Topic(&self.handle), FIRST_LOOK);
        let places: Vec<TopicPartition> = self
            .ends
            .keys()
            .map(|&partition| TopicPartition::new(Arc::clone(&self.topic), partition))
            .collect();
        let listed = leaders.map_err(error::from_code).and_then(|_| {
            let list = |ends| {
                list_offsets(client, &places, ends, FIRST_LOOK)
                    .map_err(|e| error::with_text(e.code, &e.text))
            };
            Ok((list(false)?, list(true)?))
        });
        match listed {
            Ok((first, ends)) => {
                for end in ends.iter().filter(|end| end.code == 0) {
                    let begins = |low: &PartitionReply| low.partition == end.partition;
                    let empty = first
                        .iter()
                        .find(|low| begins(low))
                        .is_some_and(|low| low.code == 0 && low.offset >= end.offset);
                    if empty {
                        self.ends.remove(&end.partition);
                    } else {
                        self.ends.insert(end.partition, end.offset);
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "a follower found no ends yet"),
        }
    }

    fn serve_events(&self) {
        loop {
            if let Some(Err(KafkaError::MessageConsumptionFatal(code))) =
                self.native.poll(Duration::ZERO)
            {
                self.native.context().failed_for_good(code);
            }
            if self.events.len() == 0 {
                return;
            }
        }
    }

    /// `Err` if nobody listens any more.
    fn deliver(&mut self, item: Fetched) -> Result<(), Gone> {
        let healed = match item {
            Fetched::Records(records) => {
                let partition = records.place().map_or(-1, |(_, p)| p);
                let end = records.iter().last().map_or(-1, |record| record.offset() + 1);
                let entries = entries(&records);
                if !entries.is_empty() {
                    self.send(TableEvent::Entries(entries))?;
                }
                if self.ends.get(&partition).is_some_and(|&wanted| end >= wanted) {
                    self.reached_end(partition)?;
                }
                partition
            }
            Fetched::End { partition, .. } => {
                self.reached_end(partition)?;
                partition
            }
            Fetched::Error { topic, partition, code, text } => {
                self.failing.insert(partition);
                let error = error::with_text(code, &text)
                    .context(format!("failed to read {topic}-{partition}"));
                self.native.context().troubled(error, Scope::Data);
                return Ok(());
            }
        };
        if self.failing.remove(&healed) && self.failing.is_empty() {
            self.native.context().healed(Scope::Data);
        }
        Ok(())
    }

    fn reached_end(&mut self, partition: i32) -> Result<(), Gone> {
        if self.ends.remove(&partition).is_some() && self.ends.is_empty() {
            self.send(TableEvent::CaughtUp)?;
        }
        Ok(())
    }

    fn tell_trouble(&self) -> Result<(), Gone> {
        let context = self.native.context();
        if context.trouble_scope() == Some(Scope::Brokers) {
            context.probed(native::probe(&*self.native, PROBE_INTERVAL));
        }
        match context.trouble_change() {
            Some(trouble) => self.send(TableEvent::Trouble(trouble)),
            None => Ok(()),
        }
    }

    fn send(&self, event: TableEvent) -> Result<(), Gone> {
        self.out.blocking_send(event).map_err(|_closed| Gone)
    }
}

/// Nobody follows any more.
struct Gone;

/// Copies records: each by itself, since a reader keeps some of them for long.
fn entries(records: &Records) -> Vec<Entry> {
    records
        .iter()
        .filter_map(|record| {
            // A table has no place for a record without a key.
            let key = Bytes::copy_from_slice(record.key()?);
            Some(Entry { key, value: record.value().map(Bytes::copy_from_slice) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_compacted_topic_is_fit() {
        let spec = TableSpec {
            topic: "c".into(),
            partitions: Some(1),
            replication_factor: None,
            config: BTreeMap::new(),
            purpose: "config",
            client_id: "c".into(),
        };
        let check = |value: &str| {
            policy(&spec, &BTreeMap::from([("cleanup.policy".to_owned(), value.to_owned())]))
        };
        assert!(check("compact").is_ok());
        for policy in ["delete", "compact,delete", ""] {
            let error = check(policy).unwrap_err();
            assert_eq!(error.kind, PortErrorKind::Invalid);
            assert!(error.text.contains(&format!("cleanup.policy={policy}")), "{error}");
            assert!(error.text.contains("--add-config"), "{error}");
        }
    }
}
