//! iceoryx2: a publisher and a subscriber on each side, samples loaned, written in place and sent without a copy.

use iceoryx2::{
    port::{publisher::Publisher, subscriber::Subscriber},
    prelude::{NodeBuilder, ipc},
    service::port_factory::publish_subscribe::PortFactory,
};

use super::{Ends, Rival};

type Service = PortFactory<ipc::Service, [u8], ()>;

struct Iceoryx {
    to: Publisher<ipc::Service, [u8], ()>,
    from: Subscriber<ipc::Service, [u8], ()>,
}

pub(super) fn make(path: &str, answers: bool, _: Ends) -> Box<dyn Rival> {
    let node = NodeBuilder::new().create::<ipc::Service>().expect("a node");
    let service = |direction: &str| -> Service {
        let name = format!("{path}/{direction}").as_str().try_into().expect("a name");
        let builder = node.service_builder(&name).publish_subscribe::<[u8]>();
        let builder = builder.max_publishers(1).max_subscribers(1).history_size(0);
        // As the project's own benchmark has it.
        builder.subscriber_max_buffer_size(1).enable_safe_overflow(true).open_or_create().expect("a service")
    };
    let (there, back) = (service("there"), service("back"));
    let (to, from) = if answers { (&back, &there) } else { (&there, &back) };
    let to = to.publisher_builder().initial_max_slice_len(4 << 20).create().expect("a publisher");
    let from = from.subscriber_builder().create().expect("a subscriber");
    Box::new(Iceoryx { to, from })
}

impl Iceoryx {
    fn send(&self, size: usize, first: &[u8]) {
        let mut sample = self.to.loan_slice_uninit(size).expect("memory");
        for (to, byte) in sample.payload_mut().iter_mut().zip(first) {
            to.write(*byte);
        }
        // SAFETY: any bytes will do, and nobody reads those that were not written.
        unsafe { sample.assume_init() }.send().expect("it is heard");
    }

    fn receive(&self, size: usize) -> [u8; 8] {
        loop {
            if let Some(sample) = self.from.receive().expect("a connection") {
                assert_eq!(sample.payload().len(), size);
                return sample.payload()[..8].try_into().expect("eight bytes");
            }
        }
    }
}

impl Rival for Iceoryx {
    fn ping(&mut self, _: usize, size: usize, number: u64) {
        self.send(size, &number.to_le_bytes());
        assert_eq!(self.receive(size), number.to_le_bytes());
    }

    fn pong(&mut self, _: usize, size: usize) {
        let first = self.receive(size);
        self.send(size, &first);
    }
}
