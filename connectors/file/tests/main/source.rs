//! `file-source`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use towpath_sdk::ErrorKind;
use towpath_sdk::config::Properties;
use towpath_sdk::context::SourceTaskContext;
use towpath_sdk::offset::StoredOffsets;
use towpath_sdk::record::Record;
use towpath_sdk::source::{Budget, Mark};
use towpath_sdk::value::Value;

use crate::host::{NOW, ROOM, SourceRun, TestHost, properties, source_plugin, text_of, utf8};

fn position(mark: &Mark) -> Option<i64> {
    mark.offset.as_ref()?.get_i64("position")
}

/// A folder of logs, and a task that reads it.
pub(crate) struct Logs {
    folder: tempfile::TempDir,
    config: Properties,
}

impl Logs {
    pub(crate) fn new(pattern: &str, entries: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let mut config = properties([("topic", "t"), ("files", utf8(&root.join(pattern)))]);
        config.extend(entries.iter().copied());
        Self { folder, config }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    pub(crate) fn append(&self, name: &str, bytes: impl AsRef<[u8]>) {
        append(&self.path(name), bytes.as_ref());
    }

    pub(crate) fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.path(from), self.path(to)).unwrap();
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    pub(crate) async fn start(&self, stored: &StoredOffsets) -> SourceRun {
        SourceRun::start("file-source", &self.config, stored.clone()).await.unwrap()
    }

    pub(crate) async fn first(&self) -> SourceRun {
        self.start(&StoredOffsets::default()).await
    }
}

pub(crate) fn append(path: &Path, bytes: &[u8]) {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// All that comes by the time that nothing has come for a while.
async fn settle(run: &mut SourceRun) -> Vec<Record> {
    let mut records = Vec::new();
    while let Ok(batch) = tokio::time::timeout(Duration::from_secs(4), run.poll(ROOM)).await {
        records.extend(batch.unwrap().records);
    }
    records
}

async fn texts(run: &mut SourceRun) -> Vec<String> {
    settle(run).await.iter().map(text_of).collect()
}

#[tokio::test(start_paused = true)]
async fn lines_of_many_files_become_records() {
    let logs = Logs::new("*.log", &[("record.key", "path"), ("file.headers", "true")]);
    logs.append("a.log", "one\ntwo\r\n");
    logs.append("b.log", b"\xffx\n");
    logs.append("other.txt", "no\n");
    let mut run = logs.first().await;
    let batch = run.poll(ROOM).await.unwrap();
    let [one, two, bytes] = <[Record; 3]>::try_from(batch.records).unwrap();
    assert_eq!((text_of(&one), text_of(&two)), ("one".to_owned(), "two".to_owned()));
    assert_eq!((&*one.topic, one.timestamp), ("t", Some(NOW)));
    assert_eq!(one.value.schema.as_ref().unwrap().kind.connect_name(), "STRING");
    assert_eq!(bytes.value.value, Value::Bytes(b"\xffx"[..].into()));
    assert_eq!(bytes.value.schema.as_ref().unwrap().kind.connect_name(), "BYTES");
    let path = logs.path("a.log");
    assert_eq!(one.key.value.as_str(), path.to_str());
    let headers: Vec<_> = two.headers.iter().map(|h| (&*h.key, h.value.value.clone())).collect();
    let path = Value::String(utf8(&path).into());
    assert_eq!(headers, [("file.path", path), ("file.offset", Value::Int64(4))]);
    let marks: Vec<_> = batch.marks.iter().map(|mark| (mark.after, position(mark))).collect();
    assert_eq!(marks, [(2, Some(9)), (3, Some(3))]);
    // What appears later is found.
    logs.append("c.log", "three\n");
    assert_eq!(run.values(1).await, ["three"]);
    assert_eq!(run.host.reason(), None);
}

#[tokio::test(start_paused = true)]
async fn filestreams_keys_are_understood() {
    let logs = Logs::new("x", &[]);
    logs.append("in", "1\n2\n3\n");
    let path = logs.path("in");
    let config = properties([("file", utf8(&path)), ("topic", "t"), ("batch.size", "2")]);
    let mut run = SourceRun::start("file-source", &config, StoredOffsets::default()).await.unwrap();
    assert_eq!(run.poll(ROOM).await.unwrap().records.len(), 2);
    assert_eq!(run.poll(Budget { bytes: 1, records: 9 }).await.unwrap().records.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_renamed_file_is_read_to_its_end_before_the_new_one() {
    for pattern in ["app.log", "app.log*"] {
        let logs = Logs::new(pattern, &[]);
        logs.append("app.log", "1\n");
        let mut run = logs.first().await;
        assert_eq!(texts(&mut run).await, ["1"]);
        logs.append("app.log", "2\n");
        logs.rename("app.log", "app.log.1");
        logs.append("app.log", "4\n");
        // The writer still has the old one open.
        logs.append("app.log.1", "3\n");
        assert_eq!(texts(&mut run).await, ["2", "3", "4"], "{pattern}");
        // It may write late.
        logs.append("app.log.1", "late\n");
        assert_eq!(texts(&mut run).await, ["late"], "{pattern}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_renamed_while_nobody_read_is_found_again() {
    let logs = Logs::new("app.log", &[]);
    logs.append("app.log", "1\n2\n");
    let mut run = logs.first().await;
    assert_eq!(run.poll(Budget { bytes: 1, records: 1 }).await.unwrap().records.len(), 1);
    let stored = run.stored.clone();
    drop(run);
    logs.append("app.log", "3\n");
    logs.rename("app.log", "app.log.1");
    logs.append("app.log", "4\n");
    assert_eq!(texts(&mut logs.start(&stored).await).await, ["2", "3", "4"]);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_cut_is_read_from_its_start() {
    let logs = Logs::new("app.log", &[]);
    logs.append("app.log", "first\nsecond\n");
    let mut run = logs.first().await;
    assert_eq!(texts(&mut run).await.len(), 2);
    // Shorter than what was read.
    std::fs::write(logs.path("app.log"), "3\n").unwrap();
    assert_eq!(texts(&mut run).await, ["3"]);
    // Cut, and longer again before anybody looked; once while read, once while not.
    std::fs::write(logs.path("app.log"), "fourth\n").unwrap();
    assert_eq!(texts(&mut run).await, ["fourth"]);
    let stored = run.stored.clone();
    drop(run);
    std::fs::write(logs.path("app.log"), "a fifth line\n").unwrap();
    let mut run = logs.start(&stored).await;
    assert_eq!(texts(&mut run).await, ["a fifth line"]);
    let stored = run.stored.clone();
    drop(run);
    assert!(texts(&mut logs.start(&stored).await).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_inode_that_is_used_again_is_another_file() {
    let logs = Logs::new("*.log", &[]);
    // The same content, so that nothing but the inode's age tells them apart.
    for _ in 0..3 {
        logs.append("a.log", "same\n");
        let mut run = logs.first().await;
        assert_eq!(texts(&mut run).await, ["same"]);
        let stored = run.stored.clone();
        std::fs::remove_file(logs.path("a.log")).unwrap();
        drop(run);
        std::thread::sleep(Duration::from_millis(10));
        logs.append("a.log", "same\n");
        assert_eq!(texts(&mut logs.start(&stored).await).await, ["same"]);
        std::fs::remove_file(logs.path("a.log")).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn compressed_files_are_read_whole() {
    let logs = Logs::new("*.gz", &[]);
    let mut content = String::new();
    for n in 0..30_000 {
        content.push_str(&format!("line {n}\n"));
    }
    content.push_str("rest");
    logs.append("a.gz", gzip(content.as_bytes()));
    let mut run = logs.first().await;
    let head = run.poll(Budget { bytes: 1 << 20, records: 1000 }).await.unwrap();
    assert_eq!(position(&head.marks[0]), Some(8_890));
    let stored = run.stored.clone();
    drop(run);
    let mut run = logs.start(&stored).await;
    let got = run.values(29_000).await;
    assert_eq!((got[0].as_str(), got[28_999].as_str()), ("line 1000", "line 29999"));
    // A last line without an end can't get one any more.
    let wait = tokio::time::timeout(Duration::from_secs(60), run.values(1));
    assert_eq!(wait.await.unwrap(), ["rest"]);
    // Another member is more of the same file.
    logs.append("a.gz", gzip(b" more\nlast\n"));
    assert_eq!(texts(&mut run).await, [" more", "last"]);

    // Also one that ends the last line which waited for its end.
    let logs = Logs::new("*.gz", &[]);
    logs.append("a.gz", gzip(b"whole\nhal"));
    let mut run = logs.first().await;
    assert_eq!(texts(&mut run).await, ["whole"]);
    logs.append("a.gz", gzip(b"f\n"));
    assert_eq!(texts(&mut run).await, ["half"]);
}

#[tokio::test(start_paused = true)]
async fn a_compressed_file_that_is_cut_short_waits_for_its_rest() {
    let logs = Logs::new("*", &[]);
    let content: String = (0..20_000).map(|n| format!("{n} {}\n", n * 7919 % 1013)).collect();
    let compressed = gzip(content.as_bytes());
    let (one, two) = compressed.split_at(compressed.len() / 2);
    logs.append("a.gz", one);
    logs.append("b.log", "goes on\n");
    logs.append("c.gz", "this is no gzip");
    let mut run = logs.first().await;
    let before = texts(&mut run).await;
    assert!(before.contains(&"goes on".to_owned()) && before.len() > 100, "{}", before.len());
    let reason = run.host.reason().unwrap();
    assert!(reason.contains("ends in the middle of its compressed content"), "{reason}");
    assert!(reason.ends_with("and 1 more"), "{reason}");
    logs.append("a.gz", two);
    let after = texts(&mut run).await;
    assert_eq!(before.len() + after.len(), 20_001);
    let reason = run.host.reason().unwrap();
    assert!(reason.contains("c.gz' is no gzip file"), "{reason}");
    std::fs::remove_file(logs.path("c.gz")).unwrap();
    assert!(run.is_idle().await);
    assert_eq!(run.host.reason(), None);
}

#[tokio::test(start_paused = true)]
async fn a_last_line_waits_for_its_end_or_is_read() {
    let logs = Logs::new("*.log", &[]);
    logs.append("a.log", "whole\nhal");
    let mut run = logs.first().await;
    assert_eq!(texts(&mut run).await, ["whole"]);
    assert!(run.is_idle().await);
    logs.append("a.log", "f\n");
    assert_eq!(texts(&mut run).await, ["half"]);

    let logs = Logs::new("*.log", &[("last.line", "read"), ("finished.after.ms", "2000")]);
    logs.append("a.log", "whole\nhal");
    let mut run = logs.first().await;
    assert_eq!(run.values(2).await, ["whole", "hal"]);
    assert!(run.is_idle().await);

    // One that was renamed and is not written to any more will not get an end.
    let logs = Logs::new("a.log", &[("finished.after.ms", "2000")]);
    logs.append("a.log", "whole\nhal");
    let mut run = logs.first().await;
    assert_eq!(run.values(1).await, ["whole"]);
    logs.rename("a.log", "a.log.1");
    logs.append("a.log", "new\n");
    let mut got = run.values(2).await;
    got.sort();
    assert_eq!(got, ["hal", "new"]);
}

#[tokio::test(start_paused = true)]
async fn long_lines_stop_are_cut_or_left_out() {
    let long = "€".repeat(200_000);
    let content = format!("a\n0123456789a\r\n{long}\nb\n0123456789\r\n");
    let with = |what: &'static str| {
        let logs = Logs::new("*.log", &[("max.line.bytes", "10"), ("long.lines", what)]);
        logs.append("x.log", &content);
        logs.append("y.log", "other\n");
        logs
    };
    let logs = with("stop");
    let mut run = logs.first().await;
    assert_eq!(texts(&mut run).await, ["a", "other"]);
    let reason = run.host.reason().unwrap();
    assert!(reason.contains("from byte 2: the line there has more than 10 bytes"), "{reason}");
    // Cut to nothing and written anew, it goes on.
    std::fs::write(logs.path("x.log"), "").unwrap();
    assert!(texts(&mut run).await.is_empty());
    logs.append("x.log", "good\n");
    assert_eq!(texts(&mut run).await, ["good"]);
    assert_eq!(run.host.reason(), None);

    let logs = with("cut");
    let mut run = logs.first().await;
    let all = ["a", "0123456789", "€€€", "b", "0123456789", "other"];
    assert_eq!(texts(&mut run).await, all);
    // Offsets stand behind whole lines also there.
    let mut run = logs.first().await;
    let mut got = Vec::new();
    for _ in 0..all.len() {
        let batch = run.poll(Budget { bytes: 1 << 20, records: 1 }).await.unwrap();
        got.extend(batch.records.iter().map(text_of));
        run = logs.start(&run.stored.clone()).await;
    }
    got.sort();
    let mut sorted = all;
    sorted.sort_unstable();
    assert_eq!(got, sorted);

    let logs = with("skip");
    let mut run = logs.first().await;
    assert_eq!(texts(&mut run).await, ["a", "b", "0123456789", "other"]);
    assert_eq!(run.stored.iter().count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_file_is_known_again_while_it_ends_in_a_long_line() {
    for (first, what) in [("a", "skip"), ("a", "cut"), ("0123456789".repeat(10).as_str(), "skip")] {
        let logs = Logs::new("*.log", &[("max.line.bytes", "100"), ("long.lines", what)]);
        logs.append("x.log", format!("{first}\n{}", "x".repeat(1000)));
        let mut run = logs.first().await;
        assert_eq!(texts(&mut run).await, [first]);
        let mut run = logs.start(&run.stored.clone()).await;
        assert!(texts(&mut run).await.is_empty(), "{what}");
        logs.append("x.log", "\nlast\n");
        let rest: &[&str] = if what == "cut" { &[&"x".repeat(100), "last"] } else { &["last"] };
        assert_eq!(texts(&mut run).await, rest);
        assert!(texts(&mut logs.start(&run.stored.clone()).await).await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_can_not_be_read_leaves_the_others_alone() {
    let logs = Logs::new("*.log", &[]);
    logs.append("a.log", "a\n");
    // A name that leads to what can't be opened, also for a super user.
    std::os::unix::fs::symlink(logs.path("nowhere"), logs.path("b.log")).unwrap();
    let denied = logs.path("c.log");
    logs.append("c.log", "c\n");
    let mut permissions = std::fs::metadata(&denied).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o000);
    std::fs::set_permissions(&denied, permissions.clone()).unwrap();
    let is_super = std::fs::File::open(&denied).is_ok();
    let mut run = logs.first().await;
    if is_super {
        assert_eq!(texts(&mut run).await, ["a", "c"]);
    } else {
        assert_eq!(texts(&mut run).await, ["a"]);
        let reason = run.host.reason().unwrap();
        assert!(reason.contains("which the worker's user may not"), "{reason}");
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
        std::fs::set_permissions(&denied, permissions).unwrap();
        assert_eq!(texts(&mut run).await, ["c"]);
        assert_eq!(run.host.reason(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_that_matches_is_said() {
    let logs = Logs::new("*.log", &[]);
    let mut run = logs.first().await;
    assert!(run.is_idle().await);
    assert!(run.host.reason().unwrap().contains("waiting until one appears"));
    logs.append("a.log", "a\n");
    assert_eq!(run.values(1).await, ["a"]);
    assert_eq!(run.host.reason(), None);
}

#[tokio::test(start_paused = true)]
async fn finished_files_are_put_away_once_acknowledged() {
    for what in ["delete", "move"] {
        let logs = Logs::new("*.log", &[("when.finished", what), ("finished.after.ms", "1000")]);
        let mut logs = logs;
        std::fs::create_dir(logs.path("done")).unwrap();
        if what == "move" {
            let target = logs.path("done");
            logs.config.insert("move.to", utf8(&target));
        }
        logs.append("a.log", "a\n");
        logs.append("empty.log", "");
        logs.append("half.log", "no end");
        let mut run = logs.first().await;
        assert_eq!(texts(&mut run).await, ["a"]);
        assert!(logs.has("a.log") && !logs.has("empty.log"));
        let upto: Vec<_> = run.stored.iter().cloned().collect();
        run.task.acknowledge(&upto).await.unwrap();
        assert!(texts(&mut run).await.is_empty());
        assert_eq!((logs.has("a.log"), logs.has("half.log")), (false, true), "{what}");
        assert_eq!(logs.has("done/a.log"), what == "move");
        // A name that is taken is not overwritten.
        logs.append("a.log", "b\n");
        assert_eq!(texts(&mut run).await, ["b"]);
        let upto: Vec<_> = run.stored.iter().cloned().collect();
        run.task.acknowledge(&upto).await.unwrap();
        assert!(texts(&mut run).await.is_empty());
        assert_eq!(logs.has("a.log"), what == "move");
        if what == "move" {
            assert!(run.host.reason().unwrap().contains("move a finished file"));
            assert_eq!(std::fs::read(logs.path("done/a.log")).unwrap(), b"a\n");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn tasks_share_logs_and_the_plan_grows() {
    let logs = Logs::new("**/*.log*", &[]);
    let plugin = source_plugin("file-source");
    let host = TestHost::new();
    let mut planner = plugin.start(logs.config.clone(), host.connector()).await.unwrap();
    let max = std::num::NonZeroU32::new(4).unwrap();
    assert_eq!(planner.plan(max).await.unwrap().len(), 1);
    logs.append("0.log", "0\n");
    logs.append("0.log.1", "0.1\n");
    let quiet = Duration::from_secs(300);
    assert!(tokio::time::timeout(quiet, planner.changed()).await.is_err());
    for n in 1..20 {
        logs.append(&format!("{n}.log"), format!("{n}\n"));
    }
    planner.changed().await.unwrap();
    let shares = planner.plan(max).await.unwrap();
    assert_eq!(shares.len(), 4);
    assert!(tokio::time::timeout(quiet, planner.changed()).await.is_err());
    let mut all = Vec::new();
    for share in shares {
        let cx = SourceTaskContext { task: host.task(), offsets: StoredOffsets::default() };
        let task = plugin.task(logs.config.clone(), share, cx).await.unwrap();
        let mut run = SourceRun { host: TestHost::new(), task, stored: StoredOffsets::default() };
        let got = texts(&mut run).await;
        assert!(!got.is_empty());
        let rotated = got.iter().position(|line| line == "0.1");
        assert_eq!(rotated.map(|at| at + 1), got.iter().position(|line| line == "0"));
        all.extend(got);
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 21);
}

#[tokio::test(start_paused = true)]
async fn a_check_looks_at_what_there_is() {
    let logs = Logs::new("*.log", &[]);
    let plugin = source_plugin("file-source");
    plugin.check(logs.config.clone()).await.unwrap();
    let missing = properties([("files", "/nonexistent/dir/*.log"), ("topic", "t")]);
    assert_eq!(plugin.check(missing).await.unwrap_err().kind(), ErrorKind::NotFound);
}
