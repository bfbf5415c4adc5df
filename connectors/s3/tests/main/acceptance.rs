//! The acceptance suite, on the real server.

use std::time::Duration;

use towpath_connector_s3::{AivenS3Sink, S3Sink};
use towpath_sdk::config::Properties;
use towpath_sdk::sink::SinkConnector;
use towpath_sdk::value::Datum;
use towpath_testkit::{SinkDriver, SinkSuite};

use crate::bucket::Bucket;

/// A bucket for each check, and the keys of a dialect that make objects of three records.
struct Objects<C> {
    bucket: Option<Bucket>,
    connection: fn(&Bucket) -> [(&'static str, &str); 5],
    entries: &'static [(&'static str, &'static str)],
    poison: bool,
    connector: std::marker::PhantomData<fn() -> C>,
}

impl<C> Objects<C> {
    fn new(
        connection: fn(&Bucket) -> [(&'static str, &str); 5],
        entries: &'static [(&'static str, &'static str)],
        poison: bool,
    ) -> Self {
        Self { bucket: None, connection, entries, poison, connector: std::marker::PhantomData }
    }
}

impl<C: SinkConnector<Config: std::fmt::Debug>> SinkDriver for Objects<C> {
    type Connector = C;

    async fn fresh(&mut self) -> Properties {
        let bucket = self.bucket.insert(Bucket::new().await);
        let mut config: Properties = (self.connection)(bucket).into_iter().collect();
        config.insert("spool.dir", bucket.spool.path().to_str().expect("a readable path"));
        config.extend(self.entries.iter().copied());
        config
    }

    async fn read(&mut self) -> Vec<String> {
        let bucket = self.bucket.as_ref().expect("a bucket");
        let mut ids = Vec::new();
        for key in bucket.keys().await {
            let text = String::from_utf8(bucket.get(&key).await).expect("text");
            for line in text.lines() {
                let json: serde_json::Value = serde_json::from_str(line).expect("a document");
                let id = json["id"].as_str().or_else(|| json["value"]["id"].as_str());
                ids.push(id.expect("an id").to_owned());
            }
        }
        ids
    }

    fn poison(&self) -> Option<(Datum, Datum)> {
        self.poison.then(|| (Datum::null(), Datum::null()))
    }

    fn unit(&self) -> usize {
        3
    }

    fn descriptor_mark(&self) -> Option<String> {
        let spool = self.bucket.as_ref()?.spool.path().file_name()?;
        Some(spool.to_string_lossy().into_owned())
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(120)
    }
}

#[test]
fn the_s3_sink_passes() {
    fn connection(bucket: &Bucket) -> [(&'static str, &str); 5] {
        [
            ("s3.bucket.name", &bucket.name),
            ("store.url", &bucket.url),
            ("s3.region", &bucket.region),
            ("aws.access.key.id", &bucket.access_key),
            ("aws.secret.access.key", &bucket.secret_key),
        ]
    }
    let entries = &[
        ("storage.class", "S3Storage"),
        ("format.class", "JsonFormat"),
        ("flush.size", "3"),
        ("filename.offset.zero.pad.width", "20"),
    ];
    SinkSuite::new(Objects::<S3Sink>::new(connection, entries, true)).rounds(2).run();
}

#[test]
fn the_aiven_sink_passes() {
    fn connection(bucket: &Bucket) -> [(&'static str, &str); 5] {
        [
            ("aws.s3.bucket.name", &bucket.name),
            ("aws.s3.endpoint", &bucket.url),
            ("aws.s3.region", &bucket.region),
            ("aws.access.key.id", &bucket.access_key),
            ("aws.secret.access.key", &bucket.secret_key),
        ]
    }
    let entries = &[
        ("format.output.type", "jsonl"),
        ("file.compression.type", "none"),
        ("file.max.records", "3"),
        ("file.flush.interval.ms", "0"),
        ("file.name.template", "{{topic}}-{{partition}}-{{start_offset:padding=true}}"),
    ];
    SinkSuite::new(Objects::<AivenS3Sink>::new(connection, entries, false)).rounds(2).run();
}
