//! Against `tungstenite` on both ends: what its two sides say to each other is what is read here.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::rc::Rc;

use proptest::prelude::*;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::{Role as PeerRole, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use super::*;
use crate::event::Direction;

/// What passed, in order, and what each side has not read yet.
#[derive(Default)]
struct Wire {
    passed: Vec<Step>,
    unread: [Vec<u8>; 2],
}

/// One end of the wire.
struct End {
    wire: Rc<RefCell<Wire>>,
    writes: Direction,
}

const fn inbox(direction: Direction) -> usize {
    match direction {
        Written => 0,
        Read => 1,
    }
}

impl std::io::Read for End {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let unread = &mut self.wire.borrow_mut().unread[inbox(self.writes.opposite())];
        if unread.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken = unread.as_slice().read(into)?;
        unread.drain(..taken);
        Ok(taken)
    }
}

impl std::io::Write for End {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut wire = self.wire.borrow_mut();
        wire.passed.push(Step::Bytes(self.writes, bytes.to_vec()));
        wire.unread[inbox(self.writes)].write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Both ends, and the lines that they should give.
struct Talk {
    wire: Rc<RefCell<Wire>>,
    client: WebSocket<End>,
    server: WebSocket<End>,
}

impl Talk {
    fn new() -> Self {
        let wire = Rc::new(RefCell::new(Wire::default()));
        let end = |writes| End {
            wire: Rc::clone(&wire),
            writes,
        };
        let config = Some(WebSocketConfig::default().write_buffer_size(0));
        Self {
            client: WebSocket::from_raw_socket(end(Written), PeerRole::Client, config),
            server: WebSocket::from_raw_socket(end(Read), PeerRole::Server, config),
            wire,
        }
    }

    /// Lets one side send, and the other read all that there is.
    fn send(&mut self, from: Role, message: Message) -> Vec<Message> {
        let (here, there) = match from {
            Role::Client => (&mut self.client, &mut self.server),
            Role::Server => (&mut self.server, &mut self.client),
        };
        here.send(message).unwrap();
        let mut got = Vec::new();
        loop {
            match there.read() {
                Ok(message) => got.push(message),
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return got,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// What one side does next.
#[derive(Clone, Debug)]
enum Act {
    Say(Vec<u8>),
    /// In so many frames, with a ping behind each but the last.
    SayInFrames(Vec<u8>, usize),
    Ping(Vec<u8>),
}

fn act() -> impl Strategy<Value = Act> {
    let words = || {
        prop_oneof![
            3 => "[a-z ]{0,40}".prop_map(String::into_bytes),
            1 => (0..4_usize).prop_map(|size| vec![b'x'; [125, 126, 65_535, 70_000][size]]),
        ]
    };
    prop_oneof![
        3 => words().prop_map(Act::Say),
        2 => (words(), 2..5_usize).prop_map(|(words, frames)| Act::SayInFrames(words, frames)),
        1 => proptest::collection::vec(any::<u8>(), 0..125).prop_map(Act::Ping),
    ]
}

fn sides() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Client), Just(Role::Server)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_tungstenite_says_is_what_is_read(
        acts in proptest::collection::vec((sides(), act()), 0..12),
        sizes in proptest::collection::vec(prop_oneof![1..4_usize, 1..40_000_usize], 1..20),
    ) {
        let mut talk = Talk::new();
        let mut said: [Vec<Vec<u8>>; 2] = Default::default();
        for (from, act) in acts {
            let got = match act.clone() {
                Act::Say(words) => talk.send(from, Message::Binary(words.into())),
                Act::Ping(words) => talk.send(from, Message::Ping(words.into())),
                Act::SayInFrames(words, frames) => {
                    let pieces: Vec<&[u8]> = words.chunks(words.len() / frames + 1).collect();
                    let mut got = Vec::new();
                    let count = pieces.len().max(1);
                    for index in 0..count {
                        let piece = pieces.get(index).copied().unwrap_or_default().to_vec();
                        let opcode = if index == 0 { BINARY } else { CONTINUE };
                        let is_last = index + 1 == count;
                        let frame = Frame::message(piece, opcode, is_last);
                        got.extend(talk.send(from, Message::Frame(frame)));
                        if !is_last {
                            got.extend(talk.send(from, Message::Ping(b"in between".to_vec().into())));
                        }
                    }
                    got
                }
            };
            // What the other end understood is the truth.
            for message in got {
                if let Message::Binary(words) = message {
                    said[usize::from(from == Role::Server)].push(words.to_vec());
                }
            }
        }
        talk.client.close(None).unwrap();
        talk.client.flush().unwrap();
        for side in [&mut talk.server, &mut talk.client] {
            while !side.read().unwrap().is_close() {}
            // The server's answer; the client has none, and says that all is over.
            let _ended = side.flush();
        }

        let wire = talk.wire.borrow();
        let mut steps = vec![w(ASK), r(answer(""))];
        steps.extend(laws::cut(&wire.passed, &sizes));
        steps.push(closed());
        let (out, stats) = events(&steps);
        prop_assert_eq!(laws::messages(&out)?, said.clone().map(laws::whole));
        let lines = shown(&out);
        prop_assert_eq!(&lines[lines.len() - 2..], &["0 < Complete".to_owned(), "closed".to_owned()]);
        prop_assert_eq!(stats.messages, (said[0].len() + said[1].len()) as u64);
        prop_assert_eq!((stats.steps_lost, stats.dismissed_ambiguous), (0, 0));
    }
}
