//! The config topic as a table.
//!
//! Duty: what the records mean together. A task's config counts only from its commit on, and only if
//! the commit finds the whole set; records of connectors that nobody knows are left alone.
//!
//! Invariants:
//! - the same records in the same order give the same table, whoever reads them;
//! - [`Configured::tasks`] never mixes two plans: a commit which carries a digest of its set must match
//!   what was found, so that two writers who interleave leave an inconsistent set, not a mixed one;
//! - a count of fenced tasks outlives its connector: the former incarnation's producers must be fenced
//!   when the name is used again.
//!
//! Deliberately absent: who writes, when, and why.

use std::collections::BTreeMap;
use std::sync::Arc;

use towpath_formats::Properties;
use towpath_formats::config_topic::{ConfigRecord, RestartRequest, Stamp, TargetState};

/// A connector's name.
pub(crate) type Name = Arc<str>;

/// The configs of the tasks of one connector, by number.
pub(crate) type TaskSet = Arc<[Arc<Properties>]>;

/// What the config topic says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Configs {
    connectors: BTreeMap<Name, Configured>,
    commits: u64,
}

/// What the config topic says of one connector.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Configured {
    /// Its config; `None` if it is deleted, or other records came first.
    pub(crate) config: Option<Arc<Properties>>,
    /// Where it comes from.
    pub(crate) stamp: Option<Stamp>,
    target: Option<TargetState>,
    /// The committed tasks.
    pub(crate) tasks: TaskSet,
    /// The connector's config when the tasks were committed.
    pub(crate) applied: Option<Arc<Properties>>,
    /// Which commit that was, of all in the log.
    pub(crate) commit: u64,
    /// The last commit did not find its set: nothing may run until somebody plans anew.
    pub(crate) inconsistent: bool,
    /// How many transactional ids the fenced-off past may hold.
    pub(crate) fenced: Option<u32>,
    /// A set was committed that no fencing has followed yet.
    pub(crate) fencing_due: bool,
    deferred: BTreeMap<u32, Arc<Properties>>,
}

/// What a record changed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// Something about this connector.
    Connector(Name),
    /// A restart is asked for.
    Restart(Name, RestartRequest),
    /// A logger of all workers gets a level.
    Logger {
        /// The logger.
        namespace: String,
        /// The level as the user wrote it.
        level: String,
    },
    /// Nothing.
    None,
}

impl Configured {
    /// What the user wants.
    pub(crate) fn target(&self) -> TargetState {
        self.target.unwrap_or_default()
    }

    fn is_blank(&self) -> bool {
        let records = self.config.is_some() || self.target.is_some() || self.fenced.is_some();
        !records && self.deferred.is_empty() && !self.inconsistent
    }

    fn forget_tasks(&mut self) {
        self.tasks = TaskSet::default();
        self.applied = None;
        self.inconsistent = false;
        self.deferred.clear();
    }

    fn commit(&mut self, number: u64, count: u32, expected: Option<u64>) {
        let found = std::mem::take(&mut self.deferred);
        if self.config.is_none() {
            // Of a connector whose deletion was compacted away.
            return;
        }
        self.commit = number;
        self.fencing_due = true;
        let set: Option<Vec<_>> = (0..count).map(|task| found.get(&task).cloned()).collect();
        let whole = set.filter(|set| expected.is_none_or(|digest| digest == digest_of(set)));
        self.inconsistent = whole.is_none();
        self.tasks = whole.map(TaskSet::from).unwrap_or_default();
        self.applied.clone_from(&self.config);
    }
}

impl Configs {
    /// What is known of `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&Configured> {
        self.connectors.get(name)
    }

    /// The connectors that exist, by name.
    pub(crate) fn existing(&self) -> impl Iterator<Item = (&Name, &Configured)> {
        self.connectors.iter().filter(|(_, configured)| configured.config.is_some())
    }

    /// Takes one record.
    pub(crate) fn apply(&mut self, record: ConfigRecord) -> Change {
        match record {
            ConfigRecord::Connector { name, config } => self.change(name, |entry| {
                (entry.config, entry.stamp) = match config {
                    Some(config) => (Some(Arc::new(config.properties)), config.stamp),
                    None => (None, None),
                };
                if entry.config.is_none() {
                    entry.forget_tasks();
                }
            }),
            ConfigRecord::Task { connector, task, properties } => self.change(connector, |entry| {
                match properties {
                    Some(properties) => entry.deferred.insert(task, Arc::new(properties)),
                    None => entry.deferred.remove(&task),
                };
            }),
            ConfigRecord::Commit { connector, tasks, digest } => {
                self.commits += 1;
                let number = self.commits;
                self.change(connector, |entry| match tasks {
                    Some(count) => entry.commit(number, count, digest),
                    None => entry.forget_tasks(),
                })
            }
            ConfigRecord::TargetState { connector, state } => {
                self.change(connector, |entry| entry.target = state)
            }
            ConfigRecord::TasksFencing { connector, tasks } => self.change(connector, |entry| {
                entry.fenced = tasks;
                entry.fencing_due = false;
            }),
            ConfigRecord::RestartConnector { connector, request } => match request {
                Some(request) => Change::Restart(connector.into(), request),
                None => Change::None,
            },
            ConfigRecord::LoggerCluster { namespace, level } => match level {
                Some(level) => Change::Logger { namespace, level },
                None => Change::None,
            },
            ConfigRecord::SessionKey(_) | ConfigRecord::Unknown { .. } => Change::None,
        }
    }

    fn change(&mut self, name: String, change: impl FnOnce(&mut Configured)) -> Change {
        let name: Name = name.into();
        let entry = self.connectors.entry(Arc::clone(&name)).or_default();
        change(entry);
        if entry.is_blank() {
            self.connectors.remove(&name);
        }
        Change::Connector(name)
    }
}

/// The records that make `set` the tasks of `connector`.
pub(crate) fn commit_records(connector: &str, set: &[Arc<Properties>]) -> Vec<ConfigRecord> {
    let tasks = (0..).zip(set).map(|(task, properties)| ConfigRecord::Task {
        connector: connector.to_owned(),
        task,
        properties: Some(Properties::clone(properties)),
    });
    let commit = ConfigRecord::Commit {
        connector: connector.to_owned(),
        tasks: Some(u32::try_from(set.len()).unwrap_or(u32::MAX)),
        digest: Some(digest_of(set)),
    };
    tasks.chain([commit]).collect()
}

/// A digest of a set of task configs: FNV-1a, in which the order of a config's entries does not count.
fn digest_of(set: &[Arc<Properties>]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |text: &str| {
        // A byte that no text holds ends it, so that texts can't run into each other.
        for byte in text.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for properties in set {
        let mut entries: Vec<_> = properties.iter().collect();
        entries.sort();
        for (key, value) in entries {
            add(key);
            add(value);
        }
        add("");
    }
    hash
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use towpath_formats::config_topic::ConnectorConfig;

    use super::*;

    fn config(value: &str) -> ConfigRecord {
        let properties = Properties::from([("k", value)]);
        ConfigRecord::Connector {
            name: "c".into(),
            config: Some(ConnectorConfig { properties, stamp: None }),
        }
    }

    fn task(task: u32, value: &str) -> ConfigRecord {
        let properties = Some(Properties::from([("k", value)]));
        ConfigRecord::Task { connector: "c".into(), task, properties }
    }

    fn commit(tasks: u32) -> ConfigRecord {
        ConfigRecord::Commit { connector: "c".into(), tasks: Some(tasks), digest: None }
    }

    fn set(values: &[&str]) -> Vec<Arc<Properties>> {
        values.iter().map(|value| Arc::new(Properties::from([("k", *value)]))).collect()
    }

    /// The tasks' values after `records`; `None` if the set is inconsistent.
    fn tasks(records: impl IntoIterator<Item = ConfigRecord>) -> Option<Vec<String>> {
        let mut configs = Configs::default();
        for record in records {
            configs.apply(record);
        }
        let entry = configs.get("c").cloned().unwrap_or_default();
        let values = entry.tasks.iter().map(|p| p["k"].clone()).collect();
        (!entry.inconsistent).then_some(values)
    }

    #[test]
    fn tasks_count_from_their_commit_on() {
        assert_eq!(tasks([config("x"), task(0, "a"), task(1, "b")]), Some(vec![]));
        let committed = [config("x"), task(0, "a"), task(1, "b"), commit(2)];
        assert_eq!(tasks(committed.clone()), Some(vec!["a".into(), "b".into()]));
        let changed = committed.into_iter().chain([task(0, "c")]);
        assert_eq!(tasks(changed), Some(vec!["a".into(), "b".into()]));
    }

    #[test]
    fn an_incomplete_set_runs_nothing_until_the_next_whole_one() {
        let broken = [config("x"), task(1, "b"), commit(2)];
        assert_eq!(tasks(broken.clone()), None);
        let mended = broken.into_iter().chain([task(0, "a"), commit(1)]);
        assert_eq!(tasks(mended), Some(vec!["a".into()]));
    }

    #[test]
    fn fewer_tasks_leave_none_of_the_surplus() {
        let log = [config("x"), task(0, "a"), task(1, "b"), commit(2), task(0, "c"), commit(1)];
        assert_eq!(tasks(log), Some(vec!["c".into()]));
    }

    #[test]
    fn what_a_compacted_deletion_left_is_not_used() {
        assert_eq!(tasks([task(0, "old"), commit(1), config("new")]), Some(vec![]));
        let deleted = ConfigRecord::Connector { name: "c".into(), config: None };
        let log = [config("x"), task(0, "a"), commit(1), deleted, config("new")];
        assert_eq!(tasks(log), Some(vec![]));
    }

    #[test]
    fn fencing_is_due_after_a_commit_and_outlives_the_connector() {
        let mut configs = Configs::default();
        let fencing = ConfigRecord::TasksFencing { connector: "c".into(), tasks: Some(3) };
        let deleted = ConfigRecord::Connector { name: "c".into(), config: None };
        for record in [config("x"), task(0, "a"), commit(1), fencing, deleted] {
            configs.apply(record);
        }
        assert!(configs.existing().next().is_none());
        let entry = configs.get("c").expect("kept");
        assert_eq!((entry.fenced, entry.fencing_due), (Some(3), false));
        configs.apply(config("y"));
        configs.apply(commit(0));
        assert!(configs.get("c").expect("there").fencing_due);
    }

    #[test]
    fn a_deleted_connector_leaves_nothing() {
        let mut configs = Configs::default();
        let state = ConfigRecord::TargetState { connector: "c".into(), state: None };
        let deleted = ConfigRecord::Connector { name: "c".into(), config: None };
        for record in [config("x"), task(0, "a"), commit(1), deleted, state] {
            configs.apply(record);
        }
        assert_eq!(configs.connectors, BTreeMap::new());
    }

    #[test]
    fn the_digest_tells_sets_apart_but_not_orders_of_keys() {
        let one = Arc::new(Properties::from([("a", "1"), ("b", "2")]));
        let two = Arc::new(Properties::from([("b", "2"), ("a", "1")]));
        assert_eq!(digest_of(&[one]), digest_of(&[two]));
        assert_ne!(digest_of(&set(&["a", "b"])), digest_of(&set(&["b", "a"])));
        assert_ne!(digest_of(&[]), digest_of(&set(&["a"])));
    }

    proptest! {
        /// Two writers publish a set each, their records interleaved in any way: what counts at any
        /// moment is nothing, or all of one writer's set.
        #[test]
        fn interleaved_writers_never_leave_a_mixed_set(
            counts in (0_usize..5, 0_usize..5),
            order in prop::collection::vec(any::<bool>(), 20),
        ) {
            let one = set(&vec!["one"; counts.0]);
            let two = set(&vec!["two"; counts.1]);
            let mut writers = [commit_records("c", &one), commit_records("c", &two)];
            let mut configs = Configs::default();
            configs.apply(config("x"));
            let mut order = order.into_iter();
            while writers.iter().any(|w| !w.is_empty()) {
                let first = order.next().unwrap_or_default();
                let turn = if writers[usize::from(first)].is_empty() { !first } else { first };
                let record = writers[usize::from(turn)].remove(0);
                configs.apply(record);
                let entry = configs.get("c").expect("exists");
                let whole = [&one[..], &two[..], &[]].contains(&&entry.tasks[..]);
                prop_assert!(whole, "{:?}", entry.tasks.len());
            }
        }

        #[test]
        fn replaying_the_log_gives_the_same_table(log in prop::collection::vec(record(), 0..40)) {
            let apply = |mut configs: Configs, record: &ConfigRecord| {
                configs.apply(record.clone());
                configs
            };
            let once = log.iter().fold(Configs::default(), apply);
            prop_assert_eq!(&once, &log.iter().fold(Configs::default(), apply));
            // As bytes, too: what another worker would read.
            let read = log.iter().fold(Configs::default(), |configs, record| {
                let (key, value) = record.to_key_value();
                let record = ConfigRecord::parse(&key, value.as_deref()).expect("readable");
                apply(configs, &record)
            });
            prop_assert_eq!(once, read);
        }
    }

    fn record() -> impl Strategy<Value = ConfigRecord> {
        let name = || prop_oneof![Just("c".to_owned()), Just("d".to_owned())];
        let value =
            || prop::option::of("[ab]").prop_map(|v| v.map(|v| Properties::from([("k", v)])));
        prop_oneof![
            (name(), value()).prop_map(|(name, value)| ConfigRecord::Connector {
                name,
                config: value.map(|properties| ConnectorConfig { properties, stamp: None }),
            }),
            (name(), 0_u32..3, value()).prop_map(|(connector, task, properties)| {
                ConfigRecord::Task { connector, task, properties }
            }),
            (name(), prop::option::of(0_u32..3)).prop_map(|(connector, tasks)| {
                ConfigRecord::Commit { connector, tasks, digest: None }
            }),
            name().prop_map(|connector| ConfigRecord::TargetState {
                connector,
                state: Some(TargetState::Paused),
            }),
            (name(), prop::option::of(0_u32..3))
                .prop_map(|(connector, tasks)| { ConfigRecord::TasksFencing { connector, tasks } }),
        ]
    }
}
