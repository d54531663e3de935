//! The backend's answers in HTTP/1.1, by hyper, and what its requests must look like behind a load balancer.

use super::Account;
use crate::identity::FRONT;
use crate::talk::{Direction, Request, fits, piece};
use bytes::Buf;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};

/// Answers requests until the other side ends. It may end in any way between two requests: load balancers close
/// connections that they keep with a FIN or a reset.
pub(super) async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    account: &Account,
) -> io::Result<()> {
    let busy = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request| {
        let under_way = UnderWay::begin(account, &busy);
        one(request, under_way)
    });
    let mut connection = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    match connection.as_mut().await {
        Err(error) if busy.load(Ordering::Relaxed) || is_nonsense(&error) => Err(io::Error::other(error)),
        _ => Ok(()),
    }
}

fn is_nonsense(error: &hyper::Error) -> bool {
    error.is_parse() || error.is_parse_too_large() || error.is_incomplete_message()
}

/// A request that the backend has not answered whole: its connection counts as open.
struct UnderWay {
    account: Account,
    busy: Arc<AtomicBool>,
}

impl UnderWay {
    fn begin(account: &Account, busy: &Arc<AtomicBool>) -> Self {
        account.note(|seen| seen.open += 1);
        busy.store(true, Ordering::Relaxed);
        Self { account: account.clone(), busy: Arc::clone(busy) }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.account.note(|seen| seen.open -= 1);
        self.busy.store(false, Ordering::Relaxed);
    }
}

async fn one(asked: http::Request<Incoming>, under_way: UnderWay) -> io::Result<http::Response<Answer>> {
    let account = under_way.account.clone();
    let (head, body) = asked.into_parts();
    let Some(request) = Request::from_target(&head.method, head.uri.path()) else {
        account.note(|seen| seen.corrupt += 1);
        return Err(io::Error::other("not a request"));
    };
    account.note(|seen| {
        seen.requests += 1;
        seen.forwarded += u64::from(tells_the_client(&head.headers));
    });
    let due = if request.direction == Direction::Up { request.length } else { 0 };
    if take(body, request, &account).await? != due {
        return Err(io::Error::other("a body of another length"));
    }
    let pieces = Pieces { request, given: 0, under_way };
    let mut answer = http::Response::new(Answer(Some(pieces)));
    let octets = http::HeaderValue::from_static("application/octet-stream");
    answer.headers_mut().insert(http::header::CONTENT_TYPE, octets);
    Ok(answer)
}

/// Reads a body; gives its length.
async fn take(mut body: Incoming, request: Request, account: &Account) -> io::Result<u64> {
    let mut taken = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(io::Error::other)?.into_data() else { continue };
        let fits = fits(request.seed, taken, &data);
        taken += data.len() as u64;
        account.note(|seen| {
            seen.received += data.len() as u64;
            seen.corrupt += u64::from(!fits);
        });
    }
    Ok(taken)
}

/// Whether the fields of a request say who the client is, and how it spoke to the load balancer: each once, and
/// right.
fn tells_the_client(fields: &HeaderMap) -> bool {
    let only = |name: &str| {
        let mut all = fields.get_all(name).iter();
        all.next().filter(|_| all.next().is_none()).and_then(|value| value.to_str().ok())
    };
    only("host") == Some(FRONT)
        && only("x-forwarded-for") == Some("127.0.0.1")
        && only("x-forwarded-proto") == Some("https")
        && only("x-forwarded-host") == Some(FRONT)
        && only("x-forwarded-port").is_some_and(|port| port.parse::<u16>().is_ok())
        && only("x-request-id").is_some_and(|id| id.len() >= ID)
}

/// A body in one frame, whatever its length.
struct Answer(Option<Pieces>);

impl Body for Answer {
    type Data = Pieces;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Pieces>, Infallible>>> {
        Poll::Ready(self.0.take().map(|pieces| Ok(Frame::data(pieces))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, Pieces::left))
    }
}

/// The rest of an answer, which no memory holds: its bytes are pieces of the pattern.
struct Pieces {
    request: Request,
    given: u64,
    under_way: UnderWay,
}

impl Pieces {
    fn left(&self) -> u64 {
        self.request.answer() - self.given
    }

    fn piece(&self, ahead: u64) -> &'static [u8] {
        let most = usize::try_from(self.left() - ahead).unwrap_or(usize::MAX);
        piece(self.request.seed, self.given + ahead, most)
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        usize::try_from(self.left()).unwrap_or(usize::MAX)
    }

    fn chunk(&self) -> &[u8] {
        self.piece(0)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut ahead = 0;
        let mut used = 0;
        for slice in slices {
            let piece = self.piece(ahead);
            if piece.is_empty() {
                break;
            }
            *slice = IoSlice::new(piece);
            ahead += piece.len() as u64;
            used += 1;
        }
        used
    }

    fn advance(&mut self, count: usize) {
        self.given += count as u64;
        self.under_way.account.note(|seen| seen.sent += count as u64);
    }
}

/// The shortest request ID: all load balancers use 128 bits or more, in 16 characters at least.
const ID: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(change: impl FnOnce(&mut HeaderMap)) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in [
            ("host", FRONT),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", FRONT),
            ("x-forwarded-port", "8443"),
            ("x-request-id", "0123456789abcdef0123456789abcdef"),
        ] {
            fields.insert(name, http::HeaderValue::from_static(value));
        }
        change(&mut fields);
        fields
    }

    #[test]
    fn each_forwarding_field_must_be_there_once_and_right() {
        assert!(tells_the_client(&fields(|_| ())));
        let names: Vec<_> = fields(|_| ()).keys().cloned().collect();
        for name in names {
            assert!(!tells_the_client(&fields(|fields| drop(fields.remove(&name)))), "{name} is missing");
            let wrong = http::HeaderValue::from_static("wrong");
            assert!(!tells_the_client(&fields(|fields| drop(fields.insert(&name, wrong.clone())))), "{name}");
            assert!(
                !tells_the_client(&fields(|fields| assert!(fields.append(&name, wrong)))),
                "{name} twice"
            );
        }
    }

    #[test]
    fn an_answer_is_the_pattern_however_it_is_written() {
        let account = Account::default();
        let request = Request { direction: Direction::Down, seed: 3, length: 10_000 };
        let under_way = UnderWay::begin(&account, &Arc::default());
        let mut pieces = Pieces { request, given: 0, under_way };
        let mut got = Vec::new();
        for step in [1, 4_092, 4_094, 1_813] {
            let mut slices = [IoSlice::new(&[]); 8];
            let used = pieces.chunks_vectored(&mut slices);
            let flat: Vec<u8> = slices[..used].iter().flat_map(|slice| slice.to_vec()).collect();
            assert_eq!(flat.len(), pieces.remaining());
            assert!(flat.starts_with(pieces.chunk()));
            got.extend_from_slice(&flat[..step]);
            pieces.advance(step);
        }
        assert!(fits(3, 0, &got) && fits(3, 5_000, &got[5_000..]));
        assert_eq!((pieces.remaining(), account.note(|seen| (seen.open, seen.sent))), (0, (1, 10_000)));
        drop(pieces);
        assert_eq!(account.note(|seen| seen.open), 0);
    }
}
