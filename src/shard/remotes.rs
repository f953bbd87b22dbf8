//! Remote ends of connections and sessions: address, time of connecting, client program and device. Twelve bytes each,
//! and more only for long addresses and devices.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use slab::Slab;

use crate::base::handle::Slot;
use crate::base::limits;
use crate::base::table::{HasName, Table};
use crate::base::time::Now;
use crate::base::wheel::{TICK_MS, Tick, tick};
use crate::shard::ListenerRoles;

/// Remote ends by slot.
pub(super) struct Remotes<K> {
    list: Vec<Remote>,
    /// IPv6 addresses.
    long_addresses: Slab<Ipv6Addr>,
    agents: Table<Agent>,
    /// Descriptions of devices, as JSON.
    devices: BTreeMap<u32, Box<str>>,
    slots: PhantomData<K>,
}

#[derive(Clone, Copy)]
struct Remote {
    /// An IPv4 address, or the place of an IPv6 address.
    address: u32,
    connected_at: Tick,
    /// The place of the client program, or [`NO_AGENT`]; with [`LONG`] if the address is an IPv6 address, with [`SECURE`] if the
    /// connection uses TLS, and with what its listener does not serve in [`MISSING_ROLES`].
    agent: u32,
}

const LONG: u32 = 1 << 31;
const SECURE: u32 = 1 << 30;
const ROLES_AT: u32 = 27;
const MISSING_ROLES: u32 = 7 << ROLES_AT;
const NO_AGENT: u32 = (1 << ROLES_AT) - 1;

/// A client program, by its `User-Agent`.
struct Agent {
    name: Box<str>,
    connections: u32,
}

impl HasName for Agent {
    fn name(&self) -> &str {
        &self.name
    }
}

impl<K: Slot> Remotes<K> {
    pub(super) fn new(seed: u64) -> Self {
        let (list, long_addresses, devices) = (Vec::new(), Slab::new(), BTreeMap::new());
        Self { list, long_addresses, agents: Table::new(seed), devices, slots: PhantomData }
    }

    /// Adds the remote end of a new connection or session.
    pub(super) fn insert(&mut self, slot: K, address: IpAddr, now: Now) {
        let needed = slot.raw() as usize + 1;
        if self.list.len() < needed {
            if self.list.capacity() < needed {
                self.list.reserve_exact(needed - self.list.len() + needed / 8);
            }
            self.list.resize(needed, Remote { address: 0, connected_at: 0, agent: NO_AGENT });
        }
        debug_assert_eq!(
            self.list[slot.raw() as usize].agent,
            NO_AGENT,
            "invariant: a slot is removed before it is reused"
        );
        let (address, mark) = self.store_address(address);
        self.list[slot.raw() as usize] = Remote { address, connected_at: tick(now.mono), agent: NO_AGENT | mark };
    }

    /// Replaces the address by the one that a proxy reports.
    pub(super) fn set_address(&mut self, slot: K, address: IpAddr) {
        if self.address(slot) != address.to_canonical() {
            self.drop_address(slot);
            let (address, mark) = self.store_address(address);
            let remote = &mut self.list[slot.raw() as usize];
            *remote = Remote { address, agent: remote.agent | mark, ..*remote };
        }
    }

    /// Sets what the listener of a connection serves, and whether it uses TLS.
    pub(super) fn set_listener(&mut self, slot: K, roles: ListenerRoles, is_secure: bool) {
        let remote = &mut self.list[slot.raw() as usize];
        remote.agent &= !(MISSING_ROLES | SECURE);
        remote.agent |= roles.missing() << ROLES_AT | if is_secure { SECURE } else { 0 };
    }

    /// What the listener of a connection serves.
    pub(super) fn roles(&self, slot: K) -> ListenerRoles {
        let missing = self.list.get(slot.raw() as usize).map_or(0, |remote| (remote.agent & MISSING_ROLES) >> ROLES_AT);
        ListenerRoles::all_but(missing)
    }

    /// Whether a connection uses TLS.
    pub(super) fn is_secure(&self, slot: K) -> bool {
        self.list.get(slot.raw() as usize).is_some_and(|remote| remote.agent & SECURE != 0)
    }

    /// Sets the client program and the time of connecting, as a WebSocket or a session opens.
    pub(super) fn set_agent(&mut self, slot: K, agent: Option<&str>, now: Now) {
        let place = agent.map_or(NO_AGENT, |agent| self.count_agent(agent));
        let remote = &mut self.list[slot.raw() as usize];
        debug_assert_eq!(remote.agent & NO_AGENT, NO_AGENT, "invariant: a client program is counted once");
        *remote = Remote { connected_at: tick(now.mono), agent: remote.agent & !NO_AGENT | place, ..*remote };
    }

    fn store_address(&mut self, address: IpAddr) -> (u32, u32) {
        match address.to_canonical() {
            IpAddr::V4(address) => (address.to_bits(), 0),
            IpAddr::V6(address) => (self.long_addresses.insert(address) as u32, LONG),
        }
    }

    fn drop_address(&mut self, slot: K) {
        let remote = &mut self.list[slot.raw() as usize];
        if remote.agent & LONG != 0 {
            remote.agent &= !LONG;
            self.long_addresses.remove(remote.address as usize);
        }
    }

    fn count_agent(&mut self, name: &str) -> u32 {
        let name = &name[..name.floor_char_boundary(limits::AGENT_BYTES)];
        let place = match self.agents.find(name) {
            Some(place) => place,
            None if self.agents.len() >= limits::AGENTS => return NO_AGENT,
            None => self.agents.insert(Agent { name: name.into(), connections: 0 }),
        };
        self.agents.at_mut(place).expect("invariant: a table keeps what it finds").connections += 1;
        place
    }

    pub(super) fn remove(&mut self, slot: K) {
        self.devices.remove(&slot.raw());
        self.drop_address(slot);
        let place = std::mem::replace(&mut self.list[slot.raw() as usize].agent, NO_AGENT) & NO_AGENT;
        if let Some(agent) = self.agents.at_mut(place) {
            debug_assert_ne!(agent.connections, 0, "invariant: a client program has connections");
            agent.connections -= 1;
            if agent.connections == 0 {
                let name = agent.name.clone();
                self.agents.remove(&name);
            }
        }
    }

    /// Releases the memory once all slots are free.
    pub(super) fn clear(&mut self) {
        debug_assert!(self.agents.is_empty() && self.long_addresses.is_empty(), "invariant: all remotes are removed");
        self.list = Vec::new();
        self.long_addresses = Slab::new();
    }

    /// All that is known of the remote end of a slot.
    pub(super) fn view(&self, slot: K, now: Now) -> RemoteView<'_> {
        let (address, connected_at) = (self.address(slot), self.connected_at(slot, now));
        RemoteView { address, connected_at, agent: self.agent(slot), device: self.device(slot) }
    }

    pub(super) fn address(&self, slot: K) -> IpAddr {
        match self.list.get(slot.raw() as usize) {
            Some(remote) if remote.agent & LONG != 0 => IpAddr::V6(self.long_addresses[remote.address as usize]),
            Some(remote) => IpAddr::V4(Ipv4Addr::from_bits(remote.address)),
            None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        }
    }

    /// Time of connecting, in milliseconds since 1970.
    pub(super) fn connected_at(&self, slot: K, now: Now) -> u64 {
        self.list.get(slot.raw() as usize).map_or(now.wall, |remote| wall_of(remote.connected_at, now))
    }

    pub(super) fn agent(&self, slot: K) -> Option<&str> {
        let remote = self.list.get(slot.raw() as usize)?;
        self.agents.at(remote.agent & NO_AGENT).map(Agent::name)
    }

    /// Description of the device, as JSON.
    pub(super) fn device(&self, slot: K) -> Option<&str> {
        self.devices.get(&slot.raw()).map(|device| &**device)
    }

    /// Replaces or removes the description of the device.
    pub(super) fn set_device(&mut self, slot: K, device: Option<Box<str>>) {
        match device {
            Some(device) => drop(self.devices.insert(slot.raw(), device)),
            None => drop(self.devices.remove(&slot.raw())),
        }
    }
}

/// The remote end of a connection or session.
pub(super) struct RemoteView<'r> {
    pub(super) address: IpAddr,
    /// In milliseconds since 1970.
    pub(super) connected_at: u64,
    /// The client program.
    pub(super) agent: Option<&'r str>,
    /// Description of the device, as JSON.
    pub(super) device: Option<&'r str>,
}

/// A tick of the wheel in milliseconds since 1970.
pub(super) fn wall_of(at: Tick, now: Now) -> u64 {
    now.wall.saturating_sub(now.mono.saturating_sub(u64::from(at) * TICK_MS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::handle::ConnSlot;

    fn at(number: u32) -> ConnSlot {
        ConnSlot::from_raw(number)
    }

    const NOW: Now = Now { mono: 8_000, wall: 1_750_000_000_000 };

    #[test]
    fn remote_takes_twelve_bytes() {
        assert_eq!(size_of::<Remote>(), 12);
    }

    #[test]
    fn remote_is_returned_until_it_is_removed() {
        let mut remotes = Remotes::new(1);
        let addresses: [IpAddr; 3] =
            ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.3"].map(|text| text.parse().expect("an address"));
        for (slot, address) in addresses.into_iter().enumerate() {
            remotes.insert(at(slot as u32), address, NOW);
            remotes.set_agent(at(slot as u32), Some(if slot == 2 { "other" } else { "one" }), NOW.plus(80));
        }
        let seen: Vec<IpAddr> = (0..3).map(|slot| remotes.address(at(slot))).collect();
        assert_eq!(seen, [addresses[0], addresses[1], "192.0.2.3".parse().expect("an address")]);
        assert_eq!(
            (0..3).map(|slot| remotes.agent(at(slot))).collect::<Vec<_>>(),
            [Some("one"), Some("one"), Some("other")]
        );
        assert_eq!(remotes.connected_at(at(1), NOW.plus(1_000)), NOW.wall + 80);
        remotes.set_device(at(1), Some("{}".into()));
        assert_eq!((remotes.device(at(1)), remotes.device(at(0))), (Some("{}"), None));
        remotes.remove(at(1));
        remotes.remove(at(2));
        assert_eq!((remotes.agents.len(), remotes.long_addresses.len(), remotes.device(at(1))), (1, 0, None));
        remotes.remove(at(0));
        assert!(remotes.agents.is_empty());
        // The slot's next tenant has nothing of the last one.
        remotes.insert(at(1), addresses[0], NOW);
        assert_eq!((remotes.address(at(1)), remotes.agent(at(1)), remotes.device(at(1))), (addresses[0], None, None));
    }

    #[test]
    fn agents_are_bounded_in_number_and_length() {
        let mut remotes = Remotes::new(1);
        for slot in 0..limits::AGENTS as u32 + 10 {
            remotes.insert(at(slot), IpAddr::V4(Ipv4Addr::LOCALHOST), NOW);
            remotes.set_agent(at(slot), Some(&format!("{slot} {}", "é".repeat(1_000))), NOW);
        }
        assert_eq!(remotes.agents.len(), limits::AGENTS);
        assert!(remotes.agent(at(0)).is_some_and(|name| name.len() <= limits::AGENT_BYTES));
        assert_eq!(remotes.agent(at(limits::AGENTS as u32)), None);
    }
}
