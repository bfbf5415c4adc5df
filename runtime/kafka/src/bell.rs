//! Waking a thread that waits for several things.
//!
//! Duty: one place where a client's thread waits, and that anybody (librdkafka's threads, tasks, a
//! budget) can ring. A ring is never lost: one that comes while the thread works makes its next wait
//! return at once.

use std::sync::Arc;
use std::sync::OnceLock;
use std::task::Wake;
use std::thread::Thread;
use std::time::Duration;

/// Rings the thread that called [`Bell::listen`].
#[derive(Debug, Default)]
pub(crate) struct Bell(OnceLock<Thread>);

impl Bell {
    /// The calling thread is the one that waits. To be called before it looks for work.
    pub(crate) fn listen(&self) {
        self.0.get_or_init(std::thread::current);
    }

    /// Wakes the thread, or lets its next wait return at once.
    pub(crate) fn ring(&self) {
        if let Some(thread) = self.0.get() {
            thread.unpark();
        }
    }

    /// Waits for a ring, or until `timeout` has passed.
    pub(crate) fn wait(timeout: Option<Duration>) {
        match timeout {
            Some(timeout) => std::thread::park_timeout(timeout),
            None => std::thread::park(),
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_before_the_wait_is_kept() {
        let bell = Arc::new(Bell::default());
        bell.ring();
        bell.listen();
        bell.ring();
        Bell::wait(None);
    }
}
