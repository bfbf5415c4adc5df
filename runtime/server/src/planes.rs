//! Two runtimes: one for control, one for data.
//!
//! Duty: REST, membership and the herder run on threads of their own, so that a task which blocks or
//! burns a core never delays a heartbeat or an answer.

use anyhow::{Context, Result};
use tokio::runtime::{Builder, Runtime};

/// Threads of the control plane.
const CONTROL_THREADS: usize = 2;

/// The two runtimes.
pub(crate) struct Planes {
    /// REST, membership, herder.
    pub(crate) control: Runtime,
    /// Tasks.
    pub(crate) data: Runtime,
}

impl Planes {
    /// Starts both.
    ///
    /// # Errors
    /// If threads can't be started.
    pub(crate) fn start() -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let control = Builder::new_multi_thread()
            .worker_threads(CONTROL_THREADS)
            .thread_name("control")
            .enable_all()
            .build()
            .context("start the control plane's threads")?;
        let data = Builder::new_multi_thread()
            .worker_threads(cores.max(2))
            .thread_name("data")
            .enable_all()
            .build()
            .context("start the data plane's threads")?;
        Ok(Self { control, data })
    }

    /// Ends both, leaving behind what blocks.
    pub(crate) fn stop(self) {
        self.data.shutdown_timeout(STOP_TIMEOUT);
        self.control.shutdown_timeout(STOP_TIMEOUT);
    }
}

/// How long threads may take to end.
const STOP_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);
