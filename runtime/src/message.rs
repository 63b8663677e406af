//! What services send each other: an envelope (source, session, type) and, mostly, a body.
//!
//! Both live in one arena block: the envelope in its header, the body behind it. So sending allocates nothing but
//! that block, and handing a message on moves one pointer.
//!
//! # From skynet
//! struct skynet_message → [`Message`]; `PTYPE_*` → the constants of [`MessageType`]; the type in the top byte of the
//! size word → a field of the block header.

use core::{fmt, ops::Deref, ptr};

use skein_arena::{Block, Envelope};

use crate::Handle;

/// The number that pairs a call with its response. 0 expects no answer.
pub type Session = i32;

/// What kind of message this is. Numbers from 13 on are free for applications.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MessageType(pub u8);

impl MessageType {
    /// Text commands to native services, lines for the logger.
    pub const TEXT: Self = Self(0);
    /// The answer to a request, and the expiry of a timer.
    pub const RESPONSE: Self = Self(1);
    /// A package of a multicast channel, whose id is in the session.
    pub const MULTICAST: Self = Self(2);
    /// Data of a client behind a gate; also the notice of a death to the exit monitor.
    pub const CLIENT: Self = Self(3);
    /// Internal; to the logger: reopen your file.
    pub const SYSTEM: Self = Self(4);
    /// Text commands to the harbor service.
    pub const HARBOR: Self = Self(5);
    /// What happened on a socket.
    pub const SOCKET: Self = Self(6);
    /// A request failed; with session 0: the source is gone.
    pub const ERROR: Self = Self(7);
    /// skynet's old message queue in Lua.
    pub const QUEUE: Self = Self(8);
    /// Debug commands to a Lua service.
    pub const DEBUG: Self = Self(9);
    /// Requests and answers between Lua services.
    pub const LUA: Self = Self(10);
    /// Method calls of snax services.
    pub const SNAX: Self = Self(11);
    /// A trace tag for the next request of the same source.
    pub const TRACE: Self = Self(12);

    /// Whether somebody may wait for an answer: responses and errors are answers themselves.
    pub const fn is_request(self) -> bool {
        !matches!(self, Self::RESPONSE | Self::ERROR)
    }
}

impl MessageType {
    /// Whether a bounded mailbox may refuse it: not what somebody already waits for, and not what the system says.
    pub(crate) const fn is_bounded(self) -> bool {
        !matches!(
            self,
            Self::RESPONSE | Self::ERROR | Self::SYSTEM | Self::HARBOR | Self::SOCKET | Self::DEBUG | Self::TRACE
        )
    }
}

/// A message in the hands of the service it was sent to.
pub struct Message(Block);

impl Message {
    /// Writes the envelope into `block`.
    #[inline]
    pub fn new(mut block: Block, source: Handle, session: Session, ty: MessageType) -> Self {
        block.set_envelope(Envelope { source: source.0, session, ty: ty.0 });
        Self(block)
    }

    /// Takes a block whose envelope is already written.
    #[inline]
    pub fn from_block(block: Block) -> Self {
        Self(block)
    }

    /// Who sent it; `:00000000` for the runtime itself.
    #[inline]
    pub fn source(&self) -> Handle {
        Handle(self.0.envelope().source)
    }

    /// Which call it belongs to.
    #[inline]
    pub fn session(&self) -> Session {
        self.0.envelope().session
    }

    /// Its type.
    #[inline]
    pub fn ty(&self) -> MessageType {
        MessageType(self.0.envelope().ty)
    }

    /// Whether it has a body at all. One of length 0 is a body.
    #[inline]
    pub fn has_body(&self) -> bool {
        !self.0.as_ptr().is_null()
    }

    /// The address of the body, NULL without one.
    #[inline]
    pub fn as_ptr(&self) -> *const u8 {
        self.0.as_ptr()
    }

    /// The block, with its envelope. To send it on is to move it.
    #[inline]
    pub fn into_block(self) -> Block {
        self.0
    }
}

impl Deref for Message {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        if ptr::eq(self.0.as_ptr(), ptr::null()) { &[] } else { &self.0 }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} session {} of {} bytes", self.source(), self.ty().0, self.session(), self.len())
    }
}
