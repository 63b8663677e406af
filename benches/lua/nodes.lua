--- What does a call to another node cost? The node calls itself over loopback: both ends are paid by one process.
local skynet = require "skynet"
local cluster = require "skynet.cluster"
local bench = require "bench"

if ... == "echo" then
    bench.echo()
else
    bench.start(function()
        cluster.reload { __nowaiting = true }
        local port = bench.port(function(port) cluster.open(port) end)
        cluster.reload { here = "127.0.0.1:" .. port }
        cluster.register("echo", skynet.newservice(SERVICE_NAME, "echo"))
        local function calls(name, size, tasks)
            local text = ("x"):rep(size)
            local function call(n)
                for _ = 1, n do
                    assert(#cluster.call("here", "@echo", text) == size)
                end
            end
            bench.measure(name, tasks, function(n)
                if tasks == 1 then return call(n) end
                bench.together(tasks, function() call(n // tasks) end)
            end)
        end
        calls("node_call", 64, 1)
        calls("node_calls_64", 64, 64)
        calls("node_call_32k", 32000, 1)
        calls("node_call_256k", 256 << 10, 1)
        calls("node_calls_256k_8", 256 << 10, 8)
        local me = skynet.self()
        local gather = bench.gather()
        bench.measure("node_send", 512, function(n)
            for _ = 1, n // 512 do
                gather(512, function()
                    for _ = 1, 512 do
                        cluster.send("here", me, "x")
                    end
                end)
            end
        end)
    end)
end
