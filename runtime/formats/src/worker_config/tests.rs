use super::*;
use crate::ClientRole::{Admin, Consumer, Producer};
use crate::properties_file;

/// Strimzi's shape of a file, and Apache Kafka's own example.
const FILE: &str = "
bootstrap.servers=kafka-1:9093,kafka-2:9093
group.id = connect-cluster
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
key.converter.schemas.enable=true
value.converter.schemas.enable=false
offset.storage.topic=connect-offsets
offset.storage.replication.factor=1
offset.storage.min.insync.replicas=1
config.storage.topic=connect-configs
config.storage.replication.factor=-1
status.storage.topic=connect-status
status.storage.partitions=3
offset.flush.interval.ms=10000
listeners=http://:8083
rest.advertised.host.name=worker-0.connect
rest.advertised.port=8083
plugin.path=/opt/kafka/plugins
security.protocol=SSL
ssl.truststore.location=/tmp/kafka/cluster.truststore.p12
ssl.truststore.password=hush
producer.security.protocol=SSL
producer.linger.ms=5
consumer.max.poll.records=100
admin.security.protocol=SSL
admin.request.timeout.ms=1000
request.timeout.ms=20000
linger.ms=7
config.providers=file,env
config.providers.file.class=org.apache.kafka.common.config.provider.FileConfigProvider
config.providers.file.param.allowed.paths=/opt
config.providers.env.class=org.apache.kafka.common.config.provider.EnvVarConfigProvider
exactly.once.source.support=ENABLED
";

fn file() -> Properties {
    properties_file::parse_text(FILE).expect("valid")
}

fn minimal() -> Properties {
    Properties::from([
        ("bootstrap.servers", "kafka:9092"),
        ("group.id", "g"),
        ("key.converter", "K"),
        ("value.converter", "V"),
        ("config.storage.topic", "c"),
        ("offset.storage.topic", "o"),
        ("status.storage.topic", "s"),
    ])
}

fn with(more: &[(&str, &str)]) -> Result<(WorkerConfig, Vec<Warning>), Vec<FieldError>> {
    let mut properties = minimal();
    properties.extend(more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    WorkerConfig::parse(&properties)
}

#[track_caller]
fn refused(more: &[(&str, &str)], expect: &str) {
    let errors = with(more).expect_err(expect);
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert!(texts.iter().any(|text| text.contains(expect)), "{expect}: {texts:?}");
}

#[track_caller]
fn warned(more: &[(&str, &str)], expect: &str) {
    let (_, warnings) = with(more).expect(expect);
    let texts: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert!(texts.iter().any(|text| text.contains(expect)), "{expect}: {texts:?}");
}

fn pairs(map: &Properties) -> Vec<(&str, &str)> {
    let mut pairs: Vec<_> = map.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    pairs.sort_unstable();
    pairs
}

#[test]
fn a_usual_file_is_read_in_full() {
    let (config, warnings) = WorkerConfig::parse(&file()).expect("valid");
    assert_eq!(config.group_id, "connect-cluster");
    assert_eq!(config.key_converter.properties, Properties::from([("schemas.enable", "true")]));
    assert_eq!(config.header_converter.class, SIMPLE_HEADERS);
    assert_eq!(config.config_storage.partitions, Some(1));
    assert_eq!(config.config_storage.replication_factor, None);
    assert_eq!(
        (config.offset_storage.partitions, config.offset_storage.replication_factor),
        (Some(25), Some(1))
    );
    assert_eq!(config.offset_storage.settings, Properties::from([("min.insync.replicas", "1")]));
    assert_eq!(
        (config.status_storage.partitions, config.status_storage.replication_factor),
        (Some(3), Some(3))
    );
    assert_eq!(config.offset_flush_interval_ms, 10_000);
    assert_eq!(config.listeners, [Listener { scheme: Scheme::Http, host: None, port: 8083 }]);
    let address = config.advertised.address(&config.listeners, "box");
    assert_eq!(address, (Scheme::Http, "worker-0.connect".to_owned(), 8083));
    assert_eq!(config.exactly_once_source, ExactlyOnceSource::Enabled);
    assert_eq!(config.config_providers[0].params, Properties::from([("allowed.paths", "/opt")]));
    assert_eq!(config.override_policy, OverridePolicy::All);
    assert_eq!(warnings.iter().map(|w| w.field.as_str()).collect::<Vec<_>>(), ["plugin.path"]);
    assert!(!format!("{config:?}").contains("hush"));
}

#[test]
fn clients_get_what_connect_gives_them() {
    let (config, _) = WorkerConfig::parse(&file()).expect("valid");
    let clients = config.clients;
    let servers = ("bootstrap.servers", "kafka-1:9093,kafka-2:9093");
    let (protocol, path, password) = (
        ("security.protocol", "SSL"),
        ("ssl.truststore.location", "/tmp/kafka/cluster.truststore.p12"),
        ("ssl.truststore.password", "hush"),
    );
    let timeout = ("request.timeout.ms", "20000");
    assert_eq!(pairs(&clients.of_worker(Admin)), [servers, timeout, protocol, path, password]);
    let linger = ("linger.ms", "7");
    assert_eq!(
        pairs(&clients.of_worker(Producer)),
        [servers, linger, timeout, protocol, path, password]
    );
    // A connector's producer has nothing of what stands without a prefix.
    assert_eq!(pairs(&clients.of_connectors(Producer)), [servers, ("linger.ms", "5"), protocol]);
    assert_eq!(pairs(&clients.of_connectors(Consumer)), [servers, ("max.poll.records", "100")]);
    let shorter = ("request.timeout.ms", "1000");
    assert_eq!(pairs(&clients.of_connectors(Admin)), [servers, shorter, protocol, path, password]);
    let connector =
        Properties::from([("producer.override.linger.ms", "9"), ("consumer.override.acks", "1")]);
    assert_eq!(
        pairs(&clients.of_connector(Producer, &connector)),
        [servers, ("linger.ms", "9"), protocol]
    );
}

#[test]
fn all_errors_come_at_once() {
    let errors = WorkerConfig::parse(&Properties::from([("offset.flush.interval.ms", "soon")]))
        .expect_err("empty");
    let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
    let expect = [
        "bootstrap.servers",
        "group.id",
        "config.storage.topic",
        "offset.storage.topic",
        "status.storage.topic",
        "key.converter",
        "value.converter",
        "offset.flush.interval.ms",
    ];
    assert_eq!(fields, expect);
    assert!(errors[1].to_string().starts_with("group.id: must be set: a name"));
}

#[test]
fn defaults_are_connects_but_for_the_listener_and_the_commits() {
    let (config, warnings) = with(&[]).expect("valid");
    assert_eq!(warnings, []);
    assert_eq!(config.listeners, [Listener::loopback()]);
    assert_eq!(config.admin_listeners, AdminListeners::Same);
    assert_eq!((config.tls, config.cors, config.response_headers), (None, None, vec![]));
    assert_eq!((config.offset_flush_interval_ms, config.task_shutdown_timeout_ms), (5_000, 5_000));
    assert_eq!((config.session_timeout_ms, config.heartbeat_interval_ms), (10_000, 3_000));
    assert!(
        config.topic_tracking_enable
            && config.topic_tracking_allow_reset
            && config.topic_creation_enable
    );
    assert_eq!(config.exactly_once_source, ExactlyOnceSource::Disabled);
}

#[test]
fn wrong_values_are_refused_with_what_would_be_right() {
    refused(
        &[("topic.tracking.enable", "yes")],
        "topic.tracking.enable: must be true or false, not \"yes\"",
    );
    refused(
        &[("offset.storage.partitions", "0")],
        "must be a positive number, or -1 for the broker's default",
    );
    refused(
        &[("status.storage.replication.factor", "40000")],
        "must be a whole number from -1 to 32767",
    );
    refused(&[("config.storage.topic", "a b")], "config.storage.topic: must be letters");
    refused(&[("listeners", "")], "listeners: must name at least one address");
    refused(&[("listeners", "http://a:1,b:2")], "\"b:2\" is none");
    refused(&[("rest.advertised.listener", "https")], "listeners has no https:// address");
    refused(
        &[("rest.advertised.port", "0")],
        "rest.advertised.port: must be a whole number from 1 to 65535",
    );
    refused(
        &[("exactly.once.source.support", "maybe")],
        "must be disabled or preparing or enabled",
    );
    refused(
        &[("connector.client.config.override.policy", "Some")],
        "must be All, None, Principal or Allowlist",
    );
    refused(&[("config.providers", "vault")], "config.providers.vault.class: must be set");
    refused(
        &[("session.timeout.ms", "3000")],
        "heartbeat.interval.ms: must be less than session.timeout.ms (3000)",
    );
    let guard = "org.apache.kafka.connect.rest.basic.auth.extension.BasicAuthSecurityRestExtension";
    refused(&[("rest.extension.classes", guard)], "the API may stand open without it");
}

#[test]
fn https_needs_a_key_and_takes_prefixed_settings_first() {
    let https = ("listeners", "https://:8443");
    refused(&[https], "ssl.keystore.location: must be set, since there is an https listener");
    let store = [("ssl.keystore.location", "/k.pem"), ("ssl.keystore.type", "PEM")];
    let (config, _) = with(&[https, store[0], store[1]]).expect("valid");
    let tls = config.tls.expect("TLS");
    assert_eq!(
        (tls.client_auth, tls.versions),
        (ClientAuth::None, vec![TlsVersion::Tls12, TlsVersion::Tls13])
    );
    // They are the listener's, since the clients don't use TLS.
    assert_eq!(pairs(&config.clients.of_worker(Admin)), [("bootstrap.servers", "kafka:9092")]);
    let prefixed = [
        ("listeners.https.ssl.keystore.location", "/k.pem"),
        ("listeners.https.ssl.keystore.type", "PEM"),
        ("listeners.https.ssl.client.auth", "required"),
        ("listeners.https.ssl.enabled.protocols", "TLSv1.3"),
    ];
    let both = [&[https][..], &prefixed].concat();
    refused(
        &both,
        "listeners.https.ssl.truststore.location: must be set, since ssl.client.auth is required",
    );
    let trust = [
        ("listeners.https.ssl.truststore.type", "PEM"),
        ("listeners.https.ssl.truststore.location", "/ca"),
    ];
    let all = [&both[..], &trust, &[("listeners.https.ssl.cipher.suites", "x")]].concat();
    let (config, warnings) = with(&all).expect("valid");
    let tls = config.tls.expect("TLS");
    assert_eq!((tls.client_auth, tls.versions), (ClientAuth::Required, vec![TlsVersion::Tls13]));
    assert_eq!(warnings[0].field, "listeners.https.ssl.cipher.suites");
    refused(&[https, ("ssl.enabled.protocols", "TLSv1.1")], "must be TLSv1.2, TLSv1.3 or both");
    warned(&prefixed, "listeners.https.ssl.client.auth: has no effect: there is no https listener");
}

#[test]
fn admin_listeners_are_the_same_off_or_their_own() {
    assert_eq!(
        with(&[("admin.listeners", "")]).expect("valid").0.admin_listeners,
        AdminListeners::Off
    );
    let (config, warnings) = with(&[("admin.listeners", "http://127.0.0.1:9000")]).expect("valid");
    let own = Listener { port: 9000, ..Listener::loopback() };
    assert_eq!(config.admin_listeners, AdminListeners::Own(vec![own]));
    assert_eq!(
        config.clients.of_connectors(Admin),
        Properties::from([("bootstrap.servers", "kafka:9092")])
    );
    assert_eq!(warnings, []);
}

#[test]
fn what_has_no_effect_is_a_warning() {
    warned(
        &[("plugin.path", "/x")],
        "plugin.path: has no effect in Towpath: connectors, converters",
    );
    warned(
        &[("rest.port", "8083")],
        "rest.port: has no effect in Towpath: it was removed in Kafka 3.0; set listeners",
    );
    warned(
        &[("offset.flush.intervall.ms", "1")],
        "there is no such worker property; did you mean offset.flush.interval.ms?",
    );
    warned(
        &[("something.else.entirely", "1")],
        "something.else.entirely: has no effect: there is no such worker property",
    );
    warned(&[("config.storage.partitions", "3")], "this topic always has one partition");
    warned(&[("status.storage.cleanup.policy", "delete")], "internal topics are always compacted");
    warned(
        &[("config.providers.x.class", "X")],
        "config.providers.x.class: has no effect: config.providers does not name x",
    );
    warned(
        &[("connector.client.config.override.allowlist", "acks")],
        "override.policy is All, not Allowlist",
    );
    warned(&[("metrics.context.a", "b")], "metrics are served at /metrics");
}

/// The fixture lists every property of Connect 4.3.1's distributed worker.
#[test]
fn every_worker_property_is_used_or_warned_of() {
    for key in include_str!("../../fixtures/worker_keys.tsv").lines() {
        let mut properties = minimal();
        let before = WorkerConfig::parse(&properties).expect("valid").0;
        let odd = "something-odd";
        properties.set(key, odd);
        let seen = match WorkerConfig::parse(&properties) {
            Err(errors) => errors.iter().any(|error| error.field.starts_with(key)),
            Ok((config, warnings)) => {
                config != before || warnings.iter().any(|warning| warning.field == key)
            }
        };
        assert!(seen, "{key}");
        // Known, so not taken for a slip of the pen.
        if let Ok((_, warnings)) = WorkerConfig::parse(&properties) {
            assert!(!warnings.iter().any(|warning| warning.text.contains("no such")), "{key}");
        }
    }
}

#[test]
fn providers_can_be_read_before_the_rest() {
    let found = config_providers(&file()).expect("valid");
    assert_eq!(found.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["file", "env"]);
    assert_eq!(
        config_providers(&Properties::from([("config.providers", "a")]))
            .expect_err("no class")
            .len(),
        1
    );
}
