//! The harbor service: the way to other nodes, and the only one who knows global names.
//!
//! What goes to another node is handed to its [`Gateway`] on the sender's thread, so a body is never wrapped or copied.
//! Without links between nodes every remote is down: the sender gets an error, with the destination as its source. A global name
//! that nobody has waits: the slave service is asked once (`Q name`), and tells when somebody takes it (`N name`).
//!
//! # From skynet
//! service_harbor.c → [`Harbor`] and [`Gateway`]; skynet_harbor_send → `Node::deliver_remote`; struct remote_message → the
//! arguments of that function.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use skein_arena::{
    Block,
    sync::{Mutex, atomic::Ordering::Relaxed},
};

use crate::{
    Handle, InitError, Message, MessageType, Node, SendError, Service, ServiceContext, Session,
    config::parse_integer, counters::Dropped,
};

/// The longest global name.
const LONGEST_NAME: usize = 15;

/// Shared by the service and whoever sends to another node.
pub(crate) struct Gateway {
    ctx: Arc<ServiceContext>,
    slave: Handle,
    names: Mutex<HashMap<Vec<u8>, Name>>,
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
        let _id = words.next();
        let slave = Handle(words.next().map_or(0, parse_integer) as u32);
        if slave.is_none() {
            return Err("the harbor service needs the address of its slave".into());
        }
        let gateway = Arc::new(Gateway { ctx: Arc::clone(ctx), slave, names: Mutex::default() });
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
                ctx.log([b"Invalid command ", &[*command][..], b" ", rest].concat());
            }
            (MessageType::HARBOR, other) => ctx.log([b"Unknown command ", other].concat()),
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
            self.down(handle, message);
            return Ok(());
        }
        self.ctx.node().post(handle, message)
    }

    /// The node of `to` is down: whoever waits for an answer hears of it.
    fn down(&self, to: Handle, message: Message) {
        let (source, session, ty) = (message.source(), message.session(), message.ty());
        self.ctx.log(format!(
            "Drop message to harbor {} from {:x} to {:x} (session = {session}, msgsz = {})",
            to.harbor(),
            source.0,
            to.0,
            message.len()
        ));
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
        gateway.down(to, message);
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
