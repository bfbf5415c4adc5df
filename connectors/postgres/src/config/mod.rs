//! The configuration: Debezium's keys with Debezium's defaults, and the defaults under our own name.
//!
//! Keys of Debezium that are not understood yet are refused by name when they are set to anything but
//! their default ([`refused`]); those that have nothing to tune here say so ([`unused`]): nothing is
//! read and ignored.

pub mod columns;
pub mod database;
pub mod engine;
pub mod filters;
mod patterns;
pub mod records;
pub mod refused;
pub mod replication;
pub mod signals;
pub mod snapshot;
pub mod unused;
pub mod values;

use towpath_sdk::config::{ConnectorConfig, FieldError};

pub use patterns::Patterns;

use replication::Loss;

use crate::types::Modes;

/// The defaults under `postgres-cdc`, where they differ from Debezium's.
pub const OUR_DEFAULTS: &[(&str, &str)] = &[
    ("plugin.name", "pgoutput"),
    ("publication.autocreate.mode", "filtered"),
    ("unknown.datatypes", "text"),
    ("snapshot.max.threads", "4"),
    ("snapshot.new.tables", "incremental"),
    ("slot.name", "towpath"),
    ("publication.name", "towpath_publication"),
    ("slot.retry.delay.ms", "1000"),
    ("heartbeat.interval.ms", "10000"),
    ("topic.heartbeat.prefix", ""),
];

/// Debezium's keys.
#[derive(Debug, Clone, ConnectorConfig)]
#[config(group = "Connection", validate = Config::check)]
pub struct Config {
    /// The prefix of all topics, which also names this stream of changes in the offset topic. It must
    /// never change.
    #[config(importance = high, validate = check_prefix)]
    pub topic_prefix: String,
    /// The server.
    #[config(nested, prefix = "database.")]
    pub database: database::Database,
    /// How changes are taken from it.
    #[config(nested)]
    pub replication: replication::Replication,
    /// What is captured.
    #[config(nested)]
    pub filters: filters::Filters,
    /// How values are shown.
    #[config(nested)]
    pub values: values::Values,
    /// What is done to columns.
    #[config(nested)]
    pub columns: columns::Columns,
    /// What is read before changes are.
    #[config(nested, prefix = "snapshot.")]
    pub snapshot: snapshot::Snapshot,
    /// Signals and notifications.
    #[config(nested)]
    pub signals: signals::Signals,
    /// The form of records.
    #[config(nested)]
    pub records: records::Records,
    /// Bounds.
    #[config(nested)]
    pub engine: engine::Engine,
    /// Keys that have nothing to tune.
    #[config(nested)]
    pub unused: unused::Unused,
    /// Keys that are refused unless they have their default.
    #[config(nested)]
    pub not_yet: refused::NotYet,
}

impl Config {
    /// What is done once changes are missing.
    #[must_use]
    pub fn loss(&self) -> Loss {
        let by_mode = if self.snapshot.course().mends { Loss::Resnapshot } else { Loss::Fail };
        self.replication.slot_loss_policy.unwrap_or(by_mode)
    }

    fn check(&self) -> Vec<FieldError> {
        if self.replication.slot_loss_policy == Some(Loss::Fail) && self.snapshot.course().mends {
            let text = "slot.loss.policy=fail contradicts the snapshot.mode, which reads all rows again \
                        if changes are missing: leave one of them out";
            return vec![FieldError::other("slot.loss.policy", text)];
        }
        Vec::new()
    }

    /// How values are shown.
    #[must_use]
    pub fn modes(&self) -> Modes {
        let placeholder = self.columns.unavailable_value_placeholder.placeholder.clone();
        Modes { placeholder, ..self.values.modes() }
    }
}

fn check_prefix(text: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if text.is_empty() || !text.bytes().all(allowed) {
        return Err("it may hold letters, digits, '.', '_' and '-' only, as topics do".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use towpath_sdk::config::Properties;
    use towpath_sdk::config::testing;

    use super::*;

    fn base() -> Properties {
        Properties::from([
            ("topic.prefix", "p"),
            ("database.hostname", "h"),
            ("database.user", "u"),
            ("database.dbname", "d"),
        ])
    }

    fn with(entries: &[(&str, &str)]) -> Result<Config, String> {
        let mut properties = base();
        properties.extend(entries.iter().copied());
        Config::parse(&properties).map_err(|errors| errors.to_string())
    }

    #[test]
    fn the_definition_is_sound() {
        testing::assert_definition::<Config>();
        for (key, _) in OUR_DEFAULTS {
            assert!(Config::definition().get(key).is_some(), "{key}");
        }
    }

    #[test]
    fn filters_choose_tables_and_columns() {
        let config = with(&[("schema.include.list", "s,t"), ("table.exclude.list", r"s\.no.*")]);
        let filters = config.unwrap().filters;
        assert!(filters.captures("s", "yes") && filters.captures("t", "nope"));
        assert!(!filters.captures("s", "nope") && !filters.captures("u", "yes"));
        let filters = with(&[("column.exclude.list", r"s\.t\.secret")]).unwrap().filters;
        assert!(!filters.shows("s", "t", "secret") && filters.shows("s", "t", "open"));
        assert!(!filters.captures("pg_catalog", "pg_class"));
        let config = with(&[("schema.exclude.list", "s"), ("table.include.list", r".*\.t")]);
        let filters = config.unwrap().filters;
        assert!(filters.captures("u", "t") && !filters.captures("u", "v"));
        assert!(!filters.captures("s", "t"));
        let entries = [("column.include.list", r".*\.a"), ("message.prefix.exclude.list", "x.*")];
        let filters = with(&entries).unwrap().filters;
        assert!(filters.shows("s", "t", "a") && !filters.shows("s", "t", "b"));
        assert!(filters.takes_message("y") && !filters.takes_message("xy"));
    }

    #[test]
    fn our_defaults_are_accepted() {
        let ours = with(OUR_DEFAULTS).unwrap();
        // Heartbeats are on, without records.
        assert_eq!(ours.replication.heartbeat_interval_ms.as_secs(), 10);
        assert_eq!(ours.records.topic_heartbeat_prefix, "");
        assert!(with(&[]).unwrap().replication.heartbeat_interval_ms.is_zero());
    }

    #[test]
    fn the_former_key_of_a_mode_counts_without_the_mode() {
        let confirms = |entries: &[(&str, &str)]| with(entries).unwrap().replication.confirms();
        let (old, manual) = (("flush.lsn.source", "false"), ("lsn.flush.mode", "manual"));
        assert!(confirms(&[]) && !confirms(&[old]) && !confirms(&[manual]));
        assert!(confirms(&[old, ("lsn.flush.mode", "connector_and_driver")]));
        assert!(!confirms(&[("flush.lsn.source", "true"), manual]));
    }

    #[test]
    fn what_a_loss_means_is_said_by_its_key_or_by_the_mode() {
        let loss = |entries: &[(&str, &str)]| with(entries).unwrap().loss();
        let needed = ("snapshot.mode", "when_needed");
        assert_eq!((loss(&[]), loss(&[needed])), (Loss::Fail, Loss::Resnapshot));
        let backfill = ("slot.loss.policy", "backfill");
        assert_eq!(
            (loss(&[backfill]), loss(&[needed, backfill])),
            (Loss::Backfill, Loss::Backfill)
        );
    }

    #[test]
    fn wrong_settings_are_named() {
        let wrong = |key: &str, entries: &[(&str, &str)], says: &str| {
            let errors = with(entries).unwrap_err();
            assert!(errors.contains(key) && errors.contains(says), "{errors}");
        };
        let both = [("table.include.list", "a"), ("table.exclude.list", "b")];
        wrong("table.include.list", &both, "exclude each other");
        wrong("slot.name", &[("slot.name", "Upper")], "lower case");
        wrong("topic.prefix", &[("topic.prefix", "a b")], "as topics do");
        wrong("plugin.name", &[("plugin.name", "wal2json")], "pgoutput");
        wrong("signal.data.collection", &[("signal.data.collection", "signals")], "its schema");
        let sink = [("notification.enabled.channels", "sink")];
        wrong("notification", &sink, "needs the topic of notifications");
        wrong("signal.file", &[("signal.file", "x")], "kafka");
        let contradicts = [("snapshot.mode", "when_needed"), ("slot.loss.policy", "fail")];
        wrong("slot.loss.policy", &contradicts, "contradicts");
        wrong("database.sslcert", &[("database.sslcert", "c.pem")], "go together");
    }
}
