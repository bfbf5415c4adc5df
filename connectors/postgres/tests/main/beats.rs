//! Heartbeats, and what moves the slot while nothing is captured.

use std::time::Duration;

use serde_json::json;

use crate::server::Server;
use crate::source::Source;

const MESSAGES: &str = "select count(*) from pg_logical_slot_peek_binary_changes('probe', null, null, \
    'proto_version', '1', 'publication_names', 'dbz_publication', 'messages', 'true') \
    where position('towpath-heartbeat'::bytea in data) > 0";

/// A server with one table, and a slot that nobody reads, which shows what is in the log.
async fn server() -> Server {
    let server = Server::start().await;
    server.execute("create table t (id int primary key); create table beats (n serial)").await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_are_records_and_queries() {
    let server = server().await;
    let entries = [
        ("snapshot.mode", "no_data"),
        ("heartbeat.interval.ms", "100"),
        ("heartbeat.action.query", "insert into beats default values"),
        ("table.include.list", "public.t"),
    ];
    let mut source = Source::start(&server, &entries).await;
    let records = source.read(|shown| shown.value.get("ts_ms").is_some()).await;
    let beat = &records[0];
    assert_eq!(*beat.record.topic, *"__debezium-heartbeat.p");
    assert_eq!(beat.key, json!({"serverName": "p"}));
    assert_eq!(beat.value, json!({"ts_ms": 1_700_000_000_000_i64}));
    let name = |datum: &towpath_sdk::value::Datum| datum.schema.as_ref().unwrap().name.clone();
    assert_eq!(
        name(&beat.record.key).as_deref(),
        Some("io.debezium.connector.common.ServerNameKey")
    );
    assert_eq!(name(&beat.record.value).as_deref(), Some("io.debezium.connector.common.Heartbeat"));
    let count = "select count(*) from beats";
    let many = |count: Option<&str>| count.is_some_and(|count| count.parse::<u32>().unwrap() > 2);
    let records = source.run_until(&server, count, many).await;
    assert!(!records.is_empty());
    assert!(records.iter().all(|shown| *shown.record.topic == *"__debezium-heartbeat.p"));

    // Under a topic of another name; a query that fails is for the log.
    drop(source);
    let entries = [
        ("snapshot.mode", "no_data"),
        ("heartbeat.interval.ms", "100"),
        ("heartbeat.action.query", "select nonsense"),
        ("topic.heartbeat.name", "alive"),
        ("slot.name", "other"),
    ];
    let mut source = Source::start(&server, &entries).await;
    assert!(source.take(3).await.iter().all(|shown| *shown.record.topic == *"alive"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_database_keeps_the_slot_moving() {
    let server = server().await;
    server.execute("create database busy").await;
    server.execute("create publication dbz_publication for all tables").await;
    server.execute("select pg_create_logical_replication_slot('probe', 'pgoutput')").await;
    let busy = server.client_of("busy").await;
    busy.batch_execute("create table b (n int)").await.unwrap();
    // More often than positions are stored by themselves.
    let entries = [
        ("snapshot.mode", "no_data"),
        ("heartbeat.interval.ms", "50"),
        ("topic.heartbeat.prefix", ""),
    ];
    let mut source = Source::start(&server, &entries).await;
    let writing = tokio::spawn(async move {
        loop {
            busy.batch_execute("insert into b select generate_series(1, 100)").await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let written = |count: Option<&str>| count != Some("0");
    let records = source.run_until(&server, MESSAGES, written).await;
    writing.abort();
    assert!(records.is_empty(), "our own messages are shown: {records:?}");
    // Quiet again, it catches up and stays so, without further messages.
    let lag = "select pg_current_wal_flush_lsn() - confirmed_flush_lsn from pg_replication_slots \
               where slot_name = 'debezium'";
    let records = source.run_until(&server, lag, |lag| lag == Some("0")).await;
    assert!(records.is_empty());
    let before = server.value(MESSAGES).await;
    let waited = std::time::Instant::now();
    let long = |_: Option<&str>| waited.elapsed() > Duration::from_secs(2);
    source.run_until(&server, "select 1", long).await;
    assert_eq!(server.value(MESSAGES).await, before);
    server.execute("insert into t values (1)").await;
    assert_eq!(source.take(1).await[0].key, json!({"id": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_where_only_reading_is_wanted() {
    let server = server().await;
    server.execute("create publication dbz_publication for all tables").await;
    server.execute("select pg_create_logical_replication_slot('probe', 'pgoutput')").await;
    let entries = [
        ("snapshot.mode", "no_data"),
        ("heartbeat.interval.ms", "50"),
        ("topic.heartbeat.prefix", ""),
    ];
    let read_only = [&entries[..], &[("read.only", "true")]].concat();
    let mut source = Source::start(&server, &read_only).await;
    let confirmed =
        "select confirmed_flush_lsn from pg_replication_slots where slot_name = 'debezium'";
    let log = "select pg_switch_wal() is null";
    for _ in 0..10 {
        server.execute(log).await;
        let began = std::time::Instant::now();
        let short = |_: Option<&str>| began.elapsed() > Duration::from_millis(100);
        source.run_until(&server, confirmed, short).await;
    }
    assert_eq!(server.value(MESSAGES).await.as_deref(), Some("0"));
    drop(source);

    // Nobody tells the server anything.
    let manual = [&entries[..], &[("lsn.flush.mode", "manual"), ("slot.name", "manual")]].concat();
    let mut source = Source::start(&server, &manual).await;
    let sql = "select count(*) from pg_replication_slots \
               where slot_name = 'manual' and active and confirmed_flush_lsn is not null";
    source.run_until(&server, sql, |count| count == Some("1")).await;
    let confirmed =
        "select confirmed_flush_lsn from pg_replication_slots where slot_name = 'manual'";
    let before = server.value(confirmed).await;
    server.execute("insert into t values (1)").await;
    source.take(1).await;
    let began = std::time::Instant::now();
    let long = |_: Option<&str>| began.elapsed() > Duration::from_secs(1);
    source.run_until(&server, confirmed, long).await;
    assert_eq!(server.value(confirmed).await, before);
    assert_eq!(server.value(MESSAGES).await.as_deref(), Some("0"));
}
