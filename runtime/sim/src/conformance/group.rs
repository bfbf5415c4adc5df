//! Groups of more than one member.

use std::collections::{BTreeMap, BTreeSet};

use towpath_core::budget::Budget;
use towpath_core::ports::{CommitOutcome, ConsumerEvent, Subscription};
use towpath_sdk::record::TopicPartition;

use super::{Bench, Failed, Outcome, Reader, ensure, produce, record, values};

/// Two members, of which the second came later.
struct Pair {
    first: Reader,
    second: Reader,
    /// What the first had to let go.
    moved: Vec<TopicPartition>,
}

/// Where a member commits that must let go.
type Upto = BTreeMap<TopicPartition, i64>;

/// Lets a second member join a first that has all of `topic`; the first commits `upto` for what it
/// must let go while it still may.
async fn hand_over(
    bench: &Bench,
    topic: &str,
    mut first: Reader,
    upto: &Upto,
) -> Result<Pair, Failed> {
    let mut second = bench.consumer("g", &[topic]).await?;
    let mut moved = Vec::new();
    let mut got = BTreeSet::new();
    loop {
        tokio::select! {
            biased;
            event = first.next() => match event? {
                ConsumerEvent::Revoking { partitions, done } => {
                    let offset = |p: &TopicPartition| upto.get(p).copied().unwrap_or(0);
                    let offsets = partitions.iter().map(|p| (p.clone(), offset(p))).collect();
                    let outcome = first.consumer.commit(offsets).await;
                    let good = matches!(outcome, CommitOutcome::Done);
                    ensure!(good, "a commit while revoking ended as {outcome:?}");
                    ensure!(got.is_empty(), "{got:?} were handed over before they were let go");
                    moved.extend(partitions);
                    drop(done);
                }
                ConsumerEvent::Batch(batch) => {
                    let old = moved.contains(&batch.topic_partition);
                    ensure!(!old, "{batch:?} came after its revocation");
                }
                ConsumerEvent::Lost { partitions } => {
                    return Err(Failed(format!("{partitions:?} were lost in a planned hand-over")));
                }
                _ => {}
            },
            event = second.next() => if let ConsumerEvent::Assigned { partitions, .. } = event? {
                got.extend(partitions);
            },
        }
        if !got.is_empty() && moved.iter().all(|p| got.contains(p)) {
            return Ok(Pair { first, second, moved });
        }
    }
}

async fn three_each(bench: &Bench, topic: &str) -> Outcome {
    let producer = bench.producer().await?;
    for n in 0..6 {
        let text = (n / 2).to_string();
        produce(&*producer, vec![record(topic, Some(n % 2), None, &text)]).await?;
    }
    Ok(())
}

/// A second member gets its share only after the first let go, and starts where the first committed.
pub(super) async fn a_second_member_takes_over(bench: Bench) -> Outcome {
    let topic = bench.topic("t", 2).await?;
    three_each(&bench, &topic).await?;
    let mut first = bench.consumer("g", &[&topic]).await?;
    first.assigned(2).await?;
    // The first has read all, but commits only the first record of each partition.
    let mut offsets: BTreeMap<TopicPartition, Vec<i64>> = BTreeMap::new();
    for batch in first.rows(6).await? {
        let rows = batch.rows.iter().map(|row| row.offset);
        offsets.entry(batch.topic_partition.clone()).or_default().extend(rows);
    }
    let upto: Upto = offsets.iter().map(|(at, rows)| (at.clone(), rows[1])).collect();
    let Pair { first, mut second, moved } = hand_over(&bench, &topic, first, &upto).await?;
    ensure!(moved.len() == 1, "{moved:?} of two partitions moved");
    second.consumer.start(moved.iter().map(|p| (p.clone(), None)).collect()).await?;
    let batch = second.rows(1).await?;
    let start = batch.iter().flat_map(|b| &b.rows).next().map_or(0, |row| row.offset);
    let expect = upto.get(&moved[0]).copied().unwrap_or_default();
    ensure!(start == expect, "the second starts at {start}, though {expect} was committed");
    // The first leaves: the second gets the rest.
    first.consumer.close().await;
    let (rest, _) = second.assigned(1).await?;
    ensure!(!moved.contains(&rest[0]), "{rest:?} came twice");
    Ok(())
}

/// What is produced to a revoked partition goes to the new member alone, and epochs tell assignments
/// apart.
pub(super) async fn nothing_comes_after_revocation(bench: Bench) -> Outcome {
    let topic = bench.topic("t", 2).await?;
    three_each(&bench, &topic).await?;
    let mut first = bench.consumer("g", &[&topic]).await?;
    let (_, epoch) = first.assigned(2).await?;
    let batch = first.batch().await?;
    ensure!(batch.epoch == epoch, "{:?} under the assignment {epoch:?}", batch.epoch);
    let Pair { mut first, mut second, moved } =
        hand_over(&bench, &topic, first, &Upto::new()).await?;
    second.consumer.start(moved.iter().map(|p| (p.clone(), None)).collect()).await?;
    let producer = bench.producer().await?;
    for partition in 0..2 {
        produce(&*producer, vec![record(&topic, Some(partition), None, "new")]).await?;
    }
    let mut new = 0;
    while new < 1 {
        let batch = first.batch().await?;
        ensure!(!moved.contains(&batch.topic_partition), "{batch:?} came after its revocation");
        new += values(&[batch]).iter().filter(|v| *v == "new").count();
    }
    // Back again: a new epoch.
    second.consumer.close().await;
    let (again, later) = first.assigned(1).await?;
    ensure!(again == moved, "{again:?} came back instead of {moved:?}");
    ensure!(later > epoch, "the epoch {later:?} of the new assignment is not above {epoch:?}");
    let batch = first.batch().await?;
    ensure!(batch.epoch == later, "{batch:?} carries {:?}, not {later:?}", batch.epoch);
    Ok(())
}

/// A pattern takes whole names, and topics that are created later.
pub(super) async fn a_pattern_finds_later_topics(bench: Bench) -> Outcome {
    let early = bench.topic("early", 1).await?;
    bench.topic("early.not", 1).await?;
    let pattern = format!("{}-(early|late)", bench.prefix);
    let mut reader =
        bench.subscriber("g", Subscription::Pattern(pattern), Budget::new(1 << 20)).await?;
    let (got, _) = reader.assigned(1).await?;
    ensure!(got == [TopicPartition::new(early.as_str(), 0)], "{got:?} are assigned");
    let late = bench.topic("late", 1).await?;
    loop {
        match reader.next().await? {
            ConsumerEvent::Assigned { partitions, .. } => {
                let fresh = TopicPartition::new(late.as_str(), 0);
                ensure!(partitions == [fresh], "{partitions:?} came for {late}");
                return Ok(());
            }
            ConsumerEvent::Batch(_) => {}
            other => return Err(Failed(format!("{other:?} came instead of {late}"))),
        }
    }
}
