-- A service with a directory of its own: conformance L11.
local skynet = require "skynet"
local sibling = require "sibling"

skynet.start(function()
    skynet.dispatch(
        "lua",
        function() skynet.retpack(sibling.name, SERVICE_PATH, package.path:match "^[^;]*") end
    )
end)
