//! `datagen`.

use std::collections::HashSet;
use std::time::Duration;

use proptest::prelude::*;
use towpath_connector_datagen::DatagenConfig;
use towpath_sdk::config::{Properties, testing};
use towpath_sdk::offset::{SourceOffset, SourcePartition, StoredOffsets};
use towpath_sdk::plugin::definition_of;
use towpath_sdk::record::Record;
use towpath_sdk::source::Budget;
use towpath_sdk::value::Value;

use crate::host::{NOW, Run, plugin};

const ROOM: Budget = Budget { bytes: 1 << 20, records: 1 << 20 };

fn config(entries: &[(&str, &str)]) -> Properties {
    [("topic", "t"), ("rate", "0")].iter().chain(entries).copied().collect()
}

fn numbers(entries: &[(&str, &str)]) -> Properties {
    let mut config = config(entries);
    config.insert("field.n", "sequence()");
    config
}

async fn run(config: &Properties) -> Run {
    Run::start(config, 1, StoredOffsets::default()).await
}

fn text(record: &Record) -> &str {
    match &record.value.value {
        Value::Json(json) => json.as_str(),
        Value::String(text) => text,
        _ => "",
    }
}

/// The `n` of records made by `numbers`.
fn number(record: &Record) -> u64 {
    serde_json::from_str::<serde_json::Value>(text(record)).unwrap()["n"].as_u64().unwrap()
}

#[test]
fn every_key_is_claimed() {
    testing::assert_definition::<DatagenConfig>();
    testing::assert_every_key_is_claimed(
        definition_of::<DatagenConfig>(),
        &[
            ("topic", "records_are_json_with_key_and_time"),
            ("preset", "presets_make_what_they_say"),
            ("field.*", "records_are_json_with_key_and_time"),
            ("key.field", "records_are_json_with_key_and_time"),
            ("value.format", "values_are_json_or_text"),
            ("rate", "the_rate_is_shared_by_the_tasks"),
            ("count", "a_count_ends_it"),
            ("seed", "seeds_make_different_records"),
            ("malformed.ratio", "shares_are_malformed_and_deleted"),
            ("tombstone.ratio", "shares_are_malformed_and_deleted"),
            ("time.start", "times_can_be_fixed"),
            ("time.step.ms", "times_can_be_fixed"),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn records_are_json_with_key_and_time() {
    let config = config(&[
        ("field.id", "sequence(5)"),
        ("field.user.name", "'u{$id}'"),
        ("key.field", "user.name"),
    ]);
    let records = run(&config).await.records(2).await;
    assert_eq!(text(&records[0]), r#"{"id":5,"user":{"name":"u5"}}"#);
    assert!(matches!(records[0].value.value, Value::Json(_)));
    assert_eq!(records[1].key.value, Value::String("u6".into()));
    assert_eq!((&*records[1].topic, records[1].timestamp), ("t", Some(NOW)));
}

#[tokio::test(start_paused = true)]
async fn presets_make_what_they_say() {
    for (preset, key) in [("clicks", "user_id"), ("orders", "order_id")] {
        let records = run(&config(&[("preset", preset)])).await.records(500).await;
        for record in &records {
            let json: serde_json::Value = serde_json::from_str(text(record)).unwrap();
            assert_eq!(record.key.value.as_str(), json[key].as_str());
            assert!(record.key.value.as_str().is_some());
        }
        let distinct: HashSet<&str> = records.iter().map(text).collect();
        assert_eq!(distinct.len(), 500);
    }
    // A field of one's own in the place of the preset's, and none.
    let config = config(&[
        ("preset", "clicks"),
        ("field.event", "'own'"),
        ("field.page", ""),
        ("key.field", ""),
    ]);
    let records = run(&config).await.records(1).await;
    let json: serde_json::Value = serde_json::from_str(text(&records[0])).unwrap();
    assert_eq!((json["event"].as_str(), json.get("page")), (Some("own"), None));
    assert!(records[0].key.is_null());
}

#[tokio::test(start_paused = true)]
async fn values_are_json_or_text() {
    let records = run(&numbers(&[("value.format", "text")])).await.records(1).await;
    assert_eq!(records[0].value.value, Value::String(r#"{"n":0}"#.into()));
}

#[tokio::test(start_paused = true)]
async fn seeds_make_different_records() {
    let first = |seed: &'static str| async move {
        let config = config(&[("field.x", "hex(16)"), ("seed", seed)]);
        text(&run(&config).await.records(1).await[0]).to_owned()
    };
    assert_eq!(first("1").await, first("1").await);
    assert_ne!(first("1").await, first("2").await);
    assert_ne!(first("1").await, first("-1").await);
}

#[tokio::test(start_paused = true)]
async fn times_can_be_fixed() {
    let config = config(&[
        ("field.at", "timestamp(format: 'iso')"),
        ("time.start", "2024-01-01T00:00:00Z"),
        ("time.step.ms", "250"),
    ]);
    let records = run(&config).await.records(3).await;
    assert_eq!(text(&records[2]), r#"{"at":"2024-01-01T00:00:00.500Z"}"#);
    assert_eq!(records[2].timestamp, Some(1_704_067_200_500));
}

#[tokio::test(start_paused = true)]
async fn shares_are_malformed_and_deleted() {
    let config =
        numbers(&[("malformed.ratio", "0.1"), ("tombstone.ratio", "0.2"), ("key.field", "n")]);
    let records = run(&config).await.records(10_000).await;
    let (mut malformed, mut deleted) = (0, 0);
    for (n, record) in (0..).zip(&records) {
        assert_eq!(record.key.value, Value::Int64(n));
        match &record.value.value {
            Value::Null => deleted += 1,
            Value::Json(_) => assert_eq!(number(record), n.unsigned_abs()),
            Value::String(text) => {
                malformed += 1;
                assert!(serde_json::from_str::<serde_json::Value>(text).is_err(), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!((900..1100).contains(&malformed), "{malformed}");
    assert!((1800..2200).contains(&deleted), "{deleted}");
}

#[tokio::test(start_paused = true)]
async fn the_rate_is_shared_by_the_tasks() {
    let mut run = Run::start(&numbers(&[("rate", "100")]), 2, StoredOffsets::default()).await;
    let mut seen = Vec::new();
    for task in 0..2 {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(10_005);
        while let Ok(batch) = tokio::time::timeout_at(deadline, run.poll(task, ROOM)).await {
            seen.extend(batch.records.iter().map(number));
        }
    }
    // The second task had its backlog of a second to make up for, since it was polled late.
    assert!((1000..=1051).contains(&seen.len()), "{}", seen.len());
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), seen.len());
}

#[tokio::test(start_paused = true)]
async fn a_count_ends_it() {
    let mut run = Run::start(&numbers(&[("count", "7")]), 3, StoredOffsets::default()).await;
    let mut seen = Vec::new();
    for task in 0..3 {
        seen.extend(run.poll(task, ROOM).await.records.iter().map(number));
        let more = tokio::time::timeout(Duration::from_secs(60), run.poll(task, ROOM)).await;
        assert!(more.is_err());
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..7).collect::<Vec<_>>());
    let reason = run.host.reason.lock().unwrap().clone();
    assert_eq!(reason.as_deref(), Some("all records have been made that were asked for"));
    // Rewound, it goes on.
    run.tasks[0].rewind(&StoredOffsets::default()).await.unwrap();
    assert_eq!(*run.host.reason.lock().unwrap(), None);
    assert_eq!(run.poll(0, ROOM).await.records.len(), 3);
    let few = Run::start(&numbers(&[("count", "2")]), 3, StoredOffsets::default()).await;
    assert_eq!(few.tasks.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_batch_keeps_to_its_budget() {
    let mut run = run(&config(&[("field.x", "hex(90)")])).await;
    for (bytes, records, expect) in [(1, 9, 1), (250, 9, 2), (1000, 3, 3), (1000, 0, 1)] {
        assert_eq!(run.poll(0, Budget { bytes, records }).await.records.len(), expect);
    }
}

#[test]
fn mistakes_are_named_by_their_keys() {
    let check = |entries: &[(&str, &str)], expect: &str| {
        assert_eq!(plugin().validate(&config(entries)).to_string(), expect);
    };
    check(&[], "There are no fields: set preset, or an expression for each field.<name>");
    check(
        &[("field.a", "int(1)"), ("field.b", "nope"), ("key.field", "c")],
        "Invalid value int(1) for configuration field.a: int needs a whole number as its max\n\
         Invalid value nope for configuration field.b: expected '(' after nope (texts stand in \
         single quotes) at character 5, where the text ends\n\
         Invalid value c for configuration key.field: There is no field c",
    );
    check(
        &[("preset", "clicks"), ("malformed.ratio", "0.6"), ("tombstone.ratio", "0.6")],
        "malformed.ratio and tombstone.ratio exceed 1 together",
    );
    check(
        &[("field.a", "1"), ("tombstone.ratio", "0.1")],
        "tombstone.ratio needs key.field: a tombstone deletes a key",
    );
    check(
        &[("preset", "clicks"), ("time.start", "soon")],
        "Invalid value soon for configuration time.start: \
         Expected a time such as 2024-01-01T00:00:00Z",
    );
}

#[test]
fn offsets_are_judged() {
    let clicks = config(&[("preset", "clicks")]);
    let check = |partition: &str, offset: &str, good: bool| {
        let partition: SourcePartition = serde_json::from_str(partition).unwrap();
        let offset: Option<SourceOffset> = serde_json::from_str(offset).unwrap();
        assert_eq!(plugin().check_offset(&clicks, &partition, offset.as_ref()).is_ok(), good);
    };
    let partition = r#"{"seed":1,"task":0}"#;
    check(partition, r#"{"sequence":5}"#, true);
    check(partition, r#"{"sequence":-5}"#, false);
    check(partition, "{}", false);
    check(r#"{"x":1}"#, r#"{"sequence":5}"#, false);
    check(r#"{"x":1}"#, "null", true);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Tasks that restart after any poll make what one makes that never stops.
    #[test]
    fn a_resumed_run_equals_an_uninterrupted_one(
        steps in proptest::collection::vec((0_usize..3, 1_usize..20, any::<bool>()), 1..30),
        tasks in 1_u32..4,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let config = config(&[
                ("preset", "orders"),
                ("field.n", "sequence()"),
                ("time.start", "2024-01-01T00:00:00Z"),
                ("malformed.ratio", "0.1"),
                ("value.format", "text"),
            ]);
            let mut run = Run::start(&config, tasks, StoredOffsets::default()).await;
            let mut made: Vec<Vec<String>> = vec![Vec::new(); tasks as usize];
            for (task, records, restart) in steps {
                let task = task % tasks as usize;
                let batch = run.poll(task, Budget { bytes: 1 << 20, records }).await;
                made[task].extend(batch.records.iter().map(|r| text(r).to_owned()));
                if restart {
                    run = Run::start(&config, tasks, run.stored).await;
                }
            }
            let most = made.iter().map(Vec::len).max().unwrap_or(0) * tasks as usize;
            let all = self::run(&config).await.records(most).await;
            for (task, made) in made.iter().enumerate() {
                let expect = all.iter().skip(task).step_by(tasks as usize).map(text);
                prop_assert!(expect.take(made.len()).eq(made));
            }
            Ok(())
        })?;
    }
}
