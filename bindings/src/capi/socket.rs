//! Sockets for C services: the functions, and the buffers of their events.
//!
//! An event's buffer belongs to whoever gets the event, who frees it: [`adopt`] puts the block under its address before a callback
//! sees it.
//!
//! # From skynet
//! skynet_socket.h: the functions of the same names.

use std::ffi::{c_char, c_int, c_void};
use std::hint::black_box;
use std::ptr::{self, NonNull};
use std::slice;

use skein_arena::{Block, range};
use skein_runtime::ServiceContext;
use skein_runtime::socket::address::decode;
use skein_runtime::socket::event::{self, HEAD};
use skein_runtime::socket::{Data, Network, OpenError};

use super::exports::{drop_given, free_foreign, guarded, text};
use super::{held, running};

/// What failed calls answer.
const FAILED: c_int = -1;
/// Bytes of a datagram's sender: IPv4, IPv6. The first byte says which.
const ADDRESSES: [(u8, usize); 2] = [(1, 7), (2, 19)];

/// `struct socket_sendbuffer`.
#[repr(C)]
struct SendBuffer {
    id: c_int,
    /// One of the constants below.
    kind: c_int,
    buffer: *const c_void,
    size: usize,
}

/// Memory that is given away.
const MEMORY: c_int = 0;
/// An object of the program's own, which skynet asks an interface about that nothing installs, and crashes. Here it is refused.
const OBJECT: c_int = 1;
/// Bytes that stay the caller's.
const RAW_POINTER: c_int = 2;

/// Makes the linker keep the functions.
pub(super) fn keep() {
    let functions: [*const (); 16] = [
        skynet_socket_sendbuffer as _,
        skynet_socket_sendbuffer_lowpriority as _,
        skynet_socket_listen as _,
        skynet_socket_connect as _,
        skynet_socket_bind as _,
        skynet_socket_close as _,
        skynet_socket_shutdown as _,
        skynet_socket_start as _,
        skynet_socket_pause as _,
        skynet_socket_nodelay as _,
        skynet_socket_udp as _,
        skynet_socket_udp_connect as _,
        skynet_socket_udp_dial as _,
        skynet_socket_udp_listen as _,
        skynet_socket_udp_sendbuffer as _,
        skynet_socket_udp_address as _,
    ];
    black_box(functions);
}

/// Makes the buffer of an event C's: it is freed by `free`, or given on.
pub(super) fn adopt(message: &mut Block) {
    if let Some(data) = event::claim(message) {
        held::keep(data);
    }
}

/// The service's sockets.
///
/// # Safety
/// `context` is NULL or a live service's.
unsafe fn of<'a>(context: *const ServiceContext) -> Option<(&'a ServiceContext, Network<'a>)> {
    // SAFETY: by the caller's promise.
    let ctx = unsafe { context.as_ref() }?;
    Some((ctx, ctx.node().network()))
}

/// The id that a call opened, or the failure, logged.
fn opened(ctx: &ServiceContext, what: &str, open: impl FnOnce() -> Result<c_int, OpenError>) -> c_int {
    match guarded(ctx, open) {
        Some(Ok(id)) => id,
        Some(Err(why)) => {
            ctx.log(format!("error: {what}: {why}"));
            FAILED
        }
        None => FAILED,
    }
}

/// # Safety
/// `context` is NULL or a live service's, `host` is NULL or ends in a NUL.
unsafe fn open(
    context: *const ServiceContext,
    what: &str,
    host: *const c_char,
    port: c_int,
    open: impl FnOnce(Network<'_>, &ServiceContext, &[u8], u16) -> Result<c_int, OpenError>,
) -> c_int {
    // SAFETY: by the caller's promise.
    let (Some((ctx, network)), host) = (unsafe { (of(context), text(host)) }) else { return FAILED };
    let Ok(port) = u16::try_from(port) else {
        ctx.log(format!("error: {what}: {port} is no port"));
        return FAILED;
    };
    opened(ctx, what, || open(network, ctx, host, port))
}

/// Bytes to be sent, out of a send buffer. What was given is ours, or freed, whatever happens.
///
/// # Safety
/// `buffer` is what `include/skein.h` says, good for `'a`.
unsafe fn data<'a>(ctx: &ServiceContext, buffer: &'a SendBuffer) -> Option<Data<'a>> {
    let arena = ctx.node().arena();
    let at = NonNull::new(buffer.buffer.cast_mut().cast::<u8>());
    let wrong = match (buffer.kind, at) {
        (MEMORY | RAW_POINTER, None) if buffer.size == 0 => return Some(Data::Bytes(&[])),
        (RAW_POINTER, Some(at)) => {
            // SAFETY: by the caller's promise.
            return Some(Data::Bytes(unsafe { slice::from_raw_parts(at.as_ptr(), buffer.size) }));
        }
        (MEMORY, Some(at)) if range::contains(at.as_ptr()) => {
            match running::take(arena, at.addr().get(), buffer.size) {
                Ok(block) => return Some(Data::Block(block)),
                Err(why) => why.to_string(),
            }
        }
        // SAFETY: what is not the arena's came from `malloc`, by the caller's promise.
        (MEMORY, Some(at)) => match unsafe { arena.foreign(at, buffer.size, free_foreign) } {
            Ok(block) => return Some(Data::Block(block)),
            Err(why) => {
                // SAFETY: it was given to us, and the arena did not take it.
                unsafe { drop_given(at.as_ptr().cast()) };
                why.to_string()
            }
        },
        (OBJECT, _) => "nobody has said what an object (SOCKET_BUFFER_OBJECT) is".to_owned(),
        (kind, _) => format!("a buffer of kind {kind}, {} bytes at {:p}", buffer.size, buffer.buffer),
    };
    ctx.log(format!("error: skynet_socket_sendbuffer: {wrong}"));
    None
}

/// # Safety
/// `context` is NULL or a live service's, `buffer` is NULL or what `include/skein.h` says.
unsafe fn send(context: *const ServiceContext, buffer: *const SendBuffer, low: bool) -> c_int {
    // SAFETY: by the caller's promise.
    let (Some((ctx, network)), Some(buffer)) = (unsafe { (of(context), buffer.as_ref()) }) else {
        return FAILED;
    };
    let sent = guarded(ctx, || {
        // SAFETY: as above.
        let data = unsafe { data(ctx, buffer) }?;
        network
            .send(buffer.id, data, low)
            .map_err(|why| ctx.log(format!("error: skynet_socket_sendbuffer: {why}")))
            .ok()
    });
    if sent.flatten() == Some(true) { 0 } else { FAILED }
}

/// `int skynet_socket_sendbuffer(context, buffer)`: 0, or -1 when there is no such socket.
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_socket_sendbuffer(
    context: *const ServiceContext,
    buffer: *const SendBuffer,
) -> c_int {
    // SAFETY: passed on.
    unsafe { send(context, buffer, false) }
}

/// `int skynet_socket_sendbuffer_lowpriority(context, buffer)`: behind everything the other one has.
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_socket_sendbuffer_lowpriority(
    context: *const ServiceContext,
    buffer: *const SendBuffer,
) -> c_int {
    // SAFETY: passed on.
    unsafe { send(context, buffer, true) }
}

/// `int skynet_socket_listen(context, host, port, backlog)`: the id of a listener that has yet to be started.
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_socket_listen(
    context: *const ServiceContext,
    host: *const c_char,
    port: c_int,
    backlog: c_int,
) -> c_int {
    // SAFETY: passed on.
    unsafe {
        open(context, "skynet_socket_listen", host, port, |network, ctx, host, port| {
            network.listen(ctx.handle(), host, port, backlog)
        })
    }
}

/// `int skynet_socket_connect(context, host, port)`: the id of a connection that an event will tell about.
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_socket_connect(
    context: *const ServiceContext,
    host: *const c_char,
    port: c_int,
) -> c_int {
    // SAFETY: passed on.
    unsafe {
        open(context, "skynet_socket_connect", host, port, |network, ctx, host, port| {
            network.connect(ctx.handle(), host, port)
        })
    }
}

/// `int skynet_socket_bind(context, fd)`: the id of a socket over a descriptor, which is the runtime's from now on.
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_socket_bind(context: *const ServiceContext, fd: c_int) -> c_int {
    // SAFETY: by the caller's promise.
    let Some((ctx, network)) = (unsafe { of(context) }) else { return FAILED };
    opened(ctx, "skynet_socket_bind", || network.bind(ctx.handle(), fd))
}

/// `void skynet_socket_close(context, id)`: what waits is still sent.
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_socket_close(context: *const ServiceContext, id: c_int) {
    // SAFETY: by the caller's promise.
    if let Some((ctx, network)) = unsafe { of(context) } {
        guarded(ctx, || network.close(id));
    }
}

/// `void skynet_socket_shutdown(context, id)`: what waits is dropped.
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_socket_shutdown(context: *const ServiceContext, id: c_int) {
    // SAFETY: by the caller's promise.
    if let Some((ctx, network)) = unsafe { of(context) } {
        guarded(ctx, || network.shutdown(id));
    }
}

/// `void skynet_socket_start(context, id)`: from now on the socket's events come to this service.
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_socket_start(context: *const ServiceContext, id: c_int) {
    // SAFETY: by the caller's promise.
    if let Some((ctx, network)) = unsafe { of(context) } {
        guarded(ctx, || network.start(ctx.handle(), id));
    }
}

/// `void skynet_socket_pause(context, id)`: nothing is read until the next start.
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_socket_pause(context: *const ServiceContext, id: c_int) {
    // SAFETY: by the caller's promise.
    if let Some((ctx, network)) = unsafe { of(context) } {
        guarded(ctx, || network.pause(id));
    }
}

/// `void skynet_socket_nodelay(context, id)`: small packets go at once.
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_socket_nodelay(context: *const ServiceContext, id: c_int) {
    // SAFETY: by the caller's promise.
    if let Some((ctx, network)) = unsafe { of(context) } {
        guarded(ctx, || network.nodelay(id));
    }
}

/// `int skynet_socket_udp(context, host, port)`: the id of a socket for datagrams; bound if there is a host or a port.
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_socket_udp(
    context: *const ServiceContext,
    host: *const c_char,
    port: c_int,
) -> c_int {
    // SAFETY: passed on.
    unsafe {
        open(context, "skynet_socket_udp", host, port, |network, ctx, host, port| {
            let at = (!host.is_empty() || port != 0).then_some((host, port));
            network.udp(ctx.handle(), at)
        })
    }
}

/// `int skynet_socket_udp_connect(context, id, host, port)`: where the socket sends to; 0 or -1.
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_socket_udp_connect(
    context: *const ServiceContext,
    id: c_int,
    host: *const c_char,
    port: c_int,
) -> c_int {
    // SAFETY: passed on.
    unsafe {
        open(context, "skynet_socket_udp_connect", host, port, |network, _, host, port| {
            network.udp_connect(id, host, port).map(|()| 0)
        })
    }
}

/// `int skynet_socket_udp_dial(context, host, port)`: a socket that sends there.
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_socket_udp_dial(
    context: *const ServiceContext,
    host: *const c_char,
    port: c_int,
) -> c_int {
    // SAFETY: passed on.
    unsafe {
        open(context, "skynet_socket_udp_dial", host, port, |network, ctx, host, port| {
            network.udp_dial(ctx.handle(), host, port)
        })
    }
}

/// `int skynet_socket_udp_listen(context, host, port)`: a bound socket.
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_socket_udp_listen(
    context: *const ServiceContext,
    host: *const c_char,
    port: c_int,
) -> c_int {
    // SAFETY: passed on.
    unsafe {
        open(context, "skynet_socket_udp_listen", host, port, |network, ctx, host, port| {
            network.udp(ctx.handle(), Some((host, port)))
        })
    }
}

/// `int skynet_socket_udp_sendbuffer(context, address, buffer)`: a datagram to a sender's address; 0 or -1.
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_socket_udp_sendbuffer(
    context: *const ServiceContext,
    address: *const c_char,
    buffer: *const SendBuffer,
) -> c_int {
    // SAFETY: by the caller's promise.
    let (Some((ctx, network)), Some(buffer)) = (unsafe { (of(context), buffer.as_ref()) }) else {
        return FAILED;
    };
    let sent = guarded(ctx, || {
        // SAFETY: as above.
        let data = unsafe { data(ctx, buffer) }?;
        // SAFETY: an address is as long as its first byte says.
        let to = unsafe { sender(address.cast()) }.and_then(decode)?;
        network.send_to(buffer.id, to, data).ok()
    });
    if sent.flatten() == Some(true) { 0 } else { FAILED }
}

/// The bytes of a datagram's sender.
///
/// # Safety
/// `address` is NULL, or has as many bytes as its first one says.
unsafe fn sender<'a>(address: *const u8) -> Option<&'a [u8]> {
    // SAFETY: by the caller's promise.
    unsafe {
        let family = *address.as_ref()?;
        let (_, size) = ADDRESSES.into_iter().find(|it| it.0 == family)?;
        Some(slice::from_raw_parts(address, size))
    }
}

/// `const char *skynet_socket_udp_address(message, size)`: the sender of a datagram, inside of its event; NULL for other events.
///
/// # Safety
/// `message` is NULL or an event's body; `size` is NULL or may be written.
#[unsafe(no_mangle)]
unsafe extern "C" fn skynet_socket_udp_address(message: *const u8, size: *mut c_int) -> *const c_char {
    if message.is_null() {
        return ptr::null();
    }
    // SAFETY: by the caller's promise: a body has a head. Behind the bytes of a datagram its sender follows in the buffer.
    unsafe {
        let Some((head, _)) = event::Head::read(slice::from_raw_parts(message, HEAD)) else {
            return ptr::null();
        };
        if head.kind != event::EventKind::Udp as i32 || head.buffer == 0 {
            return ptr::null();
        }
        let address = ptr::with_exposed_provenance::<u8>(head.buffer).add(head.ud.max(0) as usize);
        match sender(address) {
            Some(bytes) => {
                if !size.is_null() {
                    *size = bytes.len() as c_int;
                }
                address.cast()
            }
            None => ptr::null(),
        }
    }
}
