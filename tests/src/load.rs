//! Many real clients at once: HTTP/1.1 over TLS or plain TCP, with bodies whose every byte is checked.
//!
//! A client asks, thinks for a while, and asks again, over the same connection or a new one. Each failure is
//! kept with the client's address, so that it can be compared with weir's access record of that connection.

use crate::client::{TlsClient, try_tcp};
use crate::digest::Noise;
use crate::stream::{End, Stream};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Longer than any answer head of the peers here.
const HEAD_MAX: usize = 16 * 1024;

/// What every client of a load does.
#[derive(Debug, Clone)]
pub struct Load {
    edge: SocketAddr,
    name: String,
    tls: Option<TlsClient>,
    path: String,
    upload: Arc<[u8]>,
    answer: Arc<[u8]>,
    requests: u32,
    pause: Duration,
    patience: Duration,
}

/// Where a connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// No TCP connection.
    Connect,
    /// No TLS session.
    Handshake,
    /// The request could not be sent, or no byte of an answer came.
    Unanswered,
    /// The answer broke off.
    Answer,
    /// An answer came, and it was not the right one.
    Wrong,
    /// The whole answer came, but the connection did not end cleanly after the last one.
    End,
    /// Between two requests: no request failed, but the connection did not last.
    Idle,
}

/// A connection that did not behave.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Where it failed.
    pub stage: Stage,
    /// What the client saw.
    pub why: String,
    /// The client's own address; none if it never got a connection.
    pub client: Option<SocketAddr>,
    /// When the connection began.
    pub opened: SystemTime,
    /// When the failed request began; for [`Stage::Idle`], when the last one ended.
    pub asked: SystemTime,
    /// When it failed.
    pub failed: SystemTime,
    /// Whole answers that had come over the connection before.
    pub answers: u64,
    /// Bytes of the requests over it, before TLS, those of the failed one included.
    pub sent: u64,
    /// Bytes of answers that came over it, after TLS.
    pub received: u64,
}

/// The result of a load.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests that got the whole right answer.
    pub served: u64,
    /// Connections begun.
    pub connections: u64,
    /// All failures, [`Stage::Idle`] included.
    pub failures: Vec<Failure>,
}

impl Tally {
    /// How many requests failed.
    pub fn failed(&self) -> u64 {
        self.failures.iter().filter(|failure| failure.stage != Stage::Idle).count() as u64
    }

    /// Adds another result.
    pub fn add(&mut self, other: Self) {
        self.served += other.served;
        self.connections += other.connections;
        self.failures.extend(other.failures);
    }
}

/// Clients at work. Dropping it ends them at once.
#[derive(Debug)]
pub struct Running {
    signs: Arc<Signs>,
    clients: JoinSet<Tally>,
}

#[derive(Debug, Default)]
struct Signs {
    over: AtomicBool,
    end: Notify,
    served: AtomicU64,
    failed: AtomicU64,
}

impl Signs {
    fn over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Waits, unless the load is over: then no client thinks any longer.
    async fn unless_over<T>(&self, wait: impl Future<Output = T>) -> Option<T> {
        let end = self.end.notified();
        if self.over() {
            return None;
        }
        tokio::select! {
            value = wait => Some(value),
            () = end => None,
        }
    }
}

impl Load {
    /// Clients that ask `name` at `edge` for `path`, once a connection, without a pause, and expect `answer`.
    pub fn new(edge: SocketAddr, name: &str, path: &str, answer: &[u8]) -> Self {
        Self {
            edge,
            name: name.to_owned(),
            tls: None,
            path: path.to_owned(),
            upload: Arc::new([]),
            answer: answer.into(),
            requests: 1,
            pause: Duration::ZERO,
            patience: Duration::from_secs(20),
        }
    }

    /// Over TLS.
    #[must_use]
    pub fn tls(mut self, client: &TlsClient) -> Self {
        self.tls = Some(client.clone());
        self
    }

    /// Sends a body with each request.
    #[must_use]
    pub fn upload(mut self, body: &[u8]) -> Self {
        self.upload = body.into();
        self
    }

    /// So many requests a connection.
    #[must_use]
    pub fn keep_alive(mut self, requests: u32) -> Self {
        self.requests = requests.max(1);
        self
    }

    /// How long a client thinks before each request, half to one and a half of this.
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// How long a client waits for each step.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Starts so many clients, spread over one pause.
    pub fn start(&self, clients: usize) -> Running {
        let mut running = Running { signs: Arc::default(), clients: JoinSet::new() };
        for number in 0..clients {
            let (load, signs) = (self.clone(), Arc::clone(&running.signs));
            running.clients.spawn(async move { load.client(number, &signs).await });
        }
        running
    }

    async fn client(self, number: usize, signs: &Signs) -> Tally {
        let mut tally = Tally::default();
        let mut think = Think { noise: Noise::new(number as u64 + 1), pause: self.pause };
        signs.unless_over(tokio::time::sleep(self.pause.mul_f64(think.share()))).await;
        while !signs.over() {
            let mut visit = Visit::begin(&self, signs);
            let end = visit.run(&mut think).await;
            tally.connections += 1;
            tally.served += visit.answers;
            if let Err((stage, why)) = end {
                tally.failures.push(visit.failure(stage, why));
                signs.failed.fetch_add(u64::from(stage != Stage::Idle), Ordering::Relaxed);
            }
            signs.unless_over(tokio::time::sleep(think.time())).await;
        }
        tally
    }
}

impl Running {
    /// Requests served so far.
    pub fn served(&self) -> u64 {
        self.signs.served.load(Ordering::Relaxed)
    }

    /// Requests failed so far.
    pub fn failed(&self) -> u64 {
        self.signs.failed.load(Ordering::Relaxed)
    }

    /// Lets every client finish the work it has begun, and gives the result of all.
    ///
    /// # Panics
    /// When a client panicked.
    pub async fn stop(mut self) -> Tally {
        self.signs.over.store(true, Ordering::SeqCst);
        self.signs.end.notify_waiters();
        let mut whole = Tally::default();
        while let Some(tally) = self.clients.join_next().await {
            whole.add(tally.unwrap());
        }
        whole
    }
}

/// Pauses that differ from client to client and from time to time.
struct Think {
    noise: Noise,
    pause: Duration,
}

impl Think {
    fn share(&mut self) -> f64 {
        self.noise.below(1000) as f64 / 1000.0
    }

    fn time(&mut self) -> Duration {
        self.pause.mul_f64(0.5 + self.share())
    }
}

/// One connection of one client.
struct Visit<'a> {
    load: &'a Load,
    signs: &'a Signs,
    client: Option<SocketAddr>,
    opened: SystemTime,
    asked: SystemTime,
    answers: u64,
    sent: u64,
    received: u64,
}

type Step<T> = Result<T, (Stage, String)>;

impl<'a> Visit<'a> {
    fn begin(load: &'a Load, signs: &'a Signs) -> Self {
        let now = SystemTime::now();
        Self { load, signs, client: None, opened: now, asked: now, answers: 0, sent: 0, received: 0 }
    }

    fn failure(&self, stage: Stage, why: String) -> Failure {
        Failure {
            stage,
            why,
            client: self.client,
            opened: self.opened,
            asked: self.asked,
            failed: SystemTime::now(),
            answers: self.answers,
            sent: self.sent,
            received: self.received,
        }
    }

    /// A step of the client, with a time limit.
    async fn step<T>(&self, stage: Stage, step: impl Future<Output = io::Result<T>>) -> Step<T> {
        match tokio::time::timeout(self.load.patience, step).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err((stage, error.to_string())),
            Err(_) => Err((stage, format!("nothing within {:?}", self.load.patience))),
        }
    }

    async fn run(&mut self, think: &mut Think) -> Step<()> {
        let tcp = self.step(Stage::Connect, try_tcp(self.load.edge)).await?;
        self.client = tcp.local_addr().ok();
        let mut stream = match &self.load.tls {
            Some(tls) => self.step(Stage::Handshake, tls.over(tcp, &self.load.name)).await?,
            None => Stream::Plain(tcp),
        };
        let end = self.talk(&mut stream, think).await;
        // A client always says goodbye; that fails if the peer has gone.
        let _ = self.step(Stage::End, stream.shutdown()).await;
        end
    }

    /// All requests of the connection.
    async fn talk(&mut self, stream: &mut Stream, think: &mut Think) -> Step<()> {
        for number in 1..=self.load.requests {
            self.asked = SystemTime::now();
            let last = number == self.load.requests || self.signs.over();
            self.ask(stream, last).await?;
            self.answers += 1;
            self.signs.served.fetch_add(1, Ordering::Relaxed);
            if last {
                return self.end(stream).await;
            }
            self.asked = SystemTime::now();
            match self.signs.unless_over(idle(stream, think.time())).await {
                Some(lasted) => lasted?,
                None => continue,
            }
        }
        Ok(())
    }

    /// One request, and the whole of its answer.
    async fn ask(&mut self, stream: &mut Stream, last: bool) -> Step<()> {
        let Load { name, path, upload, answer, .. } = self.load;
        let verb = if upload.is_empty() { "GET" } else { "POST" };
        let after = if last { "close" } else { "keep-alive" };
        let head = format!(
            "{verb} {path} HTTP/1.1\r\nHost: {name}\r\nConnection: {after}\r\nContent-Length: {}\r\n\r\n",
            upload.len()
        );
        self.sent += (head.len() + upload.len()) as u64;
        self.step(Stage::Unanswered, stream.send(head.as_bytes())).await?;
        if !upload.is_empty() {
            self.step(Stage::Unanswered, stream.send(upload)).await?;
        }
        let (mut bytes, mut body) = (Vec::new(), None);
        loop {
            if body.is_none() {
                body = begin_of_body(&bytes, answer.len())?;
            }
            if let Some(begin) = body
                && bytes.len() >= begin + answer.len()
            {
                let right = bytes[begin..] == answer[..];
                return if right { Ok(()) } else { Err((Stage::Wrong, "other bytes".to_owned())) };
            }
            let stage = if bytes.is_empty() { Stage::Unanswered } else { Stage::Answer };
            match self.step(stage, stream.read_buf(&mut bytes)).await? {
                0 => return Err((stage, "a clean end".to_owned())),
                count => self.received += count as u64,
            }
        }
    }

    /// After the last answer the server ends the connection, cleanly and without another byte.
    async fn end(&self, stream: &mut Stream) -> Step<()> {
        let (rest, end) = self.step(Stage::End, async { Ok(stream.rest().await) }).await?;
        match end {
            End::Clean if rest.is_empty() => Ok(()),
            other => Err((Stage::End, format!("{other:?} after {} bytes too many", rest.len()))),
        }
    }
}

/// Waits between two requests; the connection has to last.
async fn idle(stream: &mut Stream, pause: Duration) -> Step<()> {
    let mut buffer = [0; 64];
    match tokio::time::timeout(pause, stream.read(&mut buffer)).await {
        Err(_) => Ok(()),
        Ok(Ok(0)) => Err((Stage::Idle, "a clean end".to_owned())),
        Ok(Ok(_)) => Err((Stage::Wrong, "unexpected bytes".to_owned())),
        Ok(Err(error)) => Err((Stage::Idle, error.to_string())),
    }
}

/// Where the body begins, once the whole head is there; it must be that of a good answer of this length.
fn begin_of_body(bytes: &[u8], length: usize) -> Step<Option<usize>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        let wrong = (Stage::Wrong, "a head without end".to_owned());
        return if bytes.len() > HEAD_MAX { Err(wrong) } else { Ok(None) };
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let good = head.starts_with("http/1.1 200 ")
        && head.lines().any(|line| line.trim() == format!("content-length: {length}"));
    if good { Ok(Some(end + 4)) } else { Err((Stage::Wrong, head)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::{Backend, Role};
    use crate::world::{Identities, NAME};

    #[tokio::test]
    async fn right_answers_count_and_wrong_ones_are_reported() {
        let identities = Identities::default();
        let backend = Backend::tls(Role::Http("a body"), &identities.backend).await;
        let load = Load::new(backend.addr, NAME, "/", b"a body").tls(&identities.client());
        for (load, right) in [(load.clone(), true), (Load { answer: Arc::from(*b"b body"), ..load }, false)] {
            let running = load.pause(Duration::from_millis(20)).start(5);
            while running.served() + running.failed() < 20 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let tally = running.stop().await;
            assert_eq!((tally.served > 0, tally.failed() == 0), (right, right), "{tally:#?}");
            assert!(
                tally
                    .failures
                    .iter()
                    .all(|failure| failure.stage == Stage::Wrong && failure.client.is_some())
            );
        }
    }

    #[tokio::test]
    async fn stages_are_told_apart() {
        let identities = Identities::default();
        let stage = async |role: Role, keep: u32| {
            let backend = Backend::tls(role, &identities.backend).await;
            let load =
                Load::new(backend.addr, NAME, "/", b"whole").tls(&identities.client()).keep_alive(keep);
            let running = load.pause(Duration::from_millis(20)).patience(Duration::from_millis(500)).start(1);
            while running.failed() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            running.stop().await.failures[0].stage
        };
        assert_eq!(stage(Role::ResetAfter(0), 1).await, Stage::Handshake);
        assert_eq!(stage(Role::CloseAtOnce, 1).await, Stage::Unanswered);
        let half = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwho".to_vec();
        assert_eq!(stage(Role::Truncate(half), 1).await, Stage::Answer);
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole".to_vec();
        assert_eq!(stage(Role::Truncate(whole), 1).await, Stage::End);
        let port = crate::peers::refused();
        let running = Load::new(port.addr(), NAME, "/", b"").start(1);
        while running.failed() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(running.stop().await.failures[0].stage, Stage::Connect);
    }
}
