//! Configuration providers: where `${provider:path:key}` finds its value.
//!
//! Invariants: no error, log line or `Debug` shows a value; with an allow-list nothing outside of it is
//! read, whatever `..` or symbolic links lead there; only regular files of at most 1 MiB are read.
//!
//! As in Kafka Connect everything is allowed unless an allow-list says otherwise; that is logged as a
//! warning when a provider starts. Unlike Connect a reference that leads nowhere is an error, and does
//! not become the value.

mod directory;
mod env;
mod file;
mod files;
mod properties;

use std::sync::Arc;

use towpath_sdk::config::{ConnectorConfig, FieldErrors, Properties};
use towpath_sdk::plugin::{
    ConfigProvider, ConfigProviderPlugin, PluginInfo, PluginName, Registry, definition_of,
};

pub use directory::DirectoryConfigProvider;
pub use env::{EnvVarConfigProvider, EnvVarConfigProviderConfig};
pub use file::FileConfigProvider;
pub use files::FilesConfig;

/// A provider with a typed configuration.
trait Configured: ConfigProvider + Sized {
    type Config: ConnectorConfig;

    fn new(config: Self::Config) -> Result<Self, FieldErrors>;
}

fn plugin<P: Configured>(
    names: &'static [PluginName],
    summary: &'static str,
) -> ConfigProviderPlugin {
    fn build<P: Configured>(
        properties: &Properties,
    ) -> Result<Arc<dyn ConfigProvider>, FieldErrors> {
        Ok(Arc::new(P::new(P::Config::parse(properties)?)?))
    }
    ConfigProviderPlugin {
        info: PluginInfo { names, version: env!("CARGO_PKG_VERSION"), summary },
        definition: definition_of::<P::Config>,
        build: build::<P>,
    }
}

pub(crate) fn register(registry: &mut Registry) {
    const ENV: &[PluginName] =
        &[PluginName::new("org.apache.kafka.common.config.provider.EnvVarConfigProvider")];
    const FILE: &[PluginName] =
        &[PluginName::new("org.apache.kafka.common.config.provider.FileConfigProvider")];
    const DIRECTORY: &[PluginName] =
        &[PluginName::new("org.apache.kafka.common.config.provider.DirectoryConfigProvider")];
    registry
        .provider(plugin::<EnvVarConfigProvider>(ENV, "Environment variables."))
        .provider(plugin::<FileConfigProvider>(FILE, "Keys of a properties file."))
        .provider(plugin::<DirectoryConfigProvider>(DIRECTORY, "Files of a directory."));
}
