//! The acceptance suite, and the effect of every key.

use std::fmt::Write;
use std::time::Duration;

use towpath_connector_datagen::Datagen;
use towpath_sdk::config::Properties;
use towpath_sdk::offset::StoredOffsets;
use towpath_sdk::record::Record;
use towpath_sdk::source::Budget;
use towpath_sdk::value::Value;
use towpath_testkit::{Item, KeyWalk, SourceCheck, SourceDriver, SourceSuite};

use crate::host::{Run, plugin};

/// Numbers from 0 on.
struct Numbers(usize);

impl SourceDriver for Numbers {
    type Connector = Datagen;

    async fn fresh(&mut self) -> Properties {
        self.0 = 0;
        Properties::from([("topic", "t"), ("rate", "0"), ("field.n", "sequence()")])
    }

    async fn put(&mut self, count: usize) -> Vec<Item> {
        self.0 += count;
        (self.0 - count..self.0).map(item).collect()
    }

    fn identify(&self, record: &Record) -> Item {
        let Value::Json(json) = &record.value.value else { panic!("{record:?}") };
        let json: serde_json::Value = serde_json::from_str(json.as_str()).unwrap();
        item(usize::try_from(json["n"].as_u64().unwrap()).unwrap())
    }

    fn is_endless(&self) -> bool {
        true
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn skips(&self) -> Vec<(SourceCheck, &'static str)> {
        vec![(SourceCheck::Waits, "there is always a next record")]
    }
}

/// Number `n`: one, two or three tasks keep the order of each sixth number.
fn item(n: usize) -> Item {
    Item::new((n % 6).to_string(), n.to_string())
}

#[test]
fn datagen_passes() {
    SourceSuite::new(Numbers(0)).run();
}

/// The first records of two tasks, and when they came.
fn observe(config: &Properties) -> String {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut seen = String::new();
        let start = tokio::time::Instant::now();
        let mut run = Run::start(config, 2, StoredOffsets::default()).await;
        for task in 0..run.tasks.len() {
            for _ in 0..8 {
                let poll = run.poll(task, Budget { bytes: 1 << 20, records: 2 });
                let Ok(batch) = tokio::time::timeout(Duration::from_secs(60), poll).await else {
                    break;
                };
                writeln!(seen, "task {task} at {:?}", start.elapsed()).unwrap();
                for Record { topic, key, value, timestamp, .. } in batch.records {
                    writeln!(seen, "{topic} {key:?} {value:?} {timestamp:?}").unwrap();
                }
            }
        }
        seen
    })
}

#[test]
fn every_key_has_its_effect() {
    let plugin = plugin();
    let base = Properties::from([
        ("topic", "t"),
        ("rate", "100"),
        ("field.id", "sequence()"),
        ("field.x", "hex(8)"),
    ]);
    let keyed = ("key.field", "x");
    let fixed = ("time.start", "2024-01-01T00:00:00Z");
    KeyWalk::new(plugin.definition(), base, |properties| plugin.validate(properties), observe)
        .changes("topic", "t", "u")
        .changes("preset", None, "clicks")
        .changes("preset", "orders", "clicks")
        .changes("field.y", None, "'z'")
        .changes("key.field", None, "x")
        .refuses("key.field", "nowhere")
        .changes("value.format", "json", "text")
        .changes("rate", "1", "100")
        .changes("count", "3", "0")
        .changes("seed", "1", "2")
        .changes("malformed.ratio", "0", "1")
        .changes_with("tombstone.ratio", "0", "1", &[keyed])
        .refuses("tombstone.ratio", "1")
        .changes("time.start", None, fixed.1)
        .changes_with("time.step.ms", "1000", "5", &[fixed])
        .finish();
}
