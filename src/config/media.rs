//! Settings of calls.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::kinds::{Shaped, ip_addresses, limit, one_of, whole};
use super::raw::settings;
use crate::runtime::media::{MediaOptions, MediaSocket};

/// Whether rooms change their connection mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaMode {
    /// Media go from peer to peer.
    Off,
    /// They go through a media server where that is needed.
    Auto,
}

impl Shaped for MediaMode {}

const MODES: &[(&str, MediaMode)] = &[("off", MediaMode::Off), ("auto", MediaMode::Auto)];

/// The media server of rooms in the mode `sfu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaServerKind {
    /// This server.
    Embedded,
    /// One that the application runs.
    External,
}

impl Shaped for MediaServerKind {}

const SERVERS: &[(&str, MediaServerKind)] =
    &[("embedded", MediaServerKind::Embedded), ("external", MediaServerKind::External)];

settings! {
    /// The connection mode of calls, and the media server.
    pub struct MediaSettings in "media." {
        /// The connection mode of rooms: `"off"`: always `p2p`, or `"auto"`: `sfu` where callers that can use a media server
        /// need it.
        mode: MediaMode = "off", one_of(MODES);
        /// The media server: `"embedded"`: this server, or `"external"`: one that the application runs.
        server: MediaServerKind = "embedded", one_of(SERVERS);
        /// Callers that a room connects from peer to peer at most; 0: any number.
        p2p_max: u64 = 2, limit(10_000);
        /// Milliseconds for which there have to be so few callers before they are connected from peer to peer again.
        p2p_return_ms: u64 = 20_000, whole(0, 3_600_000);
        /// The UDP port of the media server; 0, as with `--dev`: any free one.
        udp_port: u64 = 7_882, limit(65_535);
        /// IP addresses at which clients reach the media server, one of each family; `[]`: those of `listen`.
        announced: Vec<IpAddr> = Vec::<String>::new(), ip_addresses;
        /// Memory that the media server may take, in bytes, about; 0: any amount.
        memory_bytes: usize = 1_073_741_824, limit(1 << 50);
    }
}

impl MediaSettings {
    /// Whether this server forwards media.
    pub fn is_embedded(&self) -> bool {
        self.mode == MediaMode::Auto && self.server == MediaServerKind::Embedded
    }

    /// The sockets of the media server of a server that listens at `listen`. Of each family the first address counts.
    fn sockets(&self, listen: impl Iterator<Item = IpAddr>) -> Vec<MediaSocket> {
        let any = |ip: &IpAddr| -> IpAddr {
            match ip {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            }
        };
        let own = listen.filter(|ip| !ip.is_unspecified());
        let all: Vec<MediaSocket> = match self.announced.is_empty() {
            true => own.map(|ip| MediaSocket { bound: ip, announced: ip }).collect(),
            false => self.announced.iter().map(|ip| MediaSocket { bound: any(ip), announced: *ip }).collect(),
        };
        let first = |family: fn(&IpAddr) -> bool| all.iter().copied().find(|socket| family(&socket.announced));
        [first(IpAddr::is_ipv4), first(IpAddr::is_ipv6)].into_iter().flatten().collect()
    }

    /// Options of the media server, if this server is one.
    pub(super) fn options(&self, listen: impl Iterator<Item = IpAddr>) -> Option<MediaOptions> {
        let (sockets, port, memory_bytes) = (self.sockets(listen), port_of(self.udp_port), self.memory_bytes);
        self.is_embedded().then_some(MediaOptions { sockets, port, memory_bytes })
    }
}

/// A checked port number.
fn port_of(number: u64) -> u16 {
    u16::try_from(number).expect("invariant: the check of a port keeps it within 16 bits")
}
