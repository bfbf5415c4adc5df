//! A model of an S3 server in memory, behind the SDK's HTTP client.
//!
//! Duty: the requests that the sink makes, answered as the real server answers them
//! (`the_model_answers_as_the_server_does` holds it to that), so that a whole life of the sink takes
//! milliseconds and every step of it can be interrupted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use aws_sdk_s3::config::{HttpClient, RuntimeComponents};
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use futures::future::BoxFuture;
use parking_lot::Mutex;

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It completes objects whatever is under their names, except where it is probed.
    Overwrites,
    /// It forgets what objects say of themselves.
    ForgetsMetadata,
    /// It says that it completed what it threw away.
    LosesObjects,
}

#[derive(Debug)]
pub(crate) struct Store {
    contents: Mutex<Contents>,
    flaw: Option<Flaw>,
    /// Whether it knows no upload that was completed, as S3 is documented; others answer as they did.
    forgets_uploads: bool,
}

#[derive(Debug, Default)]
struct Contents {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Upload>,
    begun: u32,
    completed: HashSet<String>,
}

const COMPLETED: &str =
    "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>";

#[derive(Debug, Clone)]
struct Object {
    body: Vec<u8>,
    metadata: Vec<(String, String)>,
}

#[derive(Debug)]
struct Upload {
    key: String,
    metadata: Vec<(String, String)>,
    parts: BTreeMap<u32, Vec<u8>>,
}

/// A request, as far as the model looks at it.
#[derive(Debug)]
pub(crate) struct Asked {
    method: String,
    key: String,
    query: HashMap<String, String>,
    conditional: bool,
    metadata: Vec<(String, String)>,
    body: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Asked {
    async fn read(mut request: HttpRequest) -> Self {
        let body = ByteStream::new(request.take_body()).collect().await.expect("a body").to_vec();
        let uri = request.uri().split_once("://").map_or("", |(_, rest)| rest);
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let key = path.splitn(3, '/').nth(2).unwrap_or_default();
        let query = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (plain(name), plain(value))
        });
        let metadata = request.headers().iter().filter_map(|(name, value)| {
            let name = name.strip_prefix("x-amz-meta-")?;
            Some((name.to_owned(), value.to_owned()))
        });
        Self {
            key: plain(key),
            query: query.collect(),
            conditional: request.headers().get("if-none-match").is_some(),
            metadata: metadata.collect(),
            method: request.method().to_owned(),
            body,
        }
    }

    /// Whether it would make an object.
    pub(crate) fn completes(&self) -> bool {
        match &*self.method {
            "PUT" => !self.query.contains_key("partNumber"),
            "POST" => self.query.contains_key("uploadId"),
            _ => false,
        }
    }
}

pub(crate) fn plain(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next(), bytes.next()].map(|b| b.expect("two digits"));
            let digits = std::str::from_utf8(&digits).expect("digits");
            plain.push(u8::from_str_radix(digits, 16).expect("a hexadecimal number"));
        } else {
            plain.push(byte);
        }
    }
    String::from_utf8(plain).expect("text")
}

impl Answer {
    fn of(status: u16, body: String) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    fn empty(status: u16) -> Self {
        Self::of(status, String::new())
    }

    pub(crate) fn error(status: u16, code: &str) -> Self {
        Self::of(status, format!("<Error><Code>{code}</Code><Message>as asked</Message></Error>"))
    }

    fn into_response(self) -> HttpResponse {
        let status = StatusCode::try_from(self.status).expect("a status");
        let mut response = HttpResponse::new(status, SdkBody::from(self.body));
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl Store {
    pub(crate) fn new(flaw: Option<Flaw>, forgets_uploads: bool) -> Self {
        Self { contents: Mutex::default(), flaw, forgets_uploads }
    }

    /// What a request does, in one step.
    pub(crate) fn answer(&self, asked: &Asked) -> Answer {
        let mut contents = self.contents.lock();
        let has = |name: &str| asked.query.contains_key(name);
        match &*asked.method {
            "HEAD" => contents.head(&asked.key, self.flaw),
            "GET" if has("list-type") => contents.list(asked),
            "GET" if has("uploads") => contents.list_uploads(asked),
            "PUT" if has("partNumber") => contents.part(asked),
            "PUT" => contents.put(asked, self.flaw),
            "POST" if has("uploads") => contents.begin(asked),
            "POST" if !self.forgets_uploads && contents.completed(asked) => {
                Answer::of(200, COMPLETED.to_owned())
            }
            "POST" => contents.complete(asked, self.flaw),
            "DELETE" if has("uploadId") => {
                match contents.uploads.remove(&asked.query["uploadId"]) {
                    Some(_) => Answer::empty(204),
                    None => Answer::error(404, "NoSuchUpload"),
                }
            }
            "DELETE" => {
                contents.objects.remove(&asked.key);
                Answer::empty(204)
            }
            other => panic!("the model does not know {other} {asked:?}"),
        }
    }

    /// Puts an object there that is not ours.
    pub(crate) fn put_stranger(&self, key: &str) {
        let object = Object { body: b"not ours\n".to_vec(), metadata: Vec::new() };
        self.contents.lock().objects.insert(key.to_owned(), object);
    }

    pub(crate) fn clear(&self) {
        self.contents.lock().objects.clear();
    }

    /// All keys and bodies but probes.
    pub(crate) fn objects(&self) -> Vec<(String, Vec<u8>)> {
        let contents = self.contents.lock();
        let objects = contents.objects.iter().filter(|(key, _)| !key.contains("probe"));
        objects.map(|(key, object)| (key.clone(), object.body.clone())).collect()
    }
}

impl Contents {
    fn head(&self, key: &str, flaw: Option<Flaw>) -> Answer {
        let Some(object) = self.objects.get(key) else { return Answer::empty(404) };
        let mut headers = vec![("content-length".to_owned(), object.body.len().to_string())];
        if flaw != Some(Flaw::ForgetsMetadata) {
            let named = object.metadata.iter().map(|(k, v)| (format!("x-amz-meta-{k}"), v.clone()));
            headers.extend(named);
        }
        Answer { status: 200, headers, body: String::new() }
    }

    fn is_taken(&self, asked: &Asked, flaw: Option<Flaw>) -> bool {
        let blind = flaw == Some(Flaw::Overwrites) && !asked.key.contains("probe");
        asked.conditional && !blind && self.objects.contains_key(&asked.key)
    }

    fn insert(&mut self, key: &str, object: Object, flaw: Option<Flaw>) {
        // Names that end in a multiple of seven, so that not all is lost.
        let lost = flaw == Some(Flaw::LosesObjects) && key.ends_with("7.json");
        if !lost {
            self.objects.insert(key.to_owned(), object);
        }
    }

    fn put(&mut self, asked: &Asked, flaw: Option<Flaw>) -> Answer {
        if self.is_taken(asked, flaw) {
            return Answer::error(412, "PreconditionFailed");
        }
        let object = Object { body: asked.body.clone(), metadata: asked.metadata.clone() };
        self.insert(&asked.key, object, flaw);
        Answer { headers: vec![("etag".to_owned(), "\"e\"".to_owned())], ..Answer::empty(200) }
    }

    fn begin(&mut self, asked: &Asked) -> Answer {
        self.begun += 1;
        let id = format!("upload-{}", self.begun);
        let (key, metadata) = (asked.key.clone(), asked.metadata.clone());
        self.uploads.insert(id.clone(), Upload { key, metadata, parts: BTreeMap::new() });
        Answer::of(
            200,
            format!(
                "<InitiateMultipartUploadResult><UploadId>{id}</UploadId>\
                 </InitiateMultipartUploadResult>"
            ),
        )
    }

    fn part(&mut self, asked: &Asked) -> Answer {
        let Some(upload) = self.uploads.get_mut(&asked.query["uploadId"]) else {
            return Answer::error(404, "NoSuchUpload");
        };
        let number = asked.query["partNumber"].parse().expect("a number");
        upload.parts.insert(number, asked.body.clone());
        Answer { headers: vec![("etag".to_owned(), "\"e\"".to_owned())], ..Answer::empty(200) }
    }

    fn complete(&mut self, asked: &Asked, flaw: Option<Flaw>) -> Answer {
        let id = &asked.query["uploadId"];
        if !self.uploads.contains_key(id) {
            return Answer::error(404, "NoSuchUpload");
        }
        if self.is_taken(asked, flaw) {
            return Answer::error(412, "PreconditionFailed");
        }
        let Some(upload) = self.uploads.remove(id) else { return Answer::empty(500) };
        let text = String::from_utf8_lossy(&asked.body).into_owned();
        let numbers = text.split("<PartNumber>").skip(1).map(|rest| {
            let digits = rest.split('<').next().unwrap_or_default();
            digits.parse::<u32>().expect("a number")
        });
        let body = numbers.flat_map(|number| upload.parts[&number].clone()).collect();
        self.insert(&asked.key, Object { body, metadata: upload.metadata }, flaw);
        self.completed.insert(id.clone());
        Answer::of(200, COMPLETED.to_owned())
    }

    fn completed(&self, asked: &Asked) -> bool {
        self.completed.contains(&asked.query["uploadId"])
    }

    fn list(&self, asked: &Asked) -> Answer {
        let get = |name: &str| asked.query.get(name).map_or("", String::as_str);
        let (prefix, after) = (get("prefix"), get("start-after"));
        let keys =
            self.objects.keys().filter(|key| key.starts_with(prefix) && key.as_str() > after);
        let keys: String =
            keys.take(1000).map(|key| format!("<Contents><Key>{key}</Key></Contents>")).collect();
        Answer::of(200, format!("<ListBucketResult>{keys}</ListBucketResult>"))
    }

    fn list_uploads(&self, asked: &Asked) -> Answer {
        let prefix = asked.query.get("prefix").map_or("", String::as_str);
        let uploads = self.uploads.iter().filter(|(_, upload)| upload.key.starts_with(prefix));
        let uploads: String = uploads
            .map(|(id, upload)| {
                format!("<Upload><Key>{}</Key><UploadId>{id}</UploadId></Upload>", upload.key)
            })
            .collect();
        Answer::of(
            200,
            format!("<ListMultipartUploadsResult>{uploads}</ListMultipartUploadsResult>"),
        )
    }
}

/// The way from one client to a store: it may lose, delay and refuse.
pub(crate) trait Way: std::fmt::Debug + Send + Sync + 'static {
    fn carry(&self, asked: Asked) -> BoxFuture<'static, Result<Answer, ConnectorError>>;
}

/// A way on which nothing happens.
#[derive(Debug)]
pub(crate) struct Straight(pub(crate) Arc<Store>);

impl Way for Straight {
    fn carry(&self, asked: Asked) -> BoxFuture<'static, Result<Answer, ConnectorError>> {
        let answer = self.0.answer(&asked);
        Box::pin(async { Ok(answer) })
    }
}

/// An HTTP client that goes a [`Way`].
#[derive(Debug)]
pub(crate) struct Http<W>(pub(crate) Arc<W>);

impl<W: Way> HttpClient for Http<W> {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Self(Arc::clone(&self.0)))
    }
}

impl<W: Way> HttpConnector for Http<W> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let way = Arc::clone(&self.0);
        HttpConnectorFuture::new(async move {
            let asked = Asked::read(request).await;
            Ok(way.carry(asked).await?.into_response())
        })
    }
}
