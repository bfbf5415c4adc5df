//! A database for a benchmark, in the stack's PostgreSQL.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio_postgres::{Client, NoTls};
use towpath_tests::{server, unique};

use crate::process::{self, Usage};
use crate::report::Sample;

/// The columns of the rows: an integer, a text of about 45 bytes, a numeric, a timestamptz.
pub(super) const COLUMNS: &str =
    "id int4 primary key, name text, amount numeric(12, 2), at timestamptz";

/// Selects rows from `from` to `to`.
pub(super) fn rows(from: u64, to: u64) -> String {
    format!(
        "select n, 'name of ' || n || ' ' || md5(n::text), (n % 1000000) / 100.0,
                '2024-01-01'::timestamptz + n * interval '1.37 seconds'
           from generate_series({from}, {to}) n"
    )
}

/// Where it is, and a connection.
pub(super) struct Database {
    pub(super) host: String,
    pub(super) port: String,
    pub(super) user: String,
    pub(super) password: String,
    pub(super) name: String,
    pub(super) client: Client,
}

async fn connect(
    host: &str,
    port: &str,
    user: &str,
    password: &str,
    database: &str,
) -> Result<Client> {
    let (client, connection) = tokio_postgres::Config::new()
        .host(host)
        .port(port.parse()?)
        .user(user)
        .password(password)
        .dbname(database)
        .connect(NoTls)
        .await?;
    tokio::spawn(connection);
    Ok(client)
}

/// The folder with the server's programs.
fn programs() -> Result<PathBuf> {
    Ok(server("TOWPATH_TEST_PG15")?.into())
}

impl Database {
    pub(super) async fn create() -> Result<Self> {
        let address = server("TOWPATH_TEST_POSTGRES")?;
        let (host, port) = address.split_once(':').context("an address has a port")?;
        let user = server("TOWPATH_TEST_POSTGRES_USER")?;
        let password = server("TOWPATH_TEST_POSTGRES_PASSWORD")?;
        let name = unique("bench")?.replace('-', "_");
        let admin = connect(host, port, &user, &password, "postgres").await?;
        admin.batch_execute(&format!("create database {name}")).await?;
        let client = connect(host, port, &user, &password, &name).await?;
        let (host, port) = (host.to_owned(), port.to_owned());
        Ok(Self { host, port, user, password, name, client })
    }

    /// Another connection to it.
    pub(super) async fn connect(&self) -> Result<Client> {
        connect(&self.host, &self.port, &self.user, &self.password, &self.name).await
    }

    pub(super) async fn execute(&self, sql: &str) -> Result<()> {
        self.client.batch_execute(sql).await.with_context(|| format!("run {sql:.200}"))
    }

    /// The one number that a query answers with.
    pub(super) async fn number(&self, sql: &str) -> Result<u64> {
        let row = self.client.query_one(sql, &[]).await.with_context(|| sql.to_owned())?;
        Ok(u64::try_from(row.try_get::<_, i64>(0)?)?)
    }

    /// A slot and a publication for all tables, which a connector of that name finds.
    pub(super) async fn create_slot(&self, name: &str, tables: &str) -> Result<()> {
        self.execute(&format!("create publication \"{name}\" for {tables}")).await?;
        self.execute(&format!("select pg_create_logical_replication_slot('{name}', 'pgoutput')"))
            .await
    }

    /// Drops what a connector has made here. Its worker may still be letting go of the slot.
    pub(super) async fn forget(&self, name: &str) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        let drop_slot = format!(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots
              where slot_name = '{name}'"
        );
        while let Err(error) = self.client.batch_execute(&drop_slot).await {
            ensure!(Instant::now() < deadline, "the slot {name} can't be dropped: {error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.execute(&format!("drop publication if exists \"{name}\"")).await
    }

    pub(super) async fn drop(self) -> Result<()> {
        let admin = connect(&self.host, &self.port, &self.user, &self.password, "postgres").await?;
        drop(self.client);
        admin.batch_execute(&format!("drop database {} with (force)", self.name)).await?;
        Ok(())
    }

    /// Runs one of the server's programs, whose output goes nowhere, and says what it took for `records`.
    pub(super) async fn limit(
        &self,
        program: &str,
        arguments: &[&str],
        records: u64,
    ) -> Result<Sample> {
        let mut command = Command::new(programs()?.join(program));
        command
            .args(["-h", &self.host, "-p", &self.port, "-U", &self.user, "-d", &self.name])
            .args(arguments)
            .env("PGPASSWORD", &self.password)
            .stdout(Stdio::null())
            .stderr(Stdio::inherit());
        let measured = tokio::task::spawn_blocking(move || run(command)).await??;
        let (seconds, Usage { cpu_seconds, peak_rss_mib, .. }) = measured;
        Ok(Sample { arrived: records, seconds, cpu_seconds, peak_rss_mib })
    }
}

/// Runs a command to its end: seconds, and what it used.
fn run(mut command: Command) -> Result<(f64, Usage)> {
    let before = process::children_cpu()?;
    let began = Instant::now();
    let mut child = command.spawn().with_context(|| format!("start {command:?}"))?;
    let mut usage = Usage::default();
    let status = loop {
        // Once it has ended there is nothing to see of its memory any more.
        if let Ok(seen) = process::usage(child.id()) {
            usage = seen;
        }
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let seconds = began.elapsed().as_secs_f64();
    ensure!(status.success(), "{command:?} failed: {status}");
    usage.cpu_seconds = process::children_cpu()? - before;
    Ok((seconds, usage))
}
