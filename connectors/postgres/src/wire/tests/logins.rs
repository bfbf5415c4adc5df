use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use towpath_sdk::ErrorKind;

use super::super::error::WireError;
use super::super::socket::offers_tls;
use super::*;

const PLAIN: Way = Way { is_private: false, end_point: None };

fn private() -> Way {
    Way { is_private: true, end_point: Some(b"the certificate's hash".to_vec()) }
}

#[track_caller]
fn refused(login: Result<Connection<DuplexStream>>, kind: ErrorKind, text: &str) {
    let error: WireError = login.unwrap_err();
    let head = "log in to PostgreSQL at db:5432 as 'alice', database 'shop': ";
    assert_eq!((error.to_string(), error.kind()), (format!("{head}{text}"), kind));
}

#[tokio::test]
async fn trust_takes_anybody() {
    let options = vec![("TimeZone".to_owned(), "UTC".to_owned())];
    let target = Target { options, ..target() };
    let connection = log_in(target, PLAIN, async |mut server| {
        let said = server.start_up().await;
        let expect = "\0\x03\0\0user\0alice\0database\0shop\0replication\0database\0\
                      client_encoding\0UTF8\0application_name\0test\0options\0-c TimeZone=UTC\0\0";
        assert_eq!(String::from_utf8(said).unwrap(), expect);
        let notice = message(b'N', b"SNOTICE\0Mhello\0\0");
        server.send(&[notice, welcome()].concat()).await;
    });
    let connection = connection.await.unwrap();
    assert_eq!(connection.parameter("server_version"), Some("15.3 (Debian)"));
    assert_eq!(connection.server_major(), 15);
}

#[tokio::test]
async fn md5_hides_the_password() {
    let login = log_in(with_password(), PLAIN, async |mut server| {
        server.start_up().await;
        server.send(&asks(5, b"salt")).await;
        let said = server.expect(b'p').await;
        let expect = postgres_protocol::authentication::md5_hash(b"alice", b"hunter2", *b"salt");
        assert_eq!(said, format!("{expect}\0").as_bytes());
        server.send(&welcome()).await;
    });
    login.await.unwrap();
}

async fn clear_text(target: Target, way: Way) -> Result<Connection<DuplexStream>> {
    log_in(target, way, async |mut server| {
        server.start_up().await;
        server.send(&asks(3, b"")).await;
        assert_eq!(server.expect(b'p').await, b"hunter2\0");
        server.send(&welcome()).await;
    })
    .await
}

#[tokio::test]
async fn clear_text_needs_a_private_way_or_to_be_asked_for() {
    clear_text(with_password(), private()).await.unwrap();
    clear_text(Target { cleartext_password: true, ..with_password() }, PLAIN).await.unwrap();
    refused(
        clear_text(with_password(), PLAIN).await,
        ErrorKind::Config,
        "the server asks for the password in clear text over a connection that is not encrypted; use \
         database.sslmode=require, or SCRAM on the server",
    );
    refused(
        clear_text(target(), private()).await,
        ErrorKind::Config,
        "the server asks for a password, and there is none; set database.password",
    );
}

#[tokio::test]
async fn other_ways_are_refused_by_name() {
    for (what, name) in [(2, "Kerberos V5"), (7, "GSSAPI"), (9, "SSPI"), (99, "authentication 99")]
    {
        let login = log_in(with_password(), PLAIN, async move |mut server| {
            server.start_up().await;
            server.send(&asks(what, b"")).await;
        });
        let text = format!(
            "the server asks for {name}, which is not supported; use scram-sha-256, md5, cert, password \
             or trust in pg_hba.conf"
        );
        refused(login.await, ErrorKind::Unsupported, &text);
    }
}

#[tokio::test]
async fn the_servers_words_are_passed_on() {
    let login = log_in(with_password(), PLAIN, async |mut server| {
        server.start_up().await;
        server.send(&asks(5, b"salt")).await;
        server.expect(b'p').await;
        server.send(&message(b'E', b"SFATAL\0VFATAL\0C28P01\0Mpassword is wrong\0\0")).await;
    });
    let text = "password is wrong (SQLSTATE 28P01); correct database.user and database.password";
    refused(login.await, ErrorKind::Unauthenticated, text);
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(block, key)| *block ^= key);
        block
    };
    let inner = Sha256::digest([&pad(0x36)[..], message].concat());
    Sha256::digest([&pad(0x5c)[..], &inner[..]].concat()).to_vec()
}

/// What the scripted server does wrong.
#[derive(Clone, Copy, PartialEq)]
enum Flaw {
    None,
    WrongProof,
    NoProof,
    WrongNonce,
}

/// SCRAM from the server's side (RFC 5802), with the salt "salt" and two iterations.
async fn scram(server: &mut Server, offers: &str, mechanism: &str, gs2: &[u8], flaw: Flaw) {
    server.start_up().await;
    server.send(&asks(10, offers.as_bytes())).await;
    let initial = server.expect(b'p').await;
    let initial = initial.strip_prefix(format!("{mechanism}\0").as_bytes()).unwrap();
    let initial = std::str::from_utf8(&initial[4..]).unwrap();
    let (_, bare) = initial.split_once("n=").unwrap();
    let nonce = bare.strip_prefix(",r=").unwrap();
    let nonce = if flaw == Flaw::WrongNonce { "wrong" } else { nonce };
    let first = format!("r={nonce}server,s={},i=2", STANDARD.encode("salt"));
    server.send(&asks(11, first.as_bytes())).await;
    if flaw == Flaw::WrongNonce {
        return;
    }
    if flaw == Flaw::NoProof {
        server.expect(b'p').await;
        return server.send(&welcome()).await;
    }

    let last = String::from_utf8(server.expect(b'p').await).unwrap();
    let (without_proof, proof) = last.rsplit_once(",p=").unwrap();
    assert_eq!(without_proof, format!("c={},r={nonce}server", STANDARD.encode(gs2)));
    let one = hmac(b"hunter2", b"salt\0\0\0\x01");
    let two = hmac(b"hunter2", &one);
    let salted: Vec<u8> = one.iter().zip(two).map(|(one, two)| one ^ two).collect();
    let signed = format!("n={bare},{first},{without_proof}");
    let client_key = hmac(&salted, b"Client Key");
    let signature = hmac(&Sha256::digest(&client_key), signed.as_bytes());
    let expect: Vec<u8> = client_key.iter().zip(signature).map(|(key, sig)| key ^ sig).collect();
    assert_eq!(proof, STANDARD.encode(expect));

    let mut verifier = hmac(&hmac(&salted, b"Server Key"), signed.as_bytes());
    if flaw == Flaw::WrongProof {
        verifier[0] ^= 1;
    }
    server.send(&asks(12, format!("v={}", STANDARD.encode(verifier)).as_bytes())).await;
    if flaw == Flaw::None {
        server.send(&welcome()).await;
    }
}

const BOTH: &str = "SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";

#[tokio::test]
async fn scram_binds_where_both_can() {
    let bound = b"p=tls-server-end-point,,the certificate's hash";
    for (way, offers, mechanism, gs2) in [
        (PLAIN, "SCRAM-SHA-256\0\0", "SCRAM-SHA-256", &b"n,,"[..]),
        (private(), "SCRAM-SHA-256\0\0", "SCRAM-SHA-256", b"y,,"),
        (private(), BOTH, "SCRAM-SHA-256-PLUS", bound),
        (Way { is_private: true, end_point: None }, BOTH, "SCRAM-SHA-256", b"n,,"),
    ] {
        let login = log_in(with_password(), way, async move |mut server| {
            scram(&mut server, offers, mechanism, gs2, Flaw::None).await;
        });
        login.await.unwrap();
    }
}

#[tokio::test]
async fn a_server_must_prove_itself() {
    for (flaw, kind, text) in [
        (
            Flaw::WrongProof,
            ErrorKind::Unauthenticated,
            "the server does not prove that it knows the password: it may be another one (SCRAM \
             verification error)",
        ),
        (
            Flaw::NoProof,
            ErrorKind::Internal,
            "success within SASL, which a PostgreSQL server does not send there",
        ),
        (
            Flaw::WrongNonce,
            ErrorKind::Unauthenticated,
            "the server's challenge is wrong (invalid nonce)",
        ),
    ] {
        let login = log_in(with_password(), PLAIN, async move |mut server| {
            scram(&mut server, "SCRAM-SHA-256\0\0", "SCRAM-SHA-256", b"n,,", flaw).await;
        });
        refused(login.await, kind, text);
    }
    let login = log_in(with_password(), PLAIN, async |mut server| {
        server.start_up().await;
        server.send(&asks(10, b"OAUTHBEARER\0\0")).await;
    });
    let text = "the server offers none of the SASL mechanisms that are supported, but OAUTHBEARER";
    refused(login.await, ErrorKind::Unsupported, text);
}

#[tokio::test]
async fn a_login_takes_no_long_messages() {
    let login = log_in(with_password(), PLAIN, async |mut server| {
        server.start_up().await;
        server.send(b"E\0\x02\0\0").await;
    });
    let text = "a message 'E' of 131072 bytes, which a PostgreSQL server does not send there";
    refused(login.await, ErrorKind::Internal, text);
}

#[tokio::test]
async fn a_server_that_goes_away_is_retried() {
    let login = log_in(with_password(), PLAIN, async |mut server| {
        server.start_up().await;
    });
    refused(login.await, ErrorKind::Unavailable, "the server closed the connection");
}

#[tokio::test]
async fn tls_is_asked_for() {
    for (answer, expect) in [
        (&b"S"[..], Ok(true)),
        (b"N", Ok(false)),
        (b"", Err(ErrorKind::Unavailable)),
        (b"E\0\0\0\x09boo\0", Err(ErrorKind::Internal)),
    ] {
        let (mut client, mut server) = tokio::io::duplex(64);
        server.write_all(answer).await.unwrap();
        server.shutdown().await.unwrap();
        let offers = offers_tls(&mut client).await;
        let offers =
            offers.map_err(|cause| WireError::new("connect to", &target().peer(), cause).kind());
        assert_eq!(offers, expect);
    }
}

#[tokio::test]
async fn what_is_slipped_in_before_tls_breaks_it() {
    // Nobody reads what the client says: there is room for its whole hello.
    let (mut client, mut server) = tokio::io::duplex(65_536);
    server.write_all(&[b"S", &welcome()[..]].concat()).await.unwrap();
    assert!(offers_tls(&mut client).await.unwrap());
    let tls = crate::tls::Tls::load(&Ssl::default()).await.unwrap();
    let error = tls.connect("db", client).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}

proptest! {
    #[test]
    fn any_answer_is_a_login_or_an_error(
        tag in prop::sample::select(b"RRRRENSKZvxT".to_vec()),
        asked in 0..13u32,
        body in prop::collection::vec(any::<u8>(), 0..60),
        rest in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let body = [&asked.to_be_bytes()[..], &body].concat();
        let answer = [message(tag, &body), rest].concat();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (client, mut server) = tokio::io::duplex(4096);
            server.write_all(&answer).await.unwrap();
            // Dropped, it would break the writing; so the client reads an end, not an error.
            server.shutdown().await.unwrap();
            let login = Connection::start(client, &with_password(), &private()).await;
            assert!(login.is_err());
        });
    }
}
