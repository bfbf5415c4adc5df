//! `docs/rest-differences.md`, made from the table.
