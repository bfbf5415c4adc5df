//! Standbys: promotions with and without the slot, and a standby as the source.

use std::time::{Duration, Instant};

use towpath_sdk::signal::Signal;

use crate::harness::{Event, PATIENCE, Reader};
use crate::rebuilt::Tables;
use crate::server::{Options, Server, Stop, Version};

const SETUP: &str = "create table t (id int primary key, v int);
    create publication dbz_publication for all tables;
    insert into t select n, 0 from generate_series(1, 100) n";

async fn primary(version: Version, settings: &[(&str, &str)]) -> Server {
    let server = Server::start_with(Options { version, settings, ..Options::default() }).await;
    server.execute(SETUP).await;
    server
}

/// A standby that follows `primary`.
async fn standby(primary: &mut Server, settings: &[(&str, &str)]) -> Server {
    primary.stop(Stop::Fast).await;
    let mut standby = primary.standby(settings);
    primary.run().await;
    standby.run().await;
    standby
}

async fn start(server: &Server, more: &[(&str, &str)]) -> Reader {
    let mut reader = Reader::new(server, more, 1).await;
    reader.start().await;
    reader
}

fn has(reader: &Reader, v: i32) -> bool {
    let is_it = |event: &Event| event.op == "u" && event.value("v") == v.to_string();
    reader.once.iter().any(is_it)
}

/// Reads until a change with the value `v` is stored, which is made on `server`.
async fn goes_on(reader: &mut Reader, server: &Server, v: i32) {
    server.execute(&format!("update t set v = {v} where id = 20")).await;
    reader.read_until(|reader| has(reader, v)).await;
}

async fn moves_to(reader: &mut Reader, server: &Server) {
    reader.set("database.port", &server.target("postgres").port.to_string());
    reader.reconnect(server).await;
    reader.start().await;
}

/// Waits until the standby has all that the primary has.
async fn has_caught_up(standby: &Server, primary: &Server) {
    let end = primary.value("select pg_current_wal_lsn()").await.unwrap();
    until(standby, &format!("select pg_last_wal_replay_lsn() >= '{end}'"), "t").await;
}

async fn until(server: &Server, sql: &str, expect: &str) {
    let began = Instant::now();
    while server.value(sql).await.as_deref() != Some(expect) {
        assert!(began.elapsed() < PATIENCE, "{sql} is not {expect}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn wrong(reader: &Reader, server: &Server) -> Vec<String> {
    let client = server.client().await;
    Tables::of(&reader.once).differences("public.t", &client, "select * from t").await
}

/// PostgreSQL 15 has no slots on standbys: what the policy says is done.
#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_without_the_slot_is_a_loss() {
    for policy in ["fail", "resnapshot", "backfill"] {
        let mut primary = primary(Version::V15, &[]).await;
        let standby = standby(&mut primary, &[]).await;
        let mut reader = start(&primary, &[("slot.loss.policy", policy)]).await;
        reader.read_until(Reader::is_snapshot_done).await;
        for v in 1..=3 {
            // So that the offset knows of transactions.
            goes_on(&mut reader, &primary, v).await;
        }
        has_caught_up(&standby, &primary).await;
        reader.crash().await;
        primary.execute("update t set v = 50 where id = 50").await;
        has_caught_up(&standby, &primary).await;
        primary.stop(Stop::Immediate).await;
        // It is reached before it is promoted, as by an address that has moved.
        moves_to(&mut reader, &standby).await;
        let host = std::sync::Arc::clone(&reader.host);
        let waited = tokio::time::timeout(PATIENCE, host.waits_for("waiting until it is promoted"));
        tokio::select! {
            waited = waited => waited.unwrap(),
            error = reader.error() => panic!("{error}"),
        }
        standby.promote().await;
        if policy == "fail" {
            let error = reader.error().await;
            assert!(error.contains("the replication slot debezium is gone"), "{error}");
            continue;
        }
        let rows = if policy == "backfill" { 1 } else { 100 };
        reader.read_until(|reader| reader.reads.len() >= rows && reader.is_snapshot_done()).await;
        goes_on(&mut reader, &standby, 4).await;
        assert_eq!(wrong(&reader, &standby).await, Vec::<String>::new());
        if policy == "backfill" {
            assert!(reader.reads.len() <= 3, "{:?}", reader.reads);
            assert_eq!(reader.reads.iter().filter(|(_, id)| id == "50").count(), 1);
        }
        assert_eq!(reader.offset().unwrap().get_i64("timeline"), Some(2));
    }
}

/// A standby that had not got all that was read: what it lacks is in the topics, and no xmin tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_before_the_offset_is_noticed() {
    for policy in ["fail", "backfill"] {
        let mut primary = primary(Version::V15, &[]).await;
        let mut standby = standby(&mut primary, &[]).await;
        let mut reader = start(&primary, &[("slot.loss.policy", policy)]).await;
        reader.read_until(Reader::is_snapshot_done).await;
        goes_on(&mut reader, &primary, 1).await;
        has_caught_up(&standby, &primary).await;
        standby.stop(Stop::Fast).await;
        primary.execute("update t set v = 99 where id = 5; delete from t where id = 6").await;
        goes_on(&mut reader, &primary, 2).await;
        reader.crash().await;
        primary.stop(Stop::Immediate).await;
        standby.run().await;
        standby.promote().await;
        moves_to(&mut reader, &standby).await;
        if policy == "fail" {
            let error = reader.error().await;
            assert!(error.contains("before the stored offset"), "{error}");
            continue;
        }
        reader.read_until(|reader| reader.reads.len() >= 100 && reader.is_snapshot_done()).await;
        goes_on(&mut reader, &standby, 3).await;
        assert_eq!(wrong(&reader, &standby).await, Vec::<String>::new());
    }
}

/// The slot is kept in step on the standby (`slot.failover`, PostgreSQL 17 and later): nothing is missing
/// or comes twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_with_the_slot_is_no_gap() {
    let mut primary = primary(Version::V18, &[]).await;
    primary.execute("select pg_create_physical_replication_slot('follows')").await;
    let more = [("primary_slot_name", "follows"), ("sync_replication_slots", "on")];
    let standby = standby(&mut primary, &more).await;
    let mut reader = start(&primary, &[("slot.failover", "true")]).await;
    reader.read_until(Reader::is_snapshot_done).await;
    goes_on(&mut reader, &primary, 1).await;
    // A copy counts once the standby could decode from where the primary's slot is.
    let copied = "select count(*) from pg_replication_slots where synced and not temporary";
    let began = Instant::now();
    for v in 2.. {
        goes_on(&mut reader, &primary, v).await;
        has_caught_up(&standby, &primary).await;
        if standby.value(copied).await.as_deref() == Some("1") {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "the slot is not copied");
        primary.execute("select pg_log_standby_snapshot()").await;
    }
    reader.crash().await;
    primary.execute("update t set v = -1 where id = 50; delete from t where id = 51").await;
    has_caught_up(&standby, &primary).await;
    primary.stop(Stop::Immediate).await;
    moves_to(&mut reader, &standby).await;
    let host = std::sync::Arc::clone(&reader.host);
    let waited = tokio::time::timeout(PATIENCE, host.waits_for("a standby's copy"));
    tokio::select! {
        waited = waited => waited.unwrap(),
        error = reader.error() => panic!("{error}"),
    }
    standby.promote().await;
    goes_on(&mut reader, &standby, -2).await;
    assert!(reader.reads.is_empty(), "{:?}", reader.reads);
    assert_eq!(wrong(&reader, &standby).await, Vec::<String>::new());
    assert_eq!(reader.once.iter().filter(|event| event.value("v") == "-1").count(), 1);
    assert_eq!(reader.host.counted("slot_losses"), 0);
}

/// A standby as the source (PostgreSQL 16 and later): rows, changes, heartbeats that can't be written
/// there, and its promotion under the running task.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_can_be_read() {
    let mut primary = primary(Version::V18, &[]).await;
    primary.execute("select pg_create_physical_replication_slot('follows')").await;
    let standby = standby(&mut primary, &[("primary_slot_name", "follows")]).await;
    let more = [
        ("heartbeat.interval.ms", "200"),
        ("topic.heartbeat.prefix", ""),
        ("publication.name", "later"),
    ];
    let mut reader = start(&standby, &more).await;
    // What can't be made on a standby is waited for.
    let host = std::sync::Arc::clone(&reader.host);
    let waited = tokio::time::timeout(PATIENCE, host.waits_for("read-only transaction"));
    tokio::select! {
        waited = waited => waited.unwrap(),
        error = reader.error() => panic!("{error}"),
    }
    primary.execute("create publication later for all tables").await;
    // A slot on a standby waits for what the primary says of its transactions now and then.
    let primary_speaks = async {
        let client = primary.client().await;
        loop {
            client.batch_execute("select pg_log_standby_snapshot()").await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = reader.read_until(Reader::is_snapshot_done) => {}
        () = primary_speaks => {}
    }
    assert_eq!(reader.reads.len(), 100);
    for v in 1..=3 {
        goes_on(&mut reader, &primary, v).await;
    }
    assert!(reader.offset().unwrap().get_i64("oldest_xid").is_some());
    // Rows are read again beside the stream, and nothing is written for it.
    let data = serde_json::json!({"data-collections": ["public.t"]});
    let data = data.as_object().unwrap().clone();
    assert_eq!(reader.host.signal(&Signal { id: None, kind: "execute-snapshot".into(), data }), 1);
    reader.read_until(|reader| reader.reads.len() == 200).await;
    reader.crash().await;
    primary.execute("update t set v = 50 where id = 50").await;
    has_caught_up(&standby, &primary).await;
    reader.start().await;
    goes_on(&mut reader, &primary, 4).await;
    has_caught_up(&standby, &primary).await;
    primary.stop(Stop::Immediate).await;
    standby.promote().await;
    goes_on(&mut reader, &standby, 5).await;
    reader.crash().await;
    reader.start().await;
    goes_on(&mut reader, &standby, 6).await;
    assert_eq!(wrong(&reader, &standby).await, Vec::<String>::new());
    assert_eq!(reader.once.iter().filter(|event| event.value("v") == "50").count(), 1);
    assert_eq!((reader.reads.len(), reader.host.counted("slot_losses")), (0, 0));
    assert_eq!(reader.offset().unwrap().get_i64("timeline"), Some(2));
}
