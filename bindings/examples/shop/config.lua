-- A shop whose stock lies in Redis. It needs a server: redis-server. Run it from the root of the repository:
--     skein bindings/examples/shop/config.lua
thread = 2
harbor = 0
luaservice = "./bindings/examples/shop/?.lua"

redis_port = 6379
