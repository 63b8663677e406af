//! Two processes pass frames of 1 MB to each other, and nobody copies one.
//!
//! `cargo run --release -p skein-arena --example frames` starts a second process of itself, which looks at each frame and
//! sends it home. See docs/transfer.md.

use std::{
    env,
    error::Error,
    process::Command,
    time::{Duration, Instant},
};

use skein_arena::{
    Domain, DomainOptions,
    transfer::{Arrival, Exchange},
};

const FRAME: usize = 1 << 20;
const FRAMES: u32 = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    match env::args_os().nth(1) {
        None => camera(),
        Some(directory) => viewer(directory.into()),
    }
}

/// Makes frames, and waits until each is home.
fn camera() -> Result<(), Box<dyn Error>> {
    let name = format!("frames-{}", std::process::id());
    let domain = Domain::open(&DomainOptions::named(name))?;
    let exchange = Exchange::open(domain)?;
    let mut inbox = exchange.inbox()?;
    println!("camera: slot {} of {}", domain.slot(), domain.path().display());

    let mut viewer = Command::new(env::current_exe()?).arg(domain.path()).spawn()?;
    let Some(Arrival::Message { from, .. }) = inbox.wait(Duration::from_secs(10))? else {
        return Err("the viewer did not say hello".into());
    };
    let mut link = exchange.link(from)?;

    let began = Instant::now();
    let mut frame = domain.arena().alloc(FRAME)?;
    for number in 0..FRAMES {
        // Alone with its block, the camera draws into it: the same memory each time.
        frame.bytes_mut().expect("it came home")[..4].copy_from_slice(&number.to_le_bytes());
        link.send(frame, 0)?;
        frame = match inbox.wait(Duration::from_secs(10))? {
            Some(Arrival::Message { block, .. }) => block,
            other => return Err(format!("no frame but {other:?}").into()),
        };
    }
    let each = began.elapsed() / FRAMES;
    let stats = exchange.stats();
    println!("camera: {FRAMES} frames of {FRAME} bytes went and came home, {each:?} each");
    println!("camera: {} sent, {} home, {} copied", stats.sent, stats.returned, stats.copied);

    link.send(domain.arena().envelope()?, 0)?;
    viewer.wait()?;
    drop((link, inbox, exchange, frame));
    domain.sweep()?;
    domain.leave()?;
    Ok(())
}

/// Looks at frames, and sends them home.
fn viewer(directory: std::path::PathBuf) -> Result<(), Box<dyn Error>> {
    let domain = Domain::open(&DomainOptions::in_directory(directory))?;
    let exchange = Exchange::open(domain)?;
    let mut inbox = exchange.inbox()?;
    let camera = domain.peers()?.iter().map(|it| it.slot).find(|&it| it != domain.slot());
    let mut link = exchange.link(camera.ok_or("there is no camera")?)?;
    link.send(domain.arena().envelope()?, 0)?;

    let mut seen = 0;
    loop {
        match inbox.wait(Duration::from_secs(10))? {
            Some(Arrival::Message { block, .. }) if block.is_empty() => break,
            Some(Arrival::Message { block, .. }) => {
                assert_eq!(block[..4], u32::to_le_bytes(seen));
                seen += 1;
                link.send(block, 0)?;
            }
            other => return Err(format!("no frame but {other:?}").into()),
        }
    }
    println!("viewer: slot {}, {seen} frames seen", domain.slot());
    Ok(())
}
