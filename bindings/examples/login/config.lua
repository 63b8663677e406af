-- Users log in at one service and work at another: snax.loginserver and snax.msgserver. Run it from the root of the repository:
--     skein bindings/examples/login/config.lua
-- A client of its own logs in, works, loses its connection, comes back, and it ends.
thread = 4
harbor = 0
logger = "./login.log"
luaservice = "./bindings/examples/login/?.lua"
login_port = 8879
game_port = 8880
