//! Producing.
//!
//! Duty: enqueue whole batches, wait for room without polling, and answer per batch. One thread per
//! producer serves its events; it sleeps until there are any, and it alone destroys the client.
//!
//! Invariants:
//! - records of one partition are enqueued in call order: batches do not interleave (one sender at a
//!   time), and librdkafka keeps the order over retries;
//! - no more is handed to librdkafka than it sends at once ([`crate::wave`]);
//! - dropping a producer never blocks the dropper: what is still queued is given up, its receipts
//!   resolve as unknown.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::producer::{BaseProducer, Producer as _, PurgeConfig};
use towpath_core::ports::{
    OutBatch, OutRecord, PortError, PortErrorKind, PortResult, Producer, Receipt,
};
use towpath_sdk::record::Topic;

use crate::bell::Bell;
use crate::context::{Context, Scope};
use crate::error;
use crate::native::{self, Enqueuing, Queue, TopicHandle, failures};
use crate::options::Settings;
use crate::wave::Wave;

/// Topic handles kept per producer before all are given back: names may be without end.
const MAX_TOPICS: usize = 1024;
/// How often a troubled client looks whether brokers answer again.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// How long after its last sign a trouble of a topic is taken for over.
const QUIET: Duration = Duration::from_secs(10);

/// A client of librdkafka's producing kind with the thread that serves it. Also what administration
/// runs on.
pub(crate) struct Client {
    pub(crate) native: Arc<BaseProducer<Context>>,
    topics: Mutex<HashMap<Topic, Arc<TopicHandle>>>,
}

/// Owns a [`Client`]: the thread ends when it is dropped.
pub(crate) struct Running {
    pub(crate) client: Arc<Client>,
    bell: Arc<Bell>,
    stopping: Arc<AtomicBool>,
}

impl Running {
    /// Starts a client.
    pub(crate) fn start(settings: &Settings, brokers: &str) -> PortResult<Self> {
        let client_id = settings.get("client.id").unwrap_or("towpath");
        let context = Context::new(client_id, brokers);
        let native = BaseProducer::from_config_and_context(&settings.native(), context)
            .map_err(|e| error::from_kafka(&e))?;
        let native = Arc::new(native);
        let client = Arc::new(Client { native: Arc::clone(&native), topics: Mutex::default() });
        let bell = Arc::new(Bell::default());
        let stopping = Arc::new(AtomicBool::new(false));
        let mut events = Queue::main(native).ok_or_else(no_queue)?;
        events.ring(Arc::clone(&bell));
        let (serving, heard, stop) =
            (Arc::clone(&client), Arc::clone(&bell), Arc::clone(&stopping));
        std::thread::Builder::new()
            .name(format!("kafka-{client_id}"))
            .spawn(move || {
                heard.listen();
                serve(&serving, &events, &stop);
                // The events' queue goes before the client, and the client goes here.
                drop(events);
                drop(serving);
            })
            .map_err(no_thread)?;
        Ok(Self { client, bell, stopping })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.bell.ring();
    }
}

pub(crate) fn no_queue() -> PortError {
    PortError::new(PortErrorKind::Internal, "librdkafka gave no queue for a client's events")
}

pub(crate) fn no_thread(error: std::io::Error) -> PortError {
    let text = format!("the system gives no thread for a kafka client: {error}; raise its limit");
    PortError::new(PortErrorKind::Internal, text)
}

fn serve(client: &Arc<Client>, events: &Queue, stopping: &AtomicBool) {
    let context = client.context();
    while !stopping.load(Ordering::SeqCst) {
        while events.len() > 0 {
            client.native.poll(Duration::ZERO);
        }
        context.deliveries.reported();
        let timeout = match context.trouble_scope() {
            Some(scope) => {
                look_again(client, scope);
                Some(PROBE_INTERVAL)
            }
            None => None,
        };
        Bell::wait(timeout);
    }
    // What is still queued is given up, so that nobody waits for it; then the last one turns off the
    // light, which takes a while and must not happen to whoever dropped the producer.
    client.native.purge(PurgeConfig::default().queue().inflight());
    while Arc::strong_count(client) > 1 {
        client.native.poll(Duration::from_millis(20));
        context.deliveries.reported();
    }
}

/// Looks whether what was wrong is over. Reports wait meanwhile, but in trouble there are few.
fn look_again(client: &Client, scope: Scope) {
    let context = client.context();
    match scope {
        Scope::Brokers => context.probed(native::probe(&*client.native, PROBE_INTERVAL)),
        // What else was wrong showed in the failures of records.
        other => context.healed_after(other, QUIET),
    }
}

impl Client {
    /// What librdkafka said by the way.
    pub(crate) fn context(&self) -> &Arc<Context> {
        self.native.context()
    }

    /// The error that ended the client for good, if any.
    pub(crate) fn fatal(&self) -> Option<PortError> {
        let (code, text) = self.native.client().fatal_error()?;
        Some(error::with_text(code as i32, &text))
    }

    fn topic(&self, name: &Topic) -> Result<Arc<TopicHandle>, i32> {
        let mut topics = self.topics.lock();
        if let Some(handle) = topics.get(name) {
            return Ok(Arc::clone(handle));
        }
        if topics.len() >= MAX_TOPICS {
            topics.clear();
        }
        let owner: Arc<BaseProducer<Context>> = Arc::clone(&self.native);
        let handle = Arc::new(TopicHandle::new(owner, name)?);
        topics.insert(Arc::clone(name), Arc::clone(&handle));
        Ok(handle)
    }

    /// Enqueues a batch once `turn` has come.
    pub(crate) async fn send(
        &self,
        batch: OutBatch,
        turn: impl Future<Output = ()> + Send,
    ) -> PortResult<Receipt> {
        if let Some(fatal) = self.fatal() {
            return Err(fatal);
        }
        let deliveries = &self.context().deliveries;
        let len = batch.len();
        let (mut enqueuing, answered) = deliveries.open(Arc::clone(&batch));
        turn.await;
        let mut last: Option<(Topic, Arc<TopicHandle>)> = None;
        for (index, record) in batch.iter().enumerate() {
            let handle = match &last {
                Some((name, handle)) if *name == record.topic => Ok(Arc::clone(handle)),
                _ => self.topic(&record.topic),
            };
            match handle {
                Ok(handle) => {
                    self.enqueue(&mut enqueuing, &handle, index, record).await?;
                    last = Some((Arc::clone(&record.topic), handle));
                }
                Err(code) => enqueuing.refused(index, refusal(code, record)),
            }
        }
        drop(enqueuing);
        Ok(Box::pin(failures(answered, len)))
    }

    async fn enqueue(
        &self,
        enqueuing: &mut Enqueuing<'_>,
        topic: &TopicHandle,
        index: usize,
        record: &OutRecord,
    ) -> PortResult<()> {
        let mut outcome = enqueuing.produce(topic, index);
        if outcome == Err(Code::QueueFull as i32) {
            let attempt = || match enqueuing.produce(topic, index) {
                Err(code) if code == Code::QueueFull as i32 => None,
                other => Some(other),
            };
            outcome = self.context().deliveries.wait_until(attempt).await;
        }
        match outcome {
            Ok(()) => {}
            Err(code) if ENDS_PRODUCER.iter().any(|&c| c as i32 == code) => {
                return Err(self.fatal().unwrap_or_else(|| error::from_code(code)));
            }
            Err(code) => enqueuing.refused(index, refusal(code, record)),
        }
        Ok(())
    }
}

/// Errors of enqueuing that concern the producer, not the record.
const ENDS_PRODUCER: &[Code] = &[Code::Fatal, Code::Fenced, Code::State, Code::BrokerDestroy];

fn refusal(code: i32, record: &OutRecord) -> PortError {
    if code == Code::BadMessage as i32 {
        let text = "a header's name contains a NUL, which can't be sent";
        return PortError::new(PortErrorKind::Invalid, text);
    }
    error::from_code(code).context(format!("topic {}", record.topic))
}

/// An idempotent producer.
pub(crate) struct KafkaProducer {
    running: Running,
    /// One batch at a time, so that those of one partition do not interleave.
    turn: tokio::sync::Mutex<Wave>,
}

impl KafkaProducer {
    pub(crate) fn new(running: Running) -> Self {
        Self { running, turn: tokio::sync::Mutex::default() }
    }

    pub(crate) fn client(&self) -> &Arc<Client> {
        &self.running.client
    }

    pub(crate) async fn send_batch(&self, batch: OutBatch) -> PortResult<Receipt> {
        let (records, bytes) = (batch.len(), batch.iter().map(OutRecord::size).sum());
        let mut wave = self.turn.lock().await;
        let deliveries = &self.client().context().deliveries;
        let partitions = deliveries.partitions();
        let turn = async {
            if !wave.takes(records, bytes, partitions) {
                deliveries.wait_below(wave.answered_below(partitions)).await;
                *wave = Wave::default();
            } else if deliveries.in_flight() == 0 {
                *wave = Wave::default();
            }
            wave.add(records, bytes);
        };
        self.running.client.send(batch, turn).await
    }
}

impl Producer for KafkaProducer {
    fn send(&self, batch: OutBatch) -> BoxFuture<'_, PortResult<Receipt>> {
        Box::pin(self.send_batch(batch))
    }

    fn trouble(&self) -> Option<PortError> {
        self.client().context().trouble()
    }
}
