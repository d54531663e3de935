//! An acceptor goes by the plan in force, and lets go of past ones.

use super::*;
use tokio::task::LocalSet;

const ONE: Limits = Limits { max_connections: 1, ..WIDE };
const TWO: Limits = Limits { max_connections: 2, ..WIDE };

#[tokio::test]
async fn the_next_connection_goes_by_the_new_plan() {
    let mut scene = Scene::new(1, ONE);
    let work = async {
        let (_stop, _accepting) = scene.accept(0);
        let (_first, _waits) = (scene.client(0).await, scene.client(0).await);
        scene.counted(1, 1).await;
        scene.install(2, &[("edge", TWO)]);
        scene.counted(2, 2).await;
        let _third = scene.client(0).await;
        a_while().await;
        assert_eq!(scene.listener.connections(), (2, 2), "the new limit holds for old and new connections");
    };
    LocalSet::new().run_until(work).await;
}

#[tokio::test]
async fn connections_count_for_the_plan_that_they_began_with() {
    let mut scene = Scene::new(1, WIDE);
    let work = async {
        let (_stop, _accepting) = scene.accept(0);
        let _first = scene.client(0).await;
        scene.counted(1, 1).await;
        scene.install(2, &[("edge", WIDE)]);
        let second = scene.client(0).await;
        scene.counted(2, 2).await;
        assert_eq!(scene.node.generations(), [(1, 1), (2, 1)]);
        drop(second);
        until(|| scene.node.generations() == [(1, 1), (2, 0)]).await;
    };
    LocalSet::new().run_until(work).await;
}

#[tokio::test]
async fn an_idle_acceptor_lets_go_of_the_past_plan() {
    let mut scene = Scene::new(1, WIDE);
    let work = async {
        let (_stop, _accepting) = scene.accept(0);
        a_while().await;
        let past = Arc::downgrade(&scene.node.plan().listeners[0]);
        scene.install(2, &[("edge", WIDE)]);
        until(|| past.strong_count() == 0).await;
    };
    LocalSet::new().run_until(work).await;
}

/// Until the worker is told to leave the address, which comes a moment after the plan.
#[tokio::test]
async fn a_dropped_address_goes_by_the_last_plan_that_had_it() {
    let mut scene = Scene::new(1, WIDE);
    let work = async {
        let (stop, accepting) = scene.accept(0);
        a_while().await;
        scene.install(2, &[]);
        let _late = scene.client(0).await;
        scene.counted(1, 1).await;
        assert_eq!(scene.node.generations(), [(1, 1), (2, 0)]);
        scene.node.sockets.let_go(&[ADDRESS.into()]);
        stop.cancel();
        accepting.await.unwrap();
        assert!(scene.is_closed(0).await);
        assert_eq!(scene.listener.connections(), (1, 1), "its connection lives on");
    };
    LocalSet::new().run_until(work).await;
}
