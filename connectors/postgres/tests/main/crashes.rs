//! Streams that are cut off at any moment: no change is lost, comes twice in the exactly-once topic, or
//! comes in another order than the server's own log has.

use std::cell::Cell;
use std::process::Command;
use std::time::Duration;

use tokio_postgres::Client;
use towpath_sdk::source::Budget;

use crate::harness::{Event, PATIENCE, Reader, Rng, seeds};
use crate::rebuilt::{Tables, same};
use crate::server::{Options, Server};
use crate::workload::{ORACLE, TABLES, Workload, log, same_story, told, transactions_are_whole};

const CAPTURED: (&str, &str) = ("table.exclude.list", r"public\.hidden");

fn has_synced(rev: &str) -> impl Fn(&Reader) -> bool + '_ {
    move |reader| {
        let is_last = |event: &Event| event.topic == "public.sync" && event.value("rev") == rev;
        reader.once.iter().rev().take(50).any(is_last)
    }
}

async fn compare(reader: &Reader, client: &Client, via_root: bool, log: &[(String, char, String)]) {
    let parts: &[&str] = if via_root { &["parts"] } else { &["parts_0", "parts_1"] };
    let topics = [("exactly once", &reader.once), ("at least once", &reader.least)];
    for (what, events) in topics {
        let tables = Tables::of(events);
        let mut wrong = Vec::new();
        let keyed = ["plain", "whole", "indexed", "sync"];
        for table in keyed.iter().chain(parts) {
            let select = format!("select * from {table}");
            let topic = format!("public.{table}");
            wrong.extend(tables.differences(&topic, client, &select).await);
        }
        // Without a key, a repeated insert is another row.
        if what == "exactly once" {
            for table in ["bag", "log"] {
                let select = format!("select * from {table}");
                let topic = format!("public.{table}");
                wrong.extend(tables.differences(&topic, client, &select).await);
            }
        }
        same(what, &wrong);
    }
    same_story(&told(&reader.once), &log.to_vec());
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_every_change_comes_once() {
    for seed in seeds(2) {
        let server = Server::start().await;
        server.execute(TABLES).await;
        server.execute(ORACLE).await;
        let mut rng = Rng::new(seed.0);
        let size = *rng.pick(&["1", "3", "50", "2048"]);
        let queue = *rng.pick(&["1000", "100000", "0"]);
        let common = [CAPTURED, ("max.batch.size", size), ("max.queue.size.in.bytes", queue)];
        let of = |name: &'static str, more: &[(&'static str, &'static str)]| {
            let names = [("slot.name", name), ("publication.name", name)];
            common.into_iter().chain(names).chain(more.iter().copied()).collect::<Vec<_>>()
        };
        let root = of(
            "one",
            &[("publish.via.partition.root", "true"), ("publication.autocreate.mode", "filtered")],
        );
        let leaves = of("two", &[("provide.transaction.metadata", "true")]);
        let mut readers = [
            Reader::new(&server, &root, seed.0).await,
            Reader::new(&server, &leaves, seed.0 + 1000).await,
        ];
        for reader in &mut readers {
            reader.start().await;
            reader.read_until(Reader::is_snapshot_done).await;
        }
        let mut workload = Workload::new(&server, seed.0).await;
        for _ in 0..250 {
            workload.step().await;
            let reader = &mut readers[rng.below(2)];
            let within = Duration::from_millis(rng.below(8) as u64);
            reader.step(within).await;
            if rng.chance(8) {
                reader.crash().await;
                reader.start().await;
            } else if rng.chance(1) {
                reader.rewind().await;
            }
        }
        let last = workload.last().await;
        let client = server.client().await;
        for (reader, via_root) in readers.iter_mut().zip([true, false]) {
            reader.read_until(has_synced(&last)).await;
            if !via_root {
                transactions_are_whole(&reader.once);
            }
            compare(reader, &client, via_root, &log(&client, via_root).await).await;
            assert!(reader.looks > 2, "the confirmed LSN was hardly looked at");
        }
    }
}

/// The rows of a COPY share LSNs, in hundreds: dbz#1554.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_cut_off_is_finished() {
    let server = Server::start().await;
    server
        .execute("create table t (id int primary key); create table sync (rev int primary key)")
        .await;
    let more = [("publication.autocreate.mode", "filtered"), ("max.batch.size", "700")];
    let mut reader = Reader::new(&server, &more, 7).await;
    reader.start().await;
    reader.read_until(Reader::is_snapshot_done).await;
    server
        .execute("begin; copy t from program 'seq 10000'; insert into sync values (1); commit")
        .await;
    for _ in 0..12 {
        for _ in 0..3 {
            reader.poll(Duration::from_millis(500)).await.unwrap();
        }
        let marks = reader.rng.below(3);
        reader.store(marks).await.unwrap();
        reader.crash().await;
        reader.start().await;
    }
    let before = reader.once.len();
    assert!(before > 0 && before < 10_000, "it was to be cut off in the middle, not at {before}");
    reader.read_until(has_synced("1")).await;
    let ids = reader.once.iter().filter(|event| event.topic == "public.t");
    let ids: Vec<String> = ids.map(|event| event.value("id")).collect();
    assert!(ids.iter().eq((1..=10_000).map(|n| n.to_string()).collect::<Vec<_>>().iter()));
}

/// Logical messages outside of transactions have positions of their own.
#[tokio::test(flavor = "multi_thread")]
async fn messages_outside_of_transactions_come_once() {
    let server = Server::start_with(Options::default()).await;
    server.execute("create table sync (rev int primary key)").await;
    let mut reader = Reader::new(&server, &[("max.batch.size", "1")], 8).await;
    reader.start().await;
    reader.read_until(Reader::is_snapshot_done).await;
    let messages = |reader: &Reader| {
        let all = reader.once.iter().filter(|event| event.op == "m");
        all.map(|event| event.content.clone()).collect::<Vec<_>>()
    };
    for n in 0..4 {
        server.execute(&format!("select pg_logical_emit_message(false, 'm', '{n}')")).await;
        reader.read_until(|reader| messages(reader).contains(&n.to_string())).await;
        reader.crash().await;
        reader.start().await;
    }
    server.execute("insert into sync values (1)").await;
    reader.read_until(has_synced("1")).await;
    assert_eq!(messages(&reader), ["0", "1", "2", "3"]);
}

/// Wherever a transaction is cut off, its changes have the numbers they would have had.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_cut_off_keeps_its_numbers() {
    let server = Server::start().await;
    server
        .execute("create table t (id int primary key); create table sync (rev int primary key)")
        .await;
    server
        .execute("insert into t values (0); create publication dbz_publication for all tables")
        .await;
    for cut in 0..6 {
        let slot = format!("s{cut}");
        let more = [
            ("slot.name", slot.as_str()),
            ("max.batch.size", "1"),
            ("provide.transaction.metadata", "true"),
        ];
        let mut reader = Reader::new(&server, &more, cut).await;
        reader.start().await;
        reader.read_until(Reader::is_snapshot_done).await;
        let read = reader.once.len();
        let sql = "begin; select pg_logical_emit_message(true, 'm', 'a'); update t set id = id + 1;
                   insert into t values (-1); select pg_logical_emit_message(true, 'm', 'b');
                   delete from t where id = -1; commit; delete from sync; insert into sync values (1)";
        server.client().await.simple_query(sql).await.unwrap();
        while reader.once.len() == read || (reader.once.len() - read) < cut as usize {
            reader.poll_for(Budget { bytes: 1, records: 1 }, PATIENCE).await.unwrap();
            let one = reader.marks_count().min(1);
            reader.store(one).await.unwrap();
        }
        reader.crash().await;
        reader.start().await;
        reader.read_until(has_synced("1")).await;
        let is_over =
            |reader: &Reader| reader.once.last().is_some_and(|last| last.status.is_some());
        reader.read_until(is_over).await;
        transactions_are_whole(&reader.once);
        let counts = reader.once.iter().filter_map(|event| event.status.as_ref()?.1);
        assert_eq!(counts.max(), Some(6));
        reader.crash().await;
    }
}

/// Lets the process that reads the log for a slot run a part of the time only.
async fn slow(server: &Server, is_over: &Cell<bool>) {
    let client = server.client().await;
    let sql = "select active_pid from pg_replication_slots where active";
    while !is_over.get() {
        if let Some(row) = client.query_opt(sql, &[]).await.unwrap() {
            let pid = row.get::<_, i32>(0).to_string();
            let signal = |signal: &str| Command::new("kill").args([signal, &pid]).status();
            // It may have ended by itself.
            if signal("-STOP").is_ok_and(|status| status.success()) {
                tokio::time::sleep(Duration::from_millis(60)).await;
                drop(signal("-CONT"));
            }
        }
        tokio::time::sleep(Duration::from_millis(6)).await;
    }
}

/// While the server makes its way to a transaction of which a part was handed over, it says how far it
/// has come. That part is not forgotten over it.
#[tokio::test(flavor = "multi_thread")]
async fn signs_of_life_on_the_way_to_a_begun_transaction_repeat_nothing() {
    let settings = [("wal_sender_timeout", "1s"), ("logical_decoding_work_mem", "64kB")];
    let server = Server::start_with(Options { settings: &settings, ..Options::default() }).await;
    server
        .execute(
            "create table t (id int primary key); create table others (id int);
             create table sync (rev int primary key); create publication few for table t, sync",
        )
        .await;
    let more = [
        ("max.batch.size", "1"),
        ("publication.name", "few"),
        ("status.update.interval.ms", "10000"),
    ];
    let mut reader = Reader::new(&server, &more, 9).await;
    reader.start().await;
    reader.read_until(Reader::is_snapshot_done).await;
    server
        .execute(
            "begin; insert into others select generate_series(1, 150000);
             insert into t select generate_series(1, 20); commit; insert into sync values (1)",
        )
        .await;
    let has_begun = |reader: &Reader| {
        reader.offset().is_some_and(|offset| offset.get("lsn_events_processed").is_some())
    };
    while !has_begun(&reader) {
        reader.poll_for(Budget { bytes: 1, records: 1 }, PATIENCE).await.unwrap();
        let one = reader.marks_count().min(1);
        reader.store(one).await.unwrap();
    }
    let before = reader.once.len();
    reader.crash().await;
    let is_over = Cell::new(false);
    let slowly = async {
        reader.start().await;
        // Marks without records come first, if any come.
        while reader.pending() == 0 {
            reader.store_all().await.unwrap();
            reader.poll_for(Budget { bytes: 1, records: 1 }, PATIENCE).await.unwrap();
        }
        is_over.set(true);
    };
    tokio::join!(slowly, slow(&server, &is_over));
    assert_eq!(reader.once.len(), before);
    reader.crash().await;
    reader.start().await;
    reader.read_until(has_synced("1")).await;
    let ids = reader.once.iter().filter(|event| event.topic == "public.t");
    let ids: Vec<String> = ids.map(|event| event.value("id")).collect();
    assert!(ids.iter().eq((1..=20).map(|n| n.to_string()).collect::<Vec<_>>().iter()), "{ids:?}");
}
