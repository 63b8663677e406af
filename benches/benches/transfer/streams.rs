//! Rivals that copy: a pipe each way, and a Unix socket.

use std::{
    fs::File,
    io::{Read, Write, pipe},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Child, Command},
};

use super::Rival;

const ENDS: &str = "SKEIN_BENCH_ENDS";

/// One side's ends of two pipes and of a socket.
pub(super) struct Ends {
    from: OwnedFd,
    to: OwnedFd,
    socket: OwnedFd,
}

impl Ends {
    /// Those of the near side and of the far one.
    pub(super) fn make() -> [Ends; 2] {
        let [(far_from, to), (from, far_to)] = [(); 2].map(|()| pipe().expect("a pipe"));
        let (near, far) = UnixStream::pair().expect("a pair of sockets");
        [
            Ends { from: from.into(), to: to.into(), socket: near.into() },
            Ends { from: far_from.into(), to: far_to.into(), socket: far.into() },
        ]
    }

    /// Starts a process that is born with these.
    pub(super) fn spawn(self, mut command: Command) -> Child {
        // Copies without the mark that would close them.
        let kept = [self.from, self.to, self.socket].map(|it| rustix::io::dup(it).expect("a descriptor"));
        let numbers: Vec<String> = kept.iter().map(|it| it.as_raw_fd().to_string()).collect();
        command.env(ENDS, numbers.join(" ")).spawn().expect("this program can be run again")
    }

    /// In that process: these.
    pub(super) fn inherited() -> Ends {
        let told = std::env::var(ENDS).expect("it was told");
        let mut numbers = told.split(' ').map(|it| it.parse().expect("a number"));
        // SAFETY: whoever started us left them open for us, and nobody else here knows them.
        let mut next = || unsafe { OwnedFd::from_raw_fd(numbers.next().expect("three of them")) };
        Ends { from: next(), to: next(), socket: next() }
    }
}

/// Reads from one, writes to the other.
struct Streams {
    from: File,
    to: File,
    buffer: Vec<u8>,
}

impl Rival for Streams {
    fn ping(&mut self, _: usize, size: usize, number: u64) {
        self.buffer.resize(size, 0);
        self.buffer[..8].copy_from_slice(&number.to_le_bytes());
        self.to.write_all(&self.buffer).expect("it listens");
        self.from.read_exact(&mut self.buffer).expect("it answers");
        assert_eq!(self.buffer[..8], number.to_le_bytes());
    }

    fn pong(&mut self, _: usize, size: usize) {
        self.buffer.resize(size, 0);
        self.from.read_exact(&mut self.buffer).expect("it asks");
        self.to.write_all(&self.buffer).expect("it waits");
    }
}

pub(super) fn pipes(_: &str, _: bool, ends: Ends) -> Box<dyn Rival> {
    Box::new(Streams { from: ends.from.into(), to: ends.to.into(), buffer: Vec::new() })
}

pub(super) fn socket(_: &str, _: bool, ends: Ends) -> Box<dyn Rival> {
    let from = File::from(ends.socket);
    let to = from.try_clone().expect("a descriptor");
    Box::new(Streams { from, to, buffer: Vec::new() })
}
