//! Offset topics of connectors' own (`offsets.storage.topic`).
//!
//! Duty: one store for each such topic, with the worker's behind it, followed for as long as somebody
//! uses it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use towpath_sdk::{Error, Result};

use super::OffsetStore;
use crate::home::AbortOnDrop;
use crate::ports::{Cluster, PortError, TableSpec};

/// The stores that are open.
pub struct OwnOffsets {
    cluster: Arc<dyn Cluster>,
    worker: Arc<OffsetStore>,
    /// Where following runs.
    runtime: Handle,
    open: Mutex<HashMap<String, Weak<Followed>>>,
}

/// A store that is followed for as long as this lives.
pub struct Followed {
    /// The store.
    pub store: Arc<OffsetStore>,
    _following: Option<AbortOnDrop<()>>,
}

impl OwnOffsets {
    /// Topics on `cluster`; `worker` is the store of everybody else and the one behind these.
    #[must_use]
    pub fn new(cluster: Arc<dyn Cluster>, worker: Arc<OffsetStore>, runtime: Handle) -> Self {
        Self { cluster, worker, runtime, open: Mutex::default() }
    }

    /// The store in `topic`, read to its end; the worker's without one. The topic is created compacted
    /// if it is missing, as the worker's is.
    ///
    /// # Errors
    /// If it is not compacted, or can't be read.
    pub async fn of(&self, topic: Option<&str>) -> Result<Arc<Followed>> {
        let own = topic.filter(|topic| *topic != self.worker.spec.topic);
        let followed = match own {
            None => Arc::new(Followed { store: Arc::clone(&self.worker), _following: None }),
            Some(topic) => self.open(topic).await?,
        };
        followed.store.ready().await;
        Ok(followed)
    }

    async fn open(&self, topic: &str) -> Result<Arc<Followed>> {
        if let Some(followed) = self.known(topic) {
            return Ok(followed);
        }
        let spec = TableSpec { topic: topic.to_owned(), ..self.worker.spec.clone() };
        let table = self.cluster.table(spec.clone()).await.map_err(|error: PortError| {
            Error::from(error).context(format!("open the connector's offsets topic '{topic}'"))
        })?;
        let mut store = OffsetStore::new(Arc::clone(&self.cluster), spec);
        store.fallback = Some(Arc::clone(&self.worker));
        let store = Arc::new(store);
        let mut open = self.open.lock();
        // Another task may have been quicker.
        if let Some(followed) = open.get(topic).and_then(Weak::upgrade) {
            return Ok(followed);
        }
        let (following, name) = (Arc::clone(&store), topic.to_owned());
        let following = self.runtime.spawn(async move {
            if let Err(error) = following.keep_up(table).await {
                tracing::error!(%error, topic = name, "following a connector's offsets topic ended");
            }
        });
        let followed = Arc::new(Followed { store, _following: Some(AbortOnDrop(following)) });
        open.insert(topic.to_owned(), Arc::downgrade(&followed));
        Ok(followed)
    }

    fn known(&self, topic: &str) -> Option<Arc<Followed>> {
        let mut open = self.open.lock();
        open.retain(|_, followed| followed.strong_count() > 0);
        open.get(topic).and_then(Weak::upgrade)
    }
}
