//! Tables behind the simulated network.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use towpath_core::ports::{CompactedTable, Entry, PortResult, TableEvent};

use crate::net::{Net, unreachable};

/// A table whose followers hear late and with interruptions, and whose writes may have any outcome.
pub(crate) struct SimTable {
    inner: Arc<dyn CompactedTable>,
    net: Arc<Net>,
}

impl SimTable {
    pub(crate) fn new(inner: Arc<dyn CompactedTable>, net: Arc<Net>) -> Self {
        Self { inner, net }
    }
}

impl CompactedTable for SimTable {
    fn follow(&self) -> BoxFuture<'_, PortResult<mpsc::Receiver<TableEvent>>> {
        async move {
            self.net.arrive(crate::net::REQUEST_TIMEOUT).await?;
            let (tx, rx) = mpsc::channel(4);
            tokio::spawn(carry(Arc::clone(&self.net), self.inner.follow().await?, tx));
            Ok(rx)
        }
        .boxed()
    }

    fn put(&self, entries: Vec<Entry>) -> BoxFuture<'_, PortResult<()>> {
        async move {
            let unknown = self.net.fault(|f| f.request_unknown);
            self.net.request(unknown, self.inner.put(entries)).await
        }
        .boxed()
    }

    fn topic(&self) -> &str {
        self.inner.topic()
    }
}

async fn carry(net: Arc<Net>, mut from: mpsc::Receiver<TableEvent>, to: mpsc::Sender<TableEvent>) {
    let mut down = net.watch_down();
    loop {
        let event = tokio::select! {
            biased;
            () = to.closed() => return,
            event = from.recv() => event,
        };
        let Some(event) = event else { return };
        net.delay().await;
        let interrupted = net.is_down() || net.chance(net.fault(|f| f.follow_trouble));
        if interrupted {
            if to.send(TableEvent::Trouble(Some(unreachable()))).await.is_err() {
                return;
            }
            net.delay().await;
            if down.wait_for(|down| !down).await.is_err() {
                return;
            }
            if to.send(TableEvent::Trouble(None)).await.is_err() {
                return;
            }
        }
        if to.send(event).await.is_err() {
            return;
        }
    }
}
