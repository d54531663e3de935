//! Names over time, against a server whose answers change.

use super::*;
use crate::discovery::fake::{Fake, Reply};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;

const SOON: Duration = Duration::from_secs(5);

struct World {
    fake: Fake,
    sources: Sources,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

async fn world() -> World {
    let fake = Fake::start().await;
    let metrics = Metrics::new("0", "0", "0").unwrap();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let sources = Sources::new(DnsResolver::new(&[fake.address]).unwrap(), &metrics, &tasks, &stop);
    World { fake, sources, metrics, tasks, stop }
}

impl World {
    fn found(&self, of: &str) -> Vec<String> {
        self.sources.found(&host(of)).iter().map(|f| f.address.to_string()).collect()
    }

    async fn changed(&self) -> Vec<Source> {
        timeout(SOON, self.sources.changed()).await.expect("a change")
    }

    async fn failing(&self, of: &str) -> String {
        let seen = async {
            loop {
                if let Some(failure) = self.sources.state(&host(of)).failure {
                    return failure;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(SOON, seen).await.expect("a failure")
    }

    fn fail(&self, of: &str) {
        for kind in [RecordType::A, RecordType::AAAA] {
            self.fake.set(of, kind, Reply::Code(ResponseCode::ServFail));
        }
    }
}

fn host(name: &str) -> Source {
    Source::Dns { host: name.into(), port: 80 }
}

#[tokio::test]
async fn the_first_answers_are_there_before_the_plan() {
    let w = world().await;
    w.fake.host("a.test.", 60, &["10.0.0.1"]);
    w.sources.first([host("a.test"), host("b.test")], None, SOON).await;
    assert_eq!(w.found("a.test"), ["10.0.0.1:80"]);
    let lost = w.sources.state(&host("b.test"));
    assert!(lost.answer.is_none() && lost.at.is_some());
    assert_eq!(lost.failure.as_deref(), Some("there is no such name (NXDOMAIN)"));
    let asked = w.fake.asked().len();
    w.sources.first([host("a.test"), host("b.test")], None, SOON).await;
    assert_eq!(w.fake.asked().len(), asked, "known ones are not asked for again");
    w.sources.reconcile([host("a.test")]);
    assert!(
        timeout(Duration::from_millis(300), w.sources.changed()).await.is_err(),
        "the plan has this answer"
    );
    assert_eq!(w.fake.asked().len(), asked, "nor when their task starts");
}

#[tokio::test]
async fn the_first_answers_are_not_waited_for_without_end() {
    let w = world().await;
    for kind in [RecordType::A, RecordType::AAAA] {
        w.fake.set("a.test.", kind, Reply::Silence);
    }
    let begin = Instant::now();
    w.sources.first([host("a.test")], None, Duration::from_millis(200)).await;
    assert!(begin.elapsed() < Duration::from_secs(1));
    w.sources.reconcile([host("a.test")]);
    w.fake.host("a.test.", 60, &["10.0.0.1"]);
    assert_eq!(w.changed().await, [host("a.test")]);
}

#[tokio::test]
async fn a_changed_answer_is_told_once_and_an_equal_one_never() {
    let w = world().await;
    w.fake.host("a.test.", 1, &["10.0.0.1", "10.0.0.2"]);
    w.sources.reconcile([host("a.test")]);
    assert_eq!(w.changed().await, [host("a.test")]);
    w.fake.host("a.test.", 1, &["10.0.0.2", "10.0.0.1"]);
    assert!(
        timeout(Duration::from_millis(1500), w.sources.changed()).await.is_err(),
        "another order is no change"
    );
    w.fake.host("a.test.", 1, &["10.0.0.2", "::1"]);
    assert_eq!(w.changed().await, [host("a.test")]);
    assert_eq!(w.found("a.test"), ["10.0.0.2:80", "[::1]:80"]);
}

#[tokio::test]
async fn the_last_good_answer_outlives_failures() {
    let w = world().await;
    w.fake.host("a.test.", 0, &["10.0.0.1"]);
    w.sources.reconcile([host("a.test")]);
    w.changed().await;
    w.fail("a.test.");
    assert_eq!(w.failing("a.test").await, "the DNS server failed (SERVFAIL)");
    assert_eq!(w.found("a.test"), ["10.0.0.1:80"]);
    w.fake.host("a.test.", 60, &["10.0.0.2"]);
    assert_eq!(w.changed().await, [host("a.test")]);
    assert_eq!(
        (w.found("a.test"), w.sources.state(&host("a.test")).failure),
        (vec!["10.0.0.2:80".to_owned()], None)
    );
    let scrape = w.metrics.scrape().unwrap();
    for result in ["ok", "server_failure"] {
        let series = format!("weir_dns_resolutions_total{{name=\"a.test:80\",result=\"{result}\"}}");
        assert!(scrape.contains(&series), "{series} in {scrape}");
    }
}

#[tokio::test]
async fn half_an_answer_drains_nothing_and_is_asked_for_again() {
    let w = world().await;
    w.fake.host("a.test.", 1, &["10.0.0.1", "::1"]);
    w.sources.reconcile([host("a.test")]);
    w.changed().await;
    w.fake.host("a.test.", 3600, &["10.0.0.9", "::1"]);
    w.fake.set("a.test.", RecordType::AAAA, Reply::Code(ResponseCode::ServFail));
    w.changed().await;
    assert_eq!(w.found("a.test"), ["10.0.0.9:80", "[::1]:80"]);
    w.fake.host("a.test.", 3600, &["10.0.0.9", "::2"]);
    w.changed().await;
    assert_eq!(w.found("a.test"), ["10.0.0.9:80", "[::2]:80"]);
}

#[tokio::test]
async fn names_come_and_go_with_the_plan() {
    let w = world().await;
    w.fake.host("a.test.", 60, &["10.0.0.1"]);
    w.fake.host("b.test.", 60, &["10.0.0.2"]);
    w.sources.reconcile([host("a.test")]);
    w.changed().await;
    w.sources.reconcile([host("b.test")]);
    assert_eq!(w.changed().await, [host("b.test")]);
    assert!(w.sources.state(&host("a.test")).at.is_none(), "forgotten");
    let scrape = w.metrics.scrape().unwrap();
    assert!(scrape.contains("name=\"b.test:80\"") && !scrape.contains("a.test"), "{scrape}");
    w.stop.cancel();
    w.tasks.close();
    timeout(SOON, w.tasks.wait()).await.expect("tasks end with the process");
}

#[tokio::test]
async fn other_servers_are_asked_for_every_name() {
    let (w, other) = (world().await, Fake::start().await);
    w.fake.host("a.test.", 3600, &["10.0.0.1"]);
    other.host("a.test.", 3600, &["10.0.0.2"]);
    w.sources.reconcile([host("a.test")]);
    w.changed().await;
    w.sources.ask(DnsResolver::new(&[other.address]).unwrap());
    w.sources.reconcile([host("a.test")]);
    assert_eq!(w.changed().await, [host("a.test")]);
    assert_eq!(w.found("a.test"), ["10.0.0.2:80"]);
}

#[tokio::test]
async fn changes_gather_until_they_are_waited_for() {
    let w = world().await;
    let all: Vec<Source> = (0..100).map(|n| host(&format!("h{n}.test"))).collect();
    (0..100).for_each(|n| w.fake.host(&format!("h{n}.test."), 3600, &["10.0.0.1"]));
    w.sources.reconcile(all.clone());
    let resolved = async {
        while all.iter().any(|t| w.sources.state(t).answer.is_none()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, resolved).await.expect("a hundred answers");
    let mut changed = w.changed().await;
    changed.sort();
    let mut expected = all;
    expected.sort();
    assert_eq!(changed, expected);
}
