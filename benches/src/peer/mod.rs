//! The load balancers: found ([`program`]), configured ([`template`]), started and stopped ([`running`]).

pub mod program;
pub mod running;
pub mod template;
pub mod watch;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The peers of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// weir, set up like the others: no records, no admin server.
    Weir,
    /// weir with a JSON record for each connection, which the driver reads, and metrics that it scrapes every
    /// second.
    WeirRecords,
    /// HAProxy.
    Haproxy,
    /// nginx with its stream module.
    Nginx,
    /// Envoy.
    Envoy,
    /// No load balancer between client and backend: the baseline of latency. Added automatically where
    /// needed.
    #[value(skip)]
    Direct,
}

impl Peer {
    /// The name on the command line and in reports.
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

    /// The name for readers of reports.
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

    /// Whether weir is compared with it.
    pub fn is_other(self) -> bool {
        matches!(self, Self::Haproxy | Self::Nginx | Self::Envoy)
    }
}
