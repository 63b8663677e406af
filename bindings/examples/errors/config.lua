-- Every way a call can fail, and what its caller sees. Run it from the root of the repository:
--     skein bindings/examples/errors/config.lua
thread = 4
harbor = 0
luaservice = "./bindings/examples/errors/?.lua"
snax = "./bindings/examples/errors/snax/?.lua"

-- Small, so that one message can be too large for it.
arena_limit = "64M"
