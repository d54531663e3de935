//! Permits, the bound on unfinished connections, and errors of accept(2).

use super::*;
use crate::tests::{Limits, Scene, WIDE, a_while, until};
use tokio::io::AsyncReadExt;
use tokio::task::LocalSet;
use tokio::time::Instant;

#[tokio::test]
async fn connections_above_a_listeners_limit_wait_in_the_backlog() {
    let mut scene = Scene::new(1, Limits { max_connections: 1, ..WIDE });
    let work = async {
        let (_stop, _accepting) = scene.accept(0);
        let first = scene.client(0).await;
        scene.counted(1, 1).await;
        let _second = scene.client(0).await;
        let limited = "weir_limited_total{listener=\"edge\",reason=\"max_connections\"}";
        until(|| scene.series(limited) == 1).await;
        assert_eq!(scene.listener.connections(), (1, 1));
        drop(first);
        scene.counted(2, 1).await;
    };
    LocalSet::new().run_until(work).await;
}

/// A listener's permit is taken first: at the limit of the process, a listener that is at its own holds nothing of others.
#[tokio::test]
async fn the_limit_of_the_process_is_counted_apart() {
    let mut scene = Scene::with_permits(1, WIDE, 1);
    let work = async {
        let (_stop, _accepting) = scene.accept(0);
        let first = scene.client(0).await;
        scene.counted(1, 1).await;
        let _second = scene.client(0).await;
        let limited = |reason| format!("weir_limited_total{{listener=\"edge\",reason=\"{reason}\"}}");
        until(|| scene.series(&limited("process_connections")) == 1).await;
        assert_eq!(scene.series(&limited("max_connections")), 0);
        drop(first);
        scene.counted(2, 1).await;
    };
    LocalSet::new().run_until(work).await;
}

/// A client that comes while another one waits for a permit leaves the socket readable for longer than either waits there.
#[tokio::test]
async fn a_permit_is_not_waited_for_when_no_connection_is_queued() {
    let mut scene = Scene::new(1, Limits { max_connections: 1, ..WIDE });
    let work = async {
        let limited =
            |scene: &Scene| scene.series("weir_limited_total{listener=\"edge\",reason=\"max_connections\"}");
        let (_stop, _accepting) = scene.accept(0);
        let mut inside = scene.client(0).await;
        scene.counted(1, 1).await;
        let second = scene.client(0).await;
        until(|| limited(&scene) == 1).await;
        let third = scene.client(0).await;
        a_while().await;
        for (opened, next) in [(2, second), (3, third)] {
            drop(std::mem::replace(&mut inside, next));
            scene.counted(opened, 1).await;
        }
        a_while().await;
        assert_eq!(limited(&scene), 2, "the third is in, and no client waits");
    };
    LocalSet::new().run_until(work).await;
}

#[tokio::test]
async fn the_oldest_unfinished_connection_makes_room() {
    let mut scene = Scene::new(1, Limits { pending: 2, ..WIDE });
    let work = async {
        let (_stop, _accepting) = scene.accept(0);
        let mut clients = Vec::new();
        for opened in 1..=3 {
            clients.push(scene.client(0).await);
            until(|| scene.listener.connections().0 == opened).await;
        }
        scene.counted(3, 2).await;
        let mut oldest = clients.remove(0);
        assert_eq!(oldest.read(&mut [0]).await.unwrap_or(0), 0, "it is closed, and gets no byte");
        a_while().await;
        assert_eq!(scene.listener.connections(), (3, 2), "the others live on");
        assert_eq!(scene.series("weir_limited_total{listener=\"edge\",reason=\"pending\"}"), 1);
    };
    LocalSet::new().run_until(work).await;
}

/// An acceptor that is never run.
fn acceptor(scene: &Scene) -> Acceptor {
    let worker = Rc::clone(&scene.workers[0]);
    let state = scene.node.in_force().acceptor(&crate::tests::ADDRESS.into()).cloned().unwrap();
    let pending = Rc::new(Pending::new(state.limits.pending.clone()));
    let (held, others) = (RefCell::new(Held { state, pending }), Vec::new().into());
    Acceptor { worker, held, others, accepted: Cell::new(0), address: crate::tests::ADDRESS.into() }
}

#[tokio::test(start_paused = true)]
async fn a_shortage_pauses_and_a_client_that_went_away_does_not() {
    let scene = Scene::new(1, WIDE);
    let accepting = acceptor(&scene);
    for (errno, label, pauses) in [
        (Errno::MFILE, "EMFILE", true),
        (Errno::NFILE, "ENFILE", true),
        (Errno::NOBUFS, "ENOBUFS", true),
        (Errno::NOMEM, "ENOMEM", true),
        (Errno::PERM, "other", true),
        (Errno::CONNABORTED, "ECONNABORTED", false),
        (Errno::NETUNREACH, "network", false),
        (Errno::PROTO, "network", false),
    ] {
        let series = format!("weir_accept_errors_total{{error=\"{label}\",listener=\"edge\"}}");
        let (before, begun) = (scene.series(&series), Instant::now());
        wait_out(errno.into(), &accepting).await;
        let expected = if pauses { ACCEPT_PAUSE } else { Duration::ZERO };
        // The clock of tokio counts milliseconds.
        assert!(
            begun.elapsed().abs_diff(expected) <= Duration::from_millis(1),
            "{label}: {:?}",
            begun.elapsed()
        );
        assert_eq!(scene.series(&series), before + 1, "{label}");
    }
}

#[tokio::test]
async fn an_error_ends_no_accept_loop() {
    let mut scene = Scene::new(1, WIDE);
    let work = async {
        let (_stop, accepting) = scene.accept(0);
        // Reset while it is queued.
        let reset = scene.client(0).await;
        SockRef::from(&reset).set_linger(Some(Duration::ZERO)).unwrap();
        drop(reset);
        let _good = scene.client(0).await;
        until(|| scene.listener.connections().1 == 1).await;
        assert!(!accepting.is_finished());
    };
    LocalSet::new().run_until(work).await;
}
