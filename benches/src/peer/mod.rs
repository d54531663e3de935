//! The load balancers: found ([`program`]), configured ([`template`]), started and stopped ([`running`]).

pub mod program;
pub mod running;
pub mod template;
mod watch;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// weir, set up like the others: no records, no admin server.
    Weir,
    /// weir with a JSON record for each connection, which is read, and metrics that are scraped every second.
    WeirRecords,
    /// HAProxy.
    Haproxy,
    /// nginx with its stream module.
    Nginx,
    /// Envoy.
    Envoy,
    /// Nobody between client and backend: where latency begins. Added by itself where it is needed.
    #[value(skip)]
    Direct,
}

impl Peer {
    /// As on the command line and in reports.
    pub fn label(self) -> &'static str {
        match self {
            Self::Weir => "weir",
            Self::WeirRecords => "weir-records",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
            Self::Direct => "direct",
        }
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Weir => "weir",
            Self::WeirRecords => "weir, records and metrics on",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
            Self::Envoy => "Envoy",
            Self::Direct => "direct",
        }
    }

    /// Whether it is one of those that weir is compared with.
    pub fn is_other(self) -> bool {
        matches!(self, Self::Haproxy | Self::Nginx | Self::Envoy)
    }
}
