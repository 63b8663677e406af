-- A page that shows a live world: HTTP and WebSocket on one port. Run it from the root of the repository:
--     skein bindings/examples/web/config.lua
-- It looks at itself for a moment, and ends. With WEB_SERVE=1 it serves until it is told to stop: open http://127.0.0.1:8878/
thread = 4
harbor = 0
logger = "./web.log"
luaservice = "./bindings/examples/web/?.lua"
web_port = 8878
web_root = "./bindings/examples/web"
