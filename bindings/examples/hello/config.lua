-- A node of its own that starts `main`. Run it from the root of the repository:
--     skein bindings/examples/hello/config.lua
thread = 2
harbor = 0
luaservice = "./bindings/examples/hello/?.lua"

-- Any key can be read with skynet.getenv.
greeting = "hello"
