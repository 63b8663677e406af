//! Two ways for bytes between a debugger and what it debugs: a queue inside the process, and a TCP connection.
//!
//! # Invariants
//! * **D1** A queue has two ends at most: who made it, and the one that connected.
//! * **D2** The number of a queue is never used again, so a number that somebody kept finds its own queue or none.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How long a debugger may take to accept.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much is read from a connection at once.
const CHUNK: usize = 4096;
/// The largest number of tenths of a second that a read waits: a day.
const LONGEST: f64 = 864_000.0;

/// Queues that one end has, by number.
static QUEUES: Mutex<Option<Queues>> = Mutex::new(None);

#[derive(Default)]
struct Queues {
    last: usize,
    all: HashMap<usize, Weak<Queue>>,
}

/// Numbers look like addresses that nothing has: they travel as light userdata.
const STEP: usize = 16;

/// One end.
pub(super) enum Channel {
    Queue(Arc<Queue>),
    Stream(TcpStream),
}

#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    arrived: Condvar,
}

#[derive(Default)]
struct Inner {
    items: VecDeque<Vec<u8>>,
    connected: bool,
}

/// Why there is no second end.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("Invalid channel pointer")]
    Unknown,
    #[error("new channel failed")]
    Taken,
}

impl Channel {
    /// A queue, and the number by which the other end finds it.
    pub(super) fn create() -> (Channel, usize) {
        let queue = Arc::new(Queue::default());
        let mut queues = lock(&QUEUES);
        let queues = queues.get_or_insert_default();
        queues.all.retain(|_, it| it.strong_count() > 0);
        queues.last += STEP;
        queues.all.insert(queues.last, Arc::downgrade(&queue));
        (Channel::Queue(queue), queues.last)
    }

    /// The other end of a queue (D1).
    pub(super) fn connect(number: usize) -> Result<Channel, Refused> {
        let queue = lock(&QUEUES).as_ref().and_then(|it| it.all.get(&number)?.upgrade());
        let queue = queue.ok_or(Refused::Unknown)?;
        if std::mem::replace(&mut lock(&queue.inner).connected, true) {
            return Err(Refused::Taken);
        }
        Ok(Channel::Queue(queue))
    }

    /// A connection to a debugger.
    pub(super) fn dial(host: &str, port: u16) -> io::Result<Channel> {
        let mut why = io::Error::from(ErrorKind::AddrNotAvailable);
        for address in (host, port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Channel::Stream(stream));
                }
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// Gives bytes to the other end.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Channel::Queue(queue) => {
                lock(&queue.inner).items.push_back(bytes.to_vec());
                queue.arrived.notify_all();
                Ok(())
            }
            Channel::Stream(stream) => stream.write_all(bytes),
        }
    }

    /// What the other end gave: one item of a queue, or what has arrived. Blocks this thread for `tenths` of a second at most, and
    /// not at all unless that is more than 0. A queue that was empty answers nothing, also when something came meanwhile.
    pub(super) fn read(&mut self, tenths: f64) -> io::Result<Option<Vec<u8>>> {
        let patience = Duration::from_secs_f64(if tenths > 0.0 { tenths.min(LONGEST) / 10.0 } else { 0.0 });
        match self {
            Channel::Queue(queue) => Ok(queue.read(patience)),
            Channel::Stream(stream) => read_stream(stream, patience),
        }
    }
}

impl Queue {
    fn read(&self, patience: Duration) -> Option<Vec<u8>> {
        let mut inner = lock(&self.inner);
        if let Some(item) = inner.items.pop_front() {
            return Some(item);
        }
        let end = Instant::now() + patience;
        while inner.items.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            inner = self.arrived.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        None
    }
}

/// The end of the connection is an error.
fn read_stream(stream: &mut TcpStream, patience: Duration) -> io::Result<Option<Vec<u8>>> {
    if patience.is_zero() {
        stream.set_nonblocking(true)?;
    } else {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(patience))?;
    }
    let mut bytes = vec![0; CHUNK];
    let read = stream.read(&mut bytes);
    stream.set_nonblocking(false)?;
    match read {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(len) => {
            bytes.truncate(len);
            Ok(Some(bytes))
        }
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing between lock and unlock can leave the value half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
