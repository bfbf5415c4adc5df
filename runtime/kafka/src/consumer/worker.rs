//! The thread of a consumer.
//!
//! Duty: serve the client's events, carry out what the engine commands, deliver batches. It waits at
//! one place, its bell, which whatever it waits for rings.
//!
//! Records and events come by separate queues: a full budget leaves records where they are while
//! rebalances, commits and heartbeats go on, however long it lasts. Partitions are assigned to the
//! client at once, but paused, so that the group never waits for the engine to open them; `start`
//! seeks and resumes. That is why the offset given on assignment never counts.
//!
//! Where a partition goes on is kept here, not in librdkafka: on every rebalance librdkafka pauses all
//! partitions, drops what it has fetched, and resumes behind what it believes was consumed, which
//! counts an end-of-partition as a message (2.12.1) and would lose the next record. So all started
//! partitions are sought anew after each rebalance.
//!
//! Invariants:
//! - a partition delivers only between its start and its halt, revocation or loss;
//! - partitions are given up only after the engine's word (or its time is over) and after every commit
//!   under way has its answer, since librdkafka may hold a commit back and send it in the next
//!   generation;
//! - a commit for a partition that is not, or no longer, assigned is refused here.

mod rebalance;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use towpath_core::ports::{CommitOutcome, ConsumerEvent, PortError, PortErrorKind, PortResult};
use towpath_sdk::record::{Topic, TopicPartition};
use towpath_sdk::sink::Epoch;

use rebalance::Revocation;

use super::fetch::{Backlog, Front, empty};
use super::{CHANNEL, Command, Item, NativeConsumer, Shared, Start};
use crate::bell::Bell;
use crate::context::{Context, Rebalance, Scope};
use crate::error;
use crate::native::{self, CommitReply, Queue, TopicHandle, Which};
use crate::producer::{no_queue, no_thread};

/// How long the thread sleeps at most, or a part of `max.poll.interval.ms` if that is shorter:
/// librdkafka must see it alive more often than that.
const NAP: Duration = Duration::from_secs(5);
/// How often a troubled client looks whether it is over.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a seek may take, which needs no broker.
const SEEK_TIMEOUT: Duration = Duration::from_secs(5);

/// A partition of this member.
struct Slot {
    place: TopicPartition,
    epoch: Epoch,
    /// The start that it delivers for.
    run: Option<u64>,
    /// Behind what was delivered: where it goes on.
    end: i64,
    /// Whether anything was delivered since the start.
    delivered: bool,
    /// Whether fetching it fails.
    failing: bool,
}

struct Worker {
    native: Arc<NativeConsumer>,
    shared: Arc<Shared>,
    events: Queue,
    data: Queue,
    replies: Queue,
    out: mpsc::Sender<Item>,
    outbox: VecDeque<Item>,
    slots: HashMap<Topic, HashMap<i32, Slot>>,
    backlog: Backlog,
    revocation: Option<Revocation>,
    commits: HashMap<usize, oneshot::Sender<CommitOutcome>>,
    last_commit: usize,
    last_epoch: u64,
    subscribed: Arc<Mutex<Vec<String>>>,
    waker: Waker,
    runtime: tokio::runtime::Handle,
    probing: Arc<Mutex<Option<Instant>>>,
    patience: Duration,
    nap: Duration,
    /// What makes it impossible to go on.
    broken: Option<PortError>,
}

/// Starts the thread. Returns what it shares, what it delivers, and what tells its end.
pub(super) fn spawn(
    start: &Start,
) -> PortResult<(Arc<Shared>, mpsc::Receiver<Item>, oneshot::Receiver<()>)> {
    let client_id = start.settings.get("client.id").unwrap_or("towpath").to_owned();
    let context = Context::new(&client_id, &start.brokers);
    let native = NativeConsumer::from_config_and_context(&start.settings.native(), context)
        .map_err(|e| error::from_kafka(&e))?;
    let native = Arc::new(native);
    let bell = Arc::new(Bell::default());
    let queue = |queue: Option<Queue>| {
        let mut queue = queue.ok_or_else(no_queue)?;
        queue.ring(Arc::clone(&bell));
        PortResult::Ok(queue)
    };
    let events = queue(Queue::consumer(Arc::clone(&native) as _))?;
    let data = queue(Queue::new(Arc::clone(&native) as _))?;
    let replies = queue(Queue::new(Arc::clone(&native) as _))?;
    let shared = Arc::new(Shared {
        native: Arc::clone(&native),
        commands: Mutex::default(),
        bell: Arc::clone(&bell),
        closing: false.into(),
    });
    let (out, items) = mpsc::channel(CHANNEL);
    let (end, ended) = oneshot::channel();
    let poll_interval = start.settings.millis("max.poll.interval.ms", Duration::from_secs(300));
    let worker = Worker {
        native,
        shared: Arc::clone(&shared),
        events,
        data,
        replies,
        out,
        outbox: VecDeque::new(),
        slots: HashMap::new(),
        backlog: Backlog::new(start.budget.clone()),
        revocation: None,
        commits: HashMap::new(),
        last_commit: 0,
        last_epoch: 0,
        subscribed: Arc::default(),
        waker: Waker::from(bell),
        runtime: tokio::runtime::Handle::current(),
        probing: Arc::default(),
        patience: poll_interval.mul_f64(0.8),
        nap: NAP.min(poll_interval / 4),
        broken: None,
    };
    std::thread::Builder::new()
        .name(format!("kafka-{client_id}"))
        .spawn(move || {
            worker.run();
            // Dropping it says it.
            drop(end);
        })
        .map_err(no_thread)?;
    Ok((shared, items, ended))
}

impl Worker {
    fn run(mut self) {
        self.shared.bell.listen();
        let failed = loop {
            if self.shared.closing.load(Ordering::SeqCst) || self.out.is_closed() {
                break None;
            }
            if let Err(error) = self.serve() {
                break Some(error);
            }
            self.flush();
            if !self.deliver() {
                let troubled = self.native.context().trouble_scope().is_some();
                Bell::wait(Some(if troubled { PROBE_INTERVAL.min(self.nap) } else { self.nap }));
            }
        };
        self.end(failed);
    }

    /// Everything but records.
    fn serve(&mut self) -> PortResult<()> {
        self.poll_events()?;
        while let Some(rebalance) = self.native.context().next_rebalance() {
            match rebalance {
                Rebalance::Assign(places) => self.assigned(places),
                Rebalance::Revoke(places) => self.revoking(places),
            }
        }
        loop {
            let Some(command) = self.shared.commands.lock().pop_front() else { break };
            self.obey(command);
        }
        while let Some(reply) = self.replies.commit_reply() {
            self.committed(reply);
        }
        self.give_up();
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        self.probe();
        if let Some(trouble) = self.native.context().trouble_change() {
            // Only the latest counts.
            self.outbox.retain(|i| !matches!(i, Item::Event(ConsumerEvent::Trouble(_))));
            self.outbox.push_back(Item::Event(ConsumerEvent::Trouble(trouble)));
        }
        Ok(())
    }

    fn poll_events(&mut self) -> PortResult<()> {
        loop {
            match self.native.poll(Duration::ZERO) {
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    self.native.context().failed_for_good(code);
                }
                // Errors went to the context too, with a better text.
                Some(Err(_)) | None => {}
                Some(Ok(message)) => {
                    use rdkafka::Message as _;
                    let text = format!(
                        "a record of {}-{} came by the queue of events",
                        message.topic(),
                        message.partition()
                    );
                    return Err(PortError::new(PortErrorKind::Internal, text));
                }
            }
            if let Some(error) = self.native.context().fatal() {
                return Err(error);
            }
            if self.events.len() == 0 {
                return Ok(());
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Start { at, run, reply } => {
                let outcome = self.start(&at, run);
                // The caller may have gone.
                drop(reply.send(outcome));
            }
            Command::Halt(places) => self.halt(&places),
            Command::Commit { offsets, reply } => self.commit(&offsets, reply),
            Command::Subscribe(topics) => self.subscribe(topics),
        }
    }

    fn subscribe(&mut self, topics: Vec<String>) {
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        if names.is_empty() {
            self.native.unsubscribe();
        } else if let Err(error) = self.native.subscribe(&names) {
            let error = error::from_kafka(&error).context("failed to subscribe");
            self.native.context().troubled(error, Scope::Topics);
        }
        *self.subscribed.lock() = topics;
    }

    fn start(&mut self, at: &[(TopicPartition, i64)], run: u64) -> PortResult<()> {
        for (place, _) in at {
            let slot = self.slot(place).ok_or_else(|| not_assigned(place))?;
            slot.run = None;
        }
        self.drop_backlog_of_unstarted();
        self.seek(at)?;
        let places = list(at.iter().map(|(place, _)| (place, Offset::Invalid)));
        self.native
            .resume(&places)
            .map_err(|e| error::from_kafka(&e).context("failed to start partitions"))?;
        for (place, offset) in at {
            if let Some(slot) = self.slot(place) {
                slot.run = Some(run);
                slot.end = *offset;
                slot.delivered = false;
            }
        }
        Ok(())
    }

    fn halt(&mut self, places: &[TopicPartition]) {
        let mut known = Vec::new();
        for place in places {
            if let Some(slot) = self.slot(place) {
                slot.run = None;
                known.push(place);
            }
        }
        self.drop_backlog_of_unstarted();
        if known.is_empty() {
            return;
        }
        if let Err(error) =
            self.native.pause(&list(known.into_iter().map(|p| (p, Offset::Invalid))))
        {
            tracing::warn!(%error, "failed to pause partitions");
        }
    }

    fn commit(&mut self, offsets: &[(TopicPartition, i64)], reply: oneshot::Sender<CommitOutcome>) {
        let foreign = offsets.iter().map(|(place, _)| place).find(|place| !self.may_commit(place));
        let outcome = match foreign {
            Some(place) => Err(not_assigned(place)),
            None if offsets.is_empty() => {
                drop(reply.send(CommitOutcome::Done));
                return;
            }
            None => {
                self.last_commit += 1;
                let offsets = offsets.iter().map(|(p, o)| (p, Offset::Offset(*o)));
                self.replies.commit(&list(offsets), self.last_commit).map_err(error::from_code)
            }
        };
        match outcome {
            Ok(()) => {
                self.commits.insert(self.last_commit, reply);
            }
            Err(error) => drop(reply.send(CommitOutcome::Failed(error))),
        }
    }

    fn may_commit(&self, place: &TopicPartition) -> bool {
        let revoking = self.revocation.as_ref().is_some_and(|r| r.may_commit(place));
        revoking || self.slots.get(&place.topic).is_some_and(|s| s.contains_key(&place.partition))
    }

    fn committed(&mut self, reply: CommitReply) {
        let Some(caller) = self.commits.remove(&reply.id) else { return };
        let code = match reply.code {
            0 => reply.partitions.iter().map(|p| p.code).find(|code| *code != 0).unwrap_or(0),
            code => code,
        };
        let outcome = match code {
            0 => CommitOutcome::Done,
            code => {
                let error = self.native.context().explain_unknown(error::from_code(code));
                match error::kind(code) {
                    // A lost connection leaves it open as well.
                    PortErrorKind::Unknown | PortErrorKind::Unreachable => {
                        CommitOutcome::Unknown(error)
                    }
                    _ => CommitOutcome::Failed(error),
                }
            }
        };
        drop(caller.send(outcome));
    }

    /// Puts events into the channel as far as there is room.
    fn flush(&mut self) {
        while let Some(item) = self.outbox.pop_front() {
            if let Err(TrySendError::Full(item) | TrySendError::Closed(item)) =
                self.out.try_send(item)
            {
                self.outbox.push_front(item);
                return;
            }
        }
    }

    /// Delivers records. `false` if there is nothing to do until the bell rings.
    fn deliver(&mut self) -> bool {
        if !self.outbox.is_empty() || !self.backlog.fill(&mut self.data) {
            return false;
        }
        loop {
            let Ok(room) = self.out.try_reserve() else { return false };
            let Some(front) = self.backlog.front() else { return true };
            let (Front::Records { topic, partition, .. }
            | Front::End { topic, partition, .. }
            | Front::Error { topic, partition, .. }) = front;
            let slot = self.slots.get_mut(topic).and_then(|slots| slots.get_mut(&partition));
            let Some((slot, run)) = slot.and_then(|slot| slot.run.map(|run| (slot, run))) else {
                self.backlog.skip();
                continue;
            };
            let was_failing = slot.failing;
            match front {
                Front::Records { first, .. } if first < slot.end && slot.delivered => {
                    drop(room);
                    let place = slot.place.clone();
                    self.gone_back(place, first);
                    return true;
                }
                Front::Records { .. } => {
                    let batch = self.backlog.batch(&slot.place, slot.epoch, &self.waker);
                    let Some(batch) = batch else { return false };
                    slot.end = batch.end;
                    slot.delivered = true;
                    slot.failing = false;
                    room.send(Item::Batch(run, batch));
                }
                Front::End { offset, .. } => {
                    slot.failing = false;
                    if offset > slot.end {
                        slot.end = offset;
                        slot.delivered = true;
                        room.send(Item::Batch(run, empty(&slot.place, slot.epoch, offset)));
                    }
                    self.backlog.skip();
                }
                Front::Error { code, text, .. } => {
                    slot.failing = true;
                    let error = error::with_text(code, text)
                        .context(format!("failed to fetch {}", slot.place));
                    self.native.context().troubled(error, Scope::Data);
                    self.backlog.skip();
                }
            }
            if was_failing {
                self.see_whether_data_healed();
            }
        }
    }

    /// A partition delivers offsets from before what it delivered: it was truncated or recreated, and
    /// `auto.offset.reset` was applied. Offsets of one epoch ascend, so that is a new assignment.
    fn gone_back(&mut self, place: TopicPartition, to: i64) {
        let Some(slot) = self.slot(&place) else { return };
        tracing::warn!(%place, was = slot.end, now = to, "offsets went back: recreated or truncated?");
        self.halt(std::slice::from_ref(&place));
        self.last_epoch += 1;
        let epoch = Epoch(self.last_epoch);
        if let Some(slot) = self.slot(&place) {
            slot.epoch = epoch;
        }
        let lost = ConsumerEvent::Lost { partitions: vec![place.clone()] };
        let again = ConsumerEvent::Assigned { partitions: vec![place], epoch };
        self.outbox.extend([Item::Event(lost), Item::Event(again)]);
    }

    fn see_whether_data_healed(&self) {
        if !self.slots.values().flat_map(HashMap::values).any(|slot| slot.failing) {
            self.native.context().healed(Scope::Data);
        }
    }

    fn drop_backlog_of_unstarted(&mut self) {
        let slots = &self.slots;
        self.backlog.retain(|topic, partition| {
            slots.get(topic).and_then(|s| s.get(&partition)).is_some_and(|s| s.run.is_some())
        });
    }

    fn slot(&mut self, place: &TopicPartition) -> Option<&mut Slot> {
        self.slots.get_mut(&place.topic)?.get_mut(&place.partition)
    }

    /// In trouble, looks every now and then whether it is over, on a thread that may block.
    fn probe(&mut self) {
        let scope = self.native.context().trouble_scope();
        let Some(scope @ (Scope::Brokers | Scope::Topics)) = scope else { return };
        {
            let mut probing = self.probing.lock();
            if probing.is_some_and(|at| Instant::now() < at) {
                return;
            }
            // No second one before this one has ended.
            *probing = Some(Instant::now() + Duration::from_secs(3600));
        }
        let (native, bell) = (Arc::clone(&self.native), Arc::clone(&self.shared.bell));
        let (probing, subscribed) = (Arc::clone(&self.probing), Arc::clone(&self.subscribed));
        // Not awaited: it ends by its time-out, and the thread waits for that before it ends.
        drop(self.runtime.spawn_blocking(move || {
            match scope {
                Scope::Brokers => native.context().probed(native::probe(&*native, PROBE_INTERVAL)),
                _ => {
                    let topics = subscribed.lock().clone();
                    if topics.iter().all(|topic| is_there(&native, topic)) {
                        native.context().healed(scope);
                    }
                }
            }
            *probing.lock() = Some(Instant::now() + PROBE_INTERVAL);
            drop(native);
            bell.ring();
        }));
    }

    /// Leaves the group and destroys the client.
    fn end(mut self, failed: Option<PortError>) {
        if let Some(error) = failed {
            self.outbox.push_back(Item::Failed(error));
            // The engine learns the reason as soon as it has taken what is before it.
            while let Some(item) = self.outbox.pop_front() {
                if self.out.blocking_send(item).is_err() {
                    break;
                }
            }
        }
        let context = Arc::clone(self.native.context());
        // From here on rebalances are answered by the context.
        context.close();
        self.unassign();
        self.poll_until_answered();
        let Self { native, shared, events, data, replies, backlog, .. } = self;
        drop((backlog, events, data, replies));
        drop(shared);
        // A call on another thread may hold the client for a moment, which ends by its time-out. The
        // client is destroyed here, since that takes a while.
        while Arc::strong_count(&native) > 1 {
            native.poll(Duration::from_millis(20));
        }
    }

    /// Answers the rebalances that came before the context did so by itself.
    fn poll_until_answered(&mut self) {
        while let Some(rebalance) = self.native.context().next_rebalance() {
            match rebalance {
                Rebalance::Assign(_) => self.assigned(Vec::new()),
                Rebalance::Revoke(places) => {
                    self.revoking(places);
                    self.unassign();
                }
            }
        }
    }
}

/// Whether a topic can be used. Blocks.
fn is_there(native: &Arc<NativeConsumer>, topic: &str) -> bool {
    TopicHandle::new(Arc::clone(native) as _, topic)
        .and_then(|handle| native::metadata(&**native, &Which::Topic(&handle), PROBE_INTERVAL))
        .is_ok_and(|topics| topics.iter().all(|t| t.code == 0))
}

fn not_assigned(place: &TopicPartition) -> PortError {
    let text = format!("{place} is not assigned to this consumer, or no longer");
    PortError::new(PortErrorKind::Fenced, text)
}

/// A list for librdkafka.
fn list<'a>(places: impl Iterator<Item = (&'a TopicPartition, Offset)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (place, offset) in places {
        if list.add_partition_offset(&place.topic, place.partition, offset).is_err() {
            // Only an offset that can't be told to librdkafka is refused: the default stays then.
            tracing::error!(%place, ?offset, "an offset that librdkafka has no value for");
        }
    }
    list
}
