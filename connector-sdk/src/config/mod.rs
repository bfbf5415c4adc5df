//! Typed configuration.
//!
//! A connector declares one struct. `#[derive(ConnectorConfig)]` makes of it the parser of Kafka
//! Connect's flat string map, the `ConfigDef` metadata that Connect's REST API and a form show, the
//! validation of all fields at once in Connect's words, and the reference in Markdown. Secrets are
//! typed ([`Secret`]) and show themselves nowhere.
//!
//! ```
//! use std::time::Duration;
//! use towpath_sdk::config::{ConnectorConfig, Properties, Secret};
//!
//! #[derive(Debug, ConnectorConfig)]
//! struct Config {
//!     /// The host to connect to.
//!     #[config(key = "server.host", importance = high)]
//!     host: String,
//!     /// The port to connect to.
//!     #[config(key = "server.port", default = 5432, range(min = 1, max = 65535))]
//!     port: u16,
//!     /// The password, if the server asks for one.
//!     password: Option<Secret<String>>,
//!     /// How long to wait for an answer, in milliseconds. Ten seconds outlast a failover.
//!     #[config(default = 10_000)]
//!     timeout_ms: Duration,
//! }
//!
//! let good = Properties::from([("server.host", "db"), ("timeout.ms", "250")]);
//! let config = Config::parse(&good).unwrap();
//! assert_eq!((config.port, config.timeout_ms), (5432, Duration::from_millis(250)));
//!
//! let bad = Properties::from([("server.port", "0"), ("timeout.ms", "soon")]);
//! assert_eq!(
//!     Config::parse(&bad).unwrap_err().to_string(),
//!     "Missing required configuration \"server.host\" which has no default value.\n\
//!      Invalid value 0 for configuration server.port: Value must be at least 1\n\
//!      Invalid value soon for configuration timeout.ms: Not a number of type LONG"
//! );
//! ```
//!
//! Deliberately absent: reading files or the environment, resolving references to config providers
//! (both happen before parsing), and the JSON of Connect's answers.

mod definition;
mod error;
mod markdown;
mod nearest;
mod properties;
#[doc(hidden)]
pub mod reader;
mod secret;
pub mod testing;
mod value;

#[cfg(test)]
mod tests;

pub use definition::{ConfigDef, ConfigKey, Importance, Width};
pub use error::{FieldError, FieldErrors};
pub use properties::Properties;
pub use secret::{HIDDEN, Secret};
pub use towpath_sdk_derive::{ConfigEnum, ConnectorConfig};
pub use value::{Choice, ConfigEnum, ConfigValue, FieldType, Ranged};

/// A configuration of a connector, a converter, a transform or a predicate. Derive it; the derive
/// macro of the same name lists the attributes.
///
/// ```
/// use std::time::Duration;
/// use towpath_sdk::config::{ConfigEnum, ConnectorConfig, FieldError, Properties};
///
/// #[derive(ConnectorConfig)]
/// #[config(group = "Requests", validate = Config::check)]
/// struct Config {
///     /// Where to send the records.
///     #[config(importance = high, validate = http_url)]
///     url: String,
///     /// How to send them.
///     #[config(default = Method::Post)]
///     method: Method,
///     /// How long to wait for an answer, in milliseconds; -1 for ever.
///     #[config(default = 30_000, none = "-1", range(min = 1), alias("http.timeout"))]
///     timeout_ms: Option<Duration>,
///     /// Headers to add to each request.
///     #[config(prefix = "header.", secret)]
///     headers: Properties,
///     #[config(nested)]
///     batch: Batch,
/// }
///
/// #[derive(PartialEq, ConfigEnum)]
/// enum Method {
///     /// Creates.
///     Post,
///     /// Replaces.
///     Put,
/// }
///
/// #[derive(ConnectorConfig)]
/// struct Batch {
///     /// How many records go into one request.
///     #[config(key = "batch.size", default = 1, range(min = 1, max = 10_000))]
///     size: u32,
/// }
///
/// fn http_url(url: &str) -> Result<(), String> {
///     let http = url.starts_with("http://") || url.starts_with("https://");
///     if http { Ok(()) } else { Err("URL must begin with http:// or https://".to_owned()) }
/// }
///
/// impl Config {
///     fn check(&self) -> Vec<FieldError> {
///         if self.batch.size > 1 && self.method == Method::Put {
///             vec![FieldError::other("batch.size", "batch.size must be 1 if method is put")]
///         } else {
///             Vec::new()
///         }
///     }
/// }
///
/// let properties = Properties::from([
///     ("url", "http://localhost"),
///     ("http.timeout", "-1"),
///     ("batch.sise", "2"),
///     ("header.Authorization", "Bearer ${env:TOKEN}"),
/// ]);
/// let config = Config::parse(&properties).unwrap();
/// assert_eq!(config.timeout_ms, None);
/// assert_eq!(config.headers.get("Authorization"), Some("Bearer ${env:TOKEN}"));
///
/// let misspelt = ("batch.sise".to_owned(), Some("batch.size".to_owned()));
/// assert_eq!(Config::definition().unknown(&properties), [misspelt]);
/// ```
///
/// A field without a doc comment does not compile:
///
/// ```compile_fail
/// #[derive(towpath_sdk::config::ConnectorConfig)]
/// struct Config {
///     url: String,
/// }
/// ```
///
/// Nor does a duration whose key does not name the unit:
///
/// ```compile_fail
/// #[derive(towpath_sdk::config::ConnectorConfig)]
/// struct Config {
///     /// How long to wait, in milliseconds.
///     timeout: std::time::Duration,
/// }
/// ```
pub trait ConnectorConfig: Sized + Send + Sync + 'static {
    /// All keys, built once.
    fn definition() -> &'static ConfigDef;

    /// Reads a configuration and finds all that is wrong with it. References to config providers
    /// must have been resolved. Keys that are not declared are left alone;
    /// [`ConfigDef::unknown`] lists them.
    fn parse(properties: &Properties) -> Result<Self, FieldErrors>;
}
