//! The engine on the simulated cluster.

mod herder;
