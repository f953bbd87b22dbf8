//! What reading a request's JSON costs, by kind and by size, and what it would cost by another parser:
//! `cargo bench --bench json`.
//!
//! The decoder wants each field as the JSON it came as: most of them are short, and the long ones (a content, an SDP,
//! metadata) pass through unread and unchanged. `serde_json` gives it that by its `RawValue`. `simd-json` has no such
//! thing, but its tape says where each key starts, so a value's JSON can be found between two keys; that takes a copy of
//! the text, since the parser changes what it works on. Both are measured up to there, with all buffers kept from one
//! text to the next, beside the decoder as a whole.
//!
//! `simd-json` is nowhere faster than `serde_json`. The decoder takes a message apart by a scan of its own
//! (`codec::json::scan`), which is all that it takes where values pass through unread, and has `serde_json` for what is not
//! plain; `decode` is the two as they are. Nanoseconds of the libraries, the best of four runs on a shared machine of two
//! cores (AMD EPYC; `simd-json` uses AVX2):
//!
//! | text | bytes | `serde_json` | `simd-json` | as a type, opaque parts ignored | as a tree |
//! |---|---|---|---|---|---|
//! | `ping` | 58 | 108 | 119 |  |  |
//! | `presence` | 78 | 133 | 148 |  |  |
//! | `typing` | 101 | 155 | 162 |  |  |
//! | `delivered` | 139 | 169 | 188 |  |  |
//! | `read-receipt` | 142 | 173 | 187 |  |  |
//! | `leave-room` | 125 | 168 | 169 |  |  |
//! | `media-state-changed` | 191 | 221 | 237 |  |  |
//! | `join-room` | 211 | 246 | 264 |  |  |
//! | `message` | 227 | 184 | 204 |  |  |
//! | `authenticate` | 245 | 165 | 173 |  |  |
//! | `ice-candidate` | 394 | 326 | 338 |  |  |
//! | `answer` | 2,369 | 1,165 | 1,254 |  |  |
//! | `offer` | 4,402 | 2,025 | 2,189 |  |  |
//! | a content | 100 | 159 | 172 | 172 | 251 |
//! | a content | 1,024 | 348 | 381 | 379 | 473 |
//! | a content | 2,048 | 535 | 606 | 614 | 717 |
//! | a content | 4,095 | 927 | 1,095 | 1,096 | 1,235 |
//! | a content | 8,191 | 1,698 | 2,063 | 2,064 | 2,242 |
//! | a content | 16,382 | 3,229 | 4,160 | 4,174 | 4,511 |
//! | a content | 65,527 | 12,451 | 16,954 | 16,757 | 18,004 |
//! | a content | 262,108 | 49,143 | 66,803 | 66,926 | 72,799 |
//! | an SDP | 342 | 336 | 364 | 357 | 515 |
//! | an SDP | 922 | 585 | 618 | 618 | 789 |
//! | an SDP | 1,944 | 1,011 | 1,082 | 1,094 | 1,273 |
//! | an SDP | 3,997 | 1,861 | 2,004 | 2,025 | 2,251 |
//! | an SDP | 8,166 | 3,554 | 3,849 | 3,854 | 4,161 |
//! | an SDP | 16,379 | 6,942 | 7,656 | 7,668 | 8,037 |
//! | an SDP | 65,586 | 27,208 | 31,666 | 30,976 | 32,443 |
//! | an SDP | 262,206 | 108,590 | 127,270 | 127,360 | 129,280 |
//! | metadata | 139 | 196 | 224 | 220 | 382 |
//! | metadata | 1,016 | 1,088 | 1,591 | 1,888 | 3,898 |
//! | metadata | 2,026 | 2,041 | 3,169 | 3,807 | 7,948 |
//! | metadata | 4,054 | 3,967 | 6,344 | 7,640 | 16,438 |
//! | metadata | 8,228 | 7,900 | 12,824 | 15,488 | 34,222 |
//! | metadata | 16,384 | 15,499 | 25,387 | 30,589 | 67,567 |
//! | metadata | 65,542 | 61,584 | 100,710 | 121,950 | 265,560 |
//! | metadata | 261,922 | 242,430 | 400,710 | 482,500 | 1,055,200 |
//!
//! It copies, checks again that the text is UTF-8, reads every byte twice, and makes an entry for each of the values of
//! metadata that nobody looks at; the other reads once and stops at nothing but quotes, backslashes and brackets. Nor
//! would it give the same answers: it refuses numbers out of range and lone surrogates, which are passed on today.

use std::borrow::Cow;
use std::fmt;
use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use simd_json::{Buffers, INPUT_PADDING, Node, Tape, fill_tape_padded};
use switchboard::dialect::raw::decode;

use support::bench::{brief, requests};

/// The fields of all requests.
const FIELDS: usize = 21;

/// Where a field of that name stands among [`Fields`].
fn place(name: &str) -> Option<usize> {
    Some(match name {
        "type" => 0,
        "requestId" => 1,
        "roomId" => 2,
        "peerId" => 3,
        "displayName" => 4,
        "mediaState" => 5,
        "fromPeerId" => 6,
        "toPeerId" => 7,
        "toUserId" => 8,
        "offer" => 9,
        "answer" => 10,
        "candidate" => 11,
        "content" => 12,
        "messageType" => 13,
        "replyToId" => 14,
        "attachment" => 15,
        "metadata" => 16,
        "status" => 17,
        "isTyping" => 18,
        "messageId" => 19,
        "token" => 20,
        _ => return None,
    })
}

/// Every field of a request as the JSON it came as: what the decoder wants of a parser, whichever it is.
#[derive(Debug, Default, PartialEq)]
struct Fields<'a>([Option<&'a str>; FIELDS]);

#[derive(Deserialize)]
struct FieldName<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Fields::default();
                while let Some(FieldName(name)) = map.next_key::<FieldName<'de>>()? {
                    match place(&name) {
                        Some(place) => fields.0[place] = Some(map.next_value::<&'de RawValue>()?.get()),
                        None => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// By `serde_json`, as the decoder has it.
fn by_serde_json(text: &str) -> Option<Fields<'_>> {
    serde_json::from_str(text).ok()
}

/// What `simd-json` needs beside a text, kept from one text to the next.
struct Scratch {
    /// The text, which is changed where it has escapes, and padding.
    bytes: Vec<u8>,
    buffers: Buffers,
    tape: Option<Tape<'static>>,
}

impl Scratch {
    fn new() -> Self {
        Self { bytes: Vec::new(), buffers: Buffers::new(512 * 1024), tape: Some(Tape::null()) }
    }

    /// By `simd-json`, whose tape says where each key starts. A value's JSON is what stands between its key and the next
    /// one; the text must be kept for it, so what the parser works on is a copy.
    fn fields<'a>(&mut self, text: &'a str) -> Option<Fields<'a>> {
        let length = text.len();
        if self.bytes.len() < length + INPUT_PADDING {
            self.bytes.resize(length + INPUT_PADDING, 0);
        }
        self.bytes[..length].copy_from_slice(text.as_bytes());
        let start = self.bytes.as_ptr() as usize;
        let mut tape = self.tape.take()?.reset();
        let outcome = fill_tape_padded(&mut self.bytes, length, &mut self.buffers, &mut tape);
        let fields = outcome.ok().and_then(|()| fields_of(&tape.0, start, text));
        self.tape = Some(tape.reset());
        fields
    }

    /// By `simd-json` as a type of its own, with opaque parts passed over: less than the decoder needs.
    fn passed_over(&mut self, text: &str) -> bool {
        let length = text.len();
        self.bytes.resize(length + INPUT_PADDING, 0);
        self.bytes[..length].copy_from_slice(text.as_bytes());
        let mut tape = self.tape.take().map(Tape::reset).unwrap_or_else(Tape::null);
        let outcome = fill_tape_padded(&mut self.bytes, length, &mut self.buffers, &mut tape);
        let mut deserializer = simd_json::Deserializer::from_tape(tape);
        let typed = black_box(Typed::deserialize(&mut deserializer).is_ok());
        self.tape = Some(deserializer.into_tape().reset());
        outcome.is_ok() && typed
    }

    /// By `simd-json` as a tree of values.
    fn tree(&mut self, text: &str) -> bool {
        self.bytes.clear();
        self.bytes.extend_from_slice(text.as_bytes());
        black_box(simd_json::to_borrowed_value_with_buffers(&mut self.bytes, &mut self.buffers)).is_ok()
    }
}

fn fields_of<'a>(tape: &[Node<'_>], start: usize, text: &'a str) -> Option<Fields<'a>> {
    let Some(Node::Object { len, .. }) = tape.first() else { return None };
    let mut fields = Fields::default();
    let mut at = 1;
    for number in 0..*len {
        let Node::String(name) = tape.get(at)? else { return None };
        let named_at = name.as_ptr() as usize - start;
        at += match tape.get(at + 1)? {
            Node::Object { count, .. } | Node::Array { count, .. } => 2 + count,
            Node::String(_) | Node::Static(_) => 2,
        };
        let Some(place) = place(name) else { continue };
        // None of the known names has an escape in these texts; a decoder for all texts would have to look.
        let after = text.get(named_at + name.len() + 1..)?;
        let (end, close) = match tape.get(at) {
            Some(Node::String(next)) if number + 1 < *len => (next.as_ptr() as usize - start - 1, ','),
            _ => (text.trim_ascii_end().len(), '}'),
        };
        let value = after.get(..end - (text.len() - after.len()))?;
        let value = value.trim_ascii_start().strip_prefix(':')?.trim_ascii();
        fields.0[place] = Some(value.strip_suffix(close)?.trim_ascii_end());
    }
    Some(fields)
}

/// The fields that are texts as texts, the others ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only reading it is of interest")]
struct Typed<'a> {
    #[serde(borrow, rename = "type")]
    kind: &'a str,
    request_id: Option<IgnoredAny>,
    room_id: Option<&'a str>,
    peer_id: Option<&'a str>,
    display_name: Option<&'a str>,
    media_state: Option<IgnoredAny>,
    from_peer_id: Option<&'a str>,
    to_peer_id: Option<&'a str>,
    to_user_id: Option<&'a str>,
    offer: Option<IgnoredAny>,
    answer: Option<IgnoredAny>,
    candidate: Option<IgnoredAny>,
    content: Option<IgnoredAny>,
    message_type: Option<&'a str>,
    reply_to_id: Option<&'a str>,
    attachment: Option<IgnoredAny>,
    metadata: Option<IgnoredAny>,
    status: Option<&'a str>,
    is_typing: Option<bool>,
    message_id: Option<&'a str>,
    token: Option<&'a str>,
}

/// The two parsers side by side, after a look that they agree.
fn compare(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, text: &str) {
    let mut scratch = Scratch::new();
    let fields = by_serde_json(text);
    assert!(fields.is_some() && fields == scratch.fields(text), "{name}: both read the same");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function(format!("{name}/serde_json"), |bencher| {
        bencher.iter(|| black_box(&by_serde_json(black_box(text))).is_some());
    });
    group.bench_function(format!("{name}/simd-json"), |bencher| {
        bencher.iter(|| black_box(&scratch.fields(black_box(text))).is_some());
    });
}

fn kinds(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("json");
    for (kind, text) in requests::of_each_kind() {
        assert!(decode(&text, 16_384).is_ok(), "{text}");
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("{kind}/decode"), |bencher| {
            bencher.iter(|| black_box(&decode(black_box(&text), 16_384)).is_ok());
        });
        compare(&mut group, kind, &text);
    }
    group.finish();
}

fn sizes(criterion: &mut Criterion) {
    type Make = fn(usize) -> String;
    let shapes: [(&str, Make); 3] =
        [("prose", requests::of_prose), ("sdp", requests::of_sdp), ("metadata", requests::of_metadata)];
    for (shape, make) in shapes {
        let mut group = criterion.benchmark_group(format!("json/{shape}"));
        for bytes in [100, 1024, 2048, 4096, 8192, 16_384, 65_536, 262_144] {
            let text = make(bytes);
            let size = text.len().to_string();
            group.throughput(Throughput::Bytes(text.len() as u64));
            group.bench_function(format!("{size}/decode"), |bencher| {
                bencher.iter(|| black_box(&decode(black_box(&text), 262_144)).is_ok());
            });
            compare(&mut group, &size, &text);
            let mut scratch = Scratch::new();
            assert!(scratch.passed_over(&text) && scratch.tree(&text));
            group.bench_function(format!("{size}/simd-json, opaque parts passed over"), |bencher| {
                bencher.iter(|| scratch.passed_over(black_box(&text)));
            });
            group.bench_function(format!("{size}/simd-json, a tree"), |bencher| {
                bencher.iter(|| scratch.tree(black_box(&text)));
            });
        }
        group.finish();
    }
}

criterion_group! { name = benches; config = brief(); targets = kinds, sizes }
criterion_main!(benches);
