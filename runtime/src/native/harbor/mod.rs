//! The harbor service: the way to other nodes, and the only one who knows global names.
//!
//! What goes to another node is handed to its [`Gateway`] on the sender's thread, and to the connection from there, so a large body is
//! neither wrapped nor copied. The slave service (`cslave`, in Lua) makes the connections and gives them to this one, which owns
//! them from then on ([`link`], [`packet`]). A node that is down answers each request with an error, with the destination as its
//! source. A global name that nobody has waits: the slave is asked once (`Q name`), and tells when somebody takes it (`N name`).
//!
//! # From skynet
//! service_harbor.c → [`Harbor`] and [`Gateway`]; skynet_harbor_send → `Node::deliver_remote`; struct remote_message → the
//! arguments of that function.

mod link;
mod packet;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use link::{Arrived, Links, Sent};
use packet::{Head, Malformed};

use skein_arena::{
    Block,
    sync::{Mutex, atomic::Ordering::Relaxed},
};

use crate::{
    Handle, InitError, Message, MessageType, Node, SendError, Service, ServiceContext, Session,
    config::parse_integer,
    counters::Dropped,
    socket::{EventKind, SocketEvent},
};

/// The longest global name.
const LONGEST_NAME: usize = 15;

/// Shared by the service and whoever sends to another node.
pub(crate) struct Gateway {
    ctx: Arc<ServiceContext>,
    slave: Handle,
    names: Mutex<HashMap<Vec<u8>, Name>>,
    links: Links,
}

/// What is known of a global name.
enum Name {
    /// Asked for; these wait.
    Waiting(VecDeque<Message>),
    /// It is this service's.
    Known(Handle),
}

/// The service.
#[derive(Default)]
pub(crate) struct Harbor(Option<Arc<Gateway>>);

impl Service for Harbor {
    fn init(&mut self, ctx: &Arc<ServiceContext>, args: Option<&[u8]>) -> Result<(), InitError> {
        let args = args.unwrap_or_default();
        let mut words = args.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let id = words.next().map_or(0, parse_integer);
        let slave = Handle(words.next().map_or(0, parse_integer) as u32);
        if slave.is_none() {
            return Err("the harbor service needs the address of its slave".into());
        }
        // A node of its own has nobody to wait for.
        let links = Links::new(id == 0);
        let gateway = Arc::new(Gateway { ctx: Arc::clone(ctx), slave, names: Mutex::default(), links });
        *ctx.node().gateway.write().unwrap_or_else(|it| it.into_inner()) = Some(Arc::clone(&gateway));
        self.0 = Some(gateway);
        ctx.node().reserve(ctx);
        Ok(())
    }

    fn dispatch(&mut self, ctx: &Arc<ServiceContext>, message: Message) {
        let Some(gateway) = &self.0 else { return };
        match (message.ty(), &message[..]) {
            (MessageType::HARBOR, [b'N', b' ', name @ ..]) => {
                if name.is_empty() || name.len() > LONGEST_NAME {
                    return ctx.log([b"Invalid global name ", name].concat());
                }
                gateway.name_is(name, message.source());
            }
            (MessageType::HARBOR, [command @ (b'S' | b'A'), b' ', rest @ ..]) => {
                gateway.adopt(*command, rest);
            }
            (MessageType::HARBOR, other) => ctx.log([b"Unknown command ", other].concat()),
            (MessageType::SOCKET, _) => {
                if let Some(event) = SocketEvent::from_message(message) {
                    gateway.happened(event);
                }
            }
            (ty, _) => {
                let (source, session) = (message.source(), message.session());
                ctx.log(format!("recv invalid message from {:x},  type = {}", source.0, ty.0));
                ctx.node().fail_request(ctx.handle(), source, session, ty);
            }
        }
    }

    fn release(&mut self, ctx: &Arc<ServiceContext>) {
        *ctx.node().gateway.write().unwrap_or_else(|it| it.into_inner()) = None;
    }
}

impl Gateway {
    /// Delivers to a global name, or keeps the message until somebody has it.
    fn to_name(&self, name: &[u8], message: Message) -> Result<(), SendError> {
        let mut names = self.names.lock().unwrap_or_else(|it| it.into_inner());
        match names.get_mut(name) {
            Some(Name::Known(handle)) => {
                let handle = *handle;
                drop(names);
                self.to_known(handle, message)
            }
            Some(Name::Waiting(queue)) => {
                queue.push_back(message);
                Ok(())
            }
            None => {
                names.insert(name.to_vec(), Name::Waiting(VecDeque::from([message])));
                drop(names);
                let question = self.ctx.node().arena().copy_from(&[b"Q ", name].concat())?;
                // A slave that is gone answers nobody; the message waits, as with skynet.
                let _ = self.ctx.send(self.slave, None, MessageType::TEXT, Some(0), Some(question));
                Ok(())
            }
        }
    }

    /// A name has an owner now: what waited for it goes there, in order.
    fn name_is(&self, name: &[u8], handle: Handle) {
        let mut names = self.names.lock().unwrap_or_else(|it| it.into_inner());
        // Delivered under the lock: what is sent to the name from now on comes behind what waited.
        if let Some(Name::Waiting(queue)) = names.insert(name.to_vec(), Name::Known(handle)) {
            for message in queue {
                let _ = self.to_known(handle, message);
            }
        }
    }

    fn to_known(&self, handle: Handle, message: Message) -> Result<(), SendError> {
        if self.ctx.node().is_remote(handle) {
            self.to_remote(handle, message);
            return Ok(());
        }
        self.ctx.node().post(handle, message)
    }

    /// Sends to another node.
    fn to_remote(&self, to: Handle, message: Message) {
        match self.links.send(self.ctx.node(), to, message) {
            Sent::Gone => {}
            Sent::Down(message) => self.down(to, message),
            Sent::TooLarge(message) => {
                let source = message.source();
                self.ctx.log(format!("remote message from :{:08x} to :{:08x} is too large.", source.0, to.0));
                self.refuse(to, message);
            }
        }
    }

    /// `S fd id` and `A fd id`: a connection that the slave made, or took.
    fn adopt(&self, command: u8, rest: &[u8]) {
        let numbers = std::str::from_utf8(rest).ok().and_then(|text| {
            let (fd, id) = text.trim().split_once(' ')?;
            Some((fd.parse::<i32>().ok()?, id.trim().parse::<u8>().ok()?))
        });
        let Some((fd, id)) = numbers.filter(|&(fd, id)| fd > 0 && id > 0) else {
            return self.ctx.log([b"Invalid command ", &[command][..], b" ", rest].concat());
        };
        let node = self.ctx.node();
        if self.links.is_known(id) {
            return self.ctx.log(format!("Harbor {id} alreay exist"));
        }
        // First ours, then our number goes out: the other side answers at once, and its answer has to come here.
        node.network().nodelay(fd);
        node.network().start(self.ctx.handle(), fd);
        self.links.adopt(node, id, fd, command == b'S');
    }

    /// Something happened on a connection.
    fn happened(&self, event: SocketEvent) {
        let fd = event.id;
        match event.kind {
            EventKind::Data => {
                let bytes = event.data.as_deref().unwrap_or_default();
                let node = self.ctx.node();
                match self.links.arrived(node, fd, bytes, |head, body| self.incoming(head, body)) {
                    Arrived::Messages => {}
                    Arrived::Unknown => self.ctx.log(format!("Invalid socket fd ({fd}) data")),
                    Arrived::WrongId { harbor, said } => {
                        self.ctx.log(format!(
                            "Invalid shakehand id ({harbor}) from fd = {fd} , harbor = {said}"
                        ));
                        self.lost(harbor, fd);
                    }
                    Arrived::Malformed { harbor, why } => {
                        self.ctx.log(match why {
                            Malformed::TooLong => format!("Message is too long from harbor {harbor}"),
                            Malformed::TooShort(size) => {
                                format!("Message is too short from harbor {harbor} ({size} bytes)")
                            }
                        });
                        self.lost(harbor, fd);
                    }
                }
            }
            EventKind::Close | EventKind::Error => match self.links.harbor_of(fd) {
                Some(harbor) => self.lost(harbor, fd),
                None => self.ctx.log(format!("Unknown fd ({fd}) closed")),
            },
            EventKind::Warning => {
                let harbor = self.links.harbor_of(fd).unwrap_or(0);
                self.ctx.log(format!("message havn't send to Harbor ({harbor}) reach {} K", event.ud));
            }
            // We took it over ourselves.
            EventKind::Connect => {}
            EventKind::Accept | EventKind::Udp => {
                self.ctx.log(format!("recv invalid socket message type {}", event.kind as i32));
            }
        }
    }

    /// A message from another node.
    fn incoming(&self, head: Head, body: &[u8]) {
        let node = self.ctx.node();
        let to = Handle(u32::from(node.harbor() as u8) << 24 | head.destination);
        let Head { source, session, ty, .. } = head;
        let block = if body.is_empty() { node.arena().envelope() } else { node.arena().copy_from(body) };
        let posted = block.map_err(SendError::from).and_then(|it| node.post(to, Message::new(it, source, session, ty)));
        if let Err(why) = posted {
            if ty != MessageType::ERROR {
                let _ = node.deliver(source, to, MessageType::ERROR, session, None);
            }
            self.ctx.log(match why {
                SendError::NoDestination => {
                    format!("Unknown destination :{:x} from :{:x} type({})", to.0, source.0, ty.0)
                }
                why => format!("a message from :{:x} to :{:x} is lost: {why}", source.0, to.0),
            });
        }
    }

    /// The connection to a node is gone, for good.
    fn lost(&self, harbor: u8, fd: i32) {
        self.ctx.node().network().close(fd);
        let Some(waiting) = self.links.end(harbor) else { return };
        if let Ok(text) = self.ctx.node().arena().copy_from(format!("D {harbor}").as_bytes()) {
            let _ = self.ctx.send(self.slave, None, MessageType::TEXT, Some(0), Some(text));
        }
        for (to, message) in waiting {
            self.down(to, message);
        }
    }

    /// The node of `to` is down: whoever waits for an answer hears of it.
    fn down(&self, to: Handle, message: Message) {
        let (source, session) = (message.source(), message.session());
        self.ctx.log(format!(
            "Drop message to harbor {} from {:x} to {:x} (session = {session}, msgsz = {})",
            to.harbor(),
            source.0,
            to.0,
            message.len()
        ));
        self.refuse(to, message);
    }

    /// Drops a message to another node; a request is answered with an error.
    fn refuse(&self, to: Handle, message: Message) {
        let (source, session, ty) = (message.source(), message.session(), message.ty());
        self.ctx.node().counters.dropped(Dropped::Remote);
        if ty.is_request() {
            let reply = message.into_block().become_empty();
            let _ = self.ctx.node().post(source, Message::new(reply, to, session, MessageType::ERROR));
        }
    }
}

impl Node {
    /// Sends to another node.
    pub(crate) fn deliver_remote(
        self: &Arc<Self>,
        to: Handle,
        source: Handle,
        ty: MessageType,
        session: Session,
        body: Option<Block>,
    ) -> Result<(), SendError> {
        let gateway = self.gateway().ok_or(SendError::NoHarbor { to })?;
        let message = self.outgoing(source, ty, session, body)?;
        gateway.to_remote(to, message);
        Ok(())
    }

    /// Sends to a global name.
    pub(crate) fn deliver_global(
        self: &Arc<Self>,
        name: &[u8],
        source: Handle,
        ty: MessageType,
        session: Session,
        body: Option<Block>,
    ) -> Result<(), SendError> {
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Err(SendError::GlobalName { len: name.len() });
        }
        let gateway = self.gateway().ok_or(SendError::NoHarbor { to: Handle::NONE })?;
        gateway.to_name(name, self.outgoing(source, ty, session, body)?)
    }

    /// The harbor service does not keep the node alive.
    fn reserve(self: &Arc<Self>, ctx: &ServiceContext) {
        if !ctx.reserved.swap(true, Relaxed) {
            self.one_less();
        }
    }

    fn gateway(&self) -> Option<Arc<Gateway>> {
        self.gateway.read().unwrap_or_else(|it| it.into_inner()).clone()
    }

    fn outgoing(
        &self,
        source: Handle,
        ty: MessageType,
        session: Session,
        body: Option<Block>,
    ) -> Result<Message, SendError> {
        let block = match body {
            Some(block) => block,
            None => self.arena().envelope()?,
        };
        Ok(Message::new(block, source, session, ty))
    }
}
