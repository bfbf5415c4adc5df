//! Logging in: passwords, TLS, certificates, and what is said when it does not work.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use towpath_connector_postgres::tls::Tls;
use towpath_connector_postgres::wire::{Connection, Ssl, SslMode, Target, connect_sql};
use towpath_sdk::config::Secret;
use towpath_sdk::{Error, ErrorKind};

use crate::certificates::KEY_PASSWORD;
use crate::server::{Hba, Options, Server};

const ALICE: &str = "CREATE ROLE alice LOGIN REPLICATION PASSWORD 'hunter2'";

fn with_password(target: Target, password: &str) -> Target {
    Target { password: Some(Secret::new(password.to_owned())), ..target }
}

/// Over TLS with `mode`, trusting `root`, as `localhost`.
fn encrypted(server: &Server, mode: SslMode, root: Option<&str>) -> Target {
    let root_cert = root.map(|name| server.certificates().join(name));
    let ssl = Ssl { mode, root_cert, ..Ssl::default() };
    let target = with_password(server.target("alice"), "hunter2");
    Target { host: "localhost".to_owned(), ssl, ..target }
}

/// Logs in, asks for something, and says whether that was over TLS.
async fn replicate(target: &Target) -> Result<bool, Error> {
    let mut connection = Connection::connect(target).await?;
    let sql = "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let by_server = connection.query(sql).await?;
    let is_encrypted = connection.is_encrypted();
    assert_eq!(by_server.first("ssl"), Some(if is_encrypted { "true" } else { "false" }));
    connection.close().await;
    Ok(is_encrypted)
}

/// The same over tokio-postgres, which is not to differ.
async fn log_in_for_sql(target: &Target) -> Result<bool, Error> {
    let (client, connection) = connect_sql(target).await?;
    let connection = tokio::spawn(connection);
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let is_encrypted = client.query_one(sql, &[]).await.unwrap().get(0);
    drop(client);
    connection.await.unwrap().unwrap();
    Ok(is_encrypted)
}

/// Both; they agree.
async fn log_in(target: &Target) -> Result<bool, Error> {
    let (replicating, sql) = (replicate(target).await, log_in_for_sql(target).await);
    match (&replicating, &sql) {
        (Ok(one), Ok(other)) => assert_eq!(one, other),
        (Err(one), Err(other)) => assert_eq!(one.kind(), other.kind(), "{one:?} {other:?}"),
        _ => panic!("{replicating:?} {sql:?}"),
    }
    replicating
}

#[track_caller]
fn refused(login: Result<bool, Error>, kind: ErrorKind, parts: &[&str]) {
    let error = login.unwrap_err();
    let chain = error.chain();
    assert_eq!(error.kind(), kind, "{chain}");
    assert!(parts.iter().all(|part| chain.contains(part)), "{chain}");
    assert!(!chain.contains("hunter2"), "{chain}");
}

#[tokio::test]
async fn scram_and_its_errors() {
    let server = Server::start_with(Options { hba: Hba::Scram, ..Options::default() }).await;
    server.execute(ALICE).await;
    server.execute("CREATE ROLE bob LOGIN PASSWORD 'hunter2'").await;
    let alice = server.target("alice");
    assert!(!log_in(&with_password(alice.clone(), "hunter2")).await.unwrap());

    let port = alice.port;
    refused(
        log_in(&with_password(alice.clone(), "hunter3")).await,
        ErrorKind::Unauthenticated,
        &[
            &format!("log in to PostgreSQL at 127.0.0.1:{port} as 'alice', database 'postgres': "),
            "password authentication failed for user \"alice\" (SQLSTATE 28P01); correct \
             database.user and database.password",
        ],
    );
    refused(log_in(&alice).await, ErrorKind::Config, &["set database.password"]);
    let bob = with_password(server.target("bob"), "hunter2");
    refused(replicate(&bob).await, ErrorKind::Forbidden, &["42501", "REPLICATION"]);
    let nowhere =
        Target { database: "nowhere".to_owned(), ..with_password(alice.clone(), "hunter2") };
    refused(log_in(&nowhere).await, ErrorKind::NotFound, &["3D000", "'nowhere'"]);
    let options = vec![("work_mem".to_owned(), "a lot".to_owned())];
    let wrong = Target { options, ..with_password(alice.clone(), "hunter2") };
    refused(log_in(&wrong).await, ErrorKind::Config, &["22023", "a lot"]);

    // The socket in its folder, where nobody needs a password, and the settings of the session.
    let options = vec![("my.note".to_owned(), r"a b, c\d".to_owned())];
    let local = Target { host: server.socket(), options, ..alice.clone() };
    let mut connection = Connection::connect(&local).await.unwrap();
    let shown = connection.query("SHOW my.note").await.unwrap();
    assert_eq!(shown.first("my.note"), Some(r"a b, c\d"));
    assert_eq!(connection.server_major(), 15);

    drop(server);
    refused(log_in(&alice).await, ErrorKind::Unavailable, &["connect to", "refused"]);
}

#[tokio::test]
async fn md5_passwords() {
    let server = Server::start_with(Options {
        hba: Hba::Md5,
        settings: &[("password_encryption", "md5")],
        ..Options::default()
    })
    .await;
    server.execute(ALICE).await;
    log_in(&with_password(server.target("alice"), "hunter2")).await.unwrap();
    let wrong = with_password(server.target("alice"), "hunter3");
    refused(log_in(&wrong).await, ErrorKind::Unauthenticated, &["28P01"]);
}

#[tokio::test]
async fn clear_text_passwords() {
    let options = Options { hba: Hba::Password, tls: Some("server"), ..Options::default() };
    let server = Server::start_with(options).await;
    server.execute(ALICE).await;
    let plain = with_password(server.target("alice"), "hunter2");
    refused(replicate(&plain).await, ErrorKind::Config, &["in clear text"]);
    log_in(&Target { cleartext_password: true, ..plain }).await.unwrap();
    log_in(&encrypted(&server, SslMode::Require, None)).await.unwrap();
}

#[tokio::test]
async fn tls_by_mode() {
    // Passwords are SCRAM's: over TLS that binds the login to the server's certificate.
    let options = Options { hba: Hba::Scram, tls: Some("server"), ..Options::default() };
    let server = Server::start_with(options).await;
    server.execute(ALICE).await;
    for (mode, root, expect) in [
        (SslMode::Disable, None, Some(false)),
        (SslMode::Allow, None, Some(false)),
        (SslMode::Prefer, None, Some(true)),
        (SslMode::Require, None, Some(true)),
        (SslMode::Require, Some("ca.pem"), Some(true)),
        (SslMode::Require, Some("other-ca.pem"), None),
        (SslMode::VerifyCa, Some("ca.pem"), Some(true)),
        (SslMode::VerifyCa, Some("other-ca.pem"), None),
        (SslMode::VerifyCa, Some("server.pem"), Some(true)),
        (SslMode::VerifyFull, Some("ca.pem"), Some(true)),
        (SslMode::VerifyFull, Some("other-ca.pem"), None),
    ] {
        let target = encrypted(&server, mode, root);
        match expect {
            Some(expect) => {
                assert_eq!(log_in(&target).await.unwrap(), expect, "{mode} {root:?}");
            }
            None => {
                let parts = ["invalid peer certificate", "database.sslrootcert"];
                refused(log_in(&target).await, ErrorKind::Unauthenticated, &parts);
            }
        }
    }
    // The certificate is not for the address.
    let address = "127.0.0.1".to_owned();
    let target =
        Target { host: address, ..encrypted(&server, SslMode::VerifyFull, Some("ca.pem")) };
    refused(log_in(&target).await, ErrorKind::Unauthenticated, &["not valid for name"]);
    let ssl = Ssl { mode: SslMode::VerifyCa, ..target.ssl.clone() };
    assert!(log_in(&Target { ssl, ..target }).await.unwrap());

    let target = encrypted(&server, SslMode::VerifyFull, None);
    refused(log_in(&target).await, ErrorKind::Config, &["needs database.sslrootcert"]);
    let target = encrypted(&server, SslMode::VerifyFull, Some("missing.pem"));
    refused(log_in(&target).await, ErrorKind::NotFound, &["missing.pem"]);
    let target = encrypted(&server, SslMode::VerifyFull, Some("server.key"));
    refused(log_in(&target).await, ErrorKind::Config, &["no PEM block of a CERTIFICATE"]);
}

#[tokio::test]
async fn servers_that_take_one_way_only() {
    let server = Server::start_with(Options { hba: Hba::Scram, ..Options::default() }).await;
    server.execute(ALICE).await;
    assert!(!log_in(&encrypted(&server, SslMode::Prefer, None)).await.unwrap());
    let target = encrypted(&server, SslMode::Require, None);
    refused(log_in(&target).await, ErrorKind::Config, &["does not offer TLS"]);

    let server = Server::start_with(Options {
        hba: Hba::Lines(
            "hostssl all alice 127.0.0.1/32 trust\nhostnossl all bob 127.0.0.1/32 trust",
        ),
        tls: Some("server"),
        ..Options::default()
    })
    .await;
    server.execute(ALICE).await;
    server.execute("CREATE ROLE bob LOGIN REPLICATION").await;
    let target = encrypted(&server, SslMode::Disable, None);
    refused(log_in(&target).await, ErrorKind::Unauthenticated, &["no pg_hba.conf entry", "28000"]);
    assert!(log_in(&encrypted(&server, SslMode::Allow, None)).await.unwrap());
    let bob = |mode| Target { user: "bob".to_owned(), ..encrypted(&server, mode, None) };
    assert!(!log_in(&bob(SslMode::Prefer)).await.unwrap());
    refused(
        log_in(&bob(SslMode::Require)).await,
        ErrorKind::Unauthenticated,
        &["no pg_hba.conf entry", "SSL encryption"],
    );
}

#[tokio::test]
async fn client_certificates() {
    let options = Options { hba: Hba::Cert, tls: Some("server"), ..Options::default() };
    let server = Server::start_with(options).await;
    server.execute(ALICE).await;
    let with_key = |key: &str, password: Option<&str>| {
        let mut target = encrypted(&server, SslMode::VerifyFull, Some("ca.pem"));
        target.ssl.cert = Some(server.certificates().join("alice.pem"));
        target.ssl.key = Some(server.certificates().join(key));
        target.ssl.key_password = password.map(|password| Secret::new(password.to_owned()));
        target
    };
    for key in ["alice.key", "alice.sec1.key", "alice.der"] {
        assert!(log_in(&with_key(key, None)).await.unwrap());
    }
    let encrypted_key = "alice.encrypted.key";
    assert!(log_in(&with_key(encrypted_key, Some(KEY_PASSWORD))).await.unwrap());
    for (password, text) in [
        (Some("hunter2"), "database.sslpassword does not open"),
        (None, "give its database.sslpassword"),
    ] {
        refused(log_in(&with_key(encrypted_key, password)).await, ErrorKind::Config, &[text]);
    }
    // It is another one's key, or another one's name.
    let target = with_key("server.key", None);
    refused(log_in(&target).await, ErrorKind::Config, &["set up TLS"]);
    let target = Target { user: "postgres".to_owned(), ..with_key("alice.key", None) };
    refused(log_in(&target).await, ErrorKind::Unauthenticated, &["28000", "\"postgres\""]);
    let target = encrypted(&server, SslMode::Require, None);
    refused(log_in(&target).await, ErrorKind::Unauthenticated, &["valid client certificate"]);
    let mut target = with_key("alice.key", None);
    target.ssl.key = None;
    refused(log_in(&target).await, ErrorKind::Config, &["both or not at all"]);
}

#[tokio::test]
async fn certificates_as_people_make_them() {
    // Self-signed, and named by its common name only.
    let options = Options { hba: Hba::Scram, tls: Some("self"), ..Options::default() };
    let server = Server::start_with(options).await;
    server.execute(ALICE).await;
    let target = encrypted(&server, SslMode::VerifyFull, Some("self.pem"));
    assert!(log_in(&target).await.unwrap());
    let target = Target { host: "127.0.0.1".to_owned(), ..target };
    refused(log_in(&target).await, ErrorKind::Unauthenticated, &["invalid peer certificate"]);

    // Of X.509 version 1.
    let options = Options { hba: Hba::Scram, tls: Some("old"), ..Options::default() };
    let server = Server::start_with(options).await;
    server.execute(ALICE).await;
    assert!(log_in(&encrypted(&server, SslMode::Require, None)).await.unwrap());
    let target = encrypted(&server, SslMode::VerifyCa, Some("ca.pem"));
    refused(log_in(&target).await, ErrorKind::Unauthenticated, &["X.509 version 1"]);
}

#[tokio::test]
async fn logins_are_bound_to_the_certificate() {
    let options = Options { hba: Hba::Scram, tls: Some("server"), ..Options::default() };
    let server = Server::start_with(options).await;
    let target = encrypted(&server, SslMode::VerifyFull, Some("ca.pem"));
    let mut socket = TcpStream::connect(("127.0.0.1", target.port)).await.unwrap();
    // The request for TLS.
    socket.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await.unwrap();
    assert_eq!(socket.read_u8().await.unwrap(), b'S');
    let stream = Tls::load(&target.ssl).await.unwrap().connect("localhost", socket).await.unwrap();
    let file = server.certificates().join("server.pem");
    let certificate = CertificateDer::from_pem_file(file).unwrap();
    assert_eq!(stream.end_point(), Some(Sha256::digest(&certificate).to_vec()));
}
