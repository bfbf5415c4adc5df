//! `${env:NAME}`: environment variables of the worker.

use towpath_sdk::config::{ConfigValue, ConnectorConfig, FieldErrors, FieldType, Secret};
use towpath_sdk::plugin::ConfigProvider;
use towpath_sdk::{Error, Result};

use super::Configured;
use crate::pattern::Pattern;

/// The parameters of an [`EnvVarConfigProvider`].
#[derive(Debug, ConnectorConfig)]
pub struct EnvVarConfigProviderConfig {
    /// A regular expression in Java's syntax; variables whose whole name matches it may be read. All
    /// may be read if it is not set.
    #[config(key = "allowlist.pattern")]
    pub allowlist_pattern: Option<NamePattern>,
}

/// A pattern of names of variables.
#[derive(Debug)]
pub struct NamePattern(Pattern);

impl ConfigValue for NamePattern {
    const KIND: FieldType = FieldType::String;

    fn parse_value(text: &str) -> Result<Self, String> {
        Pattern::new(text).map(Self)
    }
}

/// Reads environment variables.
#[derive(Debug)]
pub struct EnvVarConfigProvider {
    allowed: Option<NamePattern>,
}

impl Configured for EnvVarConfigProvider {
    type Config = EnvVarConfigProviderConfig;

    fn new(config: EnvVarConfigProviderConfig) -> Result<Self, FieldErrors> {
        if config.allowlist_pattern.is_none() {
            tracing::warn!(
                "a config provider may read every environment variable: set its allowlist.pattern"
            );
        }
        Ok(Self { allowed: config.allowlist_pattern })
    }
}

impl ConfigProvider for EnvVarConfigProvider {
    fn get(&self, path: &str, key: &str) -> Result<Secret<String>> {
        if !path.is_empty() {
            return Err(Error::config(format!(
                "Path is not supported for EnvVarConfigProvider, invalid value '{path}'"
            )));
        }
        let allowed = self.allowed.as_ref().map_or(Ok(true), |pattern| pattern.0.matches(key))?;
        if !allowed {
            return Err(Error::config(format!(
                "the environment variable {key} does not match the provider's allowlist.pattern"
            )));
        }
        match std::env::var(key) {
            Ok(value) => Ok(value.into()),
            Err(std::env::VarError::NotPresent) => {
                Err(Error::config(format!("the environment variable {key} is not set")))
            }
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(Error::config(format!("the environment variable {key} is not valid UTF-8")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use towpath_sdk::config::{Properties, testing};

    use super::*;

    fn provider(pattern: Option<&str>) -> EnvVarConfigProvider {
        let properties: Properties =
            pattern.map(|p| ("allowlist.pattern", p)).into_iter().collect();
        let config = EnvVarConfigProviderConfig::parse(&properties).unwrap();
        EnvVarConfigProvider::new(config).unwrap()
    }

    #[test]
    fn only_allowed_variables_are_read() {
        // Cargo sets it for every test.
        let name = "CARGO_PKG_NAME";
        for (pattern, found) in
            [(None, true), (Some("CARGO_.*"), true), (Some("CARGO"), false), (Some("X.*"), false)]
        {
            let value = provider(pattern).get("", name);
            assert_eq!(value.is_ok(), found, "{pattern:?}");
            if let Ok(value) = value {
                assert_eq!(value.expose(), "towpath-builtin");
            }
        }
        assert!(provider(None).get("", "TOWPATH_NO_SUCH_VARIABLE").is_err());
        assert!(provider(None).get("/etc", name).is_err());
        let bad = Properties::from([("allowlist.pattern", "(")]);
        assert!(EnvVarConfigProviderConfig::parse(&bad).is_err());
    }

    #[test]
    fn every_key_has_its_effect() {
        testing::assert_definition::<EnvVarConfigProviderConfig>();
        testing::assert_every_key_is_claimed(
            EnvVarConfigProviderConfig::definition(),
            &[("allowlist.pattern", "only_allowed_variables_are_read")],
        );
    }
}
