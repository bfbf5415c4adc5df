//! The sink against a real S3 server.
//!
//! `TOWPATH_TEST_S3` and its companions tell where the server is (`tests/stack`); without them these
//! tests fail.

mod acceptance;
mod bounds;
mod bucket;
mod faults;
mod keys;
mod proxy;
mod recovery;
mod rig;
mod sim;
mod writing;
