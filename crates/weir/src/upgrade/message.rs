//! What predecessor and successor say to each other: JSON, a packet a message (unix(7), `SOCK_SEQPACKET`), with
//! descriptors beside it (`SCM_RIGHTS`).

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;
use weir_control::operator::ByHand;
use weir_tls::ProcessSecret;
use zeroize::Zeroizing;

/// The version of these messages. Processes of different versions do not take over from each other.
pub(super) const VERSION: u32 = 1;

/// What a successor hears.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToSuccessor {
    /// The secret of tickets and cookies.
    Secret(SecretText),
    /// Listening sockets, as the packet's descriptors.
    Sockets,
    /// All sockets have been handed over. The files of these Unix sockets are neither process's, but systemd's.
    Whole(Vec<PathBuf>),
    /// What an operator has set by hand.
    ByHand(Vec<ByHand>),
    /// Accept connections.
    Go,
}

/// What a predecessor hears.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToPredecessor {
    /// The program is a weir that can take over.
    Begun {
        /// [`VERSION`] of the successor.
        messages: u32,
        /// The successor's version, for people.
        weir: String,
    },
    /// The configuration is compiled, and every address is bound.
    Prepared,
    /// Connections are accepted.
    Ready,
    /// The successor ends, and why.
    Failed(String),
}

/// A secret as text. `Debug` shows nothing of it.
#[derive(Serialize, Deserialize)]
pub(super) struct SecretText(Zeroizing<String>);

impl SecretText {
    pub(super) fn of(secret: &ProcessSecret) -> Self {
        Self(Zeroizing::new(STANDARD.encode(secret.bytes())))
    }

    /// The secret again.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn read(&self) -> Result<ProcessSecret> {
        let bytes = Zeroizing::new(STANDARD.decode(self.0.as_bytes())?);
        let bytes =
            <[u8; 32]>::try_from(bytes.as_slice()).context("the secret of tickets has another length")?;
        Ok(ProcessSecret::handed_over(bytes))
    }
}

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretText(..)")
    }
}

/// One end of the pair of sockets. Every operation blocks, until its deadline at most.
#[derive(Debug)]
pub(super) struct Line(OwnedFd);

/// Both ends: for this process, and for the other one, which gets it as its stdin.
///
/// # Errors
/// The system has no descriptors left.
pub(super) fn pair() -> Result<(Line, OwnedFd)> {
    let (own, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .context("cannot make a pair of sockets")?;
    Ok((Line(own), other))
}

impl Line {
    /// The end that another process has made.
    pub(super) fn of(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Says this, with these descriptors: at most [`DESCRIPTORS`].
    ///
    /// # Errors
    /// The other end is closed, or takes nothing for [`TAKEN_WITHIN`].
    pub(super) fn say(&self, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        let text = Zeroizing::new(serde_json::to_vec(message)?);
        set_socket_timeout(&self.0, Timeout::Send, Some(TAKEN_WITHIN))?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
            bail!("{} descriptors are too many for a message", descriptors.len());
        }
        loop {
            // NOSIGNAL: a process that has gone is an error here, and no signal.
            match sendmsg(&self.0, &[IoSlice::new(&text)], &mut beside, SendFlags::NOSIGNAL) {
                Ok(_whole) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Hears the next message and its descriptors; `None` = the other end is closed.
    ///
    /// # Errors
    /// Nothing has come until `deadline`, or no message of this kind.
    pub(super) fn hear<M: DeserializeOwned>(&self, deadline: Instant) -> Result<Option<(M, Vec<OwnedFd>)>> {
        let mut text = Zeroizing::new(vec![0; LONGEST]);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("it took too long");
            }
            set_socket_timeout(&self.0, Timeout::Recv, Some(left))?;
            let mut beside = RecvAncillaryBuffer::new(&mut space);
            let received =
                recvmsg(&self.0, &mut [IoSliceMut::new(&mut text)], &mut beside, RecvFlags::CMSG_CLOEXEC);
            let received = match received {
                // EAGAIN is the socket's own timeout.
                Err(Errno::INTR | Errno::AGAIN) => continue,
                // Its process has ended with a message unread.
                Err(Errno::CONNRESET) => return Ok(None),
                received => received?,
            };
            if received.bytes == 0 {
                return Ok(None);
            }
            if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
                bail!("a message or its descriptors did not fit; is the limit on open files too low?");
            }
            let mut descriptors = Vec::new();
            for message in beside.drain() {
                if let RecvAncillaryMessage::ScmRights(received) = message {
                    descriptors.extend(received);
                }
            }
            let text = text.get(..received.bytes).unwrap_or_default();
            return Ok(Some((
                serde_json::from_slice(text).context("a message that is none of weir's")?,
                descriptors,
            )));
        }
    }
}

/// Most descriptors of a message: the kernel takes 253.
pub(super) const DESCRIPTORS: usize = 128;
/// The longest message. A thousand backends of [`BY_HAND`] with long names are in it.
const LONGEST: usize = 128 << 10;
/// Most backends of a message.
pub(super) const BY_HAND: usize = 100;
/// How long the other process may leave a message unread, with the socket's buffer full.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::AsFd;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[test]
    fn messages_arrive_with_their_descriptors() {
        let (here, there) = pair().unwrap();
        let there = Line::of(there);
        let sockets: Vec<TcpListener> =
            (0..DESCRIPTORS).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let descriptors: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
        here.say(&ToSuccessor::Sockets, &descriptors).unwrap();
        here.say(&ToSuccessor::Whole(Vec::new()), &[]).unwrap();
        let (message, received) = there.hear::<ToSuccessor>(soon()).unwrap().unwrap();
        assert!(matches!(message, ToSuccessor::Sockets));
        let ports = received.into_iter().map(|fd| TcpListener::from(fd).local_addr().unwrap());
        assert!(ports.eq(sockets.iter().map(|socket| socket.local_addr().unwrap())));
        assert!(
            matches!(there.hear(soon()).unwrap(), Some((ToSuccessor::Whole(_), none)) if none.is_empty())
        );
        drop(here);
        assert!(there.hear::<ToSuccessor>(soon()).unwrap().is_none());
        assert!(there.say(&ToPredecessor::Ready, &[]).is_err(), "its reader is gone");
    }

    #[test]
    fn a_silent_end_and_a_wrong_word_are_errors() {
        let (here, there) = pair().unwrap();
        let there = Line::of(there);
        let soon = Instant::now() + Duration::from_millis(30);
        assert!(there.hear::<ToSuccessor>(soon).unwrap_err().to_string().contains("too long"));
        here.say(&"anything", &[]).unwrap();
        assert!(
            there
                .hear::<ToSuccessor>(super::tests::soon())
                .unwrap_err()
                .to_string()
                .contains("none of weir's")
        );
    }

    #[test]
    fn secrets_arrive_whole_and_are_not_shown() {
        let secret = ProcessSecret::random().unwrap();
        let text = SecretText::of(&secret);
        assert_eq!(format!("{text:?}"), "SecretText(..)");
        let message = serde_json::to_string(&ToSuccessor::Secret(text)).unwrap();
        let Ok(ToSuccessor::Secret(text)) = serde_json::from_str(&message) else { panic!("{message}") };
        assert_eq!(text.read().unwrap().bytes(), secret.bytes());
        assert!(SecretText(Zeroizing::new(STANDARD.encode([0; 31]))).read().is_err());
    }
}
