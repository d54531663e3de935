//! Against servers that answer as they are told to.

use super::*;
use crate::discovery::fake::{Fake, Reply, alias, record};
use tokio::time::Instant;

const TTL: u32 = 60;

fn name(name: &str) -> Name {
    Name::from_ascii(name).unwrap()
}

fn ip(ip: &str) -> RData {
    RData::from(ip.parse::<std::net::IpAddr>().unwrap())
}

async fn ask(fakes: &[&Fake], of: &str) -> Result<Records, &'static str> {
    let addresses: Vec<_> = fakes.iter().map(|f| f.address).collect();
    let servers = Servers::new(&addresses).unwrap();
    servers.records(name(of), RecordType::A).await.map_err(|error| error.result().label())
}

#[tokio::test]
async fn the_smallest_ttl_on_the_way_counts() {
    let fake = Fake::start().await;
    let chain = vec![
        record("c.test.", 300, ip("10.0.0.1")),
        alias("b.test.", 20, "c.test."),
        alias("a.test.", 90, "b.test."),
        record("other.test.", 1, ip("10.9.9.9")),
    ];
    fake.set("a.test.", RecordType::A, Reply::Records(chain));
    let expected = Records { data: vec![ip("10.0.0.1")], ttl: Duration::from_secs(20) };
    assert_eq!(ask(&[&fake], "A.test.").await, Ok(expected));
}

#[tokio::test]
async fn an_alias_whose_end_was_left_out_is_followed() {
    let fake = Fake::start().await;
    fake.set("a.test.", RecordType::A, Reply::Records(vec![alias("a.test.", 9, "b.test.")]));
    fake.host("b.test.", TTL, &["10.0.0.2"]);
    let expected = Records { data: vec![ip("10.0.0.2")], ttl: Duration::from_secs(9) };
    assert_eq!(ask(&[&fake], "a.test.").await, Ok(expected));
    fake.set("b.test.", RecordType::A, Reply::Records(vec![alias("b.test.", 9, "a.test.")]));
    assert_eq!(ask(&[&fake], "a.test.").await, Err("error"), "a circle over two answers");
    let circle = vec![alias("a.test.", 9, "b.test."), alias("b.test.", 9, "a.test.")];
    fake.set("a.test.", RecordType::A, Reply::Records(circle));
    assert!(ask(&[&fake], "a.test.").await.is_err(), "a circle within one");
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_over_tcp() {
    let fake = Fake::start().await;
    let many: Vec<_> = (0..200).map(|n| record("a.test.", TTL, ip(&format!("10.0.0.{n}")))).collect();
    fake.set("a.test.", RecordType::A, Reply::TooLarge(many));
    let servers = Servers::new(&[fake.address]).unwrap();
    assert_eq!(servers.records(name("a.test."), RecordType::A).await.unwrap().data.len(), 200);
    assert_eq!(fake.asked().len(), 2);
    let closed = async {
        while fake.open.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(5), closed).await.expect("no connection is kept");
}

#[tokio::test]
async fn each_failure_has_its_name() {
    let fake = Fake::start().await;
    let codes = [
        (ResponseCode::NXDomain, "nxdomain"),
        (ResponseCode::NoError, "no_data"),
        (ResponseCode::ServFail, "server_failure"),
        (ResponseCode::Refused, "server_failure"),
        (ResponseCode::YXDomain, "server_failure"),
        // DSOTYPENI (RFC 8490) and an undefined one.
        (ResponseCode::Unknown(11), "server_failure"),
        (ResponseCode::Unknown(15), "server_failure"),
        (ResponseCode::Unknown(24), "server_failure"),
    ];
    for (code, label) in codes {
        fake.set("a.test.", RecordType::A, Reply::Code(code));
        assert_eq!(ask(&[&fake], "a.test.").await, Err(label), "{code}");
    }
    assert_eq!(fake.asked().len(), codes.len(), "a failure that was told is not asked for again");
    fake.set("a.test.", RecordType::A, Reply::Garbage);
    assert_eq!(ask(&[&fake], "a.test.").await, Err("error"));
    // What stands behind such a code counts for nothing.
    let records = vec![record("a.test.", TTL, ip("10.0.0.1"))];
    fake.set("a.test.", RecordType::A, Reply::CodeWith(ResponseCode::Unknown(11), records));
    assert_eq!(ask(&[&fake], "a.test.").await, Err("server_failure"));
}

#[tokio::test]
async fn servers_without_edns_are_asked_without_it() {
    let records = || vec![record("a.test.", TTL, ip("10.0.0.1"))];
    for code in [ResponseCode::FormErr, ResponseCode::NotImp, ResponseCode::BADVERS] {
        let fake = Fake::start().await;
        fake.set("a.test.", RecordType::A, Reply::WithoutEdns(Some(code), records()));
        let servers = Servers::new(&[fake.address]).unwrap();
        for _ in 0..3 {
            assert_eq!(servers.records(name("a.test."), RecordType::A).await.unwrap().data, [ip("10.0.0.1")]);
        }
        assert_eq!(fake.asked().len(), 4, "{code}: it is known from then on");
        let other = servers.records(name("b.test."), RecordType::A).await;
        assert!(matches!(other, Err(ResolveError::NoSuchName)), "{other:?}");
        // A server that refuses without EDNS too has failed.
        fake.set("a.test.", RecordType::A, Reply::Code(code));
        assert_eq!(ask(&[&fake], "a.test.").await, Err("server_failure"), "{code}");
    }
}

#[tokio::test]
async fn servers_silent_to_edns_are_asked_without_it() {
    let fake = Fake::start().await;
    let records = vec![record("a.test.", TTL, ip("10.0.0.1"))];
    fake.set("a.test.", RecordType::A, Reply::WithoutEdns(None, records));
    let servers = Servers::new(&[fake.address]).unwrap();
    let begin = Instant::now();
    for _ in 0..3 {
        assert!(servers.records(name("a.test."), RecordType::A).await.is_ok());
    }
    assert!(begin.elapsed() < Duration::from_secs(6), "once, and not again: {:?}", begin.elapsed());
}

#[tokio::test]
async fn edns_is_tried_again_after_an_hour_by_one_question() {
    let records = || vec![record("a.test.", TTL, ip("10.0.0.1"))];
    let fake = Fake::start().await;
    let old = Reply::WithoutEdns(Some(ResponseCode::FormErr), records());
    fake.set("a.test.", RecordType::A, old);
    let servers = Servers::new(&[fake.address]).unwrap();
    let ask = async || assert!(servers.records(name("a.test."), RecordType::A).await.is_ok());
    let an_hour_later = async || {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(3601)).await;
        tokio::time::resume();
    };
    let with_edns = || fake.with_edns.load(Ordering::Relaxed);
    for tries in 1..=2 {
        for _ in 0..3 {
            ask().await;
        }
        assert_eq!(with_edns(), tries, "once an hour");
        an_hour_later().await;
    }
    // It has learnt it meanwhile.
    fake.set("a.test.", RecordType::A, Reply::Records(records()));
    for _ in 0..3 {
        ask().await;
    }
    assert_eq!(with_edns(), 5);
}

#[tokio::test]
async fn negative_answers_are_final() {
    let (first, second) = (Fake::start().await, Fake::start().await);
    second.host("a.test.", TTL, &["10.0.0.1"]);
    assert_eq!(ask(&[&first, &second], "a.test.").await, Err("nxdomain"));
    assert!(second.asked().is_empty());
}

#[tokio::test]
async fn a_lame_server_is_passed_over_and_then_avoided() {
    for lame in [Reply::Code(ResponseCode::ServFail), Reply::Code(ResponseCode::Refused), Reply::Garbage] {
        let (first, second) = (Fake::start().await, Fake::start().await);
        first.set("a.test.", RecordType::A, lame);
        second.host("a.test.", TTL, &["10.0.0.1"]);
        let servers = Servers::new(&[first.address, second.address]).unwrap();
        for _ in 0..3 {
            assert_eq!(servers.records(name("a.test."), RecordType::A).await.unwrap().data, [ip("10.0.0.1")]);
        }
        assert_eq!((first.asked().len(), second.asked().len()), (1, 3));
    }
}

#[tokio::test]
async fn silence_ends() {
    let fake = Fake::start().await;
    fake.set("a.test.", RecordType::A, Reply::Silence);
    let begin = Instant::now();
    assert_eq!(ask(&[&fake], "a.test.").await, Err("timeout"));
    let took = begin.elapsed();
    // Two rounds of two seconds.
    assert!(took > Duration::from_millis(3500) && took < Duration::from_secs(7), "{took:?}");
    assert!(fake.asked().len() > 2, "a lost packet is not a lost try: {:?}", fake.asked());
}

#[tokio::test]
async fn behind_a_silent_server_the_next_one_is_asked() {
    let (first, second) = (Fake::start().await, Fake::start().await);
    first.set("a.test.", RecordType::A, Reply::Silence);
    second.host("a.test.", TTL, &["10.0.0.1"]);
    assert!(ask(&[&first, &second], "a.test.").await.is_ok());
}
