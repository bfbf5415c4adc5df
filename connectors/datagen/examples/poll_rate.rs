//! How many records a second of CPU time one task makes, polled and dropped.
//!
//! `cargo run --release -p towpath-connector-datagen --example poll_rate [seconds]`
//!
//! On Linux, time is that of the thread on the CPU, so that other load does not count; elsewhere it is
//! the time that passes.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use towpath_connector_datagen::Datagen;
use towpath_sdk::clock::{Clock, SystemClock};
use towpath_sdk::config::{ConnectorConfig, Properties};
use towpath_sdk::context::{ConnectorContext, Host, SourceTaskContext, TaskContext, Waiting};
use towpath_sdk::guarantee::Guarantee;
use towpath_sdk::offset::{OffsetMap, StoredOffsets};
use towpath_sdk::source::{Budget, SourceConnector, SourceTask};
use towpath_sdk::value::Value;
use towpath_sdk::{Error, Result};

struct Alone;

impl Host for Alone {
    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(SystemClock)
    }
    fn waiting(&self, _reason: Option<Waiting>) {}
    fn load_state(&self, _key: OffsetMap) -> BoxFuture<'static, Result<Option<OffsetMap>>> {
        async { Ok(None) }.boxed()
    }
    fn store_state(
        &self,
        _key: OffsetMap,
        _value: Option<OffsetMap>,
    ) -> BoxFuture<'static, Result<()>> {
        async { Ok(()) }.boxed()
    }
    fn count(&self, _name: &'static str, _n: u64) {}
    fn guarantee(&self, _guarantee: Guarantee) {}
}

async fn measure(entries: &[(&str, &str)], time: Duration) -> Result<(u64, u64, Duration)> {
    let common = [("topic", "t"), ("rate", "0")];
    let properties: Properties = common.iter().chain(entries).copied().collect();
    let config = Arc::new(
        <Datagen as SourceConnector>::Config::parse(&properties)
            .map_err(|errors| Error::config(errors.to_string()))?,
    );
    let host: Arc<dyn Host> = Arc::new(Alone);
    let planner = ConnectorContext::new("c", Arc::clone(&host));
    let mut planner = Datagen::start(Arc::clone(&config), planner).await?;
    let share = planner.plan(std::num::NonZeroU32::MIN).await?.remove(0);
    let task = TaskContext::new("c", 0, host);
    let cx = SourceTaskContext { task, offsets: StoredOffsets::default() };
    let mut task = Datagen::task(config, share, cx).await?;
    let (mut records, mut bytes) = (0, 0);
    let (start, cpu_before) = (Instant::now(), cpu_time());
    while start.elapsed() < time {
        let batch = task.poll(Budget { bytes: 1 << 20, records: 4096 }).await?;
        records += batch.records.len() as u64;
        bytes += batch
            .records
            .iter()
            .map(|record| match &record.value.value {
                Value::Json(json) => json.bytes().len() as u64,
                Value::String(text) => text.len() as u64,
                _ => 0,
            })
            .sum::<u64>();
    }
    let spent = match (cpu_before, cpu_time()) {
        (Some(before), Some(after)) => after - before,
        _ => start.elapsed(),
    };
    Ok((records, bytes, spent))
}

/// The time that this thread was on the CPU.
fn cpu_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2.0);
    let mut out = std::io::stdout();
    for (name, entries) in [
        ("clicks as json", &[("preset", "clicks")][..]),
        ("clicks as text", &[("preset", "clicks"), ("value.format", "text")]),
        ("orders as json", &[("preset", "orders")]),
        ("id and uuid", &[("field.id", "sequence()"), ("field.x", "uuid()"), ("key.field", "id")]),
    ] {
        let (records, bytes, time) = measure(entries, Duration::from_secs_f64(seconds)).await?;
        let rate = records as f64 / time.as_secs_f64();
        let size = bytes as f64 / records as f64;
        writeln!(out, "{name}: {:.2}M records/s of {size:.0} bytes", rate / 1e6)
            .map_err(|error| Error::internal("write to standard output").with_source(error))?;
    }
    Ok(())
}
