//! A backend that records every byte of HTTP/1.1 requests, and parses them more strictly than any real one.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The method.
    pub method: String,
    /// The request target.
    pub target: String,
    /// Names and values, as they came.
    pub fields: Vec<(String, String)>,
    /// The body, without its chunks' sizes.
    pub body: Vec<u8>,
    /// The lines of its trailers.
    pub trailers: Vec<String>,
}

impl Received {
    /// The values of a field, by its name in lower case.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The only value of a field.
    ///
    /// # Panics
    /// When there is none, or another one.
    pub fn only(&self, name: &str) -> &str {
        let [value] = self.all(name)[..] else { panic!("{name}: {:?}", self.fields) };
        value
    }
}

/// What it does with a request.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Sent once a request is complete.
    pub bytes: Vec<u8>,
    /// Whether the connection is closed after it.
    pub closes: bool,
}

impl Reply {
    /// A good answer, after which the connection stays.
    pub fn good() -> Self {
        Self::kept(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    }

    /// These bytes, after which the connection stays.
    pub fn kept(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), closes: false }
    }

    /// These bytes, after which the connection is closed.
    pub fn last(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), closes: true }
    }
}

/// A running recorder. Dropping it closes its listener and its connections.
#[derive(Debug)]
pub struct Recorder {
    /// Where it listens.
    pub addr: SocketAddr,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    accept: AbortHandle,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

impl Recorder {
    /// Starts it.
    pub async fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::<Vec<u8>>::new()));
        let book = Arc::clone(&seen);
        let accept = tokio::spawn(async move {
            let mut visits = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let index = {
                    let mut book = book.lock().unwrap();
                    book.push(Vec::new());
                    book.len() - 1
                };
                visits.spawn(serve(stream, Arc::clone(&book), index, reply.clone()));
                while visits.try_join_next().is_some() {}
            }
        });
        Self { addr, seen, accept: accept.abort_handle() }
    }

    /// The bytes of each connection so far.
    pub fn bytes(&self) -> Vec<Vec<u8>> {
        self.seen.lock().unwrap().clone()
    }

    /// Forgets what came so far on connections that are over or idle.
    pub fn forget(&self) {
        self.seen.lock().unwrap().iter_mut().for_each(Vec::clear);
    }

    /// The complete requests so far, by connection. What follows the last complete one of a connection is left out.
    pub fn complete(&self) -> Vec<Received> {
        let mut all = Vec::new();
        for bytes in self.bytes() {
            let mut rest = &bytes[..];
            while let Ok((request, length)) = strictly(rest) {
                all.push(request);
                rest = &rest[length..];
            }
        }
        all
    }

    /// Every request so far, by connection.
    ///
    /// # Panics
    /// When what came is no sequence of complete, well-formed requests: each with one host, one length, and no
    /// byte that has two readings.
    pub fn requests(&self) -> Vec<Received> {
        let mut all = Vec::new();
        for bytes in self.bytes() {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (request, length) = strictly(rest).unwrap_or_else(|why| {
                    panic!("{why}: {}", bytes.escape_ascii());
                });
                all.push(request);
                rest = &rest[length..];
            }
        }
        all
    }
}

async fn serve(
    mut stream: TcpStream,
    book: Arc<Mutex<Vec<Vec<u8>>>>,
    index: usize,
    reply: Reply,
) -> io::Result<()> {
    let mut answered = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        book.lock().unwrap()[index].extend_from_slice(&buffer[..count]);
        answered.extend_from_slice(&buffer[..count]);
        while let Ok((_, length)) = strictly(&answered) {
            answered.drain(..length);
            stream.write_all(&reply.bytes).await?;
            if reply.closes {
                return Ok(());
            }
        }
    }
}

/// The first request in `bytes` and its length, or what is wrong or missing.
///
/// # Errors
/// Why there is no well-formed, complete request.
pub fn strictly(bytes: &[u8]) -> Result<(Received, usize), String> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").ok_or("no end of the head")?;
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "no text")?;
    let mut lines = head.split("\r\n");
    let line: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, "HTTP/1.1"] = line[..] else { return Err(format!("request line {line:?}")) };
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(": ").ok_or_else(|| format!("field {line:?}"))?;
        let token = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^`|~".contains(&byte)
        };
        if name.is_empty()
            || !name.bytes().all(token)
            || value.bytes().any(|byte| byte < 0x20 && byte != b'\t')
        {
            return Err(format!("field {line:?}"));
        }
        fields.push((name.to_owned(), value.to_owned()));
    }
    let mut request = Received {
        method: method.to_owned(),
        target: target.to_owned(),
        fields,
        body: Vec::new(),
        trailers: Vec::new(),
    };
    let sound = |byte: u8| (0x21..0x7f).contains(&byte);
    if !(target.starts_with('/') || target == "*") || !target.bytes().all(sound) || method.is_empty() {
        return Err(format!("request line {line:?}"));
    }
    if request.all("host").len() != 1 {
        return Err("not one host".to_owned());
    }
    let body = &bytes[end + 4..];
    let (body, length) = match (&request.all("content-length")[..], &request.all("transfer-encoding")[..]) {
        ([], []) => (Vec::new(), 0),
        ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            let length = length.parse().map_err(|_| "length")?;
            (body.get(..length).ok_or("no end of the body")?.to_vec(), length)
        }
        ([], ["chunked"]) => {
            let (body, trailers, length) = chunks(body)?;
            request.trailers = trailers;
            (body, length)
        }
        other => return Err(format!("lengths {other:?}")),
    };
    request.body = body;
    Ok((request, end + 4 + length))
}

/// A body in chunks, its trailers, and the length of all.
fn chunks(bytes: &[u8]) -> Result<(Vec<u8>, Vec<String>, usize), String> {
    let (mut body, mut at) = (Vec::new(), 0);
    let line = |from: usize| {
        let rest = bytes.get(from..).ok_or("no end of the chunks")?;
        let end = rest.windows(2).position(|two| two == b"\r\n").ok_or("no end of the chunks")?;
        Ok::<_, &str>((&rest[..end], from + end + 2))
    };
    loop {
        let (size, next) = line(at)?;
        let size = std::str::from_utf8(size)
            .ok()
            .and_then(|size| usize::from_str_radix(size, 16).ok())
            .ok_or("chunk")?;
        if size == 0 {
            at = next;
            break;
        }
        body.extend_from_slice(bytes.get(next..next + size).ok_or("no end of the chunk")?);
        if bytes.get(next + size..next + size + 2) != Some(b"\r\n") {
            return Err("no end of the chunk".to_owned());
        }
        at = next + size + 2;
    }
    let mut trailers = Vec::new();
    loop {
        let (trailer, next) = line(at)?;
        at = next;
        if trailer.is_empty() {
            return Ok((body, trailers, at));
        }
        trailers.push(String::from_utf8_lossy(trailer).into_owned());
    }
}
