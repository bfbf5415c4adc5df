//! A network that is cut: nothing comes and nothing is refused, for half a minute.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::harness::Reader;
use crate::rebuilt::{Tables, same};
use crate::server::{Options, Server};

/// How long the network is cut.
const CUT: Duration = Duration::from_secs(30);

/// What becomes of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    Flows,
    /// They are taken and go nowhere.
    Cut,
    /// Connections that were there are forgotten.
    Forgets,
}

/// A way to a server that can be cut.
struct Way {
    port: u16,
    network: Arc<watch::Sender<Network>>,
}

impl Way {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let network = Arc::new(watch::Sender::new(Network::Flows));
        let way = Self { port: listener.local_addr().unwrap().port(), network };
        let network = Arc::clone(&way.network);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                let ((from_client, to_client), (from_server, to_server)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(carry(from_client, to_server, network.subscribe()));
                tokio::spawn(carry(from_server, to_client, network.subscribe()));
            }
        });
        way
    }

    fn set(&self, network: Network) {
        self.network.send_replace(network);
    }
}

/// Carries bytes until either end closes, or the network has forgotten the connection.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut network: watch::Receiver<Network>,
) {
    let mut bytes = vec![0; 1 << 16];
    loop {
        let read = tokio::select! {
            read = from.read(&mut bytes) => read.unwrap_or(0),
            forgets = network.wait_for(|network| *network == Network::Forgets) => {
                drop(forgets);
                return;
            }
        };
        let state = network.wait_for(|network| *network != Network::Cut).await;
        if read == 0 || !state.is_ok_and(|state| *state == Network::Flows) {
            return;
        }
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

fn has(reader: &Reader, v: i32) -> bool {
    reader.once.iter().any(|event| event.op != "r" && event.value("v") == v.to_string())
}

/// Whether the network comes back with the connections that were there or without, the server has given
/// the stream up by then or not: each change comes once, and the reason is shown meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_cut_for_half_a_minute() {
    tokio::join!(
        cut("60s", Network::Flows, None),
        cut("8s", Network::Flows, Some("has not said a word")),
        cut("8s", Network::Forgets, Some("has not said a word")),
        cut("60s", Network::Forgets, Some("read from PostgreSQL")),
    );
}

async fn cut(wal_sender_timeout: &str, comes_back: Network, says: Option<&str>) {
    let settings = [("wal_sender_timeout", wal_sender_timeout)];
    let server = Server::start_with(Options { settings: &settings, ..Options::default() }).await;
    server
        .execute(
            "create table t (id int primary key, v int);
             create publication dbz_publication for all tables;
             insert into t select n, 0 from generate_series(1, 20) n",
        )
        .await;
    let way = Way::to(server.target("postgres").port).await;
    let mut reader = Reader::new(&server, &[("database.port", &way.port.to_string())], 1).await;
    reader.start().await;
    reader.read_until(Reader::is_snapshot_done).await;
    server.execute("update t set v = 1 where id = 1").await;
    reader.read_until(|reader| has(reader, 1)).await;
    way.set(Network::Cut);
    let began = Instant::now();
    server.execute("update t set v = 2 where id = 2").await;
    reader.read_until(|_| began.elapsed() > CUT).await;
    assert!(!has(&reader, 2), "the network is not cut");
    server.execute("update t set v = 3 where id = 3").await;
    if comes_back == Network::Forgets {
        way.set(Network::Forgets);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    way.set(Network::Flows);
    reader.read_until(|reader| has(reader, 2) && has(reader, 3)).await;
    server.execute("insert into t values (21, 4)").await;
    reader.read_until(|reader| has(reader, 4)).await;
    let changes = reader.once.iter().filter(|event| event.op != "r");
    let changes: Vec<_> = changes.map(|event| event.value("v")).collect();
    assert_eq!(changes, ["1", "2", "3", "4"], "{wal_sender_timeout}, {comes_back:?}");
    let reasons = reader.host.reasons();
    if let Some(says) = says {
        let is_said = reasons.iter().any(|reason| reason.contains(says));
        assert!(is_said, "{wal_sender_timeout}, {comes_back:?}: {reasons:?}");
    }
    let client = server.client().await;
    let tables = Tables::of(&reader.once);
    same("t", &tables.differences("public.t", &client, "select * from t").await);
}
