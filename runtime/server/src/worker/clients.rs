//! Kafka clients of a worker: its own, and its connectors'.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use towpath_core::ports::{ClientOverrides, Cluster, PortError, PortErrorKind, PortResult};
use towpath_formats::client_properties::{self, Translation};
use towpath_formats::java_regex::JavaRegex;
use towpath_formats::worker_config::{ClientMaps, WorkerConfig};
use towpath_formats::{ClientRole, FieldError, Properties, Warning};
use towpath_kafka::{ClientKind, KafkaCluster, KafkaOptions, Matcher};

/// What there is to say about the clients' properties, under the keys of the worker's file.
#[derive(Default)]
pub(crate) struct Findings {
    /// What has no effect, or another one.
    pub(crate) warnings: Vec<Warning>,
    /// What can't be used.
    pub(crate) errors: Vec<FieldError>,
}

/// Looks at the properties of all clients that a worker makes. What several of them have in common is
/// told once.
pub(crate) fn check(maps: &ClientMaps) -> Findings {
    let mut findings = Findings::default();
    for role in ClientRole::ALL {
        let translation = translate(role, &maps.of_worker(role));
        findings.add(translation, |key| key.to_owned());
    }
    for role in ClientRole::ALL {
        let own = maps.of_worker(role);
        let all = maps.of_connectors(role);
        let translation = translate(role, &all);
        // Connectors' admin clients get the worker's properties too: these have no prefix.
        let prefixed = |key: &str| match (all.text(key), own.text(key)) {
            (value, inherited) if role == ClientRole::Admin && value == inherited => key.to_owned(),
            _ => format!("{}{key}", role.worker_prefix()),
        };
        findings.add(translation, prefixed);
    }
    findings
}

impl Findings {
    fn add(&mut self, found: Translation, name: impl Fn(&str) -> String) {
        for Warning { field, text } in found.warnings {
            let warning = Warning::new(name(&field), text);
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
        for FieldError { field, problem } in found.errors {
            let error = FieldError::new(name(&field), problem);
            if !self.errors.contains(&error) {
                self.errors.push(error);
            }
        }
    }
}

/// The worker's own: internal topics, membership.
///
/// # Errors
/// All client properties that can't be used.
pub(crate) fn of_worker(config: &WorkerConfig) -> Result<Arc<dyn Cluster>> {
    cluster(config, |role| config.clients.of_worker(role))
}

/// Those of connectors, before their overrides.
///
/// # Errors
/// All client properties that can't be used.
pub(crate) fn of_connectors(config: &WorkerConfig) -> Result<Arc<dyn Cluster>> {
    cluster(config, |role| config.clients.of_connectors(role))
}

/// [`client_properties::translate`], with what is not wired up here refused.
fn translate(role: ClientRole, properties: &Properties) -> Translation {
    let mut translation = client_properties::translate(role, properties, &read_file);
    if translation.oidc.is_some() {
        let problem = "OAUTHBEARER with tokens from an endpoint (sasl.oauthbearer.token.endpoint.url, or \
                       oauth.token.endpoint.uri in sasl.jaas.config) can't be used yet; use PLAIN, \
                       SCRAM-SHA-256, SCRAM-SHA-512, or client certificates with security.protocol=SSL";
        translation.errors.push(FieldError::new("sasl.mechanism", problem));
    }
    translation
}

/// The properties of one kind of clients, by librdkafka's names. Warnings are those of [`check`].
fn usable(role: ClientRole, properties: &Properties) -> Result<BTreeMap<String, String>> {
    let translation = translate(role, properties);
    if translation.errors.is_empty() {
        return Ok(plain(&translation));
    }
    let lines: Vec<String> = translation.errors.iter().map(|error| format!("  {error}")).collect();
    bail!("the properties of the {}s have errors:\n{}", role.name(), lines.join("\n"))
}

fn cluster(
    config: &WorkerConfig,
    properties: impl Fn(ClientRole) -> Properties,
) -> Result<Arc<dyn Cluster>> {
    let producer = usable(ClientRole::Producer, &properties(ClientRole::Producer))?;
    let consumer = usable(ClientRole::Consumer, &properties(ClientRole::Consumer))?;
    let admin = usable(ClientRole::Admin, &properties(ClientRole::Admin))?;
    let common =
        BTreeMap::from([("bootstrap.servers".to_owned(), config.bootstrap_servers.clone())]);
    let mut options = KafkaOptions::new(common, config.config_storage.name.clone());
    options.producer = producer;
    options.consumer = consumer;
    options.admin = admin;
    options.seat = BTreeMap::from([
        ("session.timeout.ms".to_owned(), config.session_timeout_ms.to_string()),
        ("heartbeat.interval.ms".to_owned(), config.heartbeat_interval_ms.to_string()),
    ]);
    options.request_timeout = Duration::from_secs(30);
    let base = ClientRole::ALL.map(&properties);
    options.translate = Arc::new(move |kind, overrides| {
        let (role, [producer, consumer, admin]) = (role_of(kind), &base);
        let base = match role {
            ClientRole::Producer => producer,
            ClientRole::Consumer => consumer,
            ClientRole::Admin => admin,
        };
        overridden(role, base, overrides)
    });
    options.compile_pattern = Arc::new(|pattern| {
        let regex = JavaRegex::new(pattern).map_err(|error| {
            PortError::new(PortErrorKind::Invalid, format!("topics.regex: {error}"))
        })?;
        let matcher: Matcher = Arc::new(move |name| regex.matches(name).unwrap_or(false));
        Ok(matcher)
    });
    Ok(Arc::new(KafkaCluster::new(options)?))
}

fn role_of(kind: ClientKind) -> ClientRole {
    match kind {
        ClientKind::Producer => ClientRole::Producer,
        ClientKind::Consumer => ClientRole::Consumer,
        ClientKind::Admin => ClientRole::Admin,
    }
}

/// A connector's overrides over the worker's properties. They are translated together, since what one
/// means depends on others: a login counts only under the worker's `security.protocol`.
fn overridden(
    role: ClientRole,
    base: &Properties,
    overrides: &ClientOverrides,
) -> PortResult<BTreeMap<String, String>> {
    let mut java = base.clone();
    java.extend(overrides.iter().map(|(key, value)| (key.clone(), value.clone())));
    let translation = translate(role, &java);
    let prefix = role.override_prefix();
    for warning in translation.warnings.iter().filter(|w| overrides.contains_key(&w.field)) {
        tracing::warn!("{prefix}{warning}");
    }
    if translation.errors.is_empty() {
        return Ok(plain(&translation));
    }
    let lines: Vec<String> =
        translation.errors.iter().map(|error| format!("{prefix}{error}")).collect();
    Err(PortError::new(PortErrorKind::Invalid, lines.join("; ")))
}

fn plain(translation: &Translation) -> BTreeMap<String, String> {
    let settings = translation.librdkafka.iter();
    settings.map(|(key, setting)| (key.clone(), setting.text().to_owned())).collect()
}

fn read_file(path: &str) -> std::io::Result<Vec<u8>> {
    std::fs::read(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule required";

    fn maps(pairs: &[(&str, &str)]) -> ClientMaps {
        WorkerConfig::examine(&pairs.iter().copied().collect()).0.clients
    }

    fn fields(findings: &Findings) -> (Vec<&str>, Vec<&str>) {
        let warnings = findings.warnings.iter().map(|w| w.field.as_str());
        (warnings.collect(), findings.errors.iter().map(|e| e.field.as_str()).collect())
    }

    #[test]
    fn findings_carry_the_keys_of_the_file_and_come_once() {
        let found = check(&maps(&[
            ("ssl.truststore.location", "/no/such/store.jks"),
            ("producer.interceptor.classes", "com.example.Audit"),
            ("consumer.security.protocol", "SASL_SSL"),
            ("consumer.sasl.mechanism", "GSSAPI"),
            ("admin.no.such.key", "1"),
        ]));
        let (warnings, errors) = fields(&found);
        for key in ["ssl.truststore.location", "admin.no.such.key"] {
            assert_eq!(warnings.iter().filter(|w| **w == key).count(), 1, "{key}: {warnings:?}");
        }
        assert!([warnings, errors.clone()].concat().contains(&"producer.interceptor.classes"));
        assert!(errors.contains(&"consumer.sasl.mechanism"), "{errors:?}");
    }

    #[test]
    fn tokens_from_an_endpoint_are_refused_by_name() {
        let module = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required";
        let jaas = format!("{module} clientId=\"me\" clientSecret=\"hush\";");
        let found = check(&maps(&[
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "OAUTHBEARER"),
            ("sasl.oauthbearer.token.endpoint.url", "https://idp.example.com/token"),
            ("sasl.jaas.config", &jaas),
        ]));
        let [error] = &found.errors[..] else { panic!("{:?}", found.errors) };
        assert_eq!(error.field, "sasl.mechanism");
        assert!(error.problem.contains("sasl.oauthbearer.token.endpoint.url"), "{error}");
        assert!(!error.to_string().contains("hush"));
    }

    #[test]
    fn an_overriding_login_counts_under_the_workers_protocol() {
        let base = Properties::from([
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.jaas.config", &format!("{SCRAM} username=\"worker\" password=\"a\";")),
        ]);
        let own = format!("{SCRAM} username=\"orders\" password=\"b\";");
        let overrides = ClientOverrides::from_iter([("sasl.jaas.config".to_owned(), own)]);
        let client = overridden(ClientRole::Producer, &base, &overrides).unwrap();
        assert_eq!(client["sasl.username"], "orders");
        assert_eq!(client["sasl.password"], "b");
        let wrong = ClientOverrides::from_iter([("acks".to_owned(), "some".to_owned())]);
        let error = overridden(ClientRole::Producer, &base, &wrong).unwrap_err();
        assert!(error.text.contains("producer.override.acks"), "{error:?}");
    }
}
