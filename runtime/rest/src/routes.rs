//! The routes, and what all of them share.

mod connectors;
mod loggers;
mod offsets;
mod plugins;
mod towpath;
mod worker;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::{get, post, put};
use futures::future::BoxFuture;
use towpath_core::herder::Herder;
use towpath_core::launch::Engine;
use towpath_core::metrics::Metrics;

use crate::error::ApiError;
use crate::logging::LogControl;

/// The Connect API that we speak: clients switch features on it.
pub(crate) const API_VERSION: &str = "4.3.1";
/// The longest name that `X-Forwarded-User` may put into the audit trail.
const WHO_MAX: usize = 128;

/// Asks for the cluster's id; `None` while it can't be told.
pub type ClusterId = Arc<dyn Fn() -> BoxFuture<'static, Option<String>> + Send + Sync>;

/// What the routes work on.
#[derive(Clone)]
pub struct Shared {
    /// Decides.
    pub herder: Herder,
    /// Knows the plug-ins.
    pub engine: Engine,
    /// Measurements.
    pub metrics: Arc<Metrics>,
    /// Log levels.
    pub loggers: LogControl,
    /// The cluster's id.
    pub cluster_id: ClusterId,
    /// `http://host:port`, for `Location`.
    pub base_url: Arc<str>,
}

/// Which endpoints a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All.
    All,
    /// All but those of administration.
    WithoutAdmin,
    /// Those of administration alone.
    AdminOnly,
}

/// Every route with its methods: the router, `OPTIONS` and the OpenAPI document come from it.
pub(crate) const ROUTES: &[(&str, &[&str])] = &[
    ("/", &["GET"]),
    ("/health", &["GET"]),
    ("/connectors", &["GET", "POST"]),
    ("/connectors/{connector}", &["GET", "DELETE"]),
    ("/connectors/{connector}/config", &["GET", "PUT", "PATCH"]),
    ("/connectors/{connector}/status", &["GET"]),
    ("/connectors/{connector}/restart", &["POST"]),
    ("/connectors/{connector}/pause", &["PUT"]),
    ("/connectors/{connector}/resume", &["PUT"]),
    ("/connectors/{connector}/stop", &["PUT"]),
    ("/connectors/{connector}/fence", &["PUT"]),
    ("/connectors/{connector}/tasks", &["GET", "POST"]),
    ("/connectors/{connector}/tasks/{task}/status", &["GET"]),
    ("/connectors/{connector}/tasks/{task}/restart", &["POST"]),
    ("/connectors/{connector}/topics", &["GET"]),
    ("/connectors/{connector}/topics/reset", &["PUT"]),
    ("/connectors/{connector}/offsets", &["GET", "PATCH", "DELETE"]),
    ("/connector-plugins", &["GET"]),
    ("/connector-plugins/{plugin}/config", &["GET"]),
    ("/connector-plugins/{plugin}/config/validate", &["PUT"]),
    ("/admin/loggers", &["GET"]),
    ("/admin/loggers/{logger}", &["GET", "PUT"]),
    ("/metrics", &["GET"]),
    ("/openapi.json", &["GET"]),
    ("/towpath/v1/worker", &["GET"]),
    ("/towpath/v1/connectors/{connector}/status", &["GET"]),
    ("/towpath/v1/connectors/{connector}/signals", &["POST"]),
];

/// The router of a listener.
pub fn router(shared: Shared, scope: Scope) -> Router {
    let main = Router::new()
        .route("/", get(worker::info))
        .route("/health", get(worker::health))
        .route("/metrics", get(worker::metrics))
        .route("/openapi.json", get(worker::openapi))
        .merge(connectors::routes())
        .route(
            "/connectors/{connector}/offsets",
            get(offsets::read).patch(offsets::alter).delete(offsets::reset),
        )
        .route("/connector-plugins", get(plugins::list))
        .route("/connector-plugins/{plugin}/config", get(plugins::definition))
        .route("/connector-plugins/{plugin}/config/validate", put(plugins::validate))
        .route("/towpath/v1/worker", get(towpath::worker))
        .route("/towpath/v1/connectors/{connector}/status", get(towpath::status))
        .route("/towpath/v1/connectors/{connector}/signals", post(towpath::signal));
    let admin = Router::new()
        .route("/admin/loggers", get(loggers::list))
        .route("/admin/loggers/{logger}", get(loggers::read).put(loggers::set));
    let router = match scope {
        Scope::All => main.merge(admin),
        Scope::WithoutAdmin => main,
        Scope::AdminOnly => admin,
    };
    router
        .fallback(|| async { ApiError::bare(StatusCode::NOT_FOUND) })
        .method_not_allowed_fallback(|| async { ApiError::bare(StatusCode::METHOD_NOT_ALLOWED) })
        .layer(axum::middleware::from_fn(options))
        .with_state(shared)
}

/// `OPTIONS` lists a path's methods, as Connect's server does.
async fn options(request: Request, next: Next) -> Response {
    if request.method() != Method::OPTIONS {
        return next.run(request).await;
    }
    let methods = ROUTES.iter().find(|(pattern, _)| fits(pattern, request.uri().path()));
    let Some((_, methods)) = methods else { return next.run(request).await };
    let mut allowed: Vec<&str> = Vec::new();
    if methods.contains(&"GET") {
        allowed.push("HEAD");
    }
    allowed.extend(methods.iter().rev());
    allowed.push("OPTIONS");
    let text = allowed.join(", ");
    let mut response = Response::new(axum::body::Body::from(text));
    let headers = response.headers_mut();
    if let Ok(allow) = allowed.join(",").parse() {
        headers.insert(axum::http::header::ALLOW, allow);
    }
    headers.insert(
        axum::http::header::CONTENT_TYPE,
        axum::http::HeaderValue::from_static("text/plain"),
    );
    response
}

fn fits(pattern: &str, path: &str) -> bool {
    let path = path.trim_end_matches('/');
    let pattern = pattern.trim_end_matches('/');
    let mut path = path.split('/');
    let mut pattern = pattern.split('/');
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some(p), Some(s)) if p == s || (p.starts_with('{') && !s.is_empty()) => {}
            _ => return false,
        }
    }
}

/// Who asks, as a proxy in front tells; for the audit trail only.
fn who(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("x-forwarded-user")?.to_str().ok()?.trim();
    let bounded: String = value.chars().filter(|c| !c.is_control()).take(WHO_MAX).collect();
    (!bounded.is_empty()).then_some(bounded)
}

/// The version that the request expects.
fn if_match(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get(axum::http::header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let number = text.trim_start_matches("W/").trim_matches('"').parse();
    number.map(Some).map_err(|_| {
        ApiError::bad_request("If-Match must be the ETag of the connector's config, such as \"3\"")
    })
}

fn etag(headers: &mut HeaderMap, version: u64) {
    if let Ok(value) = format!("\"{version}\"").parse() {
        headers.insert(axum::http::header::ETAG, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_paths() {
        assert!(fits("/", "/"));
        assert!(fits(
            "/connectors/{connector}/tasks/{task}/status",
            "/connectors/a%2Fb/tasks/0/status/"
        ));
        assert!(!fits("/connectors/{connector}", "/connectors/"));
        assert!(!fits("/connectors", "/connectors/x"));
    }

    #[test]
    fn who_is_bounded() {
        let mut headers = HeaderMap::new();
        assert_eq!(who(&headers), None);
        headers.insert("x-forwarded-user", "a".repeat(500).parse().unwrap());
        assert_eq!(who(&headers).unwrap().len(), WHO_MAX);
        headers.insert("if-match", "\"7\"".parse().unwrap());
        assert_eq!(if_match(&headers).unwrap(), Some(7));
        headers.insert("if-match", "x".parse().unwrap());
        assert!(if_match(&headers).is_err());
    }
}
