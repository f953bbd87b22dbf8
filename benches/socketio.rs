//! What a Socket.IO message costs beside its WebSocket frame: reading and writing an event, and a payload of events for
//! polling. `cargo bench --bench socketio`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use switchboard::codec::engineio::{
    Form, PacketData, Payload, PayloadLimits, PayloadWriter, Version, decode_text, encode_text,
};
use switchboard::codec::socketio::{
    PacketContent, PacketTarget, SocketIoDecoder, SocketIoLimits as Limits, begin_event,
};

const EVENT: &str = r#"42/chat,17["message:send",{"chatId":"room-1234567890","content":"Hello, how are you today? Shall we meet at eight?","type":"text"}]"#;

const PAYLOAD_PACKETS: usize = 16;

/// Reads one message; the bytes of its arguments.
fn read(decoder: &mut SocketIoDecoder, text: &str, scratch: &mut Vec<u8>) -> Option<usize> {
    let PacketData::Text(text) = decode_text(Version::V4, text, scratch).ok()?.data else { return None };
    let packet = decoder.text(Version::V4, text, &Limits::default()).ok()??;
    match packet.content {
        PacketContent::Event(mut event) => Some(event.plain_name()?.len() + event.arguments.next()?.len()),
        _ => None,
    }
}

fn write(out: &mut Vec<u8>) {
    let target = PacketTarget { namespace: "/chat", id: Some(17), attachments: 0 };
    let (_, arguments) = EVENT.split_once(',').and_then(|(_, rest)| rest.split_once(',')).unwrap_or_default();
    begin_event(out, &target, "message:send").raw(arguments.strip_suffix(']').unwrap_or_default()).end();
}

fn events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("socketio/event");
    group.throughput(Throughput::Bytes(EVENT.len() as u64));
    group.bench_function("decode", |bencher| {
        let (mut decoder, mut scratch) = (SocketIoDecoder::default(), Vec::new());
        bencher.iter(|| read(&mut decoder, black_box(EVENT), &mut scratch));
    });
    group.bench_function("encode as a frame", |bencher| {
        let mut out = Vec::with_capacity(1024);
        bencher.iter(|| {
            out.clear();
            encode_text(&mut out, write);
            black_box(out.len())
        });
    });
    group.finish();
}

fn payloads(criterion: &mut Criterion) {
    let mut frames = Vec::new();
    (0..PAYLOAD_PACKETS).for_each(|_| encode_text(&mut frames, write));
    let mut group = criterion.benchmark_group("engineio/payload");
    for (name, form) in [("version 4", Form::Separated), ("version 3", Form::Counted)] {
        let mut body = Vec::new();
        let mut writer = PayloadWriter::begin(&mut body, form);
        writer.frames(&frames);
        writer.end();
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("{name}: decode 16 packets"), |bencher| {
            let mut scratch = Vec::new();
            bencher.iter(|| {
                let mut payload = Payload::new(form, black_box(&body), &PayloadLimits::default()).ok()?;
                let mut packets = 0;
                while let Ok(Some(packet)) = payload.next(&mut scratch) {
                    black_box(packet);
                    packets += 1;
                }
                Some(packets)
            });
        });
        group.bench_function(format!("{name}: encode 16 frames"), |bencher| {
            let mut out = Vec::with_capacity(body.len());
            bencher.iter(|| {
                out.clear();
                let mut writer = PayloadWriter::begin(&mut out, form);
                writer.frames(black_box(&frames));
                writer.end();
                black_box(out.len())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, events, payloads);
criterion_main!(benches);
