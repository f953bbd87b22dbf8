//! The connection mode of a call: whether its media go from peer to peer, or through a media server (SFU) that forwards them.
//!
//! The mode is a function of the callers in the room, of the failures that they report, of the wish of the host, and of the
//! time. Callers that cannot use a media server stay with peer to peer connections in either mode, so the mode is
//! [`ConnectionMode::Sfu`] only where at least two callers can use it.
//!
//! The way up is taken at once. The way back is taken when the number of callers has been low for
//! [`ModeRules::return_ms`], so that a reload of a page does not move the media of all.

/// The peer id by which clients address the media server. No member can have it.
pub const SFU: &str = "sfu";

/// Members that can use a media server, at least, for a room to use it.
pub(super) const CAPABLE_MIN: u32 = 2;

/// The way that media take between the callers of a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConnectionMode {
    /// From each caller to each other.
    #[default]
    P2p,
    /// Through a media server.
    Sfu,
}

impl ConnectionMode {
    /// The mode on every wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::P2p => "p2p",
            Self::Sfu => "sfu",
        }
    }

    pub(super) fn other(self) -> Self {
        match self {
            Self::P2p => Self::Sfu,
            Self::Sfu => Self::P2p,
        }
    }
}

/// The reason that a mode began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ModeReason {
    /// The number of callers.
    #[default]
    Participants,
    /// Two callers cannot connect to each other.
    P2pFailed,
    /// The host asked.
    Requested,
}

impl ModeReason {
    /// All reasons.
    pub const ALL: [Self; 3] = [Self::Participants, Self::P2pFailed, Self::Requested];

    /// The reason on every wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Participants => "participants",
            Self::P2pFailed => "p2p-failed",
            Self::Requested => "requested",
        }
    }
}

/// The mode that a room's host asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WantedMode {
    /// The one that follows from the callers.
    #[default]
    Auto,
    /// This one, until the room is empty.
    Always(ConnectionMode),
}

impl WantedMode {
    /// The wish on every wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Always(mode) => mode.as_str(),
        }
    }

    /// The wish of that name.
    pub fn parse(text: &str) -> Option<Self> {
        let all = [Self::Auto, Self::Always(ConnectionMode::P2p), Self::Always(ConnectionMode::Sfu)];
        all.into_iter().find(|wanted| wanted.as_str() == text)
    }
}

/// A change of a room's mode, as its members learn it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeChange {
    /// The new mode.
    pub mode: ConnectionMode,
    /// The former mode.
    pub previous: ConnectionMode,
    /// The reason.
    pub reason: ModeReason,
}

/// When rooms change their mode, from the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeRules {
    /// Whether rooms change their mode at all.
    pub is_on: bool,
    /// The most callers that a room connects from peer to peer; 0: any number.
    pub p2p_max: u32,
    /// How long there have to be so few callers before they are connected from peer to peer again, in milliseconds.
    pub return_ms: u64,
}

impl ModeRules {
    /// Rooms stay in [`ConnectionMode::P2p`].
    pub const OFF: Self = Self { is_on: false, p2p_max: 2, return_ms: 20_000 };
}

/// The callers of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Callers {
    pub(super) all: u32,
    /// Those that can use a media server.
    pub(super) capable: u32,
}

/// The mode of a call. A room without callers, and one that has been in the default mode all the time, has the default state,
/// which takes no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) mode: ConnectionMode,
    pub(super) reason: ModeReason,
    pub(super) wanted: WantedMode,
    /// Two callers could not connect to each other: the number of callers at that time. The mode stays until it changes.
    pub(super) failed_among: Option<u32>,
    /// When the mode goes back to peer to peer, in monotonic milliseconds.
    returns_at: Option<u64>,
    /// The deadline that the owner knows of, in monotonic milliseconds.
    noted: Option<u64>,
}

impl Call {
    /// Adapts the mode to the callers. Returns a change.
    pub(super) fn update(&mut self, now_ms: u64, callers: Callers, rules: &ModeRules) -> Option<ModeChange> {
        if self.failed_among.is_some_and(|known| known != callers.all) {
            self.failed_among = None;
        }
        let is_crowded = rules.p2p_max != 0 && callers.all > rules.p2p_max;
        let is_wanted = match self.wanted {
            WantedMode::Auto => is_crowded || self.failed_among.is_some(),
            WantedMode::Always(mode) => mode == ConnectionMode::Sfu,
        };
        let is_sfu = callers.capable >= CAPABLE_MIN && is_wanted;
        match (self.mode, is_sfu, self.wanted) {
            (ConnectionMode::P2p, true, WantedMode::Always(_)) => Some(self.change(ModeReason::Requested)),
            (ConnectionMode::P2p, true, WantedMode::Auto) if is_crowded => Some(self.change(ModeReason::Participants)),
            (ConnectionMode::P2p, true, WantedMode::Auto) => Some(self.change(ModeReason::P2pFailed)),
            (ConnectionMode::Sfu, false, WantedMode::Always(ConnectionMode::P2p)) => {
                Some(self.change(ModeReason::Requested))
            }
            (ConnectionMode::Sfu, false, _) => {
                self.returns_at.get_or_insert(now_ms + rules.return_ms);
                None
            }
            (ConnectionMode::P2p, false, _) | (ConnectionMode::Sfu, true, _) => {
                self.returns_at = None;
                None
            }
        }
    }

    /// Goes back to peer to peer if that is due.
    pub(super) fn pass(&mut self, now_ms: u64) -> Option<ModeChange> {
        if self.noted.is_some_and(|at| at <= now_ms) {
            self.noted = None;
        }
        self.returns_at.filter(|at| *at <= now_ms)?;
        Some(self.change(ModeReason::Participants))
    }

    fn change(&mut self, reason: ModeReason) -> ModeChange {
        let previous = self.mode;
        self.mode = previous.other();
        self.reason = reason;
        self.returns_at = None;
        ModeChange { mode: self.mode, previous, reason }
    }

    /// The next deadline, if the owner does not know of it or of an earlier one.
    pub(super) fn take_due(&mut self) -> Option<u64> {
        let at = self.returns_at.filter(|at| self.noted.is_none_or(|noted| noted > *at))?;
        self.noted = Some(at);
        Some(at)
    }

    /// Whether it can be forgotten: a room without it behaves in the same way.
    pub(super) fn is_idle(&self) -> bool {
        self.mode == ConnectionMode::P2p && self.wanted == WantedMode::Auto && self.failed_among.is_none()
    }

    pub(super) fn check_invariants(&self) {
        let is_returning = self.returns_at.is_some();
        assert!(!is_returning || self.mode == ConnectionMode::Sfu, "call: only a call through a media server returns");
        assert!(!is_returning || self.noted.is_some(), "call: the owner knows when the mode goes back");
    }
}
