//! OAUTHBEARER: tokens from an OpenID Connect endpoint, in Kafka's own settings or Strimzi's options.
//!
//! The result are librdkafka's `sasl.oauthbearer.*` properties with `method=oidc`. A librdkafka built
//! without curl refuses that method; its client may then fetch tokens itself by the same properties.

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

/// How a token is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Grant {
    ClientCredentials,
    JwtBearer,
}

pub(super) fn translate(draft: &mut Draft<'_>, module: &LoginModule) {
    if let Some(handler) = draft.set_text(HANDLER) {
        let known = ["OAuthBearerLoginCallbackHandler", "JaasClientOauthLoginCallbackHandler"];
        if !known.iter().any(|name| handler.rsplit('.').next() == Some(name)) {
            draft.refuse(HANDLER, "can't be used: it names a Java class; OAuthBearerLoginCallbackHandler is known here");
            return;
        }
    }
    let Some(grant) = grant(draft) else { return };
    let endpoint = option(draft, module, &[], ENDPOINT)
        .or_else(|| strimzi(module, "oauth.token.endpoint.uri"));
    let Some(endpoint) = endpoint else {
        unsecured(draft, module);
        return;
    };
    let endpoint = endpoint.reveal().to_owned();
    if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
        draft.refuse(ENDPOINT, "must be an http or https URL");
        return;
    }
    draft.plain("sasl.oauthbearer.method", "oidc");
    draft.plain(ENDPOINT, endpoint);
    if let Some(scope) = option(draft, module, &["scope", "oauth.scope"], SCOPE) {
        draft.plain(SCOPE, scope.reveal());
    }
    match grant {
        Grant::ClientCredentials => client_credentials(draft, module),
        Grant::JwtBearer => assertion(draft),
    }
    extensions(draft, module);
    unknown_options(draft, module);
}

fn grant(draft: &mut Draft<'_>) -> Option<Grant> {
    let class = draft.set_text(RETRIEVER);
    match class.as_deref().map(|class| class.rsplit('.').next().unwrap_or(class)) {
        Some("JwtBearerJwtRetriever") => Some(Grant::JwtBearer),
        None | Some("DefaultJwtRetriever" | "ClientCredentialsJwtRetriever") => {
            Some(Grant::ClientCredentials)
        }
        Some(_) => {
            draft.refuse(
                RETRIEVER,
                "can't be used: ClientCredentialsJwtRetriever and JwtBearerJwtRetriever are known here",
            );
            None
        }
    }
}

fn client_credentials(draft: &mut Draft<'_>, module: &LoginModule) {
    match option(draft, module, &["clientId", "oauth.client.id"], CLIENT_ID) {
        Some(id) => draft.plain("sasl.oauthbearer.client.id", id.reveal()),
        None => draft.refuse(CLIENT_ID, "must be set, or clientId=\"…\" in sasl.jaas.config"),
    }
    match option(draft, module, &["clientSecret", "oauth.client.secret"], CLIENT_SECRET) {
        Some(secret) => draft.secret("sasl.oauthbearer.client.secret", &secret),
        None => {
            draft.refuse(CLIENT_SECRET, "must be set, or clientSecret=\"…\" in sasl.jaas.config")
        }
    }
    super::security::unused(
        draft,
        "sasl.oauthbearer.assertion.",
        "it belongs to the JwtBearerJwtRetriever, and sasl.oauthbearer.jwt.retriever.class is another",
    );
}

fn assertion(draft: &mut Draft<'_>) {
    draft.plain("sasl.oauthbearer.grant.type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
    for (java, name) in ASSERTION {
        if let Some(value) = draft.set_text(java) {
            draft.plain(name, value);
        }
    }
    if let Some(passphrase) = draft.java.text(PASSPHRASE).map(Secret::new) {
        draft.secret(PASSPHRASE, &passphrase);
    }
}

/// `extension_logicalCluster="x"` → `logicalCluster=x`.
fn extensions(draft: &mut Draft<'_>, module: &LoginModule) {
    let pair = |(name, value): &(String, Secret)| {
        Some(format!("{}={}", name.strip_prefix("extension_")?, value.reveal()))
    };
    let pairs: Vec<_> = module.options.iter().filter_map(pair).collect();
    if !pairs.is_empty() {
        draft.plain("sasl.oauthbearer.extensions", pairs.join(","));
    }
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

fn strimzi(module: &LoginModule, name: &str) -> Option<Secret> {
    module.option(name).cloned()
}
