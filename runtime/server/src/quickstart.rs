//! `towpath quickstart`: the embedded log, a worker, and pipelines to look at. No server is needed.

use std::fmt;
use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};
use towpath_core::herder::{Herder, HerderError};
use towpath_core::metrics::{Metrics, TaskMetrics};
use towpath_core::ports::Cluster;
use towpath_embedded::{Embedded, EmbeddedOptions};
use towpath_formats::properties_file;
use towpath_formats::rest::CreateConnectorRequest;
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
/// How often the counts are told to a terminal, where they replace each other, and to a file.
const TELL_TERMINAL: Duration = Duration::from_secs(1);
const TELL_FILE: Duration = Duration::from_secs(5);
/// Erases the terminal's line and goes to its beginning.
const ERASE: &str = "\r\x1b[2K";

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
    let counts: Arc<OnceLock<Counts>> = Arc::default();
    let told = Arc::clone(&counts);
    let tell = |herder, metrics, url| async move {
        let counts = told.get_or_init(|| Counts::new(&metrics));
        if let Err(error) = accompany(herder, counts, url, dir).await {
            tracing::error!("{error:#}");
        }
    };
    let plane = planes.data.handle().clone();
    let ran = planes.control.block_on(worker::run(settings, clusters, plane, logging, tell));
    ran.map_err(|error| hint(error, port))?;
    planes.stop();
    if let Some(counts) = counts.get() {
        say(&format!("Drained.  {counts}"));
    }
    say("Start it again with the same --dir, and it goes on where it was.");
    Ok(())
}

/// A taken port is the likeliest thing to go wrong, and easily cured.
fn hint(error: anyhow::Error, port: u16) -> anyhow::Error {
    let taken = error.chain().any(|cause| {
        let cause = cause.downcast_ref::<std::io::Error>();
        cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::AddrInUse)
    });
    match taken {
        true => error.context(format!("port {port} is taken; choose another with --port")),
        false => error,
    }
}

/// What the pipelines have done since the start.
struct Counts {
    file: TaskMetrics,
    live: TaskMetrics,
    sink: TaskMetrics,
}

impl Counts {
    fn new(metrics: &Arc<Metrics>) -> Self {
        Self {
            file: metrics.task("clicks-from-file", 0),
            live: metrics.task("clicks-live", 0),
            sink: metrics.task("clicks-to-folder", 0),
        }
    }
}

impl fmt::Display for Counts {
    /// Short enough for a line of a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, live) = (self.file.delivered.get(), self.live.delivered.get());
        let (read, dead) = (self.sink.records.get(), self.sink.dead_letters.get());
        let sound = read.saturating_sub(dead);
        write!(f, "in: {file} from the file, {live} live    out: {sound} to files, {dead} broken")
    }
}

/// Creates the pipelines and tells what they do.
async fn accompany(herder: Herder, counts: &Counts, url: String, dir: PathBuf) -> Result<()> {
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
    say(&introduction(&url, &dir.to_string_lossy()));
    let terminal = std::io::stdout().is_terminal();
    let _farewell = Farewell { terminal };
    loop {
        tokio::time::sleep(if terminal { TELL_TERMINAL } else { TELL_FILE }).await;
        if terminal {
            write(&format!("{ERASE}{counts}"));
        } else {
            say(&counts.to_string());
        }
    }
}

fn introduction(url: &str, dir: &str) -> String {
    let clicks = r#"{"user":1,"session":"me","action":"view","page":"/"}"#;
    let dead = format!(
        r#"{{"connector.class":"file-sink","topics":"user.clicks.dlt","directory":"{dir}/dead","format":"text","rotate.interval.ms":"1000"}}"#
    );
    format!(
        "Towpath is running: a worker, and a log of its own in {dir}/log in the place of Kafka.

  clicks-from-file   reads {dir}/in/clicks.jsonl, and what is appended to it
  clicks-live        makes up 50 clicks a second, one in fifty of them broken
                     Both write to the topic user.clicks.raw.
  clicks-to-folder   writes that topic as JSON lines to {dir}/out, in a folder per day
                     Broken clicks go to the topic user.clicks.dlt.

The REST API is at {url}. Try, in another terminal:

  curl {url}/connectors
  curl {url}/connectors/clicks-to-folder/status
  curl {url}/towpath/v1/connectors/clicks-to-folder/status
  curl -X PUT {url}/connectors/clicks-live/pause
  curl -X PUT {url}/connectors/clicks-live/resume
  ls -R '{dir}/out'

Add a click of your own, or a pipeline that shows the broken ones:

  echo '{clicks}' >> '{dir}/in/clicks.jsonl'
  curl -X PUT -H 'Content-Type: application/json' {url}/connectors/dead-clicks/config -d '{dead}'
  cat '{dir}'/dead/*/*.txt

Ctrl-C drains and stops.
"
    )
}

/// Speaks when it is dropped, which the worker does at the first signal.
struct Farewell {
    terminal: bool,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        if self.terminal {
            write(ERASE);
        }
        say("Draining: what was read is written to its end. Ctrl-C once more ends at once.");
    }
}

fn say(text: &str) {
    write(&format!("{text}\n"));
}

fn write(text: &str) {
    let mut out = std::io::stdout();
    // Whoever closed our standard output does not want to read this.
    let _closed = out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_the_cure() {
        let taken = std::io::Error::from(std::io::ErrorKind::AddrInUse);
        let error = hint(anyhow::Error::new(taken).context("listen"), 8083);
        assert!(format!("{error:#}").starts_with("port 8083 is taken; choose another with --port"));
        assert_eq!(format!("{:#}", hint(anyhow::anyhow!("else"), 8083)), "else");
    }

    #[test]
    fn counts_fit_a_line_of_a_terminal() {
        let counts = Counts::new(&Arc::new(Metrics::new()));
        for count in [&counts.file.delivered, &counts.live.delivered, &counts.sink.records] {
            count.inc_by(999_999);
        }
        assert!(counts.to_string().len() < 80, "{counts}");
    }
}
