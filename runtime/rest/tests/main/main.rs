//! The server's bounds, over real sockets.

mod bounds;
mod cors;
mod wire;
