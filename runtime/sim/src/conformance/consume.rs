//! Consuming as the only member of a group.

use std::time::Duration;

use towpath_core::budget::Budget;
use towpath_core::ports::{CommitOutcome, ConsumerEvent, ProducerSpec};
use towpath_sdk::record::TopicPartition;

use super::{Bench, Failed, Outcome, QUIET, Reader, ensure, produce, record, values};

async fn numbered(bench: &Bench, topic: &str, from: usize, upto: usize) -> Outcome {
    let producer = bench.producer().await?;
    for n in from..upto {
        produce(&*producer, vec![record(topic, Some(0), None, &n.to_string())]).await?;
    }
    Ok(())
}

fn numbers(from: usize, upto: usize) -> Vec<String> {
    (from..upto).map(|n| n.to_string()).collect()
}

/// Batches lie behind each other; the end of the last is where the log ends for a read-committed
/// reader, over markers too, and starting there repeats nothing.
pub(super) async fn a_batch_says_where_it_ends(bench: Bench) -> Outcome {
    let topic = bench.topic("t", 1).await?;
    let at = TopicPartition::new(topic.as_str(), 0);
    let writer =
        bench.cluster.transactional_producer(bench.name("x"), ProducerSpec::default()).await?;
    for n in 0..5 {
        writer.begin().await?;
        produce(&*writer, vec![record(&topic, Some(0), None, &n.to_string())]).await?;
        drop(writer.commit().await);
    }
    let ends = bench.admin().await?.topic_ends(&topic).await?;
    let &[(0, _, log_end)] = ends.as_slice() else {
        return Err(Failed(format!("the ends of one partition are {ends:?}")));
    };
    let mut reader = bench.consumer("g", &[&topic]).await?;
    reader.assigned(1).await?;
    let mut end = 0;
    let mut rows = 0;
    while end < log_end {
        let batch = reader.batch().await?;
        ensure!(batch.start() >= end, "{batch:?} begins before {end}, where the last one ended");
        let last = batch.rows.last().map_or(batch.end - 1, |row| row.offset);
        ensure!(batch.end > last, "{batch:?} ends at its last row {last} or before");
        let ascending = batch.rows.windows(2).all(|pair| pair[0].offset < pair[1].offset);
        ensure!(ascending, "offsets in {batch:?} do not ascend");
        rows += batch.rows.len();
        end = batch.end;
    }
    ensure!(end == log_end, "the last batch ended at {end}, but the log ends at {log_end}");
    ensure!(rows == 5, "5 records were sent, {rows} came");
    let heard = reader.consumer.end_offset(&at);
    ensure!(heard == Some(log_end), "the end offset is {heard:?}, but the log ends at {log_end}");
    reader.consumer.start(vec![(at, Some(end))]).await?;
    numbered(&bench, &topic, 5, 6).await?;
    let got = values(&reader.rows(1).await?);
    ensure!(got == ["5"], "after starting at the end came {got:?}");
    Ok(())
}

/// Without a commit a consumer starts at the beginning; after one, behind it.
pub(super) async fn a_commit_is_where_the_next_consumer_starts(bench: Bench) -> Outcome {
    let topic = bench.topic("t", 1).await?;
    let at = TopicPartition::new(topic.as_str(), 0);
    numbered(&bench, &topic, 0, 10).await?;
    let mut reader = bench.consumer("g", &[&topic]).await?;
    reader.assigned(1).await?;
    let batches = reader.rows(10).await?;
    let fourth = batches.iter().flat_map(|b| &b.rows).nth(4).map_or(0, |row| row.offset);
    let outcome = reader.consumer.commit(vec![(at.clone(), fourth)]).await;
    ensure!(matches!(outcome, CommitOutcome::Done), "the commit ended as {outcome:?}");
    reader.consumer.close().await;
    let stored = bench.admin().await?.group_offsets(&bench.name("g")).await?;
    let stored: Vec<_> = stored.into_iter().map(|o| (o.partition, o.offset)).collect();
    ensure!(stored == [(at, fourth)], "committed {fourth}, stored {stored:?}");

    let mut reader = bench.consumer("g", &[&topic]).await?;
    reader.assigned(1).await?;
    let got = values(&reader.rows(6).await?);
    ensure!(got == numbers(4, 10), "after the commit came {got:?}");
    Ok(())
}

/// After `start` or `halt` no batch comes that was fetched for the position before.
pub(super) async fn nothing_old_comes_after_a_move(bench: Bench) -> Outcome {
    let topic = bench.topic("t", 1).await?;
    let at = TopicPartition::new(topic.as_str(), 0);
    numbered(&bench, &topic, 0, 30).await?;
    let mut reader = bench.consumer("g", &[&topic]).await?;
    reader.assigned(1).await?;
    let first = reader.rows(30).await?;
    let offsets: Vec<_> = first.iter().flat_map(|b| &b.rows).map(|row| row.offset).collect();
    // Back and forth, each time from the middle of what may be prefetched.
    for target in [20, 3, 29, 0] {
        reader.consumer.start(vec![(at.clone(), Some(offsets[target]))]).await?;
        let got = values(&[reader.batch().await?]);
        let expect = numbers(target, target + got.len());
        ensure!(!got.is_empty() && got == expect, "moved to {target}, got {got:?}");
    }
    reader.consumer.start(vec![(at.clone(), Some(offsets[0]))]).await?;
    reader.consumer.halt(std::slice::from_ref(&at))?;
    reader.quiet().await?;
    reader.consumer.start(vec![(at, Some(offsets[10]))]).await?;
    let got = values(&reader.rows(20).await?);
    ensure!(got == numbers(10, 30), "after a halt and a start came {got:?}");
    Ok(())
}

/// While batches hold the whole budget none comes, but the group goes on.
pub(super) async fn a_full_budget_stops_fetching_and_nothing_else(bench: Bench) -> Outcome {
    let topic = bench.topic("t", 2).await?;
    let producer = bench.producer().await?;
    let text = "x".repeat(20 << 10);
    for n in 0..40 {
        produce(&*producer, vec![record(&topic, Some(n % 2), None, &text)]).await?;
    }
    let budget = Budget::new(64 << 10);
    let mut reader = bench.consumer_with("g", &[&topic], budget.clone()).await?;
    reader.assigned(2).await?;
    let mut held = Vec::new();
    while let Ok(batch) = tokio::time::timeout(QUIET, reader.batch()).await {
        held.push(batch?);
        ensure!(budget.held() <= budget.capacity(), "more is held than there is");
        let rows: usize = held.iter().map(|b| b.rows.len()).sum();
        ensure!(
            rows * text.len() <= budget.capacity(),
            "{rows} rows are held by a budget of 64 KiB"
        );
    }
    ensure!(!held.is_empty(), "no batch came at all");
    // Another member comes: this one must hear of it though it is full.
    let mut second = bench.consumer("g", &[&topic]).await?;
    let event = reader.next_while(&mut second).await?;
    let ConsumerEvent::Revoking { partitions, done } = event else {
        return Err(Failed(format!("a full member got {event:?} instead of a revocation")));
    };
    ensure!(partitions.len() == 1, "{partitions:?} of two are revoked");
    drop(done);
    held.clear();
    let more = reader.batch().await?;
    ensure!(more.topic_partition != partitions[0], "{more:?} comes after its revocation");
    Ok(())
}

impl Reader {
    /// The next event of this reader while another one is driven too.
    async fn next_while(&mut self, other: &mut Self) -> Result<ConsumerEvent, Failed> {
        loop {
            tokio::select! {
                biased;
                event = self.next() => match event? {
                    ConsumerEvent::Batch(_) => {}
                    event => return Ok(event),
                },
                event = other.next() => drop(event?),
            }
        }
    }
}

/// A record larger than the whole budget is delivered alone.
pub(super) async fn a_record_larger_than_the_budget_passes(bench: Bench) -> Outcome {
    let topic = bench.topic("t", 1).await?;
    let texts = ["a".to_owned(), "b".repeat(200 << 10), "c".to_owned()];
    let records = texts.iter().map(|text| record(&topic, Some(0), None, text)).collect();
    produce(&*bench.producer().await?, records).await?;
    let mut reader = bench.consumer_with("g", &[&topic], Budget::new(32 << 10)).await?;
    reader.assigned(1).await?;
    let mut got = Vec::new();
    while got.len() < texts.len() {
        // Each batch is dropped before the next, as it holds the budget.
        got.extend(values(&[reader.batch().await?]));
    }
    ensure!(
        got == texts,
        "got records of {:?} bytes",
        got.iter().map(String::len).collect::<Vec<_>>()
    );
    Ok(())
}

/// `next` may be dropped at any await.
pub(super) async fn dropping_next_loses_nothing(bench: Bench) -> Outcome {
    let topic = bench.topic("t", 1).await?;
    numbered(&bench, &topic, 0, 20).await?;
    let mut reader = bench.consumer("g", &[&topic]).await?;
    let mut got = Vec::new();
    let mut wait = 0;
    while got.len() < 20 {
        wait = (wait * 7 + 3) % 50;
        let next = tokio::time::timeout(Duration::from_millis(wait), reader.next());
        let Ok(event) = next.await else { continue };
        match event? {
            ConsumerEvent::Assigned { partitions, .. } => {
                let at = partitions.into_iter().map(|p| (p, None)).collect();
                reader.consumer.start(at).await?;
            }
            ConsumerEvent::Batch(batch) => got.extend(values(&[batch])),
            other => return Err(Failed(format!("{other:?} came"))),
        }
    }
    ensure!(got == numbers(0, 20), "got {got:?}");
    Ok(())
}

/// The budget is charged as long as one slice of a batch lives.
pub(super) async fn the_budget_is_held_by_slices(bench: Bench) -> Outcome {
    let topic = bench.topic("t", 1).await?;
    let text = "x".repeat(10 << 10);
    produce(&*bench.producer().await?, vec![record(&topic, Some(0), None, &text)]).await?;
    let budget = Budget::new(1 << 20);
    let mut reader = bench.consumer_with("g", &[&topic], budget.clone()).await?;
    reader.assigned(1).await?;
    let batch = reader.rows(1).await?.pop();
    let slice = batch.as_ref().and_then(|b| b.slice(&b.rows.last()?.value));
    drop(batch);
    let held = budget.held();
    ensure!(held >= text.len(), "a slice of 10 KiB is alive, but only {held} bytes are charged");
    drop(slice);
    reader.consumer.close().await;
    let held = budget.held();
    ensure!(held == 0, "nothing is alive, but {held} bytes are charged");
    Ok(())
}
