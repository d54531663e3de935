//! A backend of requests by HTTP/2 that answers with frames of any kind, as a scenario wants, and notes what it heard.

use crate::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, MAGIC, PING, RST_STREAM, SETTINGS, block,
};
use crate::stream::Stream;
use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

/// A request as far as the backend has heard it.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// The connection, counted from 0.
    pub connection: usize,
    /// Its stream there.
    pub stream: u32,
    /// How many requests the backend had heard before it.
    pub before: usize,
    /// The bytes of its body so far.
    pub body: Vec<u8>,
    /// Its last byte has come.
    pub whole: bool,
    /// The error with which the other side reset it.
    pub reset: Option<u32>,
}

/// What the backend does when it has heard more of a request.
#[derive(Debug, Clone)]
pub enum Says {
    /// Sends these bytes.
    Sends(Vec<u8>),
    /// Sends these bytes, and is deaf to what follows of this request.
    Leaves(Vec<u8>),
    /// Sends these bytes and closes the connection.
    Ends(Vec<u8>),
}

impl Says {
    /// Nothing yet.
    pub fn nothing() -> Self {
        Self::Sends(Vec::new())
    }

    /// These frames.
    pub fn frames(frames: &[Frame]) -> Self {
        Self::Sends(frames.iter().flat_map(Frame::bytes).collect())
    }

    /// Resets the stream.
    pub fn resets(heard: &Heard, error: u32) -> Self {
        Self::Leaves(Frame::reset(heard.stream, error).bytes())
    }

    /// An answer with 200 and this body once the request is whole, and until then nothing.
    pub fn ok(heard: &Heard, body: &str) -> Self {
        if !heard.whole {
            return Self::nothing();
        }
        Self::frames(&[
            status(heard.stream, b"200"),
            Frame::new(DATA, END_STREAM, heard.stream, body.as_bytes()),
        ])
    }
}

/// The head of an answer, behind which more follows.
pub fn status(stream: u32, status: &[u8]) -> Frame {
    Frame::new(HEADERS, END_HEADERS, stream, &block(&[(b":status", status)]))
}

type Script = Arc<dyn Fn(&Heard) -> Says + Send + Sync>;

/// A running backend.
#[derive(Debug)]
pub struct H2Origin {
    /// Where it listens.
    pub addr: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    accept: AbortHandle,
}

impl Drop for H2Origin {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

impl H2Origin {
    /// Starts it on a free port. `script` is asked after the head of a request, and after each part of its body.
    pub async fn start(script: impl Fn(&Heard) -> Says + Send + Sync + 'static) -> Self {
        let script: Script = Arc::new(script);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&heard);
        let accept = tokio::spawn(async move {
            let (mut visits, mut number) = (JoinSet::new(), 0);
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let (script, notes) = (Arc::clone(&script), Arc::clone(&notes));
                visits.spawn(async move {
                    // An end in the middle of a request is no fault of this side.
                    drop(serve(Stream::Plain(stream), number, &script, &notes).await);
                });
                number += 1;
            }
        });
        Self { addr, heard, accept: accept.abort_handle() }
    }

    /// All requests so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: Stream,
    connection: usize,
    script: &Script,
    heard: &Mutex<Vec<Heard>>,
) -> io::Result<()> {
    stream.exactly(MAGIC.len()).await?;
    stream.send(&Frame::settings(&[]).bytes()).await?;
    let mut left = HashSet::new();
    loop {
        let frame = Frame::read(&mut stream).await?;
        let ends = frame.flags & END_STREAM != 0;
        match frame.kind {
            SETTINGS if frame.flags & ACK == 0 => {
                stream.send(&Frame::new(SETTINGS, ACK, 0, &[]).bytes()).await?
            }
            PING if frame.flags & ACK == 0 => {
                stream.send(&Frame::new(PING, ACK, 0, &frame.payload).bytes()).await?
            }
            _ => {}
        }
        let at = {
            let mut heard = heard.lock().unwrap();
            let known =
                heard.iter().position(|one| one.connection == connection && one.stream == frame.stream);
            let before = heard.len();
            if frame.kind == HEADERS && known.is_none() {
                heard.push(Heard { connection, stream: frame.stream, before, ..Heard::default() });
            }
            known.unwrap_or(before)
        };
        let now = {
            let mut heard = heard.lock().unwrap();
            let deaf = frame.stream == 0 || left.contains(&frame.stream);
            let Some(one) = heard.get_mut(at).filter(|_| !deaf) else { continue };
            match frame.kind {
                HEADERS => one.whole |= ends,
                DATA => {
                    one.body.extend(&frame.payload);
                    one.whole |= ends;
                }
                RST_STREAM => {
                    one.reset = Some(frame.error());
                    continue;
                }
                _ => continue,
            }
            one.clone()
        };
        if frame.kind == DATA && !frame.payload.is_empty() {
            let n = frame.payload.len() as u32;
            let mut windows = Frame::window(0, n).bytes();
            if !now.whole {
                windows.extend(Frame::window(now.stream, n).bytes());
            }
            stream.send(&windows).await?;
        }
        match script(&now) {
            Says::Sends(bytes) => stream.send(&bytes).await?,
            Says::Leaves(bytes) => {
                left.insert(now.stream);
                stream.send(&bytes).await?;
            }
            Says::Ends(bytes) => {
                stream.send(&bytes).await?;
                return Ok(());
            }
        }
    }
}
