//! The source against a real PostgreSQL server, which each test starts for itself.
//!
//! `TOWPATH_TEST_PG15` and `TOWPATH_TEST_PG18` name the folders with the servers' programs; without the
//! former, Debian's `/usr/lib/postgresql/15/bin` is taken. Without a server these tests fail.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod certificates;
mod changes;
mod logins;
mod server;
mod slots;
