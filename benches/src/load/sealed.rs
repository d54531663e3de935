//! A download whose bytes are counted but not read.
//!
//! A client on the same machine that copies and decrypts every byte is slower than most load balancers, takes
//! the caches from them, and so measures itself: a load balancer that waits for its client works in smaller
//! pieces than it could. So of the bulk downloads only one in eight is read and compared byte by byte. For
//! the others the kernel drops the bytes and says how many; of TLS only the record headers are read, and the
//! lengths in them must add up to the same number of bytes. In HTTP the records with the head of the answer are
//! decrypted.

use super::dial::Dialler;
use crate::talk::{Request, fits};
use crate::work::Protocol;
use rustix::net::{RecvFlags, recv};
use rustls::ClientConnection;
use std::io::{self, Read as _, Write as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A connection whose incoming bytes are no longer read.
pub(super) struct Sealed {
    pub(super) stream: TcpStream,
    /// Encrypts the requests; `None` where bare bytes follow the hello.
    pub(super) session: Option<ClientConnection>,
}

impl Sealed {
    /// Makes one request, and counts its answer. In HTTP it can do so once: the records behind the head of the
    /// answer are not decrypted, so that no later one can be.
    pub(super) async fn download(&mut self, dialler: &Dialler, request: Request) -> io::Result<()> {
        let patience = dialler.patience;
        self.send(&dialler.message(request)).await?;
        dialler.note_request();
        let mut records = Records::default();
        if dialler.protocol != Protocol::Tcp {
            let body = timeout(patience, self.head(request)).await.unwrap_or_else(|late| Err(late.into()))?;
            records.payload = body.len() as u64;
            dialler.tally.note(|got| {
                got.received += records.payload;
                got.corrupt += u64::from(!fits(request.seed, 0, &body));
            });
        }
        let mut room = vec![0; ROOM];
        while records.payload < request.answer() || records.left > 0 {
            let before = records.payload;
            let step = self.step(&mut records, request.answer(), &mut room);
            timeout(patience, step).await.unwrap_or_else(|late| Err(late.into()))?;
            dialler.tally.note(|got| got.received += records.payload - before);
        }
        if records.payload > request.answer() {
            return Err(io::Error::other("more than was asked for"));
        }
        Ok(())
    }

    /// Ends this direction, and waits for the other side to do so too.
    pub(super) async fn close(&mut self) -> io::Result<()> {
        if let Some(session) = &mut self.session {
            session.send_close_notify();
        }
        self.send(&[]).await?;
        self.stream.shutdown().await?;
        while self.stream.read(&mut [0; 64]).await? > 0 {}
        Ok(())
    }

    /// Decrypts records up to the end of an answer's head; gives what came behind it.
    async fn head(&mut self, request: Request) -> io::Result<Vec<u8>> {
        let Some(session) = &mut self.session else { return Err(io::Error::other("HTTP needs TLS")) };
        let mut bytes = Vec::new();
        loop {
            let mut record = vec![0; HEAD];
            self.stream.read_exact(&mut record).await?;
            let [_, _, _, high, low] = *record.as_slice() else { continue };
            record.resize(HEAD + usize::from(u16::from_be_bytes([high, low])), 0);
            self.stream.read_exact(record.get_mut(HEAD..).unwrap_or_default()).await?;
            let mut encrypted = record.as_slice();
            // A session takes some KiB at a time.
            while !encrypted.is_empty() {
                session.read_tls(&mut encrypted)?;
                let plain =
                    session.process_new_packets().map_err(io::Error::other)?.plaintext_bytes_to_read();
                let before = bytes.len();
                bytes.resize(before + plain, 0);
                session.reader().read_exact(bytes.get_mut(before..).unwrap_or_default())?;
            }
            if let Some(head) = request.answered(&bytes)? {
                return Ok(bytes.split_off(head));
            }
        }
    }

    /// Takes some bytes off the socket: a header, or a part of the bytes that are only counted.
    async fn step(&mut self, records: &mut Records, answer: u64, room: &mut [u8]) -> io::Result<()> {
        if self.session.is_none() {
            records.payload +=
                self.drop_some(usize::try_from(answer - records.payload).unwrap_or(ROOM), room).await? as u64;
        } else if records.left > 0 {
            records.left -= self.drop_some(records.left, room).await?;
        } else {
            let mut head = [0; HEAD];
            let n = self.stream.read(head.get_mut(records.head.len()..).unwrap_or_default()).await?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            records.begin(head.get(records.head.len()..records.head.len() + n).unwrap_or_default())?;
        }
        Ok(())
    }

    /// Lets the kernel drop at most `most` bytes; gives how many it dropped.
    async fn drop_some(&self, most: usize, room: &mut [u8]) -> io::Result<usize> {
        let most = most.min(room.len());
        loop {
            self.stream.readable().await?;
            let dropped = self.stream.try_io(Interest::READABLE, || {
                // tcp(7): with MSG_TRUNC bytes are dropped instead of copied.
                let room = room.get_mut(..most).unwrap_or_default();
                recv(&self.stream, room, RecvFlags::TRUNC | RecvFlags::DONTWAIT).map_err(io::Error::from)
            });
            match dropped {
                Ok((0, _) | (_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((_, n)) => return Ok(n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                Err(error) => return Err(error),
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(session) = &mut self.session else { return self.stream.write_all(bytes).await };
        session.writer().write_all(bytes)?;
        let mut records = Vec::new();
        while session.wants_write() {
            session.write_tls(&mut records)?;
        }
        self.stream.write_all(&records).await
    }
}

/// The records of a stream, by their headers.
#[derive(Debug, Default)]
struct Records {
    /// The part of a header that has come.
    head: Vec<u8>,
    /// Bytes of the current record.
    left: usize,
    /// Plaintext of all records so far, the current one included.
    payload: u64,
}

impl Records {
    /// Takes a part of a header, up to its end.
    fn begin(&mut self, part: &[u8]) -> io::Result<()> {
        self.head.extend_from_slice(part);
        if let [kind, _, _, high, low] = *self.head.as_slice() {
            self.head.clear();
            self.left = usize::from(u16::from_be_bytes([high, low]));
            if kind != APPLICATION_DATA || self.left < SEAL {
                return Err(io::Error::other("not a record with application data"));
            }
            self.payload += (self.left - SEAL) as u64;
        }
        Ok(())
    }
}

/// The most bytes dropped at once. The kernel writes nothing to their buffer.
const ROOM: usize = 1024 * 1024;
/// The header of a TLS record.
const HEAD: usize = 5;
/// The bytes that TLS 1.3 with AES-GCM adds to a record's payload: one for its type, and a tag. No peer pads.
const SEAL: usize = 17;
const APPLICATION_DATA: u8 = 23;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_is_counted_by_headers_however_they_are_cut() {
        for cut in 1..=HEAD {
            let mut records = Records::default();
            for plain in [1_u16, 0, 300, 16_384] {
                let [high, low] = (plain + 17).to_be_bytes();
                for part in [APPLICATION_DATA, 3, 3, high, low].chunks(cut) {
                    records.begin(part).unwrap();
                }
                assert_eq!(records.left, usize::from(plain) + SEAL);
            }
            assert_eq!((records.payload, records.head.len()), (16_685, 0), "cut after {cut}");
        }
    }

    #[test]
    fn other_records_are_refused() {
        assert!(Records::default().begin(&[22, 3, 3, 0, 100]).is_err(), "a handshake in the clear");
        assert!(Records::default().begin(&[23, 3, 3, 0, 16]).is_err(), "too short to be sealed");
    }
}
