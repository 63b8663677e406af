-- The settings `snax_loader`, which gives a service its file, and `snax_interface_g`, the globals that are there while a client reads it.
--! log: loaded for the service
local skynet = require "skynet"
local snax = require "skynet.snax"
local check = require "check"

check.run("snax_loader", function()
    check.eq("known global", snax.interface("made").response.answer, 5)
    local made = snax.newservice "made"
    check.eq("answer", made.req.answer(), "from the loader 42")
    check.values("name", table.pack(made.req.name()), "made", "./made/made/")
    local ignoring = snax.newservice "alike"
    check.eq("the loader's own environment", ignoring.req.same(), "by another way")
    check.raises("unknown", "cannot open", snax.newservice, "other")
    check.raises("unknown", "call failed", skynet.newservice, "snaxd", "other")
end)
