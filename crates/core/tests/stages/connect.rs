//! Reaching a backend: which ones are tried, how often, for how long, and what is counted.

use crate::{metrics, read_out, value};
use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::time::{Instant, timeout};
use weir_core::account::error::{ConnError, ConnectError};
use weir_core::account::outcome::{Outcome, Reason, Side};
use weir_core::connect::{Dialling, Reached, Tries};
use weir_core::dial::dial;
use weir_core::socket::{Options, Socket};
use weir_metrics::Metrics;
use weir_metrics::labels::DialResult;
use weir_pool::dialable::{Forbidden, OwnAddresses};
use weir_pool::selector::{ClientKey, Selector};
use weir_pool::source::Source;
use weir_pool::{
    Backend, BackendAddr, BackendRegistry, BackendSpec, Balance, CheckKind, Endpoint, Family, HealthCheck,
    HelloReplay, HttpSettings, OnUnhealthy, Origin, Parts, Pool, SendProxyProtocol, Settings,
};
use weir_tls::HandshakeFailure;

const OPTIONS: Options =
    Options { nodelay: true, keepalive: Duration::from_secs(60), user_timeout: Duration::from_secs(30) };
/// Long for loopback, short for a test that waits for it.
const SHORT: Duration = Duration::from_millis(80);

/// A pool of backends b0, b1, … and a worker that dials them in this order.
struct Rig {
    metrics: Arc<Metrics>,
    registry: Arc<BackendRegistry>,
    pool: Pool,
    selector: RefCell<Selector>,
    deadline: Duration,
}

const CLIENT: ClientKey<'_> = ClientKey { source: IpAddr::V4(Ipv4Addr::LOCALHOST), sni: None, field: None };

fn settings(retries: usize) -> Settings {
    let second = Duration::from_secs(1);
    Settings {
        balance: Balance::RoundRobin,
        bounded_load: None,
        retries,
        hello_replay: HelloReplay::Never,
        rebalance: None,
        send_proxy_protocol: SendProxyProtocol::Off,
        health_check: HealthCheck {
            kind: CheckKind::None,
            port: None,
            interval: second,
            timeout: second,
            rise: 1,
            fall: 1,
            proxy_protocol: SendProxyProtocol::Off,
        },
        passive_check: None,
        on_unhealthy: OnUnhealthy::Keep,
        slow_start: Duration::ZERO,
        panic_threshold: 0,
        drain_timeout: second,
        family: Family::Any,
        origin: Origin::Any,
        verifies: true,
        http: HttpSettings::default(),
        sticky: None,
    }
}

/// A backend of the rig: its address and its cap.
type Told = (SocketAddr, Option<u32>);

impl Rig {
    fn new(retries: usize, backends: &[Told]) -> Self {
        Self::at(retries, backends.iter().map(|(address, cap)| (BackendAddr::from(*address), *cap)))
    }

    fn at(retries: usize, backends: impl IntoIterator<Item = (BackendAddr, Option<u32>)>) -> Self {
        let metrics = metrics();
        let specs = backends.into_iter().enumerate().map(|(n, (address, cap))| BackendSpec {
            name: Some(format!("b{n}").into()),
            written: address.to_string().into(),
            source: Source::Static(address),
            weight: 1,
            max_connections: cap,
            backup: false,
        });
        let parts = Parts {
            name: "web".into(),
            settings: settings(retries),
            specs: specs.collect(),
            tls: None,
            metrics: metrics.pool("web"),
        };
        let registry = BackendRegistry::new(Arc::clone(&metrics));
        let pool = Pool::new(parts, &registry, &|_| Vec::new());
        // The start of a rotation is random: searches a seed that starts with b0.
        let in_order = |seed: &u64| {
            let order = Selector::seeded(*seed).order(&pool, &CLIENT);
            order.iter().map(|b| b.name.to_string()).eq((0..order.len()).map(|n| format!("b{n}")))
        };
        let seed = (0..1000).find(in_order).unwrap();
        let selector = RefCell::new(Selector::seeded(seed));
        Self { metrics, registry, pool, selector, deadline: Duration::from_secs(5) }
    }

    async fn reach(&self) -> Result<Reached<Socket>, ConnError> {
        self.reach_by(async |stream, _| Ok(stream)).await
    }

    async fn reach_by(
        &self,
        secure: impl AsyncFn(Socket, &Backend) -> Result<Socket, ConnectError>,
    ) -> Result<Reached<Socket>, ConnError> {
        let mut dialling = Dialling {
            from: CLIENT.source,
            preamble: None,
            pool: &self.pool,
            client: CLIENT,
            deadline: self.deadline,
            options: &OPTIONS,
            selector: &self.selector,
            failed: &|_, _| (),
            tries: &mut Tries::default(),
            preferred: None,
        };
        dialling.reach(secure).await
    }

    fn attempts(&self, backend: &str, result: &str) -> u64 {
        let labels = format!(r#"{{backend="{backend}",pool="web",result="{result}"}}"#);
        value(&self.metrics, &format!("weir_backend_connections_total{labels}"))
    }

    fn retries(&self) -> u64 {
        self.pool.metrics.retries.get()
    }

    fn active(&self) -> Vec<u32> {
        self.pool.members().all().map(|b| b.active()).collect()
    }
}

/// A backend that accepts, though only by its backlog.
async fn accepting() -> (TcpListener, Told) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, (address, None))
}

/// An address without a listener, which stays free while the socket is held.
fn refusing() -> (TcpSocket, Told) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, (address, None))
}

#[tokio::test]
async fn refusing_backends_are_skipped() {
    let ((_a, first), (_b, second), (_c, third)) = (refusing(), refusing(), accepting().await);
    let rig = Rig::new(2, &[first, second, third]);
    let reached = rig.reach().await.unwrap();
    assert_eq!(&*reached.reserved.backend().name, "b2");
    assert_eq!(rig.active(), [0, 0, 1], "a place is held where the connection is, and nowhere else");
    assert_eq!((rig.attempts("b0", "failed"), rig.attempts("b1", "failed")), (1, 1));
    assert_eq!((rig.attempts("b2", "ok"), rig.retries()), (1, 2));
    drop(reached);
    assert_eq!(rig.active(), [0, 0, 0]);
}

#[tokio::test]
async fn retries_bound_the_further_backends() {
    let ((_a, first), (_b, second), (_c, third)) = (refusing(), refusing(), accepting().await);
    let rig = Rig::new(1, &[first, second, third]);
    let error = rig.reach().await.unwrap_err();
    assert!(matches!(&error, ConnError::Connect(ConnectError::Failed(_))), "{error:?}");
    assert_eq!((error.end().outcome, error.end().side), (Outcome::ConnectFailed, Side::Backend));
    assert_eq!((rig.attempts("b2", "ok"), rig.retries()), (0, 1));
    assert_eq!(rig.active(), [0, 0, 0]);
}

#[tokio::test]
async fn backends_are_never_tried_twice() {
    let ((_a, first), (_b, second)) = (refusing(), refusing());
    let rig = Rig::new(5, &[first, second]);
    rig.reach().await.unwrap_err();
    assert_eq!((rig.attempts("b0", "failed"), rig.attempts("b1", "failed"), rig.retries()), (1, 1, 1));
}

#[tokio::test]
async fn caps_hold_and_places_come_back() {
    let (_listener, (address, _)) = accepting().await;
    let rig = Rig::new(3, &[(address, Some(2))]);
    let one = rig.reach().await.unwrap();
    let two = rig.reach().await.unwrap();
    let error = rig.reach().await.unwrap_err();
    assert!(matches!(error, ConnError::NoBackend), "{error:?}");
    assert_eq!(rig.active(), [2]);
    drop(one);
    let three = rig.reach().await.unwrap();
    drop((two, three));
    assert_eq!(rig.active(), [0]);
}

#[tokio::test]
async fn missing_backends_are_told_from_failing_ones() {
    let (_listener, told) = accepting().await;
    let rig = Rig::new(1, &[told]);
    rig.pool.members().primaries.backends[0].state.out(weir_pool::OutOfService::Down);
    let error = rig.reach().await.unwrap_err();
    assert!(matches!(error, ConnError::NoBackend), "{error:?}");
    assert_eq!((error.end().outcome, rig.attempts("b0", "ok"), rig.retries()), (Outcome::NoBackend, 0, 0));
    let empty = Rig::new(1, &[]);
    assert!(matches!(empty.reach().await, Err(ConnError::NoBackend)));
}

/// The deadline of a try covers the mode's handshake too.
#[tokio::test]
async fn backends_that_accept_and_stay_silent_are_skipped() {
    let ((_a, first), (_b, second)) = (accepting().await, accepting().await);
    let mut rig = Rig::new(1, &[first, second]);
    rig.deadline = SHORT;
    let silent = |stream, backend: &Backend| {
        let hangs = &*backend.name == "b0";
        async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            Ok(stream)
        }
    };
    let reached = rig.reach_by(silent).await.unwrap();
    assert_eq!(&*reached.reserved.backend().name, "b1");
    assert_eq!((rig.attempts("b0", "timeout"), rig.attempts("b1", "ok")), (1, 1));
    assert_eq!(rig.active(), [0, 1]);
}

#[tokio::test]
async fn failed_handshakes_are_tried_elsewhere() {
    let ((_a, first), (_b, second)) = (accepting().await, accepting().await);
    let rig = Rig::new(1, &[first, second]);
    let refuse_first = |stream, backend: &Backend| {
        let fails = &*backend.name == "b0";
        async move {
            if fails {
                Err(ConnectError::Tls {
                    reason: HandshakeFailure::UnknownCa,
                    alert: None,
                    name_from_client: false,
                })
            } else {
                Ok(stream)
            }
        }
    };
    let reached = rig.reach_by(refuse_first).await.unwrap();
    assert_eq!(&*reached.reserved.backend().name, "b1");
    assert_eq!(rig.attempts("b0", "tls_failed"), 1);
}

#[tokio::test]
async fn backends_may_be_unix_sockets() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("app.sock");
    let unix = |path: std::path::PathBuf| (Endpoint::Unix(path.into()).into(), None);
    let rig = Rig::at(1, [unix(folder.path().join("nobody.sock")), unix(path.clone())]);
    let backend = UnixListener::bind(&path).unwrap();
    let mut reached = rig.reach().await.unwrap();
    assert_eq!(&*reached.reserved.backend().name, "b1");
    assert_eq!(reached.reserved.backend().address.to_string(), format!("unix:{}", path.display()));
    assert_eq!((rig.attempts("b0", "failed"), rig.attempts("b1", "ok")), (1, 1));
    let (mut accepted, _) = backend.accept().await.unwrap();
    accepted.write_all(b"welcome").await.unwrap();
    drop(accepted);
    assert_eq!(read_out(&mut reached.stream).await, (b"welcome".to_vec(), None));
}

/// A full backlog: the kernel leaves the SYN unanswered.
#[tokio::test]
async fn hanging_dials_end_at_their_deadline() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let (mut queued, own) = (Vec::new(), OwnAddresses::default());
    while let Ok(stream) = timeout(SHORT, dial(&address.into(), &OPTIONS, &own, None)).await {
        queued.push(stream.unwrap());
        assert!(queued.len() < 100, "the backlog has no end");
    }
    let mut rig = Rig::new(0, &[(address, None)]);
    rig.deadline = SHORT;
    let started = Instant::now();
    let error = rig.reach().await.unwrap_err();
    assert!(started.elapsed() >= SHORT);
    assert!(matches!(&error, ConnError::Connect(ConnectError::TimedOut)), "{error:?}");
    assert_eq!((error.end().outcome, rig.attempts("b0", "timeout")), (Outcome::ConnectTimeout, 1));
    assert_eq!(rig.active(), [0]);
}

#[tokio::test]
async fn abandoned_dials_give_their_place_back() {
    let (_listener, told) = accepting().await;
    let rig = Rig::new(0, &[told]);
    let hang = async |_, _: &Backend| std::future::pending().await;
    assert!(timeout(SHORT, rig.reach_by(hang)).await.is_err());
    assert_eq!(rig.active(), [0]);
}

/// A shortage of this host does not count against the backend.
#[test]
fn local_shortages_are_not_the_backends_fault() {
    use rustix::io::Errno;
    let lacking = [
        Errno::ADDRNOTAVAIL,
        Errno::AGAIN,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::NOSPC,
    ];
    for errno in lacking {
        let error = ConnectError::from_dial(io::Error::from_raw_os_error(errno.raw_os_error()));
        assert!(matches!(&error, ConnectError::Local(_)), "{errno}: {error:?}");
        assert_eq!((error.result().label(), ConnError::from(error).end().side), ("local", Side::Weir));
    }
    for errno in [Errno::CONNREFUSED, Errno::NETUNREACH, Errno::HOSTUNREACH, Errno::CONNRESET] {
        let error = ConnectError::from_dial(io::Error::from_raw_os_error(errno.raw_os_error()));
        assert_eq!((error.result().label(), ConnError::from(error).end().side), ("failed", Side::Backend));
    }
    let timed_out = io::Error::from_raw_os_error(Errno::TIMEDOUT.raw_os_error());
    assert_eq!(ConnectError::from_dial(timed_out).result().label(), "timeout");
}

#[tokio::test]
async fn dialled_sockets_have_their_options_from_the_start() {
    let (_listener, (address, _)) = accepting().await;
    let own = OwnAddresses::default();
    let stream = dial(&address.into(), &OPTIONS, &own, None).await.unwrap();
    let socket = socket2::SockRef::from(&stream);
    assert!(socket.tcp_nodelay().unwrap() && !socket.keepalive().unwrap(), "the relay sets the rest later");
    let hasty = Options { user_timeout: Duration::from_millis(500), ..OPTIONS };
    let stream = dial(&address.into(), &hasty, &own, None).await.unwrap();
    let socket = socket2::SockRef::from(&stream);
    assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), hasty.keepalive);
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(hasty.user_timeout));
}

/// Addresses of weir itself, and addresses that belong to no machine, are skipped like a backend that
/// refuses.
#[tokio::test]
async fn own_and_unfit_addresses_are_skipped_without_a_dial() {
    let (listener, (own, _)) = accepting().await;
    let (_other, other) = accepting().await;
    let unfit = [SocketAddr::from(([0, 0, 0, 0], own.port())), SocketAddr::from(([224, 0, 0, 1], 80))];
    let mapped = SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), own.port()));
    let told = [own, mapped, unfit[0], unfit[1]].map(|address| (address, None));
    let rig = Rig::new(4, &[told.as_slice(), &[other]].concat());
    rig.registry.own_addresses.listen([own], []);
    let reached = rig.reach().await.unwrap();
    assert_eq!(&*reached.reserved.backend().name, "b4");
    for backend in ["b0", "b1", "b2", "b3"] {
        assert_eq!(rig.attempts(backend, "forbidden"), 1, "{backend}");
    }
    assert!(timeout(SHORT, listener.accept()).await.is_err(), "the own listener was dialled");

    let alone = Rig::new(0, &[(own, None)]);
    alone.registry.own_addresses.listen([own], []);
    let error = alone.reach().await.unwrap_err();
    assert!(matches!(error, ConnError::Connect(ConnectError::Forbidden(Forbidden::Listener))), "{error:?}");
    assert_eq!((error.end().outcome, error.end().side), (Outcome::ConnectFailed, Side::Weir));
    assert_eq!(error.end().reason, Some(Reason::Dial(DialResult::Forbidden)));
}

/// Without a listener, the kernel goes through its free ports from dial to dial. Sooner or later it chooses
/// the dialled port itself, and the socket is connected to itself.
#[tokio::test]
async fn sockets_connected_to_themselves_are_refusals() {
    let own = OwnAddresses::default();
    own.listen([] as [SocketAddr; 0], []);
    // Among the ports for outgoing connections, from the half that the kernel tries first.
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let low: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
    let bound = |port: &u16| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let port = (low..).step_by(2).skip(1000).find(bound).unwrap();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    for _ in 0..200_000 {
        match dial(&address.into(), &OPTIONS, &own, None).await {
            Ok(stream) => panic!("connected: {stream:?}"),
            Err(ConnectError::Failed(error)) => {
                assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
                // The kernel's own refusal has a number.
                if error.raw_os_error().is_none() {
                    return;
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the kernel never chose port {port}");
}
