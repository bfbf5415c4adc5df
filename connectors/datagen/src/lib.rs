//! A seeded, deterministic source of generated records.
