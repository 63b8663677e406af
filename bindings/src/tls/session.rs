//! One side of a connection: bytes of the network in and out, bytes of the application out and in.
//!
//! # Invariants
//! * **T1** What a method gives to Lua lies in `out` until the next method, so that a push that raises loses nothing of ours.

use std::ffi::{CStr, c_int};
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConnection};

use super::context::{Context, Failed};
use crate::object::{self, Object};
use crate::raw::{Raise, bytes, ffi, guard, lua_State, raise};

/// One side of a connection.
pub(super) struct Session {
    state: State,
    /// The handshake was said to be over.
    finished: bool,
    /// The other side said that it will say no more.
    over: bool,
    /// What the other side said and nobody asked for yet.
    plain: Vec<u8>,
    out: Vec<u8>,
}

enum State {
    /// A client that has not begun: its server's name may still be given.
    Client {
        believing: Arc<ClientConfig>,
        checking: Option<Arc<ClientConfig>>,
        name: Option<ServerName<'static>>,
    },
    Open(Box<Connection>),
    Closed,
}

/// The step of a connection that failed, as skynet's texts name it.
#[derive(Clone, Copy)]
enum Step {
    Handshake,
    Read,
    Write,
}

impl Step {
    #[cold]
    fn failed(self, why: impl std::fmt::Display) -> Raise {
        match self {
            Step::Handshake => Raise::new(format_args!("SSL_do_handshake error:1 ret:-1 ({why})")),
            Step::Read => Raise::new(format_args!("SSL_read error:1 ({why})")),
            Step::Write => Raise::new(format_args!("SSL_write error:1 ({why})")),
        }
    }
}

impl Session {
    fn new(state: State) -> Session {
        Session { state, finished: false, over: false, plain: Vec::new(), out: Vec::new() }
    }

    /// The server's side.
    pub(super) fn server(context: &Context) -> Result<Session, Failed> {
        let mut connection = ServerConnection::new(context.for_server()?)?;
        connection.set_buffer_limit(None);
        Ok(Session::new(State::Open(Box::new(connection.into()))))
    }

    /// The client's side, of a connection to `host`.
    pub(super) fn client(context: &mut Context, host: Option<&[u8]>) -> Result<Session, Raise> {
        let believing = context.for_client(false)?;
        context.keep(false, &believing);
        let checking = match context.verifies() {
            true => {
                let made = context.for_client(true)?;
                context.keep(true, &made);
                Some(made)
            }
            false => None,
        };
        let name = host.map(server_name).transpose()?;
        Ok(Session::new(State::Client { believing, checking, name }))
    }

    /// The connection; a client's begins now.
    fn connection(&mut self) -> Result<&mut Connection, Raise> {
        if let State::Client { believing, checking, name } = &mut self.state {
            // Without a name nothing can be checked. An address is not sent to the server.
            let nobody = || ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into());
            let config = match (&name, checking.take()) {
                (Some(_), Some(checking)) => checking,
                _ => Arc::clone(believing),
            };
            let mut connection = ClientConnection::new(config, name.take().unwrap_or_else(nobody))?;
            connection.set_buffer_limit(None);
            self.state = State::Open(Box::new(connection.into()));
        }
        match &mut self.state {
            State::Open(connection) => Ok(connection),
            _ => Err(Raise::new("context is closed")),
        }
    }

    /// Takes bytes of the network; what they say to the application is appended to `plain`.
    fn feed(&mut self, mut data: &[u8], step: Step) -> Result<(), Raise> {
        let mut plain = std::mem::take(&mut self.plain);
        let mut over = self.over;
        let connection = self.connection()?;
        loop {
            if !data.is_empty() {
                connection.read_tls(&mut data).map_err(|error| step.failed(error))?;
            }
            let state = connection.process_new_packets().map_err(|error| step.failed(error))?;
            // The first words may come with the end of the handshake.
            let from = plain.len();
            plain.resize(from + state.plaintext_bytes_to_read(), 0);
            connection.reader().read_exact(&mut plain[from..]).map_err(|error| step.failed(error))?;
            over |= state.peer_has_closed();
            if data.is_empty() || over {
                break;
            }
        }
        self.over = over;
        self.plain = plain;
        Ok(())
    }

    /// Puts what is to be sent into `out`.
    fn flush(&mut self, step: Step) -> Result<(), Raise> {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let connection = self.connection()?;
        while connection.wants_write() {
            connection.write_tls(&mut out).map_err(|error| step.failed(error))?;
        }
        self.out = out;
        Ok(())
    }
}

/// A host as a client's connection names it.
fn server_name(host: &[u8]) -> Result<ServerName<'static>, Raise> {
    let host = std::str::from_utf8(host).map_err(|_| Raise::new("invalid host name"))?;
    let invalid = |_| Raise::new(format_args!("invalid host name {:.80}", host));
    Ok(ServerName::try_from(host).map_err(invalid)?.to_owned())
}

impl Object for Session {
    const NAME: &'static CStr = c"ltls.session";
    const METHODS: &'static [(&'static CStr, ffi::lua_CFunction)] = &[
        (c"handshake", handshake),
        (c"finished", finished),
        (c"read", read),
        (c"write", write),
        (c"set_ext_host_name", set_ext_host_name),
        (c"close", close),
    ];
}

/// What a method answers.
#[derive(Clone, Copy)]
enum Answer {
    Nothing,
    Bytes(*const u8, usize),
    /// Bytes behind which nothing comes.
    Last(*const u8, usize),
    Flag(bool),
    One,
}

/// Runs a method on the session in slot 1, with the string in slot 2, and answers.
///
/// # Safety
/// `state` runs a C function, and nothing with a destructor is alive.
unsafe fn method(
    state: *mut lua_State,
    work: impl FnOnce(&mut Session, &[u8]) -> Result<Answer, Raise>,
) -> c_int {
    // SAFETY: by the caller's promise. Arguments keep their slots; the bytes of an answer lie in the session (T1), which slot
    // 1 keeps alive.
    unsafe {
        let Some(slot) = object::get::<Session>(state, 1) else {
            raise(state, Raise::new("need tls context"))
        };
        let data = if ffi::lua_type(state, 2) <= ffi::LUA_TNIL {
            &[]
        } else {
            ffi::luaL_checklstring(state, 2, std::ptr::null_mut());
            bytes(state, 2).unwrap_or_default()
        };
        let answer = guard(|| {
            let mut session = slot.value.borrow_mut();
            let session = session.as_mut().ok_or_else(|| Raise::new("context is closed"))?;
            work(session, data)
        });
        match answer {
            Ok(Answer::Nothing) => 0,
            Ok(Answer::Bytes(at, len)) => {
                ffi::lua_pushlstring(state, at.cast(), len);
                1
            }
            Ok(Answer::Last(at, len)) => {
                ffi::lua_pushlstring(state, at.cast(), len);
                ffi::lua_pushboolean(state, 1);
                2
            }
            Ok(Answer::Flag(flag)) => {
                ffi::lua_pushboolean(state, c_int::from(flag));
                1
            }
            Ok(Answer::One) => {
                ffi::lua_pushinteger(state, 1);
                1
            }
            Err(error) => raise(state, error),
        }
    }
}

impl Session {
    fn answer(&self) -> Answer {
        Answer::Bytes(self.out.as_ptr(), self.out.len())
    }
}

/// `tls:handshake(data: string?): string | nothing`, bytes to send. Nothing when it is over; `write` has what is left then.
unsafe extern "C-unwind" fn handshake(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`.
    unsafe {
        method(state, |session, data| {
            if session.finished {
                return Err(Raise::new("handshake is finished"));
            }
            session.feed(data, Step::Handshake)?;
            if !session.connection()?.is_handshaking() {
                session.finished = true;
                return Ok(Answer::Nothing);
            }
            session.flush(Step::Handshake)?;
            Ok(if session.out.is_empty() { Answer::Nothing } else { session.answer() })
        })
    }
}

/// `tls:finished(): boolean`, whether the handshake is over.
unsafe extern "C-unwind" fn finished(state: *mut lua_State) -> c_int {
    // SAFETY: as in `handshake`.
    unsafe {
        method(state, |session, _| match session.state {
            State::Closed => Err(Raise::new("context is closed")),
            _ => Ok(Answer::Flag(session.finished)),
        })
    }
}

/// `tls:read(data: string?): string, true?`, what bytes of the network say; true behind it: it was the last.
unsafe extern "C-unwind" fn read(state: *mut lua_State) -> c_int {
    // SAFETY: as in `handshake`.
    unsafe {
        method(state, |session, data| {
            session.feed(data, Step::Read)?;
            session.out = std::mem::take(&mut session.plain);
            Ok(match session.over {
                true => Answer::Last(session.out.as_ptr(), session.out.len()),
                false => session.answer(),
            })
        })
    }
}

/// `tls:write(text: string?): string`, bytes to send.
unsafe extern "C-unwind" fn write(state: *mut lua_State) -> c_int {
    // SAFETY: as in `handshake`.
    unsafe {
        method(state, |session, text| {
            let connection = session.connection()?;
            connection.writer().write_all(text).map_err(|error| Step::Write.failed(error))?;
            session.flush(Step::Write)?;
            Ok(session.answer())
        })
    }
}

/// `tls:set_ext_host_name(host: string): integer`: a client's server, before the handshake.
unsafe extern "C-unwind" fn set_ext_host_name(state: *mut lua_State) -> c_int {
    // SAFETY: as in `handshake`.
    unsafe {
        method(state, |session, host| {
            let its_name = server_name(host)?;
            match &mut session.state {
                State::Client { name, .. } => *name = Some(its_name),
                State::Open(_) => {}
                State::Closed => return Err(Raise::new("context is closed")),
            }
            Ok(Answer::One)
        })
    }
}

/// `tls:close()`. A second one does nothing.
unsafe extern "C-unwind" fn close(state: *mut lua_State) -> c_int {
    // SAFETY: as in `handshake`.
    unsafe {
        method(state, |session, _| {
            session.state = State::Closed;
            (session.out, session.plain) = (Vec::new(), Vec::new());
            Ok(Answer::Nothing)
        })
    }
}
