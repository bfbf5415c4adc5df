//! The server's bounds, over real sockets.

#![expect(clippy::unwrap_used, reason = "what does not work in a test fails it")]

mod bounds;
mod cors;
mod wire;
