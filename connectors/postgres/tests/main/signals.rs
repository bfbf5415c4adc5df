//! Signals, and snapshots beside the stream.

use std::time::Duration;

use serde_json::{Value as Json, json};
use towpath_sdk::signal::Signal;

use crate::harness::{ROOM, Reader};
use crate::server::Server;
use crate::source::{Shown, Source};

const TABLES: &str = "
    create table signals (id varchar(42) primary key, type varchar(32) not null, data text);
    create table a (id int primary key, v text);
    create table b (x int, y text, v text, primary key (x, y));
    create table bag (n int not null, v text);
    insert into a select n, 'a' || n from generate_series(1, 5) n;
    insert into b select n / 2, 'y' || n, 'b' || n from generate_series(1, 5) n;
    insert into bag select n / 3, 'v' || n from generate_series(1, 10) n;";

const CONFIG: [(&str, &str); 4] = [
    ("snapshot.mode", "no_data"),
    ("signal.data.collection", "public.signals"),
    ("table.exclude.list", "public.signals"),
    ("snapshot.max.threads", "2"),
];

async fn server() -> Server {
    let server = Server::start().await;
    server.execute(TABLES).await;
    server
}

/// A source that streams.
async fn start(server: &Server, config: &[(&str, &str)]) -> Source {
    let mut source = Source::start(server, config).await;
    let sql = "select count(*) from pg_replication_slots where active and confirmed_flush_lsn is not null";
    source.run_until(server, sql, |count| count == Some("1")).await;
    source
}

async fn signal(server: &Server, id: &str, kind: &str, data: Json) {
    let sql = format!("insert into signals values ('{id}', '{kind}', '{data}')");
    server.execute(&sql).await;
}

/// A change that shows that all before it has come.
async fn sync(server: &Server, source: &mut Source, n: i64) -> Vec<Shown> {
    server.execute(&format!("insert into a values ({n}, 'sync')")).await;
    source.read(|shown| shown.op() == "c" && shown.key == json!({"id": n})).await
}

fn reads(all: &[Shown]) -> Vec<Json> {
    let reads = all.iter().filter(|shown| shown.op() == "r");
    reads.map(|shown| shown.value["after"].clone()).collect()
}

fn sorted(mut rows: Vec<Json>) -> Vec<String> {
    let mut texts: Vec<String> = rows.drain(..).map(|row| row.to_string()).collect();
    texts.sort();
    texts
}

fn is_read(shown: &Shown) -> bool {
    shown.op() == "r"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_in_the_table_reads_tables_beside_the_stream() {
    let server = server().await;
    let mut source = start(&server, &CONFIG).await;
    sync(&server, &mut source, 100).await;
    let data = json!({"data-collections": ["public.a", "public.b"], "type": "incremental"});
    signal(&server, "s1", "execute-snapshot", data).await;
    let mut all = Vec::new();
    while reads(&all).len() < 11 {
        all.extend(source.read(is_read).await);
    }
    let of_a = all.iter().filter(|shown| &*shown.record.topic == "p.public.a");
    let of_a: Vec<&Shown> = of_a.collect();
    assert_eq!(of_a.len(), 6);
    for (shown, id) in of_a.iter().zip([1, 2, 3, 4, 5, 100]) {
        assert_eq!(shown.key, json!({"id": id}));
        assert_eq!(shown.value["source"]["snapshot"], "incremental");
        assert_eq!(shown.value["source"]["table"], "a");
    }
    // The table of signals is shown whatever the filters say, as Debezium shows it.
    let of_signals = all.iter().filter(|shown| &*shown.record.topic == "p.public.signals");
    assert_eq!(of_signals.map(|shown| &shown.value["after"]["id"]).collect::<Vec<_>>(), ["s1"]);
    let source_of = &of_a[0].value["source"];
    assert_eq!((&source_of["lsn"], &source_of["txId"]), (&Json::Null, &Json::Null));
    assert_eq!(of_a[0].value["transaction"], Json::Null);
    // Nothing is left of it, and nothing is read again.
    sync(&server, &mut source, 101).await;
    let offsets = source.stop().await;
    assert!(offsets.iter().all(|(partition, _)| partition.get("incremental").is_none()));
    let mut source = Source::start_at(&server, &CONFIG, offsets).await;
    assert!(reads(&sync(&server, &mut source, 102).await).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn people_signal_over_the_api_with_conditions() {
    let server = server().await;
    let mut source = start(&server, &CONFIG).await;
    sync(&server, &mut source, 100).await;
    let ask = |data: Json| Signal {
        id: Some("x".into()),
        kind: "execute-snapshot".into(),
        data: data.as_object().unwrap().clone(),
    };
    let some = ask(json!({"data-collections": ["public\\.[ab]"], "additional-conditions": [
        {"data-collection": "public.a", "filter": "id % 2 = 0 and id < 10"},
        {"data-collection": "public.b", "filter": "v = 'b3'"}]}));
    assert_eq!(source.host.signal(&some), 1);
    let mut all = Vec::new();
    while reads(&all).len() < 3 {
        all.extend(source.read(is_read).await);
    }
    let expected = [json!({"id": 2, "v": "a2"}), json!({"id": 4, "v": "a4"})];
    let b = json!({"x": 1, "y": "y3", "v": "b3"});
    assert_eq!(sorted(reads(&all)), sorted([&expected[..], &[b]].concat()));
    // Rows without a key are ordered by what is named, several with the same value among them.
    let bag = json!({"data-collections": ["public.bag"], "surrogate-key": "n"});
    source.host.signal(&ask(bag));
    let mut all = Vec::new();
    while reads(&all).len() < 10 {
        all.extend(source.read(is_read).await);
    }
    // What can't be read is given up, and the rest goes on.
    for wrong in [
        json!({"data-collections": ["public.bag"]}),
        json!({"data-collections": ["public.a"], "additional-condition": "nonsense"}),
        json!({"data-collections": ["public.bag"], "surrogate-key": "v"}),
        json!({"data-collections": []}),
    ] {
        source.host.signal(&ask(wrong));
    }
    source.host.signal(&ask(json!({"data-collections": ["public.b"]})));
    let mut all = Vec::new();
    while reads(&all).len() < 5 {
        all.extend(source.read(is_read).await);
    }
    assert!(all.iter().all(|shown| &*shown.record.topic == "p.public.b"));
    assert!(reads(&sync(&server, &mut source, 101).await).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_come_from_a_topic() {
    let server = server().await;
    let config = [
        ("snapshot.mode", "no_data"),
        ("signal.enabled.channels", "kafka"),
        ("signal.kafka.topic", "orders"),
    ];
    let mut source = start(&server, &config).await;
    sync(&server, &mut source, 100).await;
    let signal = |table| {
        json!({"type": "execute-snapshot", "data": {"data-collections": [table]}}).to_string()
    };
    source.host.write("orders", "other", &signal("public.b"));
    source.host.write("orders", "p", "nonsense");
    source.host.write("orders", "p", &signal("public.a"));
    let mut all = Vec::new();
    while reads(&all).len() < 6 {
        all.extend(source.read(is_read).await);
    }
    all.extend(sync(&server, &mut source, 101).await);
    assert!(all.iter().all(|shown| &*shown.record.topic == "p.public.a"));
}

/// Signals of a topic are stored with what they lead to: after a crash none is missing and none comes
/// twice, wherever the consumer's group stands.
#[tokio::test(flavor = "multi_thread")]
async fn signals_of_a_topic_survive_crashes() {
    let server = server().await;
    let config = [
        ("snapshot.mode", "no_data"),
        ("signal.enabled.channels", "kafka"),
        ("signal.kafka.topic", "orders"),
    ];
    let mut reader = Reader::new(&server, &config, 1).await;
    let signal = |table: &str| {
        json!({"type": "execute-snapshot", "data": {"data-collections": [table]}}).to_string()
    };
    let write = |reader: &Reader, tables: &[&str]| {
        tables.iter().for_each(|table| reader.host.write("orders", "p", &signal(table)));
    };
    let of = |reader: &Reader, table: &str| {
        reader.reads.iter().filter(|(topic, _)| topic == table).count()
    };
    reader.start().await;
    reader.read_until(|reader| reader.offset().is_some()).await;
    write(&reader, &["public.a"]);
    // It is taken, and what it has led to is not stored.
    while of(&reader, "public.a") == 0 {
        reader.poll_for(ROOM, Duration::from_millis(100)).await.unwrap();
    }
    reader.crash().await;
    reader.start().await;
    write(&reader, &["public.a"]);
    reader.read_until(|reader| of(reader, "public.a") == 5).await;
    reader.read_until(|reader| !reader.is_beside()).await;
    reader.crash().await;
    reader.start().await;
    write(&reader, &["public.a", "public.b"]);
    reader.read_until(|reader| of(reader, "public.b") == 5).await;
    reader.read_until(|reader| !reader.is_beside()).await;
    assert_eq!(of(&reader, "public.a"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_told_how_far_snapshots_are() {
    let server = server().await;
    let mut config = CONFIG.to_vec();
    config[0] = ("snapshot.mode", "initial");
    config.extend([
        ("notification.enabled.channels", "sink,log"),
        ("notification.sink.topic.name", "told"),
        ("incremental.snapshot.chunk.size", "2"),
    ]);
    let mut source = Source::start(&server, &config).await;
    let is_told = |shown: &Shown| &*shown.record.topic == "told";
    let of = |all: &[Shown], id: Option<&str>| -> Vec<(String, Json)> {
        let told = all.iter().filter(|shown| is_told(shown)).map(|shown| &shown.value);
        let told = told.filter(|value| id.is_none_or(|id| value["id"] == id));
        told.map(|value| {
            (value["type"].as_str().unwrap().to_owned(), value["additional_data"].clone())
        })
        .collect()
    };
    let completed = |kind: &'static str| {
        move |shown: &Shown| {
            is_told(shown)
                && shown.value["type"] == "COMPLETED"
                && shown.value["aggregate_type"] == kind
        }
    };
    let all = source.read(completed("Initial Snapshot")).await;
    let told = of(&all, None);
    assert_eq!(told[0].0, "STARTED");
    assert_eq!(told[0].1["connector_name"], "p");
    assert_eq!(told[1].0, "DATA_COLLECTIONS_RESOLVED");
    assert_eq!(told[1].1["data_collections"], "public.a,public.b,public.bag");
    let scans = told.iter().filter(|(kind, _)| kind == "TABLE_SCAN_COMPLETED");
    let scans: Vec<&Json> = scans.map(|(_, data)| &data["total_rows_scanned"]).collect();
    assert_eq!(sorted(scans.into_iter().cloned().collect()), ["\"10\"", "\"5\"", "\"5\""]);
    signal(&server, "s1", "execute-snapshot", json!({"data-collections": ["public.a"]})).await;
    let all = source.read(completed("Incremental Snapshot")).await;
    let told = of(&all, Some("s1"));
    let kinds: Vec<&str> = told.iter().map(|(kind, _)| kind.as_str()).collect();
    let expected = [
        "STARTED",
        "DATA_COLLECTIONS_RESOLVED",
        // Five rows, two at a time.
        "IN_PROGRESS",
        "IN_PROGRESS",
        "TABLE_SCAN_COMPLETED",
        "COMPLETED",
    ];
    assert_eq!(kinds, expected);
    assert_eq!(told[2].1["last_processed_key"], "2");
    assert_eq!(told[2].1["maximum_key"], "5");
    assert_eq!(told[2].1["current_collection_in_progress"], "public.a");
    assert_eq!(told[4].1["status"], "SUCCEEDED");
    assert_eq!(told[4].1["total_rows_scanned"], "5");
    signal(&server, "s2", "execute-snapshot", json!({"data-collections": ["public.bag"]})).await;
    let all = source.read(completed("Incremental Snapshot")).await;
    assert_eq!(of(&all, Some("s2"))[2].1["status"], "NO_PRIMARY_KEY");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_beside_the_stream_can_be_paused_and_stopped() {
    let server = server().await;
    let many = "insert into a select n, 'v' from generate_series(6, 3000) n";
    server.execute(many).await;
    let mut config = CONFIG.to_vec();
    config.push(("incremental.snapshot.chunk.size", "3"));
    let mut source = start(&server, &config).await;
    sync(&server, &mut source, 10_000).await;
    signal(&server, "1", "execute-snapshot", json!({"data-collections": ["public.a"]})).await;
    let mut all = source.read(is_read).await;
    signal(&server, "2", "pause-snapshot", json!({})).await;
    all.extend(sync(&server, &mut source, 10_001).await);
    all.extend(sync(&server, &mut source, 10_002).await);
    let count = reads(&all).len();
    assert!(count < 3000, "{count} rows were read before it was paused");
    // It stays paused over a restart, and goes on from where it was.
    let offsets = source.stop().await;
    let mut source = Source::start_at(&server, &config, offsets).await;
    let more = sync(&server, &mut source, 10_003).await;
    // What was being read when it was paused may still come.
    all.extend(more.into_iter().filter(is_read));
    assert!(reads(&all).len() <= count + 3, "{} after {count}", reads(&all).len());
    signal(&server, "3", "resume-snapshot", json!({})).await;
    while reads(&all).len() < 100 {
        all.extend(source.read(is_read).await);
    }
    signal(&server, "4", "stop-snapshot", json!({"data-collections": ["public.a"]})).await;
    all.extend(sync(&server, &mut source, 10_004).await);
    let count = reads(&all).len();
    assert!(count < 3000);
    let ids: Vec<i64> = reads(&all).iter().map(|row| row["id"].as_i64().unwrap()).collect();
    let expected: Vec<i64> = (1..=ids.len() as i64).collect();
    assert_eq!(ids, expected, "each once, in order");
    let offsets = source.stop().await;
    assert!(offsets.iter().all(|(partition, _)| partition.get("incremental").is_none()));
    let mut source = Source::start_at(&server, &config, offsets).await;
    assert!(reads(&sync(&server, &mut source, 10_005).await).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_new_are_read_beside_the_stream() {
    let server = server().await;
    let config = [
        ("publication.autocreate.mode", "filtered"),
        ("snapshot.new.tables", "incremental"),
        ("table.include.list", "public.(a|n.*)"),
    ];
    let mut source = Source::start(&server, &config).await;
    source.take(5).await;
    sync(&server, &mut source, 100).await;
    // Created while it runs, with rows that were there before anybody looked.
    server.execute("create table new (id int primary key); insert into new values (1), (2)").await;
    let mut all = Vec::new();
    while reads(&all).len() < 2 {
        all.extend(source.read(is_read).await);
    }
    server.execute("insert into new values (3)").await;
    let created = source.read(|shown| shown.key == json!({"id": 3})).await;
    assert_eq!(created.last().unwrap().op(), "c");
    // Let through by other filters.
    let offsets = source.stop().await;
    let mut wider = config.to_vec();
    wider[2] = ("table.include.list", "public.(a|b|n.*)");
    let mut source = Source::start_at(&server, &wider, offsets).await;
    let mut all = Vec::new();
    while reads(&all).len() < 5 {
        all.extend(source.read(is_read).await);
    }
    assert!(all.iter().filter(|s| is_read(s)).all(|s| &*s.record.topic == "p.public.b"));
    let offsets = source.stop().await;
    // Without the key their changes are shown only.
    wider[1] = ("snapshot.new.tables", "none");
    server.execute("create table newer (id int primary key); insert into newer values (1)").await;
    let mut source = Source::start_at(&server, &wider, offsets).await;
    assert!(reads(&sync(&server, &mut source, 101).await).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_signals_that_is_missing_is_named() {
    let server = Server::start().await;
    server.execute("create table t (id int primary key)").await;
    let mut source = Source::start(&server, &CONFIG).await;
    let waits = source.host.clone();
    let says = waits.waits_for("CREATE TABLE public.signals");
    tokio::select! {
        () = says => {}
        shown = source.read(|_| true) => panic!("{shown:?} came"),
    }
    // Once it is there the source goes on.
    server.execute("create table signals (id int primary key, type text, data text)").await;
    let sql = "select count(*) from pg_replication_slots where active";
    source.run_until(&server, sql, |count| count == Some("1")).await;
}
