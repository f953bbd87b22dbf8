//! The application handshake of a `raw` connection, and the notices that its client gets without a request for them, in one
//! byte.
//!
//! A client that only joins rooms and signals does not know these notices, so they begin when the client asks: with the query
//! parameter `events`, or with its first request of the messaging protocol.

/// Progress of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HandshakeState {
    /// No message has been sent.
    New,
    /// The connection may be sent messages; if it gets `connect`, that was the first one.
    Greeted,
    /// The owner of the user has confirmed the connection; presence updates are delivered.
    Attached,
}

/// A message that no request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// `connect`, the greeting.
    Connect,
    /// `presence` of other users.
    Presence,
    /// `disconnect`, before the server closes the connection.
    Disconnect,
}

/// A selection of notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notices(u8);

/// The handshake of a connection and its notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing(u8);

/// Names in the query parameter that stand for all notices.
const ALL: [&str; 3] = ["all", "1", "true"];

/// The events of the messaging protocol that every client gets that has asked for them in another way: by joining a room, or by
/// sending a message.
const GIVEN: [&str; 6] = ["join-room", "leave-room", "message", "typing", "read-receipt", "delivered"];

impl Notice {
    const fn bit(self) -> u8 {
        match self {
            Self::Connect => 1 << 2,
            Self::Presence => 1 << 3,
            Self::Disconnect => 1 << 4,
        }
    }

    fn parse(name: &str) -> Option<Self> {
        match name {
            "connect" => Some(Self::Connect),
            "presence" => Some(Self::Presence),
            "disconnect" => Some(Self::Disconnect),
            _ => None,
        }
    }
}

impl Notices {
    /// None until the first request of the messaging protocol, then all.
    pub const UPON_REQUEST: Self = Self(0);

    /// All.
    pub const ALL: Self = Self(Self::EVERY | Self::CHOSEN);

    /// None.
    pub const NONE: Self = Self(Self::CHOSEN);

    const EVERY: u8 = Notice::Connect.bit() | Notice::Presence.bit() | Notice::Disconnect.bit();

    /// Set when the client has chosen.
    const CHOSEN: u8 = 1 << 5;

    /// The selection that the query parameter `events` names: `all`, `none`, or a list of event names.
    ///
    /// # Errors
    /// The first name that no event has.
    pub fn parse(list: &str) -> Result<Self, &str> {
        let mut chosen = Self::CHOSEN;
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match Notice::parse(name) {
                Some(notice) => chosen |= notice.bit(),
                None if ALL.contains(&name) => chosen |= Self::EVERY,
                None if name == "none" || GIVEN.contains(&name) => {}
                None => return Err(name),
            }
        }
        Ok(Self(chosen))
    }
}

impl Standing {
    const STATE: u8 = 0b11;

    /// A new connection.
    pub fn new(notices: Notices) -> Self {
        Self(notices.0 | HandshakeState::New as u8)
    }

    /// The state of the handshake.
    pub fn state(self) -> HandshakeState {
        match self.0 & Self::STATE {
            0 => HandshakeState::New,
            1 => HandshakeState::Greeted,
            _ => HandshakeState::Attached,
        }
    }

    /// Sets the state of the handshake.
    pub fn set_state(&mut self, state: HandshakeState) {
        self.0 = self.0 & !Self::STATE | state as u8;
    }

    /// Whether the owner of the user has confirmed the connection.
    pub fn is_attached(self) -> bool {
        self.state() == HandshakeState::Attached
    }

    /// Whether the client gets a notice.
    pub fn gets(self, notice: Notice) -> bool {
        self.0 & notice.bit() != 0
    }

    /// The client has sent a request of the messaging protocol. Returns whether its notices begin with that.
    pub fn ask(&mut self) -> bool {
        let is_first = self.0 & !Self::STATE == 0;
        if is_first {
            self.0 |= Notices::EVERY | Notices::CHOSEN;
        }
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(list: &str) -> [bool; 3] {
        let standing = Standing::new(Notices::parse(list).expect("names of events"));
        [Notice::Connect, Notice::Presence, Notice::Disconnect].map(|notice| standing.gets(notice))
    }

    #[test]
    fn events_are_selected_by_name() {
        for all in ["all", "1", "true", "connect,presence,disconnect", "message, all"] {
            assert_eq!(of(all), [true; 3], "{all}");
        }
        for none in ["none", "", "message,typing,read-receipt"] {
            assert_eq!(of(none), [false; 3], "{none}");
        }
        assert_eq!(of("presence"), [false, true, false]);
        assert_eq!(of("connect, disconnect"), [true, false, true]);
        assert_eq!(Notices::parse("connect,Presence"), Err("Presence"));
    }

    #[test]
    fn first_request_begins_notices_unless_chosen() {
        let mut standing = Standing::new(Notices::UPON_REQUEST);
        standing.set_state(HandshakeState::Attached);
        assert!(!standing.gets(Notice::Connect) && standing.is_attached());
        assert!(standing.ask() && standing.gets(Notice::Presence) && standing.is_attached());
        assert!(!standing.ask());
        standing.set_state(HandshakeState::Greeted);
        assert!(standing.gets(Notice::Disconnect) && standing.state() == HandshakeState::Greeted);
        for chosen in ["all", "none", "connect"] {
            let mut standing = Standing::new(Notices::parse(chosen).expect("names of events"));
            let before = standing;
            assert!(!standing.ask() && standing == before);
        }
    }
}
