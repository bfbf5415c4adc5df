//! Listeners: TCP and TLS, with bounds on connections, requests, bodies and slow clients.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::error_handling::HandleErrorLayer;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::{ServiceBuilder, ServiceExt};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::CorsLayer;
use tower_http::normalize_path::NormalizePath;
use towpath_formats::worker_config::{Cors, HeaderAction, HeaderRule};

use crate::error::ApiError;
use crate::patience::Patient;

/// How long open requests may take when the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a refused body that are read and thrown away, so that its client gets to read why.
const EXCESS_MAX: usize = 64 << 20;
/// How long that may take.
const EXCESS_TIMEOUT: Duration = Duration::from_secs(5);

/// Bounds of a server.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a request body.
    pub body_bytes: usize,
    /// Requests worked on at once; more get 503.
    pub requests: usize,
    /// Connections at once; more wait in the system's backlog.
    pub connections: usize,
    /// Time for a request's headers.
    pub headers: Duration,
    /// Time for a request as a whole.
    pub request: Duration,
    /// How long nothing may move on a connection; longer than `request`.
    pub stillness: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            requests: 256,
            connections: 1024,
            headers: Duration::from_secs(10),
            request: Duration::from_secs(100),
            stillness: Duration::from_secs(120),
        }
    }
}

/// How a listener serves.
#[derive(Debug, Clone, Default)]
pub struct ServeOptions {
    /// Bounds.
    pub limits: Limits,
    /// `access.control.allow.*`.
    pub cors: Option<Cors>,
    /// `response.http.headers.config`.
    pub headers: Vec<HeaderRule>,
}

/// Where to listen.
#[derive(Debug, Clone)]
pub struct ListenOptions {
    /// A host name or address; `None` is all interfaces.
    pub host: Option<String>,
    /// The port; 0 is a free one.
    pub port: u16,
    /// The key and certificates of an `https` listener.
    pub tls: Option<TlsFiles>,
}

/// PEM of an `https` listener.
#[derive(Clone)]
pub struct TlsFiles {
    /// The certificate chain, PEM.
    pub certificates: Vec<u8>,
    /// The private key, PEM.
    pub key: Vec<u8>,
    /// Certificates of authorities whose clients are welcome, PEM; with it, clients must show one.
    pub client_authorities: Option<Vec<u8>>,
    /// Whether clients without a certificate are welcome too.
    pub clients_may_be_unknown: bool,
    /// Where it came from, for messages.
    pub origin: PathBuf,
}

impl std::fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TlsFiles({})", self.origin.display())
    }
}

/// A listener that has its port.
pub struct Bound {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

/// Takes the port.
///
/// # Errors
/// If it is taken, or the TLS files are no good; the text says which.
pub async fn bind(options: &ListenOptions) -> std::io::Result<Bound> {
    let host = options.host.as_deref().unwrap_or("0.0.0.0");
    let with_address = |error: std::io::Error| {
        let text = format!("listen on {host}:{}: {error}", options.port);
        std::io::Error::new(error.kind(), text)
    };
    let listener = TcpListener::bind((host, options.port)).await.map_err(with_address)?;
    let tls = options.tls.as_ref().map(crate::tls::acceptor).transpose()?;
    Ok(Bound { listener, tls })
}

impl Bound {
    /// The address that it has.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves `router` until `stop`, then lets open requests end.
    pub async fn serve(self, router: Router, options: ServeOptions, stop: CancellationToken) {
        let limits = options.limits.clone();
        let router = bounded(router, options);
        let connections = Arc::new(Semaphore::new(limits.connections));
        let tracker = TaskTracker::new();
        loop {
            let permit = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                permit = Arc::clone(&connections).acquire_owned() => permit,
            };
            let Ok(permit) = permit else { break };
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Too many open files, mostly: others must close first.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let connection = Connection {
                router: router.clone(),
                headers: limits.headers,
                stillness: limits.stillness,
                stop: stop.clone(),
            };
            let tls = self.tls.clone();
            tracker.spawn(async move {
                connection.run(stream, tls).await;
                drop(permit);
            });
        }
        tracker.close();
        if tokio::time::timeout(DRAIN_TIMEOUT, tracker.wait()).await.is_err() {
            tracing::warn!("requests were still open when the server stopped");
        }
    }
}

struct Connection {
    router: NormalizePath<Router>,
    headers: Duration,
    stillness: Duration,
    stop: CancellationToken,
}

impl Connection {
    async fn run(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        match tls {
            None => self.speak(stream).await,
            Some(acceptor) => {
                match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => self.speak(stream).await,
                    Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                    Err(_) => tracing::debug!("a TLS handshake took too long"),
                }
            }
        }
    }

    async fn speak<I>(self, io: I)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(Patient::new(io, self.headers, self.stillness));
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(self.headers);
        builder.http2().timer(TokioTimer::new()).max_concurrent_streams(64);
        let service = TowerToHyperService::new(self.router);
        let connection = builder.serve_connection(io, service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended");
        }
    }
}

/// The router inside its bounds. Trailing slashes are taken off before routing.
fn bounded(router: Router, options: ServeOptions) -> NormalizePath<Router> {
    let ServeOptions { limits, cors, headers } = options;
    let request = limits.request;
    let router = match cors {
        Some(cors) => {
            let plain = axum::middleware::from_fn_with_state(router.clone(), without_cors);
            router.layer(cors_layer(&cors)).layer(plain)
        }
        None => router,
    };
    let shed = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(|_| async {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once; try again")
        }))
        .layer(LoadShedLayer::new())
        .layer(GlobalConcurrencyLimitLayer::new(limits.requests));
    let router = router
        .layer(axum::middleware::from_fn(move |incoming, next: Next| async move {
            match tokio::time::timeout(request, next.run(incoming)).await {
                Ok(response) => response,
                Err(_) => ApiError::new(StatusCode::REQUEST_TIMEOUT, "the request took too long")
                    .into_response(),
            }
        }))
        .layer(axum::middleware::from_fn(move |incoming, next| {
            bounded_body(limits.body_bytes, incoming, next)
        }))
        .layer(CatchPanicLayer::custom(|panic: Box<dyn std::any::Any + Send>| -> Response {
            let text = panic.downcast_ref::<&str>().copied().unwrap_or("(no text)");
            tracing::error!(text, "a request panicked");
            ApiError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "an internal error; see the worker's log",
            )
            .into_response()
        }))
        .layer(shed)
        .layer(axum::middleware::map_response(move |mut response: Response| {
            for rule in &headers {
                apply(rule, &mut response);
            }
            std::future::ready(response)
        }));
    NormalizePath::trim_trailing_slash(router)
}

/// Refuses a body that says that it is too large, and cuts off one that turns out to be.
async fn bounded_body(limit: usize, request: Request, next: Next) -> Response {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    let length = length.and_then(|text| text.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit as u64) {
        // A client that is still sending when the connection closes does not see the answer.
        let mut excess = Limited::new(request.into_body(), EXCESS_MAX);
        let read = async { while let Some(Ok(_)) = excess.frame().await {} };
        let _slow = tokio::time::timeout(EXCESS_TIMEOUT, read).await.is_err();
        return ApiError::too_large().into_response();
    }
    let body = |body| Body::new(Limited::new(body, limit));
    next.run(request.map(body)).await
}

/// `OPTIONS` is a question of a browser's only with its header; without it, it asks for a path's methods.
async fn without_cors(State(plain): State<Router>, request: Request, next: Next) -> Response {
    let preflight = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if request.method() == Method::OPTIONS && !preflight {
        return plain.oneshot(request).await.into_response();
    }
    next.run(request).await
}

fn cors_layer(cors: &Cors) -> CorsLayer {
    let any = cors.origins.iter().any(|origin| origin == "*");
    let origins: Vec<HeaderValue> = cors.origins.iter().filter_map(|o| o.parse().ok()).collect();
    let methods: Vec<Method> = cors.methods.iter().filter_map(|m| m.parse().ok()).collect();
    let layer = CorsLayer::new().allow_headers(tower_http::cors::Any);
    let layer = match methods.is_empty() {
        true => layer.allow_methods([Method::GET, Method::POST, Method::HEAD]),
        false => layer.allow_methods(methods),
    };
    match any {
        true => layer.allow_origin(tower_http::cors::Any),
        false => layer.allow_origin(origins),
    }
}

fn apply(rule: &HeaderRule, response: &mut Response) {
    let date = matches!(rule.action, HeaderAction::SetDate | HeaderAction::AddDate);
    let text = match rule.value.trim().parse::<u64>() {
        Ok(millis) if date => {
            httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
        }
        _ => rule.value.clone(),
    };
    let (Ok(name), Ok(value)) = (rule.name.parse::<HeaderName>(), text.parse::<HeaderValue>())
    else {
        return;
    };
    let headers = response.headers_mut();
    match rule.action {
        HeaderAction::Set | HeaderAction::SetDate => {
            headers.insert(name, value);
        }
        HeaderAction::Add | HeaderAction::AddDate => {
            headers.append(name, value);
        }
    }
}
