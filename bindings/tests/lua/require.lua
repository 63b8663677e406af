-- Modules and what they want done first: conformance N13, N14, lua-api §5.
local skynet = require "skynet"
local check = require "check"
local mod_main = require "mod_main"

local in_main = mod_main.ready

check.run("require", function()
    check.eq("main chunk: later", in_main, nil)
    check.eq("main chunk: before start", mod_main.ready, true)
    -- N13
    check.raises("N13", "bad argument #1 to 'insert' (table expected, got nil)", skynet.init, function() end)
    check.raises("init wants a function", "assertion failed!", skynet.init, 1)
    -- N14
    local M = require "mod_init"
    check.eq("N14", table.concat(M.steps, " "), "first second")
    check.eq("N14 name", M.args[1], "mod_init")
    check.contains("N14 file", M.args[2], "mod_init.lua")
    check.eq("again", require "mod_init", M)
    check.eq("nested", table.concat(require "mod_nested", ", "), "inner ready: true, outer")
    check.eq("nothing is true", require "mod_nothing", true)
    check.raises("missing", "module 'no.such.module' not found:", require, "no.such.module")
    check.raises("syntax", "mod_syntax", require, "mod_syntax")
    check.raises("circular", "circular dependency", require, "mod_circular")
    check.eq("native", type(require "skynet.core"), "table")
    -- Two at once: the second waits.
    local seen = {}
    local me = coroutine.running()
    for i = 1, 2 do
        skynet.fork(function()
            local ok, err = pcall(require, "mod_fails")
            seen[i] = not ok and err
            if #seen == 2 then skynet.wakeup(me) end
        end)
    end
    skynet.wait(me)
    check.contains("fails", seen[1], "mod fails")
    check.contains("fails", seen[1], "stack traceback:")
    check.contains("fails for the other", seen[2], "require mod_fails failed")
end)
