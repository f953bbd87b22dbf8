//! API keys: whose they are, what they are for, and how they are made.

use std::net::IpAddr;
use std::sync::Arc;

use crate::base::ids::random_word;
use crate::base::limits;
use crate::base::time::Now;
use crate::codec::api_key;
use crate::dialect::rest::{MadeKey, NewKey, RestCall};
use crate::domain::access::Identity;
use crate::domain::api_key::{ApiKey, key_id};
use crate::domain::op::Op;
use crate::domain::reject::{Code, Reject};
use crate::domain::revocation::{Revocation, RevocationChange, Revoked};
use crate::shard::core::Core;

/// Characters of a key's id.
const ID_CHARS: usize = 12;

impl Core {
    /// The user that stands for a key from an address.
    ///
    /// # Errors
    /// The key is not in force: unknown, expired and revoked keys are refused in the same words. It counts as a refused token.
    pub(super) fn verify_key(&mut self, now: Now, key: &str, address: IpAddr) -> Result<Identity, Reject> {
        self.admission.check(now, address)?;
        match self.revocations.list().key(now, &api_key::hash(key), api_key::is_same) {
            Some(key) => Ok(key.identity()),
            None => {
                self.admission.note_refused(now, address, &mut self.channels);
                Err(not_valid())
            }
        }
    }

    /// Checks that a caller with a key may concern itself with the rooms of a call.
    ///
    /// # Errors
    /// The key is for other rooms, or was revoked meanwhile.
    pub(super) fn check_key_rooms(&self, now: Now, by: &Identity, call: &RestCall) -> Result<(), Reject> {
        let Some(id) = key_id(by) else { return Ok(()) };
        let (key, _) = self.revocations.list().key_of_id(now, id).ok_or_else(not_valid)?;
        key.check_rooms(call.rooms())
    }

    /// Makes a key, or another secret of one. The key is good when its entry is in the list.
    ///
    /// # Errors
    /// Its end has passed, there are too many, or there is none to rotate.
    pub(super) fn make_key(&mut self, now: Now, new: &mut NewKey, by: &Identity) -> Result<Op, Reject> {
        let mut random = [0; 32];
        self.rng.fill(&mut random);
        let secret = api_key::key(&random);
        let hash = api_key::hash(&secret);
        let list = self.revocations.list();
        let (key, until, made_at, by) = match &new.rotated {
            Some((id, overlap_ms)) => {
                let Some((known, entry)) = list.key_of_id(now, id) else {
                    return Err(Reject::new(Code::NotFound, "No key of that id"));
                };
                let former = (*overlap_ms > 0).then(|| (known.hash, now.wall.saturating_add(*overlap_ms)));
                (ApiKey { hash, former, ..known }, entry.until, entry.made_at, entry.by.clone())
            }
            None if new.until.is_some_and(|until| until <= now.wall) => {
                return Err(Reject::invalid("expiresAt must be in the future"));
            }
            None if list.key_count() >= limits::API_KEYS => {
                let text = format!("The server keeps {} keys, and has as many", limits::API_KEYS);
                return Err(Reject::new(Code::RateLimited, text));
            }
            None => {
                let id = random_word(&mut self.rng, ID_CHARS).into();
                let (label, rooms) = (new.label.clone(), new.rooms.clone());
                let key = ApiKey { id, hash, former: None, label, actions: new.actions, rooms };
                (key, new.until, now.wall, by.user_name())
            }
        };
        let (subject, reason) = (Revoked::Key(key.id.clone()), Some(key.terms()));
        let entry = Arc::new(Revocation { subject, until, reason, issued_before: None, made_at, by });
        new.made = Some(MadeKey { secret: secret.into(), entry: entry.clone() });
        Ok(Op::Revocation(RevocationChange::Added(entry)))
    }
}

fn not_valid() -> Reject {
    Reject::new(Code::Unauthenticated, "The key is not valid")
}
