-- Serves requests, and pictures of the world to those who upgraded.
local skynet = require "skynet"
local socket = require "skynet.socket"
local httpd = require "http.httpd"
local url = require "http.url"
local websocket = require "http.websocket"
local sockethelper = require "http.sockethelper"

local world = tonumber((...))

--- Longest body of a request. There is nothing to send us.
local BODY_LIMIT <const> = 1024
--- Seconds a client has for its request.
local PATIENCE <const> = 10

local function file(name)
    local opened <close> = assert(io.open(skynet.getenv "web_root" .. "/" .. name))
    return opened:read "a"
end

local page

--- Clients that watch.
---@type table<integer, true>
local watchers = {}

local handle = {}

function handle.connect(id)
    if not next(watchers) then skynet.send(world, "lua", "subscribe") end
    watchers[id] = true
end

local function forget(id)
    watchers[id] = nil
    if not next(watchers) then skynet.send(world, "lua", "unsubscribe") end
end

handle.close = forget
handle.error = forget

-- Nothing is expected of a watcher.
function handle.message() end

function handle.warning(side)
    -- Somebody who does not read: closed before pictures fill the memory.
    socket.shutdown(side.fd)
end

local function answer(path)
    if path == "/" then
        page = page or file "page.html"
        return 200, page, { ["content-type"] = "text/html; charset=utf-8" }
    elseif path == "/population" then
        return 200, tostring(skynet.call(world, "lua", "population")), { ["content-type"] = "text/plain" }
    end
    return 404, "there is no such page\n", { ["content-type"] = "text/plain" }
end

local command = {}

function command.serve(fd, addr)
    if not socket.start(fd) then return end
    local done = false
    skynet.timeout(PATIENCE * 100, function()
        if not done then socket.shutdown(fd) end
    end)
    local read, write = sockethelper.readfunc(fd), sockethelper.writefunc(fd)
    local code, where, method, header = httpd.read_request(read, BODY_LIMIT)
    done = true
    if code == 200 and url.parse(where) == "/live" then
        local ok, err =
            websocket.accept(fd, handle, "ws", addr, { upgrade = { header = header, method = method, url = where } })
        if watchers[fd] then forget(fd) end
        if not ok then skynet.error(err) end
        return
    elseif code == 200 then
        httpd.write_response(write, answer(url.parse(where)))
    elseif code then
        httpd.write_response(write, code)
    end
    socket.close(fd)
end

function command.picture(text)
    for id in pairs(watchers) do
        -- One that has just gone is forgotten by its own task.
        pcall(websocket.write, id, text)
    end
end

skynet.start(function()
    skynet.dispatch("lua", function(_, _, what, ...)
        skynet.ignoreret()
        command[what](...)
    end)
end)
