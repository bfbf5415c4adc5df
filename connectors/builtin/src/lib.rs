//! Converters, transforms and configuration providers that ship with Towpath.
