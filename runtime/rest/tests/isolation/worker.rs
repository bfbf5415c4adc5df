//! A whole worker in this process, on a cluster in memory: planes, homes, herder, HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use towpath_core::build::WorkerDefaults;
use towpath_core::herder::{HerderOptions, HerderService};
use towpath_core::home::{Homes, Patience};
use towpath_core::launch::{Engine, EngineOptions};
use towpath_core::metrics::Metrics;
use towpath_core::offsets::OffsetStore;
use towpath_core::ports::{Cluster, NewTopic, TableSpec};
use towpath_core::secrets::Resolver;
use towpath_rest::logging::LogControl;
use towpath_rest::{ListenOptions, Scope, ServeOptions, Shared};
use towpath_sdk::clock::SystemClock;
use towpath_sdk::config::Properties;
use towpath_sdk::plugin::Registry;
use towpath_sim::{Faults, SimCluster};

use crate::faulty::{FaultySink, FaultySource};

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Worker {
    control: Option<Runtime>,
    data: Option<Runtime>,
    port: u16,
}

fn runtime(name: &str) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).thread_name(name).enable_all().build().unwrap()
}

fn table(topic: &str, purpose: &'static str) -> TableSpec {
    TableSpec {
        topic: topic.to_owned(),
        partitions: Some(1),
        replication_factor: Some(1),
        config: BTreeMap::new(),
        purpose,
        client_id: purpose.to_owned(),
    }
}

fn registry() -> Registry {
    let mut registry = Registry::default();
    towpath_builtin::register(&mut registry);
    registry.source::<FaultySource>();
    registry.sink::<FaultySink>();
    registry
}

fn defaults() -> WorkerDefaults {
    let text =
        || ("org.apache.kafka.connect.storage.StringConverter".to_owned(), Properties::new());
    WorkerDefaults {
        group_id: "fleet".to_owned(),
        key_converter: text(),
        value_converter: text(),
        header_converter: text(),
        commit_interval: Duration::from_millis(200),
        stop_timeout: Duration::from_secs(1),
        exactly_once: false,
        topic_creation: true,
    }
}

impl Worker {
    pub(crate) fn start() -> Self {
        let (control, data) = (runtime("control"), runtime("data"));
        let plane = data.handle().clone();
        let port = control.block_on(async move {
            let cluster: Arc<dyn Cluster> = SimCluster::new(3, Faults::none());
            let metrics = Arc::new(Metrics::new());
            let offsets =
                Arc::new(OffsetStore::new(Arc::clone(&cluster), table("offsets", "offset")));
            let (topic_uses, topic_notes) = mpsc::channel(1024);
            let one_partition = |name: &str| NewTopic {
                name: name.to_owned(),
                partitions: Some(1),
                replication_factor: Some(1),
                config: BTreeMap::new(),
            };
            let engine = Engine::new(EngineOptions {
                registry: Arc::new(registry()),
                cluster: Arc::clone(&cluster),
                worker: defaults(),
                resolver: Resolver::new(BTreeMap::new()),
                metrics: Arc::clone(&metrics),
                offsets: Arc::clone(&offsets),
                clock: Arc::new(SystemClock),
                data: plane.clone(),
                homes: Homes::own(Patience {
                    stall: Duration::from_millis(700),
                    loss: Duration::from_secs(3),
                }),
                topic_uses,
                topic_rules: |_| {
                    Ok(Arc::new(|name: &str| NewTopic {
                        name: name.to_owned(),
                        partitions: Some(1),
                        replication_factor: Some(1),
                        config: BTreeMap::new(),
                    }))
                },
                override_check: Arc::new(|_| Vec::new()),
            });
            let admin = cluster.admin(Default::default()).await.unwrap();
            admin.create_topic(one_partition("steady")).await.unwrap();
            let mut options = HerderOptions::new("fleet", "127.0.0.1:1", "configs", "statuses");
            options.config_topic = table("configs", "config");
            options.status_topic = table("statuses", "status");
            options.request_timeout = Duration::from_secs(5);
            let (service, herder) = HerderService::new(
                options,
                Arc::clone(&cluster),
                Arc::new(engine.clone()),
                Arc::new(SystemClock),
                plane,
                topic_notes,
            );
            let listen = ListenOptions { host: Some("127.0.0.1".into()), port: 0, tls: None };
            let bound = towpath_rest::bind(&listen).await.unwrap();
            let port = bound.address().unwrap().port();
            let shared = Shared {
                herder,
                engine,
                metrics,
                loggers: LogControl::new("info", |_| {}),
                cluster_id: Arc::new(|| async { None }.boxed()),
                base_url: format!("http://127.0.0.1:{port}").into(),
            };
            let router = towpath_rest::router(shared, Scope::All);
            tokio::spawn(bound.serve(router, ServeOptions::default(), CancellationToken::new()));
            tokio::spawn(async move { offsets.run().await });
            tokio::spawn(service.run(CancellationToken::new()));
            port
        });
        Self { control: Some(control), data: Some(data), port }
    }

    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        // Requests come from threads of their own, as clients do.
        let client = Builder::new_current_thread().enable_all().build().unwrap();
        client.block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("an answer") })
    }

    /// A request and its answer: status and body.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, String) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: \
             application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = self.run(async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        });
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        (status, body.to_owned())
    }

    /// Creates a connector, once the worker is ready.
    pub(crate) fn create(&self, name: &str, config: Value) -> (u16, String) {
        let request = serde_json::json!({"name": name, "config": config});
        self.ask("POST", "/connectors", &request)
    }

    /// What our endpoint tells of a connector.
    pub(crate) fn detail(&self, name: &str) -> Value {
        let path = format!("/towpath/v1/connectors/{name}/status");
        serde_json::from_str(&self.ask("GET", &path, &Value::Null).1).unwrap_or_default()
    }

    /// Waits until the detail of `name` fits.
    pub(crate) fn shows(&self, name: &str, what: &str, fits: impl Fn(&Value) -> bool) {
        let mut last = Value::Null;
        let fits = |detail: Value| {
            last = detail;
            fits(&last)
        };
        let mut fits = fits;
        if !until(|| fits(self.detail(name))) {
            panic!("{name} does not show {what}: {last:#}");
        }
    }
}

/// Waits until `done`; whether it came to that.
pub(crate) fn until(mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if done() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        for runtime in [self.control.take(), self.data.take()].into_iter().flatten() {
            runtime.shutdown_background();
        }
    }
}
