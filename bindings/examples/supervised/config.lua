-- Deadlines, bounds, a supervisor, and an orderly end. Run it from the root of the repository:
--     skein bindings/examples/supervised/config.lua
thread = 4
harbor = 0
luaservice = "./bindings/examples/supervised/?.lua"

-- Seconds that hooks and drain may take.
stop_deadline = 20
