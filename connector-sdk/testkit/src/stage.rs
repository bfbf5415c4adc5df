//! Where a check takes place: the outside system's runtime and the connector's own.
//!
//! Invariant: what a connector spawns lives in the runtime inside, which a crash takes away. The
//! runtime outside goes on in the meantime, so that a driver may run a server in it.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

/// Why a check fails.
pub(crate) type Problem = String;

/// The two runtimes of a check.
pub(crate) struct Stage {
    outside: Runtime,
    inside: Option<Runtime>,
    pub(crate) patience: Duration,
}

impl Stage {
    pub(crate) fn new(patience: Duration) -> Result<Self, Problem> {
        let outside = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let outside = outside.map_err(|e| format!("no runtime for the driver: {e}"))?;
        Ok(Self { outside, inside: Some(Self::make_inside()?), patience })
    }

    fn make_inside() -> Result<Runtime, Problem> {
        let inside = Builder::new_current_thread().enable_all().build();
        inside.map_err(|e| format!("no runtime for the connector: {e}"))
    }

    /// Runs a future of the driver.
    pub(crate) fn outside<F: Future>(&self, future: F) -> F::Output {
        self.outside.block_on(future)
    }

    /// Runs a future of the connector. It must end in time.
    pub(crate) fn inside<F: Future>(&self, what: &str, future: F) -> Result<F::Output, Problem> {
        self.within(self.patience, future)?
            .ok_or_else(|| format!("{what} did not end within {:?}", self.patience))
    }

    /// Runs a future of the connector for so long at most.
    pub(crate) fn within<F: Future>(
        &self,
        limit: Duration,
        future: F,
    ) -> Result<Option<F::Output>, Problem> {
        let inside = self.inside.as_ref().ok_or("the connector has crashed")?;
        Ok(inside.block_on(async { tokio::time::timeout(limit, future).await.ok() }))
    }

    /// Runs a future of the connector and drops it when it waits for the `waits`th time; `None` if it
    /// was dropped.
    pub(crate) fn cut<F: Future>(
        &self,
        what: &str,
        waits: usize,
        future: F,
    ) -> Result<Option<F::Output>, Problem> {
        self.inside(what, cut(waits, future))
    }

    /// Takes everything away that the connector has spawned, and begins anew.
    pub(crate) fn crash(&mut self) -> Result<(), Problem> {
        if let Some(inside) = self.inside.take() {
            inside.shutdown_timeout(self.patience);
        }
        self.inside = Some(Self::make_inside()?);
        Ok(())
    }

    /// The tasks that the connector has spawned and that have not ended; those which are about to end
    /// get the time to do so.
    pub(crate) fn tasks_left(&self) -> Result<usize, Problem> {
        let inside = self.inside.as_ref().ok_or("the connector has crashed")?;
        let alive = || inside.metrics().num_alive_tasks();
        let ended = async {
            while alive() > 0 {
                tokio::task::yield_now().await;
            }
        };
        let ended = self.within(self.patience, ended)?;
        Ok(if ended.is_some() { 0 } else { alive() })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(inside) = self.inside.take() {
            inside.shutdown_background();
        }
    }
}

pub(crate) async fn cut<F: Future>(waits: usize, future: F) -> Option<F::Output> {
    let mut left = waits;
    if left == 0 {
        return None;
    }
    let mut future = pin!(future);
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => {
            left -= 1;
            if left == 0 { Poll::Ready(None) } else { Poll::Pending }
        }
    })
    .await
}

/// How many descriptors of this process lead to something with `mark` in its name. `None` where that
/// can't be seen.
pub(crate) fn descriptors(mark: &str) -> Option<usize> {
    let links = std::fs::read_dir("/proc/self/fd").ok()?;
    let marked = links.filter_map(|link| std::fs::read_link(link.ok()?.path()).ok());
    Some(marked.filter(|target| target.to_string_lossy().contains(mark)).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_future_is_dropped_where_it_waits() {
        let stage = Stage::new(Duration::from_secs(5)).unwrap();
        let steps = std::cell::Cell::new(0);
        let work = || async {
            for _ in 0..3 {
                steps.set(steps.get() + 1);
                tokio::task::yield_now().await;
            }
        };
        for (waits, done, ended) in [(0, 0, false), (1, 1, false), (3, 3, false), (4, 3, true)] {
            steps.set(0);
            assert_eq!(stage.cut("work", waits, work()).unwrap().is_some(), ended, "{waits}");
            assert_eq!(steps.get(), done, "{waits}");
        }
    }

    #[test]
    fn spawned_tasks_are_seen_and_taken_away() {
        let mut stage = Stage::new(Duration::from_millis(50)).unwrap();
        stage.inside("spawn", async { drop(tokio::spawn(std::future::pending::<()>())) }).unwrap();
        assert_eq!(stage.tasks_left(), Ok(1));
        stage.crash().unwrap();
        assert_eq!(stage.tasks_left(), Ok(0));
        let late = stage.inside("waiting", std::future::pending::<()>());
        assert_eq!(late.unwrap_err(), "waiting did not end within 50ms");
    }

    #[test]
    fn descriptors_are_counted_by_name() {
        let path = std::env::temp_dir().join(format!("towpath-descriptors-{}", std::process::id()));
        let file = std::fs::File::create(&path).unwrap();
        let mark = path.to_str().unwrap();
        assert_eq!(descriptors(mark), Some(1));
        drop(file);
        assert_eq!(descriptors(mark), Some(0));
        std::fs::remove_file(&path).unwrap();
    }
}
