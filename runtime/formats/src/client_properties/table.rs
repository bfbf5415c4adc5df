//! Every property of the Java clients, and what becomes of it.
//!
//! Source: the config definitions of kafka-clients 4.3.1 and librdkafka 2.12's list of properties.
//! A test holds this table against the first.

use super::ordinary::{self as to, Draft};
use crate::ClientRole;
use crate::ClientRole::{Admin, Consumer, Producer};

/// One property of the Java clients.
pub(super) struct Row {
    pub(super) key: &'static str,
    pub(super) roles: &'static [ClientRole],
    pub(super) rule: Rule,
}

/// What becomes of a property.
pub(super) enum Rule {
    /// librdkafka has it, under the given name.
    Passed(&'static str, Value),
    /// More than one name, or another meaning of some values.
    By(Special),
    /// Part of the login or of TLS, which are translated as a whole.
    Security,
    /// It means nothing here; a warning, unless it has the given value, with which nothing is lost.
    NoEffect(Option<&'static str>, &'static str),
    /// It means something that can't be had; an error, unless it has the given value.
    Refused(Option<&'static str>, &'static str),
}

/// Translates one property: the draft, its key and its value.
pub(super) type Special = fn(&mut Draft<'_>, &'static str, &str);

/// What a value must be.
pub(super) enum Value {
    Text,
    /// Texts separated by commas; white space around them goes.
    List,
    Bool,
    /// The range that Java takes, and the narrower one that librdkafka takes.
    Int {
        java: (i64, i64),
        librdkafka: (i64, i64),
    },
    /// Java's texts (any case of letters) and librdkafka's.
    Choice(&'static [(&'static str, &'static str)]),
}

const ALL: &[ClientRole] = &[Producer, Consumer, Admin];
const P: &[ClientRole] = &[Producer];
const C: &[ClientRole] = &[Consumer];
const A: &[ClientRole] = &[Admin];
const PC: &[ClientRole] = &[Producer, Consumer];
const CA: &[ClientRole] = &[Consumer, Admin];

const INT: i64 = i32::MAX as i64;
const LONG: i64 = i64::MAX;

const METRICS: &str = "metrics are served at /metrics of the REST listener";
const BYTES: &str =
    "clients here carry bytes; set the connector's or the worker's converters instead";
const JVM_TLS: &str = "it chooses a part of Java's TLS, and TLS is OpenSSL's here";
const KERBEROS: &str = "Kerberos (GSSAPI) is not built in; sasl.mechanism says what is";
const TOKENS: &str = "librdkafka refreshes tokens by itself, at 80 percent of their life";
const VALIDATION: &str = "a client fetches tokens and does not validate them; brokers do";
const SHARE: &str = "no share consumer is used";
const JAVA_CLASS: &str = "it names a Java class, and no Java runs here";

const fn same(key: &'static str, roles: &'static [ClientRole], value: Value) -> Row {
    Row { key, roles, rule: Rule::Passed(key, value) }
}

const fn renamed(
    key: &'static str,
    roles: &'static [ClientRole],
    name: &'static str,
    value: Value,
) -> Row {
    Row { key, roles, rule: Rule::Passed(name, value) }
}

const fn by(key: &'static str, roles: &'static [ClientRole], rule: Special) -> Row {
    Row { key, roles, rule: Rule::By(rule) }
}

const fn security(key: &'static str) -> Row {
    Row { key, roles: ALL, rule: Rule::Security }
}

const fn no_effect(
    key: &'static str,
    roles: &'static [ClientRole],
    harmless: Option<&'static str>,
    reason: &'static str,
) -> Row {
    Row { key, roles, rule: Rule::NoEffect(harmless, reason) }
}

const fn refused(
    key: &'static str,
    roles: &'static [ClientRole],
    harmless: Option<&'static str>,
    reason: &'static str,
) -> Row {
    Row { key, roles, rule: Rule::Refused(harmless, reason) }
}

/// The range that both take.
const fn int(least: i64, most: i64) -> Value {
    Value::Int { java: (least, most), librdkafka: (least, most) }
}

const fn ints(java: (i64, i64), librdkafka: (i64, i64)) -> Value {
    Value::Int { java, librdkafka }
}

/// The row of that key for that kind of client.
pub(super) fn row(key: &str, role: ClientRole) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.key == key && row.roles.contains(&role))
}

pub(super) const ROWS: &[Row] = &[
    // Cluster and connections.
    same("bootstrap.servers", ALL, Value::List),
    refused(
        "bootstrap.controllers",
        A,
        Some(""),
        "clients here speak to brokers; set bootstrap.servers",
    ),
    same(
        "client.dns.lookup",
        ALL,
        Value::Choice(&[
            ("use_all_dns_ips", "use_all_dns_ips"),
            (
                "resolve_canonical_bootstrap_servers_only",
                "resolve_canonical_bootstrap_servers_only",
            ),
        ]),
    ),
    same("client.id", ALL, Value::Text),
    same("client.rack", C, Value::Text),
    by("send.buffer.bytes", ALL, to::send_buffer),
    by("receive.buffer.bytes", ALL, to::receive_buffer),
    by("reconnect.backoff.ms", ALL, to::reconnect_backoff),
    by("reconnect.backoff.max.ms", ALL, to::reconnect_backoff),
    same("retry.backoff.ms", ALL, ints((0, LONG), (1, 300_000))),
    same("retry.backoff.max.ms", ALL, ints((0, LONG), (1, 300_000))),
    same("socket.connection.setup.timeout.ms", ALL, ints((0, LONG), (1_000, INT))),
    no_effect(
        "socket.connection.setup.timeout.max.ms",
        ALL,
        Some("30000"),
        "librdkafka gives every attempt the same time; set socket.connection.setup.timeout.ms",
    ),
    by("connections.max.idle.ms", ALL, to::connections_max_idle),
    by("request.timeout.ms", ALL, to::request_timeout),
    no_effect(
        "default.api.timeout.ms",
        CA,
        Some("60000"),
        "operations here have deadlines of their own; set request.timeout.ms",
    ),
    renamed(
        "metadata.max.age.ms",
        ALL,
        "topic.metadata.refresh.interval.ms",
        ints((0, LONG), (10, 3_600_000)),
    ),
    no_effect(
        "metadata.max.idle.ms",
        P,
        Some("300000"),
        "librdkafka forgets unused topics by itself",
    ),
    same(
        "metadata.recovery.strategy",
        ALL,
        Value::Choice(&[("none", "none"), ("rebootstrap", "rebootstrap")]),
    ),
    same("metadata.recovery.rebootstrap.trigger.ms", ALL, ints((0, LONG), (0, INT))),
    same("enable.metrics.push", ALL, Value::Bool),
    no_effect("metrics.sample.window.ms", ALL, None, METRICS),
    no_effect("metrics.num.samples", ALL, None, METRICS),
    no_effect("metrics.recording.level", ALL, None, METRICS),
    no_effect("metric.reporters", ALL, None, METRICS),
    no_effect("auto.include.jmx.reporter", ALL, None, METRICS),
    no_effect("interceptor.classes", PC, Some(""), JAVA_CLASS),
    refused(
        "config.providers",
        ALL,
        Some(""),
        "references are resolved by the worker; set config.providers without a prefix",
    ),
    // Producer.
    by("acks", P, to::acks),
    same("retries", P, int(0, INT)),
    no_effect("retries", A, None, "operations here are repeated until their deadline"),
    by("compression.type", P, to::compression),
    by("compression.gzip.level", P, to::compression_level),
    by("compression.lz4.level", P, to::compression_level),
    by("compression.zstd.level", P, to::compression_level),
    same("batch.size", P, ints((0, INT), (1, INT))),
    same("linger.ms", P, ints((0, LONG), (0, 900_000))),
    by("buffer.memory", P, to::buffer_memory),
    renamed("max.request.size", P, "message.max.bytes", ints((0, INT), (1_000, 1_000_000_000))),
    no_effect("max.block.ms", P, None, "a full queue holds the task back, for as long as it takes"),
    same("delivery.timeout.ms", P, int(0, INT)),
    same("max.in.flight.requests.per.connection", P, ints((1, INT), (1, 1_000_000))),
    same("enable.idempotence", P, Value::Bool),
    no_effect("transactional.id", P, None, "Towpath gives every task its own, as Connect does"),
    same("transaction.timeout.ms", P, ints((0, INT), (1_000, INT))),
    refused(
        "transaction.two.phase.commit.enable",
        P,
        Some("false"),
        "transactions here have one phase; remove it",
    ),
    by("partitioner.class", P, to::partitioner_class),
    by("partitioner.ignore.keys", P, to::partitioner_ignore_keys),
    no_effect(
        "partitioner.adaptive.partitioning.enable",
        P,
        Some("false"),
        "librdkafka does not prefer faster brokers",
    ),
    no_effect(
        "partitioner.availability.timeout.ms",
        P,
        Some("0"),
        "librdkafka does not avoid partitions whose broker is slow",
    ),
    no_effect("key.serializer", P, None, BYTES),
    no_effect("value.serializer", P, None, BYTES),
    // Consumer.
    same("group.id", C, Value::Text),
    same("group.instance.id", C, Value::Text),
    same("group.protocol", C, Value::Choice(&[("classic", "classic"), ("consumer", "consumer")])),
    same("group.remote.assignor", C, Value::Text),
    by("session.timeout.ms", C, to::session_timeout),
    same("heartbeat.interval.ms", C, ints((0, INT), (1, 3_600_000))),
    by("max.poll.interval.ms", C, to::max_poll_interval),
    no_effect(
        "max.poll.records",
        C,
        None,
        "sinks take what was fetched; the connector's towpath.buffer.bytes bounds it",
    ),
    by("partition.assignment.strategy", C, to::assignment_strategy),
    refused(
        "enable.auto.commit",
        C,
        Some("false"),
        "offsets are committed once their records are safe in the target; remove it",
    ),
    no_effect(
        "auto.commit.interval.ms",
        C,
        None,
        "offsets are committed every offset.flush.interval.ms of the worker",
    ),
    by("auto.offset.reset", C, to::auto_offset_reset),
    same(
        "isolation.level",
        C,
        Value::Choice(&[
            ("read_committed", "read_committed"),
            ("read_uncommitted", "read_uncommitted"),
        ]),
    ),
    same("fetch.min.bytes", C, ints((0, INT), (1, 100_000_000))),
    by("fetch.max.bytes", C, to::fetch_max_bytes),
    renamed("fetch.max.wait.ms", C, "fetch.wait.max.ms", ints((0, INT), (0, 300_000))),
    same("max.partition.fetch.bytes", C, ints((0, INT), (1, 1_000_000_000))),
    same("check.crcs", C, Value::Bool),
    same("allow.auto.create.topics", C, Value::Bool),
    no_effect(
        "exclude.internal.topics",
        C,
        Some("true"),
        "topics.regex never matches Kafka's internal topics; name them in topics",
    ),
    no_effect(
        "internal.throw.on.fetch.stable.offset.unsupported",
        C,
        None,
        "it is internal to the Java client",
    ),
    no_effect("key.deserializer", C, None, BYTES),
    no_effect("value.deserializer", C, None, BYTES),
    no_effect("share.acknowledgement.mode", C, None, SHARE),
    no_effect("share.acquire.mode", C, None, SHARE),
    // Who we are, and who the broker is.
    security("security.protocol"),
    no_effect("security.providers", ALL, Some(""), JAVA_CLASS),
    security("ssl.keystore.type"),
    security("ssl.keystore.location"),
    security("ssl.keystore.password"),
    security("ssl.key.password"),
    security("ssl.keystore.key"),
    security("ssl.keystore.certificate.chain"),
    security("ssl.truststore.type"),
    security("ssl.truststore.location"),
    security("ssl.truststore.password"),
    security("ssl.truststore.certificates"),
    security("ssl.endpoint.identification.algorithm"),
    security("ssl.cipher.suites"),
    security("ssl.enabled.protocols"),
    no_effect("ssl.protocol", ALL, Some("TLSv1.3"), JVM_TLS),
    no_effect("ssl.provider", ALL, Some(""), JVM_TLS),
    no_effect("ssl.keymanager.algorithm", ALL, Some("SunX509"), JVM_TLS),
    no_effect("ssl.trustmanager.algorithm", ALL, Some("PKIX"), JVM_TLS),
    no_effect("ssl.secure.random.implementation", ALL, Some(""), JVM_TLS),
    refused("ssl.engine.factory.class", ALL, Some(""), JAVA_CLASS),
    security("sasl.mechanism"),
    security("sasl.jaas.config"),
    security("sasl.login.callback.handler.class"),
    refused("sasl.client.callback.handler.class", ALL, Some(""), JAVA_CLASS),
    refused("sasl.login.class", ALL, Some(""), JAVA_CLASS),
    no_effect("sasl.kerberos.service.name", ALL, None, KERBEROS),
    no_effect("sasl.kerberos.kinit.cmd", ALL, None, KERBEROS),
    no_effect("sasl.kerberos.ticket.renew.window.factor", ALL, None, KERBEROS),
    no_effect("sasl.kerberos.ticket.renew.jitter", ALL, None, KERBEROS),
    no_effect("sasl.kerberos.min.time.before.relogin", ALL, None, KERBEROS),
    no_effect("sasl.login.refresh.window.factor", ALL, None, TOKENS),
    no_effect("sasl.login.refresh.window.jitter", ALL, None, TOKENS),
    no_effect("sasl.login.refresh.min.period.seconds", ALL, None, TOKENS),
    no_effect("sasl.login.refresh.buffer.seconds", ALL, None, TOKENS),
    no_effect("sasl.login.connect.timeout.ms", ALL, None, TOKENS),
    no_effect("sasl.login.read.timeout.ms", ALL, None, TOKENS),
    no_effect("sasl.login.retry.backoff.ms", ALL, None, TOKENS),
    no_effect("sasl.login.retry.backoff.max.ms", ALL, None, TOKENS),
    security("sasl.oauthbearer.token.endpoint.url"),
    security("sasl.oauthbearer.client.credentials.client.id"),
    security("sasl.oauthbearer.client.credentials.client.secret"),
    security("sasl.oauthbearer.scope"),
    security("sasl.oauthbearer.jwt.retriever.class"),
    security("sasl.oauthbearer.assertion.algorithm"),
    security("sasl.oauthbearer.assertion.claim.aud"),
    security("sasl.oauthbearer.assertion.claim.exp.seconds"),
    security("sasl.oauthbearer.assertion.claim.iss"),
    security("sasl.oauthbearer.assertion.claim.jti.include"),
    security("sasl.oauthbearer.assertion.claim.nbf.seconds"),
    security("sasl.oauthbearer.assertion.claim.sub"),
    security("sasl.oauthbearer.assertion.file"),
    security("sasl.oauthbearer.assertion.private.key.file"),
    security("sasl.oauthbearer.assertion.private.key.passphrase"),
    security("sasl.oauthbearer.assertion.template.file"),
    no_effect(
        "sasl.oauthbearer.header.urlencode",
        ALL,
        Some("false"),
        "librdkafka sends the credentials as they are",
    ),
    no_effect("sasl.oauthbearer.jwt.validator.class", ALL, None, VALIDATION),
    no_effect("sasl.oauthbearer.jwks.endpoint.url", ALL, None, VALIDATION),
    no_effect("sasl.oauthbearer.jwks.endpoint.refresh.ms", ALL, None, VALIDATION),
    no_effect("sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", ALL, None, VALIDATION),
    no_effect("sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", ALL, None, VALIDATION),
    no_effect("sasl.oauthbearer.clock.skew.seconds", ALL, None, VALIDATION),
    no_effect("sasl.oauthbearer.expected.audience", ALL, None, VALIDATION),
    no_effect("sasl.oauthbearer.expected.issuer", ALL, None, VALIDATION),
    no_effect("sasl.oauthbearer.scope.claim.name", ALL, None, VALIDATION),
    no_effect("sasl.oauthbearer.sub.claim.name", ALL, None, VALIDATION),
];
