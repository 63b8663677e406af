//! Blocks that tell where they come from, on their way between processes.

use std::{path::Path, time::Instant};

use skein_arena::{
    Block, Domain, DomainOptions, Envelope, Slot,
    transfer::{Arrival, Exchange, Inbox, Link, WhyUnsent},
};

use super::LONG;

pub(crate) fn open(path: &Path) -> (Exchange, Inbox) {
    let domain = Domain::open(&DomainOptions::in_directory(path).patience(LONG)).unwrap();
    let exchange = Exchange::open(domain).unwrap();
    let inbox = exchange.inbox().unwrap();
    (exchange, inbox)
}

pub(crate) fn slot(number: u8) -> Slot {
    Slot::new(number).unwrap()
}

pub(crate) fn message(inbox: &mut Inbox) -> (u32, Block) {
    match inbox.wait(LONG).unwrap() {
        Some(Arrival::Message { to, block, .. }) => (to, block),
        other => panic!("no message but {other:?}"),
    }
}

/// Bytes that tell where they come from.
pub(crate) fn filled(exchange: &Exchange, seed: u32, len: usize) -> Block {
    let mut block = exchange.domain().arena().alloc(len).unwrap();
    for (at, byte) in block.bytes_mut().unwrap().iter_mut().enumerate() {
        *byte = (seed as usize * 31 + at * 7) as u8;
    }
    block.set_envelope(Envelope { source: seed, session: len as i32, ty: 10 });
    block
}

pub(crate) fn is_whole(block: &Block) -> bool {
    let Envelope { source, session, .. } = block.envelope();
    block.len() == session as usize
        && block.iter().enumerate().all(|(at, &it)| it == (source as usize * 31 + at * 7) as u8)
}

pub(crate) fn send(link: &mut Link, inbox: &mut Inbox, mut block: Block, kept: &mut Vec<Block>) -> bool {
    let end = Instant::now() + LONG;
    loop {
        match link.send(block, 7) {
            Ok(()) => return true,
            Err(unsent) => match unsent.why {
                WhyUnsent::Closed(_) => return false,
                WhyUnsent::Full | WhyUnsent::Held(_) => block = unsent.block,
                other => panic!("{other}"),
            },
        }
        assert!(Instant::now() < end, "no room for {LONG:?}");
        while let Some(Arrival::Message { block, .. }) = inbox.recv().unwrap() {
            kept.push(block);
        }
    }
}
