--- The first Lua service: brings up the system services in their order, then the application, and leaves.
local skynet = require "skynet"
require "skynet.manager"

--- Starts a service the node cannot be without.
---@async
---@param name string
---@return integer handle
local function start_or_abort(name)
    local ok, handle = pcall(skynet.newservice, name)
    if not ok or not handle then
        skynet.abort()
        skynet.exit()
    end
    return handle
end

skynet.start(function()
    local standalone = skynet.getenv "standalone"

    local launcher = assert(skynet.launch("snlua", "launcher"))
    skynet.name(".launcher", launcher)

    local harbor_id = tonumber(skynet.getenv "harbor" or 0)
    if harbor_id == 0 then
        assert(standalone == nil)
        standalone = "true"
        skynet.setenv("standalone", standalone)
        skynet.name(".cslave", start_or_abort "cdummy")
    else
        if standalone then start_or_abort "cmaster" end
        skynet.name(".cslave", start_or_abort "cslave")
    end

    if standalone then skynet.name("DATACENTER", skynet.newservice "datacenterd") end
    skynet.newservice "service_mgr"

    if skynet.getenv "enablessl" == "true" then
        local service = require "skynet.service"
        service.new("ltls_holder", function()
            -- Keeps the TLS library initialised as long as the process lives.
            local constructor = require "ltls.init.c"
            constructor.constructor()
        end)
    end

    -- A failure is in the log already; the node stays up for whoever looks into it.
    pcall(skynet.newservice, skynet.getenv "start" or "main")
    skynet.exit()
end)
