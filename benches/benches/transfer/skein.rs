//! Ours: a block that goes and comes home, new blocks each way; both sides waiting as they do if nobody says otherwise, and both
//! asleep for sure in between.

use std::time::Duration;

use skein_arena::{
    Block, Domain, DomainOptions,
    transfer::{Arrival, Exchange, Inbox, Link, SPIN},
};

use super::{Ends, Rival};

const NEW_BLOCKS: usize = 1;
/// From this way on both sides wait.
const WAITING: usize = 2;
/// From this way on they sleep at once.
const ASLEEP: usize = 5;
const LONG: Duration = Duration::from_secs(10);

struct Skein {
    domain: Domain,
    exchange: Exchange,
    inbox: Inbox,
    /// To the other side, once it is known.
    link: Option<Link>,
    /// What goes to and fro.
    block: Option<Block>,
    answers: bool,
    /// How they wait at the moment.
    way: usize,
}

pub(super) fn make(path: &str, answers: bool, _: Ends) -> Box<dyn Rival> {
    let domain = Domain::open(&DomainOptions::named(path)).expect("a domain");
    let exchange = Exchange::open(domain).expect("the first of this process");
    let inbox = exchange.inbox().expect("the first of it");
    let other = domain.peers().expect("a directory").into_iter().find(|it| it.slot != domain.slot());
    let mut link =
        answers.then(|| exchange.link(other.expect("it was there before us").slot).expect("it lives"));
    if let Some(link) = &mut link {
        link.send(domain.arena().envelope().expect("memory"), 0).expect("room for a greeting");
    }
    Box::new(Skein { domain, exchange, inbox, link, block: None, answers, way: 0 })
}

impl Skein {
    fn receive(&mut self, way: usize) -> Block {
        loop {
            let arrived = match way {
                WAITING.. => self.inbox.wait(LONG),
                _ => self.inbox.recv(),
            };
            match arrived.expect("memory") {
                Some(Arrival::Message { block, .. }) => return block,
                Some(other) => panic!("{other:?}"),
                None => std::hint::spin_loop(),
            }
        }
    }

    fn send(&mut self, block: Block) {
        self.link.as_mut().expect("they have greeted each other").send(block, 0).expect("there is room");
    }

    fn alloc(&self, size: usize) -> Block {
        self.domain.arena().alloc(size).expect("memory")
    }

    fn set_way(&mut self, way: usize) {
        if way != self.way {
            self.inbox.set_spin(if way >= ASLEEP { Duration::ZERO } else { SPIN });
            self.way = way;
        }
    }
}

impl Rival for Skein {
    fn ping(&mut self, way: usize, size: usize, number: u64) {
        self.set_way(way);
        if self.link.is_none() {
            let Some(Arrival::Message { from, .. }) = self.inbox.wait(LONG).expect("memory") else {
                panic!("no greeting");
            };
            self.link = Some(self.exchange.link(from).expect("it lives"));
        }
        let kept = self.block.take().filter(|it| it.len() == size);
        let mut block = kept.unwrap_or_else(|| self.alloc(size));
        block.bytes_mut().expect("nobody else has it")[..8].copy_from_slice(&number.to_le_bytes());
        self.send(block);
        let block = self.receive(way);
        assert_eq!((block.len(), &block[..8]), (size, &number.to_le_bytes()[..]));
        self.block = Some(block).filter(|_| way != NEW_BLOCKS);
    }

    fn pong(&mut self, way: usize, size: usize) {
        self.set_way(way);
        let block = self.receive(way);
        if way != NEW_BLOCKS {
            return self.send(block);
        }
        let mut answer = self.alloc(size);
        answer.bytes_mut().expect("it is new")[..8].copy_from_slice(&block[..8]);
        drop(block);
        self.send(answer);
    }
}

impl Drop for Skein {
    fn drop(&mut self) {
        self.block = None;
        self.link = None;
        if self.answers {
            let _ = self.domain.leave();
            return;
        }
        // The other side goes first; its end frees its slot.
        let end = std::time::Instant::now() + LONG;
        while self.domain.peers().is_ok_and(|it| it.len() > 1) && std::time::Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        while let Ok(Some(_)) = self.inbox.wait(Duration::from_millis(1)) {}
        let _ = self.domain.leave();
    }
}
