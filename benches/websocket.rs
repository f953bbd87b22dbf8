//! What one WebSocket frame costs: decoding by size and number, encoding, and tungstenite's header parser for
//! comparison.
//!
//! Frames are masked with zero, so that unmasking in place, which does the same work for any mask, leaves the buffer
//! fit for the next round.

mod support;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::io::Cursor;
use switchboard::codec::ws::{
    FrameDecoder, FrameEvent, FrameLimits, Input, Opcode, begin_text, encode_close, encode_text, finish,
};
use tungstenite::protocol::frame::FrameHeader;

use support::frames;

fn client_frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    frames::client_frame(opcode, payload, [0; 4])
}

/// Decodes all there is and returns the bytes of payload seen.
fn drain(decoder: &mut FrameDecoder, bytes: &mut [u8], limits: &FrameLimits) -> usize {
    let mut input = Input::new(bytes);
    let mut seen = 0;
    while let Ok(Some(event)) = decoder.next(&mut input, limits) {
        seen += match black_box(event) {
            FrameEvent::Text(text) => text.len(),
            FrameEvent::Binary(bytes) | FrameEvent::Ping(bytes) | FrameEvent::Pong(bytes) => bytes.len(),
            FrameEvent::Close(_) => 0,
        };
    }
    seen
}

fn decode(criterion: &mut Criterion) {
    let limits = FrameLimits::default();
    let mut group = criterion.benchmark_group("websocket/decode");
    for (name, opcode) in [("text", Opcode::Text), ("binary", Opcode::Binary)] {
        for length in [1, 16, 128, 1024, 2048, 16_384, 65_536] {
            let mut bytes = client_frame(opcode, &vec![b'a'; length]);
            group.throughput(Throughput::Bytes(length as u64));
            group.bench_function(BenchmarkId::new(name, length), |bencher| {
                let mut decoder = FrameDecoder::default();
                bencher.iter(|| assert_eq!(drain(&mut decoder, black_box(&mut bytes), &limits), length));
            });
        }
    }
    let mut bytes = client_frame(Opcode::Text, &[b'a'; 128]).repeat(16);
    group.throughput(Throughput::Elements(16));
    group.bench_function("text/16x128", |bencher| {
        let mut decoder = FrameDecoder::default();
        bencher.iter(|| assert_eq!(drain(&mut decoder, black_box(&mut bytes), &limits), 16 * 128));
    });
    let mut bytes = client_frame(Opcode::Text, &[b'a'; 2048]);
    group.throughput(Throughput::Bytes(2048));
    group.bench_function("text/2048 in two pieces", |bencher| {
        let mut decoder = FrameDecoder::default();
        bencher.iter(|| {
            let (first, second) = black_box(&mut bytes).split_at_mut(1000);
            assert_eq!(drain(&mut decoder, first, &limits) + drain(&mut decoder, second, &limits), 2048);
        });
    });
    group.finish();
}

fn headers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("websocket/tungstenite header");
    for length in [1, 128, 65_536] {
        let bytes = client_frame(Opcode::Text, &vec![b'a'; length]);
        group.bench_function(BenchmarkId::from_parameter(length), |bencher| {
            bencher.iter(|| FrameHeader::parse(&mut Cursor::new(black_box(bytes.as_slice()))));
        });
    }
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("websocket/encode");
    let mut out = Vec::with_capacity(128 * 1024);
    for length in [1, 125, 128, 1024, 2048, 16_384, 65_536] {
        let payload = vec![b'a'; length];
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(BenchmarkId::new("text", length), |bencher| {
            bencher.iter(|| {
                out.clear();
                encode_text(&mut out, black_box(&payload));
                black_box(out.len())
            });
        });
        group.bench_function(BenchmarkId::new("begin, append, finish", length), |bencher| {
            bencher.iter(|| {
                out.clear();
                let mark = begin_text(&mut out);
                out.extend_from_slice(black_box(&payload));
                finish(&mut out, mark);
                black_box(out.len())
            });
        });
    }
    group.bench_function("close", |bencher| {
        bencher.iter(|| {
            out.clear();
            encode_close(&mut out, 4408, black_box("heartbeat"));
            black_box(out.len())
        });
    });
    group.finish();
}

criterion_group!(benches, decode, headers, encode);
criterion_main!(benches);
