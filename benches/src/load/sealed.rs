//! A download of which the TLS records are counted and not opened.
//!
//! A client that decrypts all that comes is slower than most load balancers, and one that waits for its client works
//! in smaller pieces than it could. So of the bulk downloads only one in eight is decrypted and compared byte by
//! byte; of the others the lengths of the records are added up, which has to come to the same number of bytes.

use super::dial::Dialler;
use crate::talk::Request;
use rustls::ClientConnection;
use std::io::{self, Write as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A TLS connection whose incoming records nobody opens any more.
pub(super) struct Sealed {
    pub(super) stream: TcpStream,
    pub(super) session: ClientConnection,
}

impl Sealed {
    /// Makes one request, and counts its answer.
    pub(super) async fn download(&mut self, dialler: &Dialler, request: Request) -> io::Result<()> {
        self.session.writer().write_all(&request.encode())?;
        self.flush().await?;
        dialler.tally.note(|got| {
            got.sent += request.encode().len() as u64;
            got.requests += 1;
        });
        let mut records = Records::default();
        let mut buffer = vec![0; READ];
        while records.payload < request.answer() || records.left > 0 {
            let read = self.stream.read(&mut buffer);
            let n = timeout(dialler.patience, read).await.unwrap_or_else(|late| Err(late.into()))?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let before = records.payload;
            records.take(buffer.get(..n).unwrap_or_default())?;
            dialler.tally.note(|got| got.received += records.payload - before);
        }
        if records.payload > request.answer() {
            return Err(io::Error::other("more than was asked for"));
        }
        Ok(())
    }

    /// Says that nothing more comes, and waits for the other side to say so.
    pub(super) async fn close(&mut self) -> io::Result<()> {
        self.session.send_close_notify();
        self.flush().await?;
        self.stream.shutdown().await?;
        while self.stream.read(&mut [0; 64]).await? > 0 {}
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        let mut records = Vec::new();
        while self.session.wants_write() {
            self.session.write_tls(&mut records)?;
        }
        self.stream.write_all(&records).await
    }
}

/// The records of a stream, by their headers.
#[derive(Debug, Default)]
struct Records {
    head: Vec<u8>,
    /// Bytes of the record that has begun.
    left: usize,
    /// Plaintext of all records that have begun.
    payload: u64,
}

impl Records {
    fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let (body, rest) = bytes.split_at(self.left.min(bytes.len()));
                self.left -= body.len();
                bytes = rest;
                continue;
            }
            let (part, rest) = bytes.split_at((HEAD - self.head.len()).min(bytes.len()));
            self.head.extend_from_slice(part);
            bytes = rest;
            if let [kind, _, _, high, low] = *self.head.as_slice() {
                self.head.clear();
                self.left = usize::from(u16::from_be_bytes([high, low]));
                if kind != APPLICATION_DATA || self.left < SEAL {
                    return Err(io::Error::other("not a record with application data"));
                }
                self.payload += (self.left - SEAL) as u64;
            }
        }
        Ok(())
    }
}

const READ: usize = 256 * 1024;
/// The header of a TLS record.
const HEAD: usize = 5;
/// What TLS 1.3 with AES-GCM adds to the payload of a record: a byte for its type, and a tag. Nobody pads.
const SEAL: usize = 17;
const APPLICATION_DATA: u8 = 23;

#[cfg(test)]
mod tests {
    use super::*;

    /// A record with this much plaintext.
    fn record(plain: u16) -> Vec<u8> {
        let mut bytes = vec![APPLICATION_DATA, 3, 3];
        bytes.extend((plain + 17).to_be_bytes());
        bytes.resize(HEAD + usize::from(plain) + SEAL, 7);
        bytes
    }

    #[test]
    fn payload_is_counted_however_the_records_are_cut() {
        let stream: Vec<u8> = [1, 0, 300, 16_384].into_iter().flat_map(record).collect();
        for size in [1, 2, 5, 7, 100, 20_000] {
            let mut records = Records::default();
            for piece in stream.chunks(size) {
                records.take(piece).unwrap();
            }
            assert_eq!(
                (records.payload, records.left, records.head.len()),
                (16_685, 0, 0),
                "in pieces of {size}"
            );
        }
    }

    #[test]
    fn other_records_are_refused() {
        assert!(Records::default().take(&[22, 3, 3, 0, 100]).is_err(), "a handshake in the clear");
        assert!(Records::default().take(&[23, 3, 3, 0, 16]).is_err(), "too short to be sealed");
    }
}
