//! What is known to be stored.
//!
//! Duty: take what the engine acknowledges, and tell those who wait for it: how far the server may be told,
//! how far signals of a topic are taken care of, and whether all that was handed over before some moment
//! is in its topics.

use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::watch;
use towpath_sdk::offset::{SourceOffset, SourcePartition};
use towpath_sdk::signal::TopicPositions;
use towpath_sdk::source::Mark;
use towpath_sdk::{Error, Result};

use crate::config::Config;
use crate::config::signals::Channel;
use crate::offset::{self, Confirmed, SERVER, Stored};
use crate::output::Output;
use crate::pieces::Piece;
use crate::signal::inbox;

const BARRIER: &str = "barrier";
const COUNT: &str = "count";

/// What was stored, for those who wait for it.
#[derive(Debug)]
pub(crate) struct Acknowledged {
    topic_prefix: String,
    /// The topic of signals, if they are taken from one.
    topic: Option<String>,
    /// The partitions of the stream and of the barrier.
    stream: SourcePartition,
    barrier: SourcePartition,
    confirmed: watch::Sender<Confirmed>,
    signals: watch::Sender<TopicPositions>,
    barriers: watch::Sender<i64>,
}

impl Acknowledged {
    /// For a task.
    #[must_use]
    pub(crate) fn new(config: &Config) -> Self {
        let (prefix, signals) = (&config.topic_prefix, &config.signals);
        Self {
            topic_prefix: prefix.clone(),
            topic: signals.has(Channel::Kafka).then(|| signals.topic(prefix)),
            stream: offset::partition(prefix),
            barrier: SourcePartition::of([(SERVER, prefix.as_str()), (BARRIER, "deletes")]),
            confirmed: watch::Sender::default(),
            signals: watch::Sender::default(),
            barriers: watch::Sender::default(),
        }
    }

    /// Up to where everything is stored.
    pub(crate) fn confirmed(&self) -> watch::Receiver<Confirmed> {
        self.confirmed.subscribe()
    }

    /// How far signals of a topic are.
    pub(crate) fn signals(&self) -> watch::Receiver<TopicPositions> {
        self.signals.subscribe()
    }

    /// A barrier for the work that begins now: what former work has waited for does not count.
    pub(crate) fn barrier(&self) -> Barrier {
        self.barriers.send_replace(0);
        let (raised, partition) = (AtomicI64::new(0), self.barrier.clone());
        Barrier { partition, raised, stored: self.barriers.subscribe() }
    }

    /// Takes what was stored.
    ///
    /// # Errors
    /// If it is no offset of ours.
    pub(crate) fn take(&self, upto: &[(SourcePartition, SourceOffset)]) -> Result<()> {
        for (of, offset) in upto {
            if *of == self.stream {
                let stored = Stored::read(offset)?;
                self.confirmed.send_if_modified(|confirmed| confirmed.take(&stored));
            } else if *of == self.barrier {
                self.barriers.send_replace(offset.get_i64(COUNT).unwrap_or_default());
            }
        }
        let Some(topic) = &self.topic else { return Ok(()) };
        let signals = inbox::positions(upto, &self.topic_prefix, topic);
        if !signals.is_empty() {
            self.signals.send_modify(|known| known.extend(signals));
        }
        Ok(())
    }
}

/// A mark behind all that was handed over so far, whose storing can be waited for. Pieces are stored in the
/// order in which they are handed over.
#[derive(Debug)]
pub(crate) struct Barrier {
    partition: SourcePartition,
    raised: AtomicI64,
    stored: watch::Receiver<i64>,
}

impl Barrier {
    /// Waits until all that was handed over to `output` is stored, and so in its topics.
    ///
    /// # Errors
    /// If nobody polls any more.
    pub(crate) async fn all_is_stored(&self, output: &Output) -> Result<()> {
        let count = self.raised.fetch_add(1, Ordering::Relaxed) + 1;
        let mark = Mark::new(0, self.partition.clone(), SourceOffset::of([(COUNT, count)]));
        output.send(Piece { records: Vec::new(), marks: vec![mark] }, 0).await?;
        let stored = self.stored.clone().wait_for(|stored| *stored >= count).await.map(drop);
        // Whoever acknowledges goes with the task, as this does.
        stored.map_err(|_gone| Error::internal("wait until all is stored"))
    }

    /// The mark after which nothing is known of it.
    pub(crate) fn forget(&self) -> Mark {
        Mark::forget(0, self.partition.clone())
    }
}
