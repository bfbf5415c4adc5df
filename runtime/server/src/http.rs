//! The HTTP API of a worker: its listeners, and what they serve.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use futures::FutureExt;
use futures::future::join_all;
use tokio_util::sync::CancellationToken;
use towpath_core::herder::Herder;
use towpath_core::launch::Engine;
use towpath_core::metrics::Metrics;
use towpath_core::ports::Cluster;
use towpath_formats::worker_config::{
    AdminListeners, ClientAuth, Listener, ListenerTls, Scheme, WorkerConfig,
};
use towpath_rest::{Bound, ListenOptions, Scope, ServeOptions, Shared, TlsFiles};

use crate::logging::Logging;

/// Listeners that have their ports.
pub(crate) struct Listeners {
    bound: Vec<(Bound, Scope)>,
    addresses: Vec<String>,
    scheme: Scheme,
    host: String,
    port: u16,
    options: ServeOptions,
}

/// What the routes work on.
pub(crate) struct Parts {
    /// Decides.
    pub(crate) herder: Herder,
    /// Knows the plug-ins.
    pub(crate) engine: Engine,
    /// Measurements.
    pub(crate) metrics: Arc<Metrics>,
    /// For its id.
    pub(crate) cluster: Arc<dyn Cluster>,
    /// Log levels.
    pub(crate) logging: Logging,
}

/// Takes the ports.
///
/// # Errors
/// If one is taken, or TLS files are no good.
pub(crate) async fn bind(config: &WorkerConfig) -> Result<Listeners> {
    let scope = match config.admin_listeners {
        AdminListeners::Same => Scope::All,
        AdminListeners::Off | AdminListeners::Own(_) => Scope::WithoutAdmin,
    };
    let mut bound = Vec::new();
    let mut known = Vec::new();
    for listener in &config.listeners {
        let (one, address) = open(listener, config.tls.as_ref()).await?;
        known.push(address);
        bound.push((one, scope));
    }
    if let AdminListeners::Own(listeners) = &config.admin_listeners {
        for listener in listeners {
            let tls = config.admin_tls.as_ref().or(config.tls.as_ref());
            bound.push((open(listener, tls).await?.0, Scope::AdminOnly));
        }
    }
    let addresses = known.iter().map(address_of).collect();
    let (scheme, host, port) = config.advertised.address(&known, &machine_name());
    let options = ServeOptions {
        cors: config.cors.clone(),
        headers: config.response_headers.clone(),
        ..ServeOptions::default()
    };
    Ok(Listeners { bound, addresses, scheme, host, port, options })
}

/// Where a listener is reached from this machine.
fn address_of(listener: &Listener) -> String {
    let host = match listener.host.as_deref() {
        None | Some("" | "0.0.0.0" | "::" | "[::]") => "localhost".to_owned(),
        Some(host) => in_url(host),
    };
    format!("{}://{host}:{}", listener.scheme.name(), listener.port)
}

/// `host` as it stands in a URL: an IPv6 address between brackets.
fn in_url(host: &str) -> String {
    let bare = host.contains(':') && !host.starts_with('[');
    if bare { format!("[{host}]") } else { host.to_owned() }
}

async fn open(listener: &Listener, tls: Option<&ListenerTls>) -> Result<(Bound, Listener)> {
    let tls = match (listener.scheme, tls) {
        (Scheme::Http, _) => None,
        (Scheme::Https, Some(tls)) => Some(tls_files(tls)?),
        (Scheme::Https, None) => bail!(
            "the listener https://{}:{} needs a key and certificates: set ssl.keystore.location \
             (ssl.keystore.type=PEM takes a PEM file)",
            listener.host.as_deref().unwrap_or_default(),
            listener.port
        ),
    };
    let options = ListenOptions { host: listener.host.clone(), port: listener.port, tls };
    let bound = towpath_rest::bind(&options).await?;
    let port = bound.address()?.port();
    Ok((bound, Listener { port, ..listener.clone() }))
}

fn tls_files(tls: &ListenerTls) -> Result<TlsFiles> {
    let read = |path: &str| std::fs::read(path);
    let key = tls.key_store.load(&read)?;
    if key.private_key.reveal().contains("ENCRYPTED") {
        bail!("the listener's private key is encrypted; give it without a password, or as PKCS12");
    }
    let trust = tls.trust_store.as_ref().map(|store| store.load(&read)).transpose()?;
    let client_authorities = match tls.client_auth {
        ClientAuth::None => None,
        ClientAuth::Requested | ClientAuth::Required => Some(
            trust
                .context(
                    "ssl.client.auth needs ssl.truststore.location: whose clients are welcome",
                )?
                .into_bytes(),
        ),
    };
    Ok(TlsFiles {
        certificates: key.certificate_chain.into_bytes(),
        key: key.private_key.reveal().as_bytes().to_vec(),
        client_authorities,
        clients_may_be_unknown: tls.client_auth == ClientAuth::Requested,
        origin: "ssl.keystore.location".into(),
    })
}

fn machine_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

impl Listeners {
    /// `host:port` that others reach this worker at: its name in statuses.
    #[must_use]
    pub(crate) fn advertised(&self) -> String {
        format!("{}:{}", in_url(&self.host), self.port)
    }

    /// The API's address.
    #[must_use]
    pub(crate) fn url(&self) -> String {
        format!("{}://{}:{}", self.scheme.name(), in_url(&self.host), self.port)
    }

    /// Where the API is reached, for people.
    #[must_use]
    pub(crate) fn addresses(&self) -> String {
        let here = self.addresses.join(" and ");
        let advertised = self.url();
        if self.addresses.contains(&advertised) {
            return here;
        }
        format!("{here} (advertised to others as {advertised})")
    }

    /// Serves until `stop`.
    pub(crate) async fn serve(self, parts: Parts, stop: CancellationToken) {
        let base_url: Arc<str> = self.url().into();
        let cluster = parts.cluster;
        let shared = Shared {
            herder: parts.herder,
            engine: parts.engine,
            metrics: parts.metrics,
            loggers: parts.logging,
            cluster_id: Arc::new(move || {
                let cluster = Arc::clone(&cluster);
                async move {
                    let id = tokio::time::timeout(CLUSTER_ID_TIMEOUT, cluster.id()).await;
                    id.ok()?.ok()
                }
                .boxed()
            }),
            base_url,
        };
        let options = self.options;
        let serving = self.bound.into_iter().map(|(bound, scope)| {
            let router = towpath_rest::router(shared.clone(), scope);
            bound.serve(router, options.clone(), stop.clone())
        });
        join_all(serving).await;
    }
}

/// How long `GET /` waits for the cluster's id.
const CLUSTER_ID_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);
