//! The acceptance suite on all connectors of this crate.

use std::io::Write;
use std::path::PathBuf;

use towpath_connector_file::sink::FileSink;
use towpath_connector_file::source::FileSource;
use towpath_connector_file::stream_sink::FileStreamSink;
use towpath_connector_file::stream_source::FileStreamSource;
use towpath_sdk::config::Properties;
use towpath_sdk::record::Record;
use towpath_sdk::value::Datum;
use towpath_testkit::{Item, SinkDriver, SinkSuite, SourceDriver, SourceSuite};

use crate::host::{properties, text, text_of, utf8};

/// A folder that is new for each check.
struct Place {
    folder: tempfile::TempDir,
    count: usize,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), count: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn mark(&self) -> Option<String> {
        self.folder.path().file_name().map(|name| name.to_string_lossy().into_owned())
    }

    fn append(&self, name: &str, line: &str) {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.append(true).create(true).open(self.path(name)).unwrap();
        writeln!(file, "{line}").unwrap();
    }

    fn numbers(&mut self, count: usize) -> std::ops::Range<usize> {
        self.count += count;
        self.count - count..self.count
    }
}

struct StreamSource(Place);

impl SourceDriver for StreamSource {
    type Connector = FileStreamSource;

    async fn fresh(&mut self) -> Properties {
        self.0 = Place::new();
        self.0.append("in", "");
        std::fs::write(self.0.path("in"), "").unwrap();
        properties([("file", utf8(&self.0.path("in"))), ("topic", "t")])
    }

    async fn put(&mut self, count: usize) -> Vec<Item> {
        let numbers = self.0.numbers(count).map(|n| n.to_string());
        let put = |n: String| {
            self.0.append("in", &n);
            Item::new("", n)
        };
        numbers.map(put).collect()
    }

    fn descriptor_mark(&self) -> Option<String> {
        self.0.mark()
    }

    fn patience(&self) -> std::time::Duration {
        std::time::Duration::from_secs(60)
    }
}

#[test]
fn file_stream_source_passes() {
    SourceSuite::new(StreamSource(Place::new())).run();
}

/// Three logs, which are rotated now and then.
struct Logs(Place);

impl SourceDriver for Logs {
    type Connector = FileSource;

    async fn fresh(&mut self) -> Properties {
        self.0 = Place::new();
        let mut config = properties([
            ("files", utf8(&self.0.path("*.log*"))),
            ("topic", "t"),
            ("scan.interval.ms", "20"),
            ("poll.interval.ms", "10"),
        ]);
        config.insert("file.headers", "true");
        config
    }

    async fn put(&mut self, count: usize) -> Vec<Item> {
        let mut items = Vec::new();
        for n in self.0.numbers(count) {
            let (log, name) = (n % 3, format!("{}.log", n % 3));
            if n % 7 == 6 && self.0.path(&name).exists() {
                let rotated = self.0.path(&format!("{name}.{}", 1000 - n));
                std::fs::rename(self.0.path(&name), rotated).unwrap();
            }
            self.0.append(&name, &format!("{log} {n}"));
            items.push(Item::new(log.to_string(), format!("{log} {n}")));
        }
        items
    }

    fn identify(&self, record: &Record) -> Item {
        let text = text_of(record);
        Item::new(&text[..1], &*text)
    }

    fn descriptor_mark(&self) -> Option<String> {
        self.0.mark()
    }

    fn patience(&self) -> std::time::Duration {
        std::time::Duration::from_secs(60)
    }
}

#[test]
fn file_source_passes() {
    SourceSuite::new(Logs(Place::new())).run();
}

struct StreamSink(Place);

impl SinkDriver for StreamSink {
    type Connector = FileStreamSink;

    async fn fresh(&mut self) -> Properties {
        self.0 = Place::new();
        properties([("file", utf8(&self.0.path("out")))])
    }

    fn record(&self, id: &str) -> (Datum, Datum) {
        (Datum::null(), text(id))
    }

    async fn read(&mut self) -> Vec<String> {
        let lines = std::fs::read_to_string(self.0.path("out")).unwrap_or_default();
        lines.lines().map(str::to_owned).collect()
    }

    fn descriptor_mark(&self) -> Option<String> {
        self.0.mark()
    }

    fn patience(&self) -> std::time::Duration {
        std::time::Duration::from_secs(60)
    }
}

#[test]
fn file_stream_sink_passes() {
    SinkSuite::new(StreamSink(Place::new())).run();
}

struct Files(Place, &'static [(&'static str, &'static str)]);

impl SinkDriver for Files {
    type Connector = FileSink;

    async fn fresh(&mut self) -> Properties {
        self.0 = Place::new();
        let mut config = properties([
            ("directory", utf8(&self.0.path("out"))),
            ("rotate.records", "3"),
            ("null.values", "reject"),
        ]);
        config.extend(self.1.iter().copied());
        config
    }

    async fn read(&mut self) -> Vec<String> {
        let pattern = self.0.path("out/*/*.jsonl*");
        let mut ids = Vec::new();
        for path in glob::glob(utf8(&pattern)).unwrap() {
            let bytes = std::fs::read(path.unwrap()).unwrap();
            let mut content = String::new();
            match bytes.starts_with(&[0x1f, 0x8b]) {
                true => {
                    let mut decoder = flate2::read::GzDecoder::new(&*bytes);
                    std::io::Read::read_to_string(&mut decoder, &mut content).unwrap();
                }
                false => content.push_str(std::str::from_utf8(&bytes).unwrap()),
            }
            let id = |line: &str| {
                let json: serde_json::Value = serde_json::from_str(line).unwrap();
                json["id"].as_str().unwrap().to_owned()
            };
            ids.extend(content.lines().map(id));
        }
        ids
    }

    fn poison(&self) -> Option<(Datum, Datum)> {
        Some((Datum::null(), Datum::null()))
    }

    fn unit(&self) -> usize {
        3
    }

    fn descriptor_mark(&self) -> Option<String> {
        self.0.mark()
    }

    fn patience(&self) -> std::time::Duration {
        std::time::Duration::from_secs(60)
    }
}

#[test]
fn file_sink_passes() {
    SinkSuite::new(Files(Place::new(), &[])).run();
}

#[test]
fn file_sink_passes_compressed_and_by_the_clock() {
    let entries = &[("compression", "gzip"), ("rotate.interval.ms", "5000")];
    SinkSuite::new(Files(Place::new(), entries)).run();
}
