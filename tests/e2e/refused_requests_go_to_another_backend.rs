//! A request that a backend of HTTP/2 has not looked at goes to another one; no other request is sent twice.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use weir_tests::eventually::eventually_true;
use weir_tests::frames::{
    CANCEL, DATA, END_STREAM, ENHANCE_YOUR_CALM, Frame, NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM,
};
use weir_tests::h2_origin::{H2Origin, Heard, Says, status};
use weir_tests::origin::{Origin, Step, answers, ask};
use weir_tests::weir::Record;
use weir_tests::world::{Mode, NAME, World};

async fn world(origins: &[H2Origin]) -> World {
    let addrs: Vec<_> = origins.iter().map(|origin| origin.addr).collect();
    world_of("2", &addrs).await
}

async fn world_of(version: &str, backends: &[SocketAddr]) -> World {
    World::of(Mode::Offload)
        .listener("protocol: http")
        .pool(&format!("http: {{version: \"{version}\"}}"))
        .pool("passive_check: null")
        .backends(backends)
        .level("info")
        .start()
        .await
}

fn get() -> String {
    format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n")
}

fn post(body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn heard(origins: &[H2Origin]) -> Vec<Heard> {
    origins.iter().flat_map(H2Origin::heard).collect()
}

/// The record of the only request.
async fn recorded(world: &World) -> Record {
    eventually_true(Duration::from_secs(10), "the request has a record", || {
        !world.weir.requests().is_empty()
    })
    .await;
    let [record] = &world.weir.requests()[..] else { panic!("one request was made") };
    record.clone()
}

/// What a backend says to a request, with a name.
type Case = (&'static str, fn(&Heard) -> Says);

/// What a backend says that has not looked at a request.
fn not_looked_at() -> [Case; 3] {
    [
        ("refused", |heard| Says::resets(heard, REFUSED_STREAM)),
        ("left out", |heard| Says::Leaves(Frame::goaway(heard.stream - 1, NO_ERROR).bytes())),
        ("left out by an error", |heard| {
            Says::Ends(Frame::goaway(heard.stream - 1, ENHANCE_YOUR_CALM).bytes())
        }),
    ]
}

#[tokio::test]
async fn requests_that_were_not_looked_at_go_again() {
    for (name, refuses) in not_looked_at() {
        // The head is refused at once, or once the whole body is there.
        for (late, bodies) in [(false, &[""][..]), (true, &[""])] {
            for body in bodies {
                let first = Arc::new(AtomicUsize::new(0));
                let one = || {
                    let first = Arc::clone(&first);
                    H2Origin::start(move |heard| {
                        let refuse = if late { heard.whole } else { true };
                        if refuse && first.fetch_add(1, Ordering::SeqCst) == 0 {
                            return refuses(heard);
                        }
                        Says::ok(heard, "ok")
                    })
                };
                let origins = [one().await, one().await];
                let world = world(&origins).await;
                let mut stream = world.connect().await;
                let request = if body.is_empty() { get() } else { post(body) };
                let got = ask(&mut stream, &request).await.unwrap();
                assert_eq!((got.status, &*got.text()), (200, "ok"), "{name} {late} {body:?}");
                let all = heard(&origins);
                assert_eq!(all.len(), 2, "{name} {late} {body:?}: {all:?}");
                let whole: Vec<_> = all.iter().filter(|one| one.body == body.as_bytes()).collect();
                assert!(!whole.is_empty(), "{name} {late} {body:?}: {all:?}");
                let record = recorded(&world).await;
                assert_eq!(
                    (record.outcome(), record.up()),
                    ("ok", body.len() as u64),
                    "{name}: counted once"
                );
            }
        }
    }
}

/// A request of which a backend may have done something.
#[tokio::test]
async fn other_requests_are_sent_once() {
    let says: [Case; 4] = [
        ("cancelled", |heard| Says::resets(heard, CANCEL)),
        ("broken", |heard| Says::resets(heard, PROTOCOL_ERROR)),
        ("taken, then left", |heard| Says::Ends(Frame::goaway(heard.stream, NO_ERROR).bytes())),
        ("closed", |_| Says::Ends(Vec::new())),
    ];
    for (name, says) in says {
        for request in [get(), post("abc"), post(&"x".repeat(300_000))] {
            let one = || {
                H2Origin::start(move |heard| match heard.whole || heard.body.len() > 100_000 {
                    true => says(heard),
                    false => Says::nothing(),
                })
            };
            let origins = [one().await, one().await];
            let world = world(&origins).await;
            let mut stream = world.connect().await;
            let got = ask(&mut stream, &request).await.unwrap();
            assert_eq!(got.status, 502, "{name} {got:?}");
            assert_eq!(heard(&origins).len(), 1, "{name}: sent once");
            recorded(&world).await.ended("backend_reset", "backend");
        }
    }
}

/// An idempotent request may be sent again where its connection, used before, has ended before any byte of an answer.
#[tokio::test]
async fn requests_on_a_connection_that_ends_go_again_if_they_are_idempotent() {
    for (request, expected) in [(get(), 200), (post("abc"), 502)] {
        let origin = H2Origin::start(|heard| match (heard.before, heard.whole) {
            (1, true) => Says::Ends(Vec::new()),
            _ => Says::ok(heard, "ok"),
        })
        .await;
        let origins = [origin];
        let world = world(&origins).await;
        let mut stream = world.connect().await;
        assert_eq!(ask(&mut stream, &get()).await.unwrap().status, 200);
        assert_eq!(ask(&mut stream, &request).await.unwrap().status, expected, "{request}");
    }
}

/// A backend that stops listening resets the connections that it has not accepted. No process has read their requests.
#[tokio::test]
async fn requests_that_nobody_accepted_go_again_if_they_are_idempotent() {
    for version in ["1", "2"] {
        for (method, expected) in [("GET", 200), ("PUT", 200), ("POST", 502)] {
            let leaves = TcpListener::bind("127.0.0.1:0").unwrap();
            let h1 = Origin::start(|_| answers("ok")).await;
            let h2 = H2Origin::start(|heard| Says::ok(heard, "ok")).await;
            let stays = if version == "1" { h1.addr } else { h2.addr };
            let world = world_of(version, &[leaves.local_addr().unwrap(), stays]).await;
            let request = format!("{method} / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 0\r\n\r\n");
            let asking = async {
                // One of two begins at the backend that leaves.
                let first = ask(&mut world.connect().await, &request).await.unwrap().status;
                let second = ask(&mut world.connect().await, &request).await.unwrap().status;
                [first, second]
            };
            let leaving = async {
                tokio::time::sleep(Duration::from_millis(500)).await;
                drop(leaves);
            };
            let (statuses, ()) = tokio::join!(asking, leaving);
            assert!(statuses.contains(&200), "HTTP/{version} {method}: {statuses:?}");
            assert!(statuses.contains(&expected), "HTTP/{version} {method}: {statuses:?}");
            assert!(expected == 502 || statuses == [200; 2], "HTTP/{version} {method}: {statuses:?}");
        }
    }
}

/// The request itself may make backends fall, so it must reach no more than two.
#[tokio::test]
async fn requests_that_are_reset_go_again_once() {
    let mut origins = Vec::new();
    for _ in 0..3 {
        origins.push(Origin::start(|_| vec![Step::Reset]).await);
    }
    let addrs: Vec<_> = origins.iter().map(|origin| origin.addr).collect();
    let world = world_of("1", &addrs).await;
    assert_eq!(ask(&mut world.connect().await, &get()).await.unwrap().status, 502);
    assert_eq!(origins.iter().map(|origin| origin.seen().len()).sum::<usize>(), 2);
    recorded(&world).await.ended("backend_reset", "backend");
}

/// A backend that leaves finishes what it has begun, and gets nothing more on that connection.
#[tokio::test]
async fn a_backend_that_leaves_finishes_and_gets_no_more() {
    let origins = [H2Origin::start(|heard| {
        if heard.connection > 0 || !heard.whole {
            return Says::ok(heard, "new");
        }
        Says::frames(&[
            Frame::goaway(heard.stream, NO_ERROR),
            status(heard.stream, b"200"),
            Frame::new(DATA, END_STREAM, heard.stream, b"last"),
        ])
    })
    .await];
    let world = world(&origins).await;
    let mut stream = world.connect().await;
    assert_eq!(ask(&mut stream, &get()).await.unwrap().text(), "last");
    for request in [post("abc"), get()] {
        assert_eq!(ask(&mut stream, &request).await.unwrap().text(), "new");
    }
    let connections: Vec<usize> = origins[0].heard().iter().map(|one| one.connection).collect();
    assert_eq!(connections, [0, 1, 1]);
}

/// RFC 9113 §8.1: a whole answer before the end of the request, and a reset that is no error.
#[tokio::test]
async fn an_early_answer_stops_the_upload() {
    let origins = [H2Origin::start(|heard| {
        let answer = [
            status(heard.stream, b"413"),
            Frame::new(DATA, END_STREAM, heard.stream, b"no"),
            Frame::reset(heard.stream, NO_ERROR),
        ];
        Says::Leaves(answer.iter().flat_map(Frame::bytes).collect())
    })
    .await];
    let world = world(&origins).await;
    let mut stream = world.connect().await;
    let head = format!("POST / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 1000\r\n\r\nabc");
    let got = ask(&mut stream, &head).await.unwrap();
    assert_eq!((got.status, &*got.text()), (413, "no"));
}
