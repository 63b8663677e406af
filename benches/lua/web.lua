--- What does an HTTP request cost the server? Agents read it, answer and close, as skynet's servers do; `wrk` asks over 64 connections, and
--- its CPU time is not ours.
local skynet = require "skynet"
local socket = require "skynet.socket"
local httpd = require "http.httpd"
local sockethelper = require "http.sockethelper"
local bench = require "bench"

if ... == "agent" then
    skynet.start(function()
        skynet.dispatch("lua", function(_, _, fd)
            skynet.ignoreret()
            socket.start(fd)
            local code, _, _, header = httpd.read_request(sockethelper.readfunc(fd), 8192)
            if code then
                httpd.write_response(sockethelper.writefunc(fd), code, header and "hello, world\n")
            end
            socket.close(fd)
        end)
    end)
else
    bench.start(function()
        if not os.execute "command -v wrk > /dev/null" then
            bench.skip("http_hello", "wrk is not installed")
            return
        end
        local agents = {}
        for i = 1, 4 do
            agents[i] = skynet.newservice("web", "agent")
        end
        local id
        local port = bench.port(function(port) id = socket.listen("127.0.0.1", port, 1024) end)
        local turn = 0
        socket.start(id, function(fd)
            turn = turn % #agents + 1
            skynet.send(agents[turn], "lua", fd)
        end)
        --- Lets wrk ask for some seconds; how many requests it made.
        local function ask(seconds)
            local out = os.tmpname()
            os.execute(
                ("wrk -t1 -c64 -d%ds -H 'Connection: close' http://127.0.0.1:%d/ > %s 2>&1 &"):format(
                    seconds,
                    port,
                    out
                )
            )
            local count
            repeat
                skynet.sleep(5)
                local file = assert(io.open(out))
                count = file:read("a"):match "(%d+) requests in"
                file:close()
            until count
            os.remove(out)
            return tonumber(count)
        end
        ask(1)
        local seconds = math.max(1, math.ceil(tonumber(skynet.getenv "bench_seconds") or 1))
        local count
        local wall, cpu = bench.time(function() count = ask(seconds) end)
        bench.cost("http_hello", count, math.min(wall, seconds), cpu)
    end)
end
