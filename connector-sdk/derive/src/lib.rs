//! Derives connector configuration from a struct.
