//! The worker that accepts a connection hands it to one that has clearly fewer, and keeps it where that cannot take it.

use super::*;
use crate::handoff::QUEUE;
use tokio::task::LocalSet;

#[tokio::test]
async fn a_worker_with_clearly_fewer_connections_gets_the_next() {
    let mut scene = Scene::new(2, WIDE);
    let work = async {
        let (_first, _second) = (scene.accept(0), scene.accept(1));
        let mut clients = Vec::new();
        for opened in 1..=20 {
            clients.push(scene.client(0).await);
            scene.counted(opened, opened).await;
        }
        let served = scene.served();
        assert_eq!(served.iter().sum::<u64>(), 20);
        assert!(served.iter().all(|&count| count >= 7), "{served:?}");
    };
    LocalSet::new().run_until(work).await;
}

/// Its queue has no reader any more.
#[tokio::test]
async fn a_worker_that_has_left_the_address_gets_nothing() {
    let mut scene = Scene::new(2, WIDE);
    let work = async {
        let (stop, left) = scene.accept(1);
        stop.cancel();
        left.await.unwrap();
        let _first = scene.accept(0);
        let mut clients = Vec::new();
        for opened in 1..=10 {
            clients.push(scene.client(0).await);
            scene.counted(opened, opened).await;
        }
        assert_eq!(scene.served(), [10, 0]);
    };
    LocalSet::new().run_until(work).await;
}

/// Places in the queue are bounded: a worker that takes nothing is not given more than that.
#[tokio::test]
async fn a_full_queue_leaves_connections_where_they_are() {
    const CLIENTS: u32 = 180;
    let (clients, most) = (u64::from(CLIENTS), usize::try_from(CLIENTS).unwrap());
    let limits = Limits { max_connections: most, pending: most };
    let mut scene = Scene::with_permits(2, limits, most);
    let work = async {
        let _first = scene.accept(0);
        let mut streams = Vec::new();
        for _ in 0..CLIENTS {
            streams.push(scene.client(0).await);
        }
        // Without a bound every other one would wait for the second worker.
        let queued = u64::try_from(QUEUE).unwrap();
        scene.counted(clients - queued, clients - queued).await;
        // It comes to its senses, and serves them all.
        let _second = scene.accept(1);
        scene.counted(clients, clients).await;
        assert_eq!(scene.served(), [clients - queued, queued]);
    };
    LocalSet::new().run_until(work).await;
}

#[tokio::test]
async fn a_connection_on_its_way_is_served_by_a_worker_that_leaves() {
    let mut scene = Scene::new(2, WIDE);
    let work = async {
        let _first = scene.accept(0);
        let _clients = [scene.client(0).await, scene.client(0).await, scene.client(0).await];
        // One of three is in the queue of the second worker, which has not begun.
        scene.counted(2, 2).await;
        let (stop, leaving) = scene.accept(1);
        stop.cancel();
        leaving.await.unwrap();
        scene.counted(3, 3).await;
        assert_eq!(scene.served(), [2, 1]);
    };
    LocalSet::new().run_until(work).await;
}
