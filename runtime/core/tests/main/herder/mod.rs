//! The herder's service on the simulated cluster, with a data plane that does as its configs say.

mod faults;
mod lifecycle;
mod offsets;
mod plane;
mod requests;
