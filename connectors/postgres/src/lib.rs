//! Change data capture from PostgreSQL, in Debezium's form.
//!
//! Duty: the source `io.debezium.connector.postgresql.PostgresConnector`, also called `postgres-cdc`:
//! a snapshot of tables and then every change, from a logical replication slot with `pgoutput`. Its
//! shape and the reasoning behind it: `docs/decisions/040-reading-a-postgres-server.md`.
//!
//! Invariants:
//! - the server is told an LSN as confirmed only when all before it is in the broker and the offset
//!   says so;
//! - what was handed over is a prefix of the snapshot's rows and the transactions in commit order;
//! - everything that is held is bounded in bytes.

mod acknowledged;
mod catalog;
mod client;
pub mod config;
mod connector;
mod deletes;
mod envelope;
mod gap;
mod heartbeat;
mod incremental;
mod insurance;
pub mod lsn;
mod mask;
mod meters;
mod names;
mod notification;
mod offset;
mod output;
pub mod pgoutput;
mod pieces;
mod preflight;
mod promotion;
mod rules;
mod run;
mod signal;
mod snapshot;
mod source_type;
mod spill;
mod stream;
mod table;
mod task;
pub mod tls;
pub mod types;
mod unreadable;
mod watch;
pub mod wire;

pub use connector::PostgresSource;
