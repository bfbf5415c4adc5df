//! `snapshot.*`: what is read before changes are.

use std::time::Duration;

use towpath_sdk::config::{ConfigEnum, ConnectorConfig, FieldError, Properties};

use super::patterns::Patterns;

/// Keys under `snapshot.`.
#[derive(Debug, Clone, ConnectorConfig)]
#[config(group = "Snapshot", validate = Snapshot::check)]
pub struct Snapshot {
    /// What is read before changes are.
    #[config(default = "initial", importance = high)]
    pub mode: SnapshotMode,
    /// With `configuration_based`: whether rows are read if there is no offset.
    #[config(key = "mode.configuration.based.snapshot.data", default = false, importance = low)]
    pub based_data: bool,
    /// With `configuration_based`: whether changes are read after that.
    #[config(key = "mode.configuration.based.start.stream", default = false, importance = low)]
    pub based_stream: bool,
    /// With `configuration_based`: whether all rows are read if changes after the offset are missing.
    #[config(key = "mode.configuration.based.snapshot.on.data.error", default = false, importance = low)]
    pub based_on_error: bool,
    /// How many connections read rows.
    #[config(default = 1, range(min = 1, max = 64))]
    pub max_threads: u32,
    /// Of the tables that are captured, those whose rows are read, as regular expressions for
    /// `schema.table`.
    pub include_collection_list: Option<Patterns>,
    /// Whether tables are kept from being altered while their rows are read. They are not read under
    /// another schema in any case: a statement that alters a table waits for those that read it.
    #[config(default = "none")]
    pub locking_mode: Locking,
    /// How long to wait for such locks, in milliseconds; 0 is for ever.
    #[config(default = 10_000)]
    pub lock_timeout_ms: Duration,
    /// How long to wait before a snapshot, in milliseconds.
    #[config(default = 0, importance = low)]
    pub delay_ms: Duration,
    /// What happens to tables that are captured from some time on: because they were created then, or
    /// because the filters let them through now. `none`: their changes are shown; `incremental`: their
    /// rows are read, too, while the stream goes on.
    #[config(default = "none")]
    pub new_tables: NewTables,
    /// In which order tables are begun.
    #[config(default = "disabled", importance = low)]
    pub tables_order_by_row_count: Order,
    /// Tables, as `schema.table`, whose rows are read by a query of one's own, each under a key of its
    /// own.
    #[config(default = "")]
    pub select_statement_overrides: Vec<String>,
    /// `snapshot.select.statement.overrides.SCHEMA.TABLE`: the query for a table. It has all columns
    /// that are shown. Such a table is read by one connection, and after a crash from its first row.
    #[config(prefix = "select.statement.overrides.")]
    pub selects: Properties,
}

/// What is read before changes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
#[config(ignore_case)]
pub enum SnapshotMode {
    /// All rows whenever the task starts.
    Always,
    /// All rows if there is no offset.
    Initial,
    /// All rows if there is no offset, and no changes after them.
    InitialOnly,
    /// No rows.
    #[config(name = "no_data", alias("never"))]
    NoData,
    /// All rows if there is no offset, or the server does not hold the changes after it any more.
    WhenNeeded,
    /// As the keys `snapshot.mode.configuration.based.*` say.
    ConfigurationBased,
}

/// Whether tables are locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
#[config(ignore_case)]
pub enum Locking {
    /// By nothing but the reading itself.
    None,
    /// All of them, from the beginning to the end, in ACCESS SHARE MODE.
    Shared,
}

/// In which order tables are begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
#[config(ignore_case)]
pub enum Order {
    /// By name.
    Disabled,
    /// Small ones first.
    Ascending,
    /// Large ones first.
    Descending,
}

/// When rows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Never.
    Never,
    /// If there is no offset.
    Once,
    /// Whenever the task starts.
    Always,
}

/// What a mode means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    /// When rows are read.
    pub rows: Rows,
    /// Whether changes are.
    pub streams: bool,
    /// Whether rows are read again if changes are missing.
    pub mends: bool,
}

/// What happens to tables that are captured from some time on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
#[config(ignore_case)]
pub enum NewTables {
    /// Their changes are shown.
    None,
    /// Their rows are read while the stream goes on.
    Incremental,
}

impl Snapshot {
    /// What the mode means.
    #[must_use]
    pub fn course(&self) -> Course {
        let course = |rows, streams, mends| Course { rows, streams, mends };
        match self.mode {
            SnapshotMode::Always => course(Rows::Always, true, false),
            SnapshotMode::Initial => course(Rows::Once, true, false),
            SnapshotMode::InitialOnly => course(Rows::Once, false, false),
            SnapshotMode::NoData => course(Rows::Never, true, false),
            SnapshotMode::WhenNeeded => course(Rows::Once, true, true),
            SnapshotMode::ConfigurationBased => {
                let rows = if self.based_data { Rows::Once } else { Rows::Never };
                course(rows, self.based_stream, self.based_on_error)
            }
        }
    }

    /// The query for a table's rows, if it has one of its own.
    #[must_use]
    pub fn select(&self, schema: &str, table: &str) -> Option<&str> {
        let name = format!("{schema}.{table}");
        let select = self.selects.get(&name)?.trim().trim_end_matches(';');
        self.select_statement_overrides.contains(&name).then_some(select)
    }

    fn check(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for table in self.select_statement_overrides.iter().filter(|table| !table.is_empty()) {
            if self.selects.get(table).is_none_or(|select| select.trim().is_empty()) {
                let key = format!("select.statement.overrides.{table}");
                let text = format!("snapshot.{key} must have the query for the table {table}");
                errors.push(FieldError::other(key, text));
            }
        }
        for table in self.selects.keys() {
            if !self.select_statement_overrides.iter().any(|named| named == table) {
                let text = format!(
                    "snapshot.select.statement.overrides must name the table {table}, which has a query"
                );
                errors.push(FieldError::other("select.statement.overrides", text));
            }
        }
        let Course { rows, streams, .. } = self.course();
        if rows == Rows::Never && !streams {
            let key = "mode.configuration.based.start.stream";
            let text = format!(
                "snapshot.{key} or snapshot.mode.configuration.based.snapshot.data must be true: there \
                 is nothing to do else"
            );
            errors.push(FieldError::other(key, text));
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(entries: &[(&str, &str)]) -> Result<Snapshot, String> {
        let properties: Properties = entries.iter().copied().collect();
        Snapshot::parse(&properties).map_err(|errors| errors.to_string())
    }

    #[test]
    fn a_mode_may_be_put_together() {
        let based = |which: &[&str]| {
            let mut entries = vec![("mode", "configuration_based")];
            entries.extend(which.iter().map(|key| (*key, "true")));
            snapshot(&entries).map(|snapshot| snapshot.course())
        };
        let (data, stream) =
            ("mode.configuration.based.snapshot.data", "mode.configuration.based.start.stream");
        let expect = Course { rows: Rows::Once, streams: true, mends: false };
        assert_eq!(based(&[data, stream]), Ok(expect));
        assert_eq!(based(&[data]), Ok(Course { streams: false, ..expect }));
        assert_eq!(based(&[stream]), Ok(Course { rows: Rows::Never, ..expect }));
        let error = "mode.configuration.based.snapshot.on.data.error";
        assert_eq!(based(&[data, stream, error]), Ok(Course { mends: true, ..expect }));
        assert!(based(&[]).unwrap_err().contains("nothing to do"));
    }

    #[test]
    fn tables_have_queries_of_their_own() {
        let query = ("select.statement.overrides.s.t", "select * from s.t where x; ");
        let snapshot_of = snapshot(&[("select.statement.overrides", "s.t"), query]).unwrap();
        assert_eq!(snapshot_of.select("s", "t"), Some("select * from s.t where x"));
        assert_eq!(snapshot_of.select("s", "u"), None);
        let without = snapshot(&[("select.statement.overrides", "s.t")]).unwrap_err();
        assert!(without.contains("must have the query for the table s.t"), "{without}");
        assert!(snapshot(&[query]).unwrap_err().contains("must name the table s.t"));
    }
}
