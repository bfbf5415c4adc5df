//! `towpath worker`: a worker on a Kafka cluster.

mod clients;
mod defaults;
mod settings;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use towpath_core::herder::{Herder, HerderService};
use towpath_core::home::{Homes, Patience};
use towpath_core::launch::{Engine, EngineOptions};
use towpath_core::metrics::Metrics;
use towpath_core::offsets::OffsetStore;
use towpath_core::ports::Cluster;
use towpath_sdk::clock::SystemClock;

use crate::http;
use crate::logging::Logging;
use crate::memory::ResidentMemory;
use crate::planes::Planes;
use crate::registry::registry;
use crate::signals;

pub(crate) use settings::{Settings, understand};

/// Topics in use that wait to be noted.
const TOPIC_NOTES: usize = 1024;

/// Runs a worker until a signal.
///
/// # Errors
/// What keeps it from starting, with all wrong settings at once.
pub(crate) fn main(file: Option<&Path>, logging: Logging) -> Result<()> {
    let settings = settings::read(file, &logging)?;
    let config = &settings.config;
    let planes = Planes::start()?;
    let clusters =
        Clusters { control: clients::of_worker(config)?, data: clients::of_connectors(config)? };
    let plane = planes.data.handle().clone();
    let alone = |_herder, _metrics, _url| std::future::pending();
    planes.control.block_on(run(settings, clusters, plane, logging, alone))?;
    planes.stop();
    Ok(())
}

/// The cluster by two kinds of clients.
pub(crate) struct Clusters {
    /// The worker's own.
    pub(crate) control: Arc<dyn Cluster>,
    /// Those of connectors.
    pub(crate) data: Arc<dyn Cluster>,
}

/// Runs a worker until a signal; `company` runs beside it.
///
/// # Errors
/// What keeps it from starting or going on.
pub(crate) async fn run<F: Future<Output = ()> + Send + 'static>(
    settings: Settings,
    clusters: Clusters,
    plane: tokio::runtime::Handle,
    logging: Logging,
    company: impl FnOnce(Herder, Arc<Metrics>, String) -> F,
) -> Result<()> {
    let Clusters { control, data } = clusters;
    let Settings { config, resolver } = settings;
    let listeners = http::bind(&config).await?;
    let metrics = Arc::new(Metrics::new());
    metrics.register(|registry| registry.register_collector(Box::new(ResidentMemory)));
    let options = defaults::herder_options(&config, listeners.advertised(), &logging);
    let offsets = Arc::new(OffsetStore::new(
        Arc::clone(&control),
        defaults::table(&config.offset_storage, "offset", &options.worker_id),
    ));
    let (topic_uses, topic_notes) = mpsc::channel(TOPIC_NOTES);
    let engine = Engine::new(EngineOptions {
        registry: Arc::new(registry()),
        cluster: data,
        worker: defaults::worker_defaults(&config),
        resolver,
        metrics: Arc::clone(&metrics),
        offsets: Arc::clone(&offsets),
        clock: Arc::new(SystemClock),
        data: plane.clone(),
        homes: Homes::own(Patience::default()),
        topic_uses,
        topic_rules: defaults::topic_rules,
        override_check: defaults::override_check(&config),
    });
    let (service, herder) = HerderService::new(
        options,
        Arc::clone(&control),
        Arc::new(engine.clone()),
        Arc::new(SystemClock),
        plane,
        topic_notes,
    );
    tracing::info!("the worker is starting; its REST API is at {}", listeners.addresses());
    let company = tokio::spawn(company(herder.clone(), Arc::clone(&metrics), listeners.url()));
    let stop = CancellationToken::new();
    let parts = http::Parts { herder, engine, metrics, cluster: control, logging };
    // Connections are accepted until the tasks have drained, so that one can watch them.
    let closing = CancellationToken::new();
    let serving = tokio::spawn(listeners.serve(parts, closing.clone()));
    let following = tokio::spawn(async move { offsets.run().await });
    let mut herding = tokio::spawn(service.run(stop.clone()));
    let outcome = tokio::select! {
        () = signals::stop(stop.clone()) => Ok(()),
        ended = &mut herding => return ended?.context("run the worker"),
        ended = following => match ended? {
            Ok(()) => Err(anyhow::anyhow!("the offset topic ended")),
            Err(error) => Err(error).context("follow the offset topic"),
        },
    };
    company.abort();
    stop.cancel();
    herding.await?.context("stop the worker")?;
    closing.cancel();
    serving.await?;
    outcome
}
