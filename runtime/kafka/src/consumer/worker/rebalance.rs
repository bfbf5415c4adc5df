//! Partitions that come and go.
//!
//! Duty: take partitions on and give them up, and have those that stay go on where they were.

use std::collections::HashMap;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::{Consumer as _, RebalanceProtocol};
use rdkafka::error::KafkaError;
use tokio::sync::oneshot;
use towpath_core::ports::{ConsumerEvent, PortResult, Revoked};
use towpath_sdk::record::TopicPartition;
use towpath_sdk::sink::Epoch;

use super::super::Item;
use super::{SEEK_TIMEOUT, Slot, Worker, list};
use crate::bell::Bell;
use crate::context::Scope;
use crate::error;

/// Partitions that are being given up.
pub(super) struct Revocation {
    places: Vec<TopicPartition>,
    /// The engine's word; `None` when it is there, or was not asked for.
    word: Option<oneshot::Receiver<()>>,
    /// They are gone already: nothing may be committed.
    lost: bool,
    deadline: Instant,
}

impl Revocation {
    /// Whether what `place` has delivered may still be committed.
    pub(super) fn may_commit(&self, place: &TopicPartition) -> bool {
        !self.lost && self.places.contains(place)
    }
}

impl Worker {
    pub(super) fn assigned(&mut self, places: Vec<TopicPartition>) {
        self.last_epoch += 1;
        let epoch = Epoch(self.last_epoch);
        for place in &places {
            if !self.data.take_partition(&place.topic, place.partition) {
                tracing::error!(%place, "librdkafka gave no queue for a partition");
            }
            let slot = Slot {
                place: place.clone(),
                epoch,
                run: None,
                end: -1,
                delivered: false,
                failing: false,
            };
            self.slots.entry(Arc::clone(&place.topic)).or_default().insert(place.partition, slot);
        }
        let list = list(places.iter().map(|place| (place, Offset::Offset(0))));
        let assign = match self.native.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.native.incremental_assign(&list),
            _ => self.native.assign(&list),
        };
        let outcome = match places.is_empty() {
            true => assign,
            false => assign.and_then(|()| self.native.pause(&list)),
        };
        if let Err(error) = outcome {
            let error = error::from_kafka(&error).context("failed to take partitions on");
            self.native.context().troubled(error, Scope::Group);
        } else {
            self.native.context().healed(Scope::Group);
        }
        self.go_on();
        if !places.is_empty() {
            let event = ConsumerEvent::Assigned { partitions: places, epoch };
            self.outbox.push_back(Item::Event(event));
        }
    }

    pub(super) fn revoking(&mut self, places: Vec<TopicPartition>) {
        let lost = self.native.assignment_lost();
        for place in &places {
            if let Some(slots) = self.slots.get_mut(&place.topic) {
                slots.remove(&place.partition);
            }
        }
        self.drop_backlog_of_unstarted();
        self.see_whether_data_healed();
        let mut revocation = Revocation {
            places: places.clone(),
            word: None,
            lost,
            deadline: Instant::now() + self.patience,
        };
        if places.is_empty() {
            // Nothing to tell.
        } else if lost {
            self.outbox.push_back(Item::Event(ConsumerEvent::Lost { partitions: places }));
        } else {
            let (done, word) = Revoked::channel();
            revocation.word = Some(word);
            let event = ConsumerEvent::Revoking { partitions: places, done };
            self.outbox.push_back(Item::Event(event));
        }
        self.revocation = Some(revocation);
    }

    /// Gives partitions up when the engine has said its word and all commits are answered.
    pub(super) fn give_up(&mut self) {
        let Some(revocation) = &mut self.revocation else { return };
        if let Some(word) = &mut revocation.word {
            let mut cx = TaskContext::from_waker(&self.waker);
            if Pin::new(word).poll(&mut cx) != Poll::Pending {
                revocation.word = None;
            }
        }
        let late = Instant::now() >= revocation.deadline;
        if late {
            tracing::warn!(
                partitions = revocation.places.len(),
                "partitions are given up before their last commit: the group would not wait longer"
            );
        }
        if late || (revocation.word.is_none() && self.commits.is_empty()) {
            self.unassign();
        }
    }

    pub(super) fn unassign(&mut self) {
        let Some(revocation) = self.revocation.take() else { return };
        let done = match self.native.rebalance_protocol() {
            RebalanceProtocol::Cooperative => {
                let places = revocation.places.iter();
                self.native.incremental_unassign(&list(places.map(|p| (p, Offset::Invalid))))
            }
            _ => self.native.unassign(),
        };
        if let Err(error) = done {
            let error = error::from_kafka(&error).context("failed to give partitions up");
            self.native.context().troubled(error, Scope::Group);
        }
        self.go_on();
    }

    /// Lets started partitions go on behind what was delivered, after a rebalance.
    fn go_on(&mut self) {
        let started: Vec<(TopicPartition, i64)> = self
            .slots
            .values()
            .flat_map(HashMap::values)
            .filter(|slot| slot.run.is_some())
            .map(|slot| (slot.place.clone(), slot.end))
            .collect();
        self.backlog.retain(|_, _| false);
        if !started.is_empty()
            && let Err(error) = self.seek(&started)
        {
            self.broken = Some(error);
        }
    }

    pub(super) fn seek(&self, to: &[(TopicPartition, i64)]) -> PortResult<()> {
        let failed = |e: KafkaError| error::from_kafka(&e).context("failed to seek");
        let deadline = Instant::now() + SEEK_TIMEOUT;
        loop {
            let wanted = list(to.iter().map(|(place, offset)| (place, Offset::Offset(*offset))));
            let sought = self.native.seek_partitions(wanted, SEEK_TIMEOUT).map_err(failed)?;
            let refused = sought.elements().into_iter().find_map(|e| e.error().err());
            match refused {
                None => return Ok(()),
                // Its fetcher is still being started or stopped.
                Some(_) if Instant::now() < deadline => Bell::wait(Some(Duration::from_millis(5))),
                Some(error) => return Err(failed(error)),
            }
        }
    }
}
