//! The connection that replication runs on.
