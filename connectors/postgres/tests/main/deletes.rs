//! Deletes that no log tells of any more: what is found by comparing keys, what is not and said, and
//! that no row is deleted which is there.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::harness::{Event, ROOM, Reader};
use crate::insurance::{drop_slot, drop_slot_under, field, goes_on, knows, wrong};
use crate::rebuilt::Tables;
use crate::server::Server;

const SETUP: &str = "create table t (id int primary key, v int, pad text);
    create publication dbz_publication for all tables;
    insert into t select n, 0, 'x' from generate_series(1, 3000) n";

/// A reader that has read the snapshot and some changes.
async fn reader(server: &Server, more: &[(&str, &str)], schemas: bool) -> Reader {
    let mut reader = Reader::new(server, more, 1).await;
    reader.set("slot.loss.policy", "backfill");
    reader.keep_topics(schemas);
    reader.start().await;
    reader.read_until(Reader::is_snapshot_done).await;
    goes_on(&mut reader, server, 1).await;
    knows(&mut reader, server, 1).await;
    reader
}

/// The task is killed, the slot is dropped, and `sql` is run before the task starts again.
async fn lose(reader: &mut Reader, server: &Server, sql: &str) -> usize {
    reader.crash().await;
    drop_slot(server).await;
    server.execute(sql).await;
    let before = reader.once.len();
    reader.start().await;
    before
}

async fn is_mended(reader: &mut Reader, server: &Server, v: i32) {
    reader.read_until(|reader| reader.host.counted("slot_losses") == 1).await;
    reader.read_until(Reader::is_snapshot_done).await;
    goes_on(reader, server, v).await;
}

/// The deletes among `events`, as `topic:id`, or what else the key is.
fn deletes(events: &[Event]) -> Vec<String> {
    let of = |event: &Event| {
        let key = event.key.as_ref().unwrap();
        let key = match key.contains_key("id") {
            true => event.value("id"),
            false => format!("{:?}", key.values().collect::<Vec<_>>()),
        };
        format!("{}:{key}", event.topic)
    };
    events.iter().filter(|event| event.op == "d").map(of).collect()
}

fn as_set(deletes: &[String]) -> BTreeSet<&str> {
    let set: BTreeSet<&str> = deletes.iter().map(String::as_str).collect();
    assert_eq!(set.len(), deletes.len(), "one comes twice: {deletes:?}");
    set
}

fn label(reader: &Reader) -> Option<String> {
    let offset = reader.offset().unwrap();
    let tables = offset.get("missing_deletes_tables").and_then(|tables| tables.as_str());
    assert_eq!(offset.get("missing_deletes_from").is_some(), tables.is_some());
    tables.map(str::to_owned)
}

fn says_that_nothing_is_missing(reader: &Reader) {
    assert_eq!(label(reader), None);
    assert_eq!(reader.host.gauge("missing_deletes", &[]), Some(0));
    assert_eq!(reader.host.learnt_guarantee(), None);
}

/// Rows that were deleted, moved to another key, deleted and inserted again, truncated; keys of many
/// types, of masked columns, of partitions; with schemas in the topics and without; a table without a key.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_deleted_meanwhile_are_found() {
    for schemas in [false, true] {
        let server = Server::start().await;
        server.execute(SETUP).await;
        let more = "
            create table k (id int, n numeric(20, 4), at timestamptz, day date, name text, u uuid, b bytea, ok bool,
                f float8, e interval, primary key (id, n, at, day, name, u, b, ok, f, e));
            insert into k select n, n * 1.25, '2026-01-01'::timestamptz + n * '1 s'::interval, '2026-01-01'::date + n,
                'nämë \"' || n, md5(n::text)::uuid, decode(md5(n::text), 'hex'), n % 2 = 0, n / 3.0, n * '1 min'::interval
              from generate_series(1, 100) n;
            create table cut (id bigint primary key);
            insert into cut select generate_series(1, 20);
            create table parts (id int primary key, v text) partition by range (id);
            create table parts_low partition of parts for values from (0) to (50);
            create table parts_high partition of parts for values from (50) to (1000);
            insert into parts select n, 'x' from generate_series(1, 99) n;
            create table hidden (id text primary key, v text not null);
            insert into hidden select 'h' || n, 'x' from generate_series(1, 9) n;
            create table own (id int primary key, a int, b text);
            insert into own select n, n / 2, 'b' || n from generate_series(1, 9) n;
            create table bag (id int, v int);
            alter table bag replica identity full;
            insert into bag select n, 0 from generate_series(1, 9) n";
        server.execute(more).await;
        let settings = [
            ("column.mask.with.5.chars", r"public\.hidden\.id"),
            ("message.key.columns", "public.own:a,b"),
            ("tombstones.on.delete", if schemas { "false" } else { "true" }),
        ];
        let mut reader = reader(&server, &settings, schemas).await;
        // That the topics know of.
        server
            .execute("delete from t where id between 100 and 120; delete from k where id = 1")
            .await;
        goes_on(&mut reader, &server, 3).await;
        let before = lose(
            &mut reader,
            &server,
            "delete from t where id in (7, 8, 9, 200); insert into t values (8, 5, 'back');
             update t set id = 30001 where id = 10;
             delete from k where id in (2, 50); truncate cut; insert into cut values (20), (21);
             delete from parts where id in (5, 60); delete from hidden where id = 'h4'; delete from bag where id = 3; delete from own where id = 4; update own set b = 'c' where id = 5",
        )
        .await;
        is_mended(&mut reader, &server, 4).await;
        assert_eq!(label(&reader).as_deref(), Some("public.bag (it has no key)"));
        let found = deletes(&reader.once[before..]);
        let cut = (1..=19).map(|id| format!("public.cut:{id}"));
        let mut expect: BTreeSet<String> = cut.collect();
        expect.extend([7, 9, 200, 10].map(|id| format!("public.t:{id}")));
        expect.extend([2, 50].map(|id| format!("public.k:{id}")));
        expect.insert("public.parts_low:5".to_owned());
        expect.insert("public.parts_high:60".to_owned());
        expect.insert("public.hidden:*****".to_owned());
        expect.extend([4, 5].map(|n| format!(r#"public.own:[Text("2"), Text("b{n}")]"#)));
        assert_eq!(
            as_set(&found),
            expect.iter().map(String::as_str).collect(),
            "schemas: {schemas}"
        );
        let client = server.client().await;
        let rebuilt = Tables::of(&reader.once);
        for table in ["t", "cut"] {
            let wrong = rebuilt
                .differences(&format!("public.{table}"), &client, &format!("select * from {table}"))
                .await;
            assert!(wrong.is_empty(), "{wrong:?}");
        }
        // A delete and a tombstone each, before the rows, as a snapshot's.
        let came = &reader.once[before..];
        let first_row = came.iter().position(|event| event.op == "r").unwrap();
        let last = came.iter().rposition(|event| event.op == "d").unwrap();
        assert!(last < first_row);
        let with_tombstones = if schemas { 1 } else { 2 };
        assert!(came[..first_row].chunks(with_tombstones).all(|pair| {
            pair[0].op == "d"
                && pair[0].snapshot == "true"
                && pair.iter().skip(1).all(|other| other.op.is_empty() && other.key == pair[0].key)
        }));
        assert_eq!(reader.host.counted("deletes_found"), found.len() as u64);
        // What is not shown in a row that is there is not in what is made of a key.
        let hidden =
            came.iter().find(|event| event.topic == "public.hidden" && event.op == "d").unwrap();
        assert_eq!(format!("{:?}", hidden.key.as_ref().unwrap()["id"]), r#"Text("h4")"#);
        let guarantee = reader.host.learnt_guarantee().unwrap().to_string();
        assert!(guarantee.contains("deletes of public.bag (it has no key)"), "{guarantee}");
    }
}

/// Where all is found nothing is said to be missing, also not of an earlier loss; keys are compared in as
/// many passes as the memory for them takes; a killed task looks again and finds the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_is_bounded_and_survives_crashes() {
    let server = Server::start().await;
    server.execute(SETUP).await;
    server.execute("insert into t select n, 0, 'x' from generate_series(3001, 6000) n").await;
    let more = [
        ("slot.loss.keys.max.bytes", "65536"),
        ("max.batch.size", "50"),
        ("max.queue.size.in.bytes", "1000"),
    ];
    let mut reader = reader(&server, &more, false).await;
    let before = lose(&mut reader, &server, "delete from t where id % 3 = 1").await;
    let mut rounds = 0;
    while !(rounds > 0 && reader.is_snapshot_done()) {
        if rounds > 0 {
            reader.start().await;
        }
        rounds += 1;
        assert!(rounds < 20, "it does not come to an end");
        let so_far = reader.once.len();
        // Until something was found, twice; then until rows are read; then to the end. Each time more may
        // have come than that.
        let has_rows = |reader: &Reader| !reader.reads.is_empty();
        let is_over = |reader: &Reader| rounds > 1 && reader.is_snapshot_done();
        let is_enough = |reader: &Reader| match rounds {
            1 | 2 => reader.once.len() >= so_far + 200 || has_rows(reader) || is_over(reader),
            3 => has_rows(reader) || is_over(reader),
            _ => is_over(reader),
        };
        reader.read_until(is_enough).await;
        if !reader.is_snapshot_done() {
            reader.crash().await;
        }
    }
    assert!(rounds > 1, "it was never interrupted");
    goes_on(&mut reader, &server, 5).await;
    let found = deletes(&reader.once[before..]);
    assert_eq!(as_set(&found).len(), 2000);
    assert_eq!(wrong(&reader, &server).await, Vec::<String>::new());
    assert_eq!(label(&reader), None);
    assert_eq!(reader.host.gauge("missing_deletes", &[]), Some(0));
}

/// What can't be found is said: a topic without its oldest records, rows that a policy hides, keys that
/// are written in another way by now. And what is there is never deleted.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_found_is_said_and_nothing_else_is_deleted() {
    let server = Server::start().await;
    server.execute(SETUP).await;
    server
        .execute(
            "create table w (id int primary key, v int);
             insert into w select n, 0 from generate_series(1, 50) n;
             create table p (id int primary key, v int);
             insert into p select n, 0 from generate_series(1, 50) n;
             create role reader login replication superuser;
             alter role reader nosuperuser;
             grant select on all tables in schema public to reader;
             alter table p enable row level security;
             create policy half on p for select to reader using (id <= 25)",
        )
        .await;
    let more = [("database.user", "reader"), ("publication.autocreate.mode", "disabled")];
    let mut reader = reader(&server, &more, false).await;
    reader.topics.as_ref().unwrap().expire("p.public.t", 10);
    let before = lose(
        &mut reader,
        &server,
        "delete from t where id in (5, 2000); alter table w alter id type text; delete from w where id = '9'",
    )
    .await;
    is_mended(&mut reader, &server, 2).await;
    let found = deletes(&reader.once[before..]);
    assert_eq!(found, ["public.t:2000"]);
    let label = label(&reader).unwrap();
    for part in [
        "public.t (topic p.public.t has lost its oldest records)",
        "public.w (50 keys in its topics are not as the table's keys are written now)",
        "public.p (read the keys of table public.p: query would be affected by row-level security policy",
    ] {
        assert!(label.contains(part), "{label}");
    }
    assert_eq!(reader.host.gauge("missing_deletes", &[]), Some(1));
}

/// Deletes that are left out are not missed.
#[tokio::test(flavor = "multi_thread")]
async fn deletes_that_nobody_wants_are_not_looked_for() {
    let server = Server::start().await;
    server.execute(SETUP).await;
    let mut reader = reader(&server, &[("skipped.operations", "d")], true).await;
    let before = lose(&mut reader, &server, "delete from t where id = 5").await;
    is_mended(&mut reader, &server, 2).await;
    assert!(deletes(&reader.once[before..]).is_empty());
    says_that_nothing_is_missing(&reader);
    assert_eq!(field(&reader, "missing_deletes_from"), None);
}

/// What is still on its way to the topic when the loss is noticed is waited for; a second loss is another
/// search.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_on_their_way_are_found() {
    let server = Server::start().await;
    server.execute(SETUP).await;
    let mut reader = reader(&server, &[], false).await;
    for round in 0..2 {
        let id = 9000 + round;
        server.execute(&format!("insert into t values ({id}, 0, 'x')")).await;
        // Polled, and not stored.
        let is_it =
            |event: &Event| event.topic == "public.t" && event.value("id") == id.to_string();
        while !reader.has_pending(is_it) {
            reader.poll_for(ROOM, Duration::from_millis(100)).await.unwrap();
        }
        let before = reader.once.len();
        let changes = format!("delete from t where id in ({id}, {round} + 1)");
        drop_slot_under(&server, &changes).await;
        // It has noticed, and is given the time to search too early.
        let losses = round + 1;
        while reader.host.counted("slot_losses") < losses {
            reader.poll_for(ROOM, Duration::from_millis(100)).await.unwrap();
        }
        for _ in 0..10 {
            reader.poll_for(ROOM, Duration::from_millis(50)).await.unwrap();
        }
        reader.read_until(|reader| deletes(&reader.once[before..]).len() == 2).await;
        reader.read_until(Reader::is_snapshot_done).await;
        goes_on(&mut reader, &server, 10 + i32::try_from(round).unwrap()).await;
        assert_eq!(wrong(&reader, &server).await, Vec::<String>::new());
        says_that_nothing_is_missing(&reader);
        assert!(reader.stored.iter().all(|(of, _)| of.get("barrier").is_none()));
    }
}

/// Deletes that were not looked for when they were missed are as soon as somebody asks for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_label_of_an_earlier_loss_is_taken_away_by_a_later_search() {
    let server = Server::start().await;
    server.execute(SETUP).await;
    let mut reader = reader(&server, &[], true).await;
    reader.set("slot.loss.policy", "resnapshot");
    let before = lose(&mut reader, &server, "delete from t where id in (5, 6)").await;
    is_mended(&mut reader, &server, 2).await;
    assert!(deletes(&reader.once[before..]).is_empty());
    assert!(field(&reader, "missing_deletes_from").is_some());
    assert_eq!(reader.host.gauge("missing_deletes", &[]), Some(1));
    reader.crash().await;
    reader.set("slot.loss.policy", "backfill");
    reader.start().await;
    reader.read_until(|reader| deletes(&reader.once[before..]).len() == 2).await;
    goes_on(&mut reader, &server, 3).await;
    assert_eq!(wrong(&reader, &server).await, Vec::<String>::new());
    says_that_nothing_is_missing(&reader);
    assert!(reader.reads.is_empty());
}
