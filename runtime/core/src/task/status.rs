//! The visible condition of a task.
//!
//! Duty: a task never stands still without saying why. Connect's endpoints show `RUNNING` or `PAUSED`
//! for a live task; ours show this.
//!
//! Invariant: whatever a task waits on account of ([`Wait`]) has a reason of its own, which only its own
//! recovery takes back: the consumer that reaches its broker again says nothing about a lane whose
//! target is down.

use std::collections::BTreeMap;

use tokio::sync::watch;
use towpath_sdk::clock::Timestamp;
use towpath_sdk::context::{OperationId, Work};
use towpath_sdk::guarantee::Guarantee;
use towpath_sdk::record::TopicPartition;

/// What a live task is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Activity {
    /// It is being set up.
    Starting,
    /// It moves records, or waits for some.
    Running,
    /// The user paused it.
    Paused,
    /// Something is wrong that may heal; it goes on by itself.
    Waiting {
        /// What is wrong and what would help.
        reason: String,
        /// Since when.
        since: Timestamp,
        /// When it tries again, if it is known.
        next_try: Option<Timestamp>,
    },
}

/// On account of what a task waits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// Its consumer is in trouble.
    Consumer,
    /// The broker does not answer for records or a transaction.
    Producer,
    /// The dead letter queue does not take letters.
    DeadLetters,
    /// Offsets can't be stored.
    Offsets,
    /// The lane of a partition failed and is built anew.
    Lane(TopicPartition),
    /// The connector says so.
    Connector,
    /// The connector's code does not give a thread back; by the number of what holds it.
    Thread(u64),
    /// One of the connector's operations is tried again.
    Operation(OperationId),
}

/// Why, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Why {
    reason: String,
    since: Timestamp,
    next_try: Option<Timestamp>,
}

/// A task's condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskView {
    /// What it is doing: the oldest of the reasons for which it waits, if there is one.
    pub activity: Activity,
    /// What was learnt about its guarantee at run time.
    pub guarantee: Option<Guarantee>,
    /// Records behind, if it is known.
    pub lag: Option<i64>,
    /// How far a long piece of work is.
    pub work: Option<Work>,
    /// What it would be doing if it did not wait.
    meant: Activity,
    waits: BTreeMap<Wait, Why>,
}

impl TaskView {
    fn shown(&self) -> Activity {
        let oldest = self.waits.values().min_by_key(|why| why.since);
        match (&self.meant, oldest) {
            // Nothing is expected of a task that the user paused.
            (Activity::Paused, _) | (_, None) => self.meant.clone(),
            (_, Some(Why { reason, since, next_try })) => Activity::Waiting {
                reason: match self.waits.len() - 1 {
                    0 => reason.clone(),
                    1 => format!("{reason} (and for one more reason)"),
                    more => format!("{reason} (and for {more} more reasons)"),
                },
                since: *since,
                next_try: *next_try,
            },
        }
    }
}

/// Where a task writes its condition.
#[derive(Debug, Clone)]
pub struct StatusCell(watch::Sender<TaskView>);

impl Default for StatusCell {
    fn default() -> Self {
        Self(watch::Sender::new(TaskView {
            activity: Activity::Starting,
            guarantee: None,
            lag: None,
            work: None,
            meant: Activity::Starting,
            waits: BTreeMap::new(),
        }))
    }
}

impl StatusCell {
    /// Follows the condition.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<TaskView> {
        self.0.subscribe()
    }

    /// The condition now.
    #[must_use]
    pub fn view(&self) -> TaskView {
        self.0.borrow().clone()
    }

    /// It moves records, unless it waits.
    pub fn running(&self) {
        self.change(|view| view.meant = Activity::Running);
    }

    /// It is paused.
    pub fn paused(&self) {
        self.change(|view| view.meant = Activity::Paused);
    }

    /// It waits on account of `wait` for `reason`. If it does so already, it keeps its `since`.
    pub fn waiting(&self, wait: Wait, reason: String, now: Timestamp, next_try: Option<Timestamp>) {
        self.change(|view| {
            let since = view.waits.get(&wait).map_or(now, |why| why.since);
            view.waits.insert(wait, Why { reason, since, next_try });
        });
    }

    /// It does not wait on account of `wait` any more.
    pub fn resumed(&self, wait: &Wait) {
        self.change(|view| {
            view.waits.remove(wait);
        });
    }

    /// The guarantee as learnt.
    pub fn guarantee(&self, guarantee: Guarantee) {
        self.0.send_modify(|view| view.guarantee = Some(guarantee));
    }

    /// How far a long piece of work is; `None` when it is over.
    pub fn work(&self, work: Option<Work>) {
        self.0.send_if_modified(|view| {
            let differs = view.work != work;
            view.work = work;
            differs
        });
    }

    /// Records behind.
    pub fn lag(&self, lag: i64) {
        self.0.send_if_modified(|view| view.lag.replace(lag) != Some(lag));
    }

    fn change(&self, change: impl FnOnce(&mut TaskView)) {
        self.0.send_if_modified(|view| {
            change(view);
            let shown = view.shown();
            let differs = view.activity != shown;
            view.activity = shown;
            differs
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(partition: i32) -> Wait {
        Wait::Lane(TopicPartition::new("t", partition))
    }

    fn check(cell: &StatusCell, expect: Option<(&str, i64)>) {
        let found = match cell.view().activity {
            Activity::Waiting { reason, since, .. } => Some((reason, since.millis())),
            _ => None,
        };
        assert_eq!(found, expect.map(|(reason, since)| (reason.to_owned(), since)));
    }

    #[test]
    fn waiting_keeps_since_and_resuming_leaves_a_pause_alone() {
        let cell = StatusCell::default();
        cell.running();
        cell.waiting(Wait::Consumer, "a".into(), Timestamp(1), None);
        cell.waiting(Wait::Consumer, "b".into(), Timestamp(5), Some(Timestamp(9)));
        let expect = Activity::Waiting {
            reason: "b".into(),
            since: Timestamp(1),
            next_try: Some(Timestamp(9)),
        };
        assert_eq!(cell.view().activity, expect);
        cell.resumed(&Wait::Consumer);
        assert_eq!(cell.view().activity, Activity::Running);
        cell.paused();
        cell.resumed(&Wait::Consumer);
        cell.waiting(Wait::Consumer, "a".into(), Timestamp(1), None);
        assert_eq!(cell.view().activity, Activity::Paused);
    }

    #[test]
    fn a_recovery_takes_back_its_own_reason_and_no_other() {
        let cell = StatusCell::default();
        cell.running();
        cell.waiting(lane(0), "the target is down".into(), Timestamp(1), None);
        cell.waiting(Wait::Consumer, "no broker".into(), Timestamp(2), None);
        cell.waiting(lane(1), "the target is down too".into(), Timestamp(3), None);
        check(&cell, Some(("the target is down (and for 2 more reasons)", 1)));
        cell.resumed(&Wait::Consumer);
        check(&cell, Some(("the target is down (and for one more reason)", 1)));
        cell.resumed(&lane(0));
        check(&cell, Some(("the target is down too", 3)));
        // Neither a wish that is repeated nor a stranger's recovery changes that.
        cell.running();
        cell.resumed(&Wait::Producer);
        check(&cell, Some(("the target is down too", 3)));
        cell.resumed(&lane(1));
        check(&cell, None);
        assert_eq!(cell.view().activity, Activity::Running);
    }
}
