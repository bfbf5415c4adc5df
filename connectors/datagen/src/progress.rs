//! Which records are whose, and how far each task has come.
//!
//! Task i of n makes the records number i, i + n, i + 2n … from a common start on. It stores the number
//! of its next record, with n and that start. When `tasks.max` changes, the new tasks start together
//! at the least number that the old ones had not made, so nothing is left out, and what the old ones
//! had made from there on comes again.

use towpath_sdk::config::Properties;
use towpath_sdk::offset::{OffsetMap, SourceOffset, SourcePartition, StoredOffsets};
use towpath_sdk::{Error, Result};

pub(crate) const SEED: &str = "seed";
pub(crate) const TASK: &str = "task";
pub(crate) const SEQUENCE: &str = "sequence";
const TASKS: &str = "tasks";
const START: &str = "start";

/// Which of the records a task makes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    pub(crate) task: u32,
    pub(crate) tasks: u32,
}

/// How far a task has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The number of the next record.
    pub(crate) next: u64,
    /// Where the tasks of this number started together.
    start: u64,
}

/// What a task had stored.
struct Stored {
    task: u64,
    next: u64,
    tasks: u64,
    start: u64,
}

impl Share {
    pub(crate) fn into_properties(self) -> Properties {
        Properties::from([
            ("datagen.task", self.task.to_string()),
            ("datagen.tasks", self.tasks.to_string()),
        ])
    }

    pub(crate) fn from_properties(properties: &Properties) -> Result<Self> {
        let number = |key: &str| properties.get(key).and_then(|text| text.parse().ok());
        match (number("datagen.task"), number("datagen.tasks")) {
            (Some(task), Some(tasks)) if task < tasks => Ok(Self { task, tasks }),
            _ => Err(Error::internal("read the task's share of the records")),
        }
    }

    /// The task's source partition.
    pub(crate) fn partition(self, seed: i64) -> SourcePartition {
        SourcePartition::of([(SEED, serde_json::Value::from(seed)), (TASK, self.task.into())])
    }

    /// The task's source offset.
    pub(crate) fn offset(self, progress: Progress) -> SourceOffset {
        let json = serde_json::Value::from;
        OffsetMap::of([
            (SEQUENCE, json(progress.next)),
            (TASKS, json(u64::from(self.tasks))),
            (START, json(progress.start)),
        ])
    }

    /// The task's first record from number `least` on.
    fn from(self, least: u64) -> u64 {
        let (task, tasks) = (u64::from(self.task), u64::from(self.tasks));
        least + (task + tasks - least % tasks) % tasks
    }

    /// Where the task goes on.
    pub(crate) fn resume(self, seed: i64, stored: &StoredOffsets) -> Progress {
        let own = stored.get(&self.partition(seed));
        if let Some(next) = own.filter(|o| o.get(TASKS).is_none()).map(|o| number(o, SEQUENCE)) {
            // Set by a person.
            return Progress { next: self.from(next), start: next };
        }
        let (task, tasks) = (u64::from(self.task), u64::from(self.tasks));
        let all: Vec<Stored> = stored.iter().filter_map(|(p, o)| Stored::of(seed, p, o)).collect();
        // The tasks that ran last are those which started last; of two sets with the same start, ours.
        let Some(last) = all.iter().max_by_key(|s| (s.start, s.tasks == tasks)) else {
            return Progress { next: self.from(0), start: 0 };
        };
        let next_of = |task: u64| {
            let of_set = |s: &&Stored| (s.task, s.tasks, s.start) == (task, last.tasks, last.start);
            all.iter().find(of_set).map_or(last.start, |s| s.next)
        };
        if last.tasks == tasks {
            Progress { next: self.from(next_of(task)), start: last.start }
        } else {
            // A set too large to go through has not been seen by this worker either.
            let tasks = 0..last.tasks.min(u64::from(u16::MAX));
            let start = tasks.map(next_of).min().unwrap_or(last.start);
            Progress { next: self.from(start), start }
        }
    }
}

impl Stored {
    fn of(seed: i64, partition: &SourcePartition, offset: &SourceOffset) -> Option<Self> {
        let ours = partition.get_i64(SEED) == Some(seed);
        ours.then(|| Self {
            task: number(partition, TASK),
            next: number(offset, SEQUENCE),
            tasks: number(offset, TASKS),
            start: number(offset, START),
        })
    }
}

/// The number at `key`, 0 if there is none.
fn number(map: &OffsetMap, key: &str) -> u64 {
    map.get_i64(key).map_or(0, |n| n.max(0).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shares_are_disjoint_and_complete() {
        for tasks in 1..5 {
            for least in 0..20 {
                let mut first: Vec<u64> =
                    (0..tasks).map(|task| Share { task, tasks }.from(least)).collect();
                assert!((0..).zip(&first).all(|(task, n)| n % u64::from(tasks) == task));
                first.sort_unstable();
                assert_eq!(first, (least..least + u64::from(tasks)).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn tasks_go_on_where_they_were() {
        let (one, two) = (Share { task: 0, tasks: 2 }, Share { task: 1, tasks: 2 });
        let stored = StoredOffsets::new(vec![
            (one.partition(1), one.offset(Progress { next: 10, start: 0 })),
            (two.partition(2), two.offset(Progress { next: 3, start: 0 })),
        ]);
        assert_eq!(one.resume(1, &stored).next, 10);
        // It has made nothing, whatever its sibling and another seed have made.
        assert_eq!(two.resume(1, &stored).next, 1);
        let by_hand = OffsetMap::of([(SEQUENCE, 6)]);
        let stored = StoredOffsets::new(vec![(two.partition(1), by_hand)]);
        assert_eq!(two.resume(1, &stored).next, 7);
    }

    proptest! {
        /// Whatever tasks run, stop at any record and come back in other numbers, no number below
        /// those that they have come to is left out.
        #[test]
        fn no_number_is_left_out(
            steps in proptest::collection::vec((0_u32..4, 0_u64..5, proptest::option::of(1_u32..5)), 0..40),
        ) {
            let mut stored = StoredOffsets::default();
            let mut made = HashSet::new();
            let mut tasks = 1;
            let start = |tasks, stored: &StoredOffsets| -> Vec<(Share, Progress)> {
                let shares = (0..tasks).map(|task| Share { task, tasks });
                shares.map(|share| (share, share.resume(1, stored))).collect()
            };
            let mut run = start(tasks, &stored);
            for (task, count, restart) in steps {
                let (share, progress) = &mut run[(task % tasks) as usize];
                for _ in 0..count {
                    made.insert(progress.next);
                    progress.next += u64::from(share.tasks);
                    stored.set(share.partition(1), Some(share.offset(*progress)));
                }
                if let Some(next) = restart {
                    tasks = next;
                    run = start(tasks, &stored);
                }
            }
            let least = run.iter().map(|(_, progress)| progress.next).min().unwrap_or(0);
            prop_assert!((0..least).all(|n| made.contains(&n)), "{made:?} below {least}");
        }
    }
}
