-- Read by the program in main.rs, which brings a service in Rust:
--     cargo run --release -p skein --example leaderboard
thread = 2
harbor = 0
luaservice = "./bindings/examples/leaderboard/?.lua"
