//! Load balancers that do not do the work are found out, by the same checks as all others. An honest one
//! built the same way passes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use rustls::ServerConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use weir_benches::account::Tree;
use weir_benches::backend::Ports;
use weir_benches::cpus::Cpus;
use weir_benches::drive::once::{Target, once};
use weir_benches::drive::stage::Stage;
use weir_benches::identity::{INNER, Identity};
use weir_benches::talk::{REQUEST, Request, piece};
use weir_benches::work::{Protocol, select};

/// A load balancer's habit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    Passthrough,
    Offload,
    Bridging,
    /// Offload without tickets.
    NoTickets,
    /// Offload, with made-up answers.
    Answers,
    /// Passthrough, but 4 KiB of each download are lost.
    Loses,
    /// The client's TLS goes to a backend that expects plaintext.
    Blind,
    /// Offload to the port for HTTP, of bytes in place of requests.
    Deaf,
}

fn honest(habit: Habit) -> bool {
    matches!(habit, Habit::Passthrough | Habit::Offload | Habit::Bridging)
}

/// Does `work` through a load balancer with this habit, and gives the faults.
async fn faults(work: &str, habit: Habit) -> Vec<String> {
    let folder = TempDir::new().unwrap();
    let launcher = Path::new(env!("CARGO_BIN_EXE_weir-benches"));
    // Some liars leave the client waiting.
    let patience = Duration::from_secs(if honest(habit) { 20 } else { 5 });
    let mut stage = Stage::set(folder.path(), launcher, Cpus::split(1).unwrap(), patience).await.unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let work = select(&[work.to_owned()]).unwrap()[0];
    let mut front = ServerConfig::clone(&Identity::at(&stage.identity).server("front").unwrap());
    if habit == Habit::NoTickets {
        front.send_tls13_tickets = 0;
    }
    if habit == Habit::Deaf {
        front.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    }
    let back = Back {
        bare: work.is_bare(),
        ports: stage.ports,
        tls: Identity::at(&stage.identity)
            .client(false, weir_benches::work::Crypto::default(), Protocol::Tcp)
            .unwrap()
            .into(),
        front: Arc::new(front).into(),
    };
    let mut serving = JoinSet::new();
    serving.spawn(balance(socket, habit, back));
    // A liar's cost does not matter: an idle process stands in for it.
    let idle = Command::new("sleep").arg("600").kill_on_drop(true).spawn().unwrap();
    let target = Target { port, tree: Some(Tree::new(idle.id().unwrap())) };
    once(&mut stage, &work, target, 0.01).await.unwrap().faults
}

#[derive(Clone)]
struct Back {
    bare: bool,
    ports: Ports,
    tls: TlsConnector,
    front: TlsAcceptor,
}

async fn balance(socket: TcpListener, habit: Habit, back: Back) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = socket.accept().await.unwrap();
        let back = back.clone();
        connections.spawn(async move {
            // Clients of a liar may end in any way.
            Box::pin(one(client, habit, &back)).await.unwrap_or_default();
        });
    }
}

async fn one(mut client: TcpStream, habit: Habit, back: &Back) -> io::Result<()> {
    let to = |port: u16| TcpStream::connect(("127.0.0.1", port));
    match habit {
        Habit::Passthrough | Habit::Loses => {
            let mut backend = to(if back.bare { back.ports.bare } else { back.ports.tls }).await?;
            if habit == Habit::Loses {
                return Box::pin(lossy(client, backend)).await;
            }
            copy_bidirectional(&mut client, &mut backend).await?;
        }
        Habit::Blind => {
            copy_bidirectional(&mut client, &mut to(back.ports.plain).await?).await?;
        }
        Habit::Offload | Habit::NoTickets => {
            let mut client = back.front.accept(client).await?;
            copy_bidirectional(&mut client, &mut to(back.ports.plain).await?).await?;
        }
        Habit::Deaf => {
            let mut client = back.front.accept(client).await?;
            copy_bidirectional(&mut client, &mut to(back.ports.http).await?).await?;
        }
        Habit::Bridging => {
            let mut client = back.front.accept(client).await?;
            let name = ServerName::try_from(INNER).unwrap();
            let mut backend = back.tls.connect(name, to(back.ports.tls).await?).await?;
            copy_bidirectional(&mut client, &mut backend).await?;
        }
        Habit::Answers => answer(back.front.accept(client).await?).await?,
    }
    Ok(())
}

/// Answers each request as the backend would.
async fn answer(mut client: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut bytes = [0; REQUEST];
    while client.read_exact(&mut bytes).await.is_ok() {
        let request = Request::decode(&bytes).unwrap();
        client.write_all(piece(request.seed, 0, usize::try_from(request.length).unwrap())).await?;
    }
    client.shutdown().await
}

/// Relays, but loses some bytes in the middle of a download.
async fn lossy(client: TcpStream, backend: TcpStream) -> io::Result<()> {
    let (mut client_says, mut client) = client.into_split();
    let (mut backend_says, mut backend) = backend.into_split();
    let up = async {
        tokio::io::copy(&mut client_says, &mut backend).await?;
        backend.shutdown().await
    };
    let down = async {
        tokio::io::copy(&mut (&mut backend_says).take(500_000), &mut client).await?;
        backend_says.read_exact(&mut [0; 4096]).await?;
        tokio::io::copy(&mut backend_says, &mut client).await.map(|_| ())
    };
    tokio::try_join!(up, down).map(|_| ())
}

async fn expect_none(work: &str, habit: Habit) {
    assert_eq!(faults(work, habit).await, Vec::<String>::new(), "{habit:?} in {work}");
}

async fn expect(work: &str, habit: Habit, word: &str) {
    let faults = faults(work, habit).await;
    assert!(
        faults.iter().any(|fault| fault.contains(word)),
        "{habit:?} in {work}: no {word:?} in {faults:#?}"
    );
}

#[tokio::test]
async fn honest_work_counts() {
    expect_none("passthrough-down", Habit::Passthrough).await;
    expect_none("passthrough-connect", Habit::Passthrough).await;
    expect_none("offload-up", Habit::Offload).await;
    expect_none("offload-resumed", Habit::Offload).await;
    expect_none("bridging-connect", Habit::Bridging).await;
}

#[tokio::test]
async fn made_up_answers_are_found() {
    expect("offload-full", Habit::Answers, "requests that the backend got: 0").await;
    expect("offload-request", Habit::Answers, "connections to the backend: 0").await;
}

#[tokio::test]
async fn lost_bytes_are_found() {
    expect("passthrough-down", Habit::Loses, "failed at the client").await;
    expect("passthrough-down", Habit::Loses, "had other bytes").await;
}

#[tokio::test]
async fn another_mode_is_found() {
    expect("bridging-connect", Habit::Offload, "TLS handshakes at the backend: 0").await;
    expect("offload-full", Habit::Bridging, "TLS handshakes at the backend").await;
    expect("passthrough-connect", Habit::Bridging, "failed at the client").await;
    expect("bridging-connect", Habit::Passthrough, "failed at the client").await;
    expect("offload-full", Habit::Blind, "expects plaintext").await;
}

#[tokio::test]
async fn bytes_in_place_of_requests_are_found() {
    expect("http-request", Habit::Deaf, "requests with the right forwarding fields: 0").await;
    expect("http-idle", Habit::Deaf, "requests with the right forwarding fields: 0").await;
    // The backend speaks HTTP/1.1 alone.
    expect("http-h2-64x1", Habit::Deaf, "failed at the client").await;
}

#[tokio::test]
async fn sessions_that_are_not_resumed_are_found() {
    expect("offload-resumed", Habit::NoTickets, "resumed handshakes: 0").await;
}
