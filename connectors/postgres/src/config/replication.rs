//! The slot, the publication and what the server is told.

use std::time::Duration;

use towpath_sdk::config::{ConfigEnum, ConfigValue, ConnectorConfig, FieldType};

use super::patterns::{Patterns, split};

/// How changes are taken from the server.
#[derive(Debug, Clone, ConnectorConfig)]
#[config(group = "Replication")]
pub struct Replication {
    /// The replication slot, which is created if it is missing. Another connector must not use it.
    #[config(default = "debezium", validate = check_slot)]
    pub slot_name: String,
    /// Whether the slot is dropped when the task stops. Changes that are made until it starts again are
    /// lost, and it does not go on without them: with `snapshot.mode=when_needed` it reads all rows
    /// again. For tests only.
    #[config(default = false)]
    pub slot_drop_on_stop: bool,
    /// Whether the slot is dropped when the connector is deleted; stopping, pausing or moving it leaves
    /// the slot alone. Without it the answer to the deletion and the connector's status name the slot,
    /// which keeps the server's log until it is dropped. It is dropped by the worker that is asked to
    /// delete the connector: if the server can't be reached then, the slot stays, and the answer says so.
    #[config(default = false)]
    pub slot_drop_on_delete: bool,
    /// How long to wait, at least, before a slot is tried again that another connection uses, in
    /// milliseconds. It is tried until it is free, and the status names the process that has it.
    #[config(default = 10_000, importance = low)]
    pub slot_retry_delay_ms: Duration,
    /// Further options of `pgoutput`: `name=value`, separated by semicolons, as `origin=none`.
    #[config(default = "", importance = low)]
    pub slot_stream_params: StreamParams,
    /// Whether the slot is kept in step on standbys, on PostgreSQL 17 and later.
    #[config(default = false)]
    pub slot_failover: bool,
    /// The logical decoding plug-in. Only `pgoutput` is used; `decoderbufs`, which is Debezium's
    /// default, gives the same records and is replaced by it.
    #[config(default = "decoderbufs", one_of("pgoutput", "decoderbufs"), importance = high)]
    pub plugin_name: String,
    /// The publication.
    #[config(default = "dbz_publication", non_empty)]
    pub publication_name: String,
    /// What is done where the publication is missing: one for all tables, one for the tables that are
    /// captured, an empty one, or nothing.
    #[config(default = "all_tables")]
    pub publication_autocreate_mode: Autocreate,
    /// Whether changes of partitions are published as changes of the table at the root, in a
    /// publication that is created here.
    #[config(default = false)]
    pub publish_via_partition_root: bool,
    /// How often the server is told how far changes are stored, in milliseconds.
    #[config(default = 10_000, range(min = 100))]
    pub status_update_interval_ms: Duration,
    /// Whether the server is told how far changes are stored. `manual`: never, it keeps its log until
    /// somebody else moves the slot. `connector`, which is the default, and `connector_and_driver`:
    /// whenever offsets are stored, also where nothing was captured.
    #[config(importance = low)]
    pub lsn_flush_mode: Option<LsnFlushMode>,
    /// The former form of that key: `false` is `manual`.
    #[config(importance = low, deprecated = "use lsn.flush.mode")]
    pub flush_lsn_source: Option<bool>,
    /// What happens if the slot was moved past the stored offset, so that changes between are missing.
    /// `no_validation`, which is Debezium's default, and `trust_offset`: the task fails, or reads all
    /// rows again under `snapshot.mode=when_needed`; it never goes on as if nothing were missing.
    /// `trust_slot` and `trust_greater_lsn`: it goes on where the slot is, with a warning. An offset
    /// ahead of the slot is no gap: the stream begins at the offset under all of them. A slot that is
    /// gone or lost, or another cluster, is a gap under all of them.
    #[config(default = "no_validation", importance = low)]
    pub offset_mismatch_strategy: OffsetMismatch,
    /// What is done once changes after the stored offset are missing: the slot is gone, was made anew,
    /// was moved past the offset or is lost; the server's log ends before the offset; it is another
    /// cluster; its timeline does not come after the offset's. `fail`, which is the default: the task
    /// fails and says what is missing. `resnapshot`, which is the default under
    /// `snapshot.mode=when_needed`: all rows are read again, under a new slot. `backfill`: only those
    /// rows are read that transactions have changed which were not over at the offset, found by their
    /// `xmin`; where that says nothing (another cluster, another history, an offset of Debezium's or
    /// without `oldest_xid`, more than 2^31 transactions since) all rows are. Rows come as by a
    /// snapshot, with `op` = `r`. Deletes between are found under `backfill` by comparing the keys in
    /// the tables with those in the topics; where that can't be done, and under `resnapshot`, they are
    /// missing, which the log, the task's guarantee, the metric `towpath_connector_missing_deletes` and
    /// `missing_deletes_from`, `_to`, `_at` and `_tables` in the stored offset say until the offset is
    /// reset.
    pub slot_loss_policy: Option<Loss>,
    /// How many bytes the keys of one table may take while `slot.loss.policy=backfill` compares them:
    /// 16 for each of the table's rows, and more for each that only the topic has. Where they take more,
    /// table and topic are read several times, a part of the keys each time.
    #[config(default = "67108864", range(min = 65_536), importance = low)]
    pub slot_loss_keys_max_bytes: u64,
    /// How many bytes of log the slot may hold back before there is a warning; 0 is the server's
    /// `max_slot_wal_keep_size`, and none if that has no bound. The warning comes when less than a
    /// fifth is left, or less than an hour at the pace of the last minutes. It bounds nothing by
    /// itself: the server's setting does, and reaching that one is a loss of the slot.
    #[config(default = 0, range(min = 0))]
    pub slot_wal_budget_bytes: u64,
    /// Replica identities that captured tables are given, where they have another:
    /// `schema.table:IDENTITY`, separated by commas, with a regular expression for the table, and
    /// DEFAULT, FULL, NOTHING or INDEX with the index's name. It takes the tables' owner.
    pub replica_identity_autoset_values: Option<Identities>,
    /// Whether nothing is written into the log to keep it moving (see `heartbeat.interval.ms`).
    /// Publication, slot and `heartbeat.action.query` are up to their own keys.
    #[config(default = false)]
    pub read_only: bool,
    /// How often there is a sign of life while changes are streamed, in milliseconds; 0 is never. It is:
    /// a record in the topic of heartbeats, unless `topic.heartbeat.prefix` is empty; a run of
    /// `heartbeat.action.query`; and, where nothing was captured and the slot falls behind the log all
    /// the same, a small logical message `towpath-heartbeat`, which is never shown, so that an idle
    /// database beside a busy one retains no log. Under `postgres-cdc` every 10 seconds, without
    /// records.
    #[config(default = 0)]
    pub heartbeat_interval_ms: Duration,
    /// SQL that is run with every heartbeat, on a connection for queries.
    #[config(none = "", importance = low)]
    pub heartbeat_action_query: Option<String>,
    /// How long to wait between a snapshot and the stream, in milliseconds.
    #[config(default = 0, importance = low)]
    pub streaming_delay_ms: Duration,
}

impl Replication {
    /// Whether the server is told how far changes are stored.
    #[must_use]
    pub fn confirms(&self) -> bool {
        match (self.lsn_flush_mode, self.flush_lsn_source) {
            (Some(mode), _) => mode != LsnFlushMode::Manual,
            (None, is_confirmed) => is_confirmed.unwrap_or(true),
        }
    }

    /// Whether the stream begins where the slot is if that is past the stored offset.
    #[must_use]
    pub fn trusts_slot(&self) -> bool {
        use OffsetMismatch::{TrustGreaterLsn, TrustSlot};
        matches!(self.offset_mismatch_strategy, TrustSlot | TrustGreaterLsn)
    }
}

/// Who tells the server how far changes are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
#[config(ignore_case)]
pub enum LsnFlushMode {
    /// Nobody here.
    Manual,
    /// The connector.
    Connector,
    /// In Debezium also the driver, for what was not captured; here that is the connector's, too.
    ConnectorAndDriver,
}

/// What happens if slot and offset differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
#[config(ignore_case)]
pub enum OffsetMismatch {
    /// A slot past the offset is a gap.
    NoValidation,
    /// A slot past the offset is a gap.
    TrustOffset,
    /// The stream goes on at the slot.
    TrustSlot,
    /// The stream goes on at the later one.
    TrustGreaterLsn,
}

/// What is done once changes are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
#[config(ignore_case)]
pub enum Loss {
    /// The task fails.
    Fail,
    /// All rows are read again.
    Resnapshot,
    /// Rows that changed since are read again.
    Backfill,
}

/// Options of the plug-in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamParams(pub(crate) Vec<(String, String)>);

/// Options that are set here.
const OWN_PARAMS: [&str; 6] =
    ["proto_version", "publication_names", "messages", "binary", "streaming", "two_phase"];

impl ConfigValue for StreamParams {
    const KIND: FieldType = FieldType::String;

    fn parse_value(text: &str) -> Result<Self, String> {
        let entries = text.split(';').map(str::trim).filter(|entry| !entry.is_empty());
        let read = |entry: &str| {
            let Some((name, value)) = entry.split_once('=') else {
                return Err(format!("'{entry}' is not of the form name=value"));
            };
            let (name, value) = (name.trim(), value.trim());
            if OWN_PARAMS.contains(&name) {
                return Err(format!("the option {name} is not free to choose"));
            }
            Ok((name.to_owned(), value.to_owned()))
        };
        entries.map(read).collect::<Result<_, _>>().map(Self)
    }
}

/// Replica identities of tables.
#[derive(Debug, Clone)]
pub struct Identities(Vec<(Patterns, Identity)>);

/// What of the row before a change the log has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The primary key.
    Default,
    /// All of it.
    Full,
    /// Nothing.
    Nothing,
    /// The columns of this unique index.
    Index(String),
}

impl Identities {
    /// The identity that the table is to have.
    #[must_use]
    pub fn of(&self, schema: &str, table: &str) -> Option<&Identity> {
        let name = format!("{schema}.{table}");
        self.0.iter().find(|(tables, _)| tables.matches(&name)).map(|(_, identity)| identity)
    }
}

impl ConfigValue for Identities {
    const KIND: FieldType = FieldType::String;

    fn parse_value(text: &str) -> Result<Self, String> {
        let read = |entry: &str| {
            let wrong = || {
                format!("'{entry}' is not of the form schema.table:DEFAULT|FULL|NOTHING|INDEX name")
            };
            let (table, identity) = entry.split_once(':').ok_or_else(wrong)?;
            let mut words = identity.split_whitespace();
            let identity = match (words.next().map(str::to_uppercase).as_deref(), words.next()) {
                (Some("DEFAULT"), None) => Identity::Default,
                (Some("FULL"), None) => Identity::Full,
                (Some("NOTHING"), None) => Identity::Nothing,
                (Some("INDEX"), Some(index)) => Identity::Index(index.to_owned()),
                _ => return Err(wrong()),
            };
            if words.next().is_some() {
                return Err(wrong());
            }
            Ok((Patterns::of(table.trim())?, identity))
        };
        split(text).into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }
}

/// What is done about a missing publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
#[config(ignore_case)]
pub enum Autocreate {
    /// It is created for all tables of the database, which takes a superuser.
    AllTables,
    /// It must be there.
    Disabled,
    /// It is created for the tables that are captured; those that it lacks are added.
    Filtered,
    /// It is created without tables.
    NoTables,
}

fn check_slot(text: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if text.is_empty() || text.len() > 63 || !text.bytes().all(allowed) {
        return Err("a slot's name has 1 to 63 lower case letters, digits and '_'".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_plug_in_are_read() {
        let params = StreamParams::parse_value("origin=none; x = a=b ;").unwrap().0;
        let expect = [("origin", "none"), ("x", "a=b")];
        assert_eq!(params, expect.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(StreamParams::parse_value("origin").unwrap_err().contains("'origin'"));
        assert!(StreamParams::parse_value("binary=true").unwrap_err().contains("binary"));
    }

    #[test]
    fn identities_are_read() {
        let text = r"s\.t{1,2}:FULL, s.u:index idx_u ,s.*:Nothing";
        let identities = Identities::parse_value(text).unwrap();
        assert_eq!(identities.of("s", "tt"), Some(&Identity::Full));
        assert_eq!(identities.of("s", "u"), Some(&Identity::Index("idx_u".to_owned())));
        assert_eq!(identities.of("s", "x"), Some(&Identity::Nothing));
        assert_eq!(identities.of("other", "x"), None);
        for wrong in ["s.t", "s.t:ALL", "s.t:INDEX", "s.t:FULL x", "s(:FULL"] {
            assert!(Identities::parse_value(wrong).is_err(), "{wrong}");
        }
    }
}
