//! Where the REST API listens, and under which address others reach it.

use crate::Properties;
use crate::fields::Fields;
use crate::finding::{FieldError, Warning};
use crate::tls::{KeyStore, TrustStore};

/// Plain or over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// The scheme as in a URL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// One address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listener {
    /// Plain or over TLS.
    pub scheme: Scheme,
    /// The host or address, without brackets; `None` for all interfaces.
    pub host: Option<String>,
    /// The port; 0 for any that is free.
    pub port: u16,
}

/// Where the endpoints under `/admin` are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AdminListeners {
    /// With all others.
    #[default]
    Same,
    /// Nowhere (`admin.listeners` is empty).
    Off,
    /// On these only.
    Own(Vec<Listener>),
}

/// How other workers and clients reach this one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advertised {
    /// `rest.advertised.host.name`.
    pub host: Option<String>,
    /// `rest.advertised.port`.
    pub port: Option<u16>,
    /// `rest.advertised.listener`.
    pub scheme: Option<Scheme>,
}

/// TLS of `https` listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// The server's key and certificates.
    pub key_store: KeyStore,
    /// Whom to trust for clients' certificates.
    pub trust_store: Option<TrustStore>,
    /// Whether clients show a certificate.
    pub client_auth: ClientAuth,
    /// The versions to offer; never empty.
    pub versions: Vec<TlsVersion>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    /// 1.2 (RFC 5246).
    Tls12,
    /// 1.3 (RFC 8446).
    Tls13,
}

/// `ssl.client.auth`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They aren't asked.
    #[default]
    None,
    /// They are asked, and may decline.
    Requested,
    /// They must.
    Required,
}

impl Listener {
    /// Where the API is if `listeners` says nothing: not reachable from other machines.
    pub fn loopback() -> Self {
        Self { scheme: Scheme::Http, host: Some("127.0.0.1".to_owned()), port: 8083 }
    }

    /// Reads `http://host:port`, `https://[::1]:8443`, `http://:8083`.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = [Scheme::Http, Scheme::Https]
            .into_iter()
            .find(|s| s.name().eq_ignore_ascii_case(scheme))?;
        let (host, port) = rest.trim_end_matches('/').rsplit_once(':')?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let known = |c: char| c.is_ascii_alphanumeric() || "-._%:".contains(c);
        let named = bare.chars().all(known);
        named.then(|| {
            let host = Some(bare.to_owned()).filter(|host| !host.is_empty());
            Some(Self { scheme, host, port: port.parse().ok()? })
        })?
    }
}

impl Advertised {
    /// The address to tell others: what is set, else what the fitting listener says.
    ///
    /// `bound` are the listeners with the ports that they really have; `machine` is this machine's name.
    /// A listener on all interfaces is reached by that name.
    pub fn address(&self, bound: &[Listener], machine: &str) -> (Scheme, String, u16) {
        let has = |scheme| bound.iter().find(|listener| listener.scheme == scheme);
        let plain = has(Scheme::Http).or_else(|| has(Scheme::Https));
        let listener = self.scheme.map_or(plain, has);
        let scheme = self.scheme.or(listener.map(|l| l.scheme)).unwrap_or(Scheme::Http);
        let all = |host: &&String| !matches!(host.as_str(), "0.0.0.0" | "::");
        let own = listener.and_then(|l| l.host.as_ref()).filter(all);
        let host = self.host.as_ref().or(own).map_or(machine, String::as_str);
        let port = self.port.or(listener.map(|l| l.port)).unwrap_or(Listener::loopback().port);
        (scheme, host.to_owned(), port)
    }
}

pub(super) fn listeners(fields: &mut Fields<'_>) -> Vec<Listener> {
    const KEY: &str = "listeners";
    match fields.list(KEY) {
        None => vec![Listener::loopback()],
        Some(texts) if texts.is_empty() => {
            fields.refuse(KEY, "must name at least one address, such as http://127.0.0.1:8083");
            Vec::new()
        }
        Some(texts) => parsed(fields, KEY, &texts),
    }
}

pub(super) fn admin_listeners(fields: &mut Fields<'_>) -> AdminListeners {
    const KEY: &str = "admin.listeners";
    match fields.list(KEY) {
        None => AdminListeners::Same,
        Some(texts) if texts.is_empty() => AdminListeners::Off,
        Some(texts) => AdminListeners::Own(parsed(fields, KEY, &texts)),
    }
}

fn parsed(fields: &mut Fields<'_>, key: &str, texts: &[&str]) -> Vec<Listener> {
    let mut found = Vec::new();
    for text in texts {
        match Listener::parse(text) {
            Some(listener) => found.push(listener),
            None => fields.refuse(
                key,
                format!("must be addresses like http://host:port or https://host:port, and {text:?} is none"),
            ),
        }
    }
    found
}

pub(super) fn advertised(fields: &mut Fields<'_>, listeners: &[Listener]) -> Advertised {
    const SCHEME: &str = "rest.advertised.listener";
    let schemes = [("http", Some(Scheme::Http)), ("https", Some(Scheme::Https))];
    let scheme = fields.choice(SCHEME, None, &schemes);
    let absent = |scheme: &Scheme| !listeners.iter().any(|listener| listener.scheme == *scheme);
    if let Some(scheme) = scheme.filter(absent).filter(|_| !listeners.is_empty()) {
        let name = scheme.name();
        fields
            .refuse(SCHEME, format!("is {name}, but listeners has no {name}:// address; add one"));
    }
    Advertised {
        host: fields.text("rest.advertised.host.name").map(str::to_owned),
        port: fields.number("rest.advertised.port", 1..=65535),
        scheme,
    }
}

/// TLS of the listeners whose properties start with `prefix`; all with that prefix, or else all
/// without one, as Connect does.
pub(super) fn tls(
    fields: &mut Fields<'_>,
    warnings: &mut Vec<Warning>,
    prefix: &str,
    listeners: &[Listener],
) -> Option<ListenerTls> {
    let prefixed = fields.map.with_prefix(prefix);
    if !listeners.iter().any(|listener| listener.scheme == Scheme::Https) {
        let unused = |key: &String| {
            Warning::new(
                format!("{prefix}{key}"),
                "has no effect: there is no https listener that it would be for",
            )
        };
        warnings.extend(prefixed.keys().map(unused));
        return None;
    }
    let prefix = if prefixed.is_empty() { "" } else { prefix };
    let properties = if prefixed.is_empty() { fields.map.clone() } else { prefixed };
    warnings.extend(tls_warnings(&properties, prefix));
    let mut own = Fields::new(&properties);
    let versions = versions(&mut own);
    let client_auth = own.choice("ssl.client.auth", ClientAuth::None, &CLIENT_AUTH);
    let missing = || {
        FieldError::new("ssl.keystore.location", "must be set, since there is an https listener")
    };
    let key_store =
        KeyStore::from_properties(&properties).and_then(|store| store.ok_or_else(missing));
    let key_store = key_store.map_err(|error| own.errors.push(error)).ok();
    let trust_store = TrustStore::from_properties(&properties)
        .map_err(|error| own.errors.push(error))
        .ok()
        .flatten();
    if client_auth == ClientAuth::Required && trust_store.is_none() {
        own.refuse("ssl.truststore.location", "must be set, since ssl.client.auth is required");
    }
    let named =
        |error: FieldError| FieldError::new(format!("{prefix}{}", error.field), error.problem);
    fields.errors.extend(own.errors.into_iter().map(named));
    Some(ListenerTls { key_store: key_store?, trust_store, client_auth, versions })
}

const CLIENT_AUTH: [(&str, ClientAuth); 3] = [
    ("none", ClientAuth::None),
    ("requested", ClientAuth::Requested),
    ("required", ClientAuth::Required),
];

/// `ssl.enabled.protocols`: the newer of those that are safe.
fn versions(own: &mut Fields<'_>) -> Vec<TlsVersion> {
    const KEY: &str = "ssl.enabled.protocols";
    let Some(listed) = own.list(KEY).filter(|listed| !listed.is_empty()) else {
        return vec![TlsVersion::Tls12, TlsVersion::Tls13];
    };
    let known = |name: &&str| match *name {
        "TLSv1.2" => Some(TlsVersion::Tls12),
        "TLSv1.3" => Some(TlsVersion::Tls13),
        _ => None,
    };
    if let Some(odd) = listed.iter().find(|name| known(name).is_none()) {
        own.refuse(KEY, format!("must be TLSv1.2, TLSv1.3 or both, and {odd:?} is neither"));
    }
    listed.iter().filter_map(known).collect()
}

/// Properties of a listener's TLS that have no effect.
fn tls_warnings(properties: &Properties, prefix: &str) -> Vec<Warning> {
    const JAVA: &str = "it chooses a part of Java's TLS, and there is no Java here";
    const NONE: [(&str, &str); 8] = [
        (
            "ssl.cipher.suites",
            "all suites that are offered are strong; there is no choice among them",
        ),
        (
            "ssl.endpoint.identification.algorithm",
            "a server does not check its clients' host names",
        ),
        ("ssl.engine.factory.class", JAVA),
        ("ssl.keymanager.algorithm", JAVA),
        ("ssl.protocol", JAVA),
        ("ssl.provider", JAVA),
        ("ssl.secure.random.implementation", JAVA),
        ("ssl.trustmanager.algorithm", JAVA),
    ];
    // Without a prefix they are a client's as well, and warned of there.
    if prefix.is_empty() {
        return Vec::new();
    }
    let known = |key: &str| {
        key.starts_with("ssl.keystore.")
            || key.starts_with("ssl.truststore.")
            || matches!(key, "ssl.key.password" | "ssl.client.auth" | "ssl.enabled.protocols")
    };
    let text = |key: &String| match NONE.iter().find(|(none, _)| none == key) {
        Some((_, reason)) => Some(format!("has no effect: {reason}")),
        None if known(key) => None,
        None => Some("has no effect: there is no such property of a listener".to_owned()),
    };
    properties
        .keys()
        .filter_map(|key| Some(Warning::new(format!("{prefix}{key}"), text(key)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(scheme: Scheme, host: &str, port: u16) -> Listener {
        Listener { scheme, host: Some(host.to_owned()).filter(|h| !h.is_empty()), port }
    }

    #[test]
    fn addresses_are_read() {
        for (text, expect) in [
            ("http://:8083", Some(listener(Scheme::Http, "", 8083))),
            ("HTTPS://[::1]:8443/", Some(listener(Scheme::Https, "::1", 8443))),
            ("http://a-b.example:0", Some(listener(Scheme::Http, "a-b.example", 0))),
            ("http://0.0.0.0:80", Some(listener(Scheme::Http, "0.0.0.0", 80))),
            ("http://host", None),
            ("ftp://host:1", None),
            ("http://host:65536", None),
            ("http://a/b:1", None),
            ("host:80", None),
        ] {
            assert_eq!(Listener::parse(text), expect, "{text}");
        }
    }

    #[test]
    fn the_advertised_address_is_what_is_set_or_listened_on() {
        let plain = listener(Scheme::Http, "0.0.0.0", 8083);
        let tls = listener(Scheme::Https, "tls.example", 8443);
        let none = Advertised::default();
        let both = [tls.clone(), plain.clone()];
        assert_eq!(none.address(&both, "box"), (Scheme::Http, "box".to_owned(), 8083));
        assert_eq!(none.address(&[tls], "box"), (Scheme::Https, "tls.example".to_owned(), 8443));
        let https = Advertised { scheme: Some(Scheme::Https), ..none.clone() };
        assert_eq!(https.address(&both, "box"), (Scheme::Https, "tls.example".to_owned(), 8443));
        let set = Advertised { host: Some("h".to_owned()), port: Some(1), scheme: None };
        assert_eq!(set.address(&[plain], "box"), (Scheme::Http, "h".to_owned(), 1));
    }
}
