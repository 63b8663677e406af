//! `client.socket`: blocking connections for clients in Lua that test a server. Not for services.
//!
//! Connections are named by their file descriptors, as in skynet; a number that `connect` did not give is an error, whatever
//! else the process has under it.
//!
//! # From skynet
//! lua-clientsocket.c: lconnect, lclose, lsend, lrecv, lshutdown, lusleep, lreadstdin → the functions here. Its thread for the
//! standard input begins at the first `readstdin` rather than with the module.

use std::collections::{HashMap, VecDeque};
use std::ffi::{CStr, c_int};
use std::io::{self, BufRead, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use skein_arena::sync::{Arc, Mutex, thread};

use crate::raw::{Raise, bytes, check_text, ffi, guard, lua_State, raise};

const FUNCTIONS: [(&CStr, ffi::lua_CFunction); 7] = [
    (c"connect", connect),
    (c"recv", recv),
    (c"send", send),
    (c"close", close),
    (c"shutdown", shutdown),
    (c"usleep", usleep),
    (c"readstdin", readstdin),
];

/// Most bytes that one `recv` gives.
const PIECE: usize = 4096;
/// Longest line of the standard input; what is longer comes in parts.
const LINE: u64 = 1023;
/// How many lines may wait.
const LINES: usize = 1024;

/// The connections of the process, by descriptor.
static CONNECTIONS: Mutex<Option<HashMap<i32, Arc<TcpStream>>>> = Mutex::new(None);
/// Lines of the standard input; none before somebody asked.
static INPUT: Mutex<Option<VecDeque<Vec<u8>>>> = Mutex::new(None);

/// Opens `client.socket`. Stack: 1 out.
///
/// # Safety
/// Called by Lua.
pub(crate) unsafe extern "C-unwind" fn open(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state` with free slots; nothing with a destructor is alive.
    unsafe {
        ffi::lua_createtable(state, 0, FUNCTIONS.len() as c_int);
        for (name, function) in FUNCTIONS {
            ffi::lua_pushcfunction(state, function);
            ffi::lua_setfield(state, -2, name.as_ptr());
        }
    }
    1
}

/// The lock; a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> skein_arena::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn failed(error: impl std::fmt::Display) -> Raise {
    Raise::new(format_args!("socket error: {error}"))
}

/// The connection of a descriptor.
fn stream(fd: i64) -> Result<Arc<TcpStream>, Raise> {
    let fd = i32::try_from(fd).unwrap_or(-1);
    let found = lock(&CONNECTIONS).as_ref().and_then(|all| all.get(&fd).cloned());
    found.ok_or_else(|| failed(format_args!("{fd} is no connection of client.socket")))
}

/// `socket.connect(ip: string, port: integer): integer`.
unsafe extern "C-unwind" fn connect(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; arguments stay in their slots, and only plain data is left when this raises.
    unsafe {
        let ip = check_text(state, 1);
        let port = ffi::luaL_checkinteger(state, 2);
        let connected = guard(|| {
            let text = String::from_utf8_lossy(&ip[..ip.len().min(64)]);
            let refused = || Raise::new(format_args!("Connect {text} {port} failed"));
            let address: Ipv4Addr = text.parse().map_err(|_| refused())?;
            let to = u16::try_from(port).ok().filter(|port| *port > 0).ok_or_else(refused)?;
            let stream = TcpStream::connect(SocketAddrV4::new(address, to)).map_err(|_| refused())?;
            stream.set_nonblocking(true).map_err(failed)?;
            let fd = stream.as_raw_fd();
            lock(&CONNECTIONS).get_or_insert_default().insert(fd, Arc::new(stream));
            Ok(fd)
        });
        match connected {
            Ok(fd) => ffi::lua_pushinteger(state, i64::from(fd)),
            Err(error) => raise(state, error),
        }
    }
    1
}

/// `socket.recv(fd: integer): string | nothing`: what is there, `""` at the end, nothing if there is nothing.
unsafe extern "C-unwind" fn recv(state: *mut lua_State) -> c_int {
    // SAFETY: as in `connect`.
    unsafe {
        let fd = ffi::luaL_checkinteger(state, 1);
        let mut piece = [0; PIECE];
        let got = guard(|| match (&*stream(fd)?).read(&mut piece) {
            Ok(len) => Ok(Some(len)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(None)
            }
            Err(error) => Err(failed(error)),
        });
        match got {
            Ok(None) => 0,
            Ok(Some(len)) => {
                ffi::lua_pushlstring(state, piece.as_ptr().cast(), len);
                1
            }
            Err(error) => raise(state, error),
        }
    }
}

/// `socket.send(fd: integer, data: string)`: returns when all of it is sent.
unsafe extern "C-unwind" fn send(state: *mut lua_State) -> c_int {
    // SAFETY: as in `connect`.
    unsafe {
        let fd = ffi::luaL_checkinteger(state, 1);
        ffi::luaL_checklstring(state, 2, std::ptr::null_mut());
        let mut data = bytes(state, 2).unwrap_or_default();
        let sent = guard(|| {
            let stream = stream(fd)?;
            while !data.is_empty() {
                match (&*stream).write(data) {
                    Ok(0) => return Err(failed("the connection takes nothing")),
                    Ok(len) => data = &data[len..],
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        poll(&mut [PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::OUT)], None).or_else(
                            |error| match error {
                                rustix::io::Errno::INTR => Ok(0),
                                other => Err(failed(other)),
                            },
                        )?;
                    }
                    Err(error) => return Err(failed(error)),
                }
            }
            Ok(())
        });
        if let Err(error) = sent {
            raise(state, error);
        }
    }
    0
}

/// `socket.close(fd: integer)`.
unsafe extern "C-unwind" fn close(state: *mut lua_State) -> c_int {
    // SAFETY: as in `connect`.
    unsafe {
        let fd = ffi::luaL_checkinteger(state, 1);
        let closed = guard(|| {
            stream(fd)?;
            let gone = lock(&CONNECTIONS).as_mut().and_then(|all| all.remove(&(fd as i32)));
            drop(gone);
            Ok(())
        });
        if let Err(error) = closed {
            raise(state, error);
        }
    }
    0
}

/// `socket.shutdown(fd: integer, mode: string)`: letters `r`, `w` or both.
unsafe extern "C-unwind" fn shutdown(state: *mut lua_State) -> c_int {
    // SAFETY: as in `connect`.
    unsafe {
        let fd = ffi::luaL_checkinteger(state, 1);
        let mode = check_text(state, 2);
        let done = guard(|| {
            let (mut read, mut write) = (false, false);
            for letter in mode {
                match letter {
                    b'r' => read = true,
                    b'w' => write = true,
                    other => {
                        return Err(Raise::new(format_args!("Invalid mode {}", char::from(*other))));
                    }
                }
            }
            let (how, number) = match (read, write) {
                (true, true) => (Shutdown::Both, 2),
                (true, false) => (Shutdown::Read, 0),
                (false, true) => (Shutdown::Write, 1),
                (false, false) => return Err(Raise::new("mode should be r or/and w")),
            };
            let stream = stream(fd)?;
            // Whoever closed the standard output does not want to know.
            let _ = writeln!(io::stdout(), "SHUTDOWN {fd} {number}");
            stream.shutdown(how).map_err(failed)
        });
        if let Err(error) = done {
            raise(state, error);
        }
    }
    0
}

/// `socket.usleep(microseconds: integer)`: the thread sleeps.
unsafe extern "C-unwind" fn usleep(state: *mut lua_State) -> c_int {
    // SAFETY: as in `connect`.
    unsafe {
        let time = ffi::luaL_checkinteger(state, 1);
        if let Err(error) = guard(|| {
            thread::sleep(Duration::from_micros(u64::try_from(time).unwrap_or(0)));
            Ok(())
        }) {
            raise(state, error);
        }
    }
    0
}

/// `socket.readstdin(): string | nothing`, the next line of the standard input that is there. Its end ends the process, with
/// status 1, as it does when more lines wait than anybody reads.
unsafe extern "C-unwind" fn readstdin(state: *mut lua_State) -> c_int {
    // SAFETY: as in `connect`. The line is in a buffer of the frame when the push may raise.
    unsafe {
        let mut line = [0; LINE as usize];
        let got = guard(|| {
            let mut input = lock(&INPUT);
            let Some(lines) = input.as_mut() else {
                *input = Some(VecDeque::new());
                thread::Builder::new().name("stdin".to_owned()).spawn(read_lines).map_err(failed)?;
                return Ok(None);
            };
            Ok(lines.pop_front().map(|text| {
                line[..text.len()].copy_from_slice(&text);
                text.len()
            }))
        });
        match got {
            Ok(None) => 0,
            Ok(Some(len)) => {
                ffi::lua_pushlstring(state, line.as_ptr().cast(), len);
                1
            }
            Err(error) => raise(state, error),
        }
    }
}

/// Reads lines until the end of the standard input, or until nobody takes them.
fn read_lines() {
    let input = io::stdin();
    loop {
        let mut line = Vec::new();
        let read = input.lock().take(LINE).read_until(b'\n', &mut line);
        if !matches!(read, Ok(len) if len > 0) {
            break;
        }
        // Its end, or the last byte of a part.
        line.pop();
        let mut waiting = lock(&INPUT);
        let lines = waiting.get_or_insert_default();
        if lines.len() >= LINES {
            break;
        }
        lines.push_back(line);
    }
    std::process::exit(1);
}
