//! Plug-ins: connectors, converters, transforms, predicates and configuration providers by name.
//!
//! Duty: authors write typed traits; the engine sees their boxed twins (module [`erased`]) through a
//! [`Registry`]. A new connector is one line: `registry.source::<MySource>()`.
//!
//! Naming follows Connect: a plug-in answers to its full class names, to their simple names, and to
//! simple names without the suffix `Connector`; and to short names of ours. A full class name means
//! that class's exact defaults; a short name means ours ([`PluginName::defaults`]).

pub mod erased;
mod typed;

use std::sync::Arc;

use crate::config::{ConfigDef, ConnectorConfig, FieldErrors, Properties, Secret};
use crate::converter::{Converter, Part};
use crate::error::Result;
use crate::sink::SinkConnector;
use crate::source::SourceConnector;
use crate::transform::{Predicate, Transform};

pub use erased::{DynSinkPlugin, DynSourcePlugin};

/// What a plug-in is called and what it is.
#[derive(Debug, Clone, Copy)]
pub struct PluginInfo {
    /// Its names; the first is the one that people should use.
    pub names: &'static [PluginName],
    /// Its version.
    pub version: &'static str,
    /// One sentence for people.
    pub summary: &'static str,
}

/// One name of a plug-in.
#[derive(Debug, Clone, Copy)]
pub struct PluginName {
    /// The full class name, or a short name of ours.
    pub name: &'static str,
    /// Defaults under this name, where they differ from the configuration type's own.
    pub defaults: &'static [(&'static str, &'static str)],
}

impl PluginName {
    /// A name with the configuration type's own defaults.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, defaults: &[] }
    }

    /// A name under which some defaults differ.
    #[must_use]
    pub const fn with_defaults(
        name: &'static str,
        defaults: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self { name, defaults }
    }

    /// Whether `alias`, as found in a configuration, means this name.
    #[must_use]
    pub fn answers_to(&self, alias: &str) -> bool {
        let simple = self.name.rsplit('.').next().unwrap_or(self.name);
        alias == self.name
            || alias == simple
            || simple.strip_suffix("Connector").is_some_and(|short| alias == short)
    }
}

impl PluginInfo {
    /// The name that `alias` means.
    #[must_use]
    pub fn resolve(&self, alias: &str) -> Option<&'static PluginName> {
        self.names.iter().find(|n| n.answers_to(alias))
    }
}

/// What a plug-in is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PluginKind {
    /// A sink connector.
    Sink,
    /// A source connector.
    Source,
    /// A converter.
    Converter,
    /// A converter of headers.
    HeaderConverter,
    /// A transform.
    Transformation,
    /// A predicate.
    Predicate,
}

impl PluginKind {
    /// Connect's name of the kind in `/connector-plugins`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sink => "sink",
            Self::Source => "source",
            Self::Converter => "converter",
            Self::HeaderConverter => "header_converter",
            Self::Transformation => "transformation",
            Self::Predicate => "predicate",
        }
    }
}

/// A plug-in that is made from properties: a converter, transform or predicate.
pub struct PartPlugin<T: ?Sized> {
    /// Its names.
    pub info: PluginInfo,
    /// Its keys.
    pub definition: fn() -> &'static ConfigDef,
    /// All that is wrong with `properties`.
    pub validate: fn(&Properties) -> FieldErrors,
    /// Makes one.
    pub build: fn(&Properties, BuildFor) -> Result<Arc<T>, FieldErrors>,
}

/// What a part is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildFor {
    /// A converter of this part of a record.
    Convert(Part),
    /// A transform or predicate in a chain.
    Chain,
}

/// A converter plug-in.
pub type ConverterPlugin = PartPlugin<dyn Converter>;
/// A transform plug-in.
pub type TransformPlugin = PartPlugin<dyn Transform>;
/// A predicate plug-in.
pub type PredicatePlugin = PartPlugin<dyn Predicate>;

/// Resolves `${provider:path:key}` in configurations.
pub trait ConfigProvider: Send + Sync + 'static {
    /// The value of `key` at `path`; `path` is empty where the reference has none.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] if the path is not allowed or there is no such key. The text never
    /// holds a value.
    fn get(&self, path: &str, key: &str) -> Result<Secret<String>>;
}

/// A configuration provider plug-in, configured by `config.providers.<name>.param.*`.
pub struct ConfigProviderPlugin {
    /// Its names.
    pub info: PluginInfo,
    /// Its parameters.
    pub definition: fn() -> &'static ConfigDef,
    /// Makes one from its parameters.
    pub build: fn(&Properties) -> Result<Arc<dyn ConfigProvider>, FieldErrors>,
}

/// A connector plug-in of either direction.
#[derive(Clone)]
pub enum ConnectorPlugin {
    /// A source.
    Source(Arc<dyn DynSourcePlugin>),
    /// A sink.
    Sink(Arc<dyn DynSinkPlugin>),
}

impl ConnectorPlugin {
    /// Its names.
    #[must_use]
    pub fn info(&self) -> PluginInfo {
        match self {
            Self::Source(p) => p.info(),
            Self::Sink(p) => p.info(),
        }
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> PluginKind {
        match self {
            Self::Source(_) => PluginKind::Source,
            Self::Sink(_) => PluginKind::Sink,
        }
    }

    /// Its keys.
    #[must_use]
    pub fn definition(&self) -> &'static ConfigDef {
        match self {
            Self::Source(p) => p.definition(),
            Self::Sink(p) => p.definition(),
        }
    }

    /// All that is wrong with `properties`, which have the name's defaults filled in.
    #[must_use]
    pub fn validate(&self, properties: &Properties) -> FieldErrors {
        match self {
            Self::Source(p) => p.validate(properties),
            Self::Sink(p) => p.validate(properties),
        }
    }
}

/// All plug-ins of a worker.
#[derive(Default)]
pub struct Registry {
    connectors: Vec<ConnectorPlugin>,
    converters: Vec<ConverterPlugin>,
    header_converters: Vec<ConverterPlugin>,
    transforms: Vec<TransformPlugin>,
    predicates: Vec<PredicatePlugin>,
    providers: Vec<ConfigProviderPlugin>,
}

impl Registry {
    /// Adds a source connector.
    pub fn source<C: SourceConnector>(&mut self) -> &mut Self {
        self.connectors.push(ConnectorPlugin::Source(Arc::new(typed::Source::<C>::default())));
        self
    }

    /// Adds a sink connector.
    pub fn sink<C: SinkConnector>(&mut self) -> &mut Self {
        self.connectors.push(ConnectorPlugin::Sink(Arc::new(typed::Sink::<C>::default())));
        self
    }

    /// Adds a converter of keys, values and headers.
    pub fn converter(&mut self, plugin: ConverterPlugin) -> &mut Self {
        self.converters.push(plugin);
        self
    }

    /// Adds a converter of headers only.
    pub fn header_converter(&mut self, plugin: ConverterPlugin) -> &mut Self {
        self.header_converters.push(plugin);
        self
    }

    /// Adds a transform.
    pub fn transform(&mut self, plugin: TransformPlugin) -> &mut Self {
        self.transforms.push(plugin);
        self
    }

    /// Adds a predicate.
    pub fn predicate(&mut self, plugin: PredicatePlugin) -> &mut Self {
        self.predicates.push(plugin);
        self
    }

    /// Adds a configuration provider.
    pub fn provider(&mut self, plugin: ConfigProviderPlugin) -> &mut Self {
        self.providers.push(plugin);
        self
    }

    /// All connectors.
    #[must_use]
    pub fn connectors(&self) -> &[ConnectorPlugin] {
        &self.connectors
    }

    /// All converters of keys and values.
    #[must_use]
    pub fn converters(&self) -> &[ConverterPlugin] {
        &self.converters
    }

    /// All converters of headers: the ones above and those for headers only.
    pub fn header_converters(&self) -> impl Iterator<Item = &ConverterPlugin> {
        self.converters.iter().chain(&self.header_converters)
    }

    /// All transforms.
    #[must_use]
    pub fn transforms(&self) -> &[TransformPlugin] {
        &self.transforms
    }

    /// All predicates.
    #[must_use]
    pub fn predicates(&self) -> &[PredicatePlugin] {
        &self.predicates
    }

    /// All configuration providers.
    #[must_use]
    pub fn providers(&self) -> &[ConfigProviderPlugin] {
        &self.providers
    }

    /// All converters of headers only.
    #[must_use]
    pub fn only_header_converters(&self) -> &[ConverterPlugin] {
        &self.header_converters
    }

    /// The connector that `alias` means, and under which name.
    #[must_use]
    pub fn find_connector(&self, alias: &str) -> Option<(&ConnectorPlugin, &'static PluginName)> {
        self.connectors.iter().find_map(|p| Some((p, p.info().resolve(alias)?)))
    }

    /// The converter of keys and values that `alias` means.
    #[must_use]
    pub fn find_converter(&self, alias: &str) -> Option<&ConverterPlugin> {
        self.converters.iter().find(|p| p.info.resolve(alias).is_some())
    }

    /// The converter of headers that `alias` means.
    #[must_use]
    pub fn find_header_converter(&self, alias: &str) -> Option<&ConverterPlugin> {
        self.header_converters().find(|p| p.info.resolve(alias).is_some())
    }

    /// The transform that `alias` means.
    #[must_use]
    pub fn find_transform(&self, alias: &str) -> Option<&TransformPlugin> {
        self.transforms.iter().find(|p| p.info.resolve(alias).is_some())
    }

    /// The predicate that `alias` means.
    #[must_use]
    pub fn find_predicate(&self, alias: &str) -> Option<&PredicatePlugin> {
        self.predicates.iter().find(|p| p.info.resolve(alias).is_some())
    }

    /// The configuration provider that `alias` means.
    #[must_use]
    pub fn find_provider(&self, alias: &str) -> Option<&ConfigProviderPlugin> {
        self.providers.iter().find(|p| p.info.resolve(alias).is_some())
    }
}

/// `C`'s definition, as a plain function for the tables above.
#[must_use]
pub fn definition_of<C: ConnectorConfig>() -> &'static ConfigDef {
    C::definition()
}

/// What is wrong with `properties` as a `C`.
#[must_use]
pub fn validate_as<C: ConnectorConfig>(properties: &Properties) -> FieldErrors {
    C::parse(properties).err().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_connect_matches_them() {
        let name = PluginName::new("org.apache.kafka.connect.file.FileStreamSinkConnector");
        for alias in [
            "org.apache.kafka.connect.file.FileStreamSinkConnector",
            "FileStreamSinkConnector",
            "FileStreamSink",
        ] {
            assert!(name.answers_to(alias), "{alias}");
        }
        assert!(!name.answers_to("FileStream"));
        assert!(!name.answers_to("file.FileStreamSinkConnector"));
        assert!(PluginName::new("s3-sink").answers_to("s3-sink"));
    }
}
