//! Several messages of a backend in one call.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::backend::{self, Publish, PublishTarget};
use super::decode::fields;
use crate::base::limits;
use crate::codec::json::Object;
use crate::domain::op::{Publication, PushResult, Reply};
use crate::domain::reject::{Code, Reject};

/// Messages of a backend, and their outcomes as far as they are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The messages.
    pub messages: Vec<Publish>,
    /// The outcomes of those to rooms: part n is that of the n-th room of all messages.
    pub published: Vec<Publication>,
    /// The outcomes of those to users or all connections, in order.
    pub pushed: Vec<Result<PushResult, Reject>>,
}

impl Batch {
    /// Notes an outcome: that of all messages to rooms, or of the next message to users or all connections.
    pub fn note(&mut self, reply: Result<Reply, Reject>) {
        match reply {
            Ok(Reply::Published(outcomes)) => self.published = outcomes,
            Ok(Reply::Pushed(to)) => self.pushed.push(Ok(to)),
            Ok(_) => self.pushed.push(Err(Reject::new(Code::Internal, "The call was answered with something else"))),
            Err(reject) => self.pushed.push(Err(reject)),
        }
    }

    /// The first message to users or all connections whose outcome is not noted.
    pub fn next_push(&self) -> Option<&Publish> {
        let is_push = |message: &&Publish| !matches!(message.target, PublishTarget::Rooms(_));
        self.messages.iter().filter(is_push).nth(self.pushed.len())
    }

    /// Whether some messages go to rooms.
    pub fn has_rooms(&self) -> bool {
        self.messages.iter().any(|message| matches!(message.target, PublishTarget::Rooms(_)))
    }
}

/// The body of `POST /api/v1/batch`, unread.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchBody<'a> {
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
}

pub(super) fn batch(body: &BatchBody<'_>) -> Result<Batch, Reject> {
    let list = body.messages.and_then(|json| serde_json::from_str::<Vec<&RawValue>>(json.get()).ok());
    let list = list.filter(|list| (1..=limits::BATCH_MESSAGES).contains(&list.len()));
    let wrong = || Reject::invalid(format!("messages must be a list of 1 to {} messages", limits::BATCH_MESSAGES));
    let list = list.ok_or_else(wrong)?;
    let message = |(at, json): (usize, &&RawValue)| {
        let read = fields(json.get()).and_then(backend::publish);
        read.map_err(|reject| Reject::new(reject.code, format!("messages[{at}]: {}", reject.text)))
    };
    let messages = list.iter().enumerate().map(message).collect::<Result<Vec<_>, _>>()?;
    let targets: usize = messages.iter().map(|message| message.target.count()).sum();
    if targets > limits::BATCH_TARGETS {
        let text = format!("messages name {targets} rooms and users; at most {} are allowed", limits::BATCH_TARGETS);
        return Err(Reject::invalid(text));
    }
    Ok(Batch { messages, published: Vec::new(), pushed: Vec::new() })
}

/// The outcome of each message, in order.
pub(super) fn results(out: &mut Vec<u8>, batch: &Batch) {
    let (mut part, mut pushed) = (0, batch.pushed.iter());
    let is_sent = batch.published.len() == batch.room_count()
        && batch.published.iter().all(|one| one.outcome.is_ok())
        && batch.pushed.iter().all(Result::is_ok);
    let mut object = Object::begin(out);
    object.bool("success", is_sent);
    object.list("results", &batch.messages, |out, message| match &message.target {
        PublishTarget::Rooms(rooms) => {
            backend::published(out, rooms, part, &batch.published);
            part += rooms.len() as u16;
        }
        PublishTarget::Users(_) | PublishTarget::All => match pushed.next() {
            Some(Ok(to)) => backend::pushed(out, to),
            Some(Err(reject)) => refused(out, reject),
            None => refused(out, &Reject::storage_unavailable()),
        },
    });
    object.end();
}

impl Batch {
    fn room_count(&self) -> usize {
        let rooms = self.messages.iter().map(|message| match &message.target {
            PublishTarget::Rooms(rooms) => rooms.len(),
            PublishTarget::Users(_) | PublishTarget::All => 0,
        });
        rooms.sum()
    }
}

fn refused(out: &mut Vec<u8>, reject: &Reject) {
    let mut object = Object::begin(out);
    object.bool("success", false);
    backend::refusal(&mut object, reject);
    object.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_body(text: &str) -> Result<Batch, String> {
        fields(text).and_then(|body| batch(&body)).map_err(|reject| reject.text.into_owned())
    }

    #[test]
    fn batch_fault_names_its_message() {
        let table = [
            (r#"{}"#, "messages must be a list of 1 to 1000 messages"),
            (r#"{"messages":[]}"#, "messages must be a list of 1 to 1000 messages"),
            (r#"{"messages":7}"#, "messages must be a list of 1 to 1000 messages"),
            (r#"{"messages":[{"all":true,"data":1},{"all":true}]}"#, "messages[1]: data is missing"),
            (r#"{"messages":[1]}"#, "messages[0]: The body must be a JSON object"),
        ];
        for (body, text) in table {
            assert_eq!(read_body(body), Err(text.to_owned()), "{body}");
        }
        let many = format!(r#"{{"messages":[{}]}}"#, vec![r#"{"all":true,"data":1}"#; 1_001].join(","));
        assert_eq!(read_body(&many), Err(table[0].1.to_owned()));
        let rooms: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let wide = serde_json::json!({ "rooms": rooms, "data": 1 });
        let wide = serde_json::json!({ "messages": vec![wide; 101] }).to_string();
        assert_eq!(read_body(&wide), Err("messages name 10100 rooms and users; at most 10000 are allowed".to_owned()));
    }

    #[test]
    fn results_are_those_of_each_message_in_order() {
        let mut batch =
            read_body(r#"{"messages":[{"rooms":["a","b"],"data":1},{"all":true,"data":2},{"rooms":["a"],"data":3}]}"#)
                .expect("it is whole");
        let refused = |part| Publication { part, outcome: Err(Reject::invalid(format!("part {part}"))) };
        batch.published = vec![refused(2), refused(0), refused(1)];
        batch.pushed = vec![Ok(PushResult { reached: 7, offline: Vec::new() })];
        let mut out = Vec::new();
        results(&mut out, &batch);
        let answer: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        let error = |at: usize, room: usize| answer["results"][at]["rooms"][room]["error"].clone();
        assert_eq!([error(0, 0), error(0, 1), error(2, 0)], ["part 0", "part 1", "part 2"]);
        assert_eq!((&answer["success"], &answer["results"][1]["delivered"]), (&false.into(), &7.into()));
    }
}
