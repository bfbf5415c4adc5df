//! Following the fleet and the internal topics.
//!
//! Duty: tasks that reach what they need for as long as it takes, and turn it into events.
//!
//! Invariants: a follower ends only by being aborted, or with an error that no waiting cures, which ends
//! the worker.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use towpath_formats::config_topic::ConfigRecord;
use towpath_formats::status_topic::StatusRecord;
use towpath_sdk::context::Backoff;

use super::HerderOptions;
use super::driver::Note;
use super::event::Event;
use super::service::Shared;
use crate::ports::{
    Cluster, CompactedTable, Entry, Membership, MembershipEvent, PortError, PortErrorKind,
    PortResult, TableEvent, TableSpec,
};

/// The longest pause between tries to reach Kafka.
const PAUSE: Duration = Duration::from_secs(5);

/// Opens a table, as often as it takes.
///
/// # Errors
/// If the topic is there and is not what it must be.
pub(super) async fn open(
    cluster: &dyn Cluster,
    spec: &TableSpec,
    shared: &Shared,
) -> PortResult<Arc<dyn CompactedTable>> {
    let purpose = spec.purpose;
    shared.starting(format!("opening the {purpose} topic {}", spec.topic));
    let mut backoff = Backoff::default();
    loop {
        match cluster.table(spec.clone()).await {
            Ok(table) => return Ok(table),
            Err(error) if error.kind == PortErrorKind::Invalid => return Err(error),
            Err(error) => {
                let stage = format!("waiting for the {purpose} topic {}: {error}", spec.topic);
                tracing::warn!("{stage}");
                shared.starting(stage);
                sleep(backoff.next(None).min(PAUSE)).await;
            }
        }
    }
}

/// What a table's entries mean.
pub(super) struct Reading {
    pub(super) entry: fn(&Entry) -> Option<Event>,
    pub(super) caught_up: Event,
    /// What says that everything comes once more, if that matters.
    pub(super) again: Option<Event>,
}

impl Reading {
    pub(super) fn configs() -> Self {
        let again = Some(Event::ConfigRestarts);
        Self { entry: config_event, caught_up: Event::ConfigCaughtUp, again }
    }

    pub(super) fn statuses() -> Self {
        Self { entry: status_event, caught_up: Event::StatusCaughtUp, again: None }
    }
}

fn config_event(entry: &Entry) -> Option<Event> {
    match ConfigRecord::parse(&entry.key, entry.value.as_deref()) {
        Ok(record) => Some(Event::Config(record)),
        Err(error) => {
            tracing::warn!(%error, "skipped a record of the config topic");
            None
        }
    }
}

fn status_event(entry: &Entry) -> Option<Event> {
    match StatusRecord::parse(&entry.key, entry.value.as_deref()) {
        Ok(record) => Some(Event::Status(record)),
        Err(error) => {
            tracing::warn!(%error, "skipped a record of the status topic");
            None
        }
    }
}

/// Follows a table for ever.
pub(super) async fn follow(
    table: Arc<dyn CompactedTable>,
    reading: Reading,
    shared: Arc<Shared>,
    notes: mpsc::Sender<Note>,
) {
    let mut backoff = Backoff::default();
    let mut first = true;
    loop {
        shared.starting(format!("reading the topic {}", table.topic()));
        match table.follow().await {
            Ok(mut events) => {
                if !std::mem::take(&mut first) {
                    let again = reading.again.clone().into_iter().collect();
                    if notes.send(Note::Events(again)).await.is_err() {
                        return;
                    }
                }
                while let Some(event) = events.recv().await {
                    let events = match event {
                        TableEvent::Entries(entries) => {
                            entries.iter().filter_map(reading.entry).collect()
                        }
                        TableEvent::CaughtUp => {
                            backoff.reset();
                            vec![reading.caught_up.clone()]
                        }
                        TableEvent::Trouble(trouble) => {
                            say(&trouble, table.topic(), &shared);
                            continue;
                        }
                    };
                    if notes.send(Note::Events(events)).await.is_err() {
                        return;
                    }
                }
                tracing::warn!(topic = table.topic(), "the topic must be read anew");
            }
            Err(error) => say(&Some(error), table.topic(), &shared),
        }
        sleep(backoff.next(None).min(PAUSE)).await;
    }
}

fn say(trouble: &Option<PortError>, topic: &str, shared: &Shared) {
    match trouble {
        Some(error) => {
            tracing::warn!(%error, topic, "reading an internal topic fails");
            shared.starting(format!("waiting to read the topic {topic}: {error}"));
        }
        None => tracing::info!(topic, "reading an internal topic goes on"),
    }
}

/// Takes a seat in the fleet and keeps it until `leave`.
///
/// # Errors
/// If another worker holds the seat from the start, and keeps it.
pub(super) async fn member(
    cluster: Arc<dyn Cluster>,
    options: Arc<HerderOptions>,
    shared: Arc<Shared>,
    notes: mpsc::Sender<Note>,
    leave: CancellationToken,
) -> PortResult<()> {
    let give_up = Instant::now() + options.seat_timeout;
    let mut had_seat = false;
    let mut backoff = Backoff::default();
    loop {
        let join = cluster.join(options.group_id.clone(), options.worker_id.clone());
        let joined = tokio::select! {
            biased;
            () = leave.cancelled() => return Ok(()),
            joined = join => joined,
        };
        let error = match joined {
            Ok(seat) => {
                had_seat = true;
                backoff.reset();
                match sit(seat, &notes, &leave).await {
                    Some(error) => error,
                    None => return Ok(()),
                }
            }
            Err(error) => error,
        };
        if error.kind == PortErrorKind::Occupied && !had_seat && Instant::now() >= give_up {
            return Err(error);
        }
        let reason = format!("failed to join the fleet {}: {error}", options.group_id);
        tracing::warn!("{reason}");
        shared.starting(format!("trying to join the fleet: {error}"));
        if had_seat && notes.send(Note::Events(vec![Event::Left { reason }])).await.is_err() {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = leave.cancelled() => return Ok(()),
            () = sleep(backoff.next(None).min(PAUSE)) => {}
        }
    }
}

/// Passes on what happens to the seat; `None`: it was given up as asked.
async fn sit(
    mut seat: Box<dyn Membership>,
    notes: &mpsc::Sender<Note>,
    leave: &CancellationToken,
) -> Option<PortError> {
    loop {
        let event = tokio::select! {
            biased;
            () = leave.cancelled() => {
                seat.leave().await;
                return None;
            }
            event = seat.next() => event,
        };
        let event = match event {
            Ok(MembershipEvent::Joined { generation, leader }) => {
                Event::Joined { generation, leader }
            }
            Ok(MembershipEvent::Left { reason }) => Event::Left { reason },
            Err(error) => return Some(error),
        };
        notes.send(Note::Events(vec![event])).await.ok()?;
    }
}
