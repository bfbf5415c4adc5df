//! Rows with a value that can't be shown: each is handed over as refused, in its turn, and the rest goes on.

use serde_json::{Value as Json, json};

use crate::server::Server;
use crate::source::{Shown, Source};

/// 64 bits of nanoseconds end in 2262.
const ENTRIES: [(&str, &str); 4] = [
    ("time.precision.mode", "nanoseconds"),
    ("column.mask.with.5.chars", r"public\.t\.secret"),
    ("column.exclude.list", r"public\.t\.hidden"),
    ("signal.data.collection", "public.signals"),
];
const TABLES: &str = "
    create table t (id int primary key, at timestamp, secret text, hidden text, toast text);
    alter table t alter toast set storage external;
    create table bare (at timestamp, n int);
    create table signals (id serial primary key, type text not null, data text)";

/// The reason and the letter of each record that is refused.
fn refused(all: &[Shown]) -> Vec<(String, Json, Json)> {
    let refused = all.iter().filter_map(|shown| {
        let why = shown.record.refusal()?;
        assert_eq!(why.kind(), towpath_sdk::ErrorKind::Data);
        let json = |text: &Json| match text {
            Json::String(text) => serde_json::from_str(text).unwrap(),
            other => other.clone(),
        };
        let mut value: Json = json(&shown.value);
        let object = value.as_object_mut().unwrap();
        assert!(object.remove("lsn").unwrap().as_u64().unwrap() > 0);
        assert!(object.remove("ts_us").unwrap().as_u64().unwrap() > 0);
        object.remove("txId");
        Some((why.chain(), json(&shown.key), value))
    });
    refused.collect()
}

fn good(all: &[Shown]) -> Vec<(&str, i64)> {
    let good =
        all.iter().filter(|shown| shown.record.refusal().is_none() && !shown.value.is_null());
    good.map(|shown| (shown.op(), shown.key["id"].as_i64().unwrap_or(-1))).collect()
}

const WHY: &str = "decode column at: a timestamp outside of the years 1677 to 2262, which 64 bits of nanoseconds \
                   can't hold: use another time.precision.mode";

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_snapshot_and_changes_are_refused_one_by_one() {
    let server = Server::start().await;
    // The first row, and, as it was updated, the last one.
    let rows = "insert into t values (0, '2300-01-01', 'secret', 'hidden', 'toast');
                insert into t select n, '2024-01-01', 'secret', 'hidden', 'toast' from generate_series(1, 5) n;
                update t set at = '2300-01-01' where id = 2";
    server.execute(&format!("{TABLES}; {rows}")).await;
    let mut source = Source::start(&server, &ENTRIES).await;
    let all = source.take(6).await;
    let shown: Vec<_> = all.iter().filter(|shown| shown.record.refusal().is_none()).collect();
    let place = |shown: &&Shown| shown.value["source"]["snapshot"].as_str().unwrap().to_owned();
    let places: Vec<_> = shown.iter().map(place).collect();
    assert_eq!(places, ["first", "true", "true", "last"]);
    let letters = refused(&all);
    let [(_, first, _), (why, key, value)] = &*letters else { panic!("{letters:?}") };
    assert_eq!(first, &json!({"id": "0"}));
    let in_full = format!("show the row with the key {{\"id\":\"2\"}} of table public.t: {WHY}");
    assert!(why.starts_with(&in_full), "{why}");
    assert_eq!(key, &json!({"id": "2"}));
    // As its send function has it: microseconds since 2000.
    let at = format!("\\x{:016x}", 109_573_i64 * 86_400_000_000);
    let after = json!({"id": "2", "at": at, "secret": "*****", "toast": "toast"});
    assert_eq!(value["after"], after);

    // The log is told in text. What is masked or left out is not in a letter, what was not sent neither.
    server
        .execute(
            "insert into t values (6, '2300-01-01', 'secret', 'hidden', repeat('x', 10000));
             update t set secret = 'other' where id = 6;
             update t set at = '2024-01-01' where id = 6;
             update t set at = '2301-01-01', id = 7 where id = 6;
             delete from t where id = 7;
             insert into bare values ('2300-01-01', 1), ('2024-01-01', 2);
             insert into t values (8, null, null, null, null)",
        )
        .await;
    let all = source.read(|shown| shown.key["id"] == 8).await;
    assert_eq!(good(&all), [("u", 6), ("d", 7), ("c", -1), ("c", 8)]);
    let letters = refused(&all);
    let values: Vec<_> =
        letters.iter().map(|(_, key, value)| (key.clone(), value.clone())).collect();
    let toast = "x".repeat(10_000);
    let row = |id: &str, at: &str| json!({"id": id, "at": at, "secret": "*****"});
    let mut first = row("6", "2300-01-01 00:00:00");
    first["toast"] = toast.into();
    let letter = |op: &str, before: Json, after: Json, table: &str| json!({"op": op, "before": before, "after": after, "table": table});
    let expect = [
        (json!({"id": "6"}), letter("c", Json::Null, first, "public.t")),
        (json!({"id": "6"}), letter("u", Json::Null, row("6", "2300-01-01 00:00:00"), "public.t")),
        (
            json!({"id": "7"}),
            letter("u", json!({"id": "6"}), row("7", "2301-01-01 00:00:00"), "public.t"),
        ),
        (
            Json::Null,
            letter("c", Json::Null, json!({"at": "2300-01-01 00:00:00", "n": "1"}), "public.bare"),
        ),
    ];
    assert_eq!(values, expect);
    assert!(letters[3].0.starts_with("show a row without a key of table public.bare: decode"));

    // What was handed over is not handed over again, letters neither.
    let offsets = source.stop().await;
    server.execute("insert into t values (9, '2300-01-01', null, null, null), (10, null, null, null, null)").await;
    let mut source = Source::start_at(&server, &ENTRIES, offsets).await;
    let all = source.read(|shown| shown.key["id"] == 10).await;
    assert_eq!(good(&all), [("c", 10)]);
    assert_eq!(refused(&all).len(), 1);

    // Beside the stream as well: the letter of a row that is read comes once.
    server.execute("delete from t where id <> 9 and id <> 3").await;
    let signal = "insert into signals (type, data) values \
                  ('execute-snapshot', '{\"data-collections\": [\"public.t\"]}')";
    server.execute(signal).await;
    let mut all = source.read(|shown| shown.op() == "r").await;
    server.execute("insert into t values (11, null, null, null, null)").await;
    all.extend(source.read(|shown| shown.key["id"] == 11).await);
    let reads: Vec<_> = good(&all).into_iter().filter(|(op, _)| *op == "r").collect();
    assert_eq!(reads, [("r", 3)]);
    let letters = refused(&all);
    let [(_, key, value)] = &*letters else { panic!("{letters:?}") };
    assert_eq!((key, &value["op"]), (&json!({"id": "9"}), &json!("r")));
    assert_eq!(value["after"]["at"], "2300-01-01 00:00:00");

    // With the row before it, a change can't be shown because of that, either.
    let sql = "alter table t replica identity full;
               insert into t values (12, '2300-01-01', 'secret', 'hidden', null);
               update t set at = null where id = 12;
               delete from t where id = 12";
    server.execute(sql).await;
    let all = source.read(|shown| shown.op() == "d" && shown.key["id"] == 12).await;
    assert_eq!(good(&all), [("d", 12)]);
    let letters = refused(&all);
    let [(_, _, created), (_, key, updated)] = &*letters else { panic!("{letters:?}") };
    let row = |at: Json| json!({"id": "12", "at": at, "secret": "*****", "toast": null});
    assert_eq!(created["after"], row("2300-01-01 00:00:00".into()));
    assert_eq!((key, &updated["op"]), (&json!({"id": "12"}), &json!("u")));
    assert_eq!(updated["before"], row("2300-01-01 00:00:00".into()));
    assert_eq!(updated["after"], row(Json::Null));
}
