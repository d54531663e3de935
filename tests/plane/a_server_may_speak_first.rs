//! With `peek: false` nothing is read before the backend is dialled, so protocols like SSH and SMTP work.

use weir_tests::client::tcp;
use weir_tests::peers::Role;
use weir_tests::stream::End;
use weir_tests::world::{Mode, World};

const GREETING: &str = "SSH-2.0-weir_test\r\n";

#[tokio::test]
async fn the_greeting_comes_before_the_client_says_a_word() {
    let world = World::of(Mode::Passthrough).plain().role(Role::Greeter(GREETING)).plane().await;
    let mut stream = tcp(world.edge).await;
    assert_eq!(stream.exactly(GREETING.len()).await.unwrap(), GREETING.as_bytes());
    stream.send(b"SSH-2.0-client\r\n").await.unwrap();
    stream.finish().await;
    assert_eq!(stream.rest().await, (b"SSH-2.0-client\r\n".to_vec(), End::Clean));
    let record = world.weir.only_record().await;
    assert_eq!((record.outcome(), record.up(), record.down()), ("ok", 16, 16 + GREETING.len() as u64));
    world.weir.settle().await;
}

#[tokio::test]
async fn an_empty_connection_is_fine() {
    let world = World::of(Mode::Passthrough).plain().plane().await;
    let mut stream = tcp(world.edge).await;
    stream.finish().await;
    assert_eq!(stream.rest().await, (Vec::new(), End::Clean));
    assert_eq!(world.backend.only_visit().await.end, Some(End::Clean));
    assert_eq!(world.weir.only_record().await.outcome(), "ok");
    world.weir.settle().await;
}
