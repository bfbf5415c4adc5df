//! The engine's ports in memory, seeded and faulty on purpose.
