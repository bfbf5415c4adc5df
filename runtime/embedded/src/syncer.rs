//! Forces writes to the disk every so often.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use towpath_broker::store::Store;

use crate::store::DiskStore;

/// A thread that syncs a store until it is dropped.
pub(crate) struct Syncer {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// Syncs `store` every `interval` if something was written.
    pub(crate) fn start(store: Arc<DiskStore>, interval: Duration) -> std::io::Result<Self> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("towpath-log-sync".to_owned())
            .spawn(move || run(&store, &stopped, interval))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

fn run(store: &DiskStore, (stop, wake): &(Mutex<bool>, Condvar), interval: Duration) {
    let mut stopped = stop.lock();
    while !*stopped {
        wake.wait_for(&mut stopped, interval);
        if store.take_dirty()
            && let Err(error) = store.sync()
        {
            tracing::warn!(%error, "the log could not be synced; it is tried again");
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        *self.stop.0.lock() = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that syncs the log had died");
        }
    }
}
