//! Every conformance check fails on a cluster that breaks its promise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use towpath_broker::store::MemoryStore;
use towpath_broker::{EveryNth, LocalCluster, Options};
use towpath_core::budget::Budget;
use towpath_core::ports::{
    Admin, ClientOverrides, Cluster, CommitOutcome, CompactedTable, Consumer, ConsumerEvent,
    ConsumerSpec, Entry, GroupMember, GroupOffset, Membership, NewTopic, OutBatch, PortError,
    PortErrorKind, PortResult, ProduceFailure, Producer, ProducerSpec, Receipt, Subscription,
    TableEvent, TableSpec, TopicDescription, TransactionOutcome, TransactionalProducer,
};
use towpath_sdk::clock::TokioClock;
use towpath_sdk::record::{RawBatch, TopicPartition};
use towpath_sdk::sink::Epoch;
use towpath_sim::{EPOCH, conformance};

use crate::seeds::simulate;

/// What is wrong with a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    ReversesBatches,
    EmptyIsNull,
    ForgetsKeys,
    OneFailsAll,
    EndIsLastPlusOne,
    CommitsNothing,
    DeliversOldBatches,
    IgnoresBudget,
    DropsLargeBatches,
    LosesEventsOnDrop,
    CopiesOutOfTheBudget,
    OneEpochForAll,
    ResolvesPatternsOnce,
    NoTransactions,
    NewIdEachTime,
    FencesNobody,
    HidesTombstones,
    TakesAnyTable,
    CreatesAgain,
    NeverForgetsOffsets,
    AltersUnderMembers,
    HidesMembers,
    AFleetPerWorker,
}

/// Which flaw each check must see.
const TWINS: &[(&str, Flaw)] = &[
    ("batches_arrive_in_call_order", Flaw::ReversesBatches),
    ("null_is_not_empty_and_headers_stay", Flaw::EmptyIsNull),
    ("keys_go_where_java_puts_them", Flaw::ForgetsKeys),
    ("a_record_too_large_fails_alone", Flaw::OneFailsAll),
    ("a_batch_says_where_it_ends", Flaw::EndIsLastPlusOne),
    ("a_commit_is_where_the_next_consumer_starts", Flaw::CommitsNothing),
    ("nothing_old_comes_after_a_move", Flaw::DeliversOldBatches),
    ("a_full_budget_stops_fetching_and_nothing_else", Flaw::IgnoresBudget),
    ("a_record_larger_than_the_budget_passes", Flaw::DropsLargeBatches),
    ("dropping_next_loses_nothing", Flaw::LosesEventsOnDrop),
    ("the_budget_is_held_by_slices", Flaw::CopiesOutOfTheBudget),
    ("a_second_member_takes_over", Flaw::CommitsNothing),
    ("nothing_comes_after_revocation", Flaw::OneEpochForAll),
    ("a_pattern_finds_later_topics", Flaw::ResolvesPatternsOnce),
    ("a_commit_shows_all_and_an_abort_nothing", Flaw::NoTransactions),
    ("a_newer_producer_fences_the_older", Flaw::NewIdEachTime),
    ("the_admin_fences", Flaw::FencesNobody),
    ("a_table_is_read_from_its_beginning", Flaw::HidesTombstones),
    ("a_table_shows_transactions_when_they_commit", Flaw::NoTransactions),
    ("an_uncompacted_topic_is_refused", Flaw::TakesAnyTable),
    ("topics_are_created_once", Flaw::CreatesAgain),
    ("group_offsets_are_altered_and_deleted", Flaw::NeverForgetsOffsets),
    ("a_group_with_members_is_left_alone", Flaw::AltersUnderMembers),
    ("the_members_of_a_group_are_named", Flaw::HidesMembers),
    ("a_second_worker_is_refused", Flaw::AFleetPerWorker),
    ("what_was_written_is_read_to_its_end", Flaw::EndIsLastPlusOne),
];

#[test]
fn each_check_can_fail() {
    for check in conformance::all() {
        let (_, flaw) = *TWINS
            .iter()
            .find(|(name, _)| *name == check.name)
            .unwrap_or_else(|| panic!("{} has no twin", check.name));
        let outcome = simulate(async move {
            let clock = Arc::new(TokioClock::starting_at(EPOCH));
            let store = Arc::new(MemoryStore::default());
            let quirks = Arc::new(EveryNth::new(2));
            let inner = LocalCluster::open(store, Options::default(), quirks, clock).unwrap();
            let wrong = Arc::new(Wrong { inner, flaw, count: AtomicU32::new(0) });
            check.run(wrong, "twin").await
        });
        assert!(outcome.is_err(), "{} does not see that a cluster {flaw:?}", check.name);
    }
}

/// A cluster with a flaw.
struct Wrong {
    inner: LocalCluster,
    flaw: Flaw,
    count: AtomicU32,
}

impl Wrong {
    fn fresh(&self, name: &str) -> String {
        format!("{name}-{}", self.count.fetch_add(1, Ordering::Relaxed))
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    fn topics_of(&self, pattern: &str) -> Vec<String> {
        let name = pattern.replace("(early|late)", "early");
        self.inner.topic_names().into_iter().filter(|n| *n == name).collect()
    }
}

impl Cluster for Wrong {
    fn id(&self) -> BoxFuture<'_, PortResult<String>> {
        self.inner.id()
    }

    fn producer(&self, spec: ProducerSpec) -> BoxFuture<'_, PortResult<Arc<dyn Producer>>> {
        async move {
            let inner = self.inner.producer(spec).await?;
            Ok(Arc::new(WrongProducer { inner, flaw: self.flaw }) as Arc<dyn Producer>)
        }
        .boxed()
    }

    fn transactional_producer(
        &self,
        id: String,
        spec: ProducerSpec,
    ) -> BoxFuture<'_, PortResult<Arc<dyn TransactionalProducer>>> {
        async move {
            if self.has(Flaw::NoTransactions) {
                let inner = self.inner.producer(spec).await?;
                return Ok(Arc::new(Pretender { inner }) as Arc<dyn TransactionalProducer>);
            }
            let id = if self.has(Flaw::NewIdEachTime) { self.fresh(&id) } else { id };
            self.inner.transactional_producer(id, spec).await
        }
        .boxed()
    }

    fn consumer(&self, mut spec: ConsumerSpec) -> BoxFuture<'_, PortResult<Box<dyn Consumer>>> {
        async move {
            let capacity = spec.budget.capacity();
            if self.has(Flaw::IgnoresBudget) {
                spec.budget = Budget::new(1 << 30);
            }
            if self.has(Flaw::ResolvesPatternsOnce)
                && let Subscription::Pattern(pattern) = &spec.subscription
            {
                spec.subscription = Subscription::Topics(self.topics_of(pattern));
            }
            let inner = self.inner.consumer(spec).await?;
            Ok(Box::new(WrongConsumer { inner, flaw: self.flaw, capacity, old: None })
                as Box<dyn Consumer>)
        }
        .boxed()
    }

    fn admin(&self, overrides: ClientOverrides) -> BoxFuture<'_, PortResult<Arc<dyn Admin>>> {
        async move {
            let inner = self.inner.admin(overrides).await?;
            Ok(Arc::new(WrongAdmin { inner, flaw: self.flaw }) as Arc<dyn Admin>)
        }
        .boxed()
    }

    fn table(&self, mut spec: TableSpec) -> BoxFuture<'_, PortResult<Arc<dyn CompactedTable>>> {
        async move {
            if self.has(Flaw::TakesAnyTable) {
                spec.topic = self.fresh(&spec.topic);
            }
            let inner = self.inner.table(spec).await?;
            if self.has(Flaw::HidesTombstones) {
                return Ok(Arc::new(WrongTable { inner }) as Arc<dyn CompactedTable>);
            }
            Ok(inner)
        }
        .boxed()
    }

    fn join(
        &self,
        group: String,
        advertised: String,
    ) -> BoxFuture<'_, PortResult<Box<dyn Membership>>> {
        let group = if self.has(Flaw::AFleetPerWorker) { self.fresh(&group) } else { group };
        self.inner.join(group, advertised)
    }
}

struct WrongProducer {
    inner: Arc<dyn Producer>,
    flaw: Flaw,
}

impl Producer for WrongProducer {
    fn send(&self, batch: OutBatch) -> BoxFuture<'_, PortResult<Receipt>> {
        let mut batch = Arc::unwrap_or_clone(batch);
        match self.flaw {
            Flaw::ReversesBatches => batch.reverse(),
            Flaw::EmptyIsNull => {
                for record in &mut batch {
                    record.value = record.value.take().filter(|v| !v.is_empty());
                }
            }
            Flaw::ForgetsKeys => {
                for record in &mut batch {
                    record.partition = record.partition.or(Some(0));
                }
            }
            _ => {}
        }
        let all_fail = self.flaw == Flaw::OneFailsAll;
        async move {
            let count = batch.len();
            let receipt = self.inner.send(batch.into()).await?;
            let receipt = async move {
                let failures = receipt.await;
                match failures.first() {
                    Some(first) if all_fail => (0..count)
                        .map(|index| ProduceFailure { index, error: first.error.clone() })
                        .collect(),
                    _ => failures,
                }
            };
            Ok(receipt.boxed())
        }
        .boxed()
    }
}

/// Calls itself transactional.
struct Pretender {
    inner: Arc<dyn Producer>,
}

impl Producer for Pretender {
    fn send(&self, batch: OutBatch) -> BoxFuture<'_, PortResult<Receipt>> {
        self.inner.send(batch)
    }
}

impl TransactionalProducer for Pretender {
    fn begin(&self) -> BoxFuture<'_, PortResult<()>> {
        futures::future::ready(Ok(())).boxed()
    }

    fn commit(&self) -> BoxFuture<'_, TransactionOutcome> {
        futures::future::ready(TransactionOutcome::Committed).boxed()
    }

    fn abort(&self) -> BoxFuture<'_, TransactionOutcome> {
        let error = PortError::new(PortErrorKind::Internal, "as asked");
        futures::future::ready(TransactionOutcome::Aborted(error)).boxed()
    }
}

struct WrongConsumer {
    inner: Box<dyn Consumer>,
    flaw: Flaw,
    capacity: usize,
    old: Option<RawBatch>,
}

impl WrongConsumer {
    fn spoil(&mut self, event: ConsumerEvent) -> Option<ConsumerEvent> {
        let ConsumerEvent::Batch(mut batch) = event else {
            return Some(match (self.flaw, event) {
                (Flaw::OneEpochForAll, ConsumerEvent::Assigned { partitions, .. }) => {
                    ConsumerEvent::Assigned { partitions, epoch: Epoch(1) }
                }
                (_, event) => event,
            });
        };
        match self.flaw {
            Flaw::EndIsLastPlusOne => batch.end = batch.rows.last()?.offset + 1,
            Flaw::OneEpochForAll => batch.epoch = Epoch(1),
            Flaw::DropsLargeBatches if batch.arena.len() > self.capacity => return None,
            Flaw::CopiesOutOfTheBudget => batch.arena = Bytes::copy_from_slice(&batch.arena),
            Flaw::DeliversOldBatches => {
                let copy = RawBatch {
                    topic_partition: batch.topic_partition.clone(),
                    epoch: batch.epoch,
                    rows: batch.rows.clone(),
                    end: batch.end,
                    arena: batch.arena.clone(),
                };
                self.old = Some(copy);
            }
            _ => {}
        }
        Some(ConsumerEvent::Batch(batch))
    }
}

impl Consumer for WrongConsumer {
    fn next(&mut self) -> BoxFuture<'_, PortResult<ConsumerEvent>> {
        async move {
            loop {
                let event = self.inner.next().await?;
                if self.flaw == Flaw::LosesEventsOnDrop {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                if let Some(event) = self.spoil(event) {
                    return Ok(event);
                }
            }
        }
        .boxed()
    }

    fn start(&mut self, at: Vec<(TopicPartition, Option<i64>)>) -> BoxFuture<'_, PortResult<()>> {
        async move {
            // An old batch stays where it is: the start moves behind it.
            let at = match self.old.take() {
                Some(old) => at.into_iter().map(|(at, _)| (at, Some(old.start()))).collect(),
                None => at,
            };
            self.inner.start(at).await
        }
        .boxed()
    }

    fn halt(&mut self, partitions: &[TopicPartition]) -> PortResult<()> {
        self.inner.halt(partitions)
    }

    fn commit(&self, offsets: Vec<(TopicPartition, i64)>) -> BoxFuture<'static, CommitOutcome> {
        if self.flaw == Flaw::CommitsNothing {
            return futures::future::ready(CommitOutcome::Done).boxed();
        }
        self.inner.commit(offsets)
    }

    fn end_offset(&self, partition: &TopicPartition) -> Option<i64> {
        self.inner.end_offset(partition)
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.inner.close()
    }
}

struct WrongTable {
    inner: Arc<dyn CompactedTable>,
}

impl CompactedTable for WrongTable {
    fn follow(&self) -> BoxFuture<'_, PortResult<mpsc::Receiver<TableEvent>>> {
        async move {
            let mut from = self.inner.follow().await?;
            let (tx, rx) = mpsc::channel(1);
            tokio::spawn(async move {
                while let Some(mut event) = from.recv().await {
                    if let TableEvent::Entries(entries) = &mut event {
                        entries.retain(|entry| entry.value.is_some());
                    }
                    if tx.send(event).await.is_err() {
                        return;
                    }
                }
            });
            Ok(rx)
        }
        .boxed()
    }

    fn put(&self, entries: Vec<Entry>) -> BoxFuture<'_, PortResult<()>> {
        self.inner.put(entries)
    }

    fn topic(&self) -> &str {
        self.inner.topic()
    }
}

struct WrongAdmin {
    inner: Arc<dyn Admin>,
    flaw: Flaw,
}

impl Admin for WrongAdmin {
    fn create_topic(&self, topic: NewTopic) -> BoxFuture<'_, PortResult<bool>> {
        async move {
            let created = self.inner.create_topic(topic).await?;
            Ok(created || self.flaw == Flaw::CreatesAgain)
        }
        .boxed()
    }

    fn describe_topic(&self, name: &str) -> BoxFuture<'_, PortResult<Option<TopicDescription>>> {
        self.inner.describe_topic(name)
    }

    fn group_offsets(&self, group: &str) -> BoxFuture<'_, PortResult<Vec<GroupOffset>>> {
        self.inner.group_offsets(group)
    }

    fn group_members(&self, group: &str) -> BoxFuture<'_, PortResult<Vec<GroupMember>>> {
        let group = group.to_owned();
        async move {
            let members = self.inner.group_members(&group).await?;
            Ok(if self.flaw == Flaw::HidesMembers { Vec::new() } else { members })
        }
        .boxed()
    }

    fn alter_group_offsets(
        &self,
        group: &str,
        mut offsets: Vec<(TopicPartition, Option<i64>)>,
    ) -> BoxFuture<'_, PortResult<()>> {
        if self.flaw == Flaw::NeverForgetsOffsets {
            offsets.retain(|(_, offset)| offset.is_some());
        }
        let group = group.to_owned();
        async move {
            let altered = self.inner.alter_group_offsets(&group, offsets).await;
            if self.flaw == Flaw::AltersUnderMembers { Ok(()) } else { altered }
        }
        .boxed()
    }

    fn delete_group(&self, group: &str) -> BoxFuture<'_, PortResult<()>> {
        self.inner.delete_group(group)
    }

    fn fence(&self, ids: Vec<String>) -> BoxFuture<'_, PortResult<()>> {
        if self.flaw == Flaw::FencesNobody {
            return futures::future::ready(Ok(())).boxed();
        }
        self.inner.fence(ids)
    }

    fn topic_ends(&self, name: &str) -> BoxFuture<'_, PortResult<Vec<(i32, i64, i64)>>> {
        self.inner.topic_ends(name)
    }
}

#[test]
fn no_twin_is_left_over() {
    let names: BTreeMap<_, _> = conformance::all().iter().map(|c| (c.name, ())).collect();
    assert!(TWINS.iter().all(|(name, _)| names.contains_key(name)));
}
