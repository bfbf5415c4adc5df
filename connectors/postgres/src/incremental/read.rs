//! One chunk of a table, over a connection of its own.
//!
//! Duty: ask for the rows after a key, in the key's order, and for those that are to be read once more,
//! all in one transaction that also says what it sees. Nothing is written to the database.

use std::sync::Arc;

use tokio_postgres::types::ToSql;
use towpath_sdk::context::TaskContext;
use towpath_sdk::error::Action;
use towpath_sdk::{Error, ErrorKind, Result};

use super::ids::Seen;
use super::job::{Progress, Request};
use super::window::{Chunk, Key, NULL};
use crate::catalog::{self, Listed, Types};
use crate::client::{self, Purpose, Session, failed};
use crate::config::Config;
use crate::lsn::Lsn;
use crate::rules::Rules;
use crate::snapshot::copy;
use crate::table::{Field, Table};
use crate::unreadable::{self, Read};
use crate::wire::{Target, quote_identifier, quote_literal};

/// How the server is reached, and what is made of its rows.
pub(crate) struct Readers {
    /// The configuration.
    pub(crate) config: Arc<Config>,
    /// What is done to columns.
    pub(crate) rules: Arc<Rules>,
    /// The task.
    pub(crate) cx: TaskContext,
    /// The server.
    pub(crate) target: Target,
}

/// A reader of one table, which lives as long as the table is read.
pub(super) struct Reader {
    session: Session,
    types: Types,
    listed: Option<Listed>,
    table: Option<Arc<Table>>,
}

/// What is asked for.
pub(super) struct Question {
    pub(super) request: Request,
    pub(super) progress: Progress,
    pub(super) limit: usize,
}

/// What came of it.
pub(super) enum Answer {
    /// Rows, and how far the table is with them.
    Rows(Chunk, Progress),
    /// It can't be read: why, and Debezium's word for it.
    Refused(String, &'static str),
}

/// The columns of a table by which its rows are known and ordered.
struct Order {
    /// Those by which rows are known; none if there is no key.
    identity: Vec<Arc<str>>,
    /// Those by which they are ordered.
    columns: Vec<Arc<str>>,
    /// Whether several rows may have the same.
    has_ties: bool,
}

impl Readers {
    async fn reader(&self) -> Result<Reader> {
        let database = &self.config.database;
        let session = client::connect(&self.target, &self.cx, database, Purpose::Rows).await?;
        let types = Types::load(&session).await?;
        Ok(Reader { session, types, listed: None, table: None })
    }

    /// Reads one chunk, with `reader` if there is one.
    ///
    /// # Errors
    /// If the server can't be reached or breaks off.
    pub(super) async fn read(
        &self,
        reader: Option<Reader>,
        question: &Question,
    ) -> Result<(Reader, Answer)> {
        let mut reader = match reader {
            Some(reader) => reader,
            None => self.reader().await?,
        };
        let answer = match self.chunk(&mut reader, question).await {
            Ok(answer) => answer,
            Err(error) if error.action() == Action::Retry => return Err(error),
            // It is about the question itself: a condition that is wrong, a right that is missing.
            Err(error) => Answer::Refused(error.chain(), "SQL_EXCEPTION"),
        };
        let over = reader.session.batch_execute("rollback").await;
        over.map_err(|error| failed("end the reading of a chunk", error))?;
        Ok((reader, answer))
    }

    async fn chunk(&self, reader: &mut Reader, question: &Question) -> Result<Answer> {
        let request = &question.request;
        if reader.listed.is_none() {
            reader.listed = self.listed(reader, &request.table).await?;
        }
        let Some(listed) = reader.listed.clone() else {
            let why = format!("there is no table {} any more", request.table);
            return Ok(Answer::Refused(why, "UNKNOWN_SCHEMA"));
        };
        let from = listed.selected_from();
        // The lock comes first, so that the table is described as the snapshot has it.
        let begin = format!(
            "begin isolation level repeatable read read only; lock table {from} in access share mode"
        );
        let begun = reader.session.batch_execute(&begin).await;
        begun.map_err(|error| failed("begin a chunk", error))?;
        let (seen, high, oid) = seen(&reader.session, &listed).await?;
        if oid != Some(listed.oid) {
            let text = format!("table {} is another one by now", request.table);
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        let (table, order) = match self.describe(reader, &listed, request).await? {
            Ok(described) => described,
            Err(refusal) => return Ok(Answer::Refused(refusal, "NO_PRIMARY_KEY")),
        };
        let mut progress = question.progress.clone();
        let chunk = Chunk { table, seen, high, rows: Vec::new(), bytes: 0 };
        let mut reading = Reading { session: &reader.session, from, request, order, chunk };
        reading.read(&mut progress, question.limit).await?;
        Ok(Answer::Rows(reading.chunk, progress))
    }

    /// The table as the catalog has it now; of several with one name, none.
    async fn listed(&self, reader: &Reader, name: &str) -> Result<Option<Listed>> {
        let tables = catalog::tables(&reader.session).await?;
        Ok(tables.into_iter().find(|table| table.collection() == name))
    }

    /// How rows are decoded and ordered, or why they can't be.
    async fn describe(
        &self,
        reader: &mut Reader,
        listed: &Listed,
        request: &Request,
    ) -> Result<Result<(Arc<Table>, Order), String>> {
        let shape = match catalog::shape(&reader.session, listed, &reader.types).await {
            Ok(shape) => shape,
            // A type may be new.
            Err(_) => {
                reader.types = Types::load(&reader.session).await?;
                catalog::shape(&reader.session, listed, &reader.types).await?
            }
        };
        let nullable = |name: &Arc<str>| {
            shape.columns.iter().all(|column| column.name != *name || !column.is_required)
        };
        let identity = shape.key.clone();
        let name = &request.table;
        let order = match &request.surrogate_key {
            Some(column) => {
                let column: Arc<str> = column.as_str().into();
                if nullable(&column) {
                    return Ok(Err(format!(
                        "the surrogate key {column} of table {name} is no column of it that is never \
                         null: rows without a value would be left out"
                    )));
                }
                Order { columns: vec![column], has_ties: true, identity }
            }
            None if identity.is_empty() || identity.iter().any(nullable) => {
                return Ok(Err(format!(
                    "table {name} has no key whose columns are never null; name a column by which its rows can be ordered in the \
                     signal's surrogate-key"
                )));
            }
            None => Order { columns: identity.clone(), has_ties: false, identity },
        };
        let table = match &reader.table {
            Some(table) if table.shape == shape => Arc::clone(table),
            _ => Arc::new(Table::new(shape, &self.config, &self.rules)?),
        };
        reader.table = Some(Arc::clone(&table));
        Ok(Ok((table, order)))
    }
}

/// What the transaction sees, an LSN before which all of that was committed, and which table has the name.
async fn seen(session: &Session, table: &Listed) -> Result<(Seen, Lsn, Option<u32>)> {
    let what = "take a snapshot";
    // PostgreSQL 12 has this name only. A transaction is seen once its commit is flushed; the end of what is
    // only inserted may stay where it is for long, since nobody flushes what readers tidy up.
    let sql = "
        select pg_catalog.txid_current_snapshot()::text, pg_catalog.pg_is_in_recovery(),
               (case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn()
                     else pg_catalog.pg_current_wal_flush_lsn() end)::text,
               (select c.oid from pg_catalog.pg_class c
                  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                 where n.nspname = $1 and c.relname = $2)";
    let names: [&(dyn ToSql + Sync); 2] = [&table.schema, &table.name];
    let row = session.query_one(sql, &names).await.map_err(|error| failed(what, error))?;
    let text = |at| row.try_get::<_, String>(at).map_err(|error| failed(what, error));
    let is_standby: bool = row.try_get(1).map_err(|error| failed(what, error))?;
    let oid = row.try_get(3).map_err(|error| failed(what, error))?;
    let high: Lsn = text(2)?.parse().map_err(|_| Error::internal(what))?;
    Ok((Seen::read(&text(0)?, is_standby)?, high, oid))
}

/// A chunk while it is read.
struct Reading<'a> {
    session: &'a Session,
    from: String,
    request: &'a Request,
    order: Order,
    chunk: Chunk,
}

/// A row as it came: its columns, and the texts of the key's and the order's.
struct Line {
    row: Read,
    identity: Option<Key>,
    order: Key,
    bytes: usize,
}

impl Reading<'_> {
    async fn read(&mut self, progress: &mut Progress, limit: usize) -> Result<()> {
        if !progress.is_read {
            self.go_on(progress, limit).await?;
        }
        if !progress.again.is_empty() {
            let keys = std::mem::take(&mut progress.again);
            let values: Vec<String> = keys.iter().map(tuple).collect();
            let columns = tuple_of(&self.order.identity);
            let condition = format!("{columns} in ({})", values.join(", "));
            let order = columns_of(&self.order.identity);
            self.rows(&format!("where {condition}{} order by {order}", self.condition()), None)
                .await?;
        }
        Ok(())
    }

    /// Reads the rows after the last one.
    async fn go_on(&mut self, progress: &mut Progress, limit: usize) -> Result<()> {
        if progress.until.is_none() {
            progress.until = self.last().await?;
        }
        let Some(until) = &progress.until else {
            progress.is_read = true;
            return Ok(());
        };
        let columns = tuple_of(&self.order.columns);
        let mut condition = format!("{columns} <= {}", tuple(until));
        if let Some(after) = &progress.after {
            condition = format!("{columns} > {} and {condition}", tuple(after));
        }
        let limit_sql = match self.order.has_ties {
            true => format!("fetch first {limit} rows with ties"),
            false => format!("limit {limit}"),
        };
        let order = columns_of(&self.order.columns);
        let sql = format!("where {condition}{} order by {order} {limit_sql}", self.condition());
        let mut last = None;
        let count = self.rows(&sql, Some(&mut last)).await?;
        progress.is_read = count < limit;
        if last.is_some() {
            progress.after = last;
        }
        Ok(())
    }

    fn condition(&self) -> String {
        self.request.condition.as_ref().map_or_else(String::new, |sql| format!(" and ({sql})"))
    }

    /// The last key there is.
    async fn last(&self) -> Result<Option<Key>> {
        let descending = self.order.columns.iter().map(|name| quote_identifier(name) + " desc");
        let order = descending.collect::<Vec<_>>().join(", ");
        let (columns, from) = (columns_of(&self.order.columns), &self.from);
        let condition = self.condition();
        let sql = format!(
            "copy (select {columns} from {from} where true{condition} order by {order} limit 1) to stdout"
        );
        let mut last = None;
        self.copy(&sql, |line| {
            last = Some(line.fields().map(text).collect::<Result<Key>>()?);
            Ok(())
        })
        .await?;
        Ok(last)
    }

    /// Reads rows, and how many there were; `last` is the place of the last one.
    async fn rows(&mut self, rest: &str, last: Option<&mut Option<Key>>) -> Result<usize> {
        let table = Arc::clone(&self.chunk.table);
        let wanted = table.shown().filter(|(_, is_wanted)| *is_wanted);
        let mut columns: Vec<String> =
            wanted.map(|(column, _)| quote_identifier(&column.name)).collect();
        let of_keys = self.order.identity.iter().chain(&self.order.columns);
        columns.extend(of_keys.map(|name| quote_identifier(name)));
        let sql =
            format!("copy (select {} from {} {rest}) to stdout", columns.join(", "), self.from);
        let identity = self.order.identity.len();
        let mut lines = Vec::new();
        self.copy(&sql, |line| {
            lines.push(read_line(&table, identity, &line)?);
            Ok(())
        })
        .await?;
        let count = lines.len();
        if let (Some(last), Some(line)) = (last, lines.last()) {
            *last = Some(line.order.clone());
        }
        for Line { row, identity, bytes, .. } in lines {
            self.chunk.bytes += bytes;
            self.chunk.rows.push((identity, row));
        }
        Ok(count)
    }

    async fn copy(&self, sql: &str, take: impl FnMut(copy::Row) -> Result<()>) -> Result<()> {
        let what = format!("read a chunk of table {}", self.request.table);
        client::copy_text(self.session, &what, sql, take).await
    }
}

fn read_line(table: &Table, identity: usize, line: &copy::Row) -> Result<Line> {
    let bytes = line.len();
    let row = unreadable::read(table, || table.spread(line.fields()))?;
    let mut fields = line.fields().skip(table.shown().filter(|(_, is_wanted)| *is_wanted).count());
    let of_identity = fields.by_ref().take(identity).map(|field| match field {
        Field::Null => Ok(NULL.to_owned()),
        field => text(field),
    });
    let identity = of_identity.collect::<Result<Key>>()?;
    let order = fields.map(text).collect::<Result<Key>>()?;
    Ok(Line { row, identity: (!identity.is_empty()).then_some(identity), order, bytes })
}

fn text(field: Field<'_>) -> Result<String> {
    match field {
        Field::Text(text) => String::from_utf8(text.to_vec())
            .map_err(|_| Error::data("a value of a key is not in UTF-8")),
        _ => Err(Error::data("a column of a key has no value")),
    }
}

fn columns_of(names: &[Arc<str>]) -> String {
    names.iter().map(|name| quote_identifier(name)).collect::<Vec<_>>().join(", ")
}

fn tuple_of(names: &[Arc<str>]) -> String {
    format!("({})", columns_of(names))
}

/// Values as literals, whose types are those of the columns that they are compared with.
fn tuple(key: &Key) -> String {
    let values: Vec<String> = key.iter().map(|text| quote_literal(text)).collect();
    format!("({})", values.join(", "))
}
