//! The connection that replication runs on.
//!
//! Duty: connect to a server in replication mode, ask it for slots and the like, and take the stream of
//! changes off it, frame by frame. tokio-postgres has no such mode.
//!
//! ```text
//! Target ─ connect → Connection ─ query, create_slot, … → start_replication → Stream ─ next → Frame
//!          socket, auth            command                                    stream
//! ```
//!
//! Below all of them `channel` cuts what arrives into messages. Each module's head has its invariants.
//!
//! Absent: decoding of what is streamed (`pgoutput`), reconnecting, and when to send a status.

mod auth;
mod channel;
mod command;
mod connection;
mod error;
mod fields;
mod socket;
mod sql;
mod stream;
mod target;

#[cfg(test)]
mod tests;

pub use command::{CreatedSlot, NewSlot, System, TimelineHistory, quote_identifier, quote_literal};
pub use connection::{Connection, Rows};
pub use error::{Cause, Result, ServerError, WireError, kind_of_sqlstate};
pub use socket::Transport;
pub use sql::{SqlConnection, connect_sql};
pub use stream::{Frame, Stream};
pub use target::{Ssl, SslMode, Target};
