-- A game world on one node. Run it from the root of the repository:
--     skein bindings/examples/world/config.lua
-- It ends by itself. What the services log is in world.log, so that the terminal shows the world alone.
thread = 4
harbor = 0
logger = "./world.log"
luaservice = "./bindings/examples/world/?.lua"
lua_path = "./bindings/examples/world/?.lua"

-- How long it runs; the environment's WORLD_SECONDS and WORLD_AGENTS win.
world_seconds = 5
world_agents = 240
