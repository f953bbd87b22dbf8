//! Writes records as rows, within the writer's open transaction.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result, params};
use uuid::Uuid;

use crate::base::Name;
use crate::base::limits;
use crate::domain::access::Identity;
use crate::domain::command::{ReceiptKind, Status};
use crate::domain::event::{Direct, Message, Revision, RevisionKind, StreamStatus};
use crate::domain::op::ProfileChange;
use crate::domain::record::{KeptPush, MadeRoom, Record, Seen, SentMessage, Session, TokenHash};
use crate::domain::revocation::Revocation;
use crate::message::storage::CommitOutcome;
use crate::runtime::storage::error::StorageFault;
use crate::runtime::storage::lookup_cache::LookupCache;
use crate::runtime::storage::outbox::{OutboxChange, OutboxOptions, OutboxWriter};
use crate::runtime::storage::rows::{self, PeerColumn, int};
use crate::runtime::storage::statements::statements;

/// Rooms and users in each cache: at most about 10 MiB.
const REMEMBERED: usize = 1 << 16;

/// The cached columns of a room.
struct CachedRoom {
    number: i64,
    epoch: Name,
    last: u64,
}

/// The cached columns of a user.
#[derive(Clone, Copy)]
struct CachedUser {
    number: i64,
    used_day: i64,
    /// Whether the row has the user's presence.
    is_seen: bool,
}

/// The prepared statements and caches of the writer.
pub(super) struct RecordWriter<'c> {
    statements: Statements<'c>,
    rooms: LookupCache<Name, CachedRoom>,
    users: LookupCache<Name, CachedUser>,
    /// Time of the transaction, in milliseconds since 1970.
    now: u64,
    /// The unit in which the use of a user is recorded, in milliseconds.
    use_unit_ms: u64,
    /// Where events for the application go, if it has endpoints.
    outbox: Option<OutboxWriter<'c>>,
}

statements! {
    Statements {
        begin: "BEGIN IMMEDIATE";
        commit: "COMMIT";
        rollback: "ROLLBACK";
        find_room: "SELECT number, epoch,
            max(trimmed, ifnull((SELECT max(seq) FROM message WHERE message.room = room.number), 0))
            FROM room WHERE name = ?1";
        make_room: "INSERT INTO room(name, epoch, host, host_username, host_roles, created_at, history, keep_messages,
            keep_ms, trimmed, has_profile, title, kind, is_private, host_peer, max_participants, encryption,
            description, host_key, maker, metadata, is_locked)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)
            RETURNING number";
        change_room: "UPDATE room SET has_profile = 1, title = ifnull(?2, title), kind = ifnull(?3, kind),
                description = ifnull(?4, description), metadata = ifnull(?5, metadata),
                max_participants = ifnull(?6, max_participants), is_private = ifnull(?7, is_private),
                is_locked = ifnull(?8, is_locked), keep_messages = ifnull(?9, keep_messages),
                keep_ms = ifnull(?10, keep_ms)
            WHERE number = ?1";
        drop_participants: "DELETE FROM participant WHERE room = ?1";
        lock_room: "UPDATE room SET is_locked = ?2 WHERE name = ?1";
        close_room: "UPDATE room SET name = NULL WHERE name = ?1";
        add_participant: "INSERT OR IGNORE INTO participant(room, user)
            SELECT number, ?2 FROM room WHERE number = ?1 AND has_profile";
        remove_participant: "DELETE FROM participant WHERE room = ?1 AND user = ?2";
        add_message: "INSERT INTO message(room, seq, id, at, sender, username, peer, body, kind, reply_to, attachment,
            metadata, client_id, display_name, event)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
        revise: "UPDATE message SET revision = ?2, revised = ?3 WHERE id = ?1";
        edit_message: "UPDATE message SET body = ?2, attachment = ifnull(?3, attachment), metadata = ifnull(?4, metadata),
                revision = ?5, revised = ?6
            WHERE id = ?1 AND room = ?7 AND (revision IS NULL OR revision = ?5 OR revision BETWEEN 6 AND 8)";
        delete_message: "UPDATE message SET body = 'null', reply_to = NULL, attachment = NULL, metadata = NULL,
                revision = ?2, revised = ?3
            WHERE id = ?1 AND room = ?4 AND (revision IS NULL OR revision = ?5 OR revision BETWEEN 6 AND 8)";
        pieces: rows::PIECES;
        clear_pieces: "UPDATE message SET body = '\"\"' WHERE revision = 5 AND revised > ?1 AND revised < ?2";
        opening: "SELECT body FROM message WHERE id = ?1 AND room = ?2 AND revision = 6";
        end_stream: "UPDATE message SET body = ?2, revision = ?3, revised = ?4 WHERE id = ?1";
        mark: "INSERT INTO receipt(message, user, delivered_at, read_at)
            SELECT number, ?2, ?3, ?4 FROM message WHERE id = ?1
            ON CONFLICT DO UPDATE SET delivered_at = ifnull(delivered_at, excluded.delivered_at),
                read_at = ifnull(read_at, excluded.read_at)
            WHERE ifnull(delivered_at, excluded.delivered_at) IS NOT delivered_at
                OR ifnull(read_at, excluded.read_at) IS NOT read_at";
        find_user: "SELECT number, used_day, seen_at IS NOT NULL FROM user WHERE name = ?1";
        add_user: "INSERT INTO user(name, used_day) VALUES(?1, ?2) RETURNING number";
        use_user: "UPDATE user SET used_day = ?2 WHERE number = ?1";
        see_user: "INSERT INTO user(name, used_day, username, email, status, seen_at) VALUES(?1, ?2, ?3, ?4, ?5, ?6)
            ON CONFLICT DO UPDATE SET username = excluded.username, email = excluded.email, status = excluded.status,
                seen_at = excluded.seen_at";
        set_absence: "INSERT INTO user(name, used_day, status, seen_at) VALUES(?1, ?2, ?3, ifnull(?4, ?5))
            ON CONFLICT DO UPDATE SET status = excluded.status, seen_at = coalesce(?4, seen_at, ?5)";
        see_sender: "UPDATE user SET username = ?2, email = ?3, status = ?4, seen_at = ?5
            WHERE number = ?1 AND seen_at IS NULL";
        keep_direct: "INSERT INTO direct(user, id, at, sender, username, body, kind, reply_to, attachment, metadata, event,
                is_pushed)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
        drop_direct: "DELETE FROM direct WHERE user = ?1 AND id = ?2";
        keep_push: "INSERT OR REPLACE INTO push(sender, key, at, reached, offline) VALUES(?1, ?2, ?3, ?4, ?5)";
        forget_pushes: "DELETE FROM push WHERE number <= (SELECT max(number) FROM push) - ?1";
        keep_session: "INSERT INTO session(token, user, connection, connected_at, active_at, expires_at, rooms, dialect)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
            ON CONFLICT DO UPDATE SET user = excluded.user, connection = excluded.connection,
                connected_at = excluded.connected_at, active_at = excluded.active_at, expires_at = excluded.expires_at,
                rooms = excluded.rooms, dialect = excluded.dialect";
        take_session: format!("DELETE FROM session WHERE token = ?1 RETURNING {}", rows::SESSION);
        find_session: format!("SELECT {} FROM session WHERE token = ?1", rows::SESSION);
        keep_revocation: "INSERT OR REPLACE INTO revocation(subject, until, reason, issued_before, made_at, made_by)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6)";
        drop_revocation: "DELETE FROM revocation WHERE subject = ?1";
    }
}

impl<'c> RecordWriter<'c> {
    pub(super) fn new(
        connection: &'c Connection,
        seed: u64,
        use_unit_ms: u64,
        outbox: Option<&Arc<OutboxOptions>>,
    ) -> Result<Self> {
        Ok(Self {
            statements: Statements::prepare(connection)?,
            rooms: LookupCache::new(REMEMBERED, seed),
            users: LookupCache::new(REMEMBERED, seed),
            now: 0,
            use_unit_ms,
            outbox: outbox.map(|options| OutboxWriter::new(connection, options.clone())).transpose()?,
        })
    }

    /// Begins a transaction at the time `now` (milliseconds since 1970).
    pub(super) fn begin(&mut self, now: u64) -> Result<()> {
        self.now = now;
        self.statements.begin.execute([]).map(drop)
    }

    pub(super) fn commit(&mut self) -> Result<()> {
        self.statements.commit.execute([])?;
        if let Some(outbox) = &mut self.outbox {
            outbox.committed();
        }
        Ok(())
    }

    /// Undoes all changes since [`RecordWriter::begin`], even if the database has already done so.
    pub(super) fn roll_back(&mut self) {
        // The caches may hold rows of the transaction.
        self.rooms.clear();
        self.users.clear();
        if let Some(outbox) = &mut self.outbox {
            outbox.rolled_back();
        }
        // Fails if the failure has already ended the transaction.
        let _ = self.statements.rollback.execute([]);
    }

    /// Frees the memory of the caches.
    pub(super) fn clear_cache(&mut self) {
        self.rooms.clear();
        self.users.clear();
    }

    /// Removes a deleted user from the cache.
    pub(super) fn uncache_user(&mut self, user: &str) {
        self.users.remove(user);
    }

    /// Writes the changes of one record. On an error the caller rolls the transaction back.
    pub(super) fn apply(&mut self, record: &Record, outcome: &mut CommitOutcome) -> Result<(), StorageFault> {
        match record {
            Record::RoomMade(made) => self.make_room(made),
            Record::RoomClosed { room } => {
                self.rooms.remove(room);
                Ok(self.statements.close_room.execute([&**room]).map(drop)?)
            }
            Record::RoomLocked { room, is_locked } => {
                Ok(self.statements.lock_room.execute(params![&**room, is_locked]).map(drop)?)
            }
            Record::ParticipantAdded { room, user } => {
                let room = self.room(room)?.number;
                self.add_participant(room, user)
            }
            Record::ParticipantRemoved { room, user } => {
                let (room, user) = (self.room(room)?.number, self.known_user(user)?);
                Ok(self.statements.remove_participant.execute(params![room, user]).map(drop)?)
            }
            Record::RoomChanged { room, change } => self.change_room(room, change),
            Record::MessageSent(sent) => self.add_message(sent),
            Record::MessageMarked { message, user, mark, at } => self.mark(message, user, *mark, *at),
            Record::DirectKept { user, direct } => self.keep_direct(user, direct),
            Record::DirectDelivered { user, id } => {
                let user = self.known_user(user)?;
                Ok(self.statements.drop_direct.execute(params![user, id.as_bytes()]).map(drop)?)
            }
            Record::PushKept(push) => self.keep_push(push),
            Record::SessionKept(session) => self.keep_session(session),
            Record::SessionTaken { token, by } => {
                let is_excluded = match by {
                    Some(by) => self.find_session(token)?.is_some_and(|session| !by.may_recover(&session.user)),
                    None => false,
                };
                outcome.taken.push(if is_excluded { None } else { self.take_session(token)? });
                Ok(())
            }
            Record::SessionClaimed { token } => {
                outcome.taken.push(self.find_session(token)?);
                Ok(())
            }
            Record::UserSeen(seen) => Ok(self.update_user(seen)?),
            Record::AbsenceSet { user, status, last_seen } => {
                let (today, status) = (int(self.now / self.use_unit_ms), rows::status_column(*status));
                let values = params![&**user, today, status, last_seen.map(int), int(self.now)];
                Ok(self.statements.set_absence.execute(values).map(drop)?)
            }
            Record::Hook(event) => match &mut self.outbox {
                Some(outbox) => Ok(outbox.add(event, self.now)?),
                None => Ok(()),
            },
            Record::DeadLettersReplayed { endpoint } => match &mut self.outbox {
                Some(outbox) => Ok(outbox.replay(endpoint, self.now)?),
                None => Ok(()),
            },
            Record::RevocationKept(revocation) => self.keep_revocation(revocation),
            Record::RevocationRemoved(subject) => {
                Ok(self.statements.drop_revocation.execute([subject.text()]).map(drop)?)
            }
        }
    }

    /// Carries out a change of the outbox.
    pub(super) fn change_outbox(&mut self, change: &OutboxChange) -> Result<()> {
        match &mut self.outbox {
            Some(outbox) => outbox.change(change, self.now),
            None => Ok(()),
        }
    }

    fn make_room(&mut self, made: &MadeRoom) -> Result<(), StorageFault> {
        let profile = made.profile.as_deref();
        let retention = made.retention;
        let number = self.statements.make_room.query_row(
            params![
                &*made.room,
                &*made.epoch,
                made.host.user(),
                rows::own_username(&made.host),
                rows::roles_column(made.host.roles()),
                int(made.created_at),
                made.history,
                retention.messages.map(int),
                retention.age_ms.map(int),
                profile.is_some(),
                profile.and_then(|profile| profile.name.as_deref()),
                profile.and_then(|profile| profile.kind.as_deref()),
                profile.is_some_and(|profile| profile.is_private),
                profile.and_then(|profile| profile.host_peer.as_deref()),
                int(profile.map_or(0, |profile| profile.max_participants as u64)),
                profile.and_then(|profile| profile.encryption.as_deref()),
                profile.and_then(|profile| profile.description.as_deref()),
                profile.and_then(|profile| profile.host_key).map(|key| key.0),
                &*made.maker,
                profile.and_then(|profile| profile.metadata.as_deref()),
                made.is_locked,
            ],
            |row| row.get(0),
        )?;
        self.rooms.insert(made.room.clone(), CachedRoom { number, epoch: made.epoch.clone(), last: 0 });
        for user in profile.map_or(&[][..], |profile| &profile.participants) {
            self.add_participant(number, user)?;
        }
        Ok(())
    }

    fn change_room(&mut self, room: &Name, change: &ProfileChange) -> Result<(), StorageFault> {
        let number = self.room(room)?.number;
        self.statements.change_room.execute(params![
            number,
            change.name.as_deref(),
            change.kind.as_deref(),
            change.description.as_deref(),
            change.metadata.as_deref(),
            change.max_participants.map(|most| int(most as u64)),
            change.is_private,
            change.is_locked,
            change.retention.messages.map(int),
            change.retention.age_ms.map(int),
        ])?;
        if let Some(participants) = &change.participants {
            self.statements.drop_participants.execute([number])?;
            for user in participants {
                self.add_participant(number, user)?;
            }
        }
        Ok(())
    }

    fn add_participant(&mut self, room: i64, user: &Name) -> Result<(), StorageFault> {
        let user = self.user(user)?.number;
        Ok(self.statements.add_participant.execute(params![room, user]).map(drop)?)
    }

    fn add_message(&mut self, sent: &SentMessage) -> Result<(), StorageFault> {
        let message = &*sent.message;
        let sender = self.sender(&message.sender, message.at)?;
        let room = self.room(&message.room)?;
        let seq = message.seq.unwrap_or_default();
        if seq != room.last + 1 || room.epoch != sent.epoch {
            return Err(StorageFault::Refused(format!(
                "message {seq} of epoch {} does not follow message {} of epoch {}",
                sent.epoch, room.last, room.epoch
            )));
        }
        room.last = seq;
        let room = room.number;
        let content = &message.content;
        let added = self.statements.add_message.execute(params![
            room,
            int(seq),
            message.id.as_bytes(),
            int(message.at),
            sender,
            rows::own_username(&message.sender),
            PeerColumn(&message.from),
            &*content.body,
            content.kind.as_deref(),
            content.reply_to.as_deref(),
            content.attachment.as_deref(),
            content.metadata.as_deref(),
            sent.client_message_id.as_deref(),
            message.display_name.as_deref(),
            content.event.as_deref(),
        ])?;
        debug_assert_eq!(added, 1, "invariant: a message is one row");
        match message.revision.as_deref() {
            Some(Revision::Of { message: changed, kind }) => self.revise(room, message, (changed, *kind)),
            Some(Revision::Piece { .. } | Revision::Stream(_)) => self.add_piece(room, message),
            _ => Ok(()),
        }
    }

    /// Marks a message as the change of another one, and changes that. One that was deleted stays so. If it was a stream, its pieces
    /// keep their numbers and lose their text.
    fn revise(
        &mut self,
        room: i64,
        change: &Message,
        (changed, kind): (&Uuid, RevisionKind),
    ) -> Result<(), StorageFault> {
        let (id, at) = (changed.as_bytes(), int(change.at));
        self.statements.revise.execute(params![change.id.as_bytes(), rows::revision_column(kind), id])?;
        let content = &change.content;
        match kind {
            RevisionKind::Edit => {
                let (attachment, metadata) = (content.attachment.as_deref(), content.metadata.as_deref());
                let values = params![id, &*content.body, attachment, metadata, rows::EDITED, at, room];
                self.statements.edit_message.execute(values)?;
            }
            RevisionKind::Append(_) => return Ok(()),
            RevisionKind::Delete => {
                let values = params![id, rows::DELETED, at, room, rows::EDITED];
                self.statements.delete_message.execute(values)?;
            }
        }
        Ok(self.statements.clear_pieces.execute(rows::pieces_of(changed)).map(drop)?)
    }

    /// Marks a message as a stream, or as a piece of one. With the last piece the stream's message gets the whole text.
    fn add_piece(&mut self, room: i64, message: &Message) -> Result<(), StorageFault> {
        let id = message.id.as_bytes();
        let Some(Revision::Piece { message: stream, offset, status }) = message.revision.as_deref() else {
            let status = rows::stream_column(StreamStatus::Streaming);
            return Ok(self.statements.revise.execute(params![id, status, None::<i64>]).map(drop)?);
        };
        let column = rows::piece_column(*stream, *offset, *status);
        self.statements.revise.execute(params![id, rows::PIECE, column])?;
        if *status == StreamStatus::Streaming {
            return Ok(());
        }
        let opening =
            self.statements.opening.query_row(params![stream.as_bytes(), room], |row| row.get(0)).optional()?;
        let Some(mut text) = opening else {
            // It was deleted, or is no longer kept.
            return Ok(());
        };
        rows::add_pieces(&mut self.statements.pieces, stream, &mut text)?;
        let values = params![stream.as_bytes(), text, rows::stream_column(*status), int(message.at)];
        Ok(self.statements.end_stream.execute(values).map(drop)?)
    }

    fn mark(&mut self, message: &Uuid, user: &Name, mark: ReceiptKind, at: u64) -> Result<(), StorageFault> {
        let user = self.user(user)?.number;
        let time = |of| (mark == of).then_some(int(at));
        let (delivered, read) = (time(ReceiptKind::Delivered), time(ReceiptKind::Read));
        self.statements.mark.execute(params![message.as_bytes(), user, delivered, read])?;
        Ok(())
    }

    fn keep_direct(&mut self, user: &Name, direct: &Direct) -> Result<(), StorageFault> {
        let user = self.user(user)?.number;
        let content = &direct.content;
        self.statements.keep_direct.execute(params![
            user,
            direct.id.as_bytes(),
            int(direct.at),
            direct.sender.user(),
            rows::own_username(&direct.sender),
            &*content.body,
            content.kind.as_deref(),
            content.reply_to.as_deref(),
            content.attachment.as_deref(),
            content.metadata.as_deref(),
            content.event.as_deref(),
            direct.is_pushed,
        ])?;
        Ok(())
    }

    fn keep_push(&mut self, push: &KeptPush) -> Result<(), StorageFault> {
        let offline = serde_json::to_string(&push.result.offline).unwrap_or_default();
        let (at, reached) = (int(push.at), push.result.reached as i64);
        self.statements.keep_push.execute(params![&*push.sender, &*push.key, at, reached, offline])?;
        Ok(self.statements.forget_pushes.execute([limits::KEPT_PUSHES]).map(drop)?)
    }

    fn keep_session(&mut self, session: &Session) -> Result<(), StorageFault> {
        self.statements.keep_session.execute(params![
            session.token.0,
            &*session.user,
            session.connection.bytes(),
            int(session.connected_at),
            int(session.active_at),
            session.expires_at.map(int),
            rows::rooms_column(&session.rooms),
            session.dialect,
        ])?;
        Ok(())
    }

    fn keep_revocation(&mut self, revocation: &Revocation) -> Result<(), StorageFault> {
        self.statements.keep_revocation.execute(params![
            revocation.subject.text(),
            revocation.until.map(int),
            revocation.reason.as_deref(),
            revocation.issued_before.map(int),
            int(revocation.made_at),
            &*revocation.by,
        ])?;
        Ok(())
    }

    fn take_session(&mut self, token: &TokenHash) -> Result<Option<Box<Session>>, StorageFault> {
        let session = self.statements.take_session.query_row([token.0], rows::session).optional()?;
        Ok(self.unexpired(session))
    }

    fn find_session(&mut self, token: &TokenHash) -> Result<Option<Box<Session>>, StorageFault> {
        let session = self.statements.find_session.query_row([token.0], rows::session).optional()?;
        Ok(self.unexpired(session))
    }

    fn unexpired(&self, session: Option<Session>) -> Option<Box<Session>> {
        session.filter(|session| session.expires_at.is_none_or(|at| at > self.now)).map(Box::new)
    }

    /// Stores the presence of a user. Not cached, because no lookup follows soon.
    fn update_user(&mut self, seen: &Seen) -> Result<()> {
        let identity = &seen.identity;
        self.statements.see_user.execute(params![
            identity.user(),
            int(self.now / self.use_unit_ms),
            rows::own_username(identity),
            identity.email(),
            rows::status_column(seen.status),
            int(seen.at),
        ])?;
        Ok(())
    }

    /// The number of a message's sender. A sender without stored presence is stored as online.
    fn sender(&mut self, identity: &Identity, at: u64) -> Result<i64> {
        let user = self.user(identity.user())?;
        if !user.is_seen && !identity.roles().guest {
            let status = rows::status_column(Status::Online);
            let (username, email) = (rows::own_username(identity), identity.email());
            self.statements.see_sender.execute(params![user.number, username, email, status, int(at)])?;
            self.users.insert(identity.user().into(), CachedUser { is_seen: true, ..user });
        }
        Ok(user.number)
    }

    fn room(&mut self, name: &Name) -> Result<&mut CachedRoom, StorageFault> {
        // Two lookups, because a borrow returned from one branch would extend over the other.
        if self.rooms.get_mut(name).is_none() {
            let room = self.statements.find_room.query_row([&**name], |row| {
                let last: i64 = row.get(2)?;
                Ok(CachedRoom { number: row.get(0)?, epoch: row.get_ref(1)?.as_str()?.into(), last: last as u64 })
            });
            let Some(room) = room.optional()? else {
                return Err(StorageFault::Refused(format!("the room {name} was never made")));
            };
            self.rooms.insert(name.clone(), room);
        }
        Ok(self.rooms.get_mut(name).expect("invariant: an entry just used or inserted is in the cache"))
    }

    /// The user's number, or one that no user has.
    fn known_user(&mut self, name: &str) -> Result<i64> {
        if let Some(user) = self.users.get_mut(name) {
            return Ok(user.number);
        }
        let found = self.statements.find_user.query_row([name], |row| row.get(0)).optional()?;
        Ok(found.unwrap_or(-1))
    }

    /// The user's row, which is created if needed; marks it as used today.
    fn user(&mut self, name: &str) -> Result<CachedUser> {
        let today = int(self.now / self.use_unit_ms);
        if let Some(user) = self.users.get_mut(name)
            && user.used_day >= today
        {
            return Ok(*user);
        }
        let user = |row: &rusqlite::Row<'_>| {
            Ok(CachedUser { number: row.get(0)?, used_day: row.get(1)?, is_seen: row.get(2)? })
        };
        let user = match self.statements.find_user.query_row([name], user).optional()? {
            Some(user) if user.used_day >= today => user,
            Some(user) => {
                self.statements.use_user.execute(params![user.number, today])?;
                CachedUser { used_day: today, ..user }
            }
            None => {
                let number = self.statements.add_user.query_row(params![name, today], |row| row.get(0))?;
                CachedUser { number, used_day: today, is_seen: false }
            }
        };
        self.users.insert(name.into(), user);
        Ok(user)
    }
}
