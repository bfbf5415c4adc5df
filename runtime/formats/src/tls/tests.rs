//! The stores in `fixtures/stores` were made by Java 17's `keytool` and OpenSSL 3, for these tests
//! alone: one key for `client.*`, `legacy.p12` and `openssl.p12`, another in `client.jks`.

use proptest::prelude::*;

use super::*;
use crate::Properties;

const STORE: &str = "test-only-password";
const KEY: &str = "test-only-key-password";
const CA: &str = include_str!("../../fixtures/stores/ca.pem");
const CERTIFICATE: &str = include_str!("../../fixtures/stores/client.crt");
const PRIVATE_KEY: &str = include_str!("../../fixtures/stores/client.key");
const ENCRYPTED: &str = include_str!("../../fixtures/stores/client.enc.key");

fn read(name: &str) -> io::Result<Vec<u8>> {
    if name == "client.pem" {
        return Ok(format!("Bag Attributes\n{PRIVATE_KEY}{CERTIFICATE}\n{CA}").into_bytes());
    }
    std::fs::read(format!("{}/fixtures/stores/{name}", env!("CARGO_MANIFEST_DIR")))
}

fn key_material(properties: &Properties) -> Result<KeyMaterial, FieldError> {
    KeyStore::from_properties(properties)?.expect("a key store").load(&read)
}

fn trusted(properties: &Properties) -> Result<String, FieldError> {
    TrustStore::from_properties(properties)?.expect("a trust store").load(&read)
}

fn keystore(kind: &str, location: &str, password: &str) -> Properties {
    let mut properties =
        Properties::from([("ssl.keystore.type", kind), ("ssl.keystore.location", location)]);
    if !password.is_empty() {
        properties.set("ssl.keystore.password", password);
    }
    properties
}

fn truststore(kind: &str, location: &str, password: &str) -> Properties {
    let renamed = |(key, value): (String, String)| (key.replace("keystore", "truststore"), value);
    keystore(kind, location, password).into_iter().map(renamed).collect()
}

/// A PEM block's contents, so that line breaks don't count.
fn tidy(pem: &str) -> String {
    pem.split_whitespace().collect()
}

#[test]
fn keys_and_chains_come_out_of_pkcs12() {
    for location in ["client.p12", "legacy.p12", "openssl.p12"] {
        // Java takes PKCS#12 where JKS is declared, and JKS is its default.
        for kind in ["PKCS12", "jks"] {
            let material = key_material(&keystore(kind, location, STORE)).expect(location);
            assert_eq!(tidy(material.private_key.reveal()), tidy(PRIVATE_KEY), "{location}");
            assert_eq!(
                tidy(&material.certificate_chain),
                tidy(&format!("{CERTIFICATE}{CA}")),
                "{location}"
            );
        }
    }
}

#[test]
fn keys_and_chains_come_out_of_jks() {
    let mut properties = keystore("JKS", "client.jks", STORE);
    let wrong = key_material(&properties).expect_err("the key has a password of its own");
    assert_eq!(wrong.field, "ssl.key.password");
    properties.set("ssl.key.password", KEY);
    let material = key_material(&properties).expect("readable");
    assert_eq!(
        tidy(material.private_key.reveal()),
        tidy(include_str!("../../fixtures/stores/jks.key"))
    );
    assert_eq!(material.certificate_chain.matches("BEGIN CERTIFICATE").count(), 2);
    assert!(tidy(&material.certificate_chain).ends_with(&tidy(CA)));
}

#[test]
fn certificates_to_trust_come_out_of_every_format() {
    for (kind, location) in [
        ("JKS", "trust.jks"),
        ("PKCS12", "trust.p12"),
        ("PKCS12", "openssltrust.p12"),
        ("PEM", "ca.pem"),
    ] {
        let password = if kind == "PEM" { "" } else { STORE };
        let certificates = trusted(&truststore(kind, location, password)).expect(location);
        assert_eq!(tidy(&certificates), tidy(CA), "{location}");
    }
    // Java reads a JKS trust store without its password.
    assert_eq!(tidy(&trusted(&truststore("JKS", "trust.jks", "")).expect("readable")), tidy(CA));
}

#[test]
fn pem_is_read_from_files_and_from_properties_in_any_layout() {
    let file = key_material(&keystore("PEM", "client.pem", "")).expect("readable");
    assert_eq!(tidy(file.private_key.reveal()), tidy(PRIVATE_KEY));
    assert_eq!(tidy(&file.certificate_chain), tidy(&format!("{CERTIFICATE}{CA}")));
    let one_line = |pem: &str| pem.replace('\n', " ");
    let properties = Properties::from([
        ("ssl.keystore.type", "PEM".to_owned()),
        ("ssl.keystore.key", one_line(PRIVATE_KEY)),
        ("ssl.keystore.certificate.chain", one_line(CERTIFICATE)),
        ("ssl.truststore.type", "PEM".to_owned()),
        ("ssl.truststore.certificates", one_line(CA)),
    ]);
    let inline = key_material(&properties).expect("readable");
    assert_eq!(inline.private_key, file.private_key);
    assert_eq!(inline.certificate_chain, CERTIFICATE);
    assert_eq!(trusted(&properties).expect("readable"), CA);
}

#[test]
fn encrypted_pem_keys_are_decrypted_on_demand() {
    let with = |key: &str, password: &str| {
        let mut properties = Properties::from([
            ("ssl.keystore.type", "PEM"),
            ("ssl.keystore.key", key),
            ("ssl.keystore.certificate.chain", CERTIFICATE),
        ]);
        if !password.is_empty() {
            properties.set("ssl.key.password", password);
        }
        key_material(&properties).expect("readable")
    };
    let material = with(ENCRYPTED, KEY);
    assert_eq!(material.private_key.reveal(), ENCRYPTED);
    let decrypted = material.decrypted().expect("the right password");
    assert_eq!(decrypted.private_key.reveal(), PRIVATE_KEY);
    assert_eq!(decrypted.key_password, None);
    for (key, password, expect) in [
        (ENCRYPTED, "", "the private key needs a password"),
        (ENCRYPTED, "no", "the private key holds a key that does not open with this password"),
        (
            include_str!("../../fixtures/stores/client.old.key"),
            KEY,
            "uses an encryption other than PBES2",
        ),
    ] {
        let error = with(key, password).decrypted().expect_err("not to be opened");
        assert!(error.problem.contains(expect), "{error}");
    }
}

#[test]
fn wrong_passwords_and_damage_are_told_apart_from_missing_files() {
    let key = |properties: Properties| key_material(&properties).expect_err("wrong").to_string();
    let trust = |properties: Properties| trusted(&properties).expect_err("wrong").to_string();
    let opens = "does not open with this password, or is damaged";
    for (error, expect) in [
        (
            key(keystore("PKCS12", "client.p12", "no")),
            format!("ssl.keystore.password: the store client.p12 {opens}"),
        ),
        (
            key(keystore("JKS", "client.jks", "no")),
            format!("ssl.keystore.password: the store client.jks {opens}"),
        ),
        (
            trust(truststore("JKS", "trust.jks", "no")),
            format!("ssl.truststore.password: the store trust.jks {opens}"),
        ),
        (
            trust(truststore("PKCS12", "trust.p12", "")),
            "ssl.truststore.password: the store trust.p12 needs a password".to_owned(),
        ),
        (
            key(keystore("JKS", "trust.jks", STORE)),
            "ssl.keystore.location: the store trust.jks holds no private key with a certificate"
                .to_owned(),
        ),
        (
            key(keystore("JKS", "ca.pem", STORE)),
            "ssl.keystore.type: the store ca.pem is neither PEM nor PKCS#12 nor JKS".to_owned(),
        ),
        (
            key(keystore("PEM", "ca.pem", "")),
            "ssl.keystore.location: the store ca.pem holds no PEM block of a PRIVATE KEY"
                .to_owned(),
        ),
        (
            key(keystore("PEM", "client.p12", "")),
            "ssl.keystore.location: the store client.p12 is not PEM: it is not text".to_owned(),
        ),
    ] {
        assert_eq!(error, expect);
    }
    let missing = key(keystore("PKCS12", "none.p12", STORE));
    assert!(missing.starts_with("ssl.keystore.location: can't read none.p12: "), "{missing}");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let refused = |properties: &Properties| {
        let key = KeyStore::from_properties(properties).err();
        let trust = TrustStore::from_properties(properties).err();
        key.or(trust).expect("refused").field
    };
    for (properties, field) in [
        (
            &[("ssl.keystore.type", "BCFKS"), ("ssl.keystore.location", "x")][..],
            "ssl.keystore.type",
        ),
        (&[("ssl.keystore.location", "x")], "ssl.keystore.password"),
        (&[("ssl.keystore.password", "x")], "ssl.keystore.location"),
        (&[("ssl.keystore.key", "x")], "ssl.keystore.certificate.chain"),
        (&[("ssl.keystore.certificate.chain", "x")], "ssl.keystore.key"),
        (
            &[("ssl.keystore.key", "x"), ("ssl.keystore.certificate.chain", "x")],
            "ssl.keystore.type",
        ),
        (
            &[
                ("ssl.keystore.type", "PEM"),
                ("ssl.keystore.location", "x"),
                ("ssl.keystore.password", "x"),
            ],
            "ssl.keystore.password",
        ),
        (
            &[
                ("ssl.truststore.type", "PEM"),
                ("ssl.truststore.location", "x"),
                ("ssl.truststore.certificates", "x"),
            ],
            "ssl.truststore.location",
        ),
        (&[("ssl.truststore.password", "x")], "ssl.truststore.location"),
    ] {
        assert_eq!(refused(&properties.iter().copied().collect()), field, "{properties:?}");
    }
    assert_eq!(KeyStore::from_properties(&Properties::new()), Ok(None));
}

#[test]
fn debug_shows_no_secret() {
    let mut properties = keystore("PKCS12", "client.p12", STORE);
    properties.set("ssl.key.password", KEY);
    let store = KeyStore::from_properties(&properties).expect("valid").expect("a key store");
    let shown = format!("{store:?} {:?}", store.load(&read).expect("readable"));
    assert!(
        !shown.contains(STORE) && !shown.contains(KEY) && !shown.contains("PRIVATE"),
        "{shown}"
    );
}

proptest! {
    #[test]
    fn damaged_stores_give_an_error_or_contents(
        jks in any::<bool>(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        // The legacy store opens with few rounds only if untouched, so the other is used.
        let mut bytes = read(if jks { "client.jks" } else { "openssltrust.p12" }).expect("a fixture");
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(cut.index(bytes.len()) + 1);
        let password = Secret::new(STORE);
        // No password: nothing stops a damaged JKS from being parsed.
        let _contents = binary_store(&bytes, (!jks).then_some(&password), None).map(|c| c.trusted.len());
    }

    #[test]
    fn any_text_is_pem_or_an_error(text in "(-----BEGIN |-----END |-----|PRIVATE KEY|[A-Za-z=: \n]{0,9}){0,9}") {
        let _key = pem::private_key(&text).is_ok();
        let _certificates = pem::certificates(&text).is_ok();
    }
}
