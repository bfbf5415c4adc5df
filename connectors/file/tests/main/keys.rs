//! Every key of every connector of this crate has an effect that can be seen.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;
use towpath_sdk::config::Properties;
use towpath_sdk::offset::StoredOffsets;
use towpath_sdk::record::Record;
use towpath_sdk::value::{Datum, Value};
use towpath_testkit::KeyWalk;

use crate::host::{
    LaneRun, ROOM, SinkRun, SourceRun, properties, sink_plugin, source_plugin, text, utf8,
};

/// Runs on a clock that moves only when nothing else does.
fn run<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().unwrap().block_on(future)
}

/// `properties` with the folder's path in place of `@`.
fn at(properties: &Properties, folder: &Path) -> Properties {
    let there = |(key, value): (&str, &str)| (key.to_owned(), value.replace('@', utf8(folder)));
    properties.iter().map(there).collect()
}

/// All files below a folder, with what is in them.
fn tree(folder: &Path) -> String {
    let mut shown = String::new();
    let mut entries: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            shown += &tree(&path);
        } else {
            let content = std::fs::read(&path).unwrap();
            writeln!(shown, "{}: {}", path.display(), content.escape_ascii()).unwrap();
        }
    }
    shown
}

fn show(record: &Record) -> String {
    let Record { topic, key, value, headers, .. } = record;
    format!("{topic} {:?} {:?} {headers:?}", key.value, value.value)
}

/// What comes out of a source, and when, while files grow and appear.
fn observe_source(alias: &str, properties: &Properties) -> String {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    for name in ["x", "y"] {
        std::fs::create_dir(root.join(name)).unwrap();
    }
    std::fs::write(root.join("a.log"), "one\ntwo\na line of more than ten bytes\nrest").unwrap();
    std::fs::write(root.join("b.log"), "three\n").unwrap();
    let config = at(properties, &root);
    let mut seen = run(async {
        let mut seen = String::new();
        let start = Instant::now();
        let mut run = SourceRun::start(alias, &config, StoredOffsets::default()).await.unwrap();
        for until in [3, 40] {
            let deadline = start + Duration::from_secs(until);
            while let Ok(batch) = tokio::time::timeout_at(deadline, run.poll(ROOM)).await {
                let batch = batch.unwrap();
                writeln!(seen, "{} at {:?}", batch.records.len(), start.elapsed()).unwrap();
                for record in &batch.records {
                    writeln!(seen, "{}", show(record)).unwrap();
                }
                let upto: Vec<_> = run.stored.iter().cloned().collect();
                run.task.acknowledge(&upto).await.unwrap();
            }
            writeln!(seen, "{:?}", run.host.reason()).unwrap();
            let mut b = std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(root.join("b.log"))
                .unwrap();
            b.write_all(b"four\n").unwrap();
            std::fs::write(root.join("c.log"), "five\n").unwrap();
        }
        seen
    });
    seen += &tree(&root);
    seen.replace(utf8(&root), "@")
}

#[test]
fn every_key_of_file_source_has_its_effect() {
    let plugin = source_plugin("file-source");
    KeyWalk::new(
        plugin.definition(),
        properties([("files", "@/*.log"), ("topic", "t")]),
        |properties| plugin.validate(properties),
        |properties| observe_source("file-source", properties),
    )
    .changes("files", "@/*.log", "@/b.log")
    .refuses("files", "@/[")
    .changes("exclude", None, "a*")
    .changes("topic", "t", "u")
    .changes("batch.size", "1", "100")
    .changes("value.format", "text", "bytes")
    .changes("record.key", "none", "path")
    .changes("file.headers", "false", "true")
    .changes_with("max.line.bytes", "10", "11", &[("long.lines", "cut")])
    .changes_with("long.lines", "stop", "skip", &[("max.line.bytes", "10")])
    .changes_with("long.lines", "cut", "skip", &[("max.line.bytes", "10")])
    .changes("last.line", "wait", "read")
    .changes_with("finished.after.ms", "1000", "20000", &[("last.line", "read")])
    .changes("when.finished", "keep", "delete")
    .changes_with("move.to", "@/x", "@/y", &[("when.finished", "move")])
    .refuses("move.to", "@/x")
    .changes("scan.interval.ms", "100", "20000")
    .changes("poll.interval.ms", "5", "20000")
    .finish();
}

#[test]
fn every_key_of_file_stream_source_has_its_effect() {
    let plugin = source_plugin("FileStreamSource");
    KeyWalk::new(
        plugin.definition(),
        properties([("file", "@/a.log"), ("topic", "t")]),
        |properties| plugin.validate(properties),
        |properties| observe_source("FileStreamSource", properties),
    )
    .changes("file", "@/a.log", "@/b.log")
    .changes("topic", "t", "u")
    .changes("batch.size", "1", "100")
    .finish();
}

#[test]
fn every_key_of_file_stream_sink_has_its_effect() {
    let plugin = sink_plugin("FileStreamSink");
    let observe = |properties: &Properties| {
        let folder = tempfile::tempdir().unwrap();
        run(async {
            let config = at(properties, folder.path());
            let mut run = SinkRun::start("FileStreamSink", &config).await.unwrap();
            run.lane(0).await.write(0, &[text("a")]).await.unwrap();
        });
        tree(folder.path()).replace(utf8(folder.path()), "@")
    };
    let base = properties([("file", "@/out")]);
    KeyWalk::new(plugin.definition(), base, |p| plugin.validate(p), observe)
        .changes("file", "@/out", "@/other")
        .finish();
}

/// What a file sink makes of a few records, hours apart.
fn observe_sink(config: &Properties) -> String {
    let folder = tempfile::tempdir().unwrap();
    let config = at(config, folder.path());
    let mut seen = sink_plugin("file-sink").guarantee(&config).unwrap().to_string();
    run(async {
        let mut run = SinkRun::start("file-sink", &config).await.unwrap();
        let mut lane = run.lane(0).await;
        let values = [text("a"), Datum::schemaless(Value::Int64(7)), Datum::null(), text("b")];
        for (start, chunk) in [(0, &values[..2]), (2, &values[2..])] {
            let mut batch = lane.batch(start, chunk);
            for record in &mut batch.records {
                record.timestamp = Some(record.offset() * 3_600_000);
            }
            lane.lane.write(batch).await.unwrap();
            writeln!(seen, "\n{}", report(&lane)).unwrap();
            seen += &tree(folder.path());
        }
        lane.lane.drain().await.unwrap();
        writeln!(seen, "{}", report(&lane)).unwrap();
    });
    seen += &tree(folder.path());
    let part =
        |word: &str| if word.ends_with(".part:") { "part:".to_owned() } else { word.to_owned() };
    // The names of what is not complete are new each time.
    let words: Vec<String> = seen.replace(utf8(folder.path()), "@").split(' ').map(part).collect();
    words.join(" ")
}

fn report(lane: &LaneRun) -> String {
    let rejected = lane.reports.rejected.lock().unwrap();
    format!("{:?} {:?} {:?}", lane.durable(), *rejected, lane.lane.wake_at())
}

#[test]
fn every_key_of_file_sink_has_its_effect() {
    let plugin = sink_plugin("file-sink");
    let hours = "{{topic}}-{{partition}}-{{timestamp:unit=HH}}-{{start_offset}}";
    KeyWalk::new(
        plugin.definition(),
        properties([("directory", "@/out"), ("rotate.records", "4")]),
        |properties| plugin.validate(properties),
        observe_sink,
    )
    .changes("directory", "@/out", "@/other")
    .changes("file.name.template", None, "{{topic}}-{{partition}}-{{start_offset}}")
    .refuses("file.name.template", "{{topic}}")
    .changes_with("timezone", "UTC", "Asia/Tokyo", &[("file.name.template", hours)])
    .changes("format", "json", "text")
    .changes("compression", "none", "gzip")
    .changes("null.values", "write", "skip")
    .changes("null.values", "skip", "reject")
    .changes("rotate.records", "4", "2")
    .changes("rotate.bytes", "0", "3")
    .changes("rotate.interval.ms", "0", "5000")
    .changes_with("max.open.files", "1", "50", &[("file.name.template", hours)])
    .changes("fsync", "true", "false")
    .finish();
}
