//! The processes that are measured: how each is started, and what it forwards to.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use crate::support::manifests::Manifests;
use crate::support::messages::{Protocol, ROUTES};
use crate::support::process::Process;
use crate::support::watershed::Watershed;
use crate::support::{Outcome, during};
use crate::{bare, floor};

/// The core of whatever is measured; clients and pods have the other.
pub(crate) const CORE: usize = 0;

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contender {
    Floor,
    Bare,
    /// Bare hyper once more: how far two runs of the same thing are apart.
    BareAgain,
    Watershed,
}

impl Contender {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Floor => "TCP floor",
            Self::Bare => "bare hyper",
            Self::BareAgain => "bare again",
            Self::Watershed => "watershed",
        }
    }
}

/// A started contender.
pub(crate) enum Running {
    Role(Process, SocketAddr),
    Watershed(Watershed),
}

impl Running {
    /// Starts a contender on its core, in front of these pods. Watershed with 100 routes, every request split 90 to 10.
    pub(crate) fn start(
        contender: Contender,
        pods: [u16; 2],
        protocol: Protocol,
        watershed: &Path,
    ) -> Outcome<Self> {
        let role = match contender {
            Contender::Floor => "floor",
            Contender::Bare | Contender::BareAgain => "bare",
            Contender::Watershed => {
                let manifests = Manifests { routes: ROUTES, pods, protocol };
                return Watershed::start(watershed, manifests, Some(CORE)).map(Self::Watershed);
            }
        };
        let upstream = SocketAddr::from((Ipv4Addr::LOCALHOST, pods[0])).to_string();
        let mut process = Process::role(&[role, &CORE.to_string(), &upstream, protocol.as_str()])?;
        let address = process.address()?;
        Ok(Self::Role(process, address))
    }

    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Role(process, _) => process.pid(),
            Self::Watershed(watershed) => watershed.process.pid(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Role(_, address) => *address,
            Self::Watershed(watershed) => watershed.address,
        }
    }
}

/// The life of a process that [`Running::start`] started from this binary.
pub(crate) fn play(role: &str, arguments: &[OsString]) -> Outcome<()> {
    let text = |index: usize| arguments.get(index).and_then(|text| text.to_str()).unwrap_or_default();
    let upstream: SocketAddr = during("the address of a pod", text(0).parse())?;
    match role {
        "floor" => floor::run(upstream),
        "bare" => bare::run(upstream, if text(1) == "http2" { Protocol::Http2 } else { Protocol::Http1 }),
        other => Err(format!("unknown role {other}")),
    }
}
