//! IP networks in CIDR notation.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IP network, such as `10.0.0.0/8` (RFC 4632).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    /// An address of the network; bits beyond `prefix` are ignored.
    pub address: IpAddr,
    /// Number of fixed leading bits: 0–32 for IPv4, 0–128 for IPv6.
    pub prefix: u8,
}

impl Network {
    /// Whether the network contains `address`. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.prefix.min(32));
                let differing = u64::from(own.to_bits() ^ other.to_bits());
                differing >> shift == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.prefix.min(128));
                let differing = own.to_bits() ^ other.to_bits();
                differing.checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    /// Parses `address` or `address/prefix`; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let prefix_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= prefix_max)?,
            None => prefix_max,
        };
        Some(Self { address, prefix })
    }

    /// The same network in its one form: without bits beyond the prefix.
    #[must_use]
    pub fn normalized(self) -> Self {
        let address = match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix.min(128))).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
        };
        Self { address, ..self }
    }
}

/// Networks that the public internet does not reach (IANA's registries of special-purpose addresses), and those that carry
/// IPv4 addresses in IPv6.
const SPECIAL_NETWORKS: [(IpAddr, u8); 22] = [
    (v4(0, 0, 0), 8),
    (v4(10, 0, 0), 8),
    (v4(100, 64, 0), 10),
    (v4(127, 0, 0), 8),
    (v4(169, 254, 0), 16),
    (v4(172, 16, 0), 12),
    (v4(192, 0, 0), 24),
    (v4(192, 0, 2), 24),
    (v4(192, 168, 0), 16),
    (v4(198, 18, 0), 15),
    (v4(198, 51, 100), 24),
    (v4(203, 0, 113), 24),
    (v4(224, 0, 0), 3),
    (v6(0, 0), 32),
    (v6(0x64, 0xff9b), 32),
    (v6(0x100, 0), 32),
    (v6(0x2001, 0), 23),
    (v6(0x2001, 0xdb8), 32),
    (v6(0x2002, 0), 16),
    (v6(0xfc00, 0), 7),
    (v6(0xfe80, 0), 9),
    (v6(0xff00, 0), 8),
];

const fn v4(a: u8, b: u8, c: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, 0))
}

const fn v6(a: u16, b: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0))
}

/// Whether an address is one of the public internet: not of this machine, a private network or a special purpose.
pub fn is_public(address: IpAddr) -> bool {
    let address = address.to_canonical();
    !SPECIAL_NETWORKS.iter().any(|(network, prefix)| Network { address: *network, prefix: *prefix }.contains(address))
}

impl fmt::Display for Network {
    /// `address/prefix`; the address alone if the network is a single one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix_max = if self.address.is_ipv4() { 32 } else { 128 };
        match self.prefix == prefix_max {
            true => write!(f, "{}", self.address),
            false => write!(f, "{}/{}", self.address, self.prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_special_purpose_are_not_public() {
        let is_public = |text: &str| is_public(text.parse().expect(text));
        for text in
            ["8.8.8.8", "1.1.1.1", "172.15.0.1", "172.32.0.1", "100.128.0.1", "223.255.255.255", "2606:4700::1111"]
        {
            assert!(is_public(text), "{text}");
        }
        for text in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.31.255.255",
            "192.168.1.1",
            "198.19.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "::7f00:1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:0:1::",
            "fd00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(text), "{text}");
        }
    }

    #[test]
    fn a_range_holds_what_shares_its_bits() {
        let holds =
            |range: &str, address: &str| Network::parse(range).expect(range).contains(address.parse().expect(address));
        assert!(holds("127.0.0.0/8", "127.1.2.3") && !holds("127.0.0.0/8", "128.0.0.1"));
        assert!(holds("::1/128", "::1") && !holds("::1", "::2") && holds("10.0.0.1", "::ffff:10.0.0.1"));
        assert!(holds("0.0.0.0/0", "1.2.3.4") && !holds("0.0.0.0/0", "::1") && holds("fe80::/10", "febf::1"));
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "ten", "10.0.0.0/-1"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
