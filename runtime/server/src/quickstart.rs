//! `towpath quickstart`: the embedded log, a worker, and pipelines to look at. No server is needed.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use towpath_core::herder::{Herder, HerderError};
use towpath_core::metrics::Metrics;
use towpath_core::ports::Cluster;
use towpath_embedded::{Embedded, EmbeddedOptions};
use towpath_formats::rest::CreateConnectorRequest;
use towpath_formats::properties_file;
use towpath_sdk::clock::SystemClock;

use crate::logging::Logging;
use crate::planes::Planes;
use crate::worker;

const WORKER: &str = include_str!("../../../configs/quickstart/worker.properties");
const CLICKS: &str = include_str!("../../../configs/quickstart/clicks.jsonl");
const PIPELINES: [&str; 3] = [
    include_str!("../../../configs/quickstart/clicks-from-file.json"),
    include_str!("../../../configs/quickstart/clicks-live.json"),
    include_str!("../../../configs/quickstart/clicks-to-folder.json"),
];
/// How often the counts are told.
const TELL: Duration = Duration::from_secs(5);

/// Runs until a signal.
///
/// # Errors
/// What keeps it from starting.
pub(crate) fn main(dir: &Path, port: u16, logging: Logging) -> Result<()> {
    fs::create_dir_all(dir.join("in")).with_context(|| format!("make {}", dir.display()))?;
    let dir = dir.canonicalize()?;
    let clicks = dir.join("in/clicks.jsonl");
    if !clicks.exists() {
        fs::write(&clicks, CLICKS).with_context(|| format!("write {}", clicks.display()))?;
    }
    let mut properties = properties_file::parse_text(WORKER).context("read worker.properties")?;
    properties.set("listeners", format!("http://127.0.0.1:{port}"));
    let settings = worker::understand(properties)?;
    let log = Embedded::open(
        &dir.join("log"),
        EmbeddedOptions { max_bytes: Some(1 << 30), ..EmbeddedOptions::default() },
        Arc::new(SystemClock),
    )
    .with_context(|| format!("open the embedded log in {}", dir.join("log").display()))?;
    let cluster: Arc<dyn Cluster> = Arc::new(log);
    let planes = Planes::start()?;
    let clusters = worker::Clusters { control: Arc::clone(&cluster), data: cluster };
    let tell = |herder, metrics, url| async move {
        if let Err(error) = accompany(herder, metrics, url, dir).await {
            tracing::error!("{error:#}");
        }
    };
    let plane = planes.data.handle().clone();
    planes.control.block_on(worker::run(settings, clusters, plane, logging, tell))?;
    planes.stop();
    say("Stopped. Start it again with the same --dir and it goes on where it was.");
    Ok(())
}

/// Creates the pipelines and tells what they do.
async fn accompany(herder: Herder, metrics: Arc<Metrics>, url: String, dir: PathBuf) -> Result<()> {
    for text in PIPELINES {
        let text = text.replace("${DIR}", &dir.to_string_lossy());
        let request: CreateConnectorRequest = serde_json::from_str(&text)?;
        let name = request.trimmed_name().to_owned();
        let config = request.config.unwrap_or_default();
        match herder.create(&name, config, None, Some("quickstart".to_owned())).await {
            Ok(_) | Err(HerderError::Exists(_)) => {}
            Err(error) => return Err(error).with_context(|| format!("create {name}")),
        }
    }
    let dir = dir.display();
    for line in [
        format!("Towpath is running, with an embedded log in {dir}/log. No Kafka is needed."),
        String::new(),
        format!("clicks-from-file  reads {dir}/in/clicks.jsonl (append lines to it!)"),
        "clicks-live       makes 50 clicks a second, one in fifty of them broken".to_owned(),
        "                  both write to the topic user.clicks.raw".to_owned(),
        format!("clicks-to-folder  writes that topic to {dir}/out, a folder per day;"),
        "                  broken clicks go to the topic user.clicks.dlt".to_owned(),
        String::new(),
        format!("Try:  curl {url}/connectors"),
        format!("      curl {url}/connectors/clicks-to-folder/status"),
        format!("      curl {url}/towpath/v1/connectors/clicks-to-folder/status"),
        format!("      curl -X PUT {url}/connectors/clicks-live/pause"),
        format!("      ls -R {dir}/out"),
        String::new(),
        "Ctrl-C drains and stops.".to_owned(),
    ] {
        say(&line);
    }
    let file = metrics.task("clicks-from-file", 0);
    let live = metrics.task("clicks-live", 0);
    let sink = metrics.task("clicks-to-folder", 0);
    loop {
        tokio::time::sleep(TELL).await;
        say(&format!(
            "{} clicks from the file and {} live ones are in user.clicks.raw; {} were read from it, {} \
             of them were broken and are in user.clicks.dlt",
            file.delivered.get(),
            live.delivered.get(),
            sink.records.get(),
            sink.dead_letters.get(),
        ));
    }
}

fn say(text: &str) {
    // Whoever closed our standard output does not want to read this.
    let _closed = writeln!(std::io::stdout(), "{text}").is_err();
}
