//! The native gate: packets of many connections, each to its agent, without a Lua service in between.
//!
//! ```text
//! gate <S|L> <watchdog> <[host:]port> <client type> <max>
//! ```
//!
//! `S`: a length of 2 bytes is in front of each packet, `L`: of 4. The watchdog (`!` for none) is told of connections as text;
//! commands come as text: `kick id`, `start id`, `forward id :agent :client`, `broker name`, `close`. What is sent to the gate
//! as [`MessageType::CLIENT`] goes to the connection whose id its last four bytes are (little-endian).
//!
//! # From skynet
//! service_gate.c → [`Gate`]. A packet that came whole is not copied on its way. Differs: command words match whole, and a
//! length that is too large closes the connection as soon as it is known.

mod frame;

use std::{collections::HashMap, sync::Arc};

use skein_arena::Block;

use self::frame::{Broken, Framer, Header};
use crate::{
    Handle, InitError, Message, MessageType, Service, ServiceContext,
    config::parse_integer,
    socket::{Data, EventKind, SocketEvent, address},
};

/// Connections that may wait for the listener.
const BACKLOG: i32 = 128;

/// The service.
pub(crate) struct Gate {
    listener: i32,
    header: Header,
    watchdog: Handle,
    broker: Handle,
    client: MessageType,
    most: usize,
    connections: HashMap<i32, Connection>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            listener: -1,
            header: Header::Short,
            watchdog: Handle::NONE,
            broker: Handle::NONE,
            client: MessageType::CLIENT,
            most: 0,
            connections: HashMap::new(),
        }
    }
}

/// One client.
#[derive(Default)]
struct Connection {
    agent: Handle,
    /// Whom messages to the agent are from.
    client: Handle,
    framer: Framer,
}

impl Service for Gate {
    fn init(&mut self, ctx: &Arc<ServiceContext>, args: Option<&[u8]>) -> Result<(), InitError> {
        self.set_up(ctx, args.unwrap_or_default()).map_err(|text| {
            if !text.is_empty() {
                ctx.log(&text);
            }
            InitError(String::from_utf8_lossy(&text).into_owned())
        })
    }

    fn dispatch(&mut self, ctx: &Arc<ServiceContext>, message: Message) {
        match message.ty() {
            MessageType::TEXT => self.command(ctx, &message),
            MessageType::CLIENT => self.to_client(ctx, message),
            MessageType::SOCKET => {
                if let Some(event) = SocketEvent::from_message(message) {
                    self.happened(ctx, event);
                }
            }
            _ => {}
        }
    }

    fn release(&mut self, ctx: &Arc<ServiceContext>) {
        let network = ctx.node().network();
        self.connections.keys().for_each(|id| network.shutdown(*id));
        network.shutdown(self.listener);
    }
}

/// A number as a command has it: decimal, cut to 32 bits.
fn number(text: &[u8]) -> i32 {
    parse_integer(text) as i32
}

/// `:hex` or `.name`.
fn handle_of(ctx: &ServiceContext, name: &[u8]) -> Handle {
    match name {
        [b':', hex @ ..] => Handle::parse_hex(hex),
        [b'.', ..] => ctx.node().query(name).unwrap_or_default(),
        _ => {
            ctx.log([b"error: Don't support query global name ", name].concat());
            Handle::NONE
        }
    }
}

impl Gate {
    /// Reads the arguments and listens. The error is a line for the log.
    fn set_up(&mut self, ctx: &Arc<ServiceContext>, args: &[u8]) -> Result<(), Vec<u8>> {
        let words: Vec<&[u8]> = args.split(u8::is_ascii_whitespace).filter(|it| !it.is_empty()).collect();
        let [style, watchdog, place, tag, rest @ ..] = &words[..] else {
            return Err([b"Invalid gate parm ", args].concat());
        };
        self.most = usize::try_from(rest.first().map_or(0, |it| number(it))).unwrap_or(0);
        if self.most == 0 {
            return Err(b"Need max connection".into());
        }
        self.header = match style {
            [b'S'] => Header::Short,
            [b'L'] => Header::Long,
            _ => return Err(b"Invalid data header style".into()),
        };
        if *watchdog != b"!" {
            self.watchdog = handle_of(ctx, watchdog);
            if self.watchdog.is_none() {
                return Err([b"Invalid watchdog ", *watchdog].concat());
            }
        }
        if number(tag) != 0 {
            self.client = MessageType(number(tag) as u8);
        }
        let (host, port) = match address::split(place) {
            Ok(found) => found,
            Err(_) => match address::split(&[b":", *place].concat()) {
                Ok((_, port)) => (&b""[..], port),
                Err(_) => return Err([b"Invalid gate address ", *place].concat()),
            },
        };
        let network = ctx.node().network();
        self.listener = network.listen(ctx.handle(), host, port, BACKLOG).map_err(|_| Vec::new())?;
        network.start(ctx.handle(), self.listener);
        Ok(())
    }

    fn command(&mut self, ctx: &Arc<ServiceContext>, text: &[u8]) {
        let mut words = text.split(u8::is_ascii_whitespace).filter(|it| !it.is_empty());
        let word = words.next().unwrap_or_default();
        let mut argument = || words.next().unwrap_or_default();
        let network = ctx.node().network();
        match word {
            b"kick" => {
                let id = number(argument());
                if self.connections.contains_key(&id) {
                    network.close(id);
                }
            }
            b"forward" => {
                let (id, agent, client) = (number(argument()), argument(), argument());
                if let Some(connection) = self.connections.get_mut(&id) {
                    let handle = |text: &[u8]| Handle::parse_hex(text.strip_prefix(b":").unwrap_or(text));
                    (connection.agent, connection.client) = (handle(agent), handle(client));
                }
            }
            b"broker" => self.broker = handle_of(ctx, argument()),
            b"start" => {
                let id = number(argument());
                if self.connections.contains_key(&id) {
                    network.start(ctx.handle(), id);
                }
            }
            b"close" => network.close(std::mem::replace(&mut self.listener, -1)),
            _ => ctx.log([b"[gate] Unknown command : ", text].concat()),
        }
    }

    /// Sends what a service has for a client.
    fn to_client(&self, ctx: &Arc<ServiceContext>, message: Message) {
        let source = message.source().0;
        let Some((_, id)) = message.split_last_chunk::<4>() else {
            return ctx.log(format!("Invalid client message from {source:x}"));
        };
        let id = i32::from_le_bytes(*id);
        if !self.connections.contains_key(&id) {
            return ctx.log(format!("Invalid client id {id} from {source:x}"));
        }
        let mut block = message.into_block();
        block.truncate(block.len() - 4);
        if let Err(error) = ctx.node().network().send(id, Data::Block(block), false) {
            ctx.log(format!("gate: nothing sent to {id}: {error}"));
        }
    }

    fn happened(&mut self, ctx: &Arc<ServiceContext>, event: SocketEvent) {
        let network = ctx.node().network();
        let SocketEvent { kind, id, ud, data, text } = event;
        match kind {
            EventKind::Data => match data {
                Some(data) if self.connections.contains_key(&id) => self.came(ctx, id, data),
                _ => {
                    ctx.log(format!("Drop unknown connection {id} message"));
                    network.close(id);
                }
            },
            EventKind::Connect => {
                if id != self.listener && !self.connections.contains_key(&id) {
                    ctx.log(format!("Close unknown connection {id}"));
                    network.close(id);
                }
            }
            EventKind::Close | EventKind::Error => {
                if self.connections.remove(&id).is_some() {
                    network.shutdown(id);
                    self.report(ctx, 0, format!("{id} close").as_bytes());
                }
            }
            EventKind::Accept if self.connections.len() >= self.most => network.close(ud),
            EventKind::Accept => {
                self.connections.insert(ud, Connection::default());
                network.nodelay(ud);
                self.report(ctx, 0, &[format!("{ud} open {ud} ").as_bytes(), &text, b":0"].concat());
                ctx.log(format!("socket open: {ud:x}"));
            }
            EventKind::Warning => ctx.log(format!("fd ({id}) send buffer ({ud})K")),
            EventKind::Udp => {}
        }
    }

    /// Bytes of a client.
    fn came(&mut self, ctx: &Arc<ServiceContext>, id: i32, data: Block) {
        let mut connection = self.connections.remove(&id).expect("the caller looked");
        let (agent, client) = (connection.agent, connection.client);
        let mut expect = |taken, size, begun: &[u8]| {
            let copy = |into: &mut [u8]| into.copy_from_slice(begun);
            // Without room it comes in pieces.
            ctx.node().network().expect(ctx.handle(), id, taken, size, begun.len(), copy).unwrap_or(false)
        };
        let broken =
            connection.framer.feed(ctx.node().arena(), self.header, data, &mut expect, |packet| {
                self.forward(ctx, id, agent, client, packet);
            });
        let Err(broken) = broken else {
            self.connections.insert(id, connection);
            return;
        };
        match broken {
            Broken::TooLarge => ctx.log("Recv socket message > 16M"),
            Broken::Arena(error) => ctx.log(format!("gate: connection {id} closed: {error}")),
        }
        // What is queued behind this makes no sense: nobody knows the connection any more.
        ctx.node().network().close(id);
        self.report(ctx, 0, format!("{id} close").as_bytes());
    }

    /// A packet to whom it is for.
    fn forward(&self, ctx: &Arc<ServiceContext>, id: i32, agent: Handle, client: Handle, packet: Block) {
        // Whoever is gone misses nothing.
        if !self.broker.is_none() {
            let _ = ctx.send(self.broker, None, self.client, Some(id), Some(packet));
        } else if !agent.is_none() {
            let _ = ctx.send(agent, Some(client), self.client, Some(id), Some(packet));
        } else if !self.watchdog.is_none() {
            self.report(ctx, id, &[format!("{id} data ").as_bytes(), &packet].concat());
        }
    }

    fn report(&self, ctx: &Arc<ServiceContext>, session: i32, text: &[u8]) {
        if !self.watchdog.is_none()
            && let Ok(text) = ctx.node().arena().copy_from(text)
        {
            let _ = ctx.send(self.watchdog, None, MessageType::TEXT, Some(session), Some(text));
        }
    }
}
