//! The state machine in a world of its own: an in-memory config topic, and planners and tasks that do as
//! a test says.

mod fleet;
mod flows;
mod random;
mod restarts;
mod world;
