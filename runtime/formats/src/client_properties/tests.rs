use std::collections::{BTreeMap, BTreeSet};
use std::io;

use proptest::prelude::*;

use super::table::{ROWS, Rule, Value};
use super::*;

fn no_files(name: &str) -> io::Result<Vec<u8>> {
    Err(io::Error::other(format!("{name} is not there")))
}

fn of<const N: usize>(role: ClientRole, java: [(&str, &str); N]) -> Translation {
    translate(role, &Properties::from(java), &no_files)
}

/// librdkafka's properties, those of the tokens among them.
fn all(translation: &Translation) -> BTreeMap<String, String> {
    let tokens = translation.oidc.iter().flat_map(Oidc::to_librdkafka);
    let rest = translation.librdkafka.iter().map(|(name, setting)| (name.clone(), setting.clone()));
    rest.chain(tokens).map(|(name, setting)| (name, setting.text().to_owned())).collect()
}

fn plain(translation: &Translation) -> BTreeMap<&str, &str> {
    translation.librdkafka.iter().map(|(name, setting)| (name.as_str(), setting.text())).collect()
}

/// Exactly these librdkafka properties come out, with neither warning nor error.
#[track_caller]
fn becomes<const N: usize, const M: usize>(
    role: ClientRole,
    java: [(&str, &str); N],
    librdkafka: [(&str, &str); M],
) {
    let translation = of(role, java);
    assert_eq!(plain(&translation), BTreeMap::from(librdkafka));
    assert_eq!((translation.warnings, translation.errors), (vec![], vec![]));
}

#[track_caller]
fn warns(role: ClientRole, java: &[(&str, &str)], expect: &str) {
    let translation = translate(role, &java.iter().copied().collect(), &no_files);
    let texts: Vec<_> = translation.warnings.iter().map(ToString::to_string).collect();
    assert!(texts.iter().any(|text| text.contains(expect)), "{expect}: {texts:?}");
    assert_eq!(translation.errors, []);
}

#[track_caller]
fn refuses(role: ClientRole, java: &[(&str, &str)], expect: &str) {
    let translation = translate(role, &java.iter().copied().collect(), &no_files);
    let texts: Vec<_> = translation.errors.iter().map(ToString::to_string).collect();
    assert!(texts.iter().any(|text| text.contains(expect)), "{expect}: {texts:?}");
}

use ClientRole::{Admin, Consumer, Producer};

/// The fixture lists every property of the three clients of kafka-clients 4.3.1.
#[test]
fn every_property_of_the_java_clients_has_its_row() {
    let mut listed = BTreeSet::new();
    for line in include_str!("../../fixtures/client_keys.tsv").lines() {
        let fields: Vec<_> = line.split('\t').collect();
        let role =
            ClientRole::ALL.into_iter().find(|role| role.name() == fields[0]).expect("a role");
        assert!(is_known(fields[1], role), "{line}");
        listed.insert((fields[0], fields[1]));
    }
    // Gone in 4.0, common in older files.
    let older = ["auto.include.jmx.reporter"];
    for row in ROWS {
        for role in row.roles {
            assert!(
                listed.contains(&(role.name(), row.key)) || older.contains(&row.key),
                "{} {}",
                role.name(),
                row.key
            );
        }
    }
}

/// The fixture lists librdkafka 2.12.1's properties and their ranges.
#[test]
fn what_comes_out_is_known_to_librdkafka() {
    let list = include_str!("../../fixtures/librdkafka_properties.tsv");
    let known: Vec<Vec<&str>> = list.lines().map(|line| line.split('\t').collect()).collect();
    let find = |name: &str, role: ClientRole| {
        known.iter().find(|row| {
            row[0] == name
                && match row[1] {
                    "P" => role == Producer,
                    "C" => role == Consumer,
                    _ => true,
                }
        })
    };
    for row in ROWS {
        let Rule::Passed(name, value) = &row.rule else { continue };
        for role in row.roles {
            let found = find(name, *role).unwrap_or_else(|| panic!("{} → {name}", row.key));
            let range = || {
                found[2]
                    .split_once(" .. ")
                    .map(|(a, b)| (a.parse::<i64>().ok(), b.parse::<i64>().ok()))
            };
            if let Value::Int { librdkafka: (least, most), .. } = value {
                let (low, high) = range().expect("a range");
                assert!(low <= Some(*least) && high >= Some(*most), "{name}: {}", found[2]);
            }
        }
    }
    for role in ClientRole::ALL {
        for (name, _) in java_defaults(role) {
            assert!(find(name, role).is_some(), "{name}");
        }
    }
}

#[test]
fn ordinary_properties_are_passed_on_or_renamed() {
    becomes(
        Producer,
        [
            ("bootstrap.servers", " a:9092, b:9092 "),
            ("linger.ms", "20"),
            ("compression.type", "zstd"),
            ("compression.zstd.level", "7"),
            ("buffer.memory", "33554433"),
            ("max.request.size", "2097152"),
            ("acks", "-1"),
            ("metadata.max.age.ms", "60000"),
            ("request.timeout.ms", "400000"),
            ("send.buffer.bytes", "-1"),
        ],
        [
            ("bootstrap.servers", "a:9092,b:9092"),
            ("linger.ms", "20"),
            ("compression.type", "zstd"),
            ("compression.level", "7"),
            ("queue.buffering.max.kbytes", "32769"),
            ("message.max.bytes", "2097152"),
            ("acks", "all"),
            ("topic.metadata.refresh.interval.ms", "60000"),
            ("request.timeout.ms", "400000"),
            ("socket.timeout.ms", "300000"),
            ("socket.send.buffer.bytes", "0"),
        ],
    );
    becomes(
        Consumer,
        [
            ("fetch.max.wait.ms", "100"),
            ("fetch.max.bytes", "104857600"),
            ("isolation.level", "READ_COMMITTED"),
            ("auto.offset.reset", "none"),
            (
                "partition.assignment.strategy",
                "org.apache.kafka.clients.consumer.CooperativeStickyAssignor",
            ),
            ("connections.max.idle.ms", "-1"),
            ("request.timeout.ms", "30000"),
        ],
        [
            ("fetch.wait.max.ms", "100"),
            ("fetch.max.bytes", "104857600"),
            ("receive.message.max.bytes", "104858112"),
            ("isolation.level", "read_committed"),
            ("auto.offset.reset", "error"),
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("connections.max.idle.ms", "0"),
            ("socket.timeout.ms", "30000"),
        ],
    );
}

/// Each of these sets makes a client of librdkafka 2.12 that its parts alone would not.
#[test]
fn properties_that_depend_on_each_other_are_brought_together() {
    becomes(
        Consumer,
        [("fetch.max.bytes", "5000")],
        [("fetch.max.bytes", "5000"), ("message.max.bytes", "5000")],
    );
    becomes(
        Producer,
        [("reconnect.backoff.ms", "20000")],
        [("reconnect.backoff.ms", "20000"), ("reconnect.backoff.max.ms", "20000")],
    );
    becomes(
        Producer,
        [("reconnect.backoff.max.ms", "20")],
        [("reconnect.backoff.ms", "20"), ("reconnect.backoff.max.ms", "20")],
    );
    becomes(
        Consumer,
        [("session.timeout.ms", "400000")],
        [("session.timeout.ms", "400000"), ("max.poll.interval.ms", "400000")],
    );
    warns(Consumer, &[("max.poll.interval.ms", "1000")], "45000 is used instead of 1000");
    let both = [("reconnect.backoff.ms", "9"), ("reconnect.backoff.max.ms", "5")];
    warns(Producer, &both, "5 is used instead of 9: reconnect.backoff.max.ms is no longer");
}

#[test]
fn what_has_no_effect_is_a_warning() {
    warns(
        Producer,
        &[("interceptor.classes", "x.Y")],
        "interceptor.classes: has no effect: it names a Java class",
    );
    warns(Producer, &[("max.block.ms", "1")], "max.block.ms: has no effect");
    warns(Consumer, &[("max.poll.records", "500")], "towpath.buffer.bytes bounds it");
    warns(Consumer, &[("exclude.internal.topics", "false")], "name them in topics");
    warns(
        Consumer,
        &[("acks", "all")],
        "acks: has no effect: it is a property of a producer, and this is a consumer",
    );
    warns(
        Producer,
        &[("linger.mss", "1")],
        "linger.mss: has no effect: the Java producer has no such property; did you mean linger.ms?",
    );
    warns(
        Producer,
        &[("reconnect.backoff.max.ms", "9000000")],
        "3600000 is used instead of 9000000",
    );
    warns(Producer, &[("acks", "1")], "a record may be lost");
    warns(Producer, &[("compression.gzip.level", "3")], "compression.type is none, not gzip");
    warns(
        Producer,
        &[("ssl.truststore.location", "x")],
        "security.protocol is PLAINTEXT, which is without TLS",
    );
    warns(
        Producer,
        &[("sasl.jaas.config", "x")],
        "security.protocol is PLAINTEXT, which is without a login",
    );
    let both = "org.apache.kafka.clients.consumer.RangeAssignor, org.apache.kafka.clients.consumer.CooperativeStickyAssignor";
    warns(Consumer, &[("partition.assignment.strategy", both)], "range is used");
    // A value that asks for what is the case anyhow needs no warning.
    becomes(Producer, [("ssl.protocol", "TLSv1.3"), ("interceptor.classes", "")], []);
    becomes(Consumer, [("enable.auto.commit", "false")], []);
}

#[test]
fn what_can_not_be_had_is_an_error() {
    refuses(Producer, &[("linger.ms", "soon")], "linger.ms: must be a whole number from 0 to");
    refuses(Producer, &[("acks", "2")], "acks: must be all, 1 or 0, not \"2\"");
    refuses(
        Producer,
        &[("compression.type", "brotli")],
        "must be one of none, gzip, snappy, lz4, zstd",
    );
    refuses(Producer, &[("enable.idempotence", "yes")], "must be true or false");
    refuses(
        Producer,
        &[("partitioner.class", "com.example.Mine")],
        "partitioner.class: can't be used",
    );
    refuses(
        Consumer,
        &[("enable.auto.commit", "true")],
        "enable.auto.commit: can't be used: offsets are committed once",
    );
    refuses(
        Consumer,
        &[("auto.offset.reset", "by_duration:PT1H")],
        "librdkafka has no by_duration",
    );
    refuses(Consumer, &[("partition.assignment.strategy", "x.Mine")], "only RangeAssignor");
    refuses(Consumer, &[("request.timeout.ms", "1000")], "must be at least 1500");
    refuses(
        Admin,
        &[("security.protocol", "TLS")],
        "must be one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL",
    );
    refuses(
        Admin,
        &[("ssl.engine.factory.class", "x.Y")],
        "ssl.engine.factory.class: can't be used",
    );
}

#[test]
fn logins_are_translated() {
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"al\" password=\"p\\\"w\";";
    let java = [
        ("security.protocol", "sasl_ssl"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.jaas.config", scram),
    ];
    becomes(
        Admin,
        java,
        [
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "al"),
            ("sasl.password", "p\"w"),
        ],
    );
    assert!(!format!("{:?}", of(Admin, java)).contains("p\\\"w"));
    let sasl = |mechanism, jaas| {
        [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", mechanism),
            ("sasl.jaas.config", jaas),
        ]
    };
    for (mechanism, jaas, expect) in [
        ("GSSAPI", "", "Kerberos"),
        ("AWS_MSK_IAM", "", "must be PLAIN, SCRAM-SHA-256"),
        ("PLAIN", "", "sasl.jaas.config: must be set for PLAIN"),
        ("PLAIN", scram, "PLAIN needs PlainLoginModule, not ScramLoginModule"),
        ("PLAIN", "a.PlainLoginModule required username=\"u\";", "must give password"),
        (
            "PLAIN",
            "com.sun.security.auth.module.JndiLoginModule required user.provider.url=\"ldap://x\";",
            "not JndiLoginModule",
        ),
        (
            "SCRAM-SHA-256",
            "a.ScramLoginModule required username=a password=b tokenauth=true;",
            "delegation tokens",
        ),
    ] {
        refuses(Producer, &sasl(mechanism, jaas), expect);
    }
    refuses(
        Producer,
        &[("security.protocol", "SASL_SSL")],
        "sasl.mechanism: GSSAPI (Kerberos), also Java's default",
    );
}

const OAUTH: [(&str, &str); 2] =
    [("security.protocol", "SASL_SSL"), ("sasl.mechanism", "OAUTHBEARER")];

#[test]
fn tokens_by_client_credentials_are_translated() {
    let jaas = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required clientId=\"id\" clientSecret=\"hush\" scope=\"kafka\" extension_logicalCluster=\"lkc\" extension_pool=\"p\";";
    let mut java = Properties::from(OAUTH);
    java.set("sasl.jaas.config", jaas);
    java.set("sasl.oauthbearer.token.endpoint.url", "https://idp.example/token");
    java.set(
        "sasl.login.callback.handler.class",
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler",
    );
    let translation = translate(Producer, &java, &no_files);
    let expect = BTreeMap::from([
        ("security.protocol", "sasl_ssl"),
        ("sasl.mechanism", "OAUTHBEARER"),
        ("sasl.oauthbearer.method", "oidc"),
        ("sasl.oauthbearer.token.endpoint.url", "https://idp.example/token"),
        ("sasl.oauthbearer.client.id", "id"),
        ("sasl.oauthbearer.client.secret", "hush"),
        ("sasl.oauthbearer.scope", "kafka"),
        ("sasl.oauthbearer.extensions", "logicalCluster=lkc,pool=p"),
    ]);
    let expect: BTreeMap<_, _> =
        expect.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    assert_eq!(all(&translation), expect);
    assert_eq!((&translation.warnings[..], &translation.errors[..]), (&[][..], &[][..]));
    assert!(!format!("{translation:?}").contains("hush"));
    // Strimzi's way to say the same.
    java.unset("sasl.oauthbearer.token.endpoint.url");
    java.set(
        "sasl.login.callback.handler.class",
        "io.strimzi.kafka.oauth.client.JaasClientOauthLoginCallbackHandler",
    );
    let jaas =
        jaas.replace("clientId", "oauth.client.id").replace("clientSecret", "oauth.client.secret");
    let jaas = jaas
        .replace("scope=", "oauth.token.endpoint.uri=\"https://idp.example/token\" oauth.scope=");
    java.set("sasl.jaas.config", jaas);
    assert_eq!(all(&translate(Producer, &java, &no_files)), expect);
}

#[test]
fn tokens_by_assertion_and_unsigned_ones_are_translated() {
    let module = "a.OAuthBearerLoginModule required;";
    let mut java = Properties::from(OAUTH);
    java.set("sasl.jaas.config", module);
    java.set("sasl.oauthbearer.token.endpoint.url", "https://idp.example/token");
    java.set(
        "sasl.oauthbearer.jwt.retriever.class",
        "org.apache.kafka.common.security.oauthbearer.JwtBearerJwtRetriever",
    );
    java.set("sasl.oauthbearer.assertion.private.key.file", "/k");
    java.set("sasl.oauthbearer.assertion.template.file", "/t");
    let translation = translate(Producer, &java, &no_files);
    let out = all(&translation);
    assert_eq!(out["sasl.oauthbearer.grant.type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    assert_eq!(out["sasl.oauthbearer.assertion.private.key.file"], "/k");
    assert_eq!(out["sasl.oauthbearer.assertion.jwt.template.file"], "/t");
    assert_eq!(translation.errors, []);

    let mut java = Properties::from(OAUTH);
    java.set(
        "sasl.jaas.config",
        "a.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"alice\";",
    );
    let translation = translate(Producer, &java, &no_files);
    assert_eq!(plain(&translation)["sasl.oauthbearer.config"], "principal=alice");
    assert_eq!(translation.warnings.len(), 1);
}

#[test]
fn tokens_that_can_not_be_had_are_errors() {
    let with = |more: &[(&'static str, &'static str)]| -> Vec<(&str, &str)> {
        OAUTH.into_iter().chain(more.iter().copied()).collect()
    };
    let jaas = ("sasl.jaas.config", "a.OAuthBearerLoginModule required;");
    let url = ("sasl.oauthbearer.token.endpoint.url", "https://idp.example/token");
    refuses(Producer, &with(&[jaas]), "sasl.oauthbearer.token.endpoint.url: must be set");
    refuses(
        Producer,
        &with(&[jaas, url]),
        "sasl.oauthbearer.client.credentials.client.secret: must be set",
    );
    refuses(
        Producer,
        &with(&[jaas, ("sasl.oauthbearer.token.endpoint.url", "file:///t")]),
        "must be an http or https URL",
    );
    refuses(
        Producer,
        &with(&[jaas, url, ("sasl.login.callback.handler.class", "x.Iam")]),
        "names a Java class",
    );
    refuses(
        Producer,
        &with(&[jaas, url, ("sasl.oauthbearer.jwt.retriever.class", "x.Mine")]),
        "ClientCredentialsJwtRetriever",
    );
    let odd =
        ("sasl.jaas.config", "a.OAuthBearerLoginModule required oauth.access.token=\"hush\";");
    refuses(Producer, &with(&[odd, url]), "the option oauth.access.token is not known here");
}

#[test]
fn tls_is_translated() {
    let store = |name: &str| {
        std::fs::read(format!("{}/fixtures/stores/{name}", env!("CARGO_MANIFEST_DIR")))
    };
    let java = Properties::from([
        ("security.protocol", "SSL"),
        ("ssl.truststore.location", "trust.jks"),
        ("ssl.truststore.password", "test-only-password"),
        ("ssl.keystore.type", "PKCS12"),
        ("ssl.keystore.location", "client.p12"),
        ("ssl.keystore.password", "test-only-password"),
        ("ssl.endpoint.identification.algorithm", ""),
        ("ssl.cipher.suites", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,TLS_AES_128_GCM_SHA256"),
        ("ssl.enabled.protocols", "TLSv1.2,TLSv1.3"),
    ]);
    let translation = translate(Producer, &java, &store);
    let out = plain(&translation);
    assert_eq!(out["security.protocol"], "ssl");
    assert_eq!(out["ssl.ca.pem"], include_str!("../../fixtures/stores/ca.pem"));
    assert_eq!(out["ssl.key.pem"], include_str!("../../fixtures/stores/client.key"));
    assert_eq!(out["ssl.certificate.pem"].matches("BEGIN").count(), 2);
    assert_eq!(out["ssl.endpoint.identification.algorithm"], "none");
    assert_eq!(out["ssl.cipher.suites"], "ECDHE-RSA-AES256-GCM-SHA384");
    let warned: Vec<_> = translation.warnings.iter().map(|w| w.field.as_str()).collect();
    assert_eq!(warned, ["ssl.endpoint.identification.algorithm", "ssl.cipher.suites"]);
    assert_eq!(translation.errors, []);
    assert!(!format!("{translation:?}").contains("PRIVATE KEY"));
    refuses(
        Producer,
        &[("security.protocol", "SSL"), ("ssl.truststore.location", "x")],
        "can't read x: x is not there",
    );
    refuses(
        Producer,
        &[("security.protocol", "SSL"), ("ssl.cipher.suites", "ROT13")],
        "\"ROT13\" is not known",
    );
}

/// A value that is used in no way must leave a trace.
fn leaves_a_trace(key: &str, value: &str, role: ClientRole) -> bool {
    let translation = translate(role, &Properties::from([(key, value)]), &no_files);
    !translation.librdkafka.is_empty()
        || !translation.warnings.is_empty()
        || !translation.errors.is_empty()
}

#[test]
fn nothing_is_dropped_in_silence() {
    for role in ClientRole::ALL {
        for row in ROWS.iter().filter(|row| row.roles.contains(&role)) {
            assert!(leaves_a_trace(row.key, "something-odd", role), "{}", row.key);
        }
        assert!(leaves_a_trace("no.such.property", "x", role));
    }
}

proptest! {
    #[test]
    fn any_value_gives_a_result_and_no_secret_shows(
        row in 0..ROWS.len(), value in "[ -~]{0,20}", jaas in "[a-z=;\"'\\\\ ]{0,30}",
    ) {
        let java = Properties::from([
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.jaas.config", &format!("a.PlainLoginModule required username=\"u\" password=\"hunter2\"; {jaas}")),
            (ROWS[row].key, &value),
        ]);
        for role in ClientRole::ALL {
            let shown = format!("{:?}", translate(role, &java, &no_files));
            prop_assert!(value.contains("hunter2") || !shown.contains("hunter2"));
        }
    }
}
