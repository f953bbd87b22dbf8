//! What is known of connections beyond what it takes to serve them: where each comes from, since when, what program it
//! says it is, and what its user says of the device. Twelve bytes each, and more only where there is more to say.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use slab::Slab;

use crate::base::limits;
use crate::base::table::{HasName, Table};
use crate::base::time::Now;
use crate::base::wheel::{TICK_MS, Tick, tick};

/// What is known of a shard's connections, by slot.
pub(super) struct Arrivals {
    list: Vec<Arrival>,
    /// Addresses that do not fit into an [`Arrival`].
    long_addresses: Slab<Ipv6Addr>,
    agents: Table<Agent>,
    /// What is said of devices, as JSON.
    devices: BTreeMap<u32, Box<str>>,
}

/// What is known of one connection.
#[derive(Clone, Copy)]
struct Arrival {
    /// An IPv4 address, or the place of a longer one.
    address: u32,
    /// When it came.
    at: Tick,
    /// The place of its program's name, or [`NO_AGENT`]; with [`LONG`] when its address is a longer one.
    agent: u32,
}

const LONG: u32 = 1 << 31;
const NO_AGENT: u32 = LONG - 1;

/// A program by its own word, and how many connections it has.
struct Agent {
    name: Box<str>,
    connections: u32,
}

impl HasName for Agent {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Arrivals {
    pub(super) fn new(seed: u64) -> Self {
        let (list, long_addresses, devices) = (Vec::new(), Slab::new(), BTreeMap::new());
        Self { list, long_addresses, agents: Table::new(seed), devices }
    }

    /// A connection has come from `address`.
    pub(super) fn accepted(&mut self, slot: u32, address: IpAddr, now: Now) {
        let nothing = Arrival { address: 0, at: 0, agent: NO_AGENT };
        let (address, agent) = match address.to_canonical() {
            IpAddr::V4(address) => (address.to_bits(), NO_AGENT),
            IpAddr::V6(address) => (self.long_addresses.insert(address) as u32, NO_AGENT | LONG),
        };
        let needed = slot as usize + 1;
        if self.list.len() < needed {
            if self.list.capacity() < needed {
                self.list.reserve_exact(needed - self.list.len() + needed / 8);
            }
            self.list.resize(needed, nothing);
        }
        self.list[slot as usize] = Arrival { address, at: tick(now.mono), agent };
    }

    /// Its client's address is another than its own: it came by a proxy.
    pub(super) fn comes_from(&mut self, slot: u32, address: IpAddr) {
        if self.address(slot) == address.to_canonical() {
            return;
        }
        let Some(arrival) = self.list.get_mut(slot as usize) else { return };
        if arrival.agent & LONG != 0 {
            self.long_addresses.try_remove(arrival.address as usize);
        }
        let (address, mark) = match address.to_canonical() {
            IpAddr::V4(address) => (address.to_bits(), 0),
            IpAddr::V6(address) => (self.long_addresses.insert(address) as u32, LONG),
        };
        arrival.address = address;
        arrival.agent = arrival.agent & !LONG | mark;
    }

    /// It goes on as a client that stays, and says what program it is.
    pub(super) fn upgraded(&mut self, slot: u32, agent: Option<&str>, now: Now) {
        let place = agent.map_or(NO_AGENT, |agent| self.agent_place(agent));
        if let Some(arrival) = self.list.get_mut(slot as usize) {
            arrival.at = tick(now.mono);
            arrival.agent = arrival.agent & LONG | place;
        }
    }

    fn agent_place(&mut self, name: &str) -> u32 {
        let name = &name[..name.floor_char_boundary(limits::AGENT_BYTES)];
        let place = match self.agents.find(name) {
            Some(place) => place,
            None if self.agents.len() >= limits::AGENTS => return NO_AGENT,
            None => self.agents.insert(Agent { name: name.into(), connections: 0 }),
        };
        if let Some(agent) = self.agents.at_mut(place) {
            agent.connections += 1;
        }
        place
    }

    /// The connection is gone.
    pub(super) fn forget(&mut self, slot: u32) {
        self.devices.remove(&slot);
        let Some(Arrival { address, agent, .. }) = self.list.get(slot as usize).copied() else { return };
        if agent & LONG != 0 {
            self.long_addresses.try_remove(address as usize);
        }
        if let Some(agent) = self.agents.at_mut(agent & !LONG) {
            agent.connections -= 1;
            if agent.connections == 0 {
                let name = agent.name.clone();
                self.agents.remove(&name);
            }
        }
        self.list[slot as usize].agent = NO_AGENT;
    }

    /// Nobody is there any more.
    pub(super) fn clear(&mut self) {
        self.list = Vec::new();
        self.long_addresses = Slab::new();
    }

    /// Where a connection comes from.
    pub(super) fn address(&self, slot: u32) -> IpAddr {
        match self.list.get(slot as usize) {
            Some(arrival) if arrival.agent & LONG != 0 => {
                let address = self.long_addresses.get(arrival.address as usize).copied();
                IpAddr::V6(address.unwrap_or(Ipv6Addr::UNSPECIFIED))
            }
            Some(arrival) => IpAddr::V4(Ipv4Addr::from_bits(arrival.address)),
            None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        }
    }

    /// When it came, in milliseconds since 1970.
    pub(super) fn came_at(&self, slot: u32, now: Now) -> u64 {
        self.list.get(slot as usize).map_or(now.wall, |arrival| wall_of(arrival.at, now))
    }

    /// The program it says it is.
    pub(super) fn agent(&self, slot: u32) -> Option<&str> {
        let arrival = self.list.get(slot as usize)?;
        self.agents.at(arrival.agent & !LONG).map(Agent::name)
    }

    /// What its user says of the device, as JSON.
    pub(super) fn device(&self, slot: u32) -> Option<&str> {
        self.devices.get(&slot).map(|device| &**device)
    }

    /// Its user says this of the device, as JSON; or nothing any more.
    pub(super) fn equip(&mut self, slot: u32, device: Option<Box<str>>) {
        match device {
            Some(device) => drop(self.devices.insert(slot, device)),
            None => drop(self.devices.remove(&slot)),
        }
    }
}

/// A moment on the wheel in milliseconds since 1970.
pub(super) fn wall_of(at: Tick, now: Now) -> u64 {
    now.wall.saturating_sub(now.mono.saturating_sub(u64::from(at) * TICK_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now { mono: 8_000, wall: 1_750_000_000_000 };

    #[test]
    fn a_connection_takes_twelve_bytes() {
        assert_eq!(size_of::<Arrival>(), 12);
    }

    #[test]
    fn what_is_known_is_told_and_forgotten() {
        let mut arrivals = Arrivals::new(1);
        let addresses: [IpAddr; 3] =
            ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.3"].map(|text| text.parse().expect("an address"));
        for (slot, address) in addresses.into_iter().enumerate() {
            arrivals.accepted(slot as u32, address, NOW);
            arrivals.upgraded(slot as u32, Some(if slot == 2 { "other" } else { "one" }), NOW.plus(80));
        }
        let seen: Vec<IpAddr> = (0..3).map(|slot| arrivals.address(slot)).collect();
        assert_eq!(seen, [addresses[0], addresses[1], "192.0.2.3".parse().expect("an address")]);
        assert_eq!(
            (0..3).map(|slot| arrivals.agent(slot)).collect::<Vec<_>>(),
            [Some("one"), Some("one"), Some("other")]
        );
        assert_eq!(arrivals.came_at(1, NOW.plus(1_000)), NOW.wall + 80);
        arrivals.equip(1, Some("{}".into()));
        assert_eq!((arrivals.device(1), arrivals.device(0)), (Some("{}"), None));
        arrivals.forget(1);
        arrivals.forget(2);
        assert_eq!((arrivals.agents.len(), arrivals.long_addresses.len(), arrivals.device(1)), (1, 0, None));
        arrivals.forget(0);
        assert!(arrivals.agents.is_empty());
        // The slot's next tenant has nothing of the last one.
        arrivals.accepted(1, addresses[0], NOW);
        assert_eq!((arrivals.address(1), arrivals.agent(1), arrivals.device(1)), (addresses[0], None, None));
    }

    #[test]
    fn programs_have_bounds() {
        let mut arrivals = Arrivals::new(1);
        for slot in 0..limits::AGENTS as u32 + 10 {
            arrivals.accepted(slot, IpAddr::V4(Ipv4Addr::LOCALHOST), NOW);
            arrivals.upgraded(slot, Some(&format!("{slot} {}", "é".repeat(1_000))), NOW);
        }
        assert_eq!(arrivals.agents.len(), limits::AGENTS);
        assert!(arrivals.agent(0).is_some_and(|name| name.len() <= limits::AGENT_BYTES));
        assert_eq!(arrivals.agent(limits::AGENTS as u32), None);
    }
}
