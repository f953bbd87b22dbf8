//! What reading request heads costs: `cargo bench --bench http`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use switchboard::codec::http::{HeadLimits, HeadScan, parse_head};
use switchboard::codec::ws::{UpgradeError, UpgradeRequest, encode_switching_protocols};

/// What a browser sends to open a WebSocket, with a cookie and a token.
const UPGRADE: &[u8] = b"GET /ws?room=standup HTTP/1.1\r\n\
    Host: signaling.example.com\r\n\
    Connection: Upgrade\r\n\
    Pragma: no-cache\r\n\
    Cache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r\n\
    Upgrade: websocket\r\n\
    Origin: https://meet.example.com\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
    Cookie: theme=dark; _ga=GA1.1.1234567890.1700000000; session=0123456789abcdef0123456789abcdef\r\n\
    Authorization: Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSIsImV4cCI6MTkwMDAwMDAwMH0.\
    c2lnbmF0dXJlLXNpZ25hdHVyZS1zaWduYXR1cmUtMTIz\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

/// What a program sends that looks after the server.
const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:8090\r\nAccept: */*\r\n\r\n";

fn heads(criterion: &mut Criterion) {
    let limits = HeadLimits::default();
    let mut group = criterion.benchmark_group("http");
    group.throughput(Throughput::Bytes(UPGRADE.len() as u64));
    group.bench_function("parse_head", |bencher| {
        bencher.iter(|| parse_head(black_box(UPGRADE), &limits).map(|parsed| parsed.map(|(_, consumed)| consumed)));
    });
    group.bench_function("parse_head and look up ten headers", |bencher| {
        let names = ["upgrade", "connection", "origin", "cookie", "authorization", "sec-websocket-key"];
        let absent = ["x-forwarded-for", "forwarded", "sec-websocket-protocol", "x-request-id"];
        bencher.iter(|| {
            let (head, _) = parse_head(black_box(UPGRADE), &limits).ok().flatten()?;
            Some(names.iter().chain(&absent).filter_map(|name| head.header(name)).count())
        });
    });
    group.bench_function("check the handshake and answer it", |bencher| {
        let parsed = parse_head(UPGRADE, &limits).expect("a good head");
        let (head, _) = parsed.expect("a whole head");
        let mut out = Vec::with_capacity(1024);
        bencher.iter(|| {
            let handshake = UpgradeRequest {
                method: head.method,
                version: head.version,
                upgrade: head.header("upgrade"),
                connection: head.header("connection"),
                version_header: head.header("sec-websocket-version"),
                key: head.header("sec-websocket-key"),
                is_ambiguous: head.count("sec-websocket-key") > 1 || head.count("sec-websocket-version") > 1,
                has_body: head.has_body(),
            };
            out.clear();
            let accept = black_box(handshake).check()?;
            encode_switching_protocols(&mut out, &accept, None, None);
            Ok::<usize, UpgradeError>(black_box(&out).len())
        });
    });
    group.bench_function("a head in pieces of 32 bytes", |bencher| {
        bencher.iter(|| {
            let mut scan = HeadScan::default();
            let lengths = (32..UPGRADE.len()).step_by(32).chain([UPGRADE.len()]);
            let due = lengths.filter(|&length| scan.is_due(&UPGRADE[..length], &limits));
            due.filter(|&length| matches!(parse_head(black_box(&UPGRADE[..length]), &limits), Ok(Some(_)))).count()
        });
    });
    group.throughput(Throughput::Bytes(HEALTH.len() as u64));
    group.bench_function("parse_head, a short one", |bencher| {
        bencher.iter(|| parse_head(black_box(HEALTH), &limits).map(|parsed| parsed.map(|(_, consumed)| consumed)));
    });
    group.finish();
}

criterion_group!(benches, heads);
criterion_main!(benches);
