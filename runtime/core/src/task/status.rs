//! The visible condition of a task.
//!
//! Duty: a task never stands still without saying why. Connect's endpoints show `RUNNING` or `PAUSED`
//! for a live task; ours show this.

use tokio::sync::watch;
use towpath_sdk::clock::Timestamp;
use towpath_sdk::guarantee::Guarantee;

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

/// A task's condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskView {
    /// What it is doing.
    pub activity: Activity,
    /// What was learnt about its guarantee at run time.
    pub guarantee: Option<Guarantee>,
    /// Records behind, if it is known.
    pub lag: Option<i64>,
}

/// Where a task writes its condition.
#[derive(Debug, Clone)]
pub struct StatusCell(watch::Sender<TaskView>);

impl Default for StatusCell {
    fn default() -> Self {
        let view = TaskView { activity: Activity::Starting, guarantee: None, lag: None };
        Self(watch::Sender::new(view))
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

    /// It moves records.
    pub fn running(&self) {
        self.set(Activity::Running);
    }

    /// It is paused.
    pub fn paused(&self) {
        self.set(Activity::Paused);
    }

    /// It waits for `reason`. A task that waits already keeps its `since`.
    pub fn waiting(&self, reason: String, now: Timestamp, next_try: Option<Timestamp>) {
        let since = match &self.0.borrow().activity {
            Activity::Waiting { since, .. } => *since,
            _ => now,
        };
        self.set(Activity::Waiting { reason, since, next_try });
    }

    /// It was waiting and goes on; anything else stays.
    pub fn resumed(&self) {
        self.0.send_if_modified(|view| {
            let waits = matches!(view.activity, Activity::Waiting { .. });
            if waits {
                view.activity = Activity::Running;
            }
            waits
        });
    }

    /// The guarantee as learnt.
    pub fn guarantee(&self, guarantee: Guarantee) {
        self.0.send_modify(|view| view.guarantee = Some(guarantee));
    }

    /// Records behind.
    pub fn lag(&self, lag: i64) {
        self.0.send_if_modified(|view| view.lag.replace(lag) != Some(lag));
    }

    fn set(&self, activity: Activity) {
        self.0.send_if_modified(|view| {
            let differs = view.activity != activity;
            view.activity = activity;
            differs
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_keeps_since_and_resuming_leaves_a_pause_alone() {
        let cell = StatusCell::default();
        cell.waiting("a".into(), Timestamp(1), None);
        cell.waiting("b".into(), Timestamp(5), Some(Timestamp(9)));
        let expect = Activity::Waiting {
            reason: "b".into(),
            since: Timestamp(1),
            next_try: Some(Timestamp(9)),
        };
        assert_eq!(cell.view().activity, expect);
        cell.resumed();
        assert_eq!(cell.view().activity, Activity::Running);
        cell.paused();
        cell.resumed();
        assert_eq!(cell.view().activity, Activity::Paused);
    }
}
