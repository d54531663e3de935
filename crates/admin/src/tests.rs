//! The admin server's answers, over a control plane with two pools and without a client.

use crate::answer::Admin;
use crate::api::{BackendChange, DRAIN, Done, Refused, Rejected, Reloaded, Status};
use crate::origin::Transport;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode};
use serde::de::DeserializeOwned;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tempfile::NamedTempFile;
use tokio::sync::Notify;
use tokio::sync::mpsc::channel;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weir_control::Control;
use weir_control::access::{self, Format};
use weir_control::builder::{Compiled, ConfigSnapshot, PlanBuilder};
use weir_control::control::Parts;
use weir_control::discovery::{DnsResolver, Sources};
use weir_control::health::Checks;
use weir_control::servers::Servers;
use weir_metrics::Metrics;
use weir_pool::BackendRegistry;
use weir_router::bind;
use weir_router::data_plane::DataPlane;
use weir_router::inherited::Inherited;
use weir_router::node::Node;
use weir_tls::Sessions;

/// An admin server that is asked without a socket.
struct World {
    admin: Admin,
    file: NamedTempFile,
    listens: SocketAddr,
    data_plane: DataPlane,
    stop: CancellationToken,
}

fn configuration(listens: SocketAddr, backends: &str) -> String {
    format!(
        "runtime: {{workers: 1}}\nlisteners:\n  - name: edge\n    address: \"{listens}\"\n    mode: passthrough\n    \
         default_pool: web\npools:\n  - name: web\n    health_check: {{type: none}}\n    backends: [{backends}]\n"
    )
}

const TWO: &str = "{name: one, address: \"127.0.0.1:9\"}, \"127.0.0.2:9\"";

async fn world() -> World {
    let file = NamedTempFile::with_suffix(".yaml").unwrap();
    let listens = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    fs::write(file.path(), configuration(listens, TWO)).unwrap();
    let metrics = Metrics::new("0", "0", "0").unwrap();
    let (sessions, registry) = (Sessions::random().unwrap(), BackendRegistry::new(Arc::clone(&metrics)));
    let builder = PlanBuilder { metrics: Arc::clone(&metrics), registry, sessions, cpus: 1 };
    let (snapshot, compiled) =
        builder.compile(file.path(), 1, &ConfigSnapshot::default(), &|_unasked| Vec::new());
    let Compiled { plan, config, .. } = compiled.unwrap();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let resolver = DnsResolver::new(&["127.0.0.1:9".parse().unwrap()]).unwrap();
    let sources = Arc::new(Sources::new(resolver, &metrics, &tasks, &stop));
    let sockets = bind::sockets(&plan, 1, &[], None, &mut Inherited::default()).unwrap();
    bind::listen(&plan, &sockets).unwrap();
    let servers = Servers::begin(&plan, &mut Inherited::default()).unwrap();
    let node = Node::new(Arc::new(plan), metrics, 100);
    let data_plane = DataPlane::start(Arc::clone(&node), sockets, None).unwrap();
    let commands = data_plane.commands();
    let checks = Checks::new(commands.clone(), &tasks, &stop);
    let (path, apply) = (file.path().to_owned(), Box::new(|_: &_, _: &_| ()));
    let (_queue, _writer, records) = access::start(Format::Json, std::io::sink(), &builder.metrics).unwrap();
    let parts =
        Parts { node, path, builder, sources, commands, config, snapshot, checks, servers, records, apply };
    let control = Control::begin(parts).await;
    let (leave, upgrades) = (Arc::new(Notify::new()), channel(1).0);
    let admin = Admin { control, leave, upgrades, tasks, version: "1.2.3" };
    World { admin, file, listens, data_plane, stop }
}

impl World {
    async fn ask(&self, request: Request<Full<Bytes>>) -> Response<Full<Bytes>> {
        self.admin.answer(request, Transport::Unix).await
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        text(self.ask(Request::get(path).body(Full::default()).unwrap()).await).await
    }

    async fn post(&self, path: &str, body: &'static str) -> (StatusCode, String) {
        text(self.ask(Request::post(path).body(Full::from(body)).unwrap()).await).await
    }

    async fn status(&self) -> Status {
        read(&self.get(crate::api::STATUS).await.1)
    }

    async fn end(self) {
        self.stop.cancel();
        self.data_plane.drained(Duration::ZERO).await.unwrap();
    }
}

async fn text(answer: Response<Full<Bytes>>) -> (StatusCode, String) {
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn read<T: DeserializeOwned>(body: &str) -> T {
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

#[tokio::test]
async fn each_path_has_its_answer() {
    let world = world().await;
    let (status, index) = world.get("/").await;
    assert_eq!(status, StatusCode::OK);
    // The index lists the paths of GET requests; each is answered.
    for path in index.lines().filter_map(|line| line.split_whitespace().next()).filter(|w| w.starts_with('/'))
    {
        assert_eq!(world.get(path).await.0, StatusCode::OK, "{path}");
    }
    assert_eq!(world.get("/healthz").await, (StatusCode::OK, "ok\n".to_owned()));
    assert_eq!(world.get("/nowhere").await.0, StatusCode::NOT_FOUND);
    assert!(world.get("/metrics").await.1.contains("\nweir_pool_usable_backends{pool=\"web\"} 2\n"));
    world.end().await;
}

#[tokio::test]
async fn other_methods_are_refused_with_those_that_are_allowed() {
    let world = world().await;
    let answer = world.ask(Request::delete("/").body(Full::default()).unwrap()).await;
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers()["allow"], "GET, HEAD, POST");
    world.end().await;
}

#[tokio::test]
async fn foreign_names_are_refused_over_tcp_in_the_form_of_the_path() {
    let world = world().await;
    for (path, is_json) in [("/metrics", false), ("/api/v1/status", true)] {
        let request =
            Request::get(path).header("host", "evil.example").body(Full::<Bytes>::default()).unwrap();
        let answer = world.admin.answer(request, Transport::Loopback { tls: false }).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{path}");
        assert_eq!(answer.headers()["content-type"] == "application/json", is_json, "{path}");
    }
    world.end().await;
}

#[tokio::test]
async fn foreign_pages_change_nothing_even_over_a_unix_socket() {
    let world = world().await;
    let path = BackendChange::Drain.path("web", "one");
    let request = Request::post(path).header("host", "a").header("origin", "http://evil.example");
    let (status, body) = text(world.ask(request.body(Full::default()).unwrap()).await).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(read::<Refused>(&body).error.contains("another origin"), "{body}");
    assert!(world.status().await.pools[0].backends.iter().all(|backend| backend.is_up()));
    world.end().await;
}

#[tokio::test]
async fn changes_of_a_backend_show_in_the_status() {
    let world = world().await;
    let backend = || async { world.status().await.pools[0].backends[0].clone() };
    let change = |change: BackendChange, body| {
        let path = change.path("web", "one");
        let world = &world;
        async move {
            let (status, body) = world.post(&path, body).await;
            assert_eq!(status, StatusCode::OK, "{body}");
            read::<Done>(&body).message
        }
    };
    assert!(change(BackendChange::Drain, "").await.contains("web/one drains"));
    assert_eq!((backend().await.state(), backend().await.is_up()), ("drained", false));
    assert_eq!(change(BackendChange::Weight, "{\"weight\": 7}").await, "web/one has the weight 7");
    assert_eq!((backend().await.weight, backend().await.hand_weight), (7, Some(7)));
    assert_eq!(change(BackendChange::Ready, "").await, "web/one is up");
    assert_eq!(
        (backend().await.weight, backend().await.hand_weight, backend().await.is_up()),
        (1, None, true)
    );
    let entries: Vec<_> =
        world.status().await.pools[0].backends.iter().map(|b| b.entry().to_owned()).collect();
    assert_eq!(entries, ["one", "127.0.0.2:9"]);
    world.end().await;
}

#[tokio::test]
async fn refused_changes_say_why_and_change_nothing() {
    let world = world().await;
    let before = world.status().await.pools;
    let weight = BackendChange::Weight;
    for (path, body, status, why) in [
        (weight.path("web", "one"), "", StatusCode::BAD_REQUEST, "the body must be"),
        (weight.path("web", "one"), "{\"weight\": 65536}", StatusCode::BAD_REQUEST, "65536"),
        (weight.path("web", "one"), "{\"weight\": 1, \"x\": 2}", StatusCode::BAD_REQUEST, "unknown field"),
        (weight.path("web", "two"), "{\"weight\": 1}", StatusCode::NOT_FOUND, "no backend \"two\""),
        (BackendChange::Drain.path("wob", "one"), "", StatusCode::NOT_FOUND, "no pool \"wob\""),
        ("/api/v1/pools/web/backends/one/kill".to_owned(), "", StatusCode::NOT_FOUND, "no such path"),
        ("/metrics".to_owned(), "", StatusCode::NOT_FOUND, "no such path"),
    ] {
        let (answered, body) = world.post(&path, body).await;
        assert_eq!(answered, status, "{path}: {body}");
        assert!(read::<Refused>(&body).error.contains(why), "{path}: {body}");
    }
    let large = Request::post(weight.path("web", "one")).body(Full::from(vec![b' '; 2000])).unwrap();
    assert_eq!(world.ask(large).await.status(), StatusCode::BAD_REQUEST);
    let after = world.status().await.pools;
    let shown = |pools: &[crate::api::status::Pool]| serde_json::to_string(pools).unwrap();
    assert_eq!(shown(&before), shown(&after));
    world.end().await;
}

#[tokio::test]
async fn reloads_answer_with_their_changes_or_with_the_errors() {
    let world = world().await;
    fs::write(world.file.path(), configuration(world.listens, "\"127.0.0.2:9\"")).unwrap();
    let (status, body) = world.post(crate::api::RELOAD, "").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let done: Reloaded = read(&body);
    let changes: Vec<_> = done.changes.changes.iter().map(|change| change.name.as_str()).collect();
    assert_eq!((done.generation, changes, done.more), (2, vec!["web/one"], 0));
    fs::write(world.file.path(), configuration(world.listens, "\"127.0.0.2\"")).unwrap();
    let (status, body) = world.post(crate::api::RELOAD, "").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    let rejected: Rejected = read(&body);
    assert!(rejected.errors[0].contains("127.0.0.2") && rejected.more == 0, "{body}");
    assert_eq!(world.status().await.generation, 2);
    world.end().await;
}

#[tokio::test]
async fn a_drain_of_the_process_is_passed_on() {
    let world = world().await;
    let (status, body) = world.post(DRAIN, "").await;
    assert_eq!(
        (status, &*read::<Done>(&body).message),
        (StatusCode::ACCEPTED, "the process drains and ends")
    );
    timeout(Duration::from_secs(5), world.admin.leave.notified()).await.expect("told to leave");
    world.end().await;
}

#[tokio::test]
async fn readiness_goes_with_the_last_healthy_backend() {
    let world = world().await;
    assert_eq!(world.get("/readyz").await, (StatusCode::OK, "ready\n".to_owned()));
    for backend in ["one", "127.0.0.2:9"] {
        world.post(&BackendChange::Drain.path("web", backend), "").await;
    }
    let unready = (StatusCode::SERVICE_UNAVAILABLE, "no healthy backend in: web\n".to_owned());
    assert_eq!(world.get("/readyz").await, unready);
    assert_eq!(world.get("/readyz?pools=ignore").await.0, StatusCode::OK);
    world.end().await;
}
