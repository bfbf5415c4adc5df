//! Slots that are gone, moved, lost or taken, and servers that are another or go away: no gap is stepped
//! over in silence, and what can be waited for is.

use std::time::{Duration, Instant};

use towpath_connector_postgres::lsn::Lsn;
use towpath_connector_postgres::wire::Connection;
use towpath_sdk::offset::SourcePartition;
use towpath_sdk::source::Budget;

use crate::harness::{PATIENCE, Reader};
use crate::rebuilt::{Tables, same};
use crate::server::{Options, Server, Stop};

const SETUP: &str = "create table t (id int primary key, v int);
    create publication dbz_publication for all tables;
    insert into t select n, 0 from generate_series(1, 20) n";

async fn reader(server: &Server) -> Reader {
    let mut reader = Reader::new(server, &[], 1).await;
    reader.start().await;
    reader.read_until(Reader::is_snapshot_done).await;
    reader
}

fn has(v: i32) -> impl Fn(&Reader) -> bool {
    move |reader| {
        let is_it =
            |event: &crate::harness::Event| event.op != "r" && event.value("v") == v.to_string();
        reader.once.iter().any(is_it)
    }
}

/// Reads until all rows were read again.
async fn reads_again(reader: &mut Reader, rows: usize) {
    reader.read_until(|reader| reader.reads.len() >= rows && reader.is_snapshot_done()).await;
}

/// Reads until a change of the value `v` came, and compares.
async fn goes_on(reader: &mut Reader, server: &Server, v: i32) {
    server.execute(&format!("update t set v = {v} where id = 20")).await;
    reader.read_until(has(v)).await;
    let client = server.client().await;
    for events in [&reader.once, &reader.least] {
        let tables = Tables::of(events);
        same("t", &tables.differences("public.t", &client, "select * from t").await);
    }
}

/// How often each value but 0 was set.
fn changes(reader: &Reader) -> Vec<String> {
    let changes = reader.once.iter().filter(|event| matches!(event.op.as_str(), "c" | "u" | "d"));
    changes.map(|event| format!("{}{}={}", event.op, event.value("id"), event.value("v"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_gone_or_was_moved_is_named() {
    let server = Server::start().await;
    server.execute(SETUP).await;
    let mut reader = reader(&server).await;
    goes_on(&mut reader, &server, 1).await;

    reader.crash().await;
    server.execute("update t set v = 2 where id = 1").await;
    server.execute("select pg_drop_replication_slot('debezium')").await;
    server.execute("update t set v = 3 where id = 2").await;
    reader.start().await;
    let error = reader.error().await;
    assert!(error.contains("the replication slot debezium is gone"), "{error}");
    assert!(error.contains("snapshot.mode=when_needed"), "{error}");
    // And it is not made by trying again.
    reader.crash().await;
    reader.start().await;
    assert!(reader.error().await.contains("is gone"));
    reader.crash().await;
    reader.set("snapshot.mode", "when_needed");
    reader.start().await;
    reads_again(&mut reader, 20).await;
    goes_on(&mut reader, &server, 4).await;
    assert!(changes(&reader).iter().all(|change| !change.ends_with("=2")));

    // Somebody made the slot again, as a "repair".
    for (mode, is_read) in [("initial", false), ("when_needed", true)] {
        reader.end().await;
        reader.set("snapshot.mode", mode);
        if !is_read {
            server.execute("update t set v = 5 where id = 3").await;
            server.execute("select pg_drop_replication_slot('debezium')").await;
            server
                .execute("select pg_create_logical_replication_slot('debezium', 'pgoutput')")
                .await;
        }
        reader.start().await;
        if is_read {
            reads_again(&mut reader, 20).await;
            goes_on(&mut reader, &server, 6).await;
        } else {
            let error = reader.error().await;
            assert!(error.contains("past the stored offset"), "{error}");
        }
    }

    // Somebody advanced it.
    for (mode, is_read) in [("initial", false), ("when_needed", true)] {
        reader.end().await;
        reader.set("snapshot.mode", mode);
        if !is_read {
            server.execute("update t set v = 7 where id = 3").await;
            server
                .execute("select pg_replication_slot_advance('debezium', pg_current_wal_lsn())")
                .await;
        }
        reader.start().await;
        if is_read {
            reads_again(&mut reader, 20).await;
            goes_on(&mut reader, &server, 8).await;
        } else {
            let error = reader.error().await;
            assert!(error.contains("past the stored offset"), "{error}");
        }
    }
}

/// The server removes log that the slot needs.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_lost_is_named() {
    let settings =
        [("max_slot_wal_keep_size", "1MB"), ("min_wal_size", "32MB"), ("max_wal_size", "32MB")];
    let server = Server::start_with(Options { settings: &settings, ..Options::default() }).await;
    server.execute(SETUP).await;
    let mut reader = reader(&server).await;
    goes_on(&mut reader, &server, 1).await;
    reader.crash().await;
    for _ in 0..6 {
        server.execute("select pg_logical_emit_message(false, 'x', 'y'), pg_switch_wal()").await;
        server.execute("checkpoint").await;
    }
    let status = "select wal_status from pg_replication_slots where slot_name = 'debezium'";
    assert_eq!(server.value(status).await.as_deref(), Some("lost"));
    server.execute("delete from t where id = 2; update t set v = 2 where id = 1").await;
    reader.start().await;
    let error = reader.error().await;
    assert!(error.contains("the replication slot debezium is lost"), "{error}");
    reader.crash().await;
    reader.set("snapshot.mode", "when_needed");
    reader.start().await;
    reads_again(&mut reader, 19).await;
    server.execute("update t set v = 3 where id = 20").await;
    reader.read_until(has(3)).await;
    assert_eq!(reader.reads.len(), 19);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_is_refused() {
    let server = Server::start().await;
    server.execute(SETUP).await;
    let mut reader = reader(&server).await;
    goes_on(&mut reader, &server, 1).await;
    reader.crash().await;
    let other = Server::start().await;
    other.execute(SETUP).await;
    other.execute("select pg_create_logical_replication_slot('debezium', 'pgoutput')").await;
    reader.set("database.port", &other.target("postgres").port.to_string());
    reader.start().await;
    let error = reader.error().await;
    assert!(error.contains("the stored offset is of the cluster"), "{error}");
}

/// Half of a snapshot is no use with another slot.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_goes_on_only_with_its_own_slot() {
    for how in ["drop", "advance", "cluster"] {
        let server = Server::start().await;
        server.execute(SETUP).await;
        server.execute("insert into t select n, 0 from generate_series(21, 400) n").await;
        let more = [("max.batch.size", "10"), ("max.queue.size.in.bytes", "1000")];
        let mut reader = Reader::new(&server, &more, 1).await;
        reader.start().await;
        reader.read_until(|reader| reader.once.len() >= 100).await;
        reader.crash().await;
        assert!(!reader.is_snapshot_done() && reader.once.len() < 400);
        let other;
        let mut now = &server;
        match how {
            "drop" => server.execute("select pg_drop_replication_slot('debezium')").await,
            "advance" => {
                server.execute("update t set v = -1 where id = 3").await;
                server
                    .execute("select pg_replication_slot_advance('debezium', pg_current_wal_lsn())")
                    .await;
            }
            _ => {
                other = Server::start().await;
                other.execute(SETUP).await;
                other.execute("insert into t select n, 0 from generate_series(21, 400) n").await;
                other
                    .execute("select pg_create_logical_replication_slot('debezium', 'pgoutput')")
                    .await;
                other.execute("update t set v = -1 where id = 4").await;
                reader.set("database.port", &other.target("postgres").port.to_string());
                now = &other;
                reader.reconnect(&other).await;
            }
        }
        reader.start().await;
        reader.read_until(Reader::is_snapshot_done).await;
        goes_on(&mut reader, now, 1).await;
        assert_eq!(reader.reads.len(), 400, "{how}: all rows are read again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_in_use_is_waited_for() {
    let server = Server::start().await;
    server.execute(SETUP).await;
    let mut reader = reader(&server).await;
    reader.crash().await;
    let other = Connection::connect(&server.target("postgres")).await.unwrap();
    let options = [("proto_version", "1"), ("publication_names", "dbz_publication")];
    let other = other.start_replication("debezium", Lsn::ZERO, &options).await.unwrap();
    let pid = server.value("select active_pid from pg_replication_slots").await.unwrap();
    server.execute("update t set v = 1 where id = 1").await;
    reader.start().await;
    let reason = format!("debezium is in use by the server's process {pid}");
    let host = std::sync::Arc::clone(&reader.host);
    let waited = tokio::time::timeout(Duration::from_secs(20), host.waits_for(&reason));
    tokio::select! {
        waited = waited => waited.unwrap(),
        polled = reader.poll(Duration::from_secs(30)) => panic!("polled {polled:?}"),
    }
    drop(other);
    goes_on(&mut reader, &server, 2).await;
    assert_eq!(changes(&reader), ["u1=1", "u20=2"]);
}

/// Restarts of the server while changes come: none is lost or repeated, and the reason is shown.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_is_waited_for() {
    let mut server = Server::start().await;
    server.execute(SETUP).await;
    let mut reader = reader(&server).await;
    let mut expect = Vec::new();
    for (n, how) in
        [Stop::Fast, Stop::Immediate, Stop::Fast, Stop::Immediate].into_iter().enumerate()
    {
        let (first, second) = (10 * n + 1, 10 * n + 2);
        server.execute(&format!("update t set v = {first}")).await;
        expect.extend((1..=20).map(|id| format!("u{id}={first}")));
        reader.poll(Duration::from_millis(40)).await.unwrap();
        if n >= 2 {
            reader.store_all().await.unwrap();
        }
        // A server that stops waits for those that replicate, and the engine goes on meanwhile.
        {
            let restarted = async {
                server.restart(how).await;
                server.execute(&format!("update t set v = {second}")).await;
            };
            let mut restarted = std::pin::pin!(restarted);
            loop {
                tokio::select! {
                    () = &mut restarted => break,
                    polled = reader.poll(Duration::from_millis(50)) => {
                        polled.unwrap();
                        reader.store_all().await.unwrap();
                    }
                }
            }
        }
        expect.extend((1..=20).map(|id| format!("u{id}={second}")));
        reader.reconnect(&server).await;
        reader.read_until(has(i32::try_from(second).unwrap())).await;
        reader.read_until(|reader| changes(reader).len() >= expect.len()).await;
        let reasons = reader.host.reasons();
        assert!(
            reasons.iter().any(|reason| reason.contains("read from PostgreSQL")),
            "{reasons:?}"
        );
    }
    server.execute("insert into t values (1000, 5)").await;
    expect.push("c1000=5".to_owned());
    reader.read_until(|reader| changes(reader).last() == expect.last()).await;
    let order = |mut changes: Vec<String>| {
        changes.chunks_mut(20).for_each(<[String]>::sort);
        changes
    };
    assert_eq!(order(changes(&reader)), order(expect));
    reader.look().await;
}

/// Tables that are captured are idle and others are busy: the slot follows by itself.
#[tokio::test(flavor = "multi_thread")]
async fn busy_tables_of_others_hold_no_log_back() {
    let server = Server::start().await;
    server.execute(SETUP).await;
    server.execute("create table busy (id serial, pad text)").await;
    // Once they are not even published, and once they are and left out here.
    server.execute("create publication few for table t").await;
    for (slot, publication) in [("published", "dbz_publication"), ("few", "few")] {
        let more = [
            ("slot.name", slot),
            ("publication.name", publication),
            ("table.include.list", r"public\.t"),
        ];
        let mut reader = Reader::new(&server, &more, 1).await;
        reader.start().await;
        reader.read_until(Reader::is_snapshot_done).await;
        let began: Lsn =
            server.value("select pg_current_wal_lsn()").await.unwrap().parse().unwrap();
        let busy = "insert into busy (pad) select repeat('x', 1000) from generate_series(1, 200)";
        let mut is_following = false;
        let held = format!(
            "select (pg_current_wal_lsn() - confirmed_flush_lsn)::int8::text
               from pg_replication_slots where slot_name = '{slot}'"
        );
        let started = Instant::now();
        while !is_following || started.elapsed() < Duration::from_secs(2) {
            assert!(started.elapsed() < PATIENCE, "{slot}: the slot stands while others are busy");
            server.execute(busy).await;
            reader.poll(Duration::from_millis(20)).await.unwrap();
            reader.store_all().await.unwrap();
            is_following |= reader.look().await.0 > began.0 + 200_000;
        }
        while server.value(&held).await.unwrap().parse::<i64>().unwrap() > 10_000 {
            assert!(started.elapsed() < PATIENCE, "{slot}: log is held back");
            reader.poll(Duration::from_millis(50)).await.unwrap();
            reader.store_all().await.unwrap();
            reader.look().await;
        }
        assert!(reader.once.iter().all(|event| event.op == "r"));
        // What comes afterwards is still whole.
        reader.crash().await;
        server.execute("update t set v = v + 1").await;
        reader.start().await;
        reader.read_until(|reader| changes(reader).len() >= 20).await;
        assert_eq!(changes(&reader).len(), 20);
        reader.crash().await;
    }
}

/// What genuine Debezium stores, at points of a stream of ours: exactly the rest comes.
#[tokio::test(flavor = "multi_thread")]
async fn debeziums_offsets_are_gone_on_from() {
    let server = Server::start().await;
    server.execute(SETUP).await;
    server.execute("select pg_create_logical_replication_slot('kept', 'pgoutput')").await;
    let mut reader = Reader::new(&server, &[("max.batch.size", "1")], 1).await;
    reader.start().await;
    reader.read_until(Reader::is_snapshot_done).await;
    // One by one, several that share an LSN, and one that began before another was committed.
    let early = server.client().await;
    early.batch_execute("begin; update t set v = 1 where id = 1").await.unwrap();
    server
        .execute("begin; update t set v = 2 where id = 2; update t set v = 2 where id = 3; commit")
        .await;
    server
        .execute("copy t from program 'for n in 1 2 3 4 5; do printf \"10$n\\t3\\n\"; done'")
        .await;
    early.batch_execute("update t set v = 1 where id = 4; commit").await.unwrap();
    server.execute("update t set v = 9 where id = 20").await;
    // Where each change is, how many with its LSN came before, and where its transaction begins.
    let mut places = Vec::new();
    while !has(9)(&reader) {
        reader.poll_for(Budget { bytes: 1, records: 1 }, PATIENCE).await.unwrap();
        while reader.marks_count() > 0 {
            reader.store(1).await.unwrap();
            let offset = reader.offset().unwrap();
            let number = |key: &str| offset.get_i64(key);
            let is_within = offset.get_str("messageType").is_none();
            places.push((
                changes(&reader).len(),
                number("lsn_proc").unwrap(),
                number("lsn_commit").unwrap(),
                is_within.then(|| number("lsn_events_processed").unwrap()),
            ));
        }
    }
    reader
        .read_until(|reader| reader.offset().unwrap().get_str("messageType") == Some("COMMIT"))
        .await;
    let all = changes(&reader);
    let expect =
        ["u2=2", "u3=2", "c101=3", "c102=3", "c103=3", "c104=3", "c105=3", "u1=1", "u4=1", "u20=9"];
    assert_eq!(all, expect);
    reader.crash().await;
    // Another slot stands where this one did at the beginning: Debezium has confirmed nothing since.
    let mut tried = Vec::new();
    for (n, (came, lsn, commit, events)) in places.into_iter().enumerate() {
        if came == all.len() {
            break;
        }
        let mut forms = Vec::new();
        match events {
            // After COMMIT, and after the BEGIN of the next transaction.
            None => {
                forms.push(format!(r#"{{"transaction_id":"881","lsn_proc":{lsn},"messageType":"COMMIT","lsn_commit":{lsn},"lsn":{lsn},"txId":881,"ts_usec":1}}"#));
                forms.push(format!(r#"{{"lsn_proc":{},"messageType":"BEGIN","lsn_commit":{commit},"lsn":{},"txId":882}}"#, lsn + 8, lsn + 8));
            }
            Some(events) => {
                forms.push(format!(r#"{{"lsn_proc":{lsn},"lsn_events_processed":{events},"messageType":"INSERT","lsn_commit":{commit},"lsn":{lsn},"txId":881}}"#));
                // An older one does not count, and has stored the first of those with one LSN only.
                if events == 1 {
                    forms.push(format!(r#"{{"lsn_proc":{lsn},"messageType":"UPDATE","lsn_commit":{commit},"lsn":{lsn},"txId":881}}"#));
                }
            }
        }
        for (m, form) in forms.into_iter().enumerate() {
            let slot = format!("s{n}_{m}");
            server
                .execute(&format!("select pg_copy_logical_replication_slot('kept', '{slot}')"))
                .await;
            let mut reader = Reader::new(&server, &[("slot.name", &slot)], 1).await;
            reader.stored.set(
                SourcePartition::of([("server", "p")]),
                Some(serde_json::from_str(&form).unwrap()),
            );
            reader.start().await;
            reader.read_until(has(9)).await;
            assert_eq!(changes(&reader), all[came..], "after {form}");
            reader.crash().await;
            server.execute(&format!("select pg_drop_replication_slot('{slot}')")).await;
            tried.push(form);
        }
    }
    assert!(tried.len() > 12, "{tried:?}");
}
