//! Transactions that are too big for memory before they are committed.

use crate::server::{Options, Server};
use crate::source::{Shown, Source};

/// Rows of a big transaction: some 20 MB in the log.
const ROWS: usize = 60_000;

async fn server() -> Server {
    let settings = [("logical_decoding_work_mem", "64kB")];
    let server = Server::start_with(Options { settings: &settings, ..Options::default() }).await;
    server.execute("create table t (id int primary key, v text)").await;
    server
}

/// A big transaction of which parts are rolled back, and small ones while it is open.
async fn work(server: &Server) {
    let client = server.client().await;
    let fill = |from: usize, to: usize| {
        format!("insert into t select i, repeat('x', 300) from generate_series({from}, {to}) i")
    };
    let half = ROWS / 2;
    let sql = format!(
        "begin; {}; savepoint a; insert into t values (-1, 'gone'); savepoint b; {}; rollback to a;
         update t set v = 'changed' where id = 7",
        fill(1, half),
        fill(1_000_000, 1_020_000)
    );
    client.batch_execute(&sql).await.unwrap();
    server.execute("insert into t values (-2, 'meanwhile')").await;
    client.batch_execute(&format!("{}; commit", fill(half + 1, ROWS))).await.unwrap();
    server.execute(&format!("begin; {}; rollback", fill(2_000_000, 2_020_000))).await;
    server.execute("insert into t values (-3, 'last')").await;
}

fn is_last(shown: &Shown) -> bool {
    shown.key["id"] == -3
}

/// Every change came once, in the order of the commits.
fn check(records: &[Shown]) {
    let ids: Vec<i64> = records.iter().map(|shown| shown.key["id"].as_i64().unwrap()).collect();
    let half = i64::try_from(ROWS / 2).unwrap();
    let expect: Vec<i64> = [-2]
        .into_iter()
        .chain(1..=half)
        .chain([7])
        .chain(half + 1..=2 * half)
        .chain([-3])
        .collect();
    assert_eq!(ids.len(), expect.len());
    assert!(ids == expect, "the order is another");
}

async fn is_streamed(server: &Server) -> bool {
    let sql = "select stream_txns > 0 and spill_txns = 0 from pg_stat_replication_slots";
    server.value(sql).await.as_deref() == Some("t")
}

#[tokio::test(flavor = "multi_thread")]
async fn big_transactions_are_kept_in_files() {
    let server = server().await;
    let folder = tempfile::tempdir().unwrap();
    let entries = [("spill.dir", folder.path().to_str().unwrap()), ("snapshot.mode", "no_data")];
    let mut source = Source::start(&server, &entries).await;
    source.poll().await.unwrap();
    let ((), records) = tokio::join!(work(&server), source.read(is_last));
    check(&records);
    // The server tells when the connection is gone.
    source.stop().await;
    while !is_streamed(&server).await {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let missing = [("spill.dir", "/nowhere"), ("snapshot.mode", "no_data"), ("slot.name", "other")];
    let error = Source::start(&server, &missing).await.fails().await;
    assert!(error.chain().contains("spill.dir=/nowhere"), "{}", error.chain());
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_bound_the_server_keeps_them() {
    let server = server().await;
    let entries = [("spill.max.bytes", "1000000"), ("snapshot.mode", "no_data")];
    let mut source = Source::start(&server, &entries).await;
    source.poll().await.unwrap();
    let ((), records) = tokio::join!(work(&server), source.read(is_last));
    check(&records);
    assert!(source.host.counted("retries") > 0);
}
