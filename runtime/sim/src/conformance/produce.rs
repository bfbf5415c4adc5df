//! Producing.

use std::sync::Arc;

use bytes::Bytes;
use towpath_core::ports::{OutRecord, PortErrorKind};
use towpath_formats::partitioner::partition_for_key;
use towpath_sdk::Text;

use super::{Bench, Outcome, ensure, produce, record, values};

/// Batches that were sent without waiting for receipts are in the partition in call order, and each
/// receipt reports success.
pub(super) async fn batches_arrive_in_call_order(bench: Bench) -> Outcome {
    let topic = bench.topic("t", 1).await?;
    let producer = bench.producer().await?;
    let mut receipts = Vec::new();
    let mut expect = Vec::new();
    for batch in 0..20 {
        let texts: Vec<_> = (0..10).map(|n| format!("{batch}/{n}")).collect();
        let records = texts.iter().map(|text| record(&topic, Some(0), None, text)).collect();
        receipts.push(producer.send(Arc::new(records)).await?);
        expect.extend(texts);
    }
    for receipt in receipts {
        let failures = receipt.await;
        ensure!(failures.is_empty(), "records were refused: {failures:?}");
    }
    let mut reader = bench.consumer("g", &[&topic]).await?;
    reader.assigned(1).await?;
    let got = values(&reader.rows(expect.len()).await?);
    ensure!(got == expect, "sent {expect:?}, got {got:?}");
    Ok(())
}

/// Null and empty keys, values and header values differ; headers keep order and twins; timestamps stay.
pub(super) async fn null_is_not_empty_and_headers_stay(bench: Bench) -> Outcome {
    let topic = bench.topic("t", 1).await?;
    let empty = || Some(Bytes::new());
    let full = || Some(Bytes::from_static(b"\x00\xff"));
    let mut sent = Vec::new();
    for (n, bytes) in [None, empty(), full()].into_iter().enumerate() {
        sent.push(OutRecord {
            topic: topic.as_str().into(),
            partition: Some(0),
            key: bytes.clone(),
            value: bytes.clone(),
            timestamp: Some(1_700_000_000_000 + i64::try_from(n).unwrap_or_default()),
            headers: vec![
                ("b".into(), bytes.clone()),
                ("a".into(), full()),
                ("b".into(), None),
                (Text::new(), empty()),
            ]
            .into(),
        });
    }
    produce(&*bench.producer().await?, sent.clone()).await?;
    let mut reader = bench.consumer("g", &[&topic]).await?;
    reader.assigned(1).await?;
    let batches = reader.rows(sent.len()).await?;
    let rows = batches.iter().flat_map(|batch| batch.rows.iter().map(move |row| (batch, row)));
    for ((batch, row), sent) in rows.zip(&sent) {
        let key = batch.slice(&row.key);
        ensure!(key == sent.key, "key {:?} became {key:?}", sent.key);
        let value = batch.slice(&row.value);
        ensure!(value == sent.value, "value {:?} became {value:?}", sent.value);
        ensure!(row.timestamp == sent.timestamp, "{:?} became {:?}", sent.timestamp, row.timestamp);
        let headers: Vec<_> =
            row.headers.iter().map(|h| (h.key.clone(), batch.slice(&h.value))).collect();
        ensure!(*headers == *sent.headers, "headers {:?} became {headers:?}", sent.headers);
    }
    Ok(())
}

/// A key's partition is Java's; a partition that is given counts; without either all are used.
pub(super) async fn keys_go_where_java_puts_them(bench: Bench) -> Outcome {
    const PARTITIONS: i32 = 7;
    let topic = bench.topic("t", PARTITIONS).await?;
    let producer = bench.producer().await?;
    let keys: Vec<_> = (0..60).map(|n| format!("key-{n}-é")).collect();
    let records = keys.iter().map(|key| record(&topic, None, Some(key), key)).collect();
    produce(&*producer, records).await?;
    produce(&*producer, vec![record(&topic, Some(3), Some("key-0-é"), "forced")]).await?;
    let mut reader = bench.consumer("g", &[&topic]).await?;
    reader.assigned(PARTITIONS as usize).await?;
    for batch in reader.rows(keys.len() + 1).await? {
        let partition = batch.topic_partition.partition;
        for row in &batch.rows {
            let value = batch.slice(&row.value).unwrap_or_default();
            let expect = if value == "forced" {
                3
            } else {
                partition_for_key(&value, PARTITIONS as u32).unwrap_or_default()
            };
            ensure!(
                i64::from(partition) == i64::from(expect),
                "{value:?} went to {partition}, not to {expect}"
            );
        }
    }
    Ok(())
}

/// One record that the broker does not take fails with its index, the others arrive.
pub(super) async fn a_record_too_large_fails_alone(bench: Bench) -> Outcome {
    let topic = bench.topic("t", 1).await?;
    let producer = bench.producer().await?;
    let large = "x".repeat(3 << 20);
    let batch = ["before", large.as_str(), "after"];
    let records = batch.iter().map(|text| record(&topic, Some(0), None, text)).collect();
    let failures = producer.send(Arc::new(records)).await?.await;
    let kinds: Vec<_> = failures.iter().map(|f| (f.index, f.error.kind)).collect();
    ensure!(
        kinds == [(1, PortErrorKind::TooLarge)],
        "expected one record too large, got {failures:?}"
    );
    let mut reader = bench.consumer("g", &[&topic]).await?;
    reader.assigned(1).await?;
    let got = values(&reader.rows(2).await?);
    ensure!(got == ["before", "after"], "got {got:?}");
    Ok(())
}
