//! The acceptance suite that every connector must pass.
