//! Pure: the plain words in front of a hello (STARTTLS), by protocol: weir's part towards the client, and the client's
//! part towards a backend.
//!
//! - [`smtp`] RFC 3207; [`imap`] RFC 9051 §6.2.1; [`ldap`] RFC 4511 §4.14; [`postgres`] the frontend/backend protocol.
//! - `lines` lines of text.
//!
//! In: the bytes of the other side that have come and were not taken yet. Out: how many to take, and what to say. A side
//! that has sent anything behind the word after which TLS begins is refused: those bytes would be taken for encrypted ones
//! (CVE-2011-0411, CVE-2021-23214, CVE-2021-23222).
#![deny(clippy::indexing_slicing)]

pub mod imap;
pub mod ldap;
mod lines;
pub mod postgres;
pub mod smtp;

/// The protocol of the plain words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartTls {
    /// PostgreSQL.
    Postgres,
    /// SMTP, also submission.
    Smtp,
    /// IMAP.
    Imap,
    /// LDAP.
    Ldap,
}

/// What follows from the words of a client.
#[derive(Debug, PartialEq, Eq)]
pub enum ToClient {
    /// More bytes are needed.
    More,
    /// Takes so many bytes, says this, and goes on.
    Say(usize, Vec<u8>),
    /// The same, and TLS begins.
    Begin(usize, Vec<u8>),
    /// Says this, and the connection ends, as the client wishes.
    End(Vec<u8>),
    /// Says this, and refuses a client that does not want TLS.
    Refuse(Vec<u8>),
}

/// What follows from the words of a backend.
#[derive(Debug, PartialEq, Eq)]
pub enum ToBackend {
    /// More bytes are needed.
    More,
    /// Takes so many bytes, says this, and goes on.
    Say(usize, Vec<u8>),
    /// Takes so many bytes, and the wish is granted.
    Granted(usize),
}

/// Why words are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordError {
    /// Something came behind the word after which TLS begins.
    Injected,
    /// A word or the words together are too long.
    TooLong,
    /// Against the rules of the protocol.
    Malformed,
    /// The client does not begin TLS.
    Missing,
    /// The backend does not begin TLS.
    Declined,
}

impl WordError {
    /// Its word in records.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Injected => "starttls_injected",
            Self::TooLong => "starttls_too_long",
            Self::Malformed => "starttls_malformed",
            Self::Missing => "starttls_missing",
            Self::Declined => "starttls_declined",
        }
    }
}

/// The bytes of one word that may wait for its end, and the words that a client may say before it begins TLS.
pub const LONGEST: usize = 4096;
/// See [`LONGEST`].
pub const MOST: usize = 32;

impl StartTls {
    /// Whether the server speaks first.
    pub fn server_begins(self) -> bool {
        matches!(self, Self::Smtp | Self::Imap)
    }

    /// What weir says first to a client; `host` is the name that it has for itself.
    pub fn greeting(self, host: &str) -> Vec<u8> {
        match self {
            Self::Smtp => smtp::greeting(host),
            Self::Imap => imap::GREETING.to_vec(),
            Self::Postgres | Self::Ldap => Vec::new(),
        }
    }

    /// Whether a client that begins with this byte begins with a hello, without any words.
    pub fn is_hello(self, first: u8) -> bool {
        self == Self::Postgres && first == 22
    }

    /// What follows from what a client has said, which is `bytes` so far.
    ///
    /// # Errors
    /// The client breaks the rules.
    pub fn hear(self, bytes: &[u8], host: &str) -> Result<ToClient, WordError> {
        let heard = match self {
            Self::Postgres => postgres::hear(bytes),
            Self::Smtp => smtp::hear(bytes, host),
            Self::Imap => imap::hear(bytes),
            Self::Ldap => ldap::hear(bytes),
        }?;
        match &heard {
            ToClient::Begin(taken, _) if *taken < bytes.len() => Err(WordError::Injected),
            ToClient::More if bytes.len() >= LONGEST => Err(WordError::TooLong),
            _ => Ok(heard),
        }
    }
}

/// weir's wish for TLS towards a backend, until it is granted.
#[derive(Debug)]
pub struct Wish {
    protocol: StartTls,
    /// Answers so far.
    step: usize,
}

impl Wish {
    /// A new wish, and what to say first.
    pub fn new(protocol: StartTls) -> (Self, Vec<u8>) {
        let first = match protocol {
            StartTls::Postgres => postgres::REQUEST.to_vec(),
            StartTls::Ldap => ldap::REQUEST.to_vec(),
            // The server speaks first.
            StartTls::Smtp | StartTls::Imap => Vec::new(),
        };
        (Self { protocol, step: 0 }, first)
    }

    /// What follows from what the backend has said, which is `bytes` so far.
    ///
    /// # Errors
    /// The backend declines, or breaks the rules.
    pub fn hear(&mut self, bytes: &[u8], host: &str) -> Result<ToBackend, WordError> {
        let heard = match self.protocol {
            StartTls::Postgres => postgres::granted(bytes),
            StartTls::Smtp => smtp::answered(self.step, bytes, host),
            StartTls::Imap => imap::answered(self.step, bytes),
            StartTls::Ldap => ldap::granted(bytes),
        }?;
        match &heard {
            ToBackend::Granted(taken) if *taken < bytes.len() => return Err(WordError::Injected),
            // It has said more than it was asked for.
            ToBackend::Say(taken, _) if *taken < bytes.len() => return Err(WordError::Malformed),
            ToBackend::More if bytes.len() >= LONGEST => return Err(WordError::TooLong),
            ToBackend::Say(..) => self.step += 1,
            _ => {}
        }
        Ok(heard)
    }
}

#[cfg(test)]
mod tests;
