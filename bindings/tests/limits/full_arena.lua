-- Fills the arena with messages for a service that cannot run meanwhile (there is one worker), then lets it drain.
local skynet = require "skynet"
require "skynet.manager"

skynet.start(function()
    local sink = skynet.newservice "sink"
    local fired = false
    skynet.timeout(1, function()
        fired = true
        print "the timer fired"
    end)

    local body = string.rep("x", 1000)
    local sent, problem = 0, nil
    while not problem do
        local ok, err = pcall(skynet.send, sink, "lua", "put", sent + 1, body)
        if ok then
            sent = sent + 1
        else
            problem = err
        end
        assert(sent < 100000, "the limit was never reached")
    end
    assert(type(problem) == "string", "an error object that is no string")
    if problem:find("arena_limit", 1, true) then
        print "refused with an error that names arena_limit"
    else
        print("unexpected error: " .. problem)
    end

    -- Sleeping needs an envelope for its timer: these are kept back for such a moment.
    skynet.sleep(10)
    while skynet.stat "mqlen" > 0 do
        skynet.sleep(1)
    end
    assert(fired, "the timer that was set before did not fire")
    print "drained"
    local received, in_order = skynet.call(sink, "lua", "sum")
    assert(received == sent and in_order, "what was accepted was delivered")
    print "a call works again"
    skynet.abort()
end)
