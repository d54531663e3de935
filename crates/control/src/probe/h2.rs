//! One request over HTTP/2: the status of its answer, or what gRPC's health protocol says.
//!
//! By the h2 crate itself, which hyper is built on: hyper's client wants to own the stream and a task, and the stream of a
//! check is ended in good order afterwards.

use super::Failed;
use super::grpc::{self, Serving};
use super::http::NoAnswer;
use bytes::Bytes;
use h2::RecvStream;
use h2::client::{Builder, SendRequest};
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{Method, Request, Response, Uri, Version};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite};

/// How the backend is addressed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    /// `https` over TLS, else `http`.
    pub(super) scheme: &'static str,
    /// The authority.
    pub(super) host: &'a str,
}

/// The head of an answer, at most; as over HTTP/1.
const LARGEST_HEAD: u32 = 64 << 10;

/// Asks for `path`, and gives the status of the answer once its head is complete. The body is not read.
///
/// # Errors
/// Why there is no answer.
///
/// # Cancel safety
/// Not cancel safe: the request may have been sent in part.
pub(super) async fn get(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    path: &str,
    target: Target<'_>,
) -> Result<u16, Failed> {
    let request = request(target, Method::GET, path)?.body(()).map_err(unwritable)?;
    let asked = async |mut sender: SendRequest<Bytes>| {
        let (answer, _sent) = sender.send_request(request, true)?;
        Ok(answer.await?.status().as_u16())
    };
    converse(stream, asked).await
}

/// Asks for the health of the whole server.
///
/// # Errors
/// It does not serve, or there is no answer.
///
/// # Cancel safety
/// Not cancel safe: the request may have been sent in part.
pub(super) async fn check(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    target: Target<'_>,
) -> Result<(), Failed> {
    let request = request(target, Method::POST, grpc::PATH)?;
    let request = request.header(CONTENT_TYPE, "application/grpc").header(TE, "trailers");
    let request = request.body(()).map_err(unwritable)?;
    let asked = async |mut sender: SendRequest<Bytes>| {
        let (answer, mut body) = sender.send_request(request, false)?;
        body.send_data(Bytes::from_static(grpc::QUESTION), true)?;
        verdict(answer.await?).await
    };
    converse(stream, asked).await
}

async fn verdict(answer: Response<RecvStream>) -> Result<(), Failed> {
    let (head, mut body) = answer.into_parts();
    if head.status != http::StatusCode::OK {
        return Err(Failed::Status(head.status.as_u16()));
    }
    let mut message = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        // The window is larger than any answer, so it need not be given back.
        if message.len() + data.len() > grpc::LONGEST {
            return Err(NoAnswer::NotGrpc.into());
        }
        message.extend_from_slice(&data);
    }
    // A call that fails at once has its status in the head.
    let end = body.trailers().await?.unwrap_or(head.headers);
    match grpc::read(&end, &message) {
        Some(Serving::Yes) => Ok(()),
        Some(Serving::No(why)) => Err(Failed::Unserving(why)),
        None => Err(NoAnswer::NotGrpc.into()),
    }
}

/// Runs an exchange on a connection of its own.
async fn converse<R>(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    asked: impl AsyncFnOnce(SendRequest<Bytes>) -> Result<R, Failed>,
) -> Result<R, Failed> {
    let mut settings = Builder::new();
    settings.enable_push(false).max_header_list_size(LARGEST_HEAD);
    let (sender, connection) = settings.handshake::<_, Bytes>(stream).await?;
    let (mut exchange, mut connection) = (pin!(asked(sender)), pin!(connection));
    tokio::select! {
        biased;
        answered = &mut exchange => answered,
        // What the backend has sent before its end counts.
        ended = &mut connection => match now(exchange) {
            Some(answered) => answered,
            None => Err(ended.err().map_or(Failed::Http(NoAnswer::Ended), Failed::from)),
        },
    }
}

/// The result of a future that waits for nothing more.
fn now<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn request(target: Target<'_>, method: Method, path: &str) -> Result<http::request::Builder, Failed> {
    let uri = Uri::builder().scheme(target.scheme).authority(target.host).path_and_query(path).build();
    let request = Request::builder().method(method).uri(uri.map_err(unwritable)?).version(Version::HTTP_2);
    Ok(request.header(USER_AGENT, "weir-health-check"))
}

/// The configuration checks path and host, so this is for names from DNS.
fn unwritable(error: http::Error) -> Failed {
    NoAnswer::Io(io::Error::new(io::ErrorKind::InvalidInput, error)).into()
}

impl From<h2::Error> for Failed {
    fn from(error: h2::Error) -> Self {
        let text = error.to_string();
        Self::Http(match error.into_io() {
            Some(error) if error.kind() == io::ErrorKind::UnexpectedEof => NoAnswer::Ended,
            Some(error) => NoAnswer::Io(error),
            None => NoAnswer::Http2(text),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;
    use tokio::io::duplex;

    const TARGET: Target<'_> = Target { scheme: "http", host: "a.test:80" };

    /// A server that gives one answer with this status, message and trailers.
    async fn serve(
        io: tokio::io::DuplexStream,
        status: u16,
        message: &'static [u8],
        code: &'static str,
    ) -> String {
        let mut connection = h2::server::handshake(io).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        let head = request.into_parts().0;
        let mut answer =
            respond.send_response(Response::builder().status(status).body(()).unwrap(), false).unwrap();
        answer.send_data(Bytes::from_static(message), false).unwrap();
        let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), code.parse().unwrap())]);
        answer.send_trailers(trailers).unwrap();
        connection.graceful_shutdown();
        // The client leaves without ceremony.
        while let Some(Ok(_)) = connection.accept().await {}
        format!("{} {} {:?}", head.method, head.uri, head.headers.get(TE))
    }

    #[tokio::test]
    async fn the_status_of_an_answer_is_read() {
        let (mut near, far) = duplex(1 << 16);
        let client = async {
            let got = get(&mut near, "/up?x", TARGET).await;
            drop(near);
            got
        };
        let (asked, got) = tokio::join!(serve(far, 204, b"", "0"), client);
        assert_eq!((asked.as_str(), got.unwrap()), ("GET http://a.test:80/up?x None", 204));
    }

    #[tokio::test]
    async fn a_server_is_asked_whether_it_serves() {
        for (status, message, code, expected) in [
            (200, &[0, 0, 0, 0, 2, 8, 1][..], "0", "Ok(())"),
            (200, &[0, 0, 0, 0, 2, 8, 2], "0", "NOT_SERVING"),
            (200, &[], "12", "UNIMPLEMENTED"),
            (404, &[], "0", "answered 404"),
            (200, &[], "0", "not gRPC"),
            (200, &[0; 5000], "0", "not gRPC"),
        ] {
            let (mut near, far) = duplex(1 << 16);
            let client = async {
                let said = check(&mut near, TARGET).await;
                drop(near);
                said.map_or_else(|failed| failed.to_string(), |()| "Ok(())".to_owned())
            };
            let (asked, said) = tokio::join!(serve(far, status, message, code), client);
            assert!(said.contains(expected), "{said}: {expected}");
            assert!(
                asked.starts_with("POST http://a.test:80/grpc.health.v1.Health/Check Some(\"trailers\")"),
                "{asked}"
            );
        }
    }

    #[tokio::test]
    async fn another_protocol_is_no_answer() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        for answer in [&b""[..], b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", b"SSH-2.0-x\r\n"] {
            let (mut near, mut far) = duplex(1 << 16);
            let server = async move {
                let mut asked = [0; 24];
                far.read_exact(&mut asked).await.unwrap();
                far.write_all(answer).await.unwrap();
                far.shutdown().await.unwrap();
                let _rest = far.read_to_end(&mut Vec::new()).await;
            };
            let client = async {
                let got = get(&mut near, "/", TARGET).await;
                drop(near);
                got
            };
            let ((), got) = tokio::join!(server, client);
            let said = got.unwrap_err().to_string();
            assert!(said.starts_with("no HTTP answer: "), "{said}");
        }
    }
}
