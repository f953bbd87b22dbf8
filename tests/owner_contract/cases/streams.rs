//! Streams: messages that grow.

use super::*;
use switchboard::domain::event::StreamStatus;
use switchboard::domain::op::StreamText;

impl World {
    /// Opens a stream; its message.
    fn open(&mut self, number: usize, text: &str) -> uuid::Uuid {
        id_of(self.act_on_stream(number, None, text, None)).0
    }

    fn append(
        &mut self,
        number: usize,
        message: uuid::Uuid,
        text: &str,
        status: StreamStatus,
    ) -> Result<Reply, Reject> {
        self.act_on_stream(number, Some((message, status)), text, None)
    }

    fn act_on_stream(
        &mut self,
        number: usize,
        of: Option<(uuid::Uuid, StreamStatus)>,
        text: &str,
        offset: Option<u32>,
    ) -> Result<Reply, Reject> {
        let connection = self.connection(number);
        let revises = of.map(|(message, status)| {
            let kind = RevisionKind::Append(status);
            Box::new(Revise { message, kind, sender: None, rights: ChangeRights::Usual })
        });
        let (bytes, units) = (text.len() as u32, text.encode_utf16().count() as u32);
        let message = SendMessage {
            connection,
            publisher: None,
            to: None,
            content: Content::of_piece(&format!("\"{text}\"")),
            client_message_id: None,
            revises,
            stream: Some(StreamText { bytes, units, offset, bytes_max: 20 }),
        };
        self.act(number, RoomOp::Send(Box::new(message)))
    }

    /// The newest messages: what they say, and their part in changes.
    fn newest(&mut self, number: usize) -> Vec<(String, Option<Revision>)> {
        let connection = Some(self.connection(number));
        let wanted = HistoryRange { after: None, limit: 100 };
        match self.act(number, RoomOp::ReadHistory { connection, wanted }) {
            Ok(Reply::History(history)) => {
                let said = |message: &Message| (message.content.body.to_string(), message.revision.as_deref().copied());
                history.messages.iter().map(said).collect()
            }
            other => panic!("{other:?}"),
        }
    }
}

fn id_of(reply: Result<Reply, Reject>) -> (uuid::Uuid, u64) {
    match reply {
        Ok(Reply::Sent(sent)) => (sent.id, sent.seq.expect("it has a number")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn stream_is_one_message_in_history_and_its_pieces_follow_a_number() {
    on_each(|world| {
        world.join(0, "ann", None, true).expect("they join");
        world.join(1, "bob", None, true).expect("they join");
        let stream = world.open(0, "a");
        assert_eq!(id_of(world.append(0, stream, "b\u{1f600}", StreamStatus::Streaming)).1, 2);
        assert_eq!(code(world.append(1, stream, "c", StreamStatus::Streaming)), Code::Forbidden);
        assert_eq!(code(world.append(0, stream, "12345678901234567", StreamStatus::Streaming)), Code::MessageTooLarge);
        let wrong = world.act_on_stream(0, Some((stream, StreamStatus::Streaming)), "c", Some(3));
        assert_eq!(code(wrong), Code::StreamConflict);
        assert_eq!(code(world.revise(0, stream, Some("edited"))), Code::StreamConflict);
        let now = |text: &str, status| (format!("\"{text}\""), Some(Revision::Stream(status)));
        assert_eq!(world.newest(1), [now("ab\u{1f600}", StreamStatus::Streaming)]);
        // Another server, or this one after a restart, goes on with the stream.
        world.owner.restart(&rules());
        world.join(0, "ann", None, true).expect("they join");
        world.join(1, "bob", None, true).expect("they join");
        assert_eq!(world.newest(1), [now("ab\u{1f600}", StreamStatus::Streaming)]);
        let right = world.act_on_stream(0, Some((stream, StreamStatus::Streaming)), "c", Some(4));
        assert_eq!(id_of(right).1, 3);
        assert_eq!(id_of(world.append(0, stream, "!", StreamStatus::Complete)).1, 4);
        assert_eq!(code(world.append(0, stream, "?", StreamStatus::Streaming)), Code::StreamConflict);
        assert_eq!(code(world.append(1, stream, "", StreamStatus::Cancelled)), Code::StreamConflict);
        assert_eq!(world.newest(1), [now("ab\u{1f600}c!", StreamStatus::Complete)]);
        let piece = |text: &str, offset, status| {
            (format!("\"{text}\""), Some(Revision::Piece { message: stream, offset, status }))
        };
        let all = [
            now("ab\u{1f600}c!", StreamStatus::Complete),
            piece("b\u{1f600}", 1, StreamStatus::Streaming),
            piece("c", 4, StreamStatus::Streaming),
            piece("!", 5, StreamStatus::Complete),
        ];
        assert_eq!(world.said_now(1), all);
        // A stream that is over is a message like others.
        id_of(world.revise(0, stream, Some("edited")));
        assert!(matches!(&*world.newest(1), [(text, Some(Revision::Edited(_))), _] if text == "\"edited\""));
    });
}

#[test]
fn stream_is_cancelled_by_any_member_and_by_deletion() {
    on_each(|world| {
        world.join(0, "ann", None, true).expect("they join");
        world.join(1, "bob", None, true).expect("they join");
        let (first, second) = (world.open(0, "one"), world.open(0, "two"));
        assert_eq!(code(world.append(1, first, "more", StreamStatus::Cancelled)), Code::Forbidden);
        id_of(world.append(1, first, "", StreamStatus::Cancelled));
        id_of(world.revise(0, second, None));
        for ended in [first, second, uuid::Uuid::nil()] {
            assert_eq!(code(world.append(0, ended, "x", StreamStatus::Streaming)), Code::StreamConflict);
        }
        let first = ("\"one\"".to_owned(), Some(Revision::Stream(StreamStatus::Cancelled)));
        assert_eq!(world.newest(1)[0], first);
        assert!(matches!(world.newest(1)[1].1, Some(Revision::Deleted(_))));
        // A stranger may not.
        let third = world.open(0, "three");
        assert_eq!(code(world.append(2, third, "", StreamStatus::Cancelled)), Code::NotInRoom);
    });
}
