//! What is asked of the catalogs.
//!
//! Duty: types, tables, keys, publications, slots and permissions, over an ordinary connection. What
//! the replication protocol does not carry (NOT NULL, defaults, labels of enums, the primary key under
//! REPLICA IDENTITY FULL) comes from here and is as of now, not as of an LSN.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};
use towpath_sdk::{Error, Result};

use crate::client::failed;
use crate::lsn::Lsn;
use crate::table::{ColumnShape, Shape};
use crate::types::{PgKind, PgType};
use crate::wire::quote_identifier;

/// The types of a database by object id.
#[derive(Debug, Clone, Default)]
pub(crate) struct Types(HashMap<u32, Arc<PgType>>);

/// What the catalog adds to a relation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Details {
    /// The columns of the primary key, or else of a unique index, in its order.
    pub(crate) key: Vec<Arc<str>>,
    /// By name: whether it is never null, and its default.
    columns: HashMap<Arc<str>, (bool, Option<Arc<str>>)>,
}

/// A table to read rows from.
#[derive(Debug, Clone)]
pub(crate) struct Heap {
    /// Its description; of a partition, under the names of the table that its changes show.
    pub(crate) shape: Shape,
    /// What its rows are selected from: `only` its own schema and name, or a query.
    pub(crate) from: String,
    /// Which file its rows are in.
    pub(crate) filenode: u32,
    /// How many blocks it has.
    pub(crate) blocks: u32,
    /// Whether its rows have places that can be asked for (a foreign table's have none).
    pub(crate) has_places: bool,
}

/// A replication slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// The plug-in; none for a physical slot.
    pub(crate) plugin: Option<String>,
    /// The database.
    pub(crate) database: Option<String>,
    /// Whether something reads from it, and the process that does.
    pub(crate) active_pid: Option<i32>,
    /// Up to where the server was told that changes are stored.
    pub(crate) confirmed: Option<Lsn>,
    /// The first change that it still has.
    pub(crate) restart: Option<Lsn>,
    /// `lost` once the server has removed log that it needs.
    pub(crate) wal_status: Option<String>,
    /// Why the server will not send from it any more, if it says so (17 and later).
    pub(crate) invalidated: Option<String>,
    /// Whether it is a copy of the primary's, which can't be read from before a promotion (17 and later).
    pub(crate) is_copy: bool,
}

const TYPES: &str = "
    select t.oid, t.typname, t.typtype::text, t.typelem, t.typbasetype, t.typtypmod,
           (t.typelem <> 0 and t.typlen = -1 and a.oid is not null),
           coalesce((select array_agg(e.enumlabel::text order by e.enumsortorder)
                       from pg_catalog.pg_enum e where e.enumtypid = t.oid), '{}')
      from pg_catalog.pg_type t
      left join pg_catalog.pg_type a on a.typarray = t.oid";

const COLUMNS: &str = "
    select a.attname, a.attnotnull, pg_catalog.pg_get_expr(d.adbin, d.adrelid), a.atttypid,
           a.atttypmod, a.attgenerated::text
      from pg_catalog.pg_attribute a
      left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
     where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
     order by a.attnum";

/// The primary key, or else the first unique index by name that is of plain columns and whole.
const KEYS: &str = "
    select array_agg(a.attname::text order by k.place)
      from pg_catalog.pg_index i
     cross join lateral unnest(i.indkey::int2[]) with ordinality k(attnum, place)
      left join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
     where i.indrelid = $1 and i.indisunique and i.indisvalid and i.indpred is null
       and i.indexprs is null and k.place <= i.indnkeyatts
     group by i.indexrelid, i.indisprimary
     order by i.indisprimary desc, i.indexrelid::regclass::text
     limit 1";

const TABLES: &str = "
    select c.oid, n.nspname, c.relname, c.relkind::text,
           coalesce(pg_catalog.pg_partition_root(c.oid)::oid, c.oid)
      from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p') and c.relpersistence = 'p'
       and n.nspname <> 'information_schema' and n.nspname not like 'pg\\_%'
     order by n.nspname, c.relname";

/// A table as the catalog lists it.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    /// Its object id.
    pub(crate) oid: u32,
    /// Its schema.
    pub(crate) schema: String,
    /// Its name.
    pub(crate) name: String,
    /// Whether it is partitioned: its rows are in its partitions.
    pub(crate) is_partitioned: bool,
    /// The table at the root, if it is a partition; else itself.
    pub(crate) root: u32,
}

impl Listed {
    /// `schema.table`.
    #[must_use]
    pub(crate) fn collection(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// What its rows are selected from, in SQL: with those of its partitions, without those of tables that
    /// inherit from it.
    #[must_use]
    pub(crate) fn selected_from(&self) -> String {
        let only = if self.is_partitioned { "" } else { "only " };
        format!("{only}{}.{}", quote_identifier(&self.schema), quote_identifier(&self.name))
    }
}

async fn rows(client: &Client, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
    client.query(sql, params).await.map_err(|error| failed("read the catalog", error))
}

/// A column of a row, whatever its place.
fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, at: usize) -> Result<T> {
    row.try_get(at).map_err(|error| failed("read the catalog", error))
}

impl Types {
    /// All types there are now.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub(crate) async fn load(client: &Client) -> Result<Self> {
        struct Described {
            name: String,
            kind: String,
            element: u32,
            base: u32,
            typmod: i32,
            is_array: bool,
            labels: Vec<String>,
        }
        let mut described = HashMap::new();
        for row in rows(client, TYPES, &[]).await? {
            let kind = Described {
                name: get(&row, 1)?,
                kind: get(&row, 2)?,
                element: get(&row, 3)?,
                base: get(&row, 4)?,
                typmod: get(&row, 5)?,
                is_array: get(&row, 6)?,
                labels: get(&row, 7)?,
            };
            described.insert(get::<u32>(&row, 0)?, kind);
        }
        fn build(
            oid: u32,
            depth: u32,
            described: &HashMap<u32, Described>,
            types: &mut HashMap<u32, Arc<PgType>>,
        ) -> Option<Arc<PgType>> {
            if let Some(known) = types.get(&oid) {
                return Some(Arc::clone(known));
            }
            // Domains over arrays of domains end somewhere; a damaged catalog need not.
            if depth > 16 {
                return None;
            }
            let t = described.get(&oid)?;
            let kind = match t.kind.as_str() {
                _ if t.is_array => PgKind::Array(build(t.element, depth + 1, described, types)?),
                "e" => PgKind::Enum(t.labels.iter().map(|label| label.as_str().into()).collect()),
                "d" => PgKind::Domain {
                    base: build(t.base, depth + 1, described, types)?,
                    typmod: t.typmod,
                },
                "r" | "m" => PgKind::Range,
                "c" => PgKind::Composite,
                "b" => PgKind::Base,
                _ => PgKind::Other,
            };
            let made = Arc::new(PgType { oid, name: t.name.as_str().into(), kind });
            types.insert(oid, Arc::clone(&made));
            Some(made)
        }
        let mut types = HashMap::with_capacity(described.len());
        for oid in described.keys() {
            build(*oid, 0, &described, &mut types);
        }
        Ok(Self(types))
    }

    /// The type with this object id.
    #[must_use]
    pub(crate) fn get(&self, oid: u32) -> Option<&Arc<PgType>> {
        self.0.get(&oid)
    }
}

/// The tables that there are.
///
/// # Errors
/// If the server can't be asked.
pub(crate) async fn tables(client: &Client) -> Result<Vec<Listed>> {
    rows(client, TABLES, &[])
        .await?
        .iter()
        .map(|row| {
            Ok(Listed {
                oid: get(row, 0)?,
                schema: get(row, 1)?,
                name: get(row, 2)?,
                is_partitioned: get::<String>(row, 3)? == "p",
                root: get(row, 4)?,
            })
        })
        .collect()
}

/// What the catalog knows of a table beside its relation message; nothing if it is gone.
///
/// # Errors
/// If the server can't be asked.
pub(crate) async fn details(client: &Client, oid: u32) -> Result<Details> {
    let mut details = Details { key: key(client, oid).await?, columns: HashMap::new() };
    for row in rows(client, COLUMNS, &[&oid]).await? {
        let default: Option<String> = get(&row, 2)?;
        let is_generated = !get::<String>(&row, 5)?.is_empty();
        let default = default.filter(|_| !is_generated).map(Into::into);
        details.columns.insert(get::<String>(&row, 0)?.into(), (get(&row, 1)?, default));
    }
    Ok(details)
}

async fn key(client: &Client, oid: u32) -> Result<Vec<Arc<str>>> {
    match rows(client, KEYS, &[&oid]).await?.first() {
        Some(row) => Ok(get::<Vec<String>>(row, 0)?.into_iter().map(Into::into).collect()),
        None => Ok(Vec::new()),
    }
}

impl Details {
    /// Whether there is such a column.
    #[must_use]
    pub(crate) fn has(&self, name: &str) -> bool {
        self.columns.contains_key(name)
    }

    /// Whether the column is never null, and its default.
    #[must_use]
    pub(crate) fn column(&self, name: &str) -> (bool, Option<Arc<str>>) {
        self.columns.get(name).cloned().unwrap_or((false, None))
    }
}

/// The columns of a table as its rows have them.
///
/// # Errors
/// If the server can't be asked, or a type is not in `types`.
pub(crate) async fn shape(client: &Client, table: &Listed, types: &Types) -> Result<Shape> {
    let mut columns = Vec::new();
    for row in rows(client, COLUMNS, &[&table.oid]).await? {
        // Generated columns are not published before PostgreSQL 18 asks for them.
        if !get::<String>(&row, 5)?.is_empty() {
            continue;
        }
        let oid: u32 = get(&row, 3)?;
        let kind = types.get(oid).ok_or_else(|| unknown_type(oid))?;
        columns.push(ColumnShape {
            name: get::<String>(&row, 0)?.into(),
            kind: Arc::clone(kind),
            typmod: get(&row, 4)?,
            is_required: get(&row, 1)?,
            is_identity: false,
            default: get::<Option<String>>(&row, 2)?.map(Into::into),
        });
    }
    Ok(Shape {
        oid: table.oid,
        schema: table.schema.as_str().into(),
        name: table.name.as_str().into(),
        columns,
        key: key(client, table.oid).await?,
    })
}

/// A type that the catalog does not have.
#[must_use]
pub(crate) fn unknown_type(oid: u32) -> Error {
    Error::data(format!("the type with oid {oid} is not in pg_type; it may just have been dropped"))
}

/// The size of a table.
///
/// # Errors
/// If the server can't be asked.
pub(crate) async fn heap(client: &Client, oid: u32, shape: Shape) -> Result<Option<Heap>> {
    let sql = "
        select n.nspname, c.relname, coalesce(pg_catalog.pg_relation_filenode(c.oid), 0),
               (pg_catalog.pg_relation_size(c.oid) / current_setting('block_size')::int8)::int8,
               c.relkind::text
          from pg_catalog.pg_class c
          join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where c.oid = $1";
    let rows = rows(client, sql, &[&oid]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let (schema, name): (String, String) = (get(row, 0)?, get(row, 1)?);
    let blocks: i64 = get(row, 3)?;
    Ok(Some(Heap {
        shape,
        from: format!("only {}.{}", quote_identifier(&schema), quote_identifier(&name)),
        filenode: get(row, 2)?,
        blocks: u32::try_from(blocks).unwrap_or(u32::MAX),
        has_places: get::<String>(row, 4)? == "r",
    }))
}

/// The replica identity of a table (`d`, `f`, `n` or `i`), and the index of the last one.
///
/// # Errors
/// If the server can't be asked.
pub(crate) async fn replica_identity(
    client: &Client,
    oid: u32,
) -> Result<Option<(String, Option<String>)>> {
    let sql = "
        select c.relreplident::text,
               (select i.relname::text from pg_catalog.pg_index x
                  join pg_catalog.pg_class i on i.oid = x.indexrelid
                 where x.indrelid = c.oid and x.indisreplident)
          from pg_catalog.pg_class c where c.oid = $1";
    match rows(client, sql, &[&oid]).await?.first() {
        Some(row) => Ok(Some((get(row, 0)?, get(row, 1)?))),
        None => Ok(None),
    }
}

/// A slot; `None` if there is none.
///
/// # Errors
/// If the server can't be asked.
pub(crate) async fn slot(client: &Client, name: &str) -> Result<Option<Slot>> {
    let sql = "
        select plugin::text, database::text, active_pid, confirmed_flush_lsn::text,
               restart_lsn::text, pg_catalog.to_jsonb(s) ->> 'wal_status',
               pg_catalog.to_jsonb(s) ->> 'invalidation_reason',
               coalesce((pg_catalog.to_jsonb(s) ->> 'synced')::bool, false)
                   and pg_catalog.pg_is_in_recovery()
          from pg_catalog.pg_replication_slots s where slot_name = $1";
    let rows = rows(client, sql, &[&name]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let lsn = |text: Option<String>| text.and_then(|text| text.parse().ok());
    Ok(Some(Slot {
        plugin: get(row, 0)?,
        database: get(row, 1)?,
        active_pid: get(row, 2)?,
        confirmed: lsn(get(row, 3)?),
        restart: lsn(get(row, 4)?),
        wal_status: get(row, 5)?,
        invalidated: get(row, 6)?,
        is_copy: get(row, 7)?,
    }))
}

/// Whether a publication is there, whether it is of all tables, and the object ids of its tables.
///
/// # Errors
/// If the server can't be asked.
pub(crate) async fn publication(client: &Client, name: &str) -> Result<Option<(bool, Vec<u32>)>> {
    let sql = "select puballtables from pg_catalog.pg_publication where pubname = $1";
    let found = rows(client, sql, &[&name]).await?;
    let Some(row) = found.first() else { return Ok(None) };
    let sql = "
        select c.oid from pg_catalog.pg_publication_tables p
          join pg_catalog.pg_namespace n on n.nspname = p.schemaname
          join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
         where p.pubname = $1";
    let tables = rows(client, sql, &[&name]).await?;
    Ok(Some((get(row, 0)?, tables.iter().map(|row| get(row, 0)).collect::<Result<_>>()?)))
}

/// Whether the publication shows changes of partitions as those of the table at the root.
///
/// # Errors
/// If the server can't be asked.
pub(crate) async fn is_via_root(client: &Client, publication: &str) -> Result<bool> {
    // PostgreSQL 12 does not have the column.
    let sql = "
        select coalesce((pg_catalog.to_jsonb(p) ->> 'pubviaroot')::bool, false)
          from pg_catalog.pg_publication p where p.pubname = $1";
    let found = rows(client, sql, &[&publication]).await?;
    found.first().map_or(Ok(false), |row| get(row, 0))
}
