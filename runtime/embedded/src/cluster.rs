//! The embedded cluster.

use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;
use towpath_broker::{EveryNth, LocalCluster, Options};
use towpath_core::ports::{
    Admin, ClientOverrides, Cluster, CompactedTable, Consumer, ConsumerSpec, Membership,
    PortResult, Producer, ProducerSpec, TableSpec, TransactionalProducer,
};
use towpath_sdk::clock::Clock;

use crate::directory::Directory;
use crate::error::{OpenError, OpenErrorKind};
use crate::options::{EmbeddedOptions, Fsync};
use crate::space::Reserve;
use crate::store::DiskStore;
use crate::syncer::Syncer;

/// How often an offset is left out, so that nobody gets used to dense offsets.
const GAP_EVERY: u32 = 64;

/// A log in a directory. What it handed out keeps working until it is dropped itself; the directory is
/// free for another process when all of it is.
pub struct Embedded {
    cluster: LocalCluster,
    store: Arc<DiskStore>,
    _syncer: Option<Syncer>,
}

impl Embedded {
    /// Opens the log at `path`, which is made if it is not there. Blocks while it reads.
    ///
    /// # Errors
    /// If another process has it, or it can't be read.
    pub fn open(
        path: &Path,
        options: EmbeddedOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let directory = Directory::open(path)?;
        let reserve = Reserve::of(directory.path(), options.min_free_bytes);
        Self::open_with(directory, options, clock, reserve)
    }

    fn open_with(
        directory: Directory,
        options: EmbeddedOptions,
        clock: Arc<dyn Clock>,
        reserve: Reserve,
    ) -> Result<Self, OpenError> {
        let path = directory.path().to_path_buf();
        let path = path.as_path();
        let store = Arc::new(DiskStore::open(directory, options.fsync, reserve)?);
        let broker = Options {
            cluster_id: "towpath-embedded".to_owned(),
            default_partitions: options.default_partitions,
            retention_bytes: options.retention_bytes,
            retention: options.retention,
            max_bytes: options.max_bytes,
            keep_unread: Some(options.absent_readers),
            ..Options::default()
        };
        let quirks = Arc::new(EveryNth::new(GAP_EVERY));
        let cluster = LocalCluster::open(Arc::clone(&store) as _, broker, quirks, clock).map_err(
            |error| match error.kind {
                towpath_core::ports::PortErrorKind::OutOfSpace => OpenError::new(
                    OpenErrorKind::OutOfSpace,
                    path,
                    format!("can't be opened: {error}"),
                ),
                towpath_core::ports::PortErrorKind::Invalid => OpenError::new(
                    OpenErrorKind::Foreign,
                    path,
                    format!("can't be opened: {error}"),
                ),
                _ => OpenError::damaged(path, error),
            },
        )?;
        let syncer = match options.fsync {
            Fsync::Interval(interval) => Some(
                Syncer::start(Arc::clone(&store), interval)
                    .map_err(|e| OpenError::io(path, "start the thread that syncs", e))?,
            ),
            Fsync::Always | Fsync::Never => None,
        };
        Ok(Self { cluster, store, _syncer: syncer })
    }

    /// The log from inside, for people who look at it.
    #[must_use]
    pub const fn local(&self) -> &LocalCluster {
        &self.cluster
    }

    /// Bytes that the log takes on disk.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.store.disk_bytes()
    }
}

impl Cluster for Embedded {
    fn id(&self) -> BoxFuture<'_, PortResult<String>> {
        self.cluster.id()
    }

    fn producer(&self, spec: ProducerSpec) -> BoxFuture<'_, PortResult<Arc<dyn Producer>>> {
        self.cluster.producer(spec)
    }

    fn transactional_producer(
        &self,
        transactional_id: String,
        spec: ProducerSpec,
    ) -> BoxFuture<'_, PortResult<Arc<dyn TransactionalProducer>>> {
        self.cluster.transactional_producer(transactional_id, spec)
    }

    fn consumer(&self, spec: ConsumerSpec) -> BoxFuture<'_, PortResult<Box<dyn Consumer>>> {
        self.cluster.consumer(spec)
    }

    fn admin(&self, overrides: ClientOverrides) -> BoxFuture<'_, PortResult<Arc<dyn Admin>>> {
        self.cluster.admin(overrides)
    }

    fn table(&self, spec: TableSpec) -> BoxFuture<'_, PortResult<Arc<dyn CompactedTable>>> {
        self.cluster.table(spec)
    }

    fn join(
        &self,
        group_id: String,
        advertised: String,
    ) -> BoxFuture<'_, PortResult<Box<dyn Membership>>> {
        self.cluster.join(group_id, advertised)
    }
}
