//! Databases of the stack's PostgreSQL that one test has for itself, and sources that capture them.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio_postgres::{Client, NoTls};

use crate::server;

/// A database of a test's own.
pub(crate) struct Database {
    pub(crate) name: String,
    admin: Client,
    pub(crate) client: Client,
}

impl Database {
    /// Creates one, and executes `sql` in it.
    pub(crate) async fn create(name: &str, sql: &str) -> Result<Self> {
        let admin = connect("postgres").await?;
        admin.batch_execute(&format!("create database {name}")).await?;
        let client = connect(name).await?;
        client.batch_execute(sql).await?;
        Ok(Self { name: name.to_owned(), admin, client })
    }

    /// Another connection.
    pub(crate) async fn connect(&self) -> Result<Client> {
        connect(&self.name).await
    }

    /// The source `class` of its changes, as JSON without schemas: slot and topics have its name.
    pub(crate) fn source(&self, class: &str) -> Result<Value> {
        let address = server("TOWPATH_TEST_POSTGRES")?;
        let (host, port) = address.split_once(':').context("an address has a port")?;
        Ok(json!({
            "connector.class": class,
            "plugin.name": "pgoutput",
            "database.hostname": host,
            "database.port": port,
            "database.user": server("TOWPATH_TEST_POSTGRES_USER")?,
            "database.password": server("TOWPATH_TEST_POSTGRES_PASSWORD")?,
            "database.dbname": self.name,
            "slot.name": self.name,
            "topic.prefix": self.name,
            "key.converter": "org.apache.kafka.connect.json.JsonConverter",
            "key.converter.schemas.enable": "false",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter.schemas.enable": "false",
            "topic.creation.default.partitions": "1",
            "topic.creation.default.replication.factor": "1",
        }))
    }

    /// Whether its slot is there.
    pub(crate) async fn has_slot(&self) -> Result<bool> {
        let sql = "select from pg_replication_slots where slot_name = $1";
        Ok(!self.client.query(sql, &[&self.name]).await?.is_empty())
    }

    /// Drops it with its slot, if that is there.
    pub(crate) async fn drop(self) -> Result<()> {
        let slot = "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = $1";
        self.admin.execute(slot, &[&self.name]).await?;
        self.admin.batch_execute(&format!("drop database {} with (force)", self.name)).await?;
        Ok(())
    }
}

async fn connect(database: &str) -> Result<Client> {
    let address = server("TOWPATH_TEST_POSTGRES")?;
    let (host, port) = address.split_once(':').context("an address has a port")?;
    let (client, connection) = tokio_postgres::Config::new()
        .host(host)
        .port(port.parse()?)
        .user(server("TOWPATH_TEST_POSTGRES_USER")?)
        .password(server("TOWPATH_TEST_POSTGRES_PASSWORD")?)
        .dbname(database)
        .connect(NoTls)
        .await?;
    tokio::spawn(connection);
    Ok(client)
}
