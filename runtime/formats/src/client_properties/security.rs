//! Login and TLS, translated as a whole: which settings count depends on `security.protocol`.

use super::Setting;
use super::jaas;
use super::oauth;
use super::ordinary::Draft;
use super::table::{ROWS, Rule};
use crate::secret::Secret;
use crate::tls::{KeyStore, ReadFile, TrustStore};

/// What the broker's listener expects.
struct Protocol {
    name: &'static str,
    librdkafka: &'static str,
    tls: bool,
    sasl: bool,
}

const PROTOCOLS: [Protocol; 4] = [
    Protocol { name: "PLAINTEXT", librdkafka: "plaintext", tls: false, sasl: false },
    Protocol { name: "SSL", librdkafka: "ssl", tls: true, sasl: false },
    Protocol { name: "SASL_PLAINTEXT", librdkafka: "sasl_plaintext", tls: false, sasl: true },
    Protocol { name: "SASL_SSL", librdkafka: "sasl_ssl", tls: true, sasl: true },
];

impl Draft<'_> {
    /// The trimmed value of a property, if it isn't empty.
    pub(super) fn set_text(&self, key: &str) -> Option<String> {
        self.java.text(key).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    pub(super) fn secret(&mut self, name: &str, value: &Secret) {
        self.librdkafka.insert(name.to_owned(), Setting::Secret(value.clone()));
    }
}

/// Translates every property of [`Rule::Security`].
pub(super) fn translate(draft: &mut Draft<'_>, read: ReadFile<'_>) {
    const KEY: &str = "security.protocol";
    let name = draft.set_text(KEY).unwrap_or_else(|| PROTOCOLS[0].name.to_owned());
    let Some(protocol) =
        PROTOCOLS.iter().find(|protocol| protocol.name.eq_ignore_ascii_case(&name))
    else {
        let names = PROTOCOLS.map(|protocol| protocol.name).join(", ");
        draft.refuse(KEY, format!("must be one of {names}, not {name:?}"));
        return;
    };
    if draft.java.contains_key(KEY) {
        draft.plain(KEY, protocol.librdkafka);
    }
    if protocol.tls {
        tls(draft, read);
    } else {
        unused(
            draft,
            "ssl.",
            &format!("security.protocol is {}, which is without TLS", protocol.name),
        );
    }
    if protocol.sasl {
        sasl(draft);
    } else {
        unused(
            draft,
            "sasl.",
            &format!("security.protocol is {}, which is without a login", protocol.name),
        );
    }
}

/// Warns of properties that would matter under another protocol or mechanism.
pub(super) fn unused(draft: &mut Draft<'_>, prefix: &str, reason: &str) {
    let security =
        ROWS.iter().filter(|row| matches!(row.rule, Rule::Security) && row.key.starts_with(prefix));
    let set: Vec<_> =
        security.map(|row| row.key).filter(|key| draft.set_text(key).is_some()).collect();
    for key in set {
        draft.warn(key, format!("has no effect: {reason}"));
    }
}

fn tls(draft: &mut Draft<'_>, read: ReadFile<'_>) {
    let trust = TrustStore::from_properties(draft.java)
        .and_then(|store| store.map(|s| s.load(read)).transpose());
    match trust {
        Ok(Some(certificates)) => draft.plain("ssl.ca.pem", certificates),
        Ok(None) => {}
        Err(error) => draft.errors.push(error),
    }
    let key = KeyStore::from_properties(draft.java)
        .and_then(|store| store.map(|s| s.load(read)).transpose());
    match key {
        Ok(Some(material)) => {
            draft.plain("ssl.certificate.pem", &material.certificate_chain);
            draft.secret("ssl.key.pem", &material.private_key);
            if let Some(password) = &material.key_password {
                draft.secret("ssl.key.password", password);
            }
        }
        Ok(None) => {}
        Err(error) => draft.errors.push(error),
    }
    endpoint_identification(draft);
    cipher_suites(draft);
    enabled_protocols(draft);
}

fn endpoint_identification(draft: &mut Draft<'_>) {
    const KEY: &str = "ssl.endpoint.identification.algorithm";
    match draft.java.text(KEY).map(str::trim) {
        None => {}
        Some("") => {
            draft.warn(
                KEY,
                "brokers' names are not checked against their certificates; https checks them",
            );
            draft.plain(KEY, "none");
        }
        Some(https) if https.eq_ignore_ascii_case("https") => draft.plain(KEY, "https"),
        Some(other) => {
            let problem = format!("must be https, or empty for no check, not {other:?}");
            draft.refuse(KEY, problem);
        }
    }
}

/// OpenSSL's names of the suites of TLS 1.2 that Java 17 has switched on.
const SUITES: &[(&str, &str)] = &[
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
    ("TLS_DHE_RSA_WITH_AES_256_GCM_SHA384", "DHE-RSA-AES256-GCM-SHA384"),
    ("TLS_DHE_RSA_WITH_AES_128_GCM_SHA256", "DHE-RSA-AES128-GCM-SHA256"),
    ("TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "DHE-RSA-CHACHA20-POLY1305"),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384", "ECDHE-ECDSA-AES256-SHA384"),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", "ECDHE-ECDSA-AES128-SHA256"),
    ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384", "ECDHE-RSA-AES256-SHA384"),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", "ECDHE-RSA-AES128-SHA256"),
    ("TLS_RSA_WITH_AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
    ("TLS_RSA_WITH_AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
];

fn cipher_suites(draft: &mut Draft<'_>) {
    const KEY: &str = "ssl.cipher.suites";
    let Some(list) = draft.set_text(KEY) else { return };
    let mut names = Vec::new();
    for suite in list.split(',').map(str::trim).filter(|suite| !suite.is_empty()) {
        if suite.starts_with("TLS_") && !suite.contains("_WITH_") {
            draft.warn(KEY, format!("{suite} is used in any case: librdkafka can't choose among the suites of TLS 1.3"));
        } else if let Some((_, name)) = SUITES.iter().find(|(java, _)| *java == suite) {
            names.push(*name);
        } else {
            draft.refuse(
                KEY,
                format!("{suite:?} is not known here; use the ECDHE suites with GCM or CHACHA20"),
            );
        }
    }
    if !names.is_empty() {
        draft.plain(KEY, names.join(":"));
    }
}

fn enabled_protocols(draft: &mut Draft<'_>) {
    const KEY: &str = "ssl.enabled.protocols";
    let Some(list) = draft.set_text(KEY) else { return };
    let wanted: Vec<_> =
        list.split(',').map(str::trim).filter(|version| !version.is_empty()).collect();
    if !["TLSv1.2", "TLSv1.3"].iter().all(|version| wanted.contains(version)) || wanted.len() != 2 {
        draft
            .warn(KEY, "has no effect: librdkafka can't choose versions; TLS 1.2 and 1.3 are used");
    }
}

fn sasl(draft: &mut Draft<'_>) {
    const KEY: &str = "sasl.mechanism";
    const JAAS: &str = "sasl.jaas.config";
    const KNOWN: &str = "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER";
    let mechanism = draft.set_text(KEY).unwrap_or_else(|| "GSSAPI".to_owned());
    let expected = match mechanism.as_str() {
        "PLAIN" => "PlainLoginModule",
        "SCRAM-SHA-256" | "SCRAM-SHA-512" => "ScramLoginModule",
        "OAUTHBEARER" => "OAuthBearerLoginModule",
        "GSSAPI" => {
            draft.refuse(
                KEY,
                format!("GSSAPI (Kerberos), also Java's default, is not built in; use {KNOWN}"),
            );
            return;
        }
        other => {
            draft.refuse(KEY, format!("must be {KNOWN}, not {other:?}"));
            return;
        }
    };
    draft.plain(KEY, &mechanism);
    if mechanism != "OAUTHBEARER" {
        let reason = format!("sasl.mechanism is {mechanism}");
        unused(draft, "sasl.oauthbearer.", &reason);
        unused(draft, "sasl.login.callback.", &reason);
    }
    let Some(line) = draft.set_text(JAAS) else {
        let problem =
            format!("must be set for {mechanism}: org.apache.kafka….{expected} required …;");
        draft.refuse(JAAS, problem);
        return;
    };
    let module = match jaas::parse(&line) {
        Ok(module) => module,
        Err(error) => {
            draft.refuse(JAAS, error.to_string());
            return;
        }
    };
    if module.name != expected {
        draft.refuse(JAAS, format!("{mechanism} needs {expected}, not {}", module.name));
        return;
    }
    if mechanism == "OAUTHBEARER" {
        oauth::translate(draft, &module);
        return;
    }
    for (option, name) in [("username", "sasl.username"), ("password", "sasl.password")] {
        match module.option(option) {
            Some(value) if option == "username" => draft.plain(name, value.reveal()),
            Some(value) => draft.secret(name, value),
            None => draft.refuse(JAAS, format!("must give {option}=\"…\"")),
        }
    }
    for (option, _) in &module.options {
        match option.as_str() {
            "username" | "password" | "serviceName" => {}
            "tokenauth" => {
                draft.refuse(JAAS, "tokenauth can't be used: librdkafka has no delegation tokens")
            }
            other => draft.warn(
                JAAS,
                format!("the option {other} has no effect: {expected} has none of that name"),
            ),
        }
    }
}
