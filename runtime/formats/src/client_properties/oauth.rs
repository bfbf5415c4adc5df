//! OAUTHBEARER: tokens from an OpenID Connect endpoint, in Kafka's own settings or Strimzi's options.

use super::Setting;
use super::jaas::LoginModule;
use super::ordinary::Draft;
use crate::secret::Secret;

const JAAS: &str = "sasl.jaas.config";
const ENDPOINT: &str = "sasl.oauthbearer.token.endpoint.url";
const CLIENT_ID: &str = "sasl.oauthbearer.client.credentials.client.id";
const CLIENT_SECRET: &str = "sasl.oauthbearer.client.credentials.client.secret";
const SCOPE: &str = "sasl.oauthbearer.scope";
const RETRIEVER: &str = "sasl.oauthbearer.jwt.retriever.class";
const HANDLER: &str = "sasl.login.callback.handler.class";
const PASSPHRASE: &str = "sasl.oauthbearer.assertion.private.key.passphrase";

/// Properties of the signed assertion (RFC 7523), Java's name and librdkafka's.
const ASSERTION: &[(&str, &str)] = &[
    ("sasl.oauthbearer.assertion.algorithm", "sasl.oauthbearer.assertion.algorithm"),
    ("sasl.oauthbearer.assertion.claim.aud", "sasl.oauthbearer.assertion.claim.aud"),
    (
        "sasl.oauthbearer.assertion.claim.exp.seconds",
        "sasl.oauthbearer.assertion.claim.exp.seconds",
    ),
    ("sasl.oauthbearer.assertion.claim.iss", "sasl.oauthbearer.assertion.claim.iss"),
    (
        "sasl.oauthbearer.assertion.claim.jti.include",
        "sasl.oauthbearer.assertion.claim.jti.include",
    ),
    (
        "sasl.oauthbearer.assertion.claim.nbf.seconds",
        "sasl.oauthbearer.assertion.claim.nbf.seconds",
    ),
    ("sasl.oauthbearer.assertion.claim.sub", "sasl.oauthbearer.assertion.claim.sub"),
    ("sasl.oauthbearer.assertion.file", "sasl.oauthbearer.assertion.file"),
    ("sasl.oauthbearer.assertion.private.key.file", "sasl.oauthbearer.assertion.private.key.file"),
    ("sasl.oauthbearer.assertion.template.file", "sasl.oauthbearer.assertion.jwt.template.file"),
];

/// Where and how a client gets its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oidc {
    /// The URL that hands out tokens.
    pub token_endpoint: String,
    /// What the client asks to be allowed.
    pub scope: Option<String>,
    /// By what right it asks.
    pub grant: Grant,
    /// SASL extensions (KIP-342), names and values.
    pub extensions: Vec<(String, String)>,
}

/// By what right a client asks for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// It knows a secret.
    ClientCredentials {
        /// The client's id.
        client_id: String,
        /// Its secret.
        client_secret: Secret,
    },
    /// It shows an assertion that is signed (RFC 7523).
    JwtBearer {
        /// librdkafka's `sasl.oauthbearer.assertion.*`.
        assertion: Vec<(String, Setting)>,
    },
}

impl Oidc {
    /// This as librdkafka's properties. A librdkafka that was built without curl refuses them; a client
    /// on such a one fetches tokens itself.
    pub fn to_librdkafka(&self) -> Vec<(String, Setting)> {
        let plain = |name: &str, value: &str| (name.to_owned(), Setting::Plain(value.to_owned()));
        let mut properties =
            vec![plain("sasl.oauthbearer.method", "oidc"), plain(ENDPOINT, &self.token_endpoint)];
        properties.extend(self.scope.as_ref().map(|scope| plain(SCOPE, scope)));
        if !self.extensions.is_empty() {
            let pairs: Vec<_> =
                self.extensions.iter().map(|(name, value)| format!("{name}={value}")).collect();
            properties.push(plain("sasl.oauthbearer.extensions", &pairs.join(",")));
        }
        match &self.grant {
            Grant::ClientCredentials { client_id, client_secret } => {
                properties.push(plain("sasl.oauthbearer.client.id", client_id));
                let secret = Setting::Secret(client_secret.clone());
                properties.push(("sasl.oauthbearer.client.secret".to_owned(), secret));
            }
            Grant::JwtBearer { assertion } => {
                let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
                properties.push(plain("sasl.oauthbearer.grant.type", grant));
                properties.extend(assertion.iter().cloned());
            }
        }
        properties
    }
}

pub(super) fn translate(draft: &mut Draft<'_>, module: &LoginModule) {
    if let Some(handler) = draft.set_text(HANDLER) {
        let known = ["OAuthBearerLoginCallbackHandler", "JaasClientOauthLoginCallbackHandler"];
        if !known.iter().any(|name| handler.rsplit('.').next() == Some(name)) {
            draft.refuse(HANDLER, "can't be used: it names a Java class; OAuthBearerLoginCallbackHandler is known here");
            return;
        }
    }
    let Some(by_assertion) = by_assertion(draft) else { return };
    let endpoint = option(draft, module, &["oauth.token.endpoint.uri"], ENDPOINT);
    let Some(endpoint) = endpoint else {
        unsecured(draft, module);
        return;
    };
    let token_endpoint = endpoint.reveal().to_owned();
    if !token_endpoint.starts_with("https://") && !token_endpoint.starts_with("http://") {
        draft.refuse(ENDPOINT, "must be an http or https URL");
        return;
    }
    unknown_options(draft, module);
    let scope = option(draft, module, &["scope", "oauth.scope"], SCOPE)
        .map(|scope| scope.reveal().to_owned());
    let grant =
        if by_assertion { Some(assertion(draft)) } else { client_credentials(draft, module) };
    draft.oidc =
        grant.map(|grant| Oidc { token_endpoint, scope, grant, extensions: extensions(module) });
}

/// Is a signed assertion shown, rather than a secret?
fn by_assertion(draft: &mut Draft<'_>) -> Option<bool> {
    let class = draft.set_text(RETRIEVER);
    match class.as_deref().map(|class| class.rsplit('.').next().unwrap_or(class)) {
        Some("JwtBearerJwtRetriever") => Some(true),
        None | Some("DefaultJwtRetriever" | "ClientCredentialsJwtRetriever") => Some(false),
        Some(_) => {
            draft.refuse(
                RETRIEVER,
                "can't be used: ClientCredentialsJwtRetriever and JwtBearerJwtRetriever are known here",
            );
            None
        }
    }
}

fn client_credentials(draft: &mut Draft<'_>, module: &LoginModule) -> Option<Grant> {
    let id = option(draft, module, &["clientId", "oauth.client.id"], CLIENT_ID);
    if id.is_none() {
        draft.refuse(CLIENT_ID, "must be set, or clientId=\"…\" in sasl.jaas.config");
    }
    let secret = option(draft, module, &["clientSecret", "oauth.client.secret"], CLIENT_SECRET);
    if secret.is_none() {
        draft.refuse(CLIENT_SECRET, "must be set, or clientSecret=\"…\" in sasl.jaas.config");
    }
    super::security::unused(
        draft,
        "sasl.oauthbearer.assertion.",
        "it belongs to the JwtBearerJwtRetriever, and sasl.oauthbearer.jwt.retriever.class is another",
    );
    Some(Grant::ClientCredentials { client_id: id?.reveal().to_owned(), client_secret: secret? })
}

fn assertion(draft: &Draft<'_>) -> Grant {
    let property = |(java, name): &(&str, &str)| {
        Some(((*name).to_owned(), Setting::Plain(draft.set_text(java)?)))
    };
    let mut assertion: Vec<_> = ASSERTION.iter().filter_map(property).collect();
    let passphrase = draft.java.text(PASSPHRASE).map(|text| Setting::Secret(Secret::new(text)));
    assertion.extend(passphrase.map(|passphrase| (PASSPHRASE.to_owned(), passphrase)));
    Grant::JwtBearer { assertion }
}

/// `extension_logicalCluster="x"` → `logicalCluster`, `x`.
fn extensions(module: &LoginModule) -> Vec<(String, String)> {
    let pair = |(name, value): &(String, Secret)| {
        Some((name.strip_prefix("extension_")?.to_owned(), value.reveal().to_owned()))
    };
    module.options.iter().filter_map(pair).collect()
}

/// Without an endpoint Java makes up an unsigned token, for tests.
fn unsecured(draft: &mut Draft<'_>, module: &LoginModule) {
    let Some(subject) = module.option("unsecuredLoginStringClaim_sub") else {
        draft.refuse(ENDPOINT, "must be set: the URL where tokens are fetched");
        return;
    };
    draft.warn(JAAS, "an unsigned token is sent, which is for tests only; set sasl.oauthbearer.token.endpoint.url");
    draft.plain("enable.sasl.oauthbearer.unsecure.jwt", true);
    let mut config = format!("principal={}", subject.reveal());
    if let Some(seconds) = module.option("unsecuredLoginLifetimeSeconds") {
        config.push_str(&format!(" lifeSeconds={}", seconds.reveal()));
    }
    draft.plain("sasl.oauthbearer.config", config);
    for (name, _) in &module.options {
        if !matches!(
            name.as_str(),
            "unsecuredLoginStringClaim_sub" | "unsecuredLoginLifetimeSeconds"
        ) {
            draft.warn(
                JAAS,
                format!("the option {name} has no effect: librdkafka's unsigned token lacks it"),
            );
        }
    }
}

fn unknown_options(draft: &mut Draft<'_>, module: &LoginModule) {
    const KNOWN: [&str; 7] = [
        "clientId",
        "clientSecret",
        "scope",
        "oauth.client.id",
        "oauth.client.secret",
        "oauth.scope",
        "oauth.token.endpoint.uri",
    ];
    for (name, _) in &module.options {
        if !KNOWN.contains(&name.as_str()) && !name.starts_with("extension_") {
            draft.refuse(JAAS, format!("the option {name} is not known here; remove it"));
        }
    }
}

/// A setting from its property, or from the first of the options that is there.
fn option(draft: &Draft<'_>, module: &LoginModule, options: &[&str], key: &str) -> Option<Secret> {
    let from_options = || options.iter().find_map(|name| module.option(name)).cloned();
    draft.set_text(key).map(Secret::new).or_else(from_options)
}
