//! The engine's ports in one process, on disk.
