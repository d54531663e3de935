//! A drain accepts what is queued, closes sockets, and closes what is left at its end, spread and idle ones first.

use super::*;
use crate::data_plane::DataPlane;
use crate::worker::{CloseScope, ConnGuard};
use tokio::task::LocalSet;
use tokio::time::{Instant, advance, sleep_until};
use weir_core::stop::{ConnHandle, Stop};

#[tokio::test]
async fn connections_in_the_backlog_are_accepted_before_the_socket_closes() {
    let mut scene = Scene::new(1, WIDE);
    let work = async {
        let _clients = [scene.client(0).await, scene.client(0).await, scene.client(0).await];
        scene.drain();
        let (_stop, accepting) = scene.accept(0);
        accepting.await.unwrap();
        scene.counted(3, 3).await;
        assert!(scene.is_closed(0).await);
    };
    LocalSet::new().run_until(work).await;
}

#[tokio::test]
async fn connections_without_a_permit_are_not_accepted_at_a_drain() {
    let mut scene = Scene::new(1, Limits { max_connections: 2, ..WIDE });
    let work = async {
        let _clients = [scene.client(0).await, scene.client(0).await, scene.client(0).await];
        scene.drain();
        let (_stop, accepting) = scene.accept(0);
        accepting.await.unwrap();
        scene.counted(2, 2).await;
    };
    LocalSet::new().run_until(work).await;
}

/// The connections of a worker, and their places in its list.
type Listed = Vec<(Rc<ConnHandle>, ConnGuard)>;

fn enter(scene: &Scene, count: usize) -> Listed {
    let worker = &scene.workers[0];
    let state = scene.node.in_force().acceptor(&ADDRESS.into()).cloned().unwrap();
    let entered = (0..count).map(|_| worker.enter(&state, scene.node.loads.count(0)));
    entered.map(|(_, handle, guard)| (handle, guard)).collect()
}

/// Whether it has been told to end.
async fn is_cancelled(handle: &ConnHandle) -> bool {
    let ready = std::future::ready(());
    handle.run_until_cancelled(ready).await == Err(Stop::Drained)
}

async fn cancelled(listed: &Listed) -> Vec<bool> {
    let mut all = Vec::new();
    for (handle, _) in listed {
        all.push(is_cancelled(handle).await);
    }
    all
}

/// Begins to close what is left of a drain of 100 s, and gives which are closed half a second after each of these.
async fn closed_after(scene: &Scene, scope: CloseScope, listed: &Listed, seconds: &[u64]) -> Vec<Vec<bool>> {
    let (worker, since) = (Rc::clone(&scene.workers[0]), Instant::now());
    let closing = spawn_local(async move {
        worker.close_spread(scope, since, since + Duration::from_secs(100)).await;
    });
    let mut closed = Vec::new();
    for second in seconds {
        sleep_until(since + Duration::from_secs(*second) + Duration::from_millis(500)).await;
        closed.push(cancelled(listed).await);
    }
    closing.abort();
    closed
}

#[tokio::test(start_paused = true)]
async fn connections_are_closed_over_the_last_tenth() {
    let scene = Scene::new(1, WIDE);
    let work = async {
        let listed = enter(&scene, 10);
        let closed = closed_after(&scene, CloseScope::All, &listed, &[1, 89, 90, 91, 95, 99, 100]).await;
        let counts = closed.iter().map(|all| all.iter().filter(|&&closed| closed).count());
        assert_eq!(counts.collect::<Vec<_>>(), [0, 0, 1, 2, 6, 10, 10]);
    };
    LocalSet::new().run_until(work).await;
}

#[tokio::test(start_paused = true)]
async fn the_longest_idle_connections_are_closed_first() {
    let scene = Scene::new(1, WIDE);
    let work = async {
        let listed = enter(&scene, 4);
        for index in [2, 0, 3] {
            listed[index].0.moved(Instant::now());
            advance(Duration::from_secs(1)).await;
        }
        // The second has never moved a byte. Each has its quarter of ten seconds.
        let closed = closed_after(&scene, CloseScope::All, &listed, &[89, 91, 94, 96, 99]).await;
        let order = [
            [false; 4],
            [false, true, false, false],
            [false, true, true, false],
            [true, true, true, false],
            [true; 4],
        ];
        assert_eq!(closed, order);
    };
    LocalSet::new().run_until(work).await;
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_is_back_keeps_its_connections() {
    let scene = Scene::new(1, WIDE);
    let work = async {
        let listed = enter(&scene, 2);
        let dropped = scene.node.install(plan(&scene.metrics, 2, 1, &[]));
        let limits = Arc::clone(&dropped.listeners[0]);
        let scope = CloseScope::Listener { drain: limits.drain_number(), limits };
        scene.install(3, &[("edge", WIDE)]);
        assert_eq!(closed_after(&scene, scope, &listed, &[100]).await, [[false; 2]]);
    };
    LocalSet::new().run_until(work).await;
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_stays_away_closes_its_connections() {
    let scene = Scene::new(1, WIDE);
    let work = async {
        let listed = enter(&scene, 2);
        let dropped = scene.node.install(plan(&scene.metrics, 2, 1, &[]));
        let limits = Arc::clone(&dropped.listeners[0]);
        let scope = CloseScope::Listener { drain: limits.drain_number(), limits };
        assert_eq!(closed_after(&scene, scope, &listed, &[89, 100]).await, [[false; 2], [true; 2]]);
    };
    LocalSet::new().run_until(work).await;
}

#[tokio::test]
async fn leaving_an_address_returns_when_its_sockets_are_closed() {
    let metrics = Metrics::new("0", "", "").unwrap();
    let plan = plan(&metrics, 1, 2, &[("edge", WIDE)]);
    let sockets = sockets(&plan, 2, &[], None, &mut Inherited::default()).unwrap();
    listen(&plan, &sockets).unwrap();
    let edges: Vec<SocketAddr> = sockets.iter().map(address_of).collect();
    let node = Node::new(plan, Arc::clone(&metrics), PERMITS);
    let data_plane = DataPlane::start(Arc::clone(&node), sockets, None).unwrap();
    let mut clients = Vec::new();
    for edge in &edges {
        clients.push(TcpStream::connect(edge).await.unwrap());
    }
    timeout(PATIENCE, data_plane.commands().leave(&[ADDRESS.into()])).await.unwrap();
    for edge in &edges {
        assert!(TcpStream::connect(edge).await.is_err(), "{edge}");
    }
    let listener = metrics.listener("edge");
    assert_eq!(listener.connections(), (2, 2), "what was in the backlogs was accepted, and lives on");
    timeout(PATIENCE, data_plane.drained(NONE)).await.unwrap().unwrap();
    assert_eq!(listener.connections(), (2, 0));
}
