//! The threads that a connector's own code runs on.
//!
//! Duty: keep connectors from hurting each other and the worker. What the engine does for a task (its
//! driver, its clients) runs on the data plane's shared threads, which never run foreign code. Whatever
//! a connector, its converters and its transforms do runs in the connector's **home**: a small runtime
//! of its own, whose threads it may block or burn without anybody else missing them.
//! [`Homes`] opens homes; a [`Place`] is where to run things in one; [`watch`] notices a thread that is
//! not given back.
//!
//! Invariants:
//! - foreign code runs in a home and nowhere else, so a home's loss is its connector's alone;
//! - a home ends with its last owner, and what the connector spawned by itself ends with it; a thread
//!   that is stuck is left behind and dies when it comes back;
//! - a home all of whose threads are stuck is given up ([`Home::lost`]): tasks that are not to blame are
//!   restarted in a new one.

mod lent;
mod watch;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch as cell;
use tokio::task::JoinHandle;
use towpath_sdk::{Error, ErrorKind, Result};

pub(crate) use lent::{Answer, Lent};
pub use watch::Patience;
use watch::{Slot, Watch, Watched};

use crate::metrics::TaskMetrics;
use crate::task::status::StatusCell;
use crate::task::{TaskId, panic_text};

/// Homes up to which each gets a thread per core; with more of them, the same number of threads is
/// shared out, at least one each.
const FULL_HOMES: usize = 8;
/// Threads for blocking calls that a home may have.
const BLOCKING_THREADS: usize = 64;

/// Opens homes.
pub struct Homes {
    kind: Kind,
    open: Arc<Open>,
}

/// The homes of each connector: those that were given up and are not empty yet, and the one in use.
type Open = Mutex<HashMap<Arc<str>, Vec<Weak<Home>>>>;

enum Kind {
    /// Everything in one runtime, unwatched.
    Shared(Handle),
    /// A runtime each.
    Own(Patience),
}

/// The threads of one connector. Dropping the last owner ends what still runs there.
pub struct Home {
    runtime: Option<Runtime>,
    place: Place,
    lost: cell::Sender<Option<Loss>>,
}

/// Whose code runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The planner of a connector.
    Planner(Arc<str>),
    /// A task.
    Task(TaskId),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Planner(connector) => write!(f, "the planner of {connector}"),
            Self::Task(id) => write!(f, "task {id}"),
        }
    }
}

/// Why a home was given up.
#[derive(Debug, Clone)]
pub struct Loss {
    /// Whose code holds the threads; empty if it is work that the connector spawned by itself.
    pub culprits: Vec<Who>,
    /// For people.
    pub reason: String,
}

/// Where to run a connector's code. Cheap to clone; does not keep the home.
#[derive(Clone)]
pub struct Place {
    handle: Handle,
    watch: Option<Arc<Watch>>,
}

/// Whose code runs, and where it shows if it holds a thread.
#[derive(Clone)]
pub struct Tenant {
    /// Whose.
    pub who: Who,
    /// Its condition.
    pub status: StatusCell,
    /// Its instruments.
    pub metrics: TaskMetrics,
}

impl Homes {
    /// All connectors share one runtime, as in simulations, where there is one thread.
    #[must_use]
    pub fn shared(handle: Handle) -> Self {
        Self { kind: Kind::Shared(handle), open: Arc::default() }
    }

    /// Each connector has a runtime of its own, watched with `patience`.
    #[must_use]
    pub fn own(patience: Patience) -> Self {
        Self { kind: Kind::Own(patience), open: Arc::default() }
    }

    /// The home of `connector`: the one that is open, or a new one.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn of(&self, connector: &Arc<str>) -> Result<Arc<Home>> {
        let mut open = self.open.lock();
        open.retain(|_, homes| {
            homes.retain(|home| home.strong_count() > 0);
            !homes.is_empty()
        });
        let in_use = open.get(connector).and_then(|homes| homes.last()).and_then(Weak::upgrade);
        if let Some(home) = in_use.filter(|home| home.lost.borrow().is_none()) {
            return Ok(home);
        }
        let home = match &self.kind {
            Kind::Shared(handle) => Home {
                runtime: None,
                place: Place { handle: handle.clone(), watch: None },
                lost: cell::Sender::new(None),
            },
            Kind::Own(patience) => {
                Home::open(connector, threads(open.len()), patience).map_err(|error| {
                    Error::new(
                        ErrorKind::OutOfSpace,
                        "no threads for the connector: the limit of threads is reached",
                    )
                    .with_source(error)
                })?
            }
        };
        let home = Arc::new(home);
        open.entry(Arc::clone(connector)).or_default().push(Arc::downgrade(&home));
        drop(open);
        if let Kind::Own(patience) = &self.kind {
            watch::keep(Arc::downgrade(&self.open), *patience);
        }
        Ok(home)
    }
}

/// Threads of a new home beside `others`.
fn threads(others: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    if others < FULL_HOMES { cores } else { (cores * FULL_HOMES / (others + 1)).max(1) }
}

impl Home {
    fn open(connector: &str, threads: usize, patience: &Patience) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .max_blocking_threads(BLOCKING_THREADS)
            // A name with a zero in it would panic.
            .thread_name(format!("c {}", connector.replace('\0', "?")))
            .enable_all()
            .build()?;
        let place = Place {
            handle: runtime.handle().clone(),
            watch: Some(Arc::new(Watch::new(*patience))),
        };
        Ok(Self { runtime: Some(runtime), place, lost: cell::Sender::new(None) })
    }

    /// Where to run things.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place.clone()
    }

    /// How long things may take here.
    #[must_use]
    pub fn patience(&self) -> Patience {
        self.place.watch.as_ref().map_or_else(Patience::default, |watch| watch.patience())
    }

    /// Resolves when the home was given up.
    pub async fn lost(&self) -> Loss {
        let mut lost = self.lost.subscribe();
        let found = lost.wait_for(Option::is_some).await.ok().and_then(|loss| loss.clone());
        match found {
            Some(loss) => loss,
            // The sender lives as long as `self`.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Loss {
    /// What becomes of `tenant`: nothing if it is to blame, since it must be waited for or stopped; an
    /// error that a restart cures if it only lived there.
    ///
    /// # Errors
    /// As said.
    pub fn judge(&self, tenant: &Who) -> Result<()> {
        if self.culprits.contains(tenant) {
            return Ok(());
        }
        let text = format!("it is restarted on other threads, since {}", self.reason);
        Err(Error::new(ErrorKind::Internal, text))
    }
}

impl Place {
    /// The runtime that this is called in, unwatched: for simulations and tests.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn here() -> Self {
        Self { handle: Handle::current(), watch: None }
    }

    /// Runs `future` there. `what` says what it does, for people.
    pub fn spawn<T: Send + 'static>(
        &self,
        tenant: &Tenant,
        what: impl Into<Cow<'static, str>>,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.handle.spawn(self.watched(tenant, what, future))
    }

    /// The same future, watched; for whoever spawns it there in a way of his own.
    pub(crate) fn watched<T: Send + 'static>(
        &self,
        tenant: &Tenant,
        what: impl Into<Cow<'static, str>>,
        future: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static {
        let slot = self.watch.as_ref().map(|watch| {
            let slot = Arc::new(Slot::new(tenant.clone(), what.into()));
            watch.add(&slot);
            slot
        });
        Watched::new(slot, future)
    }

    /// Runs `future` there to its end; dropping the result cuts it off.
    ///
    /// # Errors
    /// Its own, or that it panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        tenant: &Tenant,
        what: &'static str,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let mut task = AbortOnDrop(self.spawn(tenant, what, future));
        match (&mut task.0).await {
            Ok(result) => result,
            Err(error) => Err(broken(error, what)),
        }
    }

    /// The runtime.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

/// A task that is cut off when this is dropped.
pub(crate) struct AbortOnDrop<T>(pub(crate) JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a task's abrupt end means.
pub(crate) fn broken(error: tokio::task::JoinError, what: &str) -> Error {
    let text = if error.is_panic() {
        format!("{what} panicked: {}", panic_text(error.into_panic()))
    } else {
        format!("{what} was cut off")
    };
    Error::new(ErrorKind::Internal, text)
}

/// How long something may take before the engine goes on without it.
pub(crate) async fn within<T>(
    limit: Duration,
    tenant: &Tenant,
    what: &str,
    future: impl Future<Output = Result<T>>,
) -> Result<Option<T>> {
    match tokio::time::timeout(limit, future).await {
        Ok(result) => result.map(Some),
        Err(_elapsed) => {
            tracing::warn!(who = %tenant.who, what, ?limit, "the connector does not answer and is left behind");
            Ok(None)
        }
    }
}
