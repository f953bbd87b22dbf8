//! How a client recovers: its token and positions, the events it must receive, and when it may be refused.

use serde_json::Value;
use switchboard::codec::recovery;
use switchboard::domain::record::TokenHash;

use super::durability_checker::{DurabilityChecker, text};
use super::network::Network;
use super::recovering_client::{Asked, RecoveringClient, ReturnMode, RoomView, calm};

impl RecoveringClient {
    pub(super) fn greeted(&mut self, told: &Value, net: &mut Network) {
        assert!(self.id.is_empty(), "the greeting comes once");
        self.id = text(told, "connectionId").to_owned();
        self.own_token = text(told, "recoveryToken").to_owned();
        match (self.way, self.token.clone()) {
            (ReturnMode::Resume | ReturnMode::ResumeBlindly, Some(token)) => self.resume(net, &token),
            _ => self.begin_anew(net),
        }
    }

    pub(super) fn resume(&mut self, net: &mut Network, token: &str) {
        let is_blind = self.way == ReturnMode::ResumeBlindly;
        let mut fields = format!(r#","recoveryToken":"{token}","ownMessages":true"#);
        if !is_blind {
            let place = |(room, place): (&String, &RoomView)| {
                format!(r#""{room}":{{"epoch":"{}","seq":{}}}"#, place.epoch, place.reached())
            };
            let places = self.rooms.iter().filter(|(room, _)| self.wants.contains(*room)).map(place);
            fields += &format!(r#","rooms":{{{}}}"#, places.collect::<Vec<_>>().join(","));
        }
        let calm = calm(net);
        let hash = TokenHash(recovery::hash(token));
        let store = net.store.as_ref().expect("a store");
        let is_there = store.contents.session(&hash, net.now.wall + 10_000).is_some() && !store.is_failing();
        let must_work = is_there && !self.is_token_used;
        self.is_token_used = true;
        self.ask(net, "resume", &fields, Asked::Resume { is_blind, must_work, token: token.to_owned(), calm });
    }

    /// Joins all its rooms, as if it had never been there.
    pub(super) fn begin_anew(&mut self, net: &mut Network) {
        self.take_token();
        for room in self.wants.clone() {
            self.join(net, &room);
        }
    }

    fn take_token(&mut self) {
        (self.token, self.is_token_used) = (Some(self.own_token.clone()), false);
        self.is_ready = true;
    }

    pub(super) fn resumed(
        &mut self,
        told: &Value,
        asked: &Asked,
        net: &mut Network,
        testimony: &mut DurabilityChecker,
    ) {
        let Asked::Resume { is_blind, calm: before, token, .. } = asked else { panic!("not asked for: {told}") };
        assert_eq!(text(told, "recoveryToken"), self.own_token);
        self.take_token();
        let is_excused = calm(net) != *before || before.is_none();
        let rooms = told["rooms"].as_object().expect("an object");
        for (room, back) in rooms {
            if let Some(code) = back["code"].as_str() {
                self.not_back(room, code, is_excused || self.is_by_another(room, token), net);
                continue;
            }
            let (epoch, seq) = (text(back, "epoch"), back["seq"].as_u64().expect("a number"));
            let messages = back["messages"].as_array().expect("a list");
            let numbers: Vec<u64> = messages.iter().map(|message| self.note(message, room, epoch, testimony)).collect();
            let known = self.rooms.get(room).filter(|_| !is_blind && self.wants.contains(room)).cloned();
            let is_recovered = back["recovered"] == true;
            testimony.tally.count(if is_recovered { "recovered" } else { "not recovered" });
            if !numbers.is_empty() {
                testimony.tally.count("missed messages");
            }
            match known {
                Some(place) if is_recovered => {
                    assert_eq!(place.epoch, epoch, "{room} is another one than before");
                    let reached = place.reached();
                    assert!(numbers.iter().copied().eq(reached + 1..=seq), "after {reached} of {room}: {back}");
                    let own = place.own.keys().all(|own| *own <= seq);
                    assert!(own, "a message that was kept is not in {room}: {back}");
                }
                Some(place) => {
                    let kept = net.store.as_ref().and_then(|store| store.contents.room(room));
                    let is_trimmed = kept.is_some_and(|kept| kept.stored.first > place.reached() + 1);
                    let is_other = place.epoch != epoch;
                    let is_excused = is_excused || is_trimmed || is_other;
                    assert!(is_excused, "client {} could have had {room} from {place:?} on: {back}", self.number);
                }
                None => assert!(numbers.windows(2).all(|two| two[0] + 1 == two[1]), "{back}"),
            }
            self.wants.insert(room.clone());
            self.begin_at(room, epoch, seq, back, net);
        }
        for room in self.wants.clone() {
            if !self.rooms.get(&room).is_some_and(|place| place.is_member) {
                self.join(net, &room);
            }
        }
    }

    /// Whether it was never in a room by the connection that a token is of.
    fn is_by_another(&self, room: &str, token: &str) -> bool {
        self.rooms.get(room).is_some_and(|place| place.by != token)
    }

    /// It did not come back into a room. Was there a reason?
    fn not_back(&self, room: &str, code: &str, is_excused: bool, net: &Network) {
        let Some(place) = self.rooms.get(room) else { return };
        // After a crash another room of that name can have begun before the answer is read.
        let kept = net.store.as_ref().and_then(|store| store.contents.room(room));
        let is_kept = kept.is_some_and(|kept| *kept.stored.made.epoch == *place.epoch);
        let is_right = match code {
            // Just before a crash, it may not have been noted yet that it is in there.
            "NOT_IN_ROOM" => place.crashes != self.crashes || place.calm.is_none() || place.calm != calm(net),
            "ROOM_NOT_FOUND" => !is_kept,
            _ => false,
        };
        assert!(is_right || is_excused, "client {} is not let back into {room}: {code}, {place:?}", self.number);
    }
}
