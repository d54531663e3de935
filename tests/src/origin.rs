//! A backend of requests by HTTP/1.1 that does with each what a scenario wants, and notes what it saw.

use crate::stream::Stream;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

/// A request as the backend got it.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The connection, counted from 0.
    pub connection: usize,
    /// How many came before it on this connection.
    pub before: usize,
    /// The method.
    pub method: String,
    /// The target.
    pub path: String,
    /// All of its head, in lower case but for the first line.
    pub head: String,
    /// Its body, as far as it was read.
    pub body: Vec<u8>,
}

/// What a backend does with a request.
#[derive(Debug, Clone)]
pub enum Step {
    /// Reads the request's body.
    Read,
    /// Sends this.
    Send(Vec<u8>),
    /// Sends an answer with a body of so many bytes.
    Pour(u64),
    /// Waits.
    Sleep(Duration),
    /// Waits for the other side's end, and notes it.
    Wait,
    /// Ends the connection with FIN.
    Close,
    /// Ends the connection with RST.
    Reset,
}

/// An answer with 200 and this body.
pub fn answer(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Reads the request, and answers 200 with this body.
pub fn answers(body: &str) -> Vec<Step> {
    vec![Step::Read, Step::Send(answer(body))]
}

type Script = Arc<dyn Fn(&Asked) -> Vec<Step> + Send + Sync>;

/// A running backend.
#[derive(Debug)]
pub struct Origin {
    /// Where it listens.
    pub addr: SocketAddr,
    seen: Arc<Mutex<Vec<Asked>>>,
    open: Arc<AtomicUsize>,
    left: Arc<AtomicUsize>,
    accept: AbortHandle,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Origin {
    /// Starts it on a free port.
    pub async fn start(script: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let script: Script = Arc::new(script);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (open, left) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (notes, counted, gone) = (Arc::clone(&seen), Arc::clone(&open), Arc::clone(&left));
        let accept = tokio::spawn(async move {
            let (mut visits, mut number) = (JoinSet::new(), 0);
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                let count = Counted(Arc::clone(&counted));
                let (script, notes, gone) = (Arc::clone(&script), Arc::clone(&notes), Arc::clone(&gone));
                visits.spawn(async move {
                    let _counted = count;
                    // An end in the middle of a request is no fault of this side.
                    drop(serve(Stream::Plain(stream), number, &script, &notes, &gone).await);
                });
                number += 1;
                while visits.try_join_next().is_some() {}
            }
        });
        Self { addr, seen, open, left, accept: accept.abort_handle() }
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Asked> {
        self.seen.lock().unwrap().clone()
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// How often the other side has ended during a [`Step::Wait`].
    pub fn left(&self) -> usize {
        self.left.load(Ordering::SeqCst)
    }
}

async fn serve(
    mut stream: Stream,
    connection: usize,
    script: &Script,
    seen: &Mutex<Vec<Asked>>,
    left: &AtomicUsize,
) -> std::io::Result<()> {
    let mut ahead = Vec::new();
    for before in 0.. {
        let Some(head) = head(&mut stream, &mut ahead).await? else { return Ok(()) };
        let mut words = head.split([' ', '\r']);
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (method, path) = (word(), word());
        let lower = head.to_ascii_lowercase();
        let mut asked = Asked { connection, before, method, path, head: lower, body: Vec::new() };
        let at = {
            let mut seen = seen.lock().unwrap();
            seen.push(asked.clone());
            seen.len() - 1
        };
        for step in script(&asked) {
            match step {
                Step::Read => {
                    asked.body = body(&mut stream, &mut ahead, &asked.head, false).await?;
                    seen.lock().unwrap()[at] = asked.clone();
                }
                Step::Send(bytes) => stream.send(&bytes).await?,
                Step::Pour(count) => {
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {count}\r\n\r\n");
                    stream.send(head.as_bytes()).await?;
                    let piece = vec![b'x'; 256 << 10];
                    for at in (0..count).step_by(piece.len()) {
                        stream.send(&piece[..piece.len().min((count - at) as usize)]).await?;
                    }
                }
                Step::Sleep(pause) => tokio::time::sleep(pause).await,
                Step::Wait => {
                    let mut rest = vec![0; 64 << 10];
                    while stream.read(&mut rest).await.is_ok_and(|n| n > 0) {}
                    left.fetch_add(1, Ordering::SeqCst);
                    return Ok(());
                }
                Step::Close => return Ok(()),
                Step::Reset => {
                    stream.reset();
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// An answer as a client got it.
#[derive(Debug, Clone, Default)]
pub struct Got {
    /// The status.
    pub status: u16,
    /// All of its head, in lower case.
    pub head: String,
    /// All of its head, as it came.
    pub exact: String,
    /// The body, without chunks.
    pub body: Vec<u8>,
}

impl Got {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Reads the next answer on a connection. `bodyless` where a request's answer has no body whatever it says, as HEAD's.
///
/// # Errors
/// The connection ends before the answer.
pub async fn next_answer(stream: &mut Stream, bodyless: bool) -> std::io::Result<Got> {
    let read = async {
        let mut ahead = Vec::new();
        let head = head(stream, &mut ahead).await?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        let (exact, head) = (head.clone(), head.to_ascii_lowercase());
        let none = bodyless || matches!(status, 204 | 304);
        let body = if none { Vec::new() } else { body(stream, &mut ahead, &head, true).await? };
        Ok(Got { status, head, exact, body })
    };
    tokio::time::timeout(Duration::from_secs(60), read).await.map_err(|_| std::io::ErrorKind::TimedOut)?
}

/// Sends a request and reads its answer.
///
/// # Errors
/// The connection ends before the answer.
pub async fn ask(stream: &mut Stream, request: &str) -> std::io::Result<Got> {
    stream.send(request.as_bytes()).await?;
    next_answer(stream, request.starts_with("HEAD")).await
}

/// Reads some more; false at the end.
async fn more(stream: &mut Stream, ahead: &mut Vec<u8>) -> std::io::Result<bool> {
    let before = ahead.len();
    ahead.resize(before + 64 * 1024, 0);
    let read = stream.read(&mut ahead[before..]).await;
    ahead.truncate(before + *read.as_ref().unwrap_or(&0));
    Ok(read? > 0)
}

async fn head(stream: &mut Stream, ahead: &mut Vec<u8>) -> std::io::Result<Option<String>> {
    loop {
        if let Some(at) = ahead.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = ahead.split_off(at + 4);
            return Ok(Some(String::from_utf8_lossy(&std::mem::replace(ahead, rest)).into_owned()));
        }
        if !more(stream, ahead).await? {
            return Ok(None);
        }
    }
}

async fn body(
    stream: &mut Stream,
    ahead: &mut Vec<u8>,
    head: &str,
    answer: bool,
) -> std::io::Result<Vec<u8>> {
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let mut body = Vec::new();
    if field("transfer-encoding:") == Some("chunked") {
        loop {
            let size = line(stream, ahead).await?;
            let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)
                .map_err(|_| std::io::ErrorKind::InvalidData)?;
            if size == 0 {
                while !line(stream, ahead).await?.is_empty() {}
                return Ok(body);
            }
            body.extend(exactly(stream, ahead, size).await?);
            line(stream, ahead).await?;
        }
    }
    if let Some(length) = field("content-length:") {
        let length = length.parse().map_err(|_| std::io::ErrorKind::InvalidData)?;
        return exactly(stream, ahead, length).await;
    }
    if answer {
        while more(stream, ahead).await? {}
        body.append(ahead);
    }
    Ok(body)
}

async fn exactly(stream: &mut Stream, ahead: &mut Vec<u8>, count: usize) -> std::io::Result<Vec<u8>> {
    while ahead.len() < count {
        if !more(stream, ahead).await? {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let rest = ahead.split_off(count);
    Ok(std::mem::replace(ahead, rest))
}

async fn line(stream: &mut Stream, ahead: &mut Vec<u8>) -> std::io::Result<String> {
    loop {
        if let Some(at) = ahead.windows(2).position(|two| two == b"\r\n") {
            let rest = ahead.split_off(at + 2);
            let line = std::mem::replace(ahead, rest);
            return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
        }
        if !more(stream, ahead).await? {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}
