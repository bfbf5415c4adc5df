//! What the configuration does to columns, as records show it.

use serde_json::json;
use towpath_sdk::schema::SchemaRef;

use crate::server::Server;
use crate::source::{Shown, Source};

fn field(shown: &Shown, block: &str, name: &str) -> SchemaRef {
    let envelope = shown.record.value.schema.clone().unwrap();
    let block = envelope.field(block).unwrap().schema.clone();
    block.field(name).unwrap().schema.clone()
}

fn of<'a>(all: &'a [Shown], topic: &str) -> Vec<&'a Shown> {
    all.iter().filter(|shown| *shown.record.topic == *topic).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_may_be_of_other_columns() {
    let server = Server::start().await;
    let sql = "create table t (id int primary key, a text not null, b text, c int);
               alter table t replica identity full;
               create table u (id int primary key, secret text);
               create table plain (x int);
               insert into t values (1, 'a', 'b', 2);
               insert into u values (7, 's');
               insert into plain values (3)";
    server.execute(sql).await;
    let entries = [
        ("message.key.columns", "public.t:b,a;(.*).plain:x"),
        ("column.exclude.list", r"public\.t\.b,public\.u\.id"),
    ];
    let mut source = Source::start(&server, &entries).await;
    let rows = source.take(3).await;
    let t = of(&rows, "p.public.t")[0];
    assert_eq!(t.key, json!({"b": "b", "a": "a"}));
    assert_eq!(t.value["after"], json!({"id": 1, "a": "a", "c": 2}));
    let names: Vec<_> =
        t.record.key.schema.as_ref().unwrap().fields().iter().map(|f| f.name.clone()).collect();
    assert_eq!(names, ["b".into(), "a".into()] as [std::sync::Arc<str>; 2]);
    assert_eq!(of(&rows, "p.public.plain")[0].key, json!({"x": 3}));
    // A column of the primary key that is left out of values is still in keys.
    let u = of(&rows, "p.public.u")[0];
    assert_eq!((&u.key, &u.value["after"]), (&json!({"id": 7}), &json!({"secret": "s"})));

    server
        .execute("update t set c = 3; update t set b = 'bb'; delete from t; update u set id = 8")
        .await;
    let changes =
        source.read(|shown| *shown.record.topic == *"p.public.u" && shown.op() == "c").await;
    let t = of(&changes, "p.public.t");
    assert_eq!((t[0].op(), &t[0].key), ("u", &json!({"b": "b", "a": "a"})));
    // Another key, though it is not shown in the value: a delete, its tombstone, and a create.
    assert_eq!((t[1].op(), &t[1].key), ("d", &json!({"b": "b", "a": "a"})));
    assert!(t[2].value.is_null());
    assert_eq!((t[3].op(), &t[3].key), ("c", &json!({"b": "bb", "a": "a"})));
    assert_eq!((t[4].op(), &t[4].key), ("d", &json!({"b": "bb", "a": "a"})));
    let u = of(&changes, "p.public.u");
    assert_eq!((u[0].op(), &u[0].key), ("d", &json!({"id": 7})));
    assert_eq!((u[2].op(), &u[2].key), ("c", &json!({"id": 8})));
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_are_masked_and_cut() {
    let server = Server::start().await;
    let sql = "create table t (id text primary key, name text, short varchar(20), long text, n int, b bytea);
               insert into t values ('key', 'test', 'test', 'abcdefgh', 5, 'abcdef'), ('other', null, null, null, 6, null)";
    server.execute(sql).await;
    let entries = [
        ("column.mask.with.3.chars", r"public\.t\.(id|n)"),
        ("column.mask.hash.SHA-256.with.salt.CzQMA0cB5K", "public.t.name,public.t.short"),
        ("column.truncate.to.4.chars", "postgres.public.t.long,public.t.b"),
    ];
    let mut source = Source::start(&server, &entries).await;
    let rows = source.take(2).await;
    let row = rows.iter().find(|row| row.value["after"]["n"] == 5).unwrap();
    let hash = "8e68c68edbbac316dfe2f6ada6b0d2d3e2002b487a985d4b7c7c82dd83b0f4d7";
    assert_eq!(
        row.value["after"],
        json!({"id": "***", "name": hash, "short": &hash[..20], "long": "abcd", "n": 5, "b": "YWJjZA=="})
    );
    assert_eq!(row.key, json!({"id": "key"}));
    assert_eq!(field(row, "after", "id").parameters["masked"], "true");
    assert_eq!(field(row, "after", "name").parameters["masked"], "true");
    assert_eq!(field(row, "after", "long").parameters["truncateLength"], "4");
    assert!(field(row, "after", "n").parameters.is_empty());
    assert!(row.record.key.schema.as_ref().unwrap().fields()[0].schema.parameters.is_empty());
    let empty = rows.iter().find(|row| row.value["after"]["n"] == 6).unwrap();
    assert_eq!(empty.value["after"]["name"], json!(null));

    server
        .execute("update t set n = 7 where id = 'key'; update t set id = 'new' where id = 'key'")
        .await;
    let changes = source.read(|shown| shown.op() == "c").await;
    assert_eq!((changes[0].op(), &changes[0].key), ("u", &json!({"id": "key"})));
    assert_eq!((changes[1].op(), &changes[1].key), ("d", &json!({"id": "key"})));
    assert_eq!(changes[1].value["before"]["id"], "***");
    assert_eq!(changes.last().unwrap().key, json!({"id": "new"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_tell_of_the_columns_types() {
    let server = Server::start().await;
    let sql = "create table t (id int primary key, a varchar(128), b numeric(5,2), c text);
               insert into t values (1, 'a', 1.25, 'c')";
    server.execute(sql).await;
    let entries = [
        ("column.propagate.source.type", r"public\.t\.(id|a)"),
        ("datatype.propagate.source.type", r".+\.NUMERIC"),
    ];
    let mut source = Source::start(&server, &entries).await;
    let rows = source.take(1).await;
    let told = |name: &str| {
        let schema = field(&rows[0], "after", name);
        let told = ["type", "length", "scale", "name"].map(|part| {
            schema.parameters.get(&format!("__debezium.source.column.{part}")).cloned()
        });
        told.map(Option::unwrap_or_default).join(" ")
    };
    assert_eq!(told("id"), "INT4 10 0 id");
    assert_eq!(told("a"), "VARCHAR 128 0 a");
    assert_eq!(told("b"), "NUMERIC 5 2 b");
    assert_eq!(told("c").trim(), "");
    assert!(rows[0].record.key.schema.as_ref().unwrap().fields()[0].schema.parameters.is_empty());
    server.execute("insert into t values (2)").await;
    let changes = source.take(1).await;
    assert_eq!(changes[0].record.value.schema, rows[0].record.value.schema);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_fit_avro() {
    let server = Server::start().await;
    let sql = "create table \"my-table ä\" (\"id.x\" int primary key, \"2nd\" int);
               insert into \"my-table ä\" values (1, 2)";
    server.execute(sql).await;
    let name =
        |schema: &Option<SchemaRef>| schema.as_ref().unwrap().name.as_deref().unwrap().to_owned();
    let plain = Source::start(&server, &[]).await.take(1).await;
    assert_eq!(*plain[0].record.topic, *"p.public.my-table__");
    assert_eq!(name(&plain[0].record.key.schema), "p.public.my-table__.Key");
    let entries = [
        ("schema.name.adjustment.mode", "avro"),
        ("field.name.adjustment.mode", "avro_unicode"),
        ("slot.name", "other"),
    ];
    let adjusted = Source::start(&server, &entries).await.take(1).await;
    assert_eq!(name(&adjusted[0].record.key.schema), "p.public.my_table__.Key");
    assert_eq!(name(&adjusted[0].record.value.schema), "p.public.my_table__.Envelope");
    assert_eq!(adjusted[0].key, json!({"id_u002ex": 1}));
    assert_eq!(adjusted[0].value["after"], json!({"id_u002ex": 1, "_u0032nd": 2}));

    server.execute("create table twins (\"a b\" int, \"a-b\" int)").await;
    let entries = [("field.name.adjustment.mode", "avro"), ("slot.name", "twins")];
    let error = Source::start(&server, &entries).await.fails().await;
    assert!(error.to_string().contains("are called a_b"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_show_nothing_are_left_out() {
    let server = Server::start().await;
    let sql = "create table t (id int primary key, shown int, hidden int);
               alter table t replica identity full;
               insert into t values (1, 1, 1)";
    server.execute(sql).await;
    let entries = [
        ("skip.messages.without.change", "true"),
        ("column.exclude.list", r"public\.t\.hidden"),
        ("provide.transaction.metadata", "true"),
        ("message.prefix.include.list", "wanted.*"),
    ];
    let mut source = Source::start(&server, &entries).await;
    source.take(1).await;
    let sql = "begin; update t set hidden = 2; update t set shown = 2; update t set hidden = 3;
               select pg_logical_emit_message(true, 'other', 'x');
               select pg_logical_emit_message(true, 'wanted', 'y'); commit";
    server.execute(sql).await;
    let changes = source.read(|shown| shown.value["status"] == "END").await;
    let ops: Vec<&str> = changes.iter().map(Shown::op).filter(|op| !op.is_empty()).collect();
    assert_eq!(ops, ["u", "m"]);
    assert_eq!(changes.last().unwrap().value["event_count"], 2);
    assert_eq!(changes[1].value["transaction"]["total_order"], 1);
    let message = changes.iter().find(|shown| shown.op() == "m").unwrap();
    assert_eq!(message.key, json!({"prefix": "wanted"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_is_shown_as_one_wishes() {
    let server = Server::start().await;
    let sql = "create table t (id int primary key, n int, big text, raw bytea);
               alter table t alter big set storage external, alter raw set storage external;
               insert into t values (1, 1, repeat('x', 10000), decode(repeat('00', 10000), 'hex'))";
    server.execute(sql).await;
    let mut ours = Source::start(&server, &[]).await;
    let entries = [("unavailable.value.placeholder", "hex:6e6f6e65"), ("slot.name", "other")];
    let mut custom = Source::start(&server, &entries).await;
    ours.take(1).await;
    custom.take(1).await;
    server.execute("update t set n = 2").await;
    let changes = ours.take(1).await;
    let towpath_sdk::value::Value::Struct(envelope) = &changes[0].record.value.value else {
        panic!("no struct");
    };
    let towpath_sdk::value::Value::Struct(after) = &envelope.values()[1] else { panic!("no row") };
    assert_eq!(after.values()[2], towpath_sdk::value::Value::Unchanged);
    let changes = custom.take(1).await;
    assert_eq!(
        changes[0].value["after"],
        json!({"id": 1, "n": 2, "big": "none", "raw": "bm9uZQ=="})
    );
    // Under FULL it is known.
    server.execute("alter table t replica identity full; update t set n = 3").await;
    let changes = custom.take(1).await;
    assert_eq!(changes[0].value["after"]["big"].as_str().map(str::len), Some(10_000));
}
