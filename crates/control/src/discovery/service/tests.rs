//! Of SRV records, and what becomes of their hosts.

use super::*;
use crate::discovery::fake::{Fake, Reply, alias, srv};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use std::time::Duration;

const NAME: &str = "_https._tcp.api.test";

async fn resolve_at(fake: &Fake) -> Result<DnsAnswer, ResolveError> {
    resolve(&Arc::new(Lookup::new(&[fake.address]).unwrap()), NAME).await
}

fn short(answer: &DnsAnswer) -> Vec<String> {
    let one =
        |f: &Found| format!("{} {} {} {}", f.address, f.host, f.weight, if f.backup { "backup" } else { "" });
    answer.found.iter().map(|f| one(f).trim_end().to_owned()).collect()
}

#[tokio::test]
async fn priorities_weights_and_ports_come_from_the_record() {
    let fake = Fake::start().await;
    let records = vec![
        srv(NAME, 90, [20, 5, 8001], "c.test."),
        srv(NAME, 90, [10, 0, 8002], "B.test."),
        srv(NAME, 90, [10, 30, 8003], "a.test."),
    ];
    fake.set("_https._tcp.api.test.", RecordType::SRV, Reply::Records(records));
    fake.host("a.test.", 70, &["10.0.0.1", "::1"]);
    fake.host("b.test.", 30, &["10.0.0.2"]);
    fake.host("c.test.", 50, &["10.0.0.3"]);
    let answer = resolve_at(&fake).await.unwrap();
    let expected = [
        "10.0.0.1:8003 a.test 30",
        "10.0.0.2:8002 b.test 1",
        "[::1]:8003 a.test 30",
        "10.0.0.3:8001 c.test 5 backup",
    ];
    assert_eq!(short(&answer), expected);
    assert_eq!((answer.ttl, answer.missing), (Duration::from_secs(30), vec![]));
}

#[tokio::test]
async fn an_alias_of_an_srv_record_is_followed() {
    let fake = Fake::start().await;
    let chain = vec![alias(NAME, 9, "_s.test."), srv("_s.test.", 90, [1, 1, 80], "a.test.")];
    fake.set("_https._tcp.api.test.", RecordType::SRV, Reply::Records(chain));
    fake.host("a.test.", 70, &["10.0.0.1"]);
    let answer = resolve_at(&fake).await.unwrap();
    assert_eq!((short(&answer), answer.ttl.as_secs()), (vec!["10.0.0.1:80 a.test 1".to_owned()], 9));
}

#[tokio::test]
async fn services_not_offered_have_no_addresses() {
    let fake = Fake::start().await;
    fake.set("_https._tcp.api.test.", RecordType::SRV, Reply::Records(vec![srv(NAME, 9, [0, 0, 80], ".")]));
    assert!(matches!(resolve_at(&fake).await, Err(ResolveError::NotOffered)));
}

#[tokio::test]
async fn failed_hosts_are_missing_and_gone_ones_are_not() {
    let fake = Fake::start().await;
    let records = ["a.test.", "b.test.", "gone.test."].map(|host| srv(NAME, 9, [1, 1, 80], host));
    fake.set("_https._tcp.api.test.", RecordType::SRV, Reply::Records(records.to_vec()));
    fake.host("a.test.", 70, &["10.0.0.1"]);
    for kind in [RecordType::A, RecordType::AAAA] {
        fake.set("b.test.", kind, Reply::Code(ResponseCode::ServFail));
    }
    let answer = resolve_at(&fake).await.unwrap();
    assert_eq!(short(&answer), ["10.0.0.1:80 a.test 1"]);
    assert_eq!(answer.missing, [Missing { host: "b.test".into(), family: Family::Any }]);
    for kind in [RecordType::A, RecordType::AAAA] {
        fake.set("a.test.", kind, Reply::Code(ResponseCode::ServFail));
    }
    assert!(matches!(resolve_at(&fake).await, Err(ResolveError::ServerFailure)), "nothing of any host");
}

#[tokio::test]
async fn many_hosts_are_asked_for() {
    let fake = Fake::start().await;
    let host = |n: u16| format!("h{n}.test.");
    let records = (0..150).map(|n| srv(NAME, 9, [1, 1, 80], &host(n))).collect();
    fake.set("_https._tcp.api.test.", RecordType::SRV, Reply::TooLarge(records));
    (0..150).for_each(|n| fake.host(&host(n), 5, &[&format!("10.0.1.{n}")]));
    assert_eq!(resolve_at(&fake).await.unwrap().found.len(), 150);
}
