//! Debezium's keys that are not supported: each is refused unless it has its default.

use towpath_sdk::config::{ConnectorConfig, FieldError, Properties};

macro_rules! not_yet {
    ($($(#[doc = $doc:literal])+ $key:literal $field:ident = $default:literal, $why:literal;)+) => {
        /// Keys of Debezium that are not supported.
        #[derive(Debug, Clone, ConnectorConfig)]
        #[config(group = "Not supported", validate = NotYet::check)]
        pub struct NotYet {
            $(
                $(#[doc = $doc])+
                #[config(key = $key, default = $default, importance = low)]
                pub $field: String,
            )+
            /// Settings of Debezium's JDBC driver. Not supported.
            #[config(prefix = "driver.", importance = low)]
            pub driver: Properties,
        }

        impl NotYet {
            /// The keys that have another value than their default.
            fn check(&self) -> Vec<FieldError> {
                let mut errors = Vec::new();
                $(
                    if !self.$field.eq_ignore_ascii_case($default) {
                        errors.push(refusal($key, &self.$field, $default, $why));
                    }
                )+
                let driver = self.driver.iter();
                errors.extend(driver.map(|(key, value)| {
                    let key = format!("driver.{key}");
                    refusal(&key, value, "", "there is no JDBC driver here; use database.*")
                }));
                errors
            }
        }
    };
}

fn refusal(key: &str, value: &str, default: &str, why: &str) -> FieldError {
    let reason = match default {
        "" => format!("{why}; leave it out"),
        default => format!("{why}; leave it out, or at '{default}'"),
    };
    FieldError::invalid(key, Some(value), reason)
}

not_yet! {
    /// A class that makes connections. Not supported.
    "database.connection.factory.class" connection_factory = "", "classes of Java are not run";
    /// A class that makes encrypted sockets. Not supported.
    "database.sslfactory" sslfactory = "", "classes of Java are not run; use database.sslmode";
    /// Databases to capture: a key of other connectors. Not supported.
    "database.include.list" database_include = "", "one database is read, database.dbname";
    /// Databases to leave out: a key of other connectors. Not supported.
    "database.exclude.list" database_exclude = "", "one database is read, database.dbname";
    /// Whether tables of the system are left out. They always are.
    "table.ignore.builtin" ignore_builtin = "true", "tables of the system are never captured";
    /// How often the oldest transaction is looked up for the field `xmin`. Not supported.
    "xmin.fetch.interval.ms" xmin_fetch_interval = "0", "the field xmin is not supported";
    /// A file of signals. Not supported.
    "signal.file" signal_file = "", "use the channel source or kafka, or the REST API";
    /// Converters of columns. Not supported.
    "converters" converters = "", "classes of Java are not run; use a transform";
    /// Processors of records. Not supported.
    "post.processors" post_processors = "", "classes of Java are not run; use a transform";
    /// The class that names topics. Not supported.
    "topic.naming.strategy" topic_naming = "io.debezium.schema.SchemaTopicNamingStrategy",
        "classes of Java are not run; use a transform that routes";
    /// The class that makes transactions' metadata. Not supported.
    "transaction.metadata.factory" transaction_metadata =
        "io.debezium.pipeline.txmetadata.DefaultTransactionMetadataFactory",
        "classes of Java are not run";
    /// The class that makes the block `source`. Not supported.
    "sourceinfo.struct.maker" source_info =
        "io.debezium.connector.postgresql.PostgresSourceInfoStructMaker",
        "classes of Java are not run";
    /// A snapshotter of one's own. Not supported.
    "snapshot.mode.custom.name" snapshot_custom = "", "classes of Java are not run";
    /// Locks of one's own. Not supported.
    "snapshot.locking.mode.custom.name" locking_custom = "", "classes of Java are not run";
    /// How rows are queried. Not supported.
    "snapshot.query.mode" snapshot_query = "select_all",
        "use snapshot.select.statement.overrides for queries of one's own";
    /// Queries of one's own. Not supported.
    "snapshot.query.mode.custom.name" snapshot_query_custom = "", "classes of Java are not run";
    /// Whether comments are read for schemas. Not supported.
    "include.schema.comments" schema_comments = "false", "comments are not read";
    /// What happens to events that can't be handled. Not supported: `errors.tolerance` says it for each
    /// connector, with a dead letter queue.
    "event.processing.failure.handling.mode" failure_handling = "fail",
        "a row that can't be shown goes the way of errors.tolerance, to the dead letter queue if there is one";
    /// What happens to values that can't be converted. Not supported: a value is never replaced by null, and a
    /// row with one that can't be shown goes the way of `errors.tolerance`.
    "event.converting.failure.handling.mode" converting_failure = "fail",
        "a value is never replaced by null; a row that can't be shown goes the way of errors.tolerance";
    /// Whether metadata go to OpenLineage. Not supported.
    "openlineage.integration.enabled" open_lineage = "false", "OpenLineage is not supported";
}
