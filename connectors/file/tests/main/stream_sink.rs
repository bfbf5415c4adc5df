//! `FileStreamSink`.

use std::path::Path;

use bytes::Bytes;
use towpath_connector_file::stream_sink::FileStreamSinkConfig;
use towpath_sdk::ErrorKind;
use towpath_sdk::config::{Properties, testing};
use towpath_sdk::plugin::definition_of;
use towpath_sdk::value::{Datum, Json, Value};

use crate::host::{SinkRun, properties, sink_plugin, text, utf8};

fn config(path: &Path) -> Properties {
    properties([("file", utf8(path))])
}

async fn start(path: &Path) -> SinkRun {
    SinkRun::start("FileStreamSink", &config(path)).await.unwrap()
}

#[test]
fn every_key_is_claimed() {
    testing::assert_definition::<FileStreamSinkConfig>();
    testing::assert_every_key_is_claimed(
        definition_of::<FileStreamSinkConfig>(),
        &[("file", "values_are_appended_as_java_shows_them")],
    );
}

#[tokio::test(start_paused = true)]
async fn values_are_appended_as_java_shows_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    std::fs::write(&path, "before\n").unwrap();
    let mut run = start(&path).await;
    let mut lane = run.lane(0).await;
    let json = Json::new(Bytes::from_static(br#"{"a":1,"b":[true,null]}"#)).unwrap();
    let values = [text("one"), Datum::null(), Datum::schemaless(Value::Json(json))];
    lane.write(7, &values).await.unwrap();
    assert_eq!(lane.durable(), Some(10));
    let lines = std::fs::read_to_string(&path).unwrap();
    assert_eq!(lines, "before\none\nnull\n{a=1, b=[true, null]}\n");
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_nothing_moves_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = start(&folder.path().join("out")).await;
    let mut lane = run.lane(0).await;
    lane.write(5, &[]).await.unwrap();
    assert_eq!(lane.durable(), Some(5));
}

#[tokio::test(start_paused = true)]
async fn a_torn_last_line_gets_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    std::fs::write(&path, "one\ntw").unwrap();
    let mut run = start(&path).await;
    run.lane(0).await.write(1, &[text("two")]).await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntw\ntwo\n");
}

#[tokio::test]
async fn lanes_of_several_tasks_never_mix_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let (mut one, mut two) = (start(&path).await, start(&path).await);
    let mut lanes = [one.lane(0).await, one.lane(1).await, two.lane(2).await];
    let writes = lanes.iter_mut().enumerate().map(|(i, lane)| async move {
        for start in 0..50 {
            let values: Vec<_> =
                (0..20).map(|n| text(&format!("{i}-{start}-{n}-{}", "x".repeat(500)))).collect();
            lane.write(start, &values).await.unwrap();
        }
    });
    futures::future::join_all(writes).await;
    let mut lines: Vec<String> =
        std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), 3 * 50 * 20);
    assert!(lines.iter().all(|line| line.len() > 500 && line.len() < 512));
}

#[tokio::test(start_paused = true)]
async fn a_path_that_leads_nowhere_fails_in_connects_words() {
    let plugin = sink_plugin("FileStreamSink");
    let config = properties([("file", "/nonexistent/dir/x")]);
    let error = SinkRun::start("FileStreamSink", &config).await.err().unwrap();
    assert_eq!(
        format!("{}: {error}", error.class()),
        "org.apache.kafka.connect.errors.ConnectException: \
         Couldn't find or create file '/nonexistent/dir/x' for FileStreamSinkTask"
    );
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(plugin.check(config).await.unwrap_err().to_string(), error.to_string());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    plugin.check(properties([("file", utf8(&path))])).await.unwrap();
    assert!(!path.exists());
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_waited_out() {
    // Linux's device that is always full.
    let mut run =
        SinkRun::start("FileStreamSink", &properties([("file", "/dev/full")])).await.unwrap();
    let mut lane = run.lane(0).await;
    let wait = std::time::Duration::from_secs(3600);
    let values = [text("one")];
    {
        // The reason lasts as long as the write.
        let mut write = std::pin::pin!(lane.write(0, &values));
        assert!(tokio::time::timeout(wait, write.as_mut()).await.is_err());
        let reason = run.host.reason().unwrap();
        assert!(reason.contains("its file system needs more space"), "{reason}");
    }
    assert_eq!((lane.durable(), run.host.reason()), (None, None));
}

#[test]
fn the_guarantee_says_what_durable_means() {
    let guarantee = sink_plugin("FileStreamSink").guarantee(&properties([])).unwrap().to_string();
    assert!(guarantee.starts_with("at-least-once, because "), "{guarantee}");
}
