//! Appearances of members in rooms, as a recovered client gets them back.

use crate::base::Name;
use crate::base::handle::PeerKey;
use crate::base::time::Now;
use crate::domain::about::About;
use crate::domain::command::MediaState;
use crate::shard::core::Core;
use crate::shard::recovery::sessions::KeptSessions;
use crate::shard::rooms::rooms_of;

/// The appearance of a member in a room, where it is not the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::shard) struct Appearance {
    pub(in crate::shard) peer: Option<Name>,
    pub(in crate::shard) about: About,
    pub(in crate::shard) media: MediaState,
}

/// Notes appearances.
pub(in crate::shard) struct Appearances<'a> {
    core: &'a mut Core,
}

impl<'a> Appearances<'a> {
    pub(in crate::shard) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Notes the appearance of a member.
    pub(in crate::shard) fn set(&mut self, peer: PeerKey, room: &str, shown: Option<Box<Appearance>>) {
        if let Some(at) = self.core.rooms.find(room) {
            let shown = shown.filter(|shown| self.core.recovers() && **shown != Appearance::default());
            match shown {
                Some(shown) => drop(self.core.recovery.appearances.insert((peer, at), *shown)),
                None => drop(self.core.recovery.appearances.remove(&(peer, at))),
            }
        }
    }

    /// Notes that the media of a member have changed.
    pub(in crate::shard) fn change_media(
        &mut self,
        now: Now,
        peer: PeerKey,
        room: &str,
        change: impl FnOnce(&mut MediaState),
    ) {
        if self.core.recovers()
            && let Some(at) = self.core.rooms.find(room)
            && rooms_of(&self.core.net, peer).contains(&at)
        {
            change(&mut self.core.recovery.appearances.entry((peer, at)).or_default().media);
            KeptSessions::on(self.core).note(now, peer);
        }
    }
}
