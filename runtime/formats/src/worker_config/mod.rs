//! A Kafka Connect worker's properties, typed.
//!
//! Invariants: every property of Connect 4.3's distributed worker is used (a field of [`WorkerConfig`]
//! or a client's property in [`ClientMaps`]), or named in a warning with the reason, or refused; all
//! errors come at once. Defaults are Connect's, but for two: without `listeners` the API is on
//! loopback only, and offsets are committed every five seconds rather than every minute, so that less
//! is repeated after a crash.
//!
//! References (`${…}`) must be resolved before: [`config_providers`] says by what, from the same
//! properties.
//!
//! Deliberately absent: which converters and providers there are, and the rules that need a broker.

mod clients;
mod http;
mod listeners;
mod no_effect;
mod storage;

use crate::Properties;
use crate::fields::Fields;
use crate::finding::{FieldError, Warning};
use crate::override_policy::OverridePolicy;

pub use clients::ClientMaps;
pub use http::{Cors, HeaderAction, HeaderRule};
pub use listeners::{
    AdminListeners, Advertised, ClientAuth, Listener, ListenerTls, Scheme, TlsVersion,
};
pub use storage::InternalTopic;

/// A worker's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerConfig {
    /// `bootstrap.servers`: `host:port`, between commas.
    pub bootstrap_servers: String,
    /// `group.id`: workers with the same one are one fleet.
    pub group_id: String,
    /// `config.storage.*`.
    pub config_storage: InternalTopic,
    /// `offset.storage.*`.
    pub offset_storage: InternalTopic,
    /// `status.storage.*`.
    pub status_storage: InternalTopic,
    /// `listeners`.
    pub listeners: Vec<Listener>,
    /// `admin.listeners`.
    pub admin_listeners: AdminListeners,
    /// `rest.advertised.*`.
    pub advertised: Advertised,
    /// `listeners.https.ssl.*`, or `ssl.*`: of the `https` addresses in `listeners`.
    pub tls: Option<ListenerTls>,
    /// `admin.listeners.https.ssl.*`, or `ssl.*`: of those in `admin.listeners`.
    pub admin_tls: Option<ListenerTls>,
    /// `access.control.allow.*`; `None`: pages of other origins may not call the API.
    pub cors: Option<Cors>,
    /// `response.http.headers.config`.
    pub response_headers: Vec<HeaderRule>,
    /// `key.converter` and its properties.
    pub key_converter: PluginConfig,
    /// `value.converter` and its properties.
    pub value_converter: PluginConfig,
    /// `header.converter` and its properties.
    pub header_converter: PluginConfig,
    /// `offset.flush.interval.ms`.
    pub offset_flush_interval_ms: u64,
    /// `task.shutdown.graceful.timeout.ms`: for all tasks that stop together.
    pub task_shutdown_timeout_ms: u64,
    /// `session.timeout.ms`: how long a silent worker keeps its tasks.
    pub session_timeout_ms: u32,
    /// `heartbeat.interval.ms`.
    pub heartbeat_interval_ms: u32,
    /// `exactly.once.source.support`.
    pub exactly_once_source: ExactlyOnceSource,
    /// `config.providers`.
    pub config_providers: Vec<ProviderConfig>,
    /// `connector.client.config.override.policy` and its allow-list.
    pub override_policy: OverridePolicy,
    /// `topic.tracking.enable`: topics that connectors use are recorded.
    pub topic_tracking_enable: bool,
    /// `topic.tracking.allow.reset`: these records may be reset.
    pub topic_tracking_allow_reset: bool,
    /// `topic.creation.enable`: `topic.creation.*` of sources is obeyed.
    pub topic_creation_enable: bool,
    /// Properties of Kafka clients.
    pub clients: ClientMaps,
}

/// A plugin's class and what configures it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginConfig {
    /// Its class name, or our short name.
    pub class: String,
    /// Its properties, without a prefix.
    pub properties: Properties,
}

/// A config provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderConfig {
    /// The name by which references call it: `file` in `${file:…}`.
    pub name: String,
    /// Its class name.
    pub class: String,
    /// Its `param.*`, without that prefix.
    pub params: Properties,
}

/// `exactly.once.source.support` (KIP-618).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExactlyOnceSource {
    /// Sources write without transactions.
    #[default]
    Disabled,
    /// As disabled, but the leader already writes in a way that can be fenced.
    Preparing,
    /// Sources write records and offsets in transactions.
    Enabled,
}

const CLIENT_AUTH: &str = "ssl.client.auth";
const SIMPLE_HEADERS: &str = "org.apache.kafka.connect.storage.SimpleHeaderConverter";

impl WorkerConfig {
    /// Reads a worker's properties.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn parse(properties: &Properties) -> Result<(Self, Vec<Warning>), Vec<FieldError>> {
        let (config, warnings, errors) = Self::examine(properties);
        if errors.is_empty() { Ok((config, warnings)) } else { Err(errors) }
    }

    /// Reads a worker's properties and goes on past errors, so that others can be looked for as well.
    /// With errors the configuration is good for nothing else.
    #[must_use]
    pub fn examine(properties: &Properties) -> (Self, Vec<Warning>, Vec<FieldError>) {
        let mut fields = Fields::new(properties);
        let mut warnings = no_effect::warnings(&fields);
        let config = Self::read(&mut fields, &mut warnings);
        (config, warnings, fields.errors)
    }

    fn read(fields: &mut Fields<'_>, warnings: &mut Vec<Warning>) -> Self {
        let bootstrap_servers =
            fields.required("bootstrap.servers", "the brokers, as host:port between commas");
        let group_id = fields
            .required("group.id", "a name that the workers of one fleet share, and nobody else");
        let config_storage = storage::topic(fields, warnings, "config.storage.", 1);
        let offset_storage = storage::topic(fields, warnings, "offset.storage.", 25);
        let status_storage = storage::topic(fields, warnings, "status.storage.", 5);
        let listeners = listeners::listeners(fields);
        let admin_listeners = listeners::admin_listeners(fields);
        let own: &[Listener] =
            if let AdminListeners::Own(own) = &admin_listeners { own } else { &[] };
        let tls = listeners::tls(fields, warnings, "listeners.https.", &listeners);
        let admin_tls = listeners::tls(fields, warnings, "admin.listeners.https.", own);
        if tls.is_none() && admin_tls.is_none() && fields.text(CLIENT_AUTH).is_some() {
            warnings.push(Warning::new(CLIENT_AUTH, "has no effect: there is no https listener"));
        }
        extensions(fields, warnings);
        Self {
            advertised: listeners::advertised(fields, &listeners),
            cors: http::cors(fields, warnings),
            response_headers: http::headers(fields),
            key_converter: converter(fields, "key.converter", None),
            value_converter: converter(fields, "value.converter", None),
            header_converter: converter(fields, "header.converter", Some(SIMPLE_HEADERS)),
            offset_flush_interval_ms: millis(fields, "offset.flush.interval.ms", 5_000),
            task_shutdown_timeout_ms: millis(fields, "task.shutdown.graceful.timeout.ms", 5_000),
            session_timeout_ms: group_millis(fields, "session.timeout.ms", 10_000),
            heartbeat_interval_ms: heartbeat(fields),
            exactly_once_source: exactly_once(fields),
            config_providers: providers(fields, warnings),
            override_policy: policy(fields, warnings),
            topic_tracking_enable: fields.boolean("topic.tracking.enable", true),
            topic_tracking_allow_reset: fields.boolean("topic.tracking.allow.reset", true),
            topic_creation_enable: fields.boolean("topic.creation.enable", true),
            clients: ClientMaps::new(fields.map, tls.is_some() || admin_tls.is_some()),
            bootstrap_servers,
            group_id,
            config_storage,
            offset_storage,
            status_storage,
            listeners,
            admin_listeners,
            tls,
            admin_tls,
        }
    }
}

/// The config providers of a worker's properties, which must be known before references in the other
/// properties are resolved.
///
/// # Errors
/// If a provider has no class.
pub fn config_providers(properties: &Properties) -> Result<Vec<ProviderConfig>, Vec<FieldError>> {
    let mut fields = Fields::new(properties);
    let found = providers(&mut fields, &mut Vec::new());
    if fields.errors.is_empty() { Ok(found) } else { Err(fields.errors) }
}

fn providers(fields: &mut Fields<'_>, warnings: &mut Vec<Warning>) -> Vec<ProviderConfig> {
    const KEY: &str = "config.providers";
    let names = fields.list(KEY).unwrap_or_default();
    let mut found = Vec::new();
    for name in &names {
        let class = fields.required(
            &format!("{KEY}.{name}.class"),
            &format!("the provider's class, since {KEY} names it"),
        );
        let params = fields.map.with_prefix(&format!("{KEY}.{name}.param."));
        found.push(ProviderConfig { name: (*name).to_owned(), class, params });
    }
    for key in fields.map.with_prefix("config.providers.").keys() {
        let (name, rest) = key.split_once('.').unwrap_or((key, ""));
        let known = rest == "class" || rest.starts_with("param.");
        if !names.contains(&name) {
            warnings.push(Warning::new(
                format!("{KEY}.{key}"),
                format!("has no effect: {KEY} does not name {name}"),
            ));
        } else if !known {
            let text = format!(
                "has no effect: a provider has class and param.…; did you mean {KEY}.{name}.param.{rest}?"
            );
            warnings.push(Warning::new(format!("{KEY}.{key}"), text));
        }
    }
    found
}

fn converter(fields: &mut Fields<'_>, key: &str, default: Option<&str>) -> PluginConfig {
    let class = match (fields.text(key), default) {
        (None, Some(default)) => default.to_owned(),
        _ => fields.required(
            key,
            "a converter's class, such as org.apache.kafka.connect.json.JsonConverter",
        ),
    };
    let mut properties = fields.map.with_prefix(&format!("{key}."));
    // Not the converter's own: it picks among versions of the class.
    properties.unset("plugin.version");
    PluginConfig { class, properties }
}

fn millis(fields: &mut Fields<'_>, key: &str, default: u64) -> u64 {
    fields.number(key, 1..=i64::MAX as u64).unwrap_or(default)
}

fn group_millis(fields: &mut Fields<'_>, key: &str, default: u32) -> u32 {
    fields.number(key, 1..=i32::MAX as u32).unwrap_or(default)
}

fn heartbeat(fields: &mut Fields<'_>) -> u32 {
    const KEY: &str = "heartbeat.interval.ms";
    let heartbeat = group_millis(fields, KEY, 3_000);
    let session =
        fields.text("session.timeout.ms").and_then(|text| text.parse().ok()).unwrap_or(10_000);
    if heartbeat >= session {
        fields.refuse(
            KEY,
            format!("must be less than session.timeout.ms ({session}), best a third of it"),
        );
    }
    heartbeat
}

fn exactly_once(fields: &mut Fields<'_>) -> ExactlyOnceSource {
    let choices = [
        ("disabled", ExactlyOnceSource::Disabled),
        ("preparing", ExactlyOnceSource::Preparing),
        ("enabled", ExactlyOnceSource::Enabled),
    ];
    fields.choice("exactly.once.source.support", ExactlyOnceSource::Disabled, &choices)
}

fn policy(fields: &mut Fields<'_>, warnings: &mut Vec<Warning>) -> OverridePolicy {
    const KEY: &str = "connector.client.config.override.policy";
    const LIST: &str = "connector.client.config.override.allowlist";
    let listed = fields.list(LIST);
    let allowlist = listed.iter().flatten().map(|name| (*name).to_owned()).collect();
    let name = fields.text(KEY).unwrap_or("All");
    let Some(policy) = OverridePolicy::from_name(name, allowlist) else {
        fields.refuse(KEY, format!("must be All, None, Principal or Allowlist, not {name:?}"));
        return OverridePolicy::None;
    };
    if listed.is_some() && !matches!(policy, OverridePolicy::Allowlist(_)) {
        warnings.push(Warning::new(
            LIST,
            format!("has no effect: {KEY} is {}, not Allowlist", policy.name()),
        ));
    }
    policy
}

/// An extension may be what guards the API, so leaving one out is no small thing.
fn extensions(fields: &mut Fields<'_>, warnings: &mut Vec<Warning>) {
    const KEY: &str = "rest.extension.classes";
    for class in fields.list(KEY).unwrap_or_default() {
        if class.starts_with("io.debezium.") {
            warnings.push(Warning::new(
                KEY,
                format!("{class} has no effect: it serves Debezium's own user interface"),
            ));
        } else {
            let problem = format!(
                "{class} can't be used: it names a Java class, and the API may stand open without it; \
                 remove it, and guard the listeners by ssl.client.auth=required, a proxy or the network"
            );
            fields.refuse(KEY, problem);
        }
    }
}

#[cfg(test)]
mod tests;
