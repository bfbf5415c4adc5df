//! The engine's ports in memory, for one thread, seeded, and faulty on purpose.
//!
//! Duty: a world in which the engine can be run through hours of faults in milliseconds, the same way
//! each time for the same seed; and the conformance suite, which every implementation of the ports
//! passes.

pub mod conformance;
