//! Runs one sink task: the I/O around [`super::ledger`].
//!
//! Duty: turn consumer events, lane reports, dead letter acks and the herder's wishes into ledger calls
//! and carry out what follows. One loop owns everything; only lanes run beside it. Lanes are built from
//! the watermark on every occasion alike: assignment, resume, and after a failure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinError};
use tokio::time::Instant;
use towpath_sdk::clock::Clock;
use towpath_sdk::context::{LaneContext, TaskContext, Waiting};
use towpath_sdk::error::{Action, Result};
use towpath_sdk::plugin::DynSinkPlugin;
use towpath_sdk::plugin::erased::DynSinkTask;
use towpath_sdk::record::{RawBatch, TopicPartition};
use towpath_sdk::sink::{Epoch, Progress, StartAt};

use super::lane::{LaneCell, LaneRun};
use super::lanes::{Lanes, Rest, RunningLane, flatten};
use super::ledger::Ledger;
use super::rejects::Rejects;
use crate::budget::Budget;
use crate::chain::Chain;
use crate::dead_letters::DeadLetters;
use crate::home::{self, Lent};
use crate::metrics::TaskMetrics;
use crate::ports::{
    Cluster, CommitOutcome, Consumer, ConsumerEvent, ConsumerSpec, PortErrorKind, ProducerSpec,
    Revoked, Subscription,
};
use crate::settings::PipelineSettings;
use crate::task::host::TaskHost;
use crate::task::status::Wait;
use crate::task::{TaskId, Wanted};

/// How often the lag is measured.
const LAG_INTERVAL: Duration = Duration::from_secs(1);
/// How long lanes that were cut off may take to end.
const LANES_END: Duration = Duration::from_secs(1);

/// All that a sink task needs.
pub struct SinkSpec {
    /// Which task.
    pub id: TaskId,
    /// The connector.
    pub plugin: Arc<dyn DynSinkPlugin>,
    /// The class name that dead letters show for what the target refused.
    pub class: Arc<str>,
    /// The connector's properties, resolved.
    pub properties: towpath_sdk::config::Properties,
    /// Converters and transforms.
    pub chain: Arc<Chain>,
    /// The framework's settings.
    pub settings: PipelineSettings,
    /// The topics.
    pub subscription: Subscription,
    /// The consumer group.
    pub group_id: String,
}

/// The client id of a task's consumer, as Connect's.
fn client_id(task: &TaskId) -> String {
    format!("connector-consumer-{task}")
}

/// Whether a consumer that shows `client_id` is one of the connector's tasks.
pub(crate) fn is_consumer_of(connector: &str, client_id: &str) -> bool {
    let task = client_id
        .strip_prefix("connector-consumer-")
        .and_then(|task| task.strip_prefix(connector)?.strip_prefix('-'));
    task.is_some_and(|number| number.parse::<u32>().is_ok())
}

/// Runs the task until it is told to stop, or fails.
///
/// # Errors
/// What ended it; its action says whether a restart helps.
pub async fn run(
    spec: SinkSpec,
    cluster: Arc<dyn Cluster>,
    host: Arc<TaskHost>,
    wanted: watch::Receiver<Wanted>,
) -> Result<()> {
    let cx = TaskContext::new(Arc::clone(&spec.id.connector), spec.id.task, host.clone());
    let dead_letters = open_dead_letters(&spec, &*cluster).await?;
    let (plugin, properties, for_task) =
        (Arc::clone(&spec.plugin), spec.properties.clone(), cx.clone());
    let starting = async move { plugin.task(properties, for_task).await };
    let task = host.place.run(&host.tenant(), "start", starting).await?;
    let task = Lent::new(host.place.clone(), host.tenant(), task);
    let budget = Budget::new(spec.settings.budget_bytes);
    let consumer = cluster
        .consumer(ConsumerSpec {
            group_id: spec.group_id.clone(),
            client_id: client_id(&spec.id),
            subscription: spec.subscription.clone(),
            overrides: spec.settings.consumer.clone(),
            budget: budget.clone(),
        })
        .await?;
    let tolerance = Arc::new(spec.settings.tolerance.clone());
    let metrics = host.metrics.clone();
    let mut driver = Driver {
        rejects: Rejects::new(
            spec.id.clone(),
            Arc::clone(&tolerance),
            dead_letters,
            metrics.clone(),
        ),
        tolerance,
        clock: Arc::clone(&host.clock),
        cx,
        host,
        metrics,
        budget,
        spec,
        task,
        consumer,
        ledger: Ledger::default(),
        lanes: Lanes::default(),
        reported: Arc::new(Notify::new()),
        committing: None,
        next_commit: Instant::now(),
        next_lag: Instant::now(),
        paused: false,
    };
    let outcome = driver.drive(wanted).await;
    driver.end(outcome).await
}

async fn open_dead_letters(spec: &SinkSpec, cluster: &dyn Cluster) -> Result<Option<DeadLetters>> {
    let Some(settings) = spec.settings.tolerance.dead_letters.clone() else { return Ok(None) };
    let producer = cluster
        .producer(ProducerSpec {
            client_id: format!("connector-dlq-producer-{}-{}", spec.id.connector, spec.id.task),
            overrides: spec.settings.producer.clone(),
        })
        .await?;
    let admin = cluster.admin(spec.settings.admin.clone()).await?;
    Ok(Some(DeadLetters::open(settings, spec.id.clone(), producer, &*admin).await?))
}

struct Driver {
    spec: SinkSpec,
    cx: TaskContext,
    host: Arc<TaskHost>,
    clock: Arc<dyn Clock>,
    metrics: TaskMetrics,
    budget: Budget,
    tolerance: Arc<crate::settings::Tolerance>,
    task: Lent<Box<dyn DynSinkTask>>,
    consumer: Box<dyn Consumer>,
    ledger: Ledger,
    rejects: Rejects,
    lanes: Lanes,
    reported: Arc<Notify>,
    committing: Option<Committing>,
    next_commit: Instant,
    next_lag: Instant,
    paused: bool,
}

struct Committing {
    offsets: Vec<(TopicPartition, i64)>,
    started: Instant,
    outcome: BoxFuture<'static, CommitOutcome>,
}

enum Step {
    Wanted(Wanted),
    Event(ConsumerEvent),
    Reported,
    Settled,
    Committed(CommitOutcome),
    LaneEnded(std::result::Result<(Id, Result<()>), JoinError>),
    Rested,
    CommitDue,
    LagDue,
}

impl Driver {
    async fn drive(&mut self, mut wanted: watch::Receiver<Wanted>) -> Result<()> {
        let first = *wanted.borrow_and_update();
        if self.obey(first).await? {
            return Ok(());
        }
        loop {
            match self.step(&mut wanted).await? {
                Step::Wanted(wish) => {
                    if self.obey(wish).await? {
                        return Ok(());
                    }
                }
                Step::Event(event) => self.on_event(event).await?,
                Step::Reported => self.collect()?,
                Step::Settled => {}
                Step::Committed(outcome) => self.on_committed(outcome),
                Step::LaneEnded(ended) => self.on_lane_ended(ended)?,
                Step::Rested => self.wake_rested().await?,
                Step::CommitDue => self.commit(),
                Step::LagDue => self.measure_lag(),
            }
        }
    }

    /// Waits for the next thing to do. Every branch may be dropped without losing anything.
    async fn step(&mut self, wanted: &mut watch::Receiver<Wanted>) -> Result<Step> {
        let commit_at = self.commit_due();
        let rest_at = self.lanes.resting.values().map(|rest| rest.until).min();
        let take_events = !self.rejects.full();
        let step = tokio::select! {
            biased;
            changed = wanted.changed() => match changed {
                Ok(()) => Step::Wanted(*wanted.borrow_and_update()),
                Err(_gone) => Step::Wanted(Wanted::Stopped),
            },
            Some(ended) = self.lanes.set.join_next_with_id() => Step::LaneEnded(ended),
            outcome = answer(&mut self.committing) => Step::Committed(outcome),
            settled = self.rejects.settle(&mut self.ledger) => {
                settled?;
                Step::Settled
            }
            () = self.reported.notified() => Step::Reported,
            () = crate::task::at(commit_at) => Step::CommitDue,
            () = crate::task::at(rest_at) => Step::Rested,
            () = tokio::time::sleep_until(self.next_lag) => Step::LagDue,
            event = self.consumer.next(), if take_events => Step::Event(event?),
        };
        Ok(step)
    }

    /// Follows the herder's wish. `true`: the task ends.
    async fn obey(&mut self, wanted: Wanted) -> Result<bool> {
        match wanted {
            Wanted::Stopped => return Ok(true),
            Wanted::Paused if !self.paused => {
                self.paused = true;
                let all: Vec<TopicPartition> = self.ledger.partitions().cloned().collect();
                self.consumer.halt(&all)?;
                self.drain(&all, self.spec.settings.stop_timeout).await?;
                self.commit_now(&all, self.spec.settings.stop_timeout).await;
                self.host.status.paused();
            }
            Wanted::Running if self.paused => {
                self.paused = false;
                self.host.status.running();
                let all: Vec<TopicPartition> = self.ledger.partitions().cloned().collect();
                self.restart_lanes(all).await?;
            }
            Wanted::Running => self.host.status.running(),
            Wanted::Paused => {}
        }
        Ok(false)
    }

    async fn on_event(&mut self, event: ConsumerEvent) -> Result<()> {
        match event {
            ConsumerEvent::Batch(batch) => self.dispatch(batch),
            ConsumerEvent::Assigned { partitions, epoch } => self.open(partitions, epoch).await?,
            ConsumerEvent::Revoking { partitions, done } => self.revoke(partitions, done).await?,
            ConsumerEvent::Lost { partitions } => {
                self.drop_lanes(&partitions);
                self.close(&partitions).await?;
            }
            ConsumerEvent::Trouble(Some(error)) => {
                tracing::warn!(task = %self.spec.id, %error, "consuming fails");
                let reason = format!("consuming as group {}: {error}", self.spec.group_id);
                self.host.waits(Wait::Consumer, reason);
            }
            ConsumerEvent::Trouble(None) => self.host.status.resumed(&Wait::Consumer),
        }
        Ok(())
    }

    fn dispatch(&mut self, batch: RawBatch) {
        if self.paused || !self.ledger.accepts(&batch.topic_partition, batch.epoch) {
            return;
        }
        if let Some(lane) = self.lanes.running.get(&batch.topic_partition) {
            self.metrics.records.inc_by(batch.rows.len() as u64);
            self.metrics.bytes.inc_by(batch.arena.len() as u64);
            self.metrics.batches.inc();
            self.host.topics.used(&batch.topic_partition.topic);
            lane.cell.push(batch);
        }
    }

    async fn open(&mut self, partitions: Vec<TopicPartition>, epoch: Epoch) -> Result<()> {
        let asked = partitions.clone();
        let opening = self.task.call("open", move |task| open(task, asked, epoch).boxed());
        let StartAt(kept) = opening.await?;
        let kept: HashMap<_, _> = kept.into_iter().collect();
        let mut start = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let at = kept.get(&partition).copied();
            self.ledger.open(partition.clone(), epoch, at);
            if !self.paused {
                self.start_lane(&partition, epoch).await?;
            }
            start.push((partition, at));
        }
        if !self.paused {
            self.consumer.start(start).await?;
        }
        Ok(())
    }

    async fn start_lane(&mut self, partition: &TopicPartition, epoch: Epoch) -> Result<()> {
        let Some(ticket) = self.ledger.ticket_of(partition) else { return Ok(()) };
        let cell = LaneCell::new(
            partition.clone(),
            ticket,
            Arc::clone(&self.reported),
            Arc::clone(&self.spec.class),
        );
        let cx = LaneContext {
            task: self.cx.clone(),
            partition: partition.clone(),
            epoch,
            progress: Progress::new(cell.clone()),
        };
        let lane = self.task.call("lane", move |task| ready(Ok(task.lane(cx))).boxed()).await?;
        let run = LaneRun {
            cell: Arc::clone(&cell),
            chain: Arc::clone(&self.spec.chain),
            tolerance: Arc::clone(&self.tolerance),
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.clone(),
        };
        let what = format!("write {partition}");
        let running = self.host.place.watched(&self.host.tenant(), what, run.run(lane));
        let abort = self.lanes.set.spawn_on(running, self.host.place.handle());
        self.lanes.by_task.insert(abort.id(), partition.clone());
        self.lanes.running.insert(partition.clone(), RunningLane { cell, abort });
        Ok(())
    }

    /// Builds lanes anew at their watermarks.
    async fn restart_lanes(&mut self, partitions: Vec<TopicPartition>) -> Result<()> {
        let mut start = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let Some(epoch) = self.ledger.epoch_of(&partition) else { continue };
            let Some((_, at)) = self.ledger.reopen(&partition) else { continue };
            self.start_lane(&partition, epoch).await?;
            start.push((partition, at));
        }
        if !start.is_empty() {
            self.consumer.start(start).await?;
        }
        Ok(())
    }

    async fn revoke(&mut self, partitions: Vec<TopicPartition>, done: Revoked) -> Result<()> {
        let timeout = self.spec.settings.stop_timeout;
        self.drain(&partitions, timeout).await?;
        self.commit_now(&partitions, timeout).await;
        self.close(&partitions).await?;
        drop(done);
        Ok(())
    }

    async fn close(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        for partition in partitions {
            self.ledger.close(partition);
            self.lanes.resting.remove(partition);
            self.lanes.backoff.remove(partition);
            self.host.status.resumed(&Wait::Lane(partition.clone()));
        }
        let gone = partitions.to_vec();
        self.task.call("close", move |task| close(task, gone).boxed()).await
    }

    /// Lets the lanes of `partitions` finish what they can, and settles their rejects, within `timeout`.
    async fn drain(&mut self, partitions: &[TopicPartition], timeout: Duration) -> Result<()> {
        for partition in partitions {
            self.lanes.resting.remove(partition);
            if let Some(lane) = self.lanes.running.get(partition) {
                lane.cell.drain();
            }
        }
        let deadline = Instant::now() + timeout;
        loop {
            self.collect()?;
            let running = partitions.iter().any(|p| self.lanes.running.contains_key(p));
            if !running && self.ledger.all_settled(partitions) {
                return Ok(());
            }
            tokio::select! {
                biased;
                Some(ended) = self.lanes.set.join_next_with_id() => self.on_lane_drained(ended, partitions)?,
                settled = self.rejects.settle(&mut self.ledger) => settled?,
                () = self.reported.notified() => {}
                () = tokio::time::sleep_until(deadline) => {
                    tracing::warn!(task = %self.spec.id, ?timeout, "lanes did not drain in time");
                    self.drop_lanes(partitions);
                    return Ok(());
                }
            }
        }
    }

    fn on_lane_drained(
        &mut self,
        ended: std::result::Result<(Id, Result<()>), JoinError>,
        draining: &[TopicPartition],
    ) -> Result<()> {
        let (id, outcome) = flatten(ended);
        match self.lanes.by_task.get(&id) {
            Some(partition) if draining.contains(partition) => {
                let partition = partition.clone();
                self.collect()?;
                self.forget_lane(id, &partition);
                if let Err(error) = outcome {
                    tracing::warn!(task = %self.spec.id, %partition, ?error, "a lane did not drain");
                }
                Ok(())
            }
            _ => self.on_lane_outcome(id, outcome),
        }
    }

    fn on_lane_ended(
        &mut self,
        ended: std::result::Result<(Id, Result<()>), JoinError>,
    ) -> Result<()> {
        let (id, outcome) = flatten(ended);
        self.on_lane_outcome(id, outcome)
    }

    fn on_lane_outcome(&mut self, id: Id, outcome: Result<()>) -> Result<()> {
        let Some(partition) = self.lanes.by_task.get(&id).cloned() else { return Ok(()) };
        self.collect()?;
        self.forget_lane(id, &partition);
        let Err(error) = outcome else { return Ok(()) };
        if error.action() != Action::Retry {
            return Err(error.context(format!("write {partition}")));
        }
        let backoff = self.lanes.backoff.entry(partition.clone()).or_default();
        let delay = backoff.next(error.retry_after());
        self.metrics.retries.inc();
        let reason = format!("write {partition}: {}", error.chain());
        tracing::warn!(task = %self.spec.id, %partition, ?error, ?delay, "a lane failed and is built anew");
        let next_try = Some(self.clock.now() + delay);
        self.host.say(Wait::Lane(partition.clone()), Some(Waiting { reason, next_try }));
        self.consumer.halt(std::slice::from_ref(&partition))?;
        self.lanes.resting.insert(partition, Rest { until: Instant::now() + delay });
        Ok(())
    }

    async fn wake_rested(&mut self) -> Result<()> {
        let now = Instant::now();
        let due: Vec<TopicPartition> = self
            .lanes
            .resting
            .iter()
            .filter(|(_, rest)| rest.until <= now)
            .map(|(partition, _)| partition.clone())
            .collect();
        for partition in &due {
            self.lanes.resting.remove(partition);
        }
        self.restart_lanes(due).await
    }

    /// Folds what lanes reported into the ledger.
    fn collect(&mut self) -> Result<()> {
        for lane in self.lanes.running.values() {
            let cell = &lane.cell;
            let reports = cell.take_reports();
            self.metrics.delivered.inc_by(reports.delivered);
            if !reports.rejects.is_empty() {
                self.rejects.take(
                    &mut self.ledger,
                    &cell.partition,
                    cell.ticket,
                    reports.rejects,
                )?;
            }
            if let Some(end) = reports.durable {
                self.ledger.durable(&cell.partition, cell.ticket, end);
                if self.lanes.backoff.remove(&cell.partition).is_some() {
                    self.host.status.resumed(&Wait::Lane(cell.partition.clone()));
                }
            }
        }
        Ok(())
    }

    fn commit_due(&self) -> Option<Instant> {
        let idle = self.committing.is_none();
        (idle && !self.ledger.committable(self.ledger.partitions()).is_empty())
            .then_some(self.next_commit)
    }

    fn commit(&mut self) {
        let offsets = self.ledger.committable(self.ledger.partitions());
        self.next_commit = Instant::now() + self.spec.settings.commit_interval;
        if !offsets.is_empty() {
            let outcome = self.consumer.commit(offsets.clone());
            self.committing = Some(Committing { offsets, started: Instant::now(), outcome });
        }
    }

    /// Commits what of `partitions` is durable, and waits for it.
    async fn commit_now(&mut self, partitions: &[TopicPartition], timeout: Duration) {
        let deadline = Instant::now() + timeout;
        if self.committing.is_some() {
            if let Ok(outcome) =
                tokio::time::timeout_at(deadline, answer(&mut self.committing)).await
            {
                self.on_committed(outcome);
            }
            self.committing = None;
        }
        let offsets = self.ledger.committable(partitions);
        if offsets.is_empty() {
            return;
        }
        let outcome = self.consumer.commit(offsets.clone());
        self.committing = Some(Committing { offsets, started: Instant::now(), outcome });
        if let Ok(outcome) = tokio::time::timeout_at(deadline, answer(&mut self.committing)).await {
            self.on_committed(outcome);
        }
        self.committing = None;
    }

    fn on_committed(&mut self, outcome: CommitOutcome) {
        let Some(committing) = self.committing.take() else { return };
        self.metrics.commit_seconds.observe(committing.started.elapsed().as_secs_f64());
        match outcome {
            CommitOutcome::Done => {
                self.metrics.commits.inc();
                self.host.status.resumed(&Wait::Offsets);
                self.ledger.committed(&committing.offsets);
            }
            // Nothing is undone: the next commit covers this one, whatever became of it.
            CommitOutcome::Failed(error) | CommitOutcome::Unknown(error) => {
                self.metrics.commit_failures.inc();
                tracing::warn!(task = %self.spec.id, %error, "a commit did not go through");
                // A rebalance that is under way cures itself.
                if error.kind != PortErrorKind::Fenced {
                    let group = &self.spec.group_id;
                    let reason = format!("commit offsets of group {group}: {error}");
                    self.host.waits(Wait::Offsets, reason);
                }
            }
        }
    }

    fn measure_lag(&mut self) {
        self.next_lag = Instant::now() + LAG_INTERVAL;
        let lag: i64 = self
            .ledger
            .partitions()
            .filter_map(|p| Some(self.consumer.end_offset(p)? - self.ledger.watermark(p)?))
            .map(|lag| lag.max(0))
            .sum();
        self.metrics.lag.set(lag);
        self.metrics.held.set(i64::try_from(self.budget.held()).unwrap_or(i64::MAX));
        self.host.status.lag(lag);
        match self.rejects.silence() {
            Some(reason) => self.host.waits(Wait::DeadLetters, reason),
            None => self.host.status.resumed(&Wait::DeadLetters),
        }
    }

    fn forget_lane(&mut self, id: Id, partition: &TopicPartition) {
        self.lanes.by_task.remove(&id);
        self.lanes.running.remove(partition);
    }

    fn drop_lanes(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            if let Some(lane) = self.lanes.running.remove(partition) {
                self.lanes.by_task.remove(&lane.abort.id());
                lane.abort.abort();
            }
        }
    }

    /// Drains, commits and leaves, whatever ended the loop.
    async fn end(mut self, outcome: Result<()>) -> Result<()> {
        let all: Vec<TopicPartition> = self.ledger.partitions().cloned().collect();
        let timeout = self.spec.settings.stop_timeout;
        let drained = match &outcome {
            Ok(()) => self.drain(&all, timeout).await,
            // A failed task does not write more; what was durable counts all the same.
            Err(_) => Ok(()),
        };
        self.drop_lanes(&all);
        if !self.rejects.is_idle() && outcome.is_ok() {
            tracing::warn!(task = %self.spec.id, "stopped with dead letters unanswered");
        }
        self.commit_now(&all, timeout).await;
        self.leave_lanes().await;
        let tenant = self.host.tenant();
        let closed = self.task.call("close", move |task| close(task, all).boxed());
        let closed = home::within(timeout, &tenant, "close", closed).await.map(drop);
        let stopped = self.task.end("stop", DynSinkTask::stop);
        let stopped = home::within(timeout, &tenant, "stop", stopped).await.map(drop);
        self.consumer.close().await;
        outcome.and(drained).and(closed).and(stopped)
    }

    /// Lanes that were cut off end when they give their threads back; those that do not are left
    /// behind, and nothing that they report counts any more.
    async fn leave_lanes(&mut self) {
        let ended = tokio::time::timeout(LANES_END, self.lanes.set.shutdown()).await;
        if ended.is_err() {
            tracing::warn!(task = %self.spec.id, "lanes hold their threads and are left behind");
            self.lanes.set.detach_all();
        }
    }
}

async fn open(
    task: &mut Box<dyn DynSinkTask>,
    partitions: Vec<TopicPartition>,
    epoch: Epoch,
) -> Result<StartAt> {
    task.open(&partitions, epoch).await
}

async fn close(task: &mut Box<dyn DynSinkTask>, partitions: Vec<TopicPartition>) -> Result<()> {
    task.close(&partitions).await
}

async fn answer(committing: &mut Option<Committing>) -> CommitOutcome {
    match committing {
        Some(committing) => (&mut committing.outcome).await,
        None => std::future::pending().await,
    }
}
