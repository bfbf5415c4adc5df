//! What the configuration does to slots, sessions and snapshots on the server.

use std::time::Duration;

use serde_json::json;
use towpath_connector_postgres::PostgresSource;
use towpath_sdk::ErrorKind;
use towpath_sdk::plugin::{ConnectorPlugin, Registry};

use crate::server::Server;
use crate::source::{DEBEZIUM, Source};

const SLOTS: &str = "select count(*) from pg_replication_slots";
const ACTIVE: &str =
    "select count(*) from pg_replication_slots where active and confirmed_flush_lsn is not null";

async fn server(sql: &str) -> Server {
    let server = Server::start().await;
    server.execute(sql).await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_may_go_with_the_task() {
    let server = server("create table t (id int primary key); insert into t values (1)").await;
    let mut source = Source::start(&server, &[]).await;
    source.take(1).await;
    source.run_until(&server, ACTIVE, |count| count == Some("1")).await;
    source.stop().await;
    assert_eq!(server.value(SLOTS).await.as_deref(), Some("1"));
    let entries = [("slot.name", "passing"), ("slot.drop.on.stop", "true")];
    let mut source = Source::start(&server, &entries).await;
    source.take(1).await;
    source.run_until(&server, ACTIVE, |count| count == Some("1")).await;
    let offsets = source.stop().await;
    assert_eq!(server.value(SLOTS).await.as_deref(), Some("1"));
    // It does not go on as if nothing were missing.
    let error = Source::start_at(&server, &entries, offsets.clone()).await.fails().await;
    assert!(error.to_string().contains("slot passing is gone"), "{error}");
    let entries = [&entries[..], &[("snapshot.mode", "when_needed")]].concat();
    let mut source = Source::start_at(&server, &entries, offsets).await;
    assert_eq!(source.take(1).await[0].op(), "r");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_may_go_with_the_connector() {
    let server = server("create table t (id int primary key); insert into t values (1)").await;
    let mut registry = Registry::default();
    registry.source::<PostgresSource>();
    let Some((ConnectorPlugin::Source(plugin), _)) = registry.find_connector(DEBEZIUM) else {
        panic!("it is a source");
    };
    let stays = [("slot.name", "stays"), ("publication.autocreate.mode", "disabled")];
    let goes = [("slot.name", "goes"), ("slot.drop.on.delete", "true")];
    for (entries, expect) in [(&stays, "1"), (&goes, "0")] {
        let name = entries[0].1;
        let config = crate::source::config(&server, entries);
        let said: Vec<_> = plugin.leftovers(&config).unwrap();
        let said: Vec<_> = said.iter().map(ToString::to_string).collect();
        if name == "stays" {
            server.execute("create publication dbz_publication for all tables").await;
            assert_eq!(said.len(), 1);
            assert!(said[0].contains("SELECT pg_drop_replication_slot('stays')"), "{said:?}");
        } else {
            assert_eq!(said[0], "replication slot goes is removed");
            assert!(said[1].contains("DROP PUBLICATION \"dbz_publication\""), "{said:?}");
        }
        let mut source = Source::start(&server, entries).await;
        source.take(1).await;
        let of_it = format!(
            "select count(*) from pg_replication_slots where slot_name = '{name}' \
             and active and confirmed_flush_lsn is not null"
        );
        source.run_until(&server, &of_it, |count| count == Some("1")).await;
        // The task may still be stopping.
        let (deleted, _offsets) = tokio::join!(plugin.deleted(config.clone()), source.stop());
        deleted.unwrap();
        let left = format!("select count(*) from pg_replication_slots where slot_name = '{name}'");
        assert_eq!(server.value(&left).await.as_deref(), Some(expect));
        // What is gone already is no error.
        plugin.deleted(config).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_in_use_is_waited_for() {
    let server = server("create table t (id int primary key); insert into t values (1)").await;
    let mut first = Source::start(&server, &[]).await;
    first.take(1).await;
    first.run_until(&server, ACTIVE, |count| count == Some("1")).await;
    let pid = server.value("select active_pid from pg_replication_slots").await.unwrap();
    let entries = [("slot.retry.delay.ms", "300"), ("snapshot.mode", "no_data")];
    let mut second = Source::start(&server, &entries).await;
    let began = std::time::Instant::now();
    second.host.waits_for(&format!("in use by the server's process {pid}")).await;
    first.stop().await;
    server.execute("insert into t values (2)").await;
    assert_eq!(second.read(|shown| shown.op() == "c").await.last().unwrap().key, json!({"id": 2}));
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_was_moved_is_a_gap_unless_it_is_trusted() {
    let server = server("create table t (id int primary key); insert into t values (1)").await;
    let mut source = Source::start(&server, &[]).await;
    source.take(1).await;
    source.run_until(&server, ACTIVE, |count| count == Some("1")).await;
    let offsets = source.stop().await;
    server.execute("insert into t values (2)").await;
    let advance = "select pg_replication_slot_advance('debezium', pg_current_wal_lsn())";
    let mut tries = 0;
    while server.client().await.simple_query(advance).await.is_err() {
        // The connection that was cut is still being noticed.
        tries += 1;
        assert!(tries < 1000);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.execute("insert into t values (3)").await;
    for strategy in ["no_validation", "trust_offset"] {
        let entries = [("offset.mismatch.strategy", strategy)];
        let error = Source::start_at(&server, &entries, offsets.clone()).await.fails().await;
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("past the stored offset"), "{error}");
    }
    let entries = [("offset.mismatch.strategy", "trust_slot")];
    let mut source = Source::start_at(&server, &entries, offsets).await;
    assert_eq!(source.take(1).await[0].key, json!({"id": 3}));
}

#[tokio::test(flavor = "multi_thread")]
async fn options_go_to_the_plug_in() {
    let server = server("create table t (id int primary key)").await;
    let entries = [("slot.stream.params", "nonsense=1"), ("snapshot.mode", "no_data")];
    let said = wait_for_end(Source::start(&server, &entries).await).await;
    assert!(said.contains("nonsense"), "{said}");
    let entries = [("slot.stream.params", "proto_version=2")];
    let config = crate::source::config(&server, &entries);
    let errors =
        towpath_sdk::plugin::validate_as::<towpath_connector_postgres::config::Config>(&config);
    assert!(errors.of("slot.stream.params").count() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_get_their_replica_identities() {
    let sql =
        "create table a (id int primary key, b int not null); create unique index idx on a (b);
               create table f (id int primary key, b int); create table o (id int primary key);
               alter table o replica identity full;
               insert into f values (1, 2)";
    let server = server(sql).await;
    let identities = "public.f:FULL,public.a:INDEX idx,public.o:default";
    let entries = [("replica.identity.autoset.values", identities)];
    let mut source = Source::start(&server, &entries).await;
    source.take(1).await;
    let sql = "select string_agg(relreplident::text, '' order by relname) from pg_class \
               where relname in ('a', 'f', 'o')";
    assert_eq!(server.value(sql).await.as_deref(), Some("ifd"));
    server.execute("update f set b = 3").await;
    assert_eq!(source.take(1).await[0].value["before"], json!({"id": 1, "b": 2}));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_prepared() {
    let sql =
        "create table t (id int primary key, at date); insert into t values (1, '2000-02-01');
               create table seen (application text, timeout text)";
    let server = server(sql).await;
    let statements = "set DateStyle = 'German';; set myapp.x = 'a'; \
        insert into seen values (current_setting('application_name'), current_setting('statement_timeout'))";
    let statements = statements.replacen(";;", ";", 1);
    let entries = [
        ("database.initial.statements", &*statements),
        ("database.query.timeout.ms", "12345"),
        ("table.include.list", "public.t"),
    ];
    let mut source = Source::start(&server, &entries).await;
    // Dates are read all the same.
    assert_eq!(source.take(1).await[0].value["after"], json!({"id": 1, "at": 10988}));
    let sql = "select string_agg(distinct timeout, ' ' order by timeout) from seen";
    assert_eq!(server.value(sql).await.as_deref(), Some("0 12345ms"));

    let entries = [("database.initial.statements", "nonsense"), ("slot.name", "other")];
    let source = Source::start(&server, &entries).await;
    assert!(!wait_for_end(source).await.is_empty());
}

/// Why a task fails or waits, whichever comes first.
async fn wait_for_end(mut source: Source) -> String {
    let host = std::sync::Arc::clone(&source.host);
    tokio::select! {
        error = source.fails() => error.chain().to_string(),
        () = host.waits_for("") => host.reason().unwrap_or_default(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_may_come_from_ones_own_query() {
    let sql = "create table t (id int primary key, keep bool);
               insert into t select n, n % 2 = 0 from generate_series(1, 10) n;
               create table u (id int primary key); insert into u values (100)";
    let server = server(sql).await;
    let entries = [
        ("snapshot.select.statement.overrides", "public.t"),
        (
            "snapshot.select.statement.overrides.public.t",
            "select * from t where keep order by id desc;",
        ),
        ("snapshot.locking.mode", "shared"),
        ("snapshot.tables.order.by.row.count", "descending"),
    ];
    let mut source = Source::start(&server, &entries).await;
    let rows = source.take(6).await;
    let ids = |topic: &str| {
        let rows = rows.iter().filter(|shown| *shown.record.topic == *topic);
        rows.map(|shown| shown.key["id"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((ids("p.public.t"), ids("p.public.u")), (vec![10, 8, 6, 4, 2], vec![100]));
    server.execute("insert into t values (11, false)").await;
    assert_eq!(source.take(1).await[0].key, json!({"id": 11}));
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_begun_by_their_size() {
    let sql = "create table a (id int primary key, x text);
               insert into a select n, repeat('x', 1000) from generate_series(1, 100) n;
               create table b (id int primary key); insert into b values (1)";
    let server = server(sql).await;
    for (order, first) in [("ascending", "p.public.b"), ("descending", "p.public.a")] {
        let entries = [("snapshot.tables.order.by.row.count", order), ("slot.name", order)];
        let rows = Source::start(&server, &entries).await.take(101).await;
        assert_eq!(*rows[0].record.topic, *first);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_are_waited_for_so_long() {
    let server = server("create table t (id int primary key); insert into t values (1)").await;
    // Making a slot would wait for the lock's transaction, too.
    server.execute("select pg_create_logical_replication_slot('debezium', 'pgoutput')").await;
    let client = server.client().await;
    client.batch_execute("begin; lock table t in access exclusive mode").await.unwrap();
    let entries = [("snapshot.locking.mode", "shared"), ("snapshot.lock.timeout.ms", "100")];
    let source = Source::start(&server, &entries).await;
    let said = wait_for_end(source).await;
    assert!(said.contains("lock the tables of the snapshot"), "{said}");
    client.batch_execute("rollback").await.unwrap();
    let mut source = Source::start(&server, &entries).await;
    assert_eq!(source.take(1).await[0].key, json!({"id": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_are_held_to_the_end() {
    let settings = [("idle_in_transaction_session_timeout", "200ms")];
    let options = crate::server::Options { settings: &settings, ..Default::default() };
    let server = Server::start_with(options).await;
    let sql = "create table a (id int primary key, x text); create table b (id int primary key);
               alter table a alter x set storage external;
               insert into a select n, repeat('x', 600000) from generate_series(1, 10) n;
               insert into b values (1)";
    server.execute(sql).await;
    let entries = [("snapshot.locking.mode", "shared"), ("max.queue.size.in.bytes", "1")];
    let mut source = Source::start(&server, &entries).await;
    let sql = "select count(*) from pg_locks where relation = 'b'::regclass and granted";
    while server.value(sql).await.as_deref() != Some("1") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(server.value(sql).await.as_deref(), Some("1"));
    assert_eq!(source.take(11).await.len(), 11);
    source.run_until(&server, sql, |count| count == Some("0")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pauses_are_made_and_shown() {
    let server = server("create table t (id int primary key); insert into t values (1)").await;
    let entries = [("snapshot.delay.ms", "300"), ("streaming.delay.ms", "300")];
    let began = std::time::Instant::now();
    let mut source = Source::start(&server, &entries).await;
    source.host.waits_for("snapshot.delay.ms").await;
    source.take(1).await;
    assert!(began.elapsed() >= Duration::from_millis(300));
    source.host.waits_for("streaming.delay.ms").await;
    server.execute("insert into t values (2)").await;
    assert_eq!(source.take(1).await[0].key, json!({"id": 2}));
    assert!(began.elapsed() >= Duration::from_millis(600));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshots_mode_may_be_put_together() {
    let server = server("create table t (id int primary key); insert into t values (1)").await;
    let based = [("snapshot.mode", "configuration_based")];
    let stream = ("snapshot.mode.configuration.based.start.stream", "true");
    let data = ("snapshot.mode.configuration.based.snapshot.data", "true");
    let mend = ("snapshot.mode.configuration.based.snapshot.on.data.error", "true");
    let entries = [&based[..], &[stream]].concat();
    let mut source = Source::start(&server, &entries).await;
    source.run_until(&server, ACTIVE, |count| count == Some("1")).await;
    server.execute("insert into t values (2)").await;
    assert_eq!(source.take(1).await[0].key, json!({"id": 2}));
    drop(source);
    let entries = [&based[..], &[data, ("slot.name", "rows")]].concat();
    let mut source = Source::start(&server, &entries).await;
    source.take(2).await;
    server.execute("insert into t values (3)").await;
    let began = std::time::Instant::now();
    let while_waiting = |_: Option<&str>| began.elapsed() > Duration::from_millis(500);
    assert!(source.run_until(&server, "select 1", while_waiting).await.is_empty());
    drop(source);
    let entries = [&based[..], &[data, stream, mend, ("slot.name", "mended")]].concat();
    let mut source = Source::start(&server, &entries).await;
    source.take(3).await;
    source.run_until(&server, "select active from pg_replication_slots where slot_name = 'mended' and confirmed_flush_lsn is not null", |active| active == Some("t")).await;
    let offsets = source.stop().await;
    let drop_slot = "select pg_drop_replication_slot('mended')";
    while server.client().await.simple_query(drop_slot).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut source = Source::start_at(&server, &entries, offsets).await;
    assert_eq!(source.take(3).await[0].op(), "r");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_may_be_too_many() {
    let server = server("create table a (id int primary key); create table b (id int)").await;
    let entries = [
        ("guardrail.collections.max", "1"),
        ("guardrail.collections.limit.action", "fail"),
        ("connector.class", DEBEZIUM),
    ];
    let error = Source::start(&server, &entries).await.fails().await;
    assert!(error.to_string().contains("2 tables match the filters"), "{error}");
    server.execute("insert into a values (1)").await;
    let warn = Source::start(&server, &entries[..1]).await.take(1).await;
    assert_eq!(warn[0].key, json!({"id": 1}));
    let fits = [("guardrail.collections.max", "2"), entries[1], ("slot.name", "other")];
    assert_eq!(Source::start(&server, &fits).await.take(1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_may_be_bounded() {
    let mut server = server("create table t (id int primary key)").await;
    server.stop(crate::server::Stop::Fast).await;
    let mut source = Source::start(&server, &[("errors.max.retries", "2")]).await;
    let error = source.fails().await;
    assert!(error.to_string().contains("errors.max.retries"), "{error}");
    assert_eq!(source.host.counted("retries"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn publications_are_made_as_asked() {
    let server = server("create table a (id int primary key); create table b (id int)").await;
    let ready = |slot: &str| {
        format!(
            "select count(*) from pg_replication_slots \
             where active and confirmed_flush_lsn is not null and slot_name = '{slot}'"
        )
    };
    let published = "select string_agg(concat_ws(' ', pubname, puballtables, pubinsert, pubupdate, \
                     pubdelete, pubtruncate, pubviaroot), ',' order by pubname) from pg_publication";
    let mode = ("snapshot.mode", "no_data");
    let mut source = Source::start(&server, &[mode]).await;
    source.run_until(&server, &ready("debezium"), |count| count == Some("1")).await;
    assert_eq!(server.value(published).await.as_deref(), Some("dbz_publication t t t t f f"));
    drop(source);
    let entries = [
        mode,
        ("publication.name", "mine"),
        ("publication.autocreate.mode", "filtered"),
        ("publish.via.partition.root", "true"),
        ("skipped.operations", "d,u"),
        ("table.include.list", "public.b"),
        ("slot.name", "other"),
    ];
    let mut source = Source::start(&server, &entries).await;
    source.run_until(&server, &ready("other"), |count| count == Some("1")).await;
    let expect = "dbz_publication t t t t f f,mine f t f f t t";
    assert_eq!(server.value(published).await.as_deref(), Some(expect));
    let tables =
        "select string_agg(tablename, ',') from pg_publication_tables where pubname = 'mine'";
    assert_eq!(server.value(tables).await.as_deref(), Some("b"));
    drop(source);
    let entries = [("publication.name", "none"), ("publication.autocreate.mode", "disabled")];
    let said = wait_for_end(Source::start(&server, &entries).await).await;
    assert!(said.contains("the publication none is not there"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connectors_that_make_one_publication_at_a_time_agree() {
    let server = server("create table t (id int primary key); insert into t values (1)").await;
    let slots = ["a", "b", "c", "d", "e", "f"];
    let start = slots.map(|slot| {
        let server = &server;
        async move { Source::start(server, &[("slot.name", slot)]).await.take(1).await.len() }
    });
    assert_eq!(futures::future::join_all(start).await, [1; 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_have_the_form_that_is_asked_for() {
    let server = server("create table t (id int primary key); insert into t values (1)").await;
    let entries = [
        ("topic.delimiter", "_"),
        ("tombstones.on.delete", "false"),
        ("extended.headers.enabled", "false"),
        ("provide.transaction.metadata", "true"),
        ("topic.transaction", "tx"),
        ("topic.prefix", "q"),
        ("slot.name", "q"),
    ];
    let mut plain = Source::start(&server, &[]).await;
    let mut other = Source::start(&server, &entries).await;
    assert!(!plain.take(1).await[0].record.headers.is_empty());
    assert!(other.take(1).await[0].record.headers.is_empty());
    server.execute("delete from t").await;
    let changes = plain.take(2).await;
    assert!(changes[1].value.is_null() && *changes[1].record.topic == *"p.public.t");
    let changes = other.take(3).await;
    let topics: Vec<&str> = changes.iter().map(|shown| &*shown.record.topic).collect();
    assert_eq!(topics, ["q_tx", "q_public_t", "q_tx"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_read_what_is_chosen() {
    let sql = "create table a (id int primary key); create table b (id int);
               insert into a select generate_series(1, 10); insert into b values (1)";
    let server = server(sql).await;
    let few = [("max.batch.size", "3"), ("snapshot.max.threads", "2")];
    let entries = [&few[..], &[("snapshot.include.collection.list", "public.a")]].concat();
    let mut source = Source::start(&server, &entries).await;
    let mut marks = 0;
    let mut records = 0;
    while records < 10 {
        let batch = source.poll().await.unwrap();
        marks += batch.marks.len();
        records += batch.records.len();
        assert!(batch.records.iter().all(|record| *record.topic == *"p.public.a"));
    }
    // A mark after three rows, six, nine and ten, and one before them.
    assert!(marks >= 5, "{marks} marks");
    source.run_until(&server, ACTIVE, |count| count == Some("1")).await;
    let offsets = source.stop().await;
    let always = [("snapshot.mode", "always")];
    let mut source = Source::start_at(&server, &always, offsets).await;
    assert_eq!(source.take(11).await.len(), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_told_so_often() {
    let server = server("create table t (id int primary key)").await;
    for (interval, is_told) in [("100", true), ("600000", false)] {
        let entries = [
            ("status.update.interval.ms", interval),
            ("slot.name", if is_told { "often" } else { "seldom" }),
            ("snapshot.mode", "no_data"),
        ];
        let mut source = Source::start(&server, &entries).await;
        source.run_until(&server, ACTIVE, |count| count == Some("1")).await;
        let sql = "select reply_time from pg_stat_replication";
        // Until what there is to tell at the beginning was told.
        let began = std::time::Instant::now();
        let settled = |_: Option<&str>| began.elapsed() > Duration::from_secs(2);
        source.run_until(&server, "select 1", settled).await;
        let before = server.value(sql).await;
        let began = std::time::Instant::now();
        let later = |_: Option<&str>| began.elapsed() > Duration::from_millis(500);
        source.run_until(&server, "select 1", later).await;
        assert_eq!(server.value(sql).await != before, is_told, "{interval}");
        source.stop().await;
        let sql = "select count(*) from pg_replication_slots where active";
        while server.value(sql).await.as_deref() != Some("0") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
