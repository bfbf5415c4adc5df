//! A PostgreSQL server of a test's own.
//!
//! It lives in a temporary folder, listens on a free port of 127.0.0.1 and on a Unix socket in that
//! folder, and is stopped when it is dropped. Over the socket everybody is let in; over TCP as [`Hba`]
//! says. The superuser is `postgres`.

use std::env;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio_postgres::Client;
use towpath_connector_postgres::wire::{Ssl, SslMode, Target, WireError, connect_sql};

use crate::certificates;

/// Whose programs to run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Version {
    #[default]
    V15,
    V18,
}

/// Who is let in over TCP: the lines of `pg_hba.conf` for it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Hba {
    #[default]
    Trust,
    Scram,
    Md5,
    /// Passwords in clear text.
    Password,
    /// Clients with a certificate whose common name is the user.
    Cert,
    /// Lines of the test's own.
    Lines(&'static str),
}

/// What is special about a server.
#[derive(Debug, Default)]
pub(crate) struct Options<'a> {
    pub(crate) version: Version,
    pub(crate) hba: Hba,
    /// The certificate's name (see [`certificates::make`]) if it encrypts.
    pub(crate) tls: Option<&'a str>,
    /// Settings, for example `logical_decoding_work_mem`.
    pub(crate) settings: &'a [(&'a str, &'a str)],
}

/// How a server ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stop {
    /// Sessions are ended; it waits for those that replicate to have got all.
    Fast,
    /// At once, as in a crash.
    Immediate,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    folder: TempDir,
    programs: PathBuf,
    settings: Vec<String>,
    port: u16,
    process: Option<Child>,
}

impl Server {
    /// Starts one where everybody is let in.
    pub(crate) async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub(crate) async fn start_with(options: Options<'_>) -> Self {
        let folder = tempfile::Builder::new().prefix("towpath-pg-").tempdir().unwrap();
        let mut server = Self {
            programs: programs(options.version),
            settings: settings(&options),
            port: 0,
            process: None,
            folder,
        };
        if options.tls.is_some() {
            certificates::make(&server.certificates());
        }
        server.own_folder();
        server.initialise(options.hba);
        for _ in 0..3 {
            server.port = free_port();
            if server.launch().await {
                return server;
            }
        }
        panic!("PostgreSQL does not start: {}", server.log());
    }

    /// The folder with its certificates.
    pub(crate) fn certificates(&self) -> PathBuf {
        self.folder.path().join("certificates")
    }

    /// `user` in the database `postgres`, over TCP, not encrypted.
    pub(crate) fn target(&self, user: &str) -> Target {
        Target {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            user: user.to_owned(),
            password: None,
            cleartext_password: false,
            database: "postgres".to_owned(),
            ssl: Ssl { mode: SslMode::Disable, ..Ssl::default() },
            tcp_keepalive: true,
            connect_timeout: Duration::from_secs(20),
            application_name: "towpath-test".to_owned(),
            options: Vec::new(),
        }
    }

    /// The folder with its Unix socket, which is a host too.
    pub(crate) fn socket(&self) -> String {
        self.folder.path().to_str().unwrap().to_owned()
    }

    /// A session of the superuser.
    pub(crate) async fn client(&self) -> Client {
        self.client_of("postgres").await
    }

    /// A session of the superuser in another database than `postgres`.
    pub(crate) async fn client_of(&self, database: &str) -> Client {
        self.try_client(database).await.unwrap()
    }

    async fn try_client(&self, database: &str) -> Result<Client, WireError> {
        let target = Target {
            host: self.socket(),
            database: database.to_owned(),
            ..self.target("postgres")
        };
        let (client, connection) = connect_sql(&target).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Runs statements as the superuser, together in one transaction unless they say otherwise.
    pub(crate) async fn execute(&self, sql: &str) {
        self.client().await.batch_execute(sql).await.unwrap();
    }

    /// The first column of the first row of a query, as text.
    pub(crate) async fn value(&self, sql: &str) -> Option<String> {
        let messages = self.client().await.simple_query(sql).await.unwrap();
        messages.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
    }

    /// A standby of this server, which must be stopped now: its files without slots, and its log from
    /// where this server has it once it runs again.
    pub(crate) fn standby(&self, settings: &[(&str, &str)]) -> Self {
        let mut standby = self.copy();
        let slots = standby.data().join("pg_replslot");
        for slot in fs::read_dir(&slots).unwrap() {
            fs::remove_dir_all(slot.unwrap().path()).unwrap();
        }
        File::create(standby.data().join("standby.signal")).unwrap();
        let primary =
            format!("host={} port={} user=postgres dbname=postgres", self.socket(), self.port);
        let own = [("primary_conninfo", &*primary), ("hot_standby_feedback", "on")];
        let more = own.iter().chain(settings);
        standby.settings.extend(more.flat_map(|(name, value)| as_arguments(name, value)));
        standby.own_folder();
        standby
    }

    /// A server with a copy of this one's files, which must be stopped now. It does not run yet.
    pub(crate) fn copy(&self) -> Self {
        let folder = tempfile::Builder::new().prefix("towpath-pg-").tempdir().unwrap();
        let copied = Command::new("cp").arg("-a").arg(self.data()).arg(folder.path()).status();
        assert!(copied.is_ok_and(|status| status.success()), "the server's files can't be copied");
        let server = Self {
            programs: self.programs.clone(),
            settings: self.settings.clone(),
            port: free_port(),
            process: None,
            folder,
        };
        server.own_folder();
        server
    }

    /// Starts it, if it was stopped or is a copy.
    pub(crate) async fn run(&mut self) {
        assert!(self.launch().await, "PostgreSQL does not start: {}", self.log());
    }

    /// Makes a primary of a standby.
    pub(crate) async fn promote(&self) {
        assert_eq!(self.value("select pg_promote()").await.as_deref(), Some("t"));
    }

    /// Stops it, if it runs.
    pub(crate) async fn stop(&mut self, how: Stop) {
        let Some(mut process) = self.process.take() else { return };
        assert!(signal(&process, how), "the server can't be signalled");
        while process.try_wait().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops it and starts it again, on the same port.
    pub(crate) async fn restart(&mut self, how: Stop) {
        self.stop(how).await;
        assert!(self.launch().await, "PostgreSQL does not start again: {}", self.log());
    }

    /// Starts the process and waits until it answers. `false` if it ends first.
    async fn launch(&mut self) -> bool {
        let log = File::create(self.folder.path().join("log")).unwrap();
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).args(["-h", "127.0.0.1", "-k", &self.socket()]);
        command.args(["-p", &self.port.to_string()]).args(&self.settings);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(command.spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.try_client("postgres").await.is_err() {
            if self.process.as_mut().unwrap().try_wait().unwrap().is_some() {
                self.process = None;
                return false;
            }
            assert!(Instant::now() < deadline, "PostgreSQL does not answer: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Gives the folder to the user that the server runs as.
    fn own_folder(&self) {
        if !is_root() {
            return;
        }
        let own = |path: &Path| chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        own(self.folder.path());
        for entry in fs::read_dir(self.certificates()).into_iter().flatten() {
            own(&entry.unwrap().path());
        }
    }

    fn initialise(&self, hba: Hba) {
        let mut initdb = self.command("initdb");
        initdb.arg("-D").arg(self.data());
        initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
        let made = initdb.output().unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let lines = match hba {
            Hba::Trust => "host all all 127.0.0.1/32 trust",
            Hba::Scram => "host all all 127.0.0.1/32 scram-sha-256",
            Hba::Md5 => "host all all 127.0.0.1/32 md5",
            Hba::Password => "host all all 127.0.0.1/32 password",
            Hba::Cert => "hostssl all all 127.0.0.1/32 cert",
            Hba::Lines(lines) => lines,
        };
        let file = self.data().join("pg_hba.conf");
        let local = "local all all trust\nlocal replication all trust";
        fs::write(file, format!("{local}\n{lines}\n")).unwrap();
    }

    /// One of the server's programs, as a user that may run it: they refuse root.
    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            let ids = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
            command.args(ids).arg("--clear-groups").arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(self.folder.path());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // A second panic would hide the first one.
            if signal(&process, Stop::Immediate) {
                drop(process.wait());
            }
        }
    }
}

/// Whom root runs servers as.
const NOBODY: u32 = 65534;

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn programs(version: Version) -> PathBuf {
    let (variable, fallback) = match version {
        Version::V15 => ("TOWPATH_TEST_PG15", Some("/usr/lib/postgresql/15/bin")),
        Version::V18 => ("TOWPATH_TEST_PG18", None),
    };
    let named = env::var_os(variable).map(PathBuf::from).or(fallback.map(PathBuf::from));
    let there = named.filter(|folder| folder.join("initdb").exists());
    there.unwrap_or_else(|| {
        panic!("no PostgreSQL server: {variable} must name the folder with its initdb and postgres")
    })
}

fn settings(options: &Options<'_>) -> Vec<String> {
    let mut settings = vec![
        ("wal_level", "logical".to_owned()),
        ("max_replication_slots", "20".to_owned()),
        ("max_wal_senders", "20".to_owned()),
        ("fsync", "off".to_owned()),
    ];
    if let Some(name) = options.tls {
        settings.push(("ssl", "on".to_owned()));
        settings.push(("ssl_ca_file", "../certificates/ca.pem".to_owned()));
        settings.push(("ssl_cert_file", format!("../certificates/{name}.pem")));
        settings.push(("ssl_key_file", format!("../certificates/{name}.key")));
    }
    settings.extend(options.settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
    settings.iter().flat_map(|(name, value)| as_arguments(name, value)).collect()
}

fn as_arguments(name: &str, value: &str) -> [String; 2] {
    ["-c".to_owned(), format!("{name}={value}")]
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn signal(process: &Child, how: Stop) -> bool {
    let signal = match how {
        Stop::Fast => "-INT",
        Stop::Immediate => "-QUIT",
    };
    let sent = Command::new("kill").args([signal, &process.id().to_string()]).status();
    sent.is_ok_and(|status| status.success())
}
