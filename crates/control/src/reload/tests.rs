//! Reloads beside other changes, while names are being resolved.

use super::*;
use crate::builder::{ConfigSnapshot, PlanBuilder};
use crate::control::{Parts, resolve};
use crate::discovery::Sources;
use crate::discovery::fake::{Fake, Reply};
use crate::health::Checks;
use crate::servers::Servers;
use hickory_resolver::proto::rr::RecordType;
use std::fs;
use std::net::SocketAddr;
use tempfile::NamedTempFile;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weir_pool::BackendRegistry;
use weir_pool::source::Source;
use weir_router::data_plane::DataPlane;
use weir_router::inherited::Inherited;
use weir_router::node::Node;
use weir_tls::Sessions;

/// A control plane whose pool has the name `a.test`.
struct World {
    control: Arc<Control>,
    fake: Fake,
    file: NamedTempFile,
    listens: SocketAddr,
    data_plane: DataPlane,
    tasks: TaskTracker,
    stop: CancellationToken,
}

fn host(name: &str) -> Source {
    Source::Dns { host: name.into(), port: 80 }
}

fn configuration(listens: SocketAddr, resolver: SocketAddr, backends: &[&str]) -> String {
    let backends: Vec<String> = backends.iter().map(|name| format!("{name}:80")).collect();
    format!(
        "runtime: {{workers: 1, resolvers: [\"{resolver}\"]}}\nlisteners:\n  - name: web\n    \
         address: \"{listens}\"\n    mode: passthrough\n    default_pool: web\npools:\n  - name: web\n    \
         health_check: {{type: none}}\n    backends: [\"{}\"]\n",
        backends.join("\", \"")
    )
}

async fn world() -> World {
    let fake = Fake::start().await;
    fake.host("a.test.", 1, &["10.0.0.1"]);
    for kind in [RecordType::A, RecordType::AAAA] {
        fake.set("silent.test.", kind, Reply::Silence);
    }
    let listens = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let file = NamedTempFile::with_suffix(".yaml").unwrap();
    fs::write(file.path(), configuration(listens, fake.address, &["a.test"])).unwrap();
    let metrics = Metrics::new("0", "0", "0").unwrap();
    let (sessions, registry) = (Sessions::random().unwrap(), BackendRegistry::new(Arc::clone(&metrics)));
    let builder = PlanBuilder { metrics: Arc::clone(&metrics), registry, sessions, cpus: 1 };
    let (snapshot, compiled) =
        builder.compile(file.path(), 1, &ConfigSnapshot::default(), &|_unasked| Vec::new());
    let Compiled { plan, config, .. } = compiled.unwrap();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let sources = Arc::new(Sources::new(DnsResolver::new(&[fake.address]).unwrap(), &metrics, &tasks, &stop));
    resolve(&plan, &sources).await;
    let sockets = bind::sockets(&plan, 1, &[], None, &mut Inherited::default()).unwrap();
    bind::listen(&plan, &sockets).unwrap();
    let servers = Servers::begin(&plan, &mut Inherited::default()).unwrap();
    let node = Node::new(Arc::new(plan), metrics, 100);
    let data_plane = DataPlane::start(Arc::clone(&node), sockets, None).unwrap();
    let commands = data_plane.commands();
    let checks = Checks::new(commands.clone(), &tasks, &stop);
    let (_queue, _writer, records) =
        access::start(access::Format::Json, std::io::sink(), &builder.metrics).unwrap();
    let (path, apply) = (file.path().to_owned(), Box::new(|_: &Plan, _: &Node| ()));
    let parts =
        Parts { node, path, builder, sources, commands, config, snapshot, checks, servers, records, apply };
    let control = Control::begin(parts).await;
    let follow = Arc::clone(&control);
    let stopped = stop.clone();
    tasks.spawn(async move { stopped.run_until_cancelled(follow.follow_sources()).await });
    World { control, fake, file, listens, data_plane, tasks, stop }
}

impl World {
    /// Begins a reload that adds `silent.test`, and returns once that name has been asked for.
    async fn begin_reload(&self, resolver: &Fake) -> tokio::task::JoinHandle<Result<Reloaded, ReloadError>> {
        fs::write(
            self.file.path(),
            configuration(self.listens, resolver.address, &["a.test", "silent.test"]),
        )
        .unwrap();
        let control = Arc::clone(&self.control);
        let reload = self.tasks.spawn(async move { control.reload().await });
        let asked = async {
            while !resolver.asked().iter().any(|(name, _)| name == "silent.test") {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(5), asked).await.expect("the new name is asked for");
        reload
    }

    fn addresses(&self) -> Vec<String> {
        let plan = self.control.node.plan();
        plan.pools
            .iter()
            .flat_map(|p| p.members().all().map(|b| b.address.to_string()).collect::<Vec<_>>())
            .collect()
    }

    fn end(self) {
        self.stop.cancel();
        self.data_plane.drain(Duration::ZERO).unwrap();
    }
}

#[tokio::test]
async fn an_operators_request_does_not_wait_for_dns() {
    let w = world().await;
    let reload = w.begin_reload(&w.fake).await;
    let begun = Instant::now();
    w.control.weigh_backend("web", "10.0.0.1:80", 7).await.unwrap();
    w.control.drain_backend("web", "10.0.0.1:80").await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(500) && !reload.is_finished(), "{:?}", begun.elapsed());
    assert_eq!(reload.await.unwrap().unwrap().generation, 2);
    let plan = w.control.node.plan();
    let members = plan.pools[0].members();
    let backend = members.all().next().unwrap();
    assert_eq!(
        (backend.weight, backend.state.is(OutOfService::Drained)),
        (7, true),
        "the new plan knows of both"
    );
    drop(members);
    w.end();
}

#[tokio::test]
async fn a_reload_gives_way_to_a_drain_that_begins_while_names_are_resolved() {
    let (w, other) = (world().await, Fake::start().await);
    for kind in [RecordType::A, RecordType::AAAA] {
        other.set("silent.test.", kind, Reply::Silence);
    }
    let reload = w.begin_reload(&other).await;
    w.control.node.enter(Phase::Leaving);
    let ended = reload.await.unwrap();
    assert!(matches!(ended, Err(ReloadError::Ending)), "{ended:?}");
    assert_eq!((w.control.node.plan().generation, w.addresses()), (1, vec!["10.0.0.1:80".to_owned()]));
    assert!(w.control.sources.state(&host("silent.test")).at.is_none(), "it is forgotten");
    // The servers of the plan in force are the ones that are asked on.
    w.fake.host("a.test.", 60, &["10.0.0.2"]);
    let changed = async {
        while w.addresses() != ["10.0.0.2:80"] {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), changed).await.expect("names are followed on");
    assert!(!other.asked().iter().any(|(name, _)| name == "a.test"));
    w.end();
}

#[tokio::test]
async fn the_first_of_many_changes_are_told_and_the_others_counted() {
    let w = world().await;
    let many: Vec<String> = (1..=150).map(|n| format!("10.0.1.{n}")).collect();
    let backends: Vec<&str> = std::iter::once("a.test").chain(many.iter().map(String::as_str)).collect();
    fs::write(w.file.path(), configuration(w.listens, w.fake.address, &backends)).unwrap();
    let done = w.control.reload().await.unwrap();
    assert_eq!((done.changes.changes.len(), done.more), (100, 50));
    w.end();
}

#[tokio::test]
async fn answers_that_come_while_names_are_resolved_reach_the_new_plan() {
    let w = world().await;
    let reload = w.begin_reload(&w.fake).await;
    w.fake.host("a.test.", 60, &["10.0.0.9"]);
    let changed = async {
        while w.control.sources.found(&host("a.test"))[0].address.ip().to_string() != "10.0.0.9" {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(5), changed).await.expect("the TTL is a second");
    reload.await.unwrap().unwrap();
    assert_eq!(w.addresses(), ["10.0.0.9:80"]);
    w.end();
}
