//! The plug-in: `PostgresConnector` of Debezium, and `postgres-cdc`.

use std::num::NonZeroU32;
use std::sync::Arc;

use towpath_sdk::context::{ConnectorContext, SourceTaskContext};
use towpath_sdk::guarantee::Guarantee;
use towpath_sdk::leftover::{Fate, Leftover};
use towpath_sdk::offset::{SourceOffset, SourcePartition};
use towpath_sdk::plugin::{PluginInfo, PluginName};
use towpath_sdk::source::{SourceConnector, TaskShare};
use towpath_sdk::{Error, Result};

use crate::config::replication::Autocreate;
use crate::config::{Config, OUR_DEFAULTS};
use crate::offset::{self, Stored};
use crate::task::{PostgresTask, drop_slot};
use crate::wire::quote_identifier;

/// Reads all changes of a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresSource;

impl SourceConnector for PostgresSource {
    type Config = Config;
    type Task = PostgresTask;

    fn plugin() -> PluginInfo {
        const NAMES: &[PluginName] = &[
            PluginName::with_defaults("postgres-cdc", OUR_DEFAULTS),
            PluginName::new("io.debezium.connector.postgresql.PostgresConnector"),
        ];
        PluginInfo {
            names: NAMES,
            version: env!("CARGO_PKG_VERSION"),
            summary: "Reads the rows of a PostgreSQL database and every change of them, in Debezium's form.",
        }
    }

    fn guarantee(_config: &Config) -> Guarantee {
        Guarantee::exactly_once(
            "offsets say which change of which transaction was the last; only rows that change while a \
             snapshot is interrupted come more than once",
        )
    }

    async fn start(_config: Arc<Config>, _cx: ConnectorContext) -> Result<Self> {
        Ok(Self)
    }

    async fn plan(&mut self, _max: NonZeroU32) -> Result<Vec<TaskShare>> {
        // A slot has one reader.
        Ok(vec![TaskShare::new()])
    }

    async fn task(
        config: Arc<Config>,
        _share: TaskShare,
        cx: SourceTaskContext,
    ) -> Result<PostgresTask> {
        PostgresTask::new(config, cx)
    }

    fn leftovers(config: &Config) -> Vec<Leftover> {
        let replication = &config.replication;
        let slot = &replication.slot_name;
        let fate = match replication.slot_drop_on_delete {
            true => Fate::Removed,
            false => Fate::Stays(format!(
                "it keeps the server's log until somebody runs SELECT \
                 pg_drop_replication_slot('{slot}') in the database {}",
                config.database.dbname
            )),
        };
        let mut all = vec![Leftover { kind: "replication slot", name: slot.clone(), fate }];
        if replication.publication_autocreate_mode != Autocreate::Disabled {
            let publication = &replication.publication_name;
            let drop = format!("DROP PUBLICATION {}", quote_identifier(publication));
            let fate = Fate::Stays(format!("it costs nothing; {drop} removes it"));
            all.push(Leftover { kind: "publication", name: publication.clone(), fate });
        }
        all
    }

    async fn deleted(config: Arc<Config>) -> Result<()> {
        if !config.replication.slot_drop_on_delete {
            return Ok(());
        }
        drop_slot(&config, "drops a slot").await?;
        tracing::info!(slot = %config.replication.slot_name, "dropped the replication slot with its connector");
        Ok(())
    }

    fn check_offset(
        config: &Config,
        partition: &SourcePartition,
        offset: Option<&SourceOffset>,
    ) -> Result<()> {
        let Some(offset) = offset else { return Ok(()) };
        if *partition != offset::partition(&config.topic_prefix) {
            let prefix = &config.topic_prefix;
            return Err(Error::config(format!(
                "the partition of this connector is {{\"server\": \"{prefix}\"}}"
            )));
        }
        Stored::read(offset).map(drop)
    }
}
