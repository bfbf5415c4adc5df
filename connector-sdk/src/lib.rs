//! What a connector author sees: records, schemas, config, traits, errors.
