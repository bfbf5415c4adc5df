//! The network between a worker and the simulated cluster.
//!
//! Duty: decide, from one seed, how long things take, what gets lost on the way there or back, and when
//! no broker answers.
//!
//! Invariant: all chance comes from here, drawn in the order in which the one thread asks, so that a
//! seed gives one run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::time::Instant;
use towpath_core::ports::{PortError, PortErrorKind, PortResult};

/// How long a client waits for an answer.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a producer tries to deliver.
pub(crate) const DELIVERY_TIMEOUT: Duration = Duration::from_secs(60);

/// How faulty the world is. Shares are between 0 and 1; rates are per second of simulated time.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    /// The longest usual delay of a message; one in a hundred takes four times as long.
    pub delay: Duration,
    /// Share of produced batches whose outcome is unknown to the client.
    pub produce_unknown: f64,
    /// Share of produced batches of which some records are refused for now.
    pub produce_refused: f64,
    /// Share of commits of a consumer whose outcome is unknown to it.
    pub commit_unknown: f64,
    /// Share of commits of a consumer that the broker refuses for now.
    pub commit_refused: f64,
    /// Share of transactions' ends whose outcome is unknown to the client.
    pub transaction_unknown: f64,
    /// Share of transactions that the broker aborts instead of committing.
    pub transaction_aborted: f64,
    /// Share of all other requests whose outcome is unknown to the client.
    pub request_unknown: f64,
    /// Share of messages to a table's follower before which reading is interrupted.
    pub follow_trouble: f64,
    /// Rate at which all brokers become unreachable.
    pub outages: f64,
    /// Rate at which partitions are taken away from consumers and given to others for a while.
    pub rebalances: f64,
    /// Rate at which a consumer's session ends without a word.
    pub session_losses: f64,
    /// Rate at which the worker's session in the fleet ends.
    pub seat_losses: f64,
    /// Rate at which compacted topics are compacted.
    pub compactions: f64,
}

impl Faults {
    /// A perfect world.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            delay: Duration::ZERO,
            produce_unknown: 0.0,
            produce_refused: 0.0,
            commit_unknown: 0.0,
            commit_refused: 0.0,
            transaction_unknown: 0.0,
            transaction_aborted: 0.0,
            request_unknown: 0.0,
            follow_trouble: 0.0,
            outages: 0.0,
            rebalances: 0.0,
            session_losses: 0.0,
            seat_losses: 0.0,
            compactions: 0.0,
        }
    }

    /// Slow, and nothing else.
    #[must_use]
    pub const fn slow() -> Self {
        Self { delay: Duration::from_millis(40), compactions: 0.2, ..Self::none() }
    }

    /// Everything goes wrong now and then.
    #[must_use]
    pub const fn rough() -> Self {
        Self {
            delay: Duration::from_millis(40),
            produce_unknown: 0.02,
            produce_refused: 0.02,
            commit_unknown: 0.1,
            commit_refused: 0.1,
            transaction_unknown: 0.05,
            transaction_aborted: 0.05,
            request_unknown: 0.05,
            follow_trouble: 0.02,
            outages: 0.02,
            rebalances: 0.05,
            session_losses: 0.02,
            seat_losses: 0.01,
            compactions: 0.2,
        }
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is carried out and answered.
    Answered,
    /// It is carried out, but the answer is lost.
    AnswerLost,
    /// It is lost on the way there.
    RequestLost,
}

/// See the module's head.
pub(crate) struct Net {
    rng: Mutex<SmallRng>,
    faults: Mutex<Faults>,
    down: watch::Sender<bool>,
    calm: AtomicBool,
}

impl Net {
    pub(crate) fn new(seed: u64, faults: Faults) -> Self {
        Self {
            rng: Mutex::new(SmallRng::seed_from_u64(seed)),
            faults: Mutex::new(faults),
            down: watch::Sender::new(false),
            calm: AtomicBool::new(false),
        }
    }

    /// Reads one share or rate.
    pub(crate) fn fault<T>(&self, of: impl FnOnce(&Faults) -> T) -> T {
        of(&self.faults.lock())
    }

    /// From now on everything goes well.
    pub(crate) fn calm(&self) {
        *self.faults.lock() = Faults::none();
        self.calm.store(true, Ordering::Release);
        self.set_down(false);
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Acquire)
    }

    /// True with probability `share`.
    pub(crate) fn chance(&self, share: f64) -> bool {
        share > 0.0 && self.rng.lock().random_bool(share.min(1.0))
    }

    /// A number below `below`.
    pub(crate) fn pick(&self, below: usize) -> usize {
        if below < 2 { 0 } else { self.rng.lock().random_range(0..below) }
    }

    /// A time between `least` and `most`.
    pub(crate) fn between(&self, least: Duration, most: Duration) -> Duration {
        if most <= least { least } else { self.rng.lock().random_range(least..most) }
    }

    /// How long the next message takes.
    pub(crate) fn latency(&self) -> Duration {
        let most = self.fault(|f| f.delay);
        if most.is_zero() {
            return most;
        }
        let most = if self.chance(0.01) { most * 4 } else { most };
        self.between(Duration::from_micros(100), most)
    }

    /// Takes as long as a message.
    pub(crate) async fn delay(&self) {
        let latency = self.latency();
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.down.send_if_modified(|now| std::mem::replace(now, down) != down);
    }

    pub(crate) fn is_down(&self) -> bool {
        *self.down.borrow()
    }

    pub(crate) fn watch_down(&self) -> watch::Receiver<bool> {
        self.down.subscribe()
    }

    /// A request's way to the broker.
    pub(crate) async fn arrive(&self, timeout: Duration) -> PortResult<()> {
        self.delay().await;
        self.wait_until_up(timeout).await
    }

    /// Waits until some broker answers, for so long.
    pub(crate) async fn wait_until_up(&self, timeout: Duration) -> PortResult<()> {
        let mut down = self.watch_down();
        let up = tokio::time::timeout(timeout, down.wait_for(|down| !down)).await;
        match up {
            Ok(_) => Ok(()),
            Err(_elapsed) => Err(unreachable()),
        }
    }

    /// What becomes of a request whose outcome is unknown with probability `unknown`.
    pub(crate) fn fate(&self, unknown: f64) -> Fate {
        if !self.chance(unknown) {
            Fate::Answered
        } else if self.chance(0.5) {
            Fate::AnswerLost
        } else {
            Fate::RequestLost
        }
    }

    /// Carries a request out, or not, and answers, or not.
    pub(crate) async fn request<T>(
        &self,
        unknown: f64,
        operation: impl Future<Output = PortResult<T>>,
    ) -> PortResult<T> {
        let began = Instant::now();
        self.arrive(REQUEST_TIMEOUT).await?;
        match self.fate(unknown) {
            Fate::Answered => {
                let answer = operation.await;
                self.delay().await;
                return answer;
            }
            Fate::AnswerLost => drop(operation.await),
            Fate::RequestLost => {}
        }
        tokio::time::sleep_until(began + REQUEST_TIMEOUT).await;
        Err(no_answer())
    }
}

pub(crate) fn unreachable() -> PortError {
    PortError::new(PortErrorKind::Unreachable, "no broker answers (simulated)")
}

pub(crate) fn no_answer() -> PortError {
    PortError::new(PortErrorKind::Unknown, "no answer in time (simulated)")
}

pub(crate) fn refused() -> PortError {
    PortError::new(PortErrorKind::Degraded, "not enough replicas are in sync (simulated)")
}
