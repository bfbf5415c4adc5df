//! Work beside a task's own calls.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

use crate::error::{Error, Result};

/// Work in the background. It ends when this is dropped; awaiting this tells how it ended by itself.
#[derive(Debug)]
#[must_use = "the work ends when this is dropped"]
pub struct Background(JoinHandle<Result<()>>);

impl Background {
    /// The work that `handle` joins.
    pub const fn new(handle: JoinHandle<Result<()>>) -> Self {
        Self(handle)
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_finished()
    }
}

impl Future for Background {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.0).poll(cx).map(|ended| {
            ended.unwrap_or_else(|error| {
                let text = if error.is_panic() { "panicked" } else { "was cut off" };
                Err(Error::internal(format!("work in the background {text}")).with_source(error))
            })
        })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn ends_when_it_is_dropped_and_tells_of_a_panic() {
        let held = Arc::new(());
        let inside = Arc::clone(&held);
        let work = Background::new(tokio::spawn(async move {
            let _inside = inside;
            std::future::pending().await
        }));
        drop(work);
        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
        let broken = Background::new(tokio::spawn(async { panic!("out of luck") }));
        let error = broken.await.unwrap_err();
        assert!(error.chain().contains("out of luck"), "{error:?}");
    }
}
