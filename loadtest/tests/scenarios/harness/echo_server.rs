//! An echo server with `tungstenite`, one thread per connection, with faults on demand.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use tungstenite::Message;

/// What is done with a text that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is sent back.
    Once,
    /// It is sent back twice.
    Twice,
    /// It is dropped.
    Never,
    /// It is sent back after the next one.
    AfterNext,
    /// Its last byte is left out.
    Short,
    /// The connection ends.
    Close,
}

/// Starts a server on a free port of loopback. `answer` says what is done with a connection's text by its number, from
/// 1; the connections are numbered from 0 as they come.
pub(crate) fn serve(answer: fn(usize, u64) -> Answer) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let Ok(stream) = stream else { return };
            thread::spawn(move || echo(stream, |text| answer(number, text)));
        }
    });
    address
}

fn echo(stream: TcpStream, answer: impl Fn(u64) -> Answer) {
    let _ = stream.set_nodelay(true);
    let Ok(mut socket) = tungstenite::accept(stream) else { return };
    let (mut count, mut kept) = (0, None);
    while let Ok(message) = socket.read() {
        let Message::Text(text) = message else { continue };
        count += 1;
        let late = kept.take();
        let mut answers = match answer(count) {
            Answer::Once => vec![text],
            Answer::Twice => vec![text.clone(), text],
            Answer::Never => vec![],
            Answer::Short => vec![text.as_str()[..text.len() - 1].into()],
            Answer::AfterNext => {
                kept = Some(text);
                vec![]
            }
            Answer::Close => return,
        };
        answers.extend(late);
        for text in answers {
            if socket.send(Message::Text(text)).is_err() {
                return;
            }
        }
    }
}
