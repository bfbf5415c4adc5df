//! A proxy in front of the test server which does what networks and lesser stores do.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::bucket::Bucket;

/// What becomes of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Treat {
    /// It is answered.
    Pass,
    /// It is carried out, and its answer is lost.
    LoseAnswer,
    /// It is answered with this and not carried out.
    Answer(u16, &'static str),
    /// It is carried out as if nothing were under its name: what a store does that ignores conditions.
    /// (Cutting the header off would break the signature.)
    IgnoreCondition,
}

/// What a request wants.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) method: String,
    pub(crate) key: String,
    pub(crate) query: String,
    pub(crate) conditional: bool,
    length: usize,
}

pub(crate) struct Proxy {
    pub(crate) url: String,
    job: JoinHandle<()>,
}

impl Proxy {
    /// A proxy before the server of `bucket`, which asks `treat` about each request.
    pub(crate) async fn start(
        bucket: &Bucket,
        treat: impl Fn(&Wish) -> Treat + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let way = Arc::new(Way {
            server: bucket.url.strip_prefix("http://").expect("plain HTTP").to_owned(),
            s3: bucket.s3.clone(),
            bucket: bucket.name.clone(),
            treat: Box::new(treat),
        });
        let job = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let way = Arc::clone(&way);
                // What fails here is a request that fails.
                tokio::spawn(async move { way.serve(client).await.ok() });
            }
        });
        Self { url, job }
    }
}

struct Way {
    server: String,
    s3: aws_sdk_s3::Client,
    bucket: String,
    treat: Box<dyn Fn(&Wish) -> Treat + Send + Sync>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.job.abort();
    }
}

impl Way {
    /// Serves one request and closes the connection.
    async fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        let (head, mut body) = read_head(&mut client).await?;
        let wish = Wish::read(&head);
        while body.len() < wish.length {
            if client.read_buf(&mut body).await? == 0 {
                return Ok(());
            }
        }
        let treat = (self.treat)(&wish);
        if let Treat::Answer(status, code) = treat {
            let text = format!("<Error><Code>{code}</Code><Message>as asked</Message></Error>");
            let answer = format!(
                "HTTP/1.1 {status} Asked\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
                text.len()
            );
            return client.write_all(answer.as_bytes()).await;
        }
        if matches!(treat, Treat::IgnoreCondition) {
            let gone = self.s3.delete_object().bucket(&self.bucket).key(&wish.key).send().await;
            gone.expect("nothing is under the name");
        }
        let mut server = TcpStream::connect(&self.server).await?;
        let first = head.find("\r\n").unwrap_or(0) + 2;
        server.write_all(&head.as_bytes()[..first]).await?;
        server.write_all(b"Connection: close\r\n").await?;
        server.write_all(&head.as_bytes()[first..]).await?;
        server.write_all(&body).await?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer).await?;
        match treat {
            Treat::LoseAnswer => Ok(()),
            _ => client.write_all(&answer).await,
        }
    }
}

/// Everything up to the empty line, and what came behind it.
async fn read_head(client: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = bytes.split_off(at + 4);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), body));
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

impl Wish {
    fn read(head: &str) -> Self {
        let mut words = head.split_whitespace();
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let header = |name: &str| {
            head.lines().find_map(|line| {
                let (found, value) = line.split_once(':')?;
                found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        Self {
            method,
            key: crate::sim::store::plain(path.splitn(3, '/').nth(2).unwrap_or_default()),
            query: query.to_owned(),
            conditional: header("if-none-match").is_some(),
            length: header("content-length").and_then(|n| n.parse().ok()).unwrap_or(0),
        }
    }

    /// Whether it makes an object, and not a probe.
    pub(crate) fn completes(&self) -> bool {
        let completes = match &*self.method {
            "PUT" => !self.query.contains("partNumber"),
            "POST" => self.query.contains("uploadId"),
            _ => false,
        };
        completes && !self.key.contains("probe")
    }
}
