//! What only the stack's scripts can do: accounts, permissions, settings of topics, servers.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tokio::task::spawn_blocking;

use crate::server;

fn scripts() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("stack")
}

async fn run(
    program: PathBuf,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<String> {
    let arguments: Vec<OsString> = arguments.into_iter().map(|a| a.as_ref().to_owned()).collect();
    let mut command = Command::new(&program);
    command.args(arguments);
    let output = spawn_blocking(move || command.output()).await?;
    let output = output.with_context(|| format!("start {}", program.display()))?;
    ensure!(
        output.status.success(),
        "{}: {}{}",
        program.display(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs one of Kafka's own tools as super user.
///
/// # Errors
/// If it fails.
pub async fn kafka_tool(tool: &str, arguments: &[&str]) -> Result<()> {
    let dir = server("TOWPATH_TEST_STACK")?;
    run(scripts().join("kafka-tool"), [&[dir.as_str(), tool], arguments].concat()).await.map(drop)
}

/// Starts or stops one of the stack's servers, or asks for its pid, and returns what the script said.
///
/// # Errors
/// If it fails.
pub async fn control(name: &str, verb: &str) -> Result<String> {
    let dir = server("TOWPATH_TEST_STACK")?;
    run(scripts().join("server"), [&dir, name, verb]).await
}

/// Makes an account of the S3 server that may use every bucket.
///
/// # Errors
/// If the server refuses.
pub async fn create_s3_account(access_key: &str, secret_key: &str) -> Result<()> {
    let script = r#". "$0/lib.sh" && ADMIN_ACCESS_KEY=$TOWPATH_TEST_S3_ACCESS_KEY \
        ADMIN_SECRET_KEY=$TOWPATH_TEST_S3_SECRET_KEY exec "$versitygw" admin \
        --endpoint-url "$TOWPATH_TEST_S3" create-user --access "$1" --secret "$2" --role admin"#;
    let scripts = scripts();
    let arguments = [OsStr::new("-c"), script.as_ref(), scripts.as_ref()];
    let keys = [access_key, secret_key].map(OsStr::new);
    run("bash".into(), arguments.into_iter().chain(keys)).await.map(drop)
}
