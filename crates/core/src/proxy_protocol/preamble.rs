//! The header for one connection to a backend.

use super::write::{self, Facts, TlsFacts};
use crate::account::queue::{ConnectionId, Opening};
use weir_pool::SendProxyProtocol;
use weir_tls::{Session, Version};

/// The header that tells the backends of a pool who the client is; `None` if they want none. `session` is the TLS session
/// with the client, if weir has one.
pub fn preamble(
    send: SendProxyProtocol,
    opening: &Opening,
    sni: Option<&str>,
    session: Option<&Session>,
) -> Option<Vec<u8>> {
    let addresses = opening.client.socket().map(|client| (client, opening.local.socket()));
    match send {
        SendProxyProtocol::Off => None,
        SendProxyProtocol::V1 => {
            let line = addresses.map(|(source, destination)| write::version_1(source, destination));
            Some(line.unwrap_or_else(|| write::UNKNOWN.into()).into_bytes())
        }
        SendProxyProtocol::V2 => {
            let tls = session.map(|session| TlsFacts {
                version: match session.version {
                    Version::Tls13 => "TLSv1.3",
                    Version::Tls12 => "TLSv1.2",
                    Version::Unknown => "",
                },
                cipher: session.cipher,
                group: Some(session.group).filter(|group| !group.is_empty()),
                certified: session.client.is_some(),
                common_name: session.client.as_ref().and_then(|client| client.common_name.as_deref()),
            });
            Some(write::version_2(&Facts {
                addresses,
                authority: sni,
                alpn: session.and_then(|session| session.alpn.as_deref()),
                tls,
                id: &ConnectionId(opening.id).to_string(),
            }))
        }
    }
}

/// The header of a connection of weir's own, such as a health check; `None` if the backends want none.
pub fn of_weir(send: SendProxyProtocol) -> Option<Vec<u8>> {
    match send {
        SendProxyProtocol::Off => None,
        SendProxyProtocol::V1 => Some(write::UNKNOWN.into()),
        SendProxyProtocol::V2 => Some(write::local()),
    }
}
