//! The names that backends are asked for, and the protocols that they are offered.

use rustls::pki_types::ServerName;

use super::error::BackendTlsError;
use super::{BackendAlpn, ServerNameFrom};
use crate::uri::UriName;

/// What weir says in its hello to a backend.
#[derive(Debug)]
pub(super) struct Hello {
    name: Name,
    alpn: BackendAlpn,
}

#[derive(Debug)]
pub(super) enum Name {
    Sni,
    Address,
    Fixed(ServerName<'static>),
}

impl Name {
    /// The name to ask for, and the URI that the certificate must have in its place.
    ///
    /// # Errors
    /// A fixed name is none.
    pub(super) fn read(from: &ServerNameFrom) -> Result<(Self, Option<UriName>), BackendTlsError> {
        let text = match from {
            ServerNameFrom::Sni => return Ok((Self::Sni, None)),
            ServerNameFrom::Address => return Ok((Self::Address, None)),
            ServerNameFrom::Fixed(text) => text,
        };
        if UriName::is_meant(text) {
            let bad = |problem| BackendTlsError::BadUri { name: text.clone(), problem };
            // An SNI cannot be a URI. The client's name leads to the same virtual host as under `server_name: sni`.
            return UriName::read(text).map(|uri| (Self::Sni, Some(uri))).map_err(bad);
        }
        let bad = |_| BackendTlsError::BadServerName { name: text.clone() };
        ServerName::try_from(text.clone()).map(|name| (Self::Fixed(name), None)).map_err(bad)
    }
}

impl Hello {
    pub(super) fn new(name: Name, alpn: BackendAlpn) -> Self {
        Self { name, alpn }
    }

    /// The name to ask for; `None` if it is no name.
    pub(super) fn name(&self, sni: Option<&str>, host: &str) -> Option<ServerName<'static>> {
        let text = match &self.name {
            Name::Fixed(name) => return Some(name.clone()),
            Name::Sni => sni.unwrap_or(host),
            Name::Address => host,
        };
        ServerName::try_from(text).ok().map(|name| name.to_owned())
    }

    /// Whether the client's `sni` is asked for.
    pub(super) fn asks_for(&self, sni: Option<&str>) -> bool {
        sni.is_some() && matches!(self.name, Name::Sni)
    }

    /// The protocols to offer, if the client and weir agreed on `negotiated`.
    pub(super) fn alpn(&self, negotiated: Option<&[u8]>) -> Vec<Vec<u8>> {
        match &self.alpn {
            BackendAlpn::Same => negotiated.map(<[u8]>::to_vec).into_iter().collect(),
            BackendAlpn::List(list) => list.clone(),
        }
    }
}
