-- A chat: gate, watchdog, an agent for each client, a room. Run it from the root of the repository:
--     skein bindings/examples/chat/config.lua
-- Three robots talk for a moment, and it ends. With CHAT_SERVE=1 it serves until it is told to stop; then, in other terminals:
--     skein bindings/examples/chat/client.config.lua
thread = 4
harbor = 0
logger = "./chat.log"
luaservice = "./bindings/examples/chat/?.lua"
chat_port = 8877
