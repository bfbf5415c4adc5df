//! `FileStreamSource`.

use std::io::Write;
use std::path::Path;

use proptest::prelude::*;
use towpath_sdk::config::{Properties, testing};
use towpath_sdk::offset::{OffsetMap, SourcePartition, StoredOffsets};
use towpath_sdk::plugin::definition_of;
use towpath_sdk::source::Budget;
use towpath_sdk::{ErrorKind, Result};

use towpath_connector_file::stream_source::FileStreamSourceConfig;

use crate::host::{NOW, ROOM, SourceRun, properties, source_plugin, utf8};

fn config(path: &Path) -> Properties {
    properties([("file", utf8(path)), ("topic", "t")])
}

async fn start(path: &Path, stored: StoredOffsets) -> Result<SourceRun> {
    SourceRun::start("FileStreamSource", &config(path), stored).await
}

fn at(path: &Path, position: impl Into<serde_json::Value>) -> StoredOffsets {
    let partition = SourcePartition::of([("filename", utf8(path))]);
    StoredOffsets::new(vec![(partition, OffsetMap::of([("position", position.into())]))])
}

fn append(path: &Path, bytes: &[u8]) {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

#[test]
fn every_key_is_claimed() {
    testing::assert_definition::<FileStreamSourceConfig>();
    testing::assert_every_key_is_claimed(
        definition_of::<FileStreamSourceConfig>(),
        &[
            ("file", "lines_become_records_with_their_position"),
            ("topic", "lines_become_records_with_their_position"),
            ("batch.size", "a_batch_is_bounded"),
        ],
    );
}

#[test]
fn keys_show_what_connect_shows() {
    let definition = source_plugin("FileStreamSource").definition();
    let shown: Vec<_> = definition
        .keys
        .iter()
        .map(|k| {
            let default = k.default.as_deref();
            let (kind, importance) = (k.kind.name(), k.importance.name());
            (k.name.as_str(), kind, k.required, default, importance, k.order, k.width.name())
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("file", "STRING", false, None, "HIGH", -1, "NONE"),
            ("topic", "STRING", true, None, "HIGH", -1, "NONE"),
            ("batch.size", "INT", false, Some("2000"), "LOW", -1, "NONE"),
        ]
    );
    assert!(definition.keys.iter().all(|k| k.group.is_none() && k.display_name == k.name));
}

#[tokio::test(start_paused = true)]
async fn lines_become_records_with_their_position() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in");
    append(&path, b"one\nzw\xc3\xb6lf\r\nthree\rrest");
    let mut run = start(&path, StoredOffsets::default()).await.unwrap();
    let batch = run.poll(ROOM).await.unwrap();
    let records: Vec<_> = batch
        .records
        .iter()
        .map(|r| (&*r.topic, r.value.value.as_str().unwrap(), r.key.is_null(), r.timestamp))
        .collect();
    assert_eq!(records, ["one", "zwölf", "three"].map(|line| ("t", line, true, Some(NOW))));
    let schema = batch.records[0].value.schema.as_ref().unwrap();
    assert_eq!((schema.kind.connect_name(), schema.optional), ("STRING", false));
    assert_eq!(batch.marks.len(), 1);
    assert_eq!(batch.marks[0].after, 3);
    let shown = serde_json::to_string(&(&batch.marks[0].partition, &batch.marks[0].offset));
    let expect = format!(r#"[{{"filename":"{}"}},{{"position":18}}]"#, utf8(&path));
    assert_eq!(shown.unwrap(), expect);
}

#[tokio::test(start_paused = true)]
async fn a_last_line_waits_for_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in");
    append(&path, b"one\ntw");
    let mut run = start(&path, StoredOffsets::default()).await.unwrap();
    assert_eq!(run.values(1).await, ["one"]);
    assert!(run.is_idle().await);
    append(&path, b"o\r");
    assert!(run.is_idle().await);
    append(&path, b"\n");
    assert_eq!(run.values(1).await, ["two"]);
}

#[tokio::test(start_paused = true)]
async fn reading_goes_on_at_the_stored_position() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in");
    append(&path, b"one\ntwo\n");
    let mut run = start(&path, at(&path, 4)).await.unwrap();
    assert_eq!(run.values(1).await, ["two"]);
    let refused = start(&path, at(&path, "4")).await.err().unwrap();
    assert_eq!(refused.to_string(), "Offset position is the incorrect type");
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in");
    append(&path, b"1\n2\n3\n4\n5\n666666\n7\n");
    let mut config = config(&path);
    config.insert("batch.size", "2");
    let mut run =
        SourceRun::start("FileStreamSource", &config, StoredOffsets::default()).await.unwrap();
    let mut sizes = Vec::new();
    for room in [ROOM, Budget { bytes: 1, records: 9 }, Budget { bytes: 99, records: 1 }, ROOM] {
        sizes.push(run.poll(room).await.unwrap().records.len());
    }
    assert_eq!(sizes, [2, 1, 1, 2]);
    config.insert("batch.size", "0");
    let errors = source_plugin("FileStreamSource").validate(&config);
    assert_eq!(
        errors.to_string(),
        "Invalid value 0 for configuration batch.size: Value must be at least 1"
    );
}

#[tokio::test(start_paused = true)]
async fn a_missing_file_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in");
    let mut run = start(&path, StoredOffsets::default()).await.unwrap();
    assert!(run.is_idle().await);
    assert!(run.host.reason().unwrap().contains("is not there; waiting until it appears"));
    append(&path, b"one\n");
    assert_eq!(run.values(1).await, ["one"]);
    assert_eq!(run.host.reason(), None);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_has_become_shorter_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in");
    append(&path, b"one\n");
    let mut run = start(&path, at(&path, 8)).await.unwrap();
    assert!(run.is_idle().await);
    assert!(run.host.reason().unwrap().contains("has become shorter (4 bytes)"));
    append(&path, b"two\nthree\n");
    assert_eq!(run.values(1).await, ["three"]);
    assert_eq!(run.host.reason(), None);
}

#[tokio::test(start_paused = true)]
async fn a_folder_is_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = start(folder.path(), StoredOffsets::default()).await.unwrap();
    let error = run.poll(ROOM).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    assert!(error.to_string().ends_with("where a directory is"), "{error}");
    let plugin = source_plugin("FileStreamSource");
    assert_eq!(plugin.check(config(folder.path())).await.unwrap_err().kind(), ErrorKind::Config);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_text_are_replaced_as_in_java() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in");
    append(&path, b"good\nb\xff\xed\xa0\x80d\n");
    let mut run = start(&path, StoredOffsets::default()).await.unwrap();
    assert_eq!(run.values(2).await, ["good", "b\u{fffd}\u{fffd}d"]);
}

#[tokio::test(start_paused = true)]
async fn an_aborted_batch_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in");
    append(&path, b"one\ntwo\nthree\n");
    let mut run = start(&path, StoredOffsets::default()).await.unwrap();
    let stored = run.stored.clone();
    assert_eq!(run.values(3).await.len(), 3);
    run.task.rewind(&stored).await.unwrap();
    assert_eq!(run.values(3).await, ["one", "two", "three"]);
    run.task.rewind(&at(&path, 8)).await.unwrap();
    assert_eq!(run.values(1).await, ["three"]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_poll_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in");
    let lines: Vec<String> = (0..100).map(|n| format!("line {n}")).collect();
    append(&path, (lines.join("\n") + "\n").as_bytes());
    let mut run = start(&path, StoredOffsets::default()).await.unwrap();
    let mut got = Vec::new();
    while got.len() < lines.len() {
        let room = Budget { bytes: 50, records: 9 };
        // Polls that are dropped after their first step, whatever it was.
        for _ in 0..3 {
            let polled = futures::future::poll_immediate(run.task.poll(room)).await;
            if let Some(batch) = polled.transpose().unwrap() {
                got.extend(batch.records.iter().map(crate::host::text_of));
            }
        }
        if got.len() < lines.len() {
            got.extend(run.poll(room).await.unwrap().records.iter().map(crate::host::text_of));
        }
    }
    assert_eq!(got, lines);
}

#[test]
fn the_guarantee_tells_files_from_standard_input() {
    let plugin = source_plugin("FileStreamSource");
    let file = plugin.guarantee(&properties([("file", "/x"), ("topic", "t")])).unwrap();
    assert!(file.to_string().starts_with("exactly-once, because "), "{file}");
    for stdin in [properties([("topic", "t")]), properties([("file", ""), ("topic", "t")])] {
        let stdin = plugin.guarantee(&stdin).unwrap();
        assert!(stdin.to_string().starts_with("at-least-once, because "), "{stdin}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The file grows in steps of any content, the task restarts after any poll: each line comes
    /// exactly once.
    #[test]
    fn each_line_comes_once_over_restarts(
        steps in proptest::collection::vec(
            (
                proptest::collection::vec(
                    prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'x'), any::<u8>()], 0..40,
                ),
                any::<bool>(),
                1_usize..5,
            ),
            1..12,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all().start_paused(true).build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in");
        let (got, content) = runtime.block_on(async {
            let (mut got, mut content) = (Vec::new(), Vec::new());
            let mut run = start(&path, StoredOffsets::default()).await.unwrap();
            for (bytes, restart, records) in steps {
                append(&path, &bytes);
                content.extend_from_slice(&bytes);
                let room = Budget { bytes: 1 << 20, records };
                let wait = std::time::Duration::from_secs(2);
                if let Ok(batch) = tokio::time::timeout(wait, run.poll(room)).await {
                    got.extend(batch.unwrap().records.iter().map(crate::host::text_of));
                }
                if restart {
                    run = start(&path, run.stored).await.unwrap();
                }
            }
            append(&path, b"\nend");
            content.extend_from_slice(b"\nend");
            let wait = std::time::Duration::from_secs(2);
            while let Ok(batch) = tokio::time::timeout(wait, run.poll(ROOM)).await {
                got.extend(batch.unwrap().records.iter().map(crate::host::text_of));
            }
            (got, content)
        });
        // Java's BufferedReader.readLine, over Latin-1-free text: split at \r\n, \r and \n.
        let text = String::from_utf8_lossy(&content).replace("\r\n", "\n").replace('\r', "\n");
        let mut expect: Vec<&str> = text.split('\n').collect();
        prop_assert_eq!(expect.pop(), Some("end"));
        let surrogate = content.windows(2).any(|w| w[0] == 0xed && w[1] >= 0xa0);
        prop_assume!(!surrogate);
        prop_assert_eq!(got, expect);
    }
}
