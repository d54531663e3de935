//! Of hosts, from the source to the answer.

use super::*;
use crate::discovery::answer::Family;
use crate::discovery::fake::{Fake, Reply};
use hickory_resolver::proto::rr::RecordType;
use tokio::time::Instant;

fn host(name: &str) -> Source {
    Source::Dns { host: name.into(), port: 8443 }
}

async fn fake() -> (Fake, DnsResolver) {
    let fake = Fake::start().await;
    let resolver = DnsResolver::new(&[fake.address]).unwrap();
    (fake, resolver)
}

fn addresses(answer: &DnsAnswer) -> Vec<String> {
    answer.found.iter().map(|f| f.address.to_string()).collect()
}

#[tokio::test]
async fn every_address_of_both_families_is_found() {
    let (fake, resolver) = fake().await;
    fake.host("api_1.test.", 60, &["10.0.0.2", "::1", "10.0.0.1"]);
    let answer = resolver.resolve(&host("api_1.test")).await.unwrap();
    assert_eq!(addresses(&answer), ["10.0.0.1:8443", "10.0.0.2:8443", "[::1]:8443"]);
    assert!(answer.found.iter().all(|f| &*f.host == "api_1.test" && f.weight == 1 && !f.backup));
    assert_eq!((answer.ttl, answer.missing.len()), (Duration::from_secs(60), 0));
}

#[tokio::test]
async fn a_static_source_is_its_address_and_asks_no_server() {
    let (fake, resolver) = fake().await;
    let source = Source::Static("10.0.0.7:80".parse::<std::net::SocketAddr>().unwrap().into());
    let answer = resolver.resolve(&source).await.unwrap();
    assert_eq!((addresses(&answer), &*answer.found[0].host), (vec!["10.0.0.7:80".to_owned()], "10.0.0.7"));
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn silent_address_families_hold_nothing_up() {
    let (fake, resolver) = fake().await;
    fake.host("a.test.", 60, &["10.0.0.1"]);
    fake.set("a.test.", RecordType::AAAA, Reply::Silence);
    let begin = Instant::now();
    let answer = resolver.resolve(&host("a.test")).await.unwrap();
    assert!(begin.elapsed() < Duration::from_millis(1900), "{:?}", begin.elapsed());
    assert_eq!(addresses(&answer), ["10.0.0.1:8443"]);
    assert_eq!(answer.missing, [Missing { host: "a.test".into(), family: Family::V6 }]);
}

#[tokio::test]
async fn absent_address_families_are_no_gap() {
    let (fake, resolver) = fake().await;
    fake.host("a.test.", 60, &["::1"]);
    let answer = resolver.resolve(&host("a.test")).await.unwrap();
    assert_eq!((addresses(&answer), answer.missing), (vec!["[::1]:8443".to_owned()], vec![]));
}

#[tokio::test]
async fn localhost_is_this_machine_without_a_question() {
    let (fake, resolver) = fake().await;
    let answer = resolver.resolve(&host("LocalHost")).await.unwrap();
    assert_eq!(addresses(&answer), ["127.0.0.1:8443", "[::1]:8443"]);
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn given_servers_are_asked_for_whole_names_alone() {
    let (fake, resolver) = fake().await;
    assert!(matches!(resolver.resolve(&host("api")).await, Err(ResolveError::NoSuchName)));
    assert!(fake.asked().iter().all(|(name, _)| name == "api"), "{:?}", fake.asked());
}

#[tokio::test]
async fn malformed_names_are_errors() {
    let (_fake, resolver) = fake().await;
    let long = "a".repeat(64) + ".test";
    for bad in [long.as_str(), "a..b"] {
        assert!(matches!(resolver.resolve(&host(bad)).await, Err(ResolveError::Name(_))), "{bad}");
    }
}

#[tokio::test]
async fn the_system_knows_localhost() {
    let resolver = DnsResolver::new(&[]).unwrap();
    let answer = resolver.resolve(&host("localhost")).await.unwrap();
    assert!(addresses(&answer).contains(&"127.0.0.1:8443".to_owned()));
}
