//! Transactions and who may write in them.
//!
//! Duty: Kafka's transaction coordinator. A transactional id has a producer id for good and an epoch
//! that grows with each new instance, which fences the older ones.
//!
//! Invariants: the markers of a transaction's end are stored as one batch, so that a transaction is
//! visible in all its partitions or in none; while it is open, read-committed readers stop before its
//! first record.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use towpath_core::ports::{PortError, PortErrorKind, PortResult};

use crate::broker::{Broker, Writer, damaged, encode_aborted, encode_bounds};
use crate::chunk::Builder;
use crate::keys;
use crate::partition::{Aborted, Partition};
use crate::store::{Space, Store, Write};

/// All transactional ids.
#[derive(Debug, Default)]
pub(crate) struct Transactions(BTreeMap<String, Transaction>);

#[derive(Debug)]
struct Transaction {
    producer_id: i64,
    epoch: i32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    until: Instant,
    partitions: Vec<Arc<Partition>>,
}

/// One instance of a transactional producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TransactionRef {
    pub(crate) id: String,
    pub(crate) producer_id: i64,
    pub(crate) epoch: i32,
}

impl Transactions {
    pub(crate) fn load(store: &dyn Store) -> PortResult<Self> {
        let mut found = BTreeMap::new();
        let mut bad = false;
        let (from, to) = keys::transactional_ids();
        store.scan(Space::Meta, &from, &to, &mut |key, value| {
            match parse(key, &value) {
                Some((id, transaction)) => {
                    found.insert(id, transaction);
                }
                None => bad = true,
            }
            ControlFlow::Continue(())
        })?;
        if bad { Err(damaged()) } else { Ok(Self(found)) }
    }

    fn instance(&mut self, of: &TransactionRef) -> PortResult<&mut Transaction> {
        match self.0.get_mut(&of.id) {
            Some(transaction) if transaction.epoch == of.epoch => Ok(transaction),
            _ => Err(fenced(&of.id)),
        }
    }

    /// Refuses a write that belongs to no open transaction.
    pub(crate) fn check_open(&mut self, of: &TransactionRef) -> PortResult<()> {
        match self.instance(of)?.open {
            Some(_) => Ok(()),
            None => Err(PortError::new(
                PortErrorKind::Internal,
                format!("the producer {} wrote outside a transaction", of.id),
            )),
        }
    }

    /// `partition` takes part in the open transaction.
    pub(crate) fn touch(&mut self, of: &TransactionRef, partition: &Arc<Partition>) {
        if let Ok(Transaction { open: Some(open), .. }) = self.instance(of)
            && !open.partitions.iter().any(|p| Arc::ptr_eq(p, partition))
        {
            open.partitions.push(Arc::clone(partition));
        }
    }

    /// When the next open transaction runs out of time.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.0.values().filter_map(|t| Some(t.open.as_ref()?.until)).min()
    }

    fn overdue(&self, now: Instant) -> Vec<String> {
        let late = |t: &Transaction| t.open.as_ref().is_some_and(|open| open.until <= now);
        self.0.iter().filter(|(_, t)| late(t)).map(|(id, _)| id.clone()).collect()
    }
}

impl Broker {
    /// A new instance of the producer `id`. Ends what an older one left open, and fences it.
    pub(crate) fn start_producer(&self, id: &str) -> PortResult<TransactionRef> {
        check_id(id)?;
        let mut writer = self.writer()?;
        self.start_locked(&mut writer, id)
    }

    fn start_locked(&self, writer: &mut Writer, id: &str) -> PortResult<TransactionRef> {
        self.end_locked(writer, id, false)?;
        let (producer_id, epoch) = match writer.transactions.0.get(id) {
            Some(known) => (known.producer_id, known.epoch + 1),
            None => (self.next_producer_id(writer)?, 0),
        };
        let mut value = producer_id.to_be_bytes().to_vec();
        value.extend(epoch.to_be_bytes());
        self.apply(vec![Write::put(Space::Meta, keys::transactional_id(id), value)])?;
        let transaction = Transaction { producer_id, epoch, open: None };
        writer.transactions.0.insert(id.to_owned(), transaction);
        Ok(TransactionRef { id: id.to_owned(), producer_id, epoch })
    }

    /// Fences whoever writes as `id`; nothing if there never was such a producer.
    pub(crate) fn fence(&self, id: &str) -> PortResult<()> {
        let mut writer = self.writer()?;
        if writer.transactions.0.contains_key(id) {
            self.start_locked(&mut writer, id)?;
        }
        Ok(())
    }

    /// Begins a transaction, which is aborted after `timeout`.
    pub(crate) fn begin(&self, of: &TransactionRef, timeout: Duration) -> PortResult<()> {
        let mut writer = self.writer()?;
        let transaction = writer.transactions.instance(of)?;
        if transaction.open.is_some() {
            return Err(PortError::new(
                PortErrorKind::Internal,
                format!("the producer {} began a transaction inside another", of.id),
            ));
        }
        let until = Instant::now() + timeout;
        transaction.open = Some(Open { until, partitions: Vec::new() });
        drop(writer);
        Ok(())
    }

    /// Ends the open transaction, if there is one.
    pub(crate) fn end(&self, of: &TransactionRef, commit: bool) -> PortResult<()> {
        let mut writer = self.writer()?;
        writer.transactions.instance(of)?;
        self.end_locked(&mut writer, &of.id, commit)
    }

    fn end_locked(&self, writer: &mut Writer, id: &str, commit: bool) -> PortResult<()> {
        tracing::debug!(transactional_id = id, commit, "ending a transaction");
        let Some(Transaction { producer_id, open: Some(open), .. }) = writer.transactions.0.get(id)
        else {
            return Ok(());
        };
        self.mark_end(*producer_id, &open.partitions, commit)?;
        if let Some(transaction) = writer.transactions.0.get_mut(id) {
            transaction.open = None;
        }
        Ok(())
    }

    /// Writes the markers and shows, or hides, what lies before them.
    fn mark_end(&self, id: i64, partitions: &[Arc<Partition>], commit: bool) -> PortResult<()> {
        let mut writes = Vec::new();
        let mut changes = Vec::new();
        for partition in partitions {
            let mut bounds = partition.bounds();
            let Some(first) = bounds.open.remove(&id) else { continue };
            let (topic, number) = (partition.topic_id, partition.at.partition);
            let marker = bounds.next + i64::from(self.quirks.gap());
            let (_, bytes) = Builder::marker(id, self.now_ms()).finish();
            let stored = bytes.len() as u64;
            bounds.next = marker + 1;
            bounds.bytes += stored;
            writes.push(Write::put(Space::Log, keys::chunk(topic, number, marker), bytes));
            writes.push(Write::delete(Space::Meta, keys::open_transaction(id, topic, number)));
            writes.push(Write::put(
                Space::Meta,
                keys::bounds(topic, number),
                encode_bounds(&bounds),
            ));
            if !commit {
                let aborted = Aborted { producer_id: id, first, marker };
                let key = keys::aborted(topic, number, first);
                writes.push(Write::put(Space::Meta, key, encode_aborted(&aborted)));
                Arc::make_mut(&mut bounds.aborted).push(aborted);
            }
            changes.push((partition, bounds, stored));
        }
        if writes.is_empty() {
            return Ok(());
        }
        self.apply(writes)?;
        for (partition, bounds, stored) in changes {
            partition.update(|b| *b = bounds);
            self.count_bytes(stored, 0);
        }
        Ok(())
    }

    /// Aborts transactions that ran out of time and fences their producers; when to call again.
    pub(crate) fn expire_transactions(&self) -> PortResult<Option<Instant>> {
        let mut writer = self.writer()?;
        for id in writer.transactions.overdue(Instant::now()) {
            tracing::warn!(transactional_id = id, "the transaction took too long: aborting it");
            self.start_locked(&mut writer, &id)?;
        }
        Ok(writer.transactions.deadline())
    }

    /// Aborts what the store holds as open though no producer is left that could end it.
    pub(crate) fn abort_left_open(&self, writer: &mut Writer) -> PortResult<()> {
        let mut left: BTreeMap<i64, Vec<Arc<Partition>>> = BTreeMap::new();
        let (from, to) = keys::open_transactions();
        let mut found = Vec::new();
        self.store.scan(Space::Meta, &from, &to, &mut |key, value| {
            found.push((key.to_vec(), value));
            ControlFlow::Continue(())
        })?;
        for (key, value) in found {
            let (id, topic, number) = keys::parse_open_transaction(&key).ok_or_else(damaged)?;
            let first = i64::from_be_bytes(*value.first_chunk().ok_or_else(damaged)?);
            let topic = self.topic_by_id(topic).ok_or_else(damaged)?;
            let number = usize::try_from(number).map_err(|_| damaged())?;
            let partition = topic.partitions.get(number).ok_or_else(damaged)?;
            partition.update(|b| {
                b.open.insert(id, first);
            });
            left.entry(id).or_default().push(Arc::clone(partition));
        }
        for (id, partitions) in left {
            self.mark_end(id, &partitions, false)?;
        }
        // Producers of this process, if there are any, were cut off from what they had open.
        let ids: Vec<String> = writer.transactions.0.keys().cloned().collect();
        if writer.reloaded() {
            for id in ids {
                self.start_locked(writer, &id)?;
            }
        }
        Ok(())
    }
}

/// Refuses ids that would break a key of the store.
fn check_id(id: &str) -> PortResult<()> {
    if id.is_empty() || id.contains('\0') {
        return Err(PortError::new(
            PortErrorKind::Invalid,
            "a transactional id can't be empty or hold a zero byte",
        ));
    }
    Ok(())
}

fn fenced(id: &str) -> PortError {
    PortError::new(
        PortErrorKind::Fenced,
        format!(
            "a newer producer with the transactional id {id} has taken over, or it took too long"
        ),
    )
}

fn parse(key: &[u8], value: &[u8]) -> Option<(String, Transaction)> {
    let id = std::str::from_utf8(key.get(1..key.len().checked_sub(1)?)?).ok()?;
    let (producer_id, rest) = value.split_first_chunk()?;
    let transaction = Transaction {
        producer_id: i64::from_be_bytes(*producer_id),
        epoch: i32::from_be_bytes(*rest.first_chunk()?),
        open: None,
    };
    Some((id.to_owned(), transaction))
}
