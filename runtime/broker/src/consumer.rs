//! The consumer port.
//!
//! Duty: one member of a group. Nothing is fetched ahead: a batch is read when it is asked for, so
//! that a seek or a revocation leaves nothing behind to be thrown away.
//!
//! Invariants: the budget is charged before bytes are read; dropping `next` at any await loses nothing,
//! because positions move and events leave the inbox only in the step that returns them.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use towpath_core::budget::{Budget, BytePermit};
use towpath_core::ports::{
    CommitOutcome, Consumer, ConsumerEvent, ConsumerSpec, PortError, PortErrorKind, PortResult,
    Revoked,
};
use towpath_sdk::record::{RawBatchBuilder, TimestampType, TopicPartition};
use towpath_sdk::sink::Epoch;

use crate::broker::Broker;
use crate::chunk::Row;
use crate::group::{Identity, MemberEvent, MemberId, Wants, check_name};
use crate::partition::{Isolation, Partition, Read};

/// How long a failed read waits before the next.
const RETRY: Duration = Duration::from_secs(1);

/// Where to start without a committed offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reset {
    Earliest,
    Latest,
    Refuse,
}

/// An assigned partition.
struct Place {
    partition: Arc<Partition>,
    epoch: Epoch,
    /// Where to go on; `None` is not started, or halted.
    position: Option<i64>,
}

/// See the module's head.
pub(crate) struct LocalConsumer {
    broker: Arc<Broker>,
    group: String,
    wants: Wants,
    identity: Identity,
    member: MemberId,
    wake: Arc<Notify>,
    budget: Budget,
    isolation: Isolation,
    reset: Reset,
    epoch: u64,
    places: BTreeMap<TopicPartition, Place>,
    /// The partition read last, so that each gets its turn.
    last_read: Option<TopicPartition>,
    /// Bytes that the next row needs, if more than usual.
    needs: Option<usize>,
    letting_go: Vec<(oneshot::Receiver<()>, Vec<TopicPartition>)>,
    ready: VecDeque<ConsumerEvent>,
    retry_at: Option<Instant>,
    left: bool,
}

impl LocalConsumer {
    pub(crate) fn join(broker: Arc<Broker>, spec: ConsumerSpec) -> PortResult<Self> {
        check_name(&spec.group_id)?;
        let setting = |key: &str| spec.overrides.get(key).map(String::as_str);
        let isolation = match setting("isolation.level") {
            Some("read_uncommitted") => Isolation::Uncommitted,
            None | Some("read_committed") => Isolation::Committed,
            Some(other) => return Err(bad_setting("isolation.level", other)),
        };
        let reset = match setting("auto.offset.reset") {
            None | Some("earliest") => Reset::Earliest,
            Some("latest") => Reset::Latest,
            Some("none") => Reset::Refuse,
            Some(other) => return Err(bad_setting("auto.offset.reset", other)),
        };
        let identity = Identity {
            client: setting("client.id").unwrap_or(&spec.client_id).to_owned(),
            instance: setting("group.instance.id").map(str::to_owned),
        };
        let wants = Wants::of(spec.subscription)?;
        let wake = Arc::new(Notify::new());
        let topics = broker.topics();
        let member = broker.groups.lock().join(
            &spec.group_id,
            wants.clone(),
            identity.clone(),
            Arc::clone(&wake),
            &topics,
        );
        Ok(Self {
            broker,
            group: spec.group_id,
            wants,
            identity,
            member,
            wake,
            budget: spec.budget,
            isolation,
            reset,
            epoch: 0,
            places: BTreeMap::new(),
            last_read: None,
            needs: None,
            letting_go: Vec::new(),
            ready: VecDeque::new(),
            retry_at: None,
            left: false,
        })
    }

    async fn next_event(&mut self) -> PortResult<ConsumerEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            self.let_go();
            let deadline = self.expire();
            if let Some(event) = self.membership()? {
                return Ok(event);
            }
            let readable = if self.retry_at.is_some_and(|at| at > Instant::now()) {
                None
            } else {
                self.pick()
            };
            let Some(at) = readable else {
                self.wait(deadline).await;
                continue;
            };
            let Some(permit) = self.permit(deadline).await else { continue };
            if let Some(event) = self.fetch(&at, permit).await? {
                return Ok(event);
            }
        }
    }

    /// Passes on what the owner of the tokens let go.
    fn let_go(&mut self) {
        let mut released = Vec::new();
        self.letting_go.retain_mut(|(token, partitions)| {
            let gone = !matches!(token.try_recv(), Err(oneshot::error::TryRecvError::Empty));
            if gone {
                released.append(partitions);
            }
            !gone
        });
        if !released.is_empty() {
            let topics = self.broker.topics();
            self.broker.groups.lock().release(&self.group, self.member, &released, &topics);
        }
    }

    /// Ends what is overdue; when to look again.
    fn expire(&self) -> Option<Instant> {
        let topics = self.broker.topics();
        let groups = self.broker.groups.lock().expire(&topics);
        let transactions = self.broker.expire_transactions().unwrap_or_else(|error| {
            tracing::warn!(%error, "overdue transactions could not be aborted");
            Some(Instant::now() + RETRY)
        });
        groups.into_iter().chain(transactions).chain(self.retry_at).min()
    }

    fn membership(&mut self) -> PortResult<Option<ConsumerEvent>> {
        let event = self.broker.groups.lock().take_event(&self.group, self.member);
        match event {
            Ok(None) => Ok(None),
            Ok(Some(MemberEvent::Assigned(partitions))) => Ok(Some(self.assigned(partitions))),
            Ok(Some(MemberEvent::Revoking(partitions))) => {
                partitions.iter().for_each(|at| self.forget(at));
                let (done, token) = Revoked::channel();
                self.letting_go.push((token, partitions.clone()));
                Ok(Some(ConsumerEvent::Revoking { partitions, done }))
            }
            Err(_expelled) => self.rejoin(),
        }
    }

    fn assigned(&mut self, partitions: Vec<TopicPartition>) -> ConsumerEvent {
        self.epoch += 1;
        let epoch = Epoch(self.epoch);
        for at in &partitions {
            if let Some(partition) = self.broker.partition(at) {
                partition.watch(&self.wake);
                self.places.insert(at.clone(), Place { partition, epoch, position: None });
            }
        }
        ConsumerEvent::Assigned { partitions, epoch }
    }

    fn forget(&mut self, at: &TopicPartition) {
        if let Some(place) = self.places.remove(at) {
            place.partition.unwatch(&self.wake);
        }
    }

    /// The membership has ended from outside: says what was lost, and only then becomes a new member,
    /// so that no commit for what was lost can count as one of the new member.
    fn rejoin(&mut self) -> PortResult<Option<ConsumerEvent>> {
        let mut partitions: Vec<_> = self.places.keys().cloned().collect();
        partitions.extend(self.letting_go.drain(..).flat_map(|(_, partitions)| partitions));
        if !partitions.is_empty() {
            partitions.iter().for_each(|at| self.forget(at));
            return Ok(Some(ConsumerEvent::Lost { partitions }));
        }
        let topics = self.broker.topics();
        let mut groups = self.broker.groups.lock();
        if let Some(instance) =
            self.identity.instance.as_ref().filter(|i| groups.has_instance(&self.group, i))
        {
            self.left = true;
            return Err(PortError::new(
                PortErrorKind::Fenced,
                format!(
                    "a newer consumer with group.instance.id={instance} has taken over in the group {}",
                    self.group
                ),
            ));
        }
        self.member = groups.join(
            &self.group,
            self.wants.clone(),
            self.identity.clone(),
            Arc::clone(&self.wake),
            &topics,
        );
        Ok(None)
    }

    /// The next started partition with something to read.
    fn pick(&self) -> Option<TopicPartition> {
        use std::ops::Bound::{Excluded, Unbounded};
        let ready = |(at, place): (&TopicPartition, &Place)| {
            let position = place.position?;
            (position != place.partition.readable(self.isolation)).then(|| at.clone())
        };
        let after = self.last_read.as_ref().map_or(Unbounded, Excluded);
        let mut behind =
            self.places.range::<TopicPartition, _>((after, Unbounded)).filter_map(ready);
        behind.next().or_else(|| self.places.iter().find_map(ready))
    }

    /// Waits for a reason to look again.
    async fn wait(&mut self, deadline: Option<Instant>) {
        let wake = Arc::clone(&self.wake);
        tokio::select! {
            biased;
            () = wake.notified() => {}
            () = any_dropped(&mut self.letting_go) => {}
            () = sleep_until(deadline) => {}
        }
    }

    /// Bytes for the next batch; `None` if something else happened meanwhile.
    async fn permit(&mut self, deadline: Option<Instant>) -> Option<BytePermit> {
        let most = self.broker.options.fetch_bytes.min(self.budget.capacity());
        let least = self.needs.unwrap_or(most / 8).max(1);
        let now =
            self.budget.try_acquire(most.max(least)).or_else(|| self.budget.try_acquire(least));
        if now.is_some() {
            return now;
        }
        let wake = Arc::clone(&self.wake);
        tokio::select! {
            biased;
            () = wake.notified() => None,
            () = any_dropped(&mut self.letting_go) => None,
            permit = self.budget.acquire(least) => Some(permit),
            () = sleep_until(deadline) => None,
        }
    }

    async fn fetch(
        &mut self,
        at: &TopicPartition,
        permit: BytePermit,
    ) -> PortResult<Option<ConsumerEvent>> {
        let Some(place) = self.places.get(at) else { return Ok(None) };
        let (Some(from), epoch) = (place.position, place.epoch) else { return Ok(None) };
        let partition = Arc::clone(&place.partition);
        let isolation = self.isolation;
        let read =
            self.broker.call(move |broker| read(broker, &partition, from, isolation, permit));
        let fetched = match read.await {
            Ok(fetched) => fetched,
            Err(error) => {
                let first = self.retry_at.is_none();
                self.retry_at = Some(Instant::now() + RETRY);
                return Ok(first.then_some(ConsumerEvent::Trouble(Some(error))));
            }
        };
        self.last_read = Some(at.clone());
        if self.retry_at.take().is_some() {
            self.ready.push_back(ConsumerEvent::Trouble(None));
        }
        let Some(place) = self.places.get_mut(at) else { return Ok(None) };
        match fetched {
            Fetched::TooSmall(bytes) => self.needs = Some(bytes),
            Fetched::OutOfRange { start, next } => {
                let to = match self.reset {
                    Reset::Earliest => start,
                    Reset::Latest => next,
                    Reset::Refuse => return Err(no_offset(at)),
                };
                tracing::warn!(partition = %at, from, to, "the offset is not in the log: going on elsewhere");
                place.position = Some(to);
            }
            Fetched::Batch { builder, end, permit } => {
                self.needs = None;
                if end != from {
                    place.position = Some(end);
                    let batch = builder.build(at.clone(), epoch, end, permit);
                    self.ready.push_back(ConsumerEvent::Batch(batch));
                }
            }
        }
        Ok(self.ready.pop_front())
    }

    fn resolve(&self, at: &TopicPartition, place: &Place, given: Option<i64>) -> PortResult<i64> {
        if let Some(offset) = given {
            return Ok(offset);
        }
        if let Some(offset) = self.broker.groups.lock().committed(&self.group, at) {
            return Ok(offset);
        }
        match self.reset {
            Reset::Earliest => Ok(place.partition.bounds().start),
            Reset::Latest => Ok(place.partition.readable(self.isolation)),
            Reset::Refuse => Err(no_offset(at)),
        }
    }
}

impl Consumer for LocalConsumer {
    fn next(&mut self) -> BoxFuture<'_, PortResult<ConsumerEvent>> {
        self.next_event().boxed()
    }

    fn start(&mut self, at: Vec<(TopicPartition, Option<i64>)>) -> BoxFuture<'_, PortResult<()>> {
        let started = at.into_iter().try_for_each(|(at, given)| {
            let Some(place) = self.places.get(&at) else { return Ok(()) };
            let position = self.resolve(&at, place, given)?;
            if let Some(place) = self.places.get_mut(&at) {
                place.position = Some(position);
            }
            Ok(())
        });
        futures::future::ready(started).boxed()
    }

    fn halt(&mut self, partitions: &[TopicPartition]) -> PortResult<()> {
        for at in partitions {
            if let Some(place) = self.places.get_mut(at) {
                place.position = None;
            }
        }
        Ok(())
    }

    fn commit(&self, offsets: Vec<(TopicPartition, i64)>) -> BoxFuture<'static, CommitOutcome> {
        let broker = Arc::clone(&self.broker);
        let (group, member) = (self.group.clone(), self.member);
        async move {
            let done = broker.call(move |broker| broker.commit(&group, member, &offsets)).await;
            if let Err(error) = done {
                return match error.kind {
                    PortErrorKind::Unknown => CommitOutcome::Unknown(error),
                    _ => CommitOutcome::Failed(error),
                };
            }
            match broker.settle().await {
                Ok(()) => CommitOutcome::Done,
                Err(error) => CommitOutcome::Unknown(error),
            }
        }
        .boxed()
    }

    fn end_offset(&self, partition: &TopicPartition) -> Option<i64> {
        Some(self.places.get(partition)?.partition.readable(self.isolation))
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        self.left = true;
        let topics = self.broker.topics();
        self.broker.groups.lock().leave(&self.group, self.member, &topics);
        futures::future::ready(()).boxed()
    }
}

impl Drop for LocalConsumer {
    fn drop(&mut self) {
        if !self.left {
            let session = self.broker.options.session_timeout;
            let topics = self.broker.topics();
            self.broker.groups.lock().vanish(&self.group, self.member, session, &topics);
        }
    }
}

enum Fetched {
    Batch { builder: RawBatchBuilder, end: i64, permit: BytePermit },
    TooSmall(usize),
    OutOfRange { start: i64, next: i64 },
}

fn read(
    broker: &Broker,
    partition: &Partition,
    from: i64,
    isolation: Isolation,
    mut permit: BytePermit,
) -> PortResult<Fetched> {
    let most_bytes = permit.bytes();
    let most_rows = broker.quirks.batch_rows().max(1);
    let mut builder = RawBatchBuilder::default();
    let mut rows = 0;
    let mut needs = None;
    let result = partition.read(&*broker.store, from, isolation, &mut |offset, row| {
        let size = row.payload();
        if rows == most_rows || builder.len() + size > most_bytes {
            // A row larger than a whole budget passes alone.
            if rows > 0 || !permit.is_whole() {
                needs = (rows == 0).then_some(size);
                return ControlFlow::Break(());
            }
        }
        push(&mut builder, offset, row);
        rows += 1;
        ControlFlow::Continue(())
    })?;
    match (result, needs) {
        (Read::OutOfRange { start, next }, _) => Ok(Fetched::OutOfRange { start, next }),
        (Read::Upto(_), Some(bytes)) => Ok(Fetched::TooSmall(bytes)),
        (Read::Upto(end), None) => {
            permit.shrink_to(builder.len());
            Ok(Fetched::Batch { builder, end, permit })
        }
    }
}

fn push(builder: &mut RawBatchBuilder, offset: i64, row: &Row<'_>) {
    builder.push(
        offset,
        Some(row.timestamp),
        TimestampType::CreateTime,
        row.key,
        row.value,
        row.headers.iter().copied(),
    );
}

async fn any_dropped(letting_go: &mut [(oneshot::Receiver<()>, Vec<TopicPartition>)]) {
    poll_fn(|cx| {
        let dropped = letting_go.iter_mut().any(|(token, _)| token.poll_unpin(cx).is_ready());
        if dropped { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

pub(crate) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn bad_setting(key: &str, value: &str) -> PortError {
    PortError::new(PortErrorKind::Invalid, format!("'{value}' is no value of {key}"))
}

fn no_offset(at: &TopicPartition) -> PortError {
    PortError::new(
        PortErrorKind::Invalid,
        format!(
            "{at} has no offset to start at, and auto.offset.reset is none: commit one, or change it"
        ),
    )
}
