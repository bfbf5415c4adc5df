//! A bucket of the stack's S3 server.

use anyhow::Result;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};

use crate::server;

/// A bucket of its own for a test.
pub struct Bucket {
    client: Client,
    name: String,
}

impl Bucket {
    /// Creates it.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn create(name: &str) -> Result<Self> {
        let bucket = Self::open(name)?;
        bucket.make().await?;
        Ok(bucket)
    }

    /// One that is there already, or will be.
    ///
    /// # Errors
    /// If the stack's env is not set.
    pub fn open(name: &str) -> Result<Self> {
        let credentials = Credentials::new(
            server("TOWPATH_TEST_S3_ACCESS_KEY")?,
            server("TOWPATH_TEST_S3_SECRET_KEY")?,
            None,
            None,
            "test",
        );
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(server("TOWPATH_TEST_S3")?)
            .region(Region::new(server("TOWPATH_TEST_S3_REGION")?))
            .credentials_provider(credentials)
            .force_path_style(true)
            .build();
        Ok(Self { client: Client::from_conf(config), name: name.to_owned() })
    }

    /// Creates one that was not there yet.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn make(&self) -> Result<()> {
        self.client.create_bucket().bucket(&self.name).send().await?;
        Ok(())
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets `account` do `actions` on the bucket and its objects, and nothing else.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn allow(&self, account: &str, actions: &[&str]) -> Result<()> {
        let resource = format!("arn:aws:s3:::{}", self.name);
        let (objects, bucket) = (format!("{resource}/*"), resource);
        let of_bucket = |action: &&&str| action.contains("List") && !action.contains("Parts");
        let statement = |actions: Vec<&&str>, resource: &str| {
            serde_json::json!({
                "Effect": "Allow", "Principal": { "AWS": [account] }, "Action": actions,
                "Resource": [resource],
            })
        };
        let policy = serde_json::json!({
            "Version": "2012-10-17",
            "Statement": [
                statement(actions.iter().filter(of_bucket).collect(), &bucket),
                statement(actions.iter().filter(|a| !of_bucket(a)).collect(), &objects),
            ],
        });
        let request = self.client.put_bucket_policy().bucket(&self.name);
        request.policy(policy.to_string()).send().await?;
        Ok(())
    }

    /// Keys under `prefix`, in order.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn keys(&self, prefix: &str) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        let mut pages =
            self.client.list_objects_v2().bucket(&self.name).prefix(prefix).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page?;
            keys.extend(page.contents().iter().filter_map(|o| o.key().map(str::to_owned)));
        }
        keys.sort();
        Ok(keys)
    }

    /// Puts an object.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn write(&self, key: &str, bytes: Vec<u8>) -> Result<()> {
        self.client.put_object().bucket(&self.name).key(key).body(bytes.into()).send().await?;
        Ok(())
    }

    /// The bytes of an object.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn read(&self, key: &str) -> Result<Vec<u8>> {
        let object = self.client.get_object().bucket(&self.name).key(key).send().await?;
        Ok(object.body.collect().await?.to_vec())
    }
}
