//! The commands of replication.
//!
//! Duty: put the commands of <https://www.postgresql.org/docs/current/protocol-replication.html>
//! together, quoted, and read their answers into types.

use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::{Connection, Rows, unexpected};
use super::error::{Cause, Result};
use super::stream::Stream;
use crate::lsn::Lsn;

/// What `IDENTIFY_SYSTEM` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// Tells the cluster from all others; a copy or a standby has the same.
    pub system_id: String,
    /// The timeline it is on: it goes up when a standby becomes the primary.
    pub timeline: u32,
    /// Up to where the log is flushed.
    pub flushed: Lsn,
    /// The database of this connection.
    pub database: Option<String>,
}

/// A slot that is to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewSlot<'a> {
    /// Its name.
    pub name: &'a str,
    /// The plug-in that decodes.
    pub plugin: &'a str,
    /// Whether it goes with the connection.
    pub temporary: bool,
    /// Whether other sessions can read what was there before the slot's first change. That goes for as
    /// long as this connection lives and does nothing else.
    pub export_snapshot: bool,
    /// Whether standbys get it too (17 and later; older servers are not asked).
    pub failover: bool,
}

/// A slot that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedSlot {
    /// Its name.
    pub name: String,
    /// All transactions that end after this are streamed.
    pub consistent_point: Lsn,
    /// What to `SET TRANSACTION SNAPSHOT` to, if it was to be exported.
    pub snapshot: Option<String>,
}

/// The part of a timeline's history that the server keeps in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineHistory {
    /// The file's name.
    pub file: String,
    /// What is in it.
    pub content: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Asks who the server is.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    pub async fn identify_system(&mut self) -> Result<System> {
        let answer = self.ask("IDENTIFY_SYSTEM").await;
        answer.and_then(|rows| system(&rows)).map_err(|cause| self.error("identify", cause))
    }

    /// Makes a logical slot. Waits for all transactions that are running to end.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query); a slot of that name that is there is SQLSTATE 42710.
    pub async fn create_slot(&mut self, slot: &NewSlot<'_>) -> Result<CreatedSlot> {
        let command = create_slot(slot, self.server_major());
        let answer = self.ask(&command).await;
        let created = answer.and_then(|rows| created_slot(&rows));
        created.map_err(|cause| self.error("create a replication slot on", cause))
    }

    /// Drops a slot; with `wait`, once nobody uses it.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query); a slot that is not there is SQLSTATE 42704.
    pub async fn drop_slot(&mut self, name: &str, wait: bool) -> Result<()> {
        let wait = if wait { " WAIT" } else { "" };
        let command = format!("DROP_REPLICATION_SLOT {}{wait}", quote_identifier(name));
        match self.ask(&command).await {
            Ok(_) => Ok(()),
            Err(cause) => Err(self.error("drop a replication slot on", cause)),
        }
    }

    /// Asks where timelines up to `timeline` branched off.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query); the first timeline has no history (SQLSTATE 58P01).
    pub async fn timeline_history(&mut self, timeline: u32) -> Result<TimelineHistory> {
        let answer = self.ask(&format!("TIMELINE_HISTORY {timeline}")).await;
        let history = answer.and_then(|rows| {
            Ok(TimelineHistory {
                file: value(&rows, "filename")?.to_owned(),
                content: value(&rows, "content")?.to_owned(),
            })
        });
        history.map_err(|cause| self.error("read a timeline's history on", cause))
    }

    /// Starts streaming from `slot`, with the first transaction that was committed at or after `from`
    /// or what the slot has confirmed, whichever is later. `options` go to the plug-in
    /// (<https://www.postgresql.org/docs/current/protocol-logical-replication.html>).
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query); a slot that somebody uses is SQLSTATE 55006. The connection is gone.
    pub async fn start_replication(
        mut self,
        slot: &str,
        from: Lsn,
        options: &[(&str, &str)],
    ) -> Result<Stream<S>> {
        match self.start_copy(&start_replication(slot, from, options)).await {
            Ok(()) => Ok(Stream::new(self.channel, self.peer)),
            Err(cause) => Err(self.error("start replication on", cause)),
        }
    }

    async fn start_copy(&mut self, command: &str) -> Result<(), Cause> {
        self.send(command).await?;
        match self.receive().await?.tag {
            b'W' => Ok(()),
            other => Err(unexpected(other, "in answer to START_REPLICATION")),
        }
    }
}

fn create_slot(slot: &NewSlot<'_>, server_major: u32) -> String {
    let name = quote_identifier(slot.name);
    let plugin = quote_identifier(slot.plugin);
    let temporary = if slot.temporary { " TEMPORARY" } else { "" };
    let mut command = format!("CREATE_REPLICATION_SLOT {name}{temporary} LOGICAL {plugin}");
    // Options in parentheses came with 15.
    command.push_str(match (server_major, slot.export_snapshot) {
        (..15, true) => " EXPORT_SNAPSHOT",
        (..15, false) => " NOEXPORT_SNAPSHOT",
        (_, true) => " (SNAPSHOT 'export'",
        (_, false) => " (SNAPSHOT 'nothing'",
    });
    if slot.failover && server_major >= 17 {
        command.push_str(", FAILOVER true");
    }
    if server_major >= 15 {
        command.push(')');
    }
    command
}

fn start_replication(slot: &str, from: Lsn, options: &[(&str, &str)]) -> String {
    let mut command = format!("START_REPLICATION SLOT {} LOGICAL {from}", quote_identifier(slot));
    for (n, (name, value)) in options.iter().enumerate() {
        command.push_str(if n == 0 { " (" } else { ", " });
        command.push_str(&format!("{} {}", quote_identifier(name), quote_literal(value)));
    }
    if !options.is_empty() {
        command.push(')');
    }
    command
}

fn system(rows: &Rows) -> Result<System, Cause> {
    Ok(System {
        system_id: value(rows, "systemid")?.to_owned(),
        timeline: parsed(rows, "timeline")?,
        flushed: parsed(rows, "xlogpos")?,
        database: rows.first("dbname").map(str::to_owned),
    })
}

fn created_slot(rows: &Rows) -> Result<CreatedSlot, Cause> {
    Ok(CreatedSlot {
        name: value(rows, "slot_name")?.to_owned(),
        consistent_point: parsed(rows, "consistent_point")?,
        snapshot: rows.first("snapshot_name").map(str::to_owned),
    })
}

fn value<'a>(rows: &'a Rows, name: &str) -> Result<&'a str, Cause> {
    rows.first(name).ok_or_else(|| Cause::unexpected(format_args!("an answer without {name}")))
}

fn parsed<T: std::str::FromStr>(rows: &Rows, name: &str) -> Result<T, Cause> {
    let text = value(rows, name)?;
    text.parse().map_err(|_| Cause::unexpected(format_args!("the {name} '{text}'")))
}

/// `name` as an identifier in SQL and in commands of replication. The latter know no way to write a
/// quotation mark: a name with one is a syntax error there, whatever else is in it.
#[must_use]
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `text` as a literal in commands of replication, and in SQL with `standard_conforming_strings`.
#[must_use]
pub fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_quoted() {
        let options = [("proto_version", "1"), ("publication_names", r#""it's""#)];
        assert_eq!(
            start_replication(r#"a"b"#, Lsn(0x1_0000_000A), &options),
            r#"START_REPLICATION SLOT "a""b" LOGICAL 1/A ("proto_version" '1', "publication_names" '"it''s"')"#
        );
        assert_eq!(
            start_replication("s", Lsn::ZERO, &[]),
            r#"START_REPLICATION SLOT "s" LOGICAL 0/0"#
        );
    }

    #[test]
    fn old_servers_are_asked_in_their_words() {
        let slot = NewSlot {
            name: "s",
            plugin: "pgoutput",
            temporary: true,
            export_snapshot: true,
            failover: true,
        };
        let head = r#"CREATE_REPLICATION_SLOT "s" TEMPORARY LOGICAL "pgoutput""#;
        assert_eq!(create_slot(&slot, 14), format!("{head} EXPORT_SNAPSHOT"));
        assert_eq!(create_slot(&slot, 15), format!("{head} (SNAPSHOT 'export')"));
        assert_eq!(create_slot(&slot, 17), format!("{head} (SNAPSHOT 'export', FAILOVER true)"));
        let slot = NewSlot { temporary: false, export_snapshot: false, ..slot };
        assert!(create_slot(&slot, 9).ends_with(r#""s" LOGICAL "pgoutput" NOEXPORT_SNAPSHOT"#));
    }
}
