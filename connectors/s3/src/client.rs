//! S3: the only module that talks to the store.
//!
//! Duty: the few requests that the sink makes, each tried as often as the configuration says and each
//! with one clear outcome. What waiting cures beyond that is retried by the callers, where the task's
//! status shows why.
//!
//! Bodies are sent unsigned with their CRC-32C, which the store checks: hashing them once more for the
//! signature would cost more than all else that is done to a record here. Deliberately absent: reading
//! objects.

mod body;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Credentials as SdkCredentials, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedCredentialsProvider, SharedHttpClient,
};
use aws_sdk_s3::types::{
    ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, ObjectCannedAcl,
    ServerSideEncryption, Tag, Tagging,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use towpath_sdk::config::Secret;
use towpath_sdk::error::{Error, Result};

use crate::buffer::Payload;
use crate::chain::Mark;
use crate::error::{Refusal, Subject, explain, refusal};

/// How to reach the store.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The bucket.
    pub bucket: String,
    /// The region; `None` takes the environment's or the profile's.
    pub region: Option<String>,
    /// The endpoint's URL; `None` is AWS.
    pub endpoint: Option<String>,
    /// The bucket in the path rather than in the host name.
    pub path_style: bool,
    /// AWS's accelerated endpoint.
    pub accelerate: bool,
    /// Who we are.
    pub credentials: Credentials,
    /// The role to assume with these credentials.
    pub role: Option<Role>,
    /// How often a request is tried again before it counts as failed.
    pub retries: u32,
    /// The pause before the first of these.
    pub backoff: Duration,
    /// The longest of these pauses.
    pub max_backoff: Duration,
    /// What carries requests; `None` is the SDK's own client.
    pub http: Option<SharedHttpClient>,
}

/// Who we are.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// AWS's default chain: environment, profile, web identity, instance metadata.
    Chain,
    /// A key.
    Keys {
        /// Its id.
        id: String,
        /// Its secret.
        secret: Secret<String>,
    },
}

/// A role to assume.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its name at AWS.
    pub arn: String,
    /// What its owner asks for.
    pub external_id: Option<String>,
    /// What the session is called in logs.
    pub session_name: Option<String>,
    /// How long a session lasts.
    pub duration: Duration,
}

/// What every object gets.
#[derive(Debug, Clone, Default)]
pub struct ObjectOptions {
    /// The canned ACL.
    pub acl: Option<ObjectCannedAcl>,
    /// The encryption that the store applies.
    pub encryption: Option<ServerSideEncryption>,
    /// The key of `aws:kms`.
    pub kms_key: Option<String>,
    /// Whether to send a CRC-32C of every body.
    pub crc32c: bool,
    /// The media type.
    pub content_type: &'static str,
}

/// A client for one bucket. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    s3: aws_sdk_s3::Client,
    bucket: Arc<str>,
    options: Arc<ObjectOptions>,
}

/// What became of a write under a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is there.
    Done,
    /// It was refused.
    Refused(Refusal),
}

/// What is under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// An object that says nothing of itself that we know.
    Stranger,
    /// An object that carries our kind of mark.
    Marked(Mark),
}

impl Found {
    /// The mark, if there is one.
    #[must_use]
    pub fn mark(&self) -> Option<&Mark> {
        match self {
            Self::Marked(mark) => Some(mark),
            Self::Nothing | Self::Stranger => None,
        }
    }

    /// Whether there is an object.
    #[must_use]
    pub fn exists(&self) -> bool {
        *self != Self::Nothing
    }
}

/// A multipart upload that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The object's key.
    pub key: String,
    /// The store's id of the upload.
    pub id: String,
}

/// A part that was sent.
#[derive(Debug, Clone)]
pub struct Part {
    number: i32,
    etag: Option<String>,
    crc32c: Option<String>,
}

impl Part {
    /// Its number, from 1.
    #[must_use]
    pub fn number(&self) -> i32 {
        self.number
    }
}

impl Client {
    /// A client for `connection`. Reads profiles and the like; sends nothing to the store.
    pub async fn new(connection: &Connection, options: ObjectOptions) -> Self {
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(region) = &connection.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Credentials::Keys { id, secret } = &connection.credentials {
            let secret = secret.expose();
            let keys = SdkCredentials::new(id, secret, None, None, "connector configuration");
            loader = loader.credentials_provider(SharedCredentialsProvider::new(keys));
        }
        if let Some(http) = &connection.http {
            loader = loader.http_client(http.clone());
        }
        let shared = Box::pin(loader.load()).await;
        let role = match &connection.role {
            Some(role) => Some(Box::pin(assume(role, &shared)).await),
            None => None,
        };
        let mut config = aws_sdk_s3::config::Builder::from(&shared)
            .force_path_style(connection.path_style)
            .accelerate(connection.accelerate)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(connection.retries.saturating_add(1))
                    .with_initial_backoff(connection.backoff)
                    .with_max_backoff(connection.max_backoff),
            )
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(5))
                    .read_timeout(Duration::from_secs(60))
                    .build(),
            );
        if let Some(role) = role {
            config = config.credentials_provider(role);
        }
        if shared.region().is_none() {
            config = config.region(Region::from_static("us-east-1"));
        }
        if let Some(endpoint) = &connection.endpoint {
            config = config.endpoint_url(endpoint);
        }
        Self {
            s3: aws_sdk_s3::Client::from_conf(config.build()),
            bucket: connection.bucket.as_str().into(),
            options: Arc::new(options),
        }
    }

    fn subject<'a>(&'a self, doing: &'a str) -> Subject<'a> {
        Subject { doing, bucket: &self.bucket }
    }

    /// Sees that the bucket is there and may be read.
    ///
    /// # Errors
    /// If not.
    pub async fn check_bucket(&self) -> Result<()> {
        // A list tells apart what a HEAD, whose errors have no body, does not.
        self.s3
            .list_objects_v2()
            .bucket(&*self.bucket)
            .max_keys(1)
            .send()
            .await
            .map(drop)
            .map_err(|e| explain(e, self.subject("reach the bucket")))
    }

    /// What is under `key`.
    ///
    /// # Errors
    /// If the store does not tell.
    pub async fn look(&self, key: &str) -> Result<Found> {
        match self.s3.head_object().bucket(&*self.bucket).key(key).send().await {
            Ok(head) => {
                Ok(head.metadata().and_then(read_mark).map_or(Found::Stranger, Found::Marked))
            }
            Err(e) if refusal(&e) == Some(Refusal::Missing) => Ok(Found::Nothing),
            Err(e) => Err(explain(e, self.subject("look at an object"))),
        }
    }

    /// The keys with `prefix` behind `after`, in the store's order; one page of at most 1000.
    ///
    /// # Errors
    /// If the store does not tell.
    pub async fn list(&self, prefix: &str, after: &str) -> Result<Vec<String>> {
        let page = self
            .s3
            .list_objects_v2()
            .bucket(&*self.bucket)
            .prefix(prefix)
            .start_after(after)
            .send()
            .await
            .map_err(|e| explain(e, self.subject("list objects")))?;
        Ok(page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key).collect())
    }

    /// Writes an object in one request; with `new`, only if nothing is under `key`.
    ///
    /// # Errors
    /// If the outcome is a failure or unknown.
    pub async fn put(
        &self,
        key: &str,
        payload: &Payload,
        mark: Option<&Mark>,
        new: bool,
    ) -> Result<Written> {
        let options = &self.options;
        let request = self
            .s3
            .put_object()
            .bucket(&*self.bucket)
            .key(key)
            .content_length(length(payload))
            .content_type(options.content_type)
            .body(body::of(payload))
            .set_metadata(mark.map(write_mark))
            .set_acl(options.acl.clone())
            .set_server_side_encryption(options.encryption.clone())
            .set_ssekms_key_id(options.kms_key.clone())
            .set_checksum_crc32_c(self.crc32c(payload))
            .set_if_none_match(new.then(|| "*".to_owned()));
        match request.customize().disable_payload_signing().send().await {
            Ok(_) => Ok(Written::Done),
            Err(e) => match refusal(&e) {
                Some(refused @ (Refusal::Exists | Refusal::Race)) if new => {
                    Ok(Written::Refused(refused))
                }
                Some(Refusal::NotImplemented) if new => {
                    Ok(Written::Refused(Refusal::NotImplemented))
                }
                _ => Err(explain(e, self.subject("write an object"))),
            },
        }
    }

    /// Begins a multipart upload.
    ///
    /// # Errors
    /// If the store refuses.
    pub async fn begin(&self, key: &str, mark: &Mark) -> Result<Upload> {
        let options = &self.options;
        let begun = self
            .s3
            .create_multipart_upload()
            .bucket(&*self.bucket)
            .key(key)
            .content_type(options.content_type)
            .set_metadata(Some(write_mark(mark)))
            .set_acl(options.acl.clone())
            .set_server_side_encryption(options.encryption.clone())
            .set_ssekms_key_id(options.kms_key.clone())
            .set_checksum_algorithm(options.crc32c.then_some(ChecksumAlgorithm::Crc32C))
            .send()
            .await
            .map_err(|e| explain(e, self.subject("begin a multipart upload")))?;
        let id = begun
            .upload_id
            .ok_or_else(|| Error::internal("begin a multipart upload: the store gave it no id"))?;
        Ok(Upload { key: key.to_owned(), id })
    }

    /// Sends part `number`, from 1. `None` if there is no such upload any more.
    ///
    /// # Errors
    /// If the store refuses.
    pub async fn send_part(
        &self,
        upload: &Upload,
        number: i32,
        payload: &Payload,
    ) -> Result<Option<Part>> {
        let crc32c = self.crc32c(payload);
        let request = self
            .s3
            .upload_part()
            .bucket(&*self.bucket)
            .key(&upload.key)
            .upload_id(&upload.id)
            .part_number(number)
            .content_length(length(payload))
            .body(body::of(payload))
            .set_checksum_crc32_c(crc32c.clone());
        match request.customize().disable_payload_signing().send().await {
            Ok(sent) => Ok(Some(Part { number, etag: sent.e_tag, crc32c })),
            Err(e) if refusal(&e) == Some(Refusal::UploadGone) => Ok(None),
            Err(e) => Err(explain(e, self.subject("send a part of an object"))),
        }
    }

    /// Makes an object of the parts; with `new`, only if nothing is under its key.
    ///
    /// # Errors
    /// If the outcome is a failure or unknown.
    pub async fn complete(&self, upload: &Upload, parts: &[Part], new: bool) -> Result<Written> {
        let parts = parts.iter().map(|part| {
            CompletedPart::builder()
                .part_number(part.number)
                .set_e_tag(part.etag.clone())
                .set_checksum_crc32_c(part.crc32c.clone())
                .build()
        });
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
        let request = self
            .s3
            .complete_multipart_upload()
            .bucket(&*self.bucket)
            .key(&upload.key)
            .upload_id(&upload.id)
            .multipart_upload(parts)
            .set_if_none_match(new.then(|| "*".to_owned()));
        match request.send().await {
            Ok(_) => Ok(Written::Done),
            Err(e) => match refusal(&e) {
                Some(Refusal::Missing) | None => {
                    Err(explain(e, self.subject("complete a multipart upload")))
                }
                Some(refused) => Ok(Written::Refused(refused)),
            },
        }
    }

    /// Gives an upload up, with what was sent of it.
    ///
    /// # Errors
    /// If the store refuses. An upload that is gone is no error.
    pub async fn abort(&self, upload: &Upload) -> Result<()> {
        let request = self
            .s3
            .abort_multipart_upload()
            .bucket(&*self.bucket)
            .key(&upload.key)
            .upload_id(&upload.id);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(e) if matches!(refusal(&e), Some(Refusal::UploadGone | Refusal::Missing)) => Ok(()),
            Err(e) => Err(explain(e, self.subject("abort a multipart upload"))),
        }
    }

    /// Uploads under `prefix` that were begun and neither completed nor aborted; at most 10 000.
    ///
    /// # Errors
    /// If the store does not tell.
    pub async fn uploads(&self, prefix: &str) -> Result<Vec<Upload>> {
        let mut found = Vec::new();
        let (mut key_marker, mut id_marker) = (None, None);
        for _page in 0..10 {
            let page = self
                .s3
                .list_multipart_uploads()
                .bucket(&*self.bucket)
                .prefix(prefix)
                .set_key_marker(key_marker)
                .set_upload_id_marker(id_marker)
                .send()
                .await
                .map_err(|e| explain(e, self.subject("list multipart uploads")))?;
            let more = page.is_truncated == Some(true);
            (key_marker, id_marker) = (page.next_key_marker, page.next_upload_id_marker);
            let uploads = page.uploads.unwrap_or_default().into_iter();
            found.extend(uploads.filter_map(|u| Some(Upload { key: u.key?, id: u.upload_id? })));
            if !more || key_marker.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// Gives an object tags, in place of those that it has.
    ///
    /// # Errors
    /// If the store refuses.
    pub async fn tag(&self, key: &str, tags: &[(String, String)]) -> Result<()> {
        let tags = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
        let tags = tags
            .collect::<Result<Vec<_>, _>>()
            .and_then(|tags| Tagging::builder().set_tag_set(Some(tags)).build());
        let tags = tags.map_err(|e| Error::internal("make tags").with_source(e))?;
        let request = self.s3.put_object_tagging().bucket(&*self.bucket).key(key).tagging(tags);
        request.send().await.map(drop).map_err(|e| explain(e, self.subject("tag an object")))
    }

    /// Removes an object.
    ///
    /// # Errors
    /// If the store refuses.
    pub async fn delete(&self, key: &str) -> Result<()> {
        let deleted = self.s3.delete_object().bucket(&*self.bucket).key(key).send().await;
        deleted.map(drop).map_err(|e| explain(e, self.subject("remove an object")))
    }

    fn crc32c(&self, payload: &Payload) -> Option<String> {
        self.options.crc32c.then(|| STANDARD.encode(payload.crc32c.to_be_bytes()))
    }
}

async fn assume(role: &Role, with: &SdkConfig) -> AssumeRoleProvider {
    let mut provider =
        AssumeRoleProvider::builder(&role.arn).session_length(role.duration).configure(with);
    if let Some(id) = &role.external_id {
        provider = provider.external_id(id);
    }
    if let Some(name) = &role.session_name {
        provider = provider.session_name(name);
    }
    provider.build().await
}

fn length(payload: &Payload) -> i64 {
    i64::try_from(payload.len).unwrap_or(i64::MAX)
}

fn write_mark(mark: &Mark) -> HashMap<String, String> {
    let mut metadata = HashMap::from([
        ("towpath-writer".to_owned(), mark.writer.to_string()),
        ("towpath-nonce".to_owned(), mark.nonce.to_string()),
        ("towpath-start".to_owned(), mark.start.to_string()),
        ("towpath-first".to_owned(), format!("{:08x}", mark.first)),
    ]);
    if let Some(end) = mark.end {
        metadata.insert("towpath-end".to_owned(), end.to_string());
    }
    metadata
}

/// Stores differ in the case in which they give names back.
fn read_mark(metadata: &HashMap<String, String>) -> Option<Mark> {
    let get = |name: &str| {
        let found = metadata.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    };
    Some(Mark {
        writer: get("towpath-writer")?.into(),
        nonce: get("towpath-nonce")?.into(),
        start: get("towpath-start")?.parse().ok()?,
        end: get("towpath-end").map(str::parse).transpose().ok()?,
        first: u32::from_str_radix(get("towpath-first")?, 16).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_back_in_any_case() {
        for end in [None, Some(7)] {
            let mark = Mark { writer: "w".into(), nonce: "n".into(), start: 3, end, first: 0xab };
            assert_eq!(read_mark(&write_mark(&mark)), Some(mark.clone()));
            let upper = write_mark(&mark).into_iter().map(|(k, v)| (k.to_uppercase(), v)).collect();
            assert_eq!(read_mark(&upper), Some(mark));
        }
        assert_eq!(read_mark(&HashMap::new()), None);
        let foreign = HashMap::from([("towpath-writer".to_owned(), "w".to_owned())]);
        assert_eq!(read_mark(&foreign), None);
    }
}
