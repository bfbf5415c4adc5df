//! Logging in.
//!
//! Duty: answer what the server asks for
//! (<https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-START-UP>): nothing,
//! the password, its MD5, SCRAM-SHA-256 with or without channel binding. Other ways are refused by
//! name.
//!
//! Invariants:
//! - the password itself leaves only over TLS, over a Unix socket or when that was asked for;
//! - whoever began SCRAM has to prove that it knows the password too: it can't be cut short;
//! - channel binding is used whenever both sides can.

use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncWrite};
use towpath_sdk::ErrorKind;

use super::channel::{Channel, Message};
use super::error::{Cause, ServerError};
use super::fields::Fields;
use super::target::Target;

// What an `Authentication` message asks for.
const OK: i32 = 0;
const CLEARTEXT: i32 = 3;
const MD5: i32 = 5;
const SASL: i32 = 10;
const SASL_CONTINUE: i32 = 11;
const SASL_FINAL: i32 = 12;

/// How safe the way to the server is.
#[derive(Debug, Clone, Default)]
pub(super) struct Way {
    /// Whether nobody can listen: TLS, or a Unix socket.
    pub(super) is_private: bool,
    /// What `tls-server-end-point` (RFC 5929) is, if it is TLS and the certificate says
    /// which hash that takes.
    pub(super) end_point: Option<Vec<u8>>,
}

/// Logs in, up to and including `AuthenticationOk`.
pub(super) async fn log_in<S>(
    channel: &mut Channel<S>,
    target: &Target,
    way: &Way,
) -> Result<(), Cause>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (asked, data) = receive(channel).await?;
    let method = match asked {
        OK => return Ok(()),
        CLEARTEXT => {
            let password = password(target)?;
            if !way.is_private && !target.cleartext_password {
                return Err(Cause::refused(
                    ErrorKind::Config,
                    "the server asks for the password in clear text over a connection that is not \
                     encrypted; use database.sslmode=require, or SCRAM on the server",
                ));
            }
            frontend::password_message(password, channel.outbox())?;
            "a password"
        }
        MD5 => {
            let salt = Fields::new(&data).take(4).and_then(|salt| salt.try_into().ok());
            let salt = salt.ok_or_else(|| Cause::unexpected("a salt that is cut short"))?;
            let hash = md5_hash(target.user.as_bytes(), password(target)?, salt);
            frontend::password_message(hash.as_bytes(), channel.outbox())?;
            "an MD5 password"
        }
        SASL => {
            scram(channel, target, way, &data).await?;
            "SCRAM"
        }
        other => {
            let text = format!(
                "the server asks for {}, which is not supported; use scram-sha-256, md5, cert, \
                 password or trust in pg_hba.conf",
                name(other)
            );
            return Err(Cause::refused(ErrorKind::Unsupported, text));
        }
    };
    channel.flush().await?;
    match receive(channel).await? {
        (OK, _) => Ok(()),
        (other, _) => Err(Cause::unexpected(format_args!("{} after {method}", name(other)))),
    }
}

fn name(asked: i32) -> String {
    match asked {
        OK => "success".to_owned(),
        2 => "Kerberos V5".to_owned(),
        CLEARTEXT => "a password".to_owned(),
        4 => "crypt".to_owned(),
        MD5 => "an MD5 password".to_owned(),
        6 => "SCM credentials".to_owned(),
        7 | 8 => "GSSAPI".to_owned(),
        9 => "SSPI".to_owned(),
        SASL..=SASL_FINAL => "SASL".to_owned(),
        other => format!("authentication {other}"),
    }
}

fn password(target: &Target) -> Result<&[u8], Cause> {
    let password = target.password.as_ref().map(|password| password.expose().as_bytes());
    password.ok_or_else(|| {
        Cause::refused(
            ErrorKind::Config,
            "the server asks for a password, and there is none; set database.password",
        )
    })
}

/// <https://www.postgresql.org/docs/current/sasl-authentication.html>
async fn scram<S>(
    channel: &mut Channel<S>,
    target: &Target,
    way: &Way,
    mechanisms: &[u8],
) -> Result<(), Cause>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let offered: Vec<&[u8]> = mechanisms.split(|byte| *byte == 0).collect();
    let offers = |mechanism: &str| offered.contains(&mechanism.as_bytes());
    let (mechanism, binding) = match &way.end_point {
        Some(end_point) if offers(SCRAM_SHA_256_PLUS) => {
            (SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(end_point.clone()))
        }
        // Says "I could", so that a server which could as well knows that somebody cut its offer.
        Some(_) => (SCRAM_SHA_256, ChannelBinding::unrequested()),
        None => (SCRAM_SHA_256, ChannelBinding::unsupported()),
    };
    if !offers(mechanism) {
        let offered: Vec<_> = offered.iter().map(|name| String::from_utf8_lossy(name)).collect();
        let text = format!(
            "the server offers none of the SASL mechanisms that are supported, but {}",
            offered.join(" ").trim()
        );
        return Err(Cause::refused(ErrorKind::Unsupported, text));
    }
    let mut scram = ScramSha256::new(password(target)?, binding);
    frontend::sasl_initial_response(mechanism, scram.message(), channel.outbox())?;
    channel.flush().await?;
    let first = expect(channel, SASL_CONTINUE).await?;
    scram.update(&first).map_err(|e| broken("the server's challenge is wrong", &e))?;
    frontend::sasl_response(scram.message(), channel.outbox())?;
    channel.flush().await?;
    let last = expect(channel, SASL_FINAL).await?;
    scram.finish(&last).map_err(|e| {
        broken("the server does not prove that it knows the password: it may be another one", &e)
    })
}

fn broken(what: &str, error: &std::io::Error) -> Cause {
    Cause::refused(ErrorKind::Unauthenticated, format!("{what} ({error})"))
}

async fn expect<S>(channel: &mut Channel<S>, step: i32) -> Result<bytes::Bytes, Cause>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match receive(channel).await? {
        (asked, data) if asked == step => Ok(data),
        (other, _) => Err(Cause::unexpected(format_args!("{} within SASL", name(other)))),
    }
}

/// The next `Authentication` message: what it asks for, and the rest of it.
async fn receive<S>(channel: &mut Channel<S>) -> Result<(i32, bytes::Bytes), Cause>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let Message { tag, body } = channel.next().await?;
        match tag {
            b'R' => {
                let asked = Fields::new(&body).i32();
                let asked = asked.ok_or_else(|| {
                    Cause::unexpected("an authentication request that is cut short")
                })?;
                return Ok((asked, body.slice(4..)));
            }
            b'E' => return Err(Cause::Server(Box::new(ServerError::parse(&body)))),
            b'N' => super::connection::notice(&body),
            // It does not know a start-up option with `_pq_.`, of which none is sent.
            b'v' => {}
            other => {
                let tag = other.escape_ascii();
                return Err(Cause::unexpected(format_args!("a message '{tag}' during the login")));
            }
        }
    }
}
