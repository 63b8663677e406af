//! A service in Rust beside services in Lua, in a program of one's own. Run it from the root of the repository:
//!
//! ```sh
//! cargo run --release -p skein --example leaderboard
//! ```
//!
//! The Lua side is `main.lua`: it launches the service by the name it was registered under, and calls it as it would any other.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use skein_bindings::values::{self, Table, Value};
use skein_runtime::{InitError, Message, MessageType, Service, ServiceContext};

const CONFIG: &str = "bindings/examples/leaderboard/config.lua";

/// Who has how many points.
#[derive(Default)]
struct Leaderboard {
    points: BTreeMap<String, i64>,
}

impl Leaderboard {
    /// What a request asks for, or why it makes no sense.
    fn answer(&mut self, request: &[Value<'_>]) -> Result<Value<'static>, String> {
        match request {
            [command, name, points] if command.as_str() == Some("add") => {
                let name = name.as_str().ok_or("add: the name is no text")?;
                let points = points.as_integer().ok_or("add: the points are no integer")?;
                let all = self.points.entry(name.to_owned()).or_default();
                *all = all.saturating_add(points);
                Ok(Value::Integer(*all))
            }
            [command, count] if command.as_str() == Some("top") => {
                let count = count.as_integer().ok_or("top: the count is no integer")?.max(0) as usize;
                let mut best: Vec<_> = self.points.iter().collect();
                best.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
                let entry = |(name, points): (&String, &i64)| {
                    let pairs =
                        vec![("name".into(), name.clone().into()), ("points".into(), (*points).into())];
                    Value::Table(Table { items: Vec::new(), pairs })
                };
                Ok(Table { items: best.into_iter().take(count).map(entry).collect(), pairs: Vec::new() }
                    .into())
            }
            _ => Err(format!("{request:?} is no request")),
        }
    }
}

impl Service for Leaderboard {
    fn init(&mut self, ctx: &Arc<ServiceContext>, _: Option<&[u8]>) -> Result<(), InitError> {
        ctx.command("REG", b".leaderboard");
        Ok(())
    }

    fn dispatch(&mut self, ctx: &Arc<ServiceContext>, message: Message) {
        // Strings in `request` show the bytes of the message: nothing is copied.
        let answer = match values::unpack(&message) {
            Ok(request) => self.answer(&request),
            Err(error) => Err(error.to_string()),
        };
        let answer = answer.and_then(|it| {
            values::pack(ctx.node().arena(), &[it])
                .map_err(|error| format!("the answer does not fit: {error}"))
        });
        let (ty, body) = match answer {
            Ok(block) => (MessageType::RESPONSE, Some(block)),
            Err(why) => {
                ctx.log(why);
                (MessageType::ERROR, None)
            }
        };
        // Session 0: nobody waits.
        if message.session() != 0
            && let Err(error) = ctx.send(message.source(), None, ty, Some(message.session()), body)
        {
            ctx.log(format!("no answer to {}: {error}", message.source()));
        }
    }
}

fn main() -> ExitCode {
    let run = || -> Result<(), Box<dyn std::error::Error>> {
        let node = skein_bindings::node(skein_bindings::config::read(CONFIG)?)?;
        node.register("leaderboard", Arc::new(|_| Box::<Leaderboard>::default()));
        Ok(node.run()?)
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
