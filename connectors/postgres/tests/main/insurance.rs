//! What is done once changes are missing, by `slot.loss.policy`: rows are read again, as few as is sound,
//! and what can't be found is said.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value as Json;
use towpath_connector_postgres::lsn::Lsn;

use crate::harness::Reader;
use crate::rebuilt::Tables;
use crate::server::{Options, Server};

const SETUP: &str = "create table t (id int primary key, v int, pad text);
    create table u (id int, v int);
    alter table u replica identity full;
    create publication dbz_publication for all tables;
    insert into t select n, 0, repeat('x', 500) from generate_series(1, 30000) n;
    insert into u select n, 0 from generate_series(1, 50) n";

async fn reader(server: &Server, more: &[(&str, &str)]) -> Reader {
    let mut reader = Reader::new(server, more, 1).await;
    reader.start().await;
    reader.read_until(Reader::is_snapshot_done).await;
    reader
}

/// Reads until a change of `t` with the value `v` is stored.
pub(crate) async fn goes_on(reader: &mut Reader, server: &Server, v: i32) {
    server.execute(&format!("update t set v = {v} where id = 20")).await;
    let is_it = |event: &crate::harness::Event| {
        event.topic == "public.t" && event.op == "u" && event.value("v") == v.to_string()
    };
    reader.read_until(|reader| reader.once.iter().any(is_it)).await;
}

pub(crate) fn field(reader: &Reader, name: &str) -> Option<u64> {
    reader.offset().and_then(|offset| offset.get(name)).and_then(Json::as_u64)
}

/// Reads until the stored offset says that no transaction before `xid` is missing.
pub(crate) async fn knows(reader: &mut Reader, server: &Server, xid: u64) {
    for v in 1000.. {
        if field(reader, "oldest_xid").is_some_and(|oldest| oldest >= xid) {
            return;
        }
        assert!(v < 1100, "the offset never says so");
        goes_on(reader, server, v).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn current_xid(server: &Server) -> u64 {
    server.value("select pg_current_xact_id()").await.unwrap().parse().unwrap()
}

pub(crate) async fn drop_slot(server: &Server) {
    server.execute("select pg_drop_replication_slot('debezium')").await;
}

/// Drops the slot from under a running task, with `changes` that it will not hear of.
pub(crate) async fn drop_slot_under(server: &Server, changes: &str) {
    // As fast as it is free, so that the task does not come between.
    let sql = format!(
        "begin; select pg_terminate_backend(active_pid) from pg_replication_slots;
         do $$ begin
             loop begin perform pg_drop_replication_slot('debezium'); exit;
             exception when object_in_use then perform pg_sleep(0.01); end; end loop;
         end $$;
         {changes}; commit"
    );
    server.execute(&sql).await;
}

/// The ids of the rows of `t` that were read since the task started.
fn reads(reader: &Reader) -> BTreeSet<String> {
    let of_t = reader.reads.iter().filter(|(topic, _)| topic == "public.t");
    of_t.map(|(_, id)| id.clone()).collect()
}

/// What the topics have of `t` more or less than the table.
pub(crate) async fn wrong(reader: &Reader, server: &Server) -> Vec<String> {
    let client = server.client().await;
    Tables::of(&reader.once).differences("public.t", &client, "select * from t").await
}

fn ids(ids: &[u32]) -> BTreeSet<String> {
    ids.iter().map(u32::to_string).collect()
}

/// The label: where deletes are missing, as the offset, the gauge and the guarantee have it.
fn says_what_is_missing(reader: &Reader, from: Lsn) {
    assert_eq!(field(reader, "missing_deletes_from"), Some(from.0));
    assert!(field(reader, "missing_deletes_to").unwrap() > from.0);
    assert_eq!(reader.host.gauge("missing_deletes", &[]), Some(1));
    let guarantee = reader.host.learnt_guarantee().unwrap().to_string();
    assert!(guarantee.contains(&format!("from {from}")), "{guarantee}");
    assert!(guarantee.contains("deletes"), "{guarantee}");
}

/// Changes of a transaction that was open at the offset, of a subtransaction, of a table that a snapshot
/// leaves out, of rows that moved: all that changed is read, and hardly more.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_changed_since_are_read_again() {
    let server = Server::start().await;
    server.execute(SETUP).await;
    let more =
        [("slot.loss.policy", "backfill"), ("snapshot.include.collection.list", r"public\.t")];
    let mut reader = reader(&server, &more).await;
    assert!(!reader.once.iter().any(|event| event.topic == "public.u"));
    // It begins before all that the offset knows of, and ends after the slot is gone.
    let open = server.client().await;
    let first = current_xid(&server).await;
    open.batch_execute("begin; update t set v = 1 where id = 3").await.unwrap();
    // A sample is taken when a stream begins.
    reader.crash().await;
    reader.start().await;
    knows(&mut reader, &server, first).await;
    let open_xid = open.query_one("select pg_current_xact_id()::text", &[]).await.unwrap();
    let open_xid: u64 = open_xid.get::<_, String>(0).parse().unwrap();
    assert!(field(&reader, "oldest_xid").unwrap() <= open_xid);
    reader.crash().await;
    let stored = reader.stored_end();
    drop_slot(&server).await;
    open.batch_execute("update t set v = 2 where id = 4; commit").await.unwrap();
    server
        .execute(
            "begin; savepoint s; update t set v = 3 where id in (5, 29999); release s;
             insert into t values (30001, 4, 'new'); commit;
             update u set v = 9 where id = 7; delete from t where id = 8;
             update t set id = 30002 where id = 9",
        )
        .await;
    reader.start().await;
    reader.read_until(|reader| reader.is_snapshot_done() && reader.reads.len() > 5).await;
    let read = reads(&reader);
    // Beside them only what changed while the transaction was open.
    let mut expect = ids(&[3, 4, 5, 29999, 30001, 30002]);
    assert!(read.is_superset(&expect), "{read:?}");
    expect.insert("20".to_owned());
    assert!(read.is_subset(&expect), "{read:?}");
    let of_u = reader.reads.iter().filter(|(topic, _)| topic == "public.u");
    assert_eq!(of_u.map(|(_, id)| id.as_str()).collect::<Vec<_>>(), ["7"]);
    let marks: BTreeSet<&str> = reader
        .once
        .iter()
        .rev()
        .take(reader.reads.len())
        .map(|event| event.snapshot.as_str())
        .collect();
    assert!(marks.contains("first") && marks.contains("last"), "{marks:?}");
    goes_on(&mut reader, &server, 5).await;
    // The rows that are gone are all that is wrong.
    let left = wrong(&reader, &server).await;
    assert!(left.len() == 2 && left.iter().all(|row| row.contains("-1 ")), "{left:?}");
    says_what_is_missing(&reader, stored);
    assert_eq!(reader.host.counted("slot_losses"), 1);
    // It stays said, also by the next task, and changes go on.
    reader.crash().await;
    reader.start().await;
    goes_on(&mut reader, &server, 6).await;
    says_what_is_missing(&reader, stored);
    assert!(reader.reads.is_empty());
}

/// The reading is taken up after crashes, under any mode of snapshots, and no row is read again that was.
#[tokio::test(flavor = "multi_thread")]
async fn reading_what_changed_survives_crashes() {
    let server = Server::start().await;
    server.execute(SETUP).await;
    let more = [
        ("slot.loss.policy", "backfill"),
        ("snapshot.mode", "no_data"),
        ("max.batch.size", "50"),
        ("max.queue.size.in.bytes", "1000"),
    ];
    let mut reader = Reader::new(&server, &more, 1).await;
    reader.start().await;
    reader.read_until(|reader| reader.offset().is_some()).await;
    goes_on(&mut reader, &server, 1).await;
    knows(&mut reader, &server, 1).await;
    assert!(reader.reads.is_empty());
    reader.crash().await;
    drop_slot(&server).await;
    server.execute("update t set v = 7 where id % 3 = 0").await;
    let mut all = Vec::new();
    let mut tasks = 0;
    while !(tasks > 0 && reader.is_snapshot_done()) {
        reader.start().await;
        tasks += 1;
        assert!(tasks < 20, "it does not come to an end");
        // The second time it is let go on for longer, to the end of some ranges.
        let enough = 3000 * tasks;
        // Before it begins the offset is one that was done.
        let is_done = |reader: &Reader| reader.is_snapshot_done() && !reader.reads.is_empty();
        reader.read_until(|reader| reader.reads.len() >= enough || is_done(reader)).await;
        all.extend(reads(&reader));
        if !reader.is_snapshot_done() {
            reader.crash().await;
        }
    }
    assert!(tasks > 1, "it was never interrupted");
    goes_on(&mut reader, &server, 8).await;
    let client = server.client().await;
    // Nothing was read before: what there is was changed since.
    let changed = "select * from t where v <> 0 or id = 20";
    let wrong = Tables::of(&reader.once).differences("public.t", &client, changed).await;
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(all.len() < 10_003 * tasks, "{} rows in {tasks} tasks", all.len());
}

/// A slot that is dropped under a running task.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_dropped_while_running_is_noticed() {
    for policy in ["fail", "resnapshot", "backfill"] {
        let server = Server::start().await;
        server.execute(SETUP).await;
        let mut reader = reader(&server, &[("slot.loss.policy", policy)]).await;
        goes_on(&mut reader, &server, 1).await;
        knows(&mut reader, &server, 1).await;
        let before = reader.reads.len();
        let changes = "delete from t where id = 2; update t set v = 2 where id = 1";
        drop_slot_under(&server, changes).await;
        if policy == "fail" {
            let error = reader.error().await;
            assert!(error.contains("the replication slot debezium is gone"), "{error}");
            assert!(error.contains("slot.loss.policy"), "{error}");
            continue;
        }
        let expect = if policy == "backfill" { 1 } else { 29_999 };
        reader
            .read_until(|reader| reader.is_snapshot_done() && reader.reads.len() >= before + expect)
            .await;
        goes_on(&mut reader, &server, 3).await;
        let left = wrong(&reader, &server).await;
        assert!(left.len() == 1 && left[0].contains("id=Text(\"2\")"), "{left:?}");
        let read = reader.reads.len() - before - expect;
        assert!(read < 52, "{policy}: {read} rows more");
    }
}

/// A slot that the server invalidates under a running task whose records nobody takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_invalidated_while_running_is_noticed() {
    let settings =
        [("max_slot_wal_keep_size", "1MB"), ("min_wal_size", "32MB"), ("max_wal_size", "32MB")];
    for (policy, version) in [
        ("fail", crate::server::Version::V15),
        ("backfill", crate::server::Version::V15),
        ("backfill", crate::server::Version::V18),
    ] {
        let options = Options { settings: &settings, version, ..Options::default() };
        let server = Server::start_with(options).await;
        server.execute(SETUP).await;
        let more = [("slot.loss.policy", policy), ("max.queue.size.in.bytes", "1000")];
        let mut reader = reader(&server, &more).await;
        goes_on(&mut reader, &server, 1).await;
        knows(&mut reader, &server, 1).await;
        // Nothing is polled: nothing is stored and confirmed.
        server.execute("update t set v = 2 where id = 1; delete from t where id = 2").await;
        let status = "select wal_status from pg_replication_slots where slot_name = 'debezium'";
        for n in 0.. {
            assert!(n < 100, "the slot is not lost");
            server.execute("update u set v = v + 1").await;
            server
                .execute("select pg_logical_emit_message(false, 'x', 'y'), pg_switch_wal()")
                .await;
            server.execute("checkpoint").await;
            if server.value(status).await.as_deref() == Some("lost") {
                break;
            }
        }
        if policy == "fail" {
            let error = reader.error().await;
            assert!(error.contains("the replication slot debezium is lost"), "{error}");
            continue;
        }
        reader.read_until(|reader| reader.host.counted("slot_losses") == 1).await;
        reader.read_until(Reader::is_snapshot_done).await;
        goes_on(&mut reader, &server, 3).await;
        let left = wrong(&reader, &server).await;
        assert!(
            left.is_empty() || left.len() == 1 && left[0].contains("id=Text(\"2\")"),
            "{left:?}"
        );
        assert_eq!(reader.host.gauge("missing_deletes", &[]), Some(1));
        assert!(server.value(status).await.as_deref() != Some("lost"));
    }
}

/// An offset that says nothing of transactions: all rows.
#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_known_all_rows_are_read_again() {
    let server = Server::start().await;
    server.execute(SETUP).await;
    let mut reader = reader(&server, &[("slot.loss.policy", "backfill")]).await;
    goes_on(&mut reader, &server, 1).await;
    reader.crash().await;
    drop_slot(&server).await;
    let partition = towpath_sdk::offset::SourcePartition::of([("server", "p")]);
    let lsn = reader.stored_end().0;
    let debeziums = format!(
        r#"{{"lsn_proc":{lsn},"messageType":"COMMIT","lsn_commit":{lsn},"lsn":{lsn},"txId":881}}"#
    );
    reader.stored.set(partition, Some(serde_json::from_str(&debeziums).unwrap()));
    reader.start().await;
    reader.read_until(|reader| reader.reads.len() >= 30_050 && reader.is_snapshot_done()).await;
    goes_on(&mut reader, &server, 2).await;
    assert_eq!(wrong(&reader, &server).await, Vec::<String>::new());
}

/// A server that was set back to a copy: what it had after that is in the topics and in no row.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_set_back_is_noticed() {
    for policy in ["fail", "backfill"] {
        let mut server = Server::start().await;
        server.execute(SETUP).await;
        let mut reader = reader(&server, &[("slot.loss.policy", policy)]).await;
        goes_on(&mut reader, &server, 1).await;
        reader.crash().await;
        server.stop(crate::server::Stop::Fast).await;
        let mut copy = server.copy();
        server.run().await;
        reader.reconnect(&server).await;
        reader.start().await;
        server.execute("update t set v = 99 where id = 5; delete from t where id = 6").await;
        goes_on(&mut reader, &server, 2).await;
        reader.crash().await;
        server.stop(crate::server::Stop::Fast).await;
        copy.run().await;
        reader.reconnect(&copy).await;
        reader.set("database.port", &copy.target("postgres").port.to_string());
        reader.start().await;
        if policy == "fail" {
            let error = reader.error().await;
            assert!(error.contains("as if it had been restored"), "{error}");
            continue;
        }
        // What its rows' xmin say is of another history.
        reader.read_until(|reader| reader.reads.len() >= 30_050 && reader.is_snapshot_done()).await;
        goes_on(&mut reader, &copy, 3).await;
        assert_eq!(wrong(&reader, &copy).await, Vec::<String>::new());
    }
}

/// While rows are read, too: the log that is held back, what is left of the budget, how far the snapshot
/// is, and, once changes are read, by how much each table is behind.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_back_is_held_against_the_budget() {
    const BUDGET: i64 = 1 << 40;
    let server = Server::start().await;
    server.execute(SETUP).await;
    let budget = BUDGET.to_string();
    let more = [("slot.wal.budget.bytes", &*budget), ("max.queue.size.in.bytes", "1000")];
    let mut reader = Reader::new(&server, &more, 1).await;
    reader.start().await;
    reader.read_until(|reader| reader.reads.len() > 1000).await;
    let gauge = |reader: &Reader, name| reader.host.gauge(name, &[]);
    let has_looked = |reader: &Reader| gauge(reader, "slot_retained_bytes").is_some_and(|n| n > 0);
    reader.read_until(has_looked).await;
    assert!(!reader.is_snapshot_done());
    let retained = gauge(&reader, "slot_retained_bytes").unwrap();
    assert_eq!(gauge(&reader, "slot_budget_left_bytes"), Some(BUDGET - retained));
    assert_eq!(reader.host.gauge("slot_wal_status", &[("status", "reserved")]), Some(1));
    assert_eq!(reader.host.gauge("slot_wal_status", &[("status", "lost")]), Some(0));
    reader.read_until(Reader::is_snapshot_done).await;
    goes_on(&mut reader, &server, 1).await;
    assert_eq!(gauge(&reader, "snapshot_ranges"), gauge(&reader, "snapshot_ranges_done"));
    assert_eq!(gauge(&reader, "snapshot_left_ms"), Some(0));
    assert_eq!(gauge(&reader, "snapshot_rows"), Some(30_050));
    let work = reader.host.work().unwrap();
    assert!(work.what.contains("snapshot of public."), "{work:?}");
    let of_t = [("table", "public.t")];
    assert_eq!(reader.host.counter("table_changes", &of_t), Some(1));
    assert!(reader.host.gauge("table_lag_ms", &of_t).is_some());
    assert!(reader.host.gauge("table_lag_bytes", &of_t).is_some());
    assert!(
        gauge(&reader, "lag_ms").is_some() && gauge(&reader, "slot_confirmed_age_ms").is_some()
    );
    assert_eq!(reader.host.gauge("table_lag_ms", &[("table", "public.u")]), None);
}

/// What was to be found by the first reading is not known to the second: all rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_lost_again_meanwhile_means_all_rows() {
    for mode in ["initial", "no_data"] {
        let server = Server::start().await;
        server.execute(SETUP).await;
        let more = [
            ("slot.loss.policy", "backfill"),
            ("snapshot.mode", mode),
            ("max.batch.size", "50"),
            ("max.queue.size.in.bytes", "1000"),
        ];
        let mut reader = Reader::new(&server, &more, 1).await;
        reader.start().await;
        reader.read_until(|reader| reader.offset().is_some() && reader.is_snapshot_done()).await;
        goes_on(&mut reader, &server, 1).await;
        knows(&mut reader, &server, 1).await;
        reader.crash().await;
        drop_slot(&server).await;
        server.execute("update t set v = 7 where id % 3 = 0").await;
        reader.start().await;
        reader.read_until(|reader| reader.reads.len() >= 1000).await;
        reader.crash().await;
        assert!(!reader.is_snapshot_done());
        drop_slot(&server).await;
        server.execute("update t set v = 8 where id % 2 = 0").await;
        reader.start().await;
        reader.read_until(|reader| reader.reads.len() >= 30_050 && reader.is_snapshot_done()).await;
        goes_on(&mut reader, &server, 2).await;
        assert_eq!(wrong(&reader, &server).await, Vec::<String>::new(), "{mode}");
    }
}
