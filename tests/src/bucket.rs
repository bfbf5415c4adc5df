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
        bucket.client.create_bucket().bucket(name).send().await?;
        Ok(bucket)
    }

    /// One that is there already.
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
