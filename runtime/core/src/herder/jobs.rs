//! What the driver has running beside its loop.
//!
//! Duty: one small task for each planner, task and write, which reports back. Connectors' own code runs
//! on the data plane.
//!
//! Invariants: each run's end is reported exactly once.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use towpath_formats::Properties;
use towpath_sdk::config;
use towpath_sdk::context::Backoff;
use towpath_sdk::{Error, Result};

use super::configs::Name;
use super::driver::Note;
use super::event::{Event, Failure, PlannerReport, Run, TaskReport, WriteFailure};
use super::launcher::{Launcher, TaskHandle};
use crate::ports::{CompactedTable, Entry, PortError, PortErrorKind, PortResult};
use crate::task::status::Activity;
use crate::task::{TaskId, panic_text};

/// How long a planner may take to end; it holds nothing that a successor could trip over.
const PLANNER_STOP: Duration = Duration::from_secs(5);
/// How long a write to an internal topic is tried again.
const WRITE_TRIES: Duration = Duration::from_secs(30);
/// The longest pause between these tries.
const WRITE_PAUSE: Duration = Duration::from_secs(2);

/// The same properties as the SDK's type.
pub(super) fn for_sdk(properties: &Properties) -> config::Properties {
    properties.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

/// The same properties as the REST API's and the records' type.
fn for_formats(properties: &config::Properties) -> Properties {
    properties.iter().collect()
}

async fn tell(notes: &mpsc::Sender<Note>, event: Event) {
    // The driver is gone only when nobody is left to be told.
    drop(notes.send(Note::Events(vec![event])).await);
}

/// Runs a planner until `stop`.
pub(super) async fn planner(
    launcher: Arc<dyn Launcher>,
    data: Handle,
    connector: Name,
    run: Run,
    properties: Arc<Properties>,
    notes: mpsc::Sender<Note>,
    stop: CancellationToken,
) {
    let plan = plan(launcher, Name::clone(&connector), run, for_sdk(&properties), notes.clone());
    let mut planning = AbortOnDropHandle::new(data.spawn(plan));
    let ended = tokio::select! {
        biased;
        () = stop.cancelled() => None,
        ended = &mut planning => Some(ended),
    };
    let result = match ended {
        Some(Ok(Ok(()))) => Ok(()),
        Some(Ok(Err(error))) => Err(Failure::from(&error)),
        Some(Err(error)) if error.is_panic() => {
            let text = format!("the connector panicked: {}", panic_text(error.into_panic()));
            Err(Failure::from(&Error::internal(text)))
        }
        Some(Err(_)) => Ok(()),
        None => {
            planning.abort();
            if timeout(PLANNER_STOP, planning).await.is_err() {
                tracing::warn!(%connector, "the connector blocks its thread and was left behind");
            }
            Ok(())
        }
    };
    tell(&notes, Event::Planner { connector, run, report: PlannerReport::Ended(result) }).await;
}

async fn plan(
    launcher: Arc<dyn Launcher>,
    connector: Name,
    run: Run,
    properties: config::Properties,
    notes: mpsc::Sender<Note>,
) -> Result<()> {
    let report = |report| Event::Planner { connector: Name::clone(&connector), run, report };
    let mut planner = launcher.planner(Name::clone(&connector), properties).await?;
    tell(&notes, report(PlannerReport::Started)).await;
    loop {
        let shares = planner.plan().await?.iter().map(for_formats).collect();
        tell(&notes, report(PlannerReport::Planned(shares))).await;
        planner.changed().await?;
    }
}

/// Passes on what a task does until it ends.
pub(super) async fn task(id: TaskId, run: Run, handle: TaskHandle, notes: mpsc::Sender<Note>) {
    let TaskHandle { status, ended, wanted: _wanted, .. } = handle;
    let mut status = status.watch();
    let mut ended = ended;
    let mut told = Activity::Starting;
    let mut changes = true;
    loop {
        let now = status.borrow_and_update().activity.clone();
        if now != told {
            told = now.clone();
            let report = TaskReport::Activity(now);
            tell(&notes, Event::Task { id: id.clone(), run, report }).await;
        }
        tokio::select! {
            biased;
            end = &mut ended => {
                let result = end.as_ref().map(|_| ()).map_err(Failure::from);
                if let Err(failure) = &result {
                    tracing::error!(task = %id, reason = %failure.reason, "the task failed");
                }
                let report = TaskReport::Ended(result);
                tell(&notes, Event::Task { id, run, report }).await;
                return;
            }
            changed = status.changed(), if changes => changes = changed.is_ok(),
        }
    }
}

/// Fences producers.
pub(super) async fn fence(
    launcher: Arc<dyn Launcher>,
    connector: Name,
    commit: u64,
    properties: Arc<Properties>,
    ids: Vec<String>,
    limit: Duration,
    notes: mpsc::Sender<Note>,
) {
    let fencing = async {
        let admin = launcher.admin(for_sdk(&properties)).await?;
        admin.fence(ids).await.map_err(Error::from)
    };
    let result = match timeout(limit, fencing).await {
        Ok(result) => result.map_err(|error| error.chain()),
        Err(_) => Err(format!("the broker did not answer within {} s", limit.as_secs())),
    };
    tell(&notes, Event::Fenced { connector, commit, result }).await;
}

/// Writes entries, trying again what may heal and what may not have been done.
pub(super) async fn put(table: &dyn CompactedTable, entries: Vec<Entry>) -> PortResult<()> {
    let give_up = Instant::now() + WRITE_TRIES;
    let mut backoff = Backoff::default();
    loop {
        let Err(error) = table.put(entries.clone()).await else { return Ok(()) };
        let again = matches!(
            error.kind,
            PortErrorKind::Unknown | PortErrorKind::Unreachable | PortErrorKind::Degraded
        );
        let pause = backoff.next(None).min(WRITE_PAUSE);
        if !again || Instant::now() + pause >= give_up {
            return Err(error);
        }
        tracing::warn!(%error, topic = table.topic(), "writing to an internal topic fails");
        sleep(pause).await;
    }
}

impl From<PortError> for WriteFailure {
    fn from(error: PortError) -> Self {
        match error.kind {
            PortErrorKind::Unknown => Self::Unknown(error.text),
            PortErrorKind::Fenced => Self::Fenced(error.text),
            _ => Self::Refused(error.text),
        }
    }
}
