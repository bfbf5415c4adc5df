//! `file-sink`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use towpath_connector_file::sink::FileSinkConfig;
use towpath_sdk::ErrorKind;
use towpath_sdk::config::{Properties, testing};
use towpath_sdk::plugin::definition_of;
use towpath_sdk::sink::SinkBatch;
use towpath_sdk::value::{Datum, Json, Value};

use crate::host::{LaneRun, NOW, SinkRun, properties, sink_plugin, text, utf8};

fn config(directory: &Path, entries: &[(&str, &str)]) -> Properties {
    let mut config = properties([("directory", utf8(directory)), ("rotate.records", "3")]);
    config.extend(entries.iter().copied());
    config
}

async fn start(config: &Properties) -> SinkRun {
    SinkRun::start("file-sink", config).await.unwrap()
}

/// The files below `directory` by name, but for those in the making.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut files, mut folders) = (BTreeMap::new(), vec![directory.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
            match path.is_dir() {
                true if name == ".towpath" => {}
                true => folders.push(path),
                false => {
                    files.insert(name, std::fs::read(path).unwrap());
                }
            }
        }
    }
    files
}

fn texts(directory: &Path) -> Vec<(String, String)> {
    let text = |(name, bytes)| (name, String::from_utf8(bytes).unwrap());
    files(directory).into_iter().map(text).collect()
}

fn shown(directory: &Path) -> Vec<String> {
    texts(directory).into_iter().map(|(name, text)| format!("{name}: {text}")).collect()
}

/// `t-0-00000000000000000042.jsonl` in the topic's folder.
fn name(start: i64) -> String {
    format!("t/t-0-{start:020}.jsonl")
}

/// Numbers as records, each with its own timestamp.
fn at_times(lane: &LaneRun, start: i64, times: &[i64]) -> SinkBatch {
    let values: Vec<Datum> =
        (start..).zip(times).map(|(n, _)| Datum::schemaless(Value::Int64(n))).collect();
    let mut batch = lane.batch(start, &values);
    for (record, time) in batch.records.iter_mut().zip(times) {
        record.timestamp = Some(*time);
    }
    batch
}

#[test]
fn every_key_is_claimed() {
    testing::assert_definition::<FileSinkConfig>();
    testing::assert_every_key_is_claimed(
        definition_of::<FileSinkConfig>(),
        &[
            ("directory", "files_appear_whole_after_so_many_records"),
            ("file.name.template", "records_go_to_the_folder_of_their_day"),
            ("timezone", "records_go_to_the_folder_of_their_day"),
            ("format", "text_is_written_as_it_is"),
            ("compression", "files_can_be_compressed"),
            ("null.values", "records_without_value"),
            ("rotate.records", "files_appear_whole_after_so_many_records"),
            ("rotate.bytes", "files_appear_after_so_many_bytes"),
            ("rotate.interval.ms", "files_appear_after_a_while"),
            ("max.open.files", "few_files_are_open_at_once"),
            ("fsync", "the_guarantee_follows_the_settings"),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn files_appear_whole_after_so_many_records() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("new/out");
    let mut run = start(&config(&directory, &[])).await;
    let mut lane = run.lane(0).await;
    let json = Json::new(Bytes::from_static(br#"{"a":1}"#)).unwrap();
    lane.write(40, &[Datum::schemaless(Value::Json(json)), text("b")]).await.unwrap();
    assert_eq!((lane.durable(), directory.exists()), (None, false));
    lane.write(42, &[text("c"), text("d"), text("e"), text("f"), text("g")]).await.unwrap();
    assert_eq!(lane.durable(), Some(46));
    assert_eq!(
        texts(&directory),
        [
            (name(40), "{\"a\":1}\n\"b\"\n\"c\"\n".to_owned()),
            (name(43), "\"d\"\n\"e\"\n\"f\"\n".to_owned()),
        ]
    );
    // What is left would be made whole by the next lane, so it is not cut short.
    lane.lane.drain().await.unwrap();
    assert_eq!(lane.durable(), Some(46));
    assert!(!directory.join(".towpath").exists());
}

#[tokio::test(start_paused = true)]
async fn files_appear_after_so_many_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let entries = [("rotate.records", "0"), ("rotate.bytes", "10"), ("format", "text")];
    let mut run = start(&config(folder.path(), &entries)).await;
    let mut lane = run.lane(0).await;
    lane.write(0, &[text("1234"), text("5678"), text("9")]).await.unwrap();
    assert_eq!(lane.durable(), Some(2));
    assert_eq!(shown(folder.path()), ["t/t-0-00000000000000000000.txt: 1234\n5678\n"]);
}

#[tokio::test(start_paused = true)]
async fn files_appear_after_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let entries = [("rotate.records", "0"), ("rotate.interval.ms", "5000")];
    let mut run = start(&config(folder.path(), &entries)).await;
    let mut lane = run.lane(0).await;
    assert_eq!(lane.lane.wake_at(), None);
    lane.write(0, &[text("a")]).await.unwrap();
    let at = lane.lane.wake_at().unwrap();
    assert_eq!(at.millis(), NOW + 5000);
    lane.lane.wake().await.unwrap();
    assert_eq!((lane.durable(), lane.lane.wake_at()), (Some(1), None));
    // On a drain the clock may as well have come.
    lane.write(1, &[text("b")]).await.unwrap();
    lane.lane.drain().await.unwrap();
    assert_eq!(lane.durable(), Some(2));
    let expect = [(name(0), "\"a\"\n".to_owned()), (name(1), "\"b\"\n".to_owned())];
    assert_eq!(texts(folder.path()), expect);
}

#[tokio::test(start_paused = true)]
async fn records_go_to_the_folder_of_their_day() {
    let folder = tempfile::tempdir().unwrap();
    let template = "{{timestamp:unit=yyyy}}-{{timestamp:unit=MM}}-{{timestamp:unit=dd}}/\
                    {{timestamp:unit=HH}}/{{topic}}-{{partition}}-{{start_offset}}";
    let entries =
        [("file.name.template", template), ("timezone", "Asia/Tokyo"), ("rotate.records", "5")];
    let mut run = start(&config(folder.path(), &entries)).await;
    let mut lane = run.lane(0).await;
    let hour = 3_600_000;
    let batch = at_times(&lane, 0, &[NOW, NOW + 17 * hour, NOW + 1, NOW + hour, NOW + 17 * hour]);
    lane.lane.write(batch).await.unwrap();
    assert_eq!(
        shown(folder.path()),
        ["2023-11-15/07/t-0-0: 0\n2\n", "2023-11-15/08/t-0-3: 3\n", "2023-11-16/00/t-0-1: 1\n4\n"]
    );
    // A record without time is rejected, and gives no file its name.
    let mut batch = at_times(&lane, 5, &[NOW; 6]);
    batch.records[0].timestamp = None;
    lane.lane.write(batch).await.unwrap();
    assert_eq!(lane.reports.rejected.lock().unwrap()[0].0, 5);
    assert!(files(folder.path()).contains_key("2023-11-15/07/t-0-6"));
}

#[tokio::test(start_paused = true)]
async fn few_files_are_open_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let template = "{{timestamp:unit=mm}}/{{topic}}-{{partition}}-{{start_offset}}";
    let entries =
        [("file.name.template", template), ("rotate.records", "100"), ("max.open.files", "2")];
    let mut run = start(&config(folder.path(), &entries)).await;
    let mut lane = run.lane(0).await;
    let minute = |n: i64| NOW - 20_000 + n * 60_000;
    let times = [minute(0), minute(1), minute(0), minute(2), minute(0)];
    let batch = at_times(&lane, 0, &times);
    lane.lane.write(batch).await.unwrap();
    assert_eq!(lane.durable(), Some(3));
    assert_eq!(shown(folder.path()), ["13/t-0-0: 0\n2\n", "14/t-0-1: 1\n"]);
}

#[tokio::test(start_paused = true)]
async fn text_is_written_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = start(&config(folder.path(), &[("format", "text")])).await;
    let mut lane = run.lane(0).await;
    let raw = Datum::schemaless(Value::Bytes(Bytes::from_static(b"\x00raw")));
    lane.write(0, &[text("a \"b\""), raw, Datum::schemaless(Value::Int64(7))]).await.unwrap();
    assert_eq!(shown(folder.path()), ["t/t-0-00000000000000000000.txt: a \"b\"\n\0raw\n7\n"]);
}

#[tokio::test(start_paused = true)]
async fn files_can_be_compressed() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = start(&config(folder.path(), &[("compression", "gzip")])).await;
    let mut lane = run.lane(0).await;
    lane.write(0, &[text("a"), text("b"), text("c")]).await.unwrap();
    let [(name, bytes)] = <[_; 1]>::try_from(Vec::from_iter(files(folder.path()))).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
    assert_eq!(
        (name.as_str(), text.as_str()),
        ("t/t-0-00000000000000000000.jsonl.gz", "\"a\"\n\"b\"\n\"c\"\n")
    );
}

#[tokio::test(start_paused = true)]
async fn records_without_value() {
    for (choice, content, rejected) in
        [("write", "1\nnull\n2\n", 0), ("skip", "1\n2\n3\n", 0), ("reject", "1\n2\n3\n", 1)]
    {
        let folder = tempfile::tempdir().unwrap();
        let mut run = start(&config(folder.path(), &[("null.values", choice)])).await;
        let mut lane = run.lane(0).await;
        let number = |n| Datum::schemaless(Value::Int64(n));
        lane.write(0, &[number(1), Datum::null(), number(2), number(3)]).await.unwrap();
        assert_eq!(texts(folder.path())[0].1, content);
        assert_eq!(lane.reports.rejected.lock().unwrap().len(), rejected);
    }
    // If nothing is left, nothing waits for a file.
    let folder = tempfile::tempdir().unwrap();
    let mut run = start(&config(folder.path(), &[("null.values", "skip")])).await;
    let mut lane = run.lane(0).await;
    lane.write(0, &[Datum::null()]).await.unwrap();
    assert_eq!(lane.durable(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_blocked_name_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("t");
    std::fs::write(&blocked, "a file where a directory must be").unwrap();
    let mut run = start(&config(folder.path(), &[])).await;
    let mut lane = run.lane(0).await;
    let values = [text("a"), text("b"), text("c")];
    let clear = async {
        run.host.waits_for("complete files: create").await;
        std::fs::remove_file(&blocked).unwrap();
    };
    let (written, ()) = futures::join!(lane.write(0, &values), clear);
    written.unwrap();
    assert_eq!((lane.durable(), run.host.reason()), (Some(3), None));
    assert_eq!(texts(folder.path()).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn files_that_somebody_removes_are_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = start(&config(folder.path(), &[])).await;
    let mut lane = run.lane(0).await;
    let long = "x".repeat(300_000);
    lane.write(0, &[text(&long)]).await.unwrap();
    std::fs::remove_dir_all(folder.path().join(".towpath")).unwrap();
    let error = lane.write(1, &[text("b"), text("c")]).await.unwrap_err();
    assert_eq!((error.kind(), lane.durable()), (ErrorKind::NotFound, None));
    let mut lane = run.lane(0).await;
    lane.write(0, &[text(&long), text("b"), text("c")]).await.unwrap();
    assert_eq!(lane.durable(), Some(3));
}

#[tokio::test(start_paused = true)]
async fn the_directory_is_checked() {
    let plugin = sink_plugin("file-sink");
    let folder = tempfile::tempdir().unwrap();
    let good = config(&folder.path().join("new"), &[]);
    plugin.check(good).await.unwrap();
    assert!(files(folder.path()).is_empty());
    let bad = config(Path::new("/proc/nothing/here"), &[]);
    assert!(plugin.check(bad).await.is_err());
}

#[test]
fn mistakes_come_all_at_once() {
    let bad = properties([
        ("directory", ""),
        ("timezone", "Mars"),
        ("max.open.files", "0"),
        ("format", "avro"),
    ]);
    let errors = sink_plugin("file-sink").validate(&bad).to_string();
    assert_eq!(errors.lines().count(), 4, "{errors}");
    let bad = properties([
        ("directory", "/x"),
        ("file.name.template", "{{topic}}"),
        ("rotate.records", "0"),
        ("rotate.bytes", "0"),
    ]);
    assert_eq!(
        sink_plugin("file-sink").validate(&bad).to_string(),
        "Invalid value {{topic}} for configuration file.name.template: Expected {{topic}}, \
         {{partition}} and {{start_offset}} in it\n\
         No file would ever be completed: set rotate.records, rotate.bytes or rotate.interval.ms \
         above 0"
    );
}

#[test]
fn the_guarantee_follows_the_settings() {
    let check = |entries: &[(&str, &str)], expect: &str| {
        let config = config(Path::new("/x"), entries);
        let guarantee = sink_plugin("file-sink").guarantee(&config).unwrap().to_string();
        assert!(guarantee.starts_with(expect), "{guarantee}");
    };
    check(&[], "exactly-once, because files are cut by their records alone");
    check(&[("rotate.interval.ms", "1")], "at-least-once, because rotate.interval.ms");
    check(&[("fsync", "false")], "at-least-once, because fsync is false");
}

/// A lane which takes numbers from `start` to `end` in batches of the given sizes, the record's time
/// going back and forth over minutes.
async fn feed(lane: &mut LaneRun, start: i64, end: i64, sizes: &[i64]) -> bool {
    let (mut at, mut sizes) = (start, sizes.iter().cycle());
    while at < end {
        let next = (at + sizes.next().unwrap()).min(end);
        let times: Vec<i64> = (at..next).map(|n| NOW + (n * n % 7) * 30_000).collect();
        let batch = at_times(lane, at, &times);
        if lane.lane.write(batch).await.is_err() {
            return false;
        }
        at = next;
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The lane is dropped anywhere, also between the renames of files that are completed together,
    /// and starts again at what it last reported or at something it had reported before: the files
    /// are those of a run that was never interrupted.
    #[test]
    fn a_crash_anywhere_leaves_each_record_in_one_file(
        records in 1_u64..9,
        open_files in 1_u32..4,
        sizes in proptest::collection::vec(1_i64..7, 1..6),
        crashes in proptest::collection::vec((1_i64..40, any::<prop::sample::Index>(), any::<bool>(), any::<prop::sample::Index>()), 1..6),
    ) {
        const END: i64 = 60;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let template = "{{timestamp:unit=mm}}/{{topic}}-{{partition}}-{{start_offset}}";
            let (records, open_files) = (records.to_string(), open_files.to_string());
            let entries = [
                ("file.name.template", template),
                ("rotate.records", &*records),
                ("max.open.files", &*open_files),
                ("fsync", "false"),
            ];
            let (whole, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let mut run = start(&config(whole.path(), &entries)).await;
            let mut lane = run.lane(0).await;
            assert!(feed(&mut lane, 0, END, &[END]).await);
            let expect = files(whole.path());
            let names: Vec<&String> = expect.keys().collect();

            let mut run = start(&config(broken.path(), &entries)).await;
            // Offsets that the lanes have reported; what is committed never goes back.
            let mut reported = vec![0];
            for (length, back, block, blocked) in crashes {
                let committed = reported[back.index(reported.len())];
                reported.retain(|offset| *offset >= committed);
                let obstacle = (block && !names.is_empty())
                    .then(|| broken.path().join(blocked.get(&names)))
                    .filter(|path| !path.exists());
                if let Some(obstacle) = &obstacle {
                    std::fs::create_dir_all(obstacle).unwrap();
                }
                let mut lane = run.lane(0).await;
                let end = (committed + length).min(END);
                let feeding = feed(&mut lane, committed, end, &sizes);
                // A directory in a file's place stops the lane for good or until the time is up.
                let _stopped = tokio::time::timeout(Duration::from_secs(30), feeding).await;
                reported.extend(lane.durable());
                reported.sort_unstable();
                drop(lane);
                if let Some(obstacle) = obstacle {
                    std::fs::remove_dir(obstacle).unwrap();
                }
            }
            let mut lane = run.lane(0).await;
            assert!(feed(&mut lane, reported[reported.len() - 1], END, &sizes).await);
            prop_assert_eq!(&files(broken.path()), &expect);
            Ok(())
        })?;
    }
}
