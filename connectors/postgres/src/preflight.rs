//! What has to be right on the server before anything starts.
//!
//! Duty: find what is wrong and say it with the SQL that would mend it; make the publication.

use std::time::Duration;

use tokio_postgres::Client;
use towpath_sdk::{Error, ErrorKind, Result};

use crate::catalog::{self, Listed, Slot};
use crate::client::failed;
use crate::config::Config;
use crate::config::engine::LimitAction;
use crate::config::replication::{Autocreate, Identity};
use crate::run::in_use;
use crate::wire::quote_identifier;

/// Sees that the server decodes its log, for a user who may ask it to; whether it is a standby.
///
/// # Errors
/// What is wrong and would mend it.
pub(crate) async fn server(client: &Client, config: &Config) -> Result<bool> {
    let what = "look at the server's settings";
    let sql = "select current_setting('wal_level'), r.rolreplication or r.rolsuper, \
               current_setting('server_version_num')::int4, pg_catalog.pg_is_in_recovery() \
               from pg_catalog.pg_roles r where r.rolname = current_user";
    let row = client.query_one(sql, &[]).await.map_err(|error| failed(what, error))?;
    let wal_level: String = row.try_get(0).map_err(|error| failed(what, error))?;
    let may_replicate: bool = row.try_get(1).map_err(|error| failed(what, error))?;
    let version: i32 = row.try_get(2).map_err(|error| failed(what, error))?;
    if version < 120_000 {
        let text =
            format!("PostgreSQL {} is too old; 12 is the first that is read", version / 10_000);
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    let is_standby: bool = row.try_get(3).map_err(|error| failed(what, error))?;
    if is_standby && version < 160_000 {
        return Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "the server is a standby, which PostgreSQL {} can't decode changes on (16 is the first \
                 that can); waiting until it is promoted",
                version / 10_000
            ),
        ));
    }
    if wal_level != "logical" {
        return Err(Error::config(format!(
            "the server's wal_level is {wal_level}; changes can't be decoded from its log: run ALTER \
             SYSTEM SET wal_level = logical, and restart the server"
        )));
    }
    if !may_replicate {
        let user = quote_identifier(&config.database.user);
        return Err(Error::new(
            ErrorKind::Forbidden,
            format!("the user may not read the log: run ALTER ROLE {user} REPLICATION"),
        ));
    }
    Ok(is_standby)
}

/// After how long without a word of ours the server ends a stream; `None` is never.
///
/// # Errors
/// If the server can't be asked.
pub(crate) async fn sender_timeout(client: &Client) -> Result<Option<Duration>> {
    let failed = |error| failed("look at wal_sender_timeout", error);
    let sql = "select setting::int8 from pg_catalog.pg_settings where name = 'wal_sender_timeout'";
    let row = client.query_one(sql, &[]).await.map_err(failed)?;
    let millis: i64 = row.try_get(0).map_err(failed)?;
    Ok(u64::try_from(millis).ok().filter(|millis| *millis > 0).map(Duration::from_millis))
}

/// Whether the slot can be read.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn slot(slot: &Slot, config: &Config) -> Result<()> {
    let name = &config.replication.slot_name;
    let refuse = |text: String| Err(Error::config(text));
    match slot.plugin.as_deref() {
        None => {
            return refuse(format!(
                "the replication slot {name} is a physical one; set slot.name to another"
            ));
        }
        Some("pgoutput") => {}
        Some(other) => {
            return refuse(format!(
                "the replication slot {name} was made for {other}, not for pgoutput; set slot.name to \
                 another, or run SELECT pg_drop_replication_slot('{name}')"
            ));
        }
    }
    if slot.database.as_deref() != Some(&config.database.dbname) {
        let database = slot.database.as_deref().unwrap_or("another");
        return refuse(format!(
            "the replication slot {name} is of the database {database}; set slot.name to another"
        ));
    }
    if slot.is_copy {
        return Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "the replication slot {name} is a standby's copy of its primary's; waiting until the \
                 server is promoted"
            ),
        ));
    }
    match slot.active_pid {
        Some(pid) => Err(in_use(name, pid, config.replication.slot_retry_delay_ms)),
        None => Ok(()),
    }
}

/// Whether there are not too many tables.
///
/// # Errors
/// If there are, and that is an error.
pub(crate) fn count(config: &Config, tables: &[Listed]) -> Result<()> {
    let (max, count) = (config.engine.guardrail_collections_max, tables.len());
    if max == 0 || count <= max as usize {
        return Ok(());
    }
    let text =
        format!("{count} tables match the filters, more than guardrail.collections.max={max}");
    match config.engine.guardrail_collections_limit_action {
        LimitAction::Fail => Err(Error::config(text)),
        LimitAction::Warn => {
            tracing::warn!("{text}");
            Ok(())
        }
    }
}

/// Gives tables the replica identities that the configuration wants.
///
/// # Errors
/// If the user may not.
pub(crate) async fn replica_identities(
    client: &Client,
    config: &Config,
    tables: &[Listed],
) -> Result<()> {
    let Some(identities) = &config.replication.replica_identity_autoset_values else {
        return Ok(());
    };
    for table in tables {
        let Some(wanted) = identities.of(&table.schema, &table.name) else { continue };
        let Some((kind, index)) = catalog::replica_identity(client, table.oid).await? else {
            continue;
        };
        let (letter, words) = match wanted {
            Identity::Default => ("d", "default".to_owned()),
            Identity::Full => ("f", "full".to_owned()),
            Identity::Nothing => ("n", "nothing".to_owned()),
            Identity::Index(name) => ("i", format!("using index {}", quote_identifier(name))),
        };
        let is_index = match wanted {
            Identity::Index(name) => index.as_ref() == Some(name),
            _ => true,
        };
        if kind == letter && is_index {
            continue;
        }
        let name = format!("{}.{}", quote_identifier(&table.schema), quote_identifier(&table.name));
        let sql = format!("alter table {name} replica identity {words}");
        tracing::info!(%sql, "setting a replica identity");
        let outcome = client.batch_execute(&sql).await;
        outcome.map_err(|error| failed(&format!("set a replica identity by: {sql}"), error))?;
    }
    Ok(())
}

/// Locks tables in the connection's transaction, so that they are not altered.
///
/// # Errors
/// If a lock can't be had in time.
pub(crate) async fn lock(client: &Client, config: &Config, tables: &[&Listed]) -> Result<()> {
    let timeout = config.snapshot.lock_timeout_ms.as_millis();
    let name = |table: &&Listed| {
        format!("only {}.{}", quote_identifier(&table.schema), quote_identifier(&table.name))
    };
    let names: Vec<String> = tables.iter().map(name).collect();
    let lock = match names.is_empty() {
        true => String::new(),
        false => format!("; lock table {} in access share mode", names.join(", ")),
    };
    let sql = format!("begin; set local lock_timeout = {timeout}{lock}");
    let outcome = client.batch_execute(&sql).await;
    outcome.map_err(|error| failed("lock the tables of the snapshot", error))
}

/// The table of signals, if signals come from one; whether it is captured does not matter.
///
/// # Errors
/// If it is not there.
pub(crate) async fn signals(client: &Client, config: &Config) -> Result<Option<Listed>> {
    let Some(name) = config.signals.table() else { return Ok(None) };
    let found = catalog::tables(client).await?.into_iter().find(|table| table.collection() == name);
    let missing = || {
        Error::new(
            ErrorKind::NotFound,
            format!(
                "signal.data.collection={name} is not there: run CREATE TABLE {name} (id varchar(42) \
                 PRIMARY KEY, type varchar(32) NOT NULL, data text), or leave the key out"
            ),
        )
    };
    found.ok_or_else(missing).map(Some)
}

/// Sees that the publication is there and covers `tables`.
///
/// # Errors
/// If it is not and can't be made so.
pub(crate) async fn publication(client: &Client, config: &Config, tables: &[Listed]) -> Result<()> {
    let Err(error) = make_publication(client, config, tables).await else { return Ok(()) };
    // Another connector may have been faster; PostgreSQL has more than one error for that.
    match catalog::publication(client, &config.replication.publication_name).await {
        Ok(Some(_)) => make_publication(client, config, tables).await,
        _ => Err(error),
    }
}

async fn make_publication(client: &Client, config: &Config, tables: &[Listed]) -> Result<()> {
    let name = &config.replication.publication_name;
    let found = catalog::publication(client, name).await?;
    let names = |tables: &[&Listed]| {
        let name = |table: &&Listed| {
            format!("{}.{}", quote_identifier(&table.schema), quote_identifier(&table.name))
        };
        tables.iter().map(name).collect::<Vec<_>>().join(", ")
    };
    // Partitions are published with the table they belong to.
    let roots: Vec<&Listed> = tables
        .iter()
        .filter(|table| table.root == table.oid || tables.iter().all(|t| t.oid != table.root))
        .collect();
    let sql = match (found, config.replication.publication_autocreate_mode) {
        (Some((true, _)), _) => return Ok(()),
        (Some((false, there)), Autocreate::Filtered) => {
            let missing: Vec<&Listed> = tables
                .iter()
                .filter(|table| !table.is_partitioned && !there.contains(&table.oid))
                .collect();
            // With publish_via_partition_root the list holds roots, and those cover their partitions.
            let missing: Vec<&Listed> =
                missing.into_iter().filter(|table| !there.contains(&table.root)).collect();
            if missing.is_empty() {
                return Ok(());
            }
            format!("alter publication {} add table {}", quote_identifier(name), names(&missing))
        }
        (Some(_), _) => return Ok(()),
        (None, Autocreate::Disabled) => {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!(
                    "the publication {name} is not there, and publication.autocreate.mode=disabled: run \
                     CREATE PUBLICATION {} FOR TABLE {}",
                    quote_identifier(name),
                    names(&roots)
                ),
            ));
        }
        (None, mode) => {
            let which = match mode {
                Autocreate::AllTables => " for all tables".to_owned(),
                Autocreate::Filtered if roots.is_empty() => {
                    return Err(Error::new(
                        ErrorKind::NotFound,
                        "no table matches the filters, so that no publication can be made for them",
                    ));
                }
                Autocreate::Filtered => format!(" for table {}", names(&roots)),
                Autocreate::Disabled | Autocreate::NoTables => String::new(),
            };
            let options = options(config);
            format!("create publication {}{which} with ({options})", quote_identifier(name))
        }
    };
    tracing::info!(%sql, "making the publication fit");
    let outcome = client.batch_execute(&sql).await;
    outcome.map_err(|error| failed(&format!("make the publication fit by: {sql}"), error))
}

fn options(config: &Config) -> String {
    let operations = [("c", "insert"), ("u", "update"), ("d", "delete"), ("t", "truncate")];
    let published: Vec<&str> = operations
        .iter()
        .filter(|(op, _)| !config.filters.skips(op))
        .map(|(_, name)| *name)
        .collect();
    let mut options = format!("publish = '{}'", published.join(", "));
    if config.replication.publish_via_partition_root {
        options.push_str(", publish_via_partition_root = true");
    }
    options
}
