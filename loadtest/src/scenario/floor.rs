//! What the kernel allows on this machine: a process of its own that does nothing but `send` the same bytes to as many
//! loopback sockets, driven in the same closed loop and read by the same reader as the server is.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use mio::{Events, Interest, Poll, Token};

use crate::process;
use crate::report::Report;

/// Options of `floor`.
#[derive(Args, Debug)]
pub struct Floor {
    /// Sockets
    #[arg(long, default_value_t = 1000)]
    sockets: usize,
    /// Messages in one send
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Bytes of a message as it is on the wire
    #[arg(long, default_value_t = 340)]
    bytes: usize,
    /// Seconds to measure
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

/// Options of the process that sends.
#[derive(Args, Debug)]
pub struct Sender {
    /// Sockets to wait for
    #[arg(long)]
    sockets: usize,
    /// Bytes of each send
    #[arg(long)]
    send_bytes: usize,
}

/// Waits for all sockets, then sends to each of them once for every byte that comes on the first.
pub fn send(options: &Sender) -> Result<(), String> {
    let fail = |error: std::io::Error| error.to_string();
    let listener = TcpListener::bind("127.0.0.1:0").map_err(fail)?;
    println!("{}", listener.local_addr().map_err(fail)?);
    let (mut control, _) = listener.accept().map_err(fail)?;
    let mut sockets = Vec::with_capacity(options.sockets);
    for _ in 0..options.sockets {
        let (socket, _) = listener.accept().map_err(fail)?;
        socket.set_nodelay(true).map_err(fail)?;
        sockets.push(socket);
    }
    let bytes = vec![b'x'; options.send_bytes];
    let mut trigger = [0];
    while control.read_exact(&mut trigger).is_ok() {
        for socket in &mut sockets {
            socket.write_all(&bytes).map_err(fail)?;
        }
    }
    Ok(())
}

/// Runs `floor`.
pub fn run(options: &Floor) -> Result<Report, String> {
    let fail = |error: std::io::Error| error.to_string();
    let send_bytes = options.bytes * options.batch;
    let own = std::env::current_exe().map_err(fail)?;
    let mut command = Command::new(own);
    command.args(["floor-sender", "--sockets", &options.sockets.to_string()]);
    command.args(["--send-bytes", &send_bytes.to_string()]);
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(fail)?;
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).read_line(&mut line).map_err(fail)?;
    }
    let outcome = line
        .trim()
        .parse::<SocketAddr>()
        .map_err(|_| format!("the sender did not start: {line:?}"))
        .and_then(|address| drive(options, address, child.id()).map_err(fail));
    let _ = child.kill();
    let _ = child.wait();
    outcome
}

fn drive(options: &Floor, address: SocketAddr, pid: u32) -> std::io::Result<Report> {
    let mut control = TcpStream::connect(address)?;
    control.set_nodelay(true)?;
    let mut poll = Poll::new()?;
    let mut sockets = Vec::new();
    for number in 0..options.sockets {
        let socket = TcpStream::connect(address)?;
        socket.set_nonblocking(true)?;
        let mut socket = mio::net::TcpStream::from_std(socket);
        poll.registry().register(&mut socket, Token(number), Interest::READABLE)?;
        sockets.push(socket);
    }
    let round_bytes = options.sockets * options.bytes * options.batch;
    let mut buffer = vec![0; 1 << 20];
    let mut events = Events::with_capacity(4096);
    let mut rounds = 0u64;
    let warm_up = Instant::now() + Duration::from_millis(500);
    let mut measured = None;
    let until = warm_up + Duration::from_secs_f64(options.seconds);
    while Instant::now() < until {
        if measured.is_none() && Instant::now() >= warm_up {
            measured = Some((rounds, process::read(pid)?, Instant::now()));
        }
        control.write_all(&[1])?;
        let mut missing = round_bytes;
        while missing > 0 {
            poll.poll(&mut events, Some(Duration::from_secs(10)))?;
            for event in &events {
                while let Ok(count) = sockets[event.token().0].read(&mut buffer) {
                    if count == 0 {
                        return Err(std::io::Error::other("the sender closed"));
                    }
                    missing -= count;
                    if count < buffer.len() {
                        break;
                    }
                }
            }
        }
        rounds += 1;
    }
    let (first, before, started) = measured.unwrap_or((0, process::read(pid)?, warm_up));
    let after = process::read(pid)?;
    let deliveries = ((rounds - first) as usize * options.sockets * options.batch) as f64;
    let title = format!("floor {} sockets, {} per send of {} B", options.sockets, options.batch, options.bytes);
    let mut report = Report::new(&title);
    report.number("deliveries_per_s", deliveries / started.elapsed().as_secs_f64());
    report.number("deliveries_per_cpu_s", deliveries * 1e9 / (after.cpu_ns - before.cpu_ns).max(1) as f64);
    Ok(report)
}
