//! The stream of changes, from the socket to messages.

use std::time::Duration;

use towpath_connector_postgres::lsn::Lsn;
use towpath_connector_postgres::pgoutput::{
    Column, Insert, Message, Old, ReplicaIdentity, Tuple, Xid, parse,
};
use towpath_connector_postgres::wire::{Connection, Frame, NewSlot, Result, Stream};
use towpath_sdk::error::Action;

use crate::server::{Options, Server, Stop};

const PLAIN: &[(&str, &str)] =
    &[("proto_version", "1"), ("publication_names", "\"p\""), ("messages", "true")];

/// Publishes all tables and makes a slot, `s`.
async fn prepare(server: &Server, sql: &str) {
    server.execute("CREATE PUBLICATION p FOR ALL TABLES").await;
    server.execute(sql).await;
    let mut connection = Connection::connect(&server.target("postgres")).await.unwrap();
    let slot = NewSlot {
        name: "s",
        plugin: "pgoutput",
        temporary: false,
        export_snapshot: false,
        failover: false,
    };
    connection.create_slot(&slot).await.unwrap();
    connection.close().await;
}

async fn stream(server: &Server, options: &[(&str, &str)]) -> Stream {
    let connection = Connection::connect(&server.target("postgres")).await.unwrap();
    connection.start_replication("s", Lsn::ZERO, options).await.unwrap()
}

/// All messages up to the one that is the `last`; keep-alives are answered.
async fn messages(stream: &mut Stream, last: impl Fn(&Message) -> bool) -> Vec<Message> {
    let mut found = Vec::new();
    let mut in_stream = false;
    loop {
        match stream.next().await.unwrap() {
            Frame::Wal { data, .. } => {
                let message = parse(&data, in_stream).unwrap();
                match message {
                    Message::StreamStart(_) => in_stream = true,
                    Message::StreamStop => in_stream = false,
                    _ => {}
                }
                let is_last = last(&message);
                found.push(message);
                if is_last {
                    return found;
                }
            }
            Frame::KeepAlive { reply_requested: true, .. } => {
                stream.send_status(Lsn(1), Lsn(1), Lsn(1), false).await.unwrap();
            }
            Frame::KeepAlive { .. } => {}
        }
    }
}

fn is_commit(message: &Message) -> bool {
    matches!(message, Message::Commit(_))
}

/// A row as text: `-` for null, `~` for a value that did not change.
fn row(tuple: &Tuple) -> String {
    let column = |column| match column {
        Column::Null => "-".to_owned(),
        Column::Unchanged => "~".to_owned(),
        Column::Text(text) if text.len() > 100 => format!("{} bytes", text.len()),
        Column::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
        Column::Binary(bytes) => format!("{bytes:?}"),
    };
    tuple.columns().map(column).collect::<Vec<_>>().join(" ")
}

fn old(old: &Old) -> String {
    match old {
        Old::Key(tuple) => format!("key {}", row(tuple)),
        Old::Row(tuple) => format!("row {}", row(tuple)),
    }
}

/// What happened, a line for each message that is about rows.
fn story(messages: &[Message]) -> Vec<String> {
    let line = |message: &Message| match message {
        Message::Relation(r) => {
            let column = |c: &towpath_connector_postgres::pgoutput::RelationColumn| {
                format!("{}{}:{}", if c.is_key { "*" } else { "" }, c.name, c.type_oid)
            };
            let columns: Vec<_> = r.columns.iter().map(column).collect();
            let identity = r.replica_identity;
            format!("{}.{} {identity:?} {}", r.namespace, r.name, columns.join(" "))
        }
        Message::Insert(m) => format!("insert {}", row(&m.new)),
        Message::Update(m) => match &m.old {
            Some(before) => format!("update {} -> {}", old(before), row(&m.new)),
            None => format!("update {}", row(&m.new)),
        },
        Message::Delete(m) => format!("delete {}", old(&m.old)),
        Message::Truncate(m) => {
            format!("truncate {} {} {}", m.relations.len(), m.cascade, m.restart_identity)
        }
        Message::Logical(m) => {
            format!("{} {} {:?}", m.transactional, m.prefix, m.content)
        }
        Message::Type(m) => format!("type {}.{}", m.namespace, m.name),
        Message::Begin(_) => "begin".to_owned(),
        Message::Commit(_) => "commit".to_owned(),
        other => format!("{other:?}"),
    };
    messages.iter().map(line).collect()
}

#[tokio::test]
async fn each_kind_of_change() {
    let server = Server::start().await;
    let sql = "CREATE TYPE mood AS ENUM ('good');
               CREATE TABLE t (id int PRIMARY KEY, v text, big text);
               ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
               CREATE TABLE f (a int, m mood); ALTER TABLE f REPLICA IDENTITY FULL";
    prepare(&server, sql).await;
    let changes = "INSERT INTO t VALUES (1, 'one', repeat('x', 10000)), (2, '', NULL);
                   UPDATE t SET v = 'eins' WHERE id = 1;
                   UPDATE t SET id = 3 WHERE id = 2;
                   DELETE FROM t WHERE id = 3;
                   INSERT INTO f VALUES (1, 'good');
                   UPDATE f SET a = 2;
                   DELETE FROM f;
                   SELECT pg_logical_emit_message(true, 'us', 'hello');
                   TRUNCATE t, f RESTART IDENTITY CASCADE";
    server.execute(changes).await;
    let mut stream = stream(&server, PLAIN).await;
    let found = messages(&mut stream, is_commit).await;
    let full = format!("public.f Full *a:23 *m:{}", mood(&found));
    assert_eq!(
        story(&found),
        [
            "begin",
            "public.t Default *id:23 v:25 big:25",
            "insert 1 one 10000 bytes",
            "insert 2  -",
            "update 1 eins ~",
            "update key 2 - - -> 3  -",
            "delete key 3 - -",
            "type public.mood",
            &full,
            "insert 1 good",
            "update row 1 good -> 2 good",
            "delete row 2 good",
            "true us b\"hello\"",
            // Tables are described once more: they have other files.
            "public.t Default *id:23 v:25 big:25",
            "type public.mood",
            &full,
            "truncate 2 true true",
            "commit",
        ]
    );
    let (Some(Message::Begin(begin)), Some(Message::Commit(commit))) =
        (found.first(), found.last())
    else {
        panic!("no transaction: {found:?}")
    };
    assert_eq!(begin.commit_lsn, commit.commit_lsn);
    assert!(commit.end_lsn > commit.commit_lsn);
    assert_eq!(begin.committed_at_us, commit.committed_at_us);
    let now = server.value("SELECT (extract(epoch FROM now()) * 1e6)::bigint").await.unwrap();
    let age = now.parse::<i64>().unwrap() - commit.committed_at_us;
    assert!((0..60_000_000).contains(&age), "{age}");
    stream.finish(Duration::from_secs(20)).await.unwrap();
}

/// The oid of the last column of the relation with a full identity.
fn mood(messages: &[Message]) -> u32 {
    let full = messages.iter().find_map(|message| match message {
        Message::Relation(r) if r.replica_identity == ReplicaIdentity::Full => r.columns.last(),
        _ => None,
    });
    full.unwrap().type_oid
}

#[tokio::test]
async fn values_may_be_binary() {
    let server = Server::start().await;
    prepare(&server, "CREATE TABLE t (id int, v text)").await;
    server.execute("INSERT INTO t VALUES (258, 'ab')").await;
    let options = [PLAIN, &[("binary", "true")]].concat();
    let mut stream = stream(&server, &options).await;
    let found = story(&messages(&mut stream, is_commit).await);
    assert_eq!(found[2], "insert [0, 0, 1, 2] [97, 98]");
}

#[tokio::test]
async fn transactions_are_streamed_before_they_end() {
    let server = Server::start_with(Options {
        settings: &[("logical_decoding_work_mem", "64kB")],
        ..Options::default()
    })
    .await;
    prepare(&server, "CREATE TABLE t (id int PRIMARY KEY, v text)").await;
    let options = [("proto_version", "2"), ("publication_names", "\"p\""), ("streaming", "on")];
    let mut stream = stream(&server, &options).await;
    let rows = |from: u32, to: u32| {
        format!("INSERT INTO t SELECT i, 'row' FROM generate_series({from}, {to}) i;")
    };
    let transaction = [
        "BEGIN;",
        &rows(1, 5000),
        "SAVEPOINT a;",
        &rows(5001, 10_000),
        "ROLLBACK TO a;",
        &rows(10_001, 12_000),
        "COMMIT;",
    ];
    server.execute(&transaction.concat()).await;
    let found = messages(&mut stream, |m| matches!(m, Message::StreamCommit(_))).await;

    let Some(Message::StreamStart(first)) = found.first() else { panic!("{:?}", found[0]) };
    assert!(first.first);
    let starts = found.iter().filter(|m| matches!(m, Message::StreamStart(_))).count();
    let stops = found.iter().filter(|m| matches!(m, Message::StreamStop)).count();
    assert!(starts > 1 && starts == stops, "{starts} {stops}");
    let aborted: Vec<Xid> = found
        .iter()
        .filter_map(|message| match message {
            Message::StreamAbort(abort) => {
                assert!(abort.xid == first.xid && abort.aborted.is_none());
                Some(abort.subxid)
            }
            _ => None,
        })
        .collect();
    assert!(aborted.len() == 1 && aborted[0] != first.xid, "{aborted:?}");
    let inserted = |wanted: &dyn Fn(Xid) -> bool| {
        let is_wanted = |m: &&Message| matches!(m, Message::Insert(Insert { xid: Some(xid), .. }) if wanted(*xid));
        found.iter().filter(is_wanted).count()
    };
    assert!(inserted(&|xid| xid == aborted[0]) > 0);
    assert_eq!(inserted(&|xid| xid != aborted[0]), 7000);
    let Some(Message::StreamCommit(commit)) = found.last() else { unreachable!() };
    assert_eq!(commit.xid, first.xid);

    // One that is rolled back, all of it.
    server.execute(&format!("BEGIN; {} ROLLBACK", rows(20_001, 25_000))).await;
    server.execute(&rows(30_001, 30_001)).await;
    let found = messages(&mut stream, is_commit).await;
    let whole = |m: &Message| matches!(m, Message::StreamAbort(a) if a.xid == a.subxid);
    assert!(found.iter().any(whole));
}

#[tokio::test]
async fn keep_alives_keep_alive() {
    let settings = [("wal_sender_timeout", "1s")];
    let server = Server::start_with(Options { settings: &settings, ..Options::default() }).await;
    prepare(&server, "CREATE TABLE t (id int)").await;
    let mut stream = stream(&server, PLAIN).await;
    server.execute("INSERT INTO t VALUES (1)").await;
    let found = messages(&mut stream, is_commit).await;
    let Some(Message::Commit(commit)) = found.last() else { unreachable!() };
    let end = commit.end_lsn;
    stream.send_status(end, end, end, true).await.unwrap();

    // The server asks after half of its timeout: four times are two timeouts.
    let mut asked = 0;
    while asked < 4 {
        match stream.next().await.unwrap() {
            Frame::KeepAlive { end: at, reply_requested, .. } => {
                assert!(at >= end);
                asked += u32::from(reply_requested);
                if reply_requested {
                    stream.send_status(end, end, end, false).await.unwrap();
                }
            }
            Frame::Wal { data, .. } => panic!("nothing happened: {data:?}"),
        }
    }
    let sql = "SELECT confirmed_flush_lsn FROM pg_replication_slots";
    assert_eq!(server.value(sql).await.unwrap().parse(), Ok(end));

    // Without an answer it ends.
    let error = loop {
        if let Err(error) = stream.next().await {
            break error;
        }
    };
    assert_eq!(error.kind().action(), Action::Retry, "{error}");
}

#[tokio::test]
async fn a_row_of_fifty_megabytes() {
    let server = Server::start().await;
    prepare(&server, "CREATE TABLE t (v text); ALTER TABLE t ALTER v SET STORAGE EXTERNAL").await;
    let length = 50 * 1024 * 1024;
    server.execute(&format!("INSERT INTO t VALUES (repeat('x', {length})), ('next')")).await;
    let mut stream = stream(&server, PLAIN).await;
    let found = messages(&mut stream, is_commit).await;
    assert_eq!(story(&found)[2..], [&format!("insert {length} bytes"), "insert next", "commit"]);
}

#[tokio::test]
async fn many_frames_at_a_time() {
    let server = Server::start().await;
    prepare(&server, "CREATE TABLE t (id int)").await;
    server.execute("INSERT INTO t SELECT generate_series(1, 20000)").await;
    let mut stream = stream(&server, PLAIN).await;
    let mut rows = 0;
    while rows < 20_000 {
        let mut next = Some(stream.next().await.unwrap());
        while let Some(frame) = next {
            if let Frame::Wal { data, .. } = frame
                && matches!(parse(&data, false).unwrap(), Message::Insert(_))
            {
                rows += 1;
            }
            next = stream.try_next().unwrap();
        }
    }
    assert_eq!(rows, 20_000);
}

/// Reads until an error, and confirms all that comes.
async fn drain(mut stream: Stream) -> Result<()> {
    loop {
        let (Frame::Wal { end, .. } | Frame::KeepAlive { end, .. }) = stream.next().await?;
        stream.send_status(end, end, end, false).await?;
    }
}

#[tokio::test]
async fn a_server_that_is_stopped_is_retried() {
    let mut server = Server::start().await;
    prepare(&server, "CREATE TABLE t (id int)").await;
    let mut first = stream(&server, PLAIN).await;
    server.execute("INSERT INTO t VALUES (1)").await;
    messages(&mut first, is_commit).await;
    server.stop(Stop::Immediate).await;
    let error = drain(first).await.unwrap_err();
    assert_eq!(error.kind().action(), Action::Retry, "{error}");
    let error = Connection::connect(&server.target("postgres")).await.unwrap_err();
    assert_eq!(error.kind().action(), Action::Retry, "{error}");

    // Nothing was confirmed: it comes again.
    server.restart(Stop::Fast).await;
    let mut second = stream(&server, PLAIN).await;
    let found = messages(&mut second, is_commit).await;
    assert_eq!(story(&found)[2], "insert 1");

    let drained = tokio::spawn(drain(second));
    server.stop(Stop::Fast).await;
    let error = drained.await.unwrap().unwrap_err();
    assert_eq!(error.kind().action(), Action::Retry, "{error}");
    assert!(error.to_string().starts_with("read the changes of PostgreSQL at 127.0.0.1:"));
}
