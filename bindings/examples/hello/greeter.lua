-- A service with a table of commands, which is how most services look.
local skynet = require "skynet"

-- Arguments of newservice, as texts.
local word = ...

local polite = false

local CMD = {}

function CMD.greet(name) return string.format(polite and "%s, dear %s!" or "%s %s", word, name) end

function CMD.polite(on) polite = on end

function CMD.slowly(ti, what)
    skynet.sleep(ti) -- other requests are served meanwhile
    return what
end

function CMD.leave()
    skynet.error "goodbye"
    skynet.exit()
end

skynet.start(function()
    skynet.dispatch("lua", function(session, _, name, ...)
        local handler = assert(CMD[name], "no such command: " .. name)
        if session == 0 then
            handler(...) -- a send: nobody waits for an answer
        else
            skynet.retpack(handler(...))
        end
    end)
end)
