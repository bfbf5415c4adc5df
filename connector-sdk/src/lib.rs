//! What a connector author sees: records, schemas, config, traits, errors.

// The derive names this crate as its users do.
extern crate self as towpath_sdk;

pub mod config;
