//! Source and sink for local files.
