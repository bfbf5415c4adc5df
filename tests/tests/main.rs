//! End to end, on real servers; and rules about the workspace itself.

mod arrows;
mod permissions;
