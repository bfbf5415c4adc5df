//! The server's bounds, over real sockets.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod bounds;
mod cors;
mod wire;
