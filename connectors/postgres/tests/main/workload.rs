//! What people do to a database, at random, in transactions that interleave; and the server's own log of
//! it, as `test_decoding` tells it.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::SinkExt as _;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::harness::{Event, Rng};
use crate::server::Server;

/// Every change sets `rev` to a number that no other change has.
pub(crate) const TABLES: &str = "
    create sequence revs;
    create table plain (
        id int primary key, rev bigint not null default nextval('revs'), k int not null default 0,
        a int, note text, big text);
    create table whole (like plain including defaults, primary key (id));
    alter table whole replica identity full;
    create table indexed (like plain including defaults);
    create unique index indexed_id on indexed (id);
    alter table indexed replica identity using index indexed_id;
    create table bag (id int, rev bigint not null default nextval('revs'), note text, big text);
    alter table bag replica identity full;
    create table log (id int, rev bigint not null default nextval('revs'), note text);
    create table parts (
        id int, rev bigint not null default nextval('revs'), k int not null default 0, a int,
        note text, big text, primary key (id, k)) partition by list (k);
    create table parts_0 partition of parts for values in (0);
    create table parts_1 partition of parts for values in (1);
    create table hidden (id serial primary key, rev bigint not null default nextval('revs'));
    create table sync (rev bigint primary key);
    alter table plain alter big set storage external;
    alter table whole alter big set storage external;
    alter table indexed alter big set storage external;
    alter table bag alter big set storage external;
    alter table parts_0 alter big set storage external;
    alter table parts_1 alter big set storage external;
    create publication everything for all tables;
    insert into plain (id, a, note, big) select n, n, 'old', repeat(md5(n::text), 150) from generate_series(1, 30) n;
    insert into whole (id, a, note, big) select n, n, 'old', repeat(md5(n::text), 150) from generate_series(1, 30) n;
    insert into indexed (id, a, note, big) select n, n, 'old', repeat(md5(n::text), 150) from generate_series(1, 30) n;
    insert into parts (id, k, a, note, big) select n, n % 2, n, 'old', repeat(md5(n::text), 150) from generate_series(1, 30) n;
    insert into bag (id, note, big) select n, 'old', repeat(md5(n::text), 150) from generate_series(1, 30) n;
    insert into log (id, note) select n, 'old' from generate_series(1, 30) n;";

/// Where the server keeps its own log for us.
pub(crate) const ORACLE: &str =
    "select pg_create_logical_replication_slot('oracle', 'test_decoding')";

/// Tables with rows that are updated and deleted.
const KEYED: [&str; 4] = ["plain", "whole", "indexed", "parts"];

/// One of two people.
struct Person {
    client: Client,
    is_open: bool,
    savepoints: usize,
}

/// Does something to the database.
pub(crate) struct Workload {
    people: [Person; 2],
    rng: Rng,
    next_id: usize,
    /// What DDL has made of the tables.
    extra: BTreeSet<String>,
    ddl: usize,
}

impl Workload {
    pub(crate) async fn new(server: &Server, seed: u64) -> Self {
        let person = |client| Person { client, is_open: false, savepoints: 0 };
        Self {
            people: [person(server.client().await), person(server.client().await)],
            rng: Rng::new(seed),
            next_id: 1000,
            extra: BTreeSet::new(),
            ddl: 0,
        }
    }

    /// One more thing.
    pub(crate) async fn step(&mut self) {
        let who = self.rng.below(2);
        let is_alone = !self.people[1 - who].is_open;
        if !self.people[who].is_open {
            if self.rng.chance(70) {
                self.run(who, "begin").await;
                self.people[who].is_open = true;
                return;
            }
        } else if self.rng.chance(25) {
            let end = if self.rng.chance(80) { "commit" } else { "rollback" };
            self.end(who, end).await;
            return;
        }
        if is_alone && self.rng.chance(8) {
            self.change_shape(who).await;
            return;
        }
        self.change(who, is_alone).await;
    }

    async fn end(&mut self, who: usize, how: &str) {
        self.run(who, how).await;
        self.people[who].is_open = false;
        self.people[who].savepoints = 0;
    }

    /// Ends what is open.
    pub(crate) async fn finish(&mut self) {
        for who in 0..2 {
            if self.people[who].is_open {
                self.end(who, "commit").await;
            }
        }
    }

    async fn run(&self, who: usize, sql: &str) {
        let done = self.people[who].client.batch_execute(sql).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Ids of rows of `who`: nobody waits for a row of the other's.
    fn fresh(&mut self, who: usize, count: usize) -> (usize, usize) {
        let first = self.next_id + (self.next_id + who) % 2;
        self.next_id = first + 2 * count;
        (first, first + 2 * (count - 1))
    }

    async fn change(&mut self, who: usize, is_alone: bool) {
        let table = *self.rng.pick(&KEYED);
        let size = 90 + self.rng.below(190);
        let from = self.rng.below(self.next_id + 50);
        let upto = from + 1 + self.rng.below(60);
        let some = format!("id % 2 = {who} and id between {from} and {upto}");
        let any = if self.rng.chance(30) { format!("id % 2 = {who}") } else { some };
        let k = self.rng.below(2);
        let big = format!("repeat(md5(random()::text), {size})");
        let sql = match self.rng.below(17) {
            0 | 1 => {
                let (id, _) = self.fresh(who, 1);
                format!(
                    "insert into {table} (id, k, a, note, big) values ({id}, {k}, 1, 'one', {big})"
                )
            }
            2 => {
                let count = 3 + self.rng.below(20);
                let (first, last) = self.fresh(who, count);
                format!(
                    "insert into {table} (id, k, a, note) select n, n / 2 % 2, n, 'many' \
                     from generate_series({first}, {last}, 2) n"
                )
            }
            3 | 4 => return self.copy(who).await,
            5 => format!("update {table} set a = a + 1, rev = nextval('revs') where {any}"),
            6 => format!("update {table} set big = {big}, rev = nextval('revs') where {any}"),
            7 => format!("update {table} set k = {k}, rev = nextval('revs') where {any}"),
            8 => {
                // Rows move to other keys.
                let (first, _) = self.fresh(who, 400);
                format!(
                    "update {table} t set id = {first} + 2 * o.n, rev = nextval('revs') \
                     from (select id, row_number() over () n from {table} where {any} limit 9) o \
                     where t.id = o.id"
                )
            }
            9 => format!("delete from {table} where {any}"),
            10 => {
                let (id, _) = self.fresh(who, 1);
                let old = 2 * self.rng.below(16) + who;
                let ids = format!("({id}, 0, 'up'), ({old}, 0, 'up')");
                // The other two have no unique index on this alone, or not always.
                let table = if self.rng.chance(50) { "whole" } else { "indexed" };
                format!(
                    "insert into {table} (id, k, note) values {ids} on conflict (id) do \
                     update set note = excluded.note, rev = nextval('revs')"
                )
            }
            11 => match self.rng.below(4) {
                0 => format!("delete from bag where {any}"),
                1 => format!(
                    "insert into bag (id, note) select {who}, 'n' from generate_series(1, 9)"
                ),
                2 => {
                    format!("update bag set note = note || 'x', rev = nextval('revs') where {any}")
                }
                _ => format!(
                    "insert into log (id, note) select {who}, 'n' from generate_series(1, 9)"
                ),
            },
            12 => "insert into hidden select from generate_series(1, 5)".to_owned(),
            13 => {
                let transactional = self.rng.chance(60);
                format!(
                    "select pg_logical_emit_message({transactional}, 'm', nextval('revs')::text)"
                )
            }
            14 if is_alone && !self.people[who].is_open && self.rng.chance(40) => (*self
                .rng
                .pick(&["truncate plain, log", "truncate whole", "truncate bag, indexed, hidden"]))
            .to_owned(),
            _ => {
                let person = &mut self.people[who];
                match (person.is_open, person.savepoints) {
                    (false, _) => return,
                    (true, depth) if depth > 0 && self.rng.chance(60) => {
                        person.savepoints -= 1;
                        let how = if self.rng.chance(60) { "rollback to" } else { "release" };
                        format!("{how} s{depth}")
                    }
                    (true, depth) => {
                        person.savepoints += 1;
                        format!("savepoint s{}", depth + 1)
                    }
                }
            }
        };
        self.run(who, &sql).await;
    }

    /// Rows that share an LSN.
    async fn copy(&mut self, who: usize) {
        let table = *self.rng.pick(&["plain", "whole", "indexed", "parts", "bag", "log"]);
        let count = 100 + self.rng.below(300);
        let (first, _) = self.fresh(who, count);
        let lines: String = (0..count).map(|n| format!("{}\tcopied\n", first + 2 * n)).collect();
        let sql = format!("copy {table} (id, note) from stdin");
        let sink = self.people[who].client.copy_in(&sql).await.unwrap();
        let mut sink = std::pin::pin!(sink);
        sink.send(Bytes::from(lines)).await.unwrap();
        sink.finish().await.unwrap();
    }

    /// DDL, after which all rows are written anew: DDL itself is not in the stream.
    async fn change_shape(&mut self, who: usize) {
        let table = *self.rng.pick(&["plain", "whole", "indexed"]);
        self.ddl += 1;
        let column = format!("x{}", self.ddl);
        let there = self.extra.iter().find(|name| name.starts_with(&format!("{table}.")));
        let there = there.cloned();
        let old = there.as_deref().and_then(|name| name.split_once('.')).map(|(_, name)| name);
        let made = format!("{table}.{column}");
        let rolled_back = !self.people[who].is_open && self.rng.chance(20);
        let (sql, gone, made) = match (self.rng.below(5), old) {
            (0, Some(old)) => {
                (format!("alter table {table} drop column {old}"), there.clone(), None)
            }
            (1, Some(old)) => (
                format!("alter table {table} rename column {old} to {column}"),
                there.clone(),
                Some(made),
            ),
            (2, _) => {
                let kind = *self.rng.pick(&["int", "bigint"]);
                (format!("alter table {table} alter a type {kind}"), None, None)
            }
            (3, _) => {
                let key = *self.rng.pick(&["id", "id, k", "k, id"]);
                let sql = format!(
                    "alter table plain drop constraint plain_pkey, add primary key ({key})"
                );
                (sql, None, None)
            }
            _ => {
                let default = *self.rng.pick(&["", "default 7", "not null default 8"]);
                (format!("alter table {table} add column {column} int {default}"), None, Some(made))
            }
        };
        let table = if sql.contains("plain") { "plain" } else { table };
        let touch = format!("update {table} set rev = nextval('revs')");
        if rolled_back {
            self.run(who, &format!("begin; {sql}; {touch}; rollback")).await;
            return;
        }
        // Whoever has a transaction open may yet undo it.
        if self.people[who].is_open {
            self.end(who, "commit").await;
        }
        match self.rng.chance(50) {
            true => self.run(who, &format!("begin; {sql}; {touch}; commit")).await,
            false => {
                self.run(who, &sql).await;
                self.run(who, &touch).await;
            }
        }
        if let Some(gone) = gone {
            self.extra.remove(&gone);
        }
        self.extra.extend(made);
    }

    /// Something that comes last; its `rev`.
    pub(crate) async fn last(&mut self) -> String {
        self.finish().await;
        let sql = "insert into sync values (nextval('revs')) returning rev::text";
        let row = self.people[0].client.query_one(sql, &[]).await.unwrap();
        row.get(0)
    }
}

/// What happened: a table, an operation and the `rev` that it set (of a delete, the row's id).
pub(crate) type Story = Vec<(String, char, String)>;

/// What the server's own log says. `via_root`: changes of partitions are their parent's.
pub(crate) async fn log(client: &Client, via_root: bool) -> Story {
    let sql = "select data from pg_logical_slot_peek_changes('oracle', null, null,
               'include-xids', '0', 'skip-empty-xacts', '1')";
    let mut story = Story::new();
    for message in client.simple_query(sql).await.unwrap() {
        let SimpleQueryMessage::Row(row) = message else { continue };
        let line = row.get(0).unwrap();
        if let Some(message) = line.strip_prefix("message: ") {
            let content = message.rsplit_once("content:").unwrap().1;
            story.push(("message".to_owned(), 'm', content.to_owned()));
            continue;
        }
        let Some(line) = line.strip_prefix("table ") else { continue };
        let (tables, rest) = line.split_once(": ").unwrap();
        let (op, row) = rest.split_once(": ").unwrap();
        for table in tables.split(", ") {
            let table = table.strip_prefix("public.").unwrap();
            let table = match table {
                "parts_0" | "parts_1" if via_root => "parts",
                other => other,
            };
            let row = row.split_once("new-tuple: ").map_or(row, |(_, new)| new);
            let value = |name: &str| {
                let start = row.find(&format!("{name}["))?;
                let value = row[start..].split_once("]:")?.1;
                Some(value.split(' ').next()?.to_owned())
            };
            let (op, value) = match op {
                "INSERT" => ('c', value("rev")),
                "UPDATE" => ('u', value("rev")),
                "DELETE" => ('d', value("id")),
                "TRUNCATE" => ('t', Some(String::new())),
                other => panic!("{other}"),
            };
            if table != "hidden" {
                story.push((table.to_owned(), op, value.unwrap()));
            }
        }
    }
    story
}

/// What a topic says of changes.
pub(crate) fn told(events: &[Event]) -> Story {
    let mut story = Story::new();
    for event in events {
        let (op, value) = match (event.op.as_str(), &event.other) {
            ("" | "r", _) | ("d", Some(_)) => continue,
            // The other half of a row that moved.
            ("c", Some(_)) | ("u", _) => ('u', event.value("rev")),
            ("c", None) => ('c', event.value("rev")),
            ("d", None) => ('d', event.value("id")),
            ("t", _) => ('t', String::new()),
            ("m", _) => ('m', event.content.clone()),
            (other, _) => panic!("{other}"),
        };
        let topic = event.topic.strip_prefix("public.").unwrap_or(&event.topic);
        story.push((topic.to_owned(), op, value));
    }
    story
}

/// Fails unless each transaction begins once, ends once, and its changes are numbered in between.
pub(crate) fn transactions_are_whole(events: &[Event]) {
    let mut open: Option<(&str, i64)> = None;
    for event in events.iter().filter(|event| event.op != "r") {
        let Some((id, place)) = &event.transaction else {
            // Tombstones do not say, and messages need not be of one.
            assert!(matches!(event.op.as_str(), "" | "m"), "no transaction: {event:?}");
            continue;
        };
        match (&event.status, open) {
            (Some((status, None)), None) if status == "BEGIN" => open = Some((id, 0)),
            (Some((status, Some(count))), Some((begun, last))) if status == "END" => {
                assert_eq!((id.as_str(), *count), (begun, last), "the end of {begun}");
                open = None;
            }
            (None, Some((begun, last))) => {
                assert_eq!((id.as_str(), *place), (begun, last + 1), "a change of {begun}");
                open = Some((begun, last + 1));
            }
            (status, open) => panic!("{status:?} of {id}, while {open:?} is open"),
        }
    }
}

/// Fails at the first difference.
#[track_caller]
pub(crate) fn same_story(told: &Story, log: &Story) {
    let differs = told.iter().zip(log).position(|(a, b)| a != b);
    if let Some(at) = differs.or((told.len() != log.len()).then(|| told.len().min(log.len()))) {
        let around = |story: &Story| {
            format!(
                "{:?}",
                &story[at.saturating_sub(3).min(story.len())..(at + 4).min(story.len())]
            )
        };
        panic!(
            "change {at} of {} is another in the topic, which has {}:\n log  {}\n told {}",
            log.len(),
            told.len(),
            around(log),
            around(told)
        );
    }
}
