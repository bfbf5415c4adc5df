//! A fresh bucket of the test server, and what is in it.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use tempfile::TempDir;

pub(crate) struct Bucket {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) region: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    pub(crate) spool: TempDir,
    pub(crate) s3: aws_sdk_s3::Client,
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: start the test stack (tests/stack/up --s3) and source its env")
    })
}

impl Bucket {
    pub(crate) async fn new() -> Self {
        let bucket = Self::at(Self::server());
        bucket.create().await;
        bucket
    }

    /// The URL of the test server.
    pub(crate) fn server() -> String {
        env("TOWPATH_TEST_S3")
    }

    pub(crate) async fn create(&self) {
        self.s3.create_bucket().bucket(&self.name).send().await.expect("a new bucket");
    }

    /// A bucket that was not created.
    pub(crate) fn at(url: String) -> Self {
        let (access_key, secret_key) =
            (env("TOWPATH_TEST_S3_ACCESS_KEY"), env("TOWPATH_TEST_S3_SECRET_KEY"));
        let region = env("TOWPATH_TEST_S3_REGION");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&url)
            .force_path_style(true)
            .region(Region::new(region.clone()))
            .credentials_provider(Credentials::new(&access_key, &secret_key, None, None, "test"))
            .build();
        Self {
            name: format!("test-{}", uuid::Uuid::new_v4().simple()),
            url,
            region,
            access_key,
            secret_key,
            spool: tempfile::tempdir().expect("a folder"),
            s3: aws_sdk_s3::Client::from_conf(config),
        }
    }

    /// All keys but probes, sorted.
    pub(crate) async fn keys(&self) -> Vec<String> {
        let mut keys = Vec::new();
        let mut after = String::new();
        loop {
            let page =
                self.s3.list_objects_v2().bucket(&self.name).start_after(&after).send().await;
            let page = page.expect("a list").contents.unwrap_or_default();
            let Some(last) = page.last().and_then(|object| object.key.clone()) else { return keys };
            after = last;
            keys.extend(
                page.into_iter().filter_map(|object| object.key).filter(|k| !k.contains("probe")),
            );
        }
    }

    pub(crate) async fn get(&self, key: &str) -> Vec<u8> {
        let object =
            self.s3.get_object().bucket(&self.name).key(key).send().await.expect("an object");
        object.body.collect().await.expect("a body").to_vec()
    }

    pub(crate) async fn put(&self, key: &str, body: &str) {
        let body = ByteStream::from(body.as_bytes().to_vec());
        self.s3.put_object().bucket(&self.name).key(key).body(body).send().await.expect("a put");
    }

    /// The offsets in all objects whose keys contain `part`, in the order of keys.
    pub(crate) async fn offsets(&self, part: &str) -> Vec<i64> {
        let mut offsets = Vec::new();
        for key in self.keys().await.iter().filter(|key| key.contains(part)) {
            let text = String::from_utf8(self.get(key).await).expect("text");
            offsets.extend(text.lines().filter_map(|line| {
                serde_json::from_str::<serde_json::Value>(line).ok()?["offset"].as_i64()
            }));
        }
        offsets
    }

    pub(crate) async fn uploads(&self) -> usize {
        let uploads = self.s3.list_multipart_uploads().bucket(&self.name).send().await;
        uploads.expect("a list").uploads().len()
    }

    /// Waits until so many multipart uploads are under way.
    pub(crate) async fn until_uploads(&self, count: usize) {
        for _ in 0..500 {
            if self.uploads().await == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("waited in vain for {count} uploads");
    }

    pub(crate) async fn begin_upload(&self, key: &str) {
        let begun = self.s3.create_multipart_upload().bucket(&self.name).key(key).send().await;
        begun.expect("an upload");
    }

    pub(crate) async fn tags(&self, key: &str) -> Vec<(String, String)> {
        let tags = self.s3.get_object_tagging().bucket(&self.name).key(key).send().await;
        let tags = tags.expect("tags").tag_set;
        let mut tags: Vec<_> = tags.into_iter().map(|tag| (tag.key, tag.value)).collect();
        tags.sort();
        tags
    }

    /// Bytes in all spools of this bucket's tasks.
    pub(crate) fn spooled(&self) -> u64 {
        let directories = std::fs::read_dir(self.spool.path()).expect("a folder");
        directories
            .map(|entry| entry.expect("an entry").path().join("spool"))
            .map(|spool| std::fs::metadata(spool).map_or(0, |file| file.len()))
            .sum()
    }
}

/// A server of a test's own, for faults that the shared one must not have.
pub(crate) struct Server {
    pub(crate) url: String,
    process: Child,
    _folder: TempDir,
}

impl Server {
    /// The stack's S3 server with further arguments, on a free port.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let stack = env("TOWPATH_TEST_STACK");
        let run = std::fs::read_to_string(format!("{stack}/s3/run")).expect("the stack's script");
        let program = run.split_whitespace().find(|word| word.ends_with("/versitygw"));
        let folder = tempfile::tempdir().expect("a folder");
        let (data, meta) = (folder.path().join("data"), folder.path().join("meta"));
        for directory in [&data, &meta] {
            std::fs::create_dir(directory).expect("a folder");
        }
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            listener.local_addr().expect("an address").port()
        };
        let process = Command::new(program.expect("the server's program"))
            .env("ROOT_ACCESS_KEY", env("TOWPATH_TEST_S3_ACCESS_KEY"))
            .env("ROOT_SECRET_KEY", env("TOWPATH_TEST_S3_SECRET_KEY"))
            .args([
                "--port",
                &format!("127.0.0.1:{port}"),
                "--region",
                &env("TOWPATH_TEST_S3_REGION"),
            ])
            .args(arguments)
            .arg("posix")
            .args([std::ffi::OsStr::new("--sidecar"), meta.as_os_str(), data.as_os_str()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a server");
        let server = Self { url: format!("http://127.0.0.1:{port}"), process, _folder: folder };
        for _ in 0..500 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return server;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the server does not listen");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
