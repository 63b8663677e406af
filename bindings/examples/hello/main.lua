-- The service the config starts: calls another service in the ways there are.
local skynet = require "skynet"
require "skynet.manager" -- for abort

skynet.start(function()
    -- A second service; it is ready when newservice returns.
    local greeter = skynet.newservice("greeter", skynet.getenv "greeting")

    -- A call suspends this task, and no thread, until the answer is there.
    skynet.error(skynet.call(greeter, "lua", "greet", "world"))

    -- A send waits for nothing. Messages from one service to another keep their order.
    skynet.send(greeter, "lua", "polite", true)
    skynet.error(skynet.call(greeter, "lua", "greet", "world"))

    -- What goes wrong there is an error here; what exactly, is in the log.
    local ok = pcall(skynet.call, greeter, "lua", "sing")
    skynet.error("can it sing?", ok)

    -- Tasks run side by side in one service, one at a time.
    local done = 0
    for i = 1, 3 do
        skynet.fork(function()
            skynet.sleep(i * 10) -- hundredths of a second
            skynet.error("task", i, "slept", i * 100, "ms")
            done = done + 1
            skynet.wakeup "all tasks"
        end)
    end
    while done < 3 do
        skynet.wait "all tasks"
    end

    -- Several calls at once, answers as they come.
    for request, answer in
        skynet
            .request({ greeter, "lua", "slowly", 20, "second" })({ greeter, "lua", "slowly", 5, "first" })
            :select()
    do
        skynet.error("asked for", request[4], "got", answer[1])
    end

    skynet.send(greeter, "lua", "leave")
    skynet.sleep(10)
    skynet.abort() -- the process ends when no service is left
end)
