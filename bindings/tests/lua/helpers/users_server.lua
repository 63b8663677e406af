-- Users who logged in: their requests are answered in their name.
local skynet = require "skynet"
local msgserver = require "snax.msgserver"

local count = 0
local agent
local gone = {}
-- Few responses are kept, so that a test sees them go.
local server = { expired_number = 8 }

function server.login_handler(uid, secret)
    msgserver.login(msgserver.username(uid, "1", "sample"), secret)
    return "1"
end

function server.logout_handler(username) msgserver.logout(username) end

function server.kick_handler(what) return what == "gone" and table.concat(gone, ",") or count end

function server.disconnect_handler(username) gone[#gone + 1] = (msgserver.userid(username)) end

function server.register_handler() end

function server.request_handler(username, text)
    count = count + 1
    local uid, subid, name = msgserver.userid(username)
    assert(subid == "1" and name == "sample" and msgserver.ip(username):find "^127")
    if text == "raise" then error "raised in a request" end
    if text == "slow" then skynet.sleep(20) end
    if text == "agent" then
        -- The class `client` is msgserver's: nobody registers it here.
        agent = agent or skynet.newservice "users_agent"
        return skynet.tostring(skynet.rawcall(agent, "client", text))
    end
    return uid:upper() .. ":" .. text
end

-- The address that the framework answers with.
local gateserver = require "snax.gateserver"
local start = gateserver.start
function gateserver.start(handler)
    local open = handler.open
    function handler.open(source, conf)
        open(source, conf)
        return conf.address, conf.port
    end
    start(handler)
end

msgserver.start(server)
