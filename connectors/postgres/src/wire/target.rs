//! Which server, and as whom.
//!
//! Duty: what a connection needs to know before it is made, and how it says so in the start-up
//! message and in tokio-postgres' settings.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use towpath_sdk::config::{ConfigEnum, Secret};

/// A server, and how to be let in.
#[derive(Debug, Clone)]
pub struct Target {
    /// Name or address; a folder with the server's Unix socket if it begins with `/`.
    pub host: String,
    /// The port; part of the socket's name in a folder.
    pub port: u16,
    /// Who connects.
    pub user: String,
    /// How it proves that, if it needs to.
    pub password: Option<Secret<String>>,
    /// Whether the password may be sent as it is over a connection that is not encrypted. Over TLS and
    /// Unix sockets it may in any case.
    pub cleartext_password: bool,
    /// The database.
    pub database: String,
    /// Encryption.
    pub ssl: Ssl,
    /// Whether the operating system probes an idle connection (`SO_KEEPALIVE`).
    pub tcp_keepalive: bool,
    /// How long connecting may take, the login included.
    pub connect_timeout: Duration,
    /// What `pg_stat_activity` shows.
    pub application_name: String,
    /// Settings of the session, by name.
    pub options: Vec<(String, String)>,
}

/// How a connection is encrypted
/// (<https://www.postgresql.org/docs/current/libpq-ssl.html>). Never on a Unix socket.
#[derive(Debug, Clone, Default)]
pub struct Ssl {
    /// Whether, and what is verified.
    pub mode: SslMode,
    /// The certificates of trusted authorities, as PEM; or those of servers themselves.
    pub root_cert: Option<PathBuf>,
    /// This client's certificate, with what leads to the authority, as PEM.
    pub cert: Option<PathBuf>,
    /// The certificate's private key, as PEM (PKCS#8, PKCS#1, SEC1) or DER.
    pub key: Option<PathBuf>,
    /// What the key is encrypted with (PKCS#8).
    pub key_password: Option<Secret<String>>,
}

/// Whether a connection is encrypted, and what is verified: libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, ConfigEnum)]
pub enum SslMode {
    /// Never encrypted.
    Disable,
    /// Encrypted if the server refuses anything else; nothing is verified.
    Allow,
    /// Encrypted if the server offers it; nothing is verified.
    #[default]
    Prefer,
    /// Encrypted. Nothing is verified, unless authorities are given: then as `verify-ca`.
    Require,
    /// Encrypted, and the server's certificate is signed by a given authority.
    #[config(name = "verify-ca")]
    VerifyCa,
    /// As `verify-ca`, and the certificate is for the host's name.
    #[config(name = "verify-full")]
    VerifyFull,
}

/// When a connection for queries on which nothing comes is looked at, how often, and how many times
/// without an answer: a cut one is noticed within two minutes, not in the two hours of most systems. The
/// replication connection asks for answers itself.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 6;

impl Target {
    /// Whether it is a Unix socket.
    pub(super) fn is_local(&self) -> bool {
        self.host.starts_with('/')
    }

    /// What errors call it: without its secrets.
    pub(super) fn peer(&self) -> Arc<str> {
        let Self { host, port, user, database, .. } = self;
        let at = if self.is_local() {
            format!("{host}/.s.PGSQL.{port}")
        } else if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        format!("PostgreSQL at {at} as '{user}', database '{database}'").into()
    }

    /// The session's settings as the start-up message has them: arguments of a command line, in which
    /// blanks and backslashes are escaped.
    #[must_use]
    pub fn option_text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.options {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str("-c ");
            for c in name.chars().chain(['=']).chain(value.chars()) {
                if matches!(c, '\\' | '\x0b') || c.is_ascii_whitespace() {
                    text.push('\\');
                }
                text.push(c);
            }
        }
        text
    }

    /// The same server in tokio-postgres' settings, for [`connect_sql`](super::connect_sql).
    ///
    /// tokio-postgres knows no `allow`: it is `prefer` there. Certificates are up to
    /// [`Tls`](crate::tls::Tls), which is to be passed beside this.
    #[must_use]
    pub fn sql_config(&self) -> tokio_postgres::Config {
        use tokio_postgres::config::SslMode as Mode;
        let mut config = tokio_postgres::Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .user(&self.user)
            .dbname(&self.database)
            .application_name(&self.application_name)
            .keepalives(self.tcp_keepalive)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES)
            .connect_timeout(self.connect_timeout)
            .ssl_mode(match self.ssl.mode {
                _ if self.is_local() => Mode::Disable,
                SslMode::Disable => Mode::Disable,
                SslMode::Allow | SslMode::Prefer => Mode::Prefer,
                SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => Mode::Require,
            });
        if let Some(password) = &self.password {
            config.password(password.expose());
        }
        if !self.options.is_empty() {
            config.options(self.option_text());
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::target;

    #[test]
    fn options_are_escaped() {
        let options = [("TimeZone", "UTC"), ("a.b", r"x y\z"), ("search_path", "")];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let text = Target { options, ..target() }.option_text();
        assert_eq!(text, r"-c TimeZone=UTC -c a.b=x\ y\\z -c search_path=");
    }

    #[test]
    fn nothing_shows_the_password() {
        let target = Target { password: Some(Secret::new("hunter2".to_owned())), ..target() };
        assert!(!format!("{target:?} {}", target.peer()).contains("hunter2"));
    }

    #[test]
    fn errors_name_the_server() {
        let peer = |host: &str| Target { host: host.to_owned(), ..target() }.peer().to_string();
        assert_eq!(peer("db"), "PostgreSQL at db:5432 as 'alice', database 'shop'");
        assert_eq!(peer("::1"), "PostgreSQL at [::1]:5432 as 'alice', database 'shop'");
        assert_eq!(
            peer("/run/postgresql"),
            "PostgreSQL at /run/postgresql/.s.PGSQL.5432 as 'alice', database 'shop'"
        );
    }
}
