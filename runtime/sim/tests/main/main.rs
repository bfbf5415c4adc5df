//! The simulation's own tests.

mod conformance;
