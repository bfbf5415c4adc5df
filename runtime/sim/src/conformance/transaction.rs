//! Transactions.

use std::sync::Arc;

use towpath_core::ports::{ProducerSpec, TransactionOutcome, TransactionalProducer};

use super::{Bench, Failed, Outcome, ensure, produce, record, values};

async fn writer(bench: &Bench) -> Result<Arc<dyn TransactionalProducer>, Failed> {
    Ok(bench.cluster.transactional_producer(bench.name("x"), ProducerSpec::default()).await?)
}

/// What was sent is visible in all partitions after a commit, never after an abort, and not before the
/// end; what others write behind an open transaction waits for it.
pub(super) async fn a_commit_shows_all_and_an_abort_nothing(bench: Bench) -> Outcome {
    let topic = bench.topic("t", 2).await?;
    let writer = writer(&bench).await?;
    let mut reader = bench.consumer("g", &[&topic]).await?;
    reader.assigned(2).await?;
    let both =
        |text: &str| vec![record(&topic, Some(0), None, text), record(&topic, Some(1), None, text)];

    writer.begin().await?;
    produce(&*writer, both("aborted")).await?;
    let outcome = writer.abort().await;
    ensure!(matches!(outcome, TransactionOutcome::Aborted(_)), "the abort ended as {outcome:?}");

    writer.begin().await?;
    produce(&*writer, both("committed")).await?;
    produce(&*bench.producer().await?, both("plain")).await?;
    reader.nothing_visible().await?;
    let outcome = writer.commit().await;
    ensure!(matches!(outcome, TransactionOutcome::Committed), "the commit ended as {outcome:?}");

    let mut batches = reader.rows(4).await?;
    batches.sort_by_key(|batch| batch.topic_partition.partition);
    let got = values(&batches);
    ensure!(got == ["committed", "plain", "committed", "plain"], "got {got:?}");

    writer.begin().await?;
    let outcome = writer.commit().await;
    ensure!(matches!(outcome, TransactionOutcome::Committed), "an empty one ended as {outcome:?}");
    Ok(())
}

impl super::Reader {
    /// Whether no row comes for a while; the end may move.
    async fn nothing_visible(&mut self) -> Outcome {
        let rows = async {
            loop {
                let batch = self.batch().await?;
                ensure!(batch.rows.is_empty(), "{batch:?} is visible too early");
            }
        };
        tokio::time::timeout(super::QUIET, rows).await.unwrap_or(Ok(()))
    }
}

/// A second producer with the same id fences the first, whose open transaction is aborted.
pub(super) async fn a_newer_producer_fences_the_older(bench: Bench) -> Outcome {
    let topic = bench.topic("t", 1).await?;
    let older = writer(&bench).await?;
    older.begin().await?;
    produce(&*older, vec![record(&topic, Some(0), None, "zombie")]).await?;
    let newer = writer(&bench).await?;
    newer.begin().await?;
    produce(&*newer, vec![record(&topic, Some(0), None, "alive")]).await?;
    let outcome = older.commit().await;
    ensure!(matches!(outcome, TransactionOutcome::Fenced(_)), "the zombie's commit: {outcome:?}");
    let outcome = newer.commit().await;
    ensure!(matches!(outcome, TransactionOutcome::Committed), "the commit ended as {outcome:?}");
    let mut reader = bench.consumer("g", &[&topic]).await?;
    reader.assigned(1).await?;
    let got = values(&reader.rows(1).await?);
    ensure!(got == ["alive"], "got {got:?}");
    Ok(())
}

/// The admin ends the transactions of an id and fences its producer; unknown ids are no error.
pub(super) async fn the_admin_fences(bench: Bench) -> Outcome {
    let topic = bench.topic("t", 1).await?;
    let older = writer(&bench).await?;
    older.begin().await?;
    produce(&*older, vec![record(&topic, Some(0), None, "zombie")]).await?;
    bench.admin().await?.fence(vec![bench.name("x"), bench.name("never-seen")]).await?;
    produce(&*bench.producer().await?, vec![record(&topic, Some(0), None, "after")]).await?;
    let outcome = older.commit().await;
    ensure!(matches!(outcome, TransactionOutcome::Fenced(_)), "the zombie's commit: {outcome:?}");
    let mut reader = bench.consumer("g", &[&topic]).await?;
    reader.assigned(1).await?;
    let got = values(&reader.rows(1).await?);
    ensure!(got == ["after"], "got {got:?}");
    Ok(())
}
