//! The same requests in HTTP: the path has the request, the bodies have the payload.

use super::{Direction, Request};
use std::io;

impl Request {
    /// The path of its target: `/down/00000000000000ff/256`.
    pub fn path(&self) -> String {
        let direction = match self.direction {
            Direction::Down => DOWN,
            Direction::Up => UP,
        };
        format!("/{direction}/{:016x}/{}", self.seed, self.length)
    }

    /// The method of that target.
    pub fn method(&self) -> http::Method {
        match self.direction {
            Direction::Down => http::Method::GET,
            Direction::Up => http::Method::POST,
        }
    }

    /// Reads a request; `None` if method and path are not exactly as a client writes them.
    pub fn from_target(method: &http::Method, path: &str) -> Option<Self> {
        let mut parts = path.strip_prefix('/')?.split('/');
        let direction = match parts.next()? {
            DOWN => Direction::Down,
            UP => Direction::Up,
            _ => return None,
        };
        let seed = u64::from_str_radix(parts.next()?, 16).ok()?;
        let request = Self { direction, seed, length: parts.next()?.parse().ok()? };
        (request.path() == path && request.method() == *method).then_some(request)
    }

    /// The head of it in HTTP/1.1, to the host of this name.
    pub fn head(&self, host: &str) -> Vec<u8> {
        let (method, path) = (self.method(), self.path());
        let length = match self.direction {
            Direction::Down => String::new(),
            Direction::Up => format!("Content-Length: {}\r\n", self.length),
        };
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {AGENT}\r\nAccept: */*\r\n{length}\r\n"
        )
        .into_bytes()
    }

    /// Reads the head of its answer in HTTP/1.1 from the beginning of `bytes`, and gives how long the head is;
    /// `None` if more bytes are needed.
    ///
    /// # Errors
    /// When it is no head, or not that of the answer to this request: another status, or a body of another length.
    pub fn answered(&self, bytes: &[u8]) -> io::Result<Option<usize>> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut head = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(length) = head.parse(bytes).map_err(io::Error::other)? else {
            return if bytes.len() < HEAD {
                Ok(None)
            } else {
                Err(io::Error::other("an answer's head is too long"))
            };
        };
        let status = head.code.unwrap_or(0);
        let lengths: Vec<_> = head
            .headers
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case("content-length"))
            .map(|field| field.value)
            .collect();
        self.check(status, &lengths)?;
        Ok(Some(length))
    }

    /// Whether an answer with this status and these Content-Length fields can be the backend's.
    ///
    /// # Errors
    /// When it cannot.
    pub fn check(&self, status: u16, lengths: &[&[u8]]) -> io::Result<()> {
        if status != 200 {
            return Err(io::Error::other(format!("an answer with status {status}")));
        }
        if lengths != [self.answer().to_string().as_bytes()] {
            return Err(io::Error::other("an answer with another Content-Length"));
        }
        Ok(())
    }
}

/// The User-Agent of the client.
pub const AGENT: &str = "weir-benches";
const DOWN: &str = "down";
const UP: &str = "up";
/// The most fields of an answer's head: the backend sends three, and each load balancer a few more.
const FIELDS: usize = 32;
/// The longest head of an answer.
const HEAD: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    #[test]
    fn a_target_is_read_as_it_was_written_and_not_otherwise() {
        let request = Request { direction: Direction::Up, seed: 77_777, length: 1 << 40 };
        assert_eq!(request.path(), "/up/0000000000012fd1/1099511627776");
        assert_eq!(Request::from_target(&Method::POST, &request.path()), Some(request));
        assert_eq!(Request::from_target(&Method::GET, &request.path()), None, "another method");
        for other in ["/up/12fd1/5", "/up/0000000000012fd1/05", "/up/0000000000012fd1/5/", "/up", "/", ""] {
            assert_eq!(Request::from_target(&Method::POST, other), None, "{other:?}");
        }
    }

    #[test]
    fn heads_are_read_piece_by_piece_and_must_fit() {
        let request = Request { direction: Direction::Down, seed: 1, length: 5 };
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nServer: x\r\n\r\n";
        for cut in 0..head.len() {
            assert_eq!(request.answered(&head[..cut]).unwrap(), None, "{cut}");
        }
        assert_eq!(request.answered(&[head, b"abcde".as_slice()].concat()).unwrap(), Some(head.len()));
        for wrong in [
            "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "WBRQ",
        ] {
            assert!(request.answered(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
