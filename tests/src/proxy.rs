//! A connection that can be cut or made to hang: a proxy of the stack's toxiproxy.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::server;

/// A proxy. One that hangs swallows what is sent, in both directions, and keeps connections open.
pub struct Proxy {
    client: reqwest::Client,
    api: String,
    name: String,
    address: String,
}

impl Proxy {
    /// A proxy of its own to `upstream` (`host:port`).
    ///
    /// # Errors
    /// If toxiproxy refuses.
    pub async fn create(name: &str, upstream: &str) -> Result<Self> {
        let upstream = upstream.trim_start_matches("http://");
        let mut proxy = Self::new(name)?;
        let body = json!({
            "name": name, "listen": "127.0.0.1:0", "upstream": upstream, "enabled": true,
        });
        let made = proxy.call(reqwest::Method::POST, "/proxies", Some(body)).await?;
        proxy.address = made["listen"].as_str().context("no address")?.to_owned();
        Ok(proxy)
    }

    /// The stack's proxy of that name, which only one may use at a time.
    ///
    /// # Errors
    /// If the stack's env is not set.
    pub async fn shared(name: &str) -> Result<Self> {
        let mut proxy = Self::new(name)?;
        let found = proxy.call(reqwest::Method::GET, &format!("/proxies/{name}"), None).await?;
        proxy.address = found["listen"].as_str().context("no address")?.to_owned();
        Ok(proxy)
    }

    fn new(name: &str) -> Result<Self> {
        let api = server("TOWPATH_TEST_TOXIPROXY")?;
        let client = reqwest::Client::new();
        Ok(Self { client, api, name: name.to_owned(), address: String::new() })
    }

    /// `host:port` to connect to.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Resets what is connected, and refuses connections.
    ///
    /// # Errors
    /// If toxiproxy refuses.
    pub async fn cut(&self) -> Result<()> {
        self.enable(false).await
    }

    /// The connection works again.
    ///
    /// # Errors
    /// If toxiproxy refuses.
    pub async fn mend(&self) -> Result<()> {
        self.enable(true).await
    }

    async fn enable(&self, enabled: bool) -> Result<()> {
        let path = format!("/proxies/{}", self.name);
        let body = json!({ "enabled": enabled });
        self.call(reqwest::Method::POST, &path, Some(body)).await.map(drop)
    }

    /// Swallows all that is sent.
    ///
    /// # Errors
    /// If toxiproxy refuses.
    pub async fn hang(&self) -> Result<()> {
        for stream in ["upstream", "downstream"] {
            let toxic = json!({
                "name": stream, "type": "timeout", "stream": stream, "attributes": { "timeout": 0 },
            });
            let path = format!("/proxies/{}/toxics", self.name);
            self.call(reqwest::Method::POST, &path, Some(toxic)).await?;
        }
        Ok(())
    }

    /// Ends [`Proxy::hang`]; connections that hung are closed.
    ///
    /// # Errors
    /// If toxiproxy refuses.
    pub async fn flow(&self) -> Result<()> {
        for stream in ["upstream", "downstream"] {
            let path = format!("/proxies/{}/toxics/{stream}", self.name);
            self.call(reqwest::Method::DELETE, &path, None).await?;
        }
        Ok(())
    }

    /// Puts it right again, whatever was done to it.
    ///
    /// # Errors
    /// If toxiproxy refuses.
    pub async fn reset(&self) -> Result<()> {
        let path = format!("/proxies/{}/toxics", self.name);
        let toxics = self.call(reqwest::Method::GET, &path, None).await?;
        for toxic in toxics.as_array().into_iter().flatten().filter_map(|t| t["name"].as_str()) {
            self.call(reqwest::Method::DELETE, &format!("{path}/{toxic}"), None).await?;
        }
        self.mend().await
    }

    async fn call(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value> {
        let mut request = self.client.request(method, format!("{}{path}", self.api));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        ensure!(status.is_success(), "toxiproxy: {path}: {status}: {text}");
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}
