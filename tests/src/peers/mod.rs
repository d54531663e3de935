//! Backends: each plays one role for every connection it gets, and keeps a diary of what it saw.

mod backend;
mod recorder;
mod role;
mod unreachable;

pub use backend::{Backend, TlsSeen, Visit, acceptor};
pub use recorder::{Received, Recorder, Reply, strictly};
pub use role::Role;
pub use unreachable::{Overflowing, refused};

#[cfg(test)]
mod tests {
    //! The peers without weir in between: weir must keep what they show here.
    use super::*;
    use crate::client::tcp;
    use crate::stream::{End, Stream};
    use crate::world::{Identities, NAME};

    async fn both(role: Role) -> [(Backend, Stream); 2] {
        let identities = Identities::default();
        let plain = Backend::plain(role.clone()).await;
        let tls = Backend::tls(role, &identities.backend).await;
        let to_plain = tcp(plain.addr).await;
        let to_tls = identities.client().connect(tls.addr, NAME).await.unwrap();
        [(plain, to_plain), (tls, to_tls)]
    }

    #[tokio::test]
    async fn half_closes_are_seen() {
        for (backend, mut stream) in both(Role::AnswerAtEnd(b"answer".to_vec())).await {
            stream.send(b"question").await.unwrap();
            stream.finish().await;
            assert_eq!(stream.rest().await, (b"answer".to_vec(), End::Clean));
            let visit = backend.only_visit().await;
            assert_eq!((visit.head.as_slice(), visit.end), (b"question".as_slice(), Some(End::Clean)));
        }
    }

    #[tokio::test]
    async fn the_other_direction_stays_open() {
        for (backend, mut stream) in both(Role::EndFirst(b"news".to_vec())).await {
            assert_eq!(stream.rest().await, (b"news".to_vec(), End::Clean));
            stream.send(b"more").await.unwrap();
            stream.finish().await;
            assert_eq!(backend.only_visit().await.head, b"more");
        }
    }

    #[tokio::test]
    async fn resets_are_seen() {
        for (_backend, mut stream) in both(Role::EchoThenReset(4)).await {
            stream.send(b"echo").await.unwrap();
            assert_eq!(stream.rest().await, (b"echo".to_vec(), End::Reset));
        }
        for (backend, mut stream) in both(Role::Echo).await {
            stream.send(b"echo").await.unwrap();
            stream.exactly(4).await.unwrap();
            stream.reset();
            assert_eq!(backend.only_visit().await.end, Some(End::Reset));
        }
    }

    #[tokio::test]
    async fn truncation_is_seen() {
        let [_, (_backend, mut stream)] = both(Role::Truncate(b"half a".to_vec())).await;
        assert_eq!(stream.rest().await, (b"half a".to_vec(), End::Truncated));
        let [_, (backend, mut stream)] = both(Role::Echo).await;
        stream.send(b"echo").await.unwrap();
        stream.exactly(4).await.unwrap();
        stream.truncate();
        assert_eq!(backend.only_visit().await.end, Some(End::Truncated));
    }

    #[tokio::test]
    async fn unreachable_addresses_accept_no_connection() {
        let port = refused();
        assert!(crate::client::try_tcp(port.addr()).await.is_err());
        let hole = Overflowing::new();
        let wait = std::time::Duration::from_millis(300);
        assert!(tokio::time::timeout(wait, tokio::net::TcpStream::connect(hole.addr)).await.is_err());
    }
}
