//! The herder's driver, from the outside: options in, a service and its handle out.
//!
//! Duty: reach the fleet and the internal topics, for as long as it takes and saying so meanwhile; then
//! feed the state machine and carry out what it asks for.
//!
//! Invariants: runs on the control plane's runtime and never waits for a connector's code there.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::RwLock;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use towpath_sdk::clock::Clock;

use super::driver::Driver;
use super::event::{Reply, Request};
use super::handle::Herder;
use super::launcher::Launcher;
use super::view::{Readiness, Snapshot};
use super::{HerderError, HerderOptions};
use crate::ports::{Cluster, PortResult};
use crate::task::TaskId;
use crate::task::host::SignalBox;
use crate::task::status::StatusCell;
use crate::topics::TopicUse;

/// Requests that may wait for the herder.
const REQUESTS: usize = 256;

/// Decides what runs on this worker, and keeps it running.
pub struct HerderService {
    pub(super) options: Arc<HerderOptions>,
    pub(super) cluster: Arc<dyn Cluster>,
    pub(super) launcher: Arc<dyn Launcher>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) data: Handle,
    pub(super) topic_uses: mpsc::Receiver<TopicUse>,
    pub(super) asks: mpsc::Receiver<Ask>,
    pub(super) shared: Arc<Shared>,
}

/// A request on its way to the herder.
pub(super) struct Ask {
    pub(super) request: Request,
    pub(super) limit: Duration,
    pub(super) reply: oneshot::Sender<Result<Reply, HerderError>>,
}

/// What the handle reads without asking the service.
pub(super) struct Shared {
    pub(super) snapshot: ArcSwap<Snapshot>,
    /// Follows the snapshot's readiness.
    pub(super) readiness: watch::Sender<Readiness>,
    /// The conditions of the tasks that run here.
    pub(super) conditions: RwLock<std::collections::BTreeMap<TaskId, Condition>>,
}

/// What is shared of a task that runs here.
pub(super) struct Condition {
    pub(super) status: StatusCell,
    pub(super) signals: SignalBox,
}

impl Shared {
    /// The worker is still starting, and busy with `stage`.
    pub(super) fn starting(&self, stage: String) {
        self.readiness.send_if_modified(|readiness| {
            let starting = matches!(readiness, Readiness::Starting(now) if *now != stage);
            if starting {
                *readiness = Readiness::Starting(stage);
            }
            starting
        });
    }

    /// What the worker is busy with, for messages.
    pub(super) fn stage(&self) -> String {
        match &*self.readiness.borrow() {
            Readiness::Starting(stage) => stage.clone(),
            Readiness::Ready => "handling other requests".to_owned(),
            Readiness::Out(reason) => format!("out of the fleet: {reason}"),
        }
    }
}

impl HerderService {
    /// A herder for the worker that `options` name. Connectors' planners run on `data`, the data
    /// plane's runtime; `topic_uses` is where tasks note the topics that they use.
    #[must_use]
    pub fn new(
        options: HerderOptions,
        cluster: Arc<dyn Cluster>,
        launcher: Arc<dyn Launcher>,
        clock: Arc<dyn Clock>,
        data: Handle,
        topic_uses: mpsc::Receiver<TopicUse>,
    ) -> (Self, Herder) {
        let options = Arc::new(options);
        let (sender, asks) = mpsc::channel(REQUESTS);
        let shared = Arc::new(Shared {
            snapshot: ArcSwap::default(),
            readiness: watch::Sender::new(Readiness::default()),
            conditions: RwLock::default(),
        });
        let herder = Herder::new(
            Arc::clone(&options),
            Arc::clone(&launcher),
            Arc::clone(&clock),
            sender,
            Arc::clone(&shared),
        );
        (Self { options, cluster, launcher, clock, data, topic_uses, asks, shared }, herder)
    }

    /// Runs until `cancel`, then stops every task here and leaves the fleet.
    ///
    /// # Errors
    /// If this worker can't be what it is configured to be: another one has its seat, or an internal
    /// topic is not compacted. Whatever may heal is waited for instead, with the reason in
    /// [`Herder::health`].
    pub async fn run(self, cancel: CancellationToken) -> PortResult<()> {
        Driver::new(self).run(cancel).await
    }
}
