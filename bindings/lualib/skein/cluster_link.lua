--- The connection of this node to another one: requests go out, responses come back, by session.
---
--- A link is `closed`, `connecting`, `up` or `down`. A request that comes while it is not up waits for the next attempt to connect, and
--- fails with it; several attempts in a row have pauses between them that double. When a connection that was up is lost, everything that
--- was sent on it fails: nobody can know what the other side did, so nothing is ever sent twice. The link connects again by itself.
---
--- A connection that says nothing for a while although it should is asked for a name; when not even that is answered it is lost.
---
--- One link for each service: it takes the messages of sockets, as frames.
local skynet = require "skynet"
local core = require "skynet.cluster.core"
local driver = require "skynet.socketdriver"
local netpack = require "skynet.netpack"
local native = require "skein.cluster"
local new_output = require "skein.cluster_output"

--- What a request is told that was on a connection that is lost. The text is skynet's.
local LOST <const> = "[Error: socket]"
local LATE <const> = "the deadline has passed"
local BROKEN <const> = "Invalid large response"

--- A message of so many bytes goes in parts.
local LARGE <const> = 0x8000

--- Times in 1/100 s.
local CONNECT_PATIENCE <const> = 500
local FIRST_PAUSE <const> = 10
local LONGEST_PAUSE <const> = 200
--- A connection that is silent for so long although it should not is lost; after half of it, it is asked.
local PATIENCE <const> = (tonumber(skynet.getenv "cluster_silence") or 30) * 100 // 1 | 0
local SILENCE <const> = PATIENCE // 2
local LOOK_EVERY <const> = math.max(PATIENCE // 6, 1)

---@class skein.cluster.Request
---@field answer fun(ok: boolean, message: string|lightuserdata?, size: integer?)
---@field since integer
---@field large skein.cluster.Assembly?  of a large response
---@field unit skein.cluster.Unit?  may still be cancelled

---@class skein.cluster.Entry
---@field source integer
---@field session integer?  of a request
---@field frame string
---@field message lightuserdata?  of a large one
---@field size integer?

---@class skein.cluster.Link
---@field host string?
---@field port integer?
---@field state "closed"|"connecting"|"up"|"down"
---@field fd integer?
---@field output skein.cluster.Output?
---@field waiting table<integer, skein.cluster.Request>
---@field late table<integer, true>  sessions that are answered too late
---@field backlog skein.cluster.Entry[]  what waits for a connection
---@field session integer  the next one
local link = {
    state = "closed",
    waiting = {},
    late = {},
    backlog = {},
    session = 1,
}

--- Who waits for the end of an attempt to connect.
local spectators = {}
local attempts_failed = 0
local last_failure = -LONGEST_PAUSE
--- Since when this connection is up, and whether a response ever came over it. One that ends at once is as good as none.
local up_since, proven = 0, false
--- The task that connects, and what it waits for.
local connecting = false
local token = {}
local outcome
--- Grows with each change of the address.
local generation = 0
--- When something came, or went out, on this connection.
local last_sign = 0

link.stats = {
    requests = 0,
    pushes = 0,
    failed = 0,
    late = 0,
    lost_pushes = 0,
    connects = 0,
    drops = 0,
    bytes_out = 0,
    bytes_in = 0,
    round_trip = 0,
}
local stats = link.stats

local function finish(session, ok, ...)
    local request = link.waiting[session]
    link.waiting[session] = nil
    if not ok then stats.failed = stats.failed + 1 end
    request.answer(ok, ...)
end

--- Lets go of the message of what will not be sent.
local function forget(entry)
    if entry.message then skynet.trash(entry.message, entry.size) end
end

local function fail_all(why)
    local waiting, backlog = link.waiting, link.backlog
    link.waiting, link.late, link.backlog = {}, {}, {}
    for _, entry in ipairs(backlog) do
        forget(entry)
        if not waiting[entry.session] then stats.lost_pushes = stats.lost_pushes + 1 end
    end
    for _, request in pairs(waiting) do
        stats.failed = stats.failed + 1
        request.answer(false, why)
    end
end

---------------------------------------------------------------------------------------------------------------------- responses

--- What a unit of a response holds: 0 a text, 1 a whole one, 2 how large one is, 3 and 4 a part and the last one.
local WHOLE <const>, BEGIN <const>, PART <const>, END <const> = 1, 2, 3, 4

--- Takes a unit of a response, a block with its size, or what `kind` says. False: it is none.
---@param session integer?
---@param kind integer
---@param data string|lightuserdata|integer
---@param size integer?
---@return boolean
local function take(session, kind, data, size)
    if not session then return false end
    proven = true
    local request = link.waiting[session]
    if not request then
        if size then skynet.trash(data, size) end
        if not link.late[session] then
            skynet.error("socket: unknown session :", session)
        elseif kind ~= BEGIN and kind ~= PART then
            link.late[session] = nil
        end
        return true
    end
    local large = request.large
    if kind == BEGIN then
        request.large = native.assembly(data)
    elseif kind == PART or kind == END and large then
        if not large then
            -- It was not announced, and will not be whole.
            large = native.assembly(0)
            request.large = large
        end
        if size then native.add(large, data, size) end
        if kind == END then
            local message, length = native.finish(large)
            finish(session, message ~= nil, message or BROKEN, length)
        end
    else
        stats.round_trip = skynet.now() - request.since
        finish(session, kind == WHOLE or kind == END, data, size)
    end
    return true
end

---------------------------------------------------------------------------------------------------------------------- connecting

local connect

--- The end of the connection.
local function drop(why)
    local fd = link.fd
    link.output:clear()
    link.fd, link.output = nil, nil
    link.state = "down"
    stats.drops = stats.drops + 1
    stats.problem = why
    last_failure = skynet.now()
    local good = proven or last_failure - up_since >= LONGEST_PAUSE
    attempts_failed = good and 0 or attempts_failed + 1
    driver.close(fd)
    fail_all(LOST)
    connect()
end

--- Gives what waits to the connection.
local function submit(entry)
    local output = link.output
    if not output then
        -- It was lost while others of the backlog were sent.
        table.insert(link.backlog, entry)
        return
    end
    local unit
    if entry.message then
        unit = output:large(entry.source, entry.frame, entry.message, entry.size, entry.session, false)
    else
        unit = output:send(entry.source, entry.frame)
    end
    if output.refused then return drop "the socket takes nothing any more" end
    local request = link.waiting[entry.session]
    if request then request.unit = unit end
end

--- Watches a connection as long as it is this one.
---@async
local function watch(fd)
    local before = 0
    local asked = false
    while true do
        skynet.sleep(LOOK_EVERY)
        if link.fd ~= fd then return end
        local left = native.queued(fd) or 0
        if left ~= before then last_sign = skynet.now() end
        before = left
        local silent = skynet.now() - last_sign
        if left == 0 and next(link.waiting) == nil then
            last_sign = skynet.now()
            asked = false
        elseif silent >= PATIENCE then
            return drop(string.format("no answer for %d seconds", silent // 100))
        elseif silent < SILENCE then
            asked = false
        elseif not asked then
            asked = true
            -- A name that nobody has: any node answers that at once.
            link.request(0, 0, nil, skynet.pack "?")
        end
    end
end

--- One attempt. Returns why it failed.
---@async
---@return string?
local function attempt()
    local ok, fd = pcall(driver.connect, link.host, link.port)
    if not ok then return tostring(fd) end
    if fd < 0 then return "reach skynet socket number limit" end
    link.fd, outcome = fd, nil
    local until_then, mine = skynet.now() + CONNECT_PATIENCE, generation
    while outcome == nil and generation == mine and skynet.now() < until_then do
        skynet.sleep(until_then - skynet.now(), token)
    end
    if outcome == true then return nil end
    link.fd = nil
    driver.shutdown(fd)
    return outcome or "no answer"
end

local function tell(ok, why)
    local all = spectators
    spectators = {}
    for _, spectator in ipairs(all) do
        spectator.ok, spectator.why = ok, why
        skynet.wakeup(spectator)
    end
end

--- Connects. After a failure it goes on only if there was a connection before, or somebody waits.
---@async
local function connect_now()
    while link.state ~= "closed" and link.state ~= "up" do
        if attempts_failed > 0 then
            local pause = math.min(FIRST_PAUSE << math.min(attempts_failed - 1, 10), LONGEST_PAUSE)
            pause = last_failure + pause - skynet.now()
            if pause > 0 then skynet.sleep(pause, token) end
            if link.state == "closed" then break end
        end
        link.state = "connecting"
        local mine = generation
        local why = attempt()
        if generation ~= mine then
            -- It goes somewhere else now, or nowhere.
            if link.fd then driver.close(link.fd) end
            link.fd = nil
        elseif why then
            attempts_failed = attempts_failed + 1
            last_failure = skynet.now()
            link.state = "down"
            stats.problem = why
            if attempts_failed == 1 or not link.known then
                skynet.error("Connect failed", why, link.host, link.port)
            end
            fail_all(LOST)
            tell(false, why)
            if not link.known then break end
        else
            up_since, proven = skynet.now(), false
            link.known = true
            link.state = "up"
            link.output = new_output(link.fd)
            driver.nodelay(link.fd)
            stats.connects = stats.connects + 1
            last_sign = up_since
            skynet.fork(watch, link.fd)
            local backlog = link.backlog
            link.backlog = {}
            for _, entry in ipairs(backlog) do
                submit(entry)
            end
            tell(true)
        end
    end
    connecting = false
end

function connect()
    if not connecting then
        connecting = true
        skynet.fork(connect_now)
    end
end

--------------------------------------------------------------------------------------------------------------------------- events

---@type skynet.netpack.Queue?
local queue
local event = {}

function event.init(fd)
    if fd == link.fd and link.state == "connecting" then
        outcome = true
        skynet.wakeup(token)
    end
end

function event.data(fd, packet, size)
    if fd ~= link.fd then
        skynet.trash(packet, size)
        return
    end
    last_sign = skynet.now()
    stats.bytes_in = stats.bytes_in + size + 2
    if not take(native.response(packet, size)) then drop "what came is no response" end
end

function event.more()
    for fd, packet, size in netpack.pop, queue do
        event.data(fd, packet, size)
    end
end

local function ended(fd, why)
    if fd ~= link.fd then
        driver.close(fd)
    elseif link.state == "up" then
        drop(why)
    else
        outcome = why
        skynet.wakeup(token)
    end
end

function event.close(fd) ended(fd, "closed by the other side") end

function event.error(fd, text)
    driver.shutdown(fd)
    ended(fd, text)
end

function event.warning(fd, kib)
    if fd ~= link.fd or link.state ~= "up" then return end
    if kib == 0 then
        last_sign = skynet.now()
        link.output:pump()
        if link.output.refused then drop "the socket takes nothing any more" end
    elseif kib > 1024 then
        skynet.error(string.format("WARNING: %d K bytes need to send out (fd = %d %s)", kib, fd, link.host))
    end
end

skynet.register_protocol {
    name = "socket",
    id = skynet.PTYPE_SOCKET,
    unpack = function(message, size) return netpack.filter(queue, message, size) end,
    dispatch = function(_, _, its_queue, kind, ...)
        queue = its_queue
        if kind then event[kind](...) end
    end,
}

------------------------------------------------------------------------------------------------------------------- for the service

local function ignore() end

--- Sends, or keeps until there is a connection.
local function go(entry)
    stats.bytes_out = stats.bytes_out + #entry.frame + (entry.size or 0)
    if link.state == "up" then
        submit(entry)
    else
        table.insert(link.backlog, entry)
        connect()
    end
end

--- The frame of a request; with the message and its size if that is to follow in parts. Takes a small message, and any when it raises.
---@return string frame
---@return integer next_session
---@return lightuserdata?
---@return integer?
local function pack(address, message, size, push)
    local session = link.session
    local frame
    if size < LARGE then
        local make = push and core.packpush or core.packrequest
        frame, link.session = make(address, session, message, size)
        -- Only the parts of a large push need a session.
        if push then link.session = session end
        return frame, link.session
    end
    local ok
    ok, frame = pcall(native.announce, address, session, size, push)
    if not ok then
        skynet.trash(message, size)
        error(frame, 0)
    end
    link.session = session == 0x7fffffff and 1 or session + 1
    return frame, link.session, message, size
end

--- Sends a request. `answer` is called once: with the response, or with false and why there is none. Takes the message, also when it raises.
---@param source integer  whose order it belongs to
---@param address integer|string
---@param answer fun(ok: boolean, message: string|lightuserdata?, size: integer?)?
---@param message lightuserdata
---@param size integer
---@param ti integer?  it waits at most so long, in 1/100 s
---@param tag (fun(session: integer): string?)?  the trace tag to send in front
function link.request(source, address, answer, message, size, ti, tag)
    if link.state == "closed" then
        skynet.trash(message, size)
        if answer then answer(false, "the link is closed") end
        return
    end
    local session = link.session
    local frame, after, rest, length = pack(address, message, size, false)
    if tag then frame = core.packtrace(tag(after)) .. frame end
    local request = { answer = answer or ignore, since = skynet.now() }
    link.waiting[session] = request
    if answer then stats.requests = stats.requests + 1 end
    if ti then
        skynet.timeout(ti, function()
            if link.waiting[session] ~= request then return end
            if request.unit and not request.unit.begun then
                request.unit.cancelled = true
            elseif link.state == "up" then
                link.late[session] = true
            end
            for at, entry in ipairs(link.backlog) do
                if entry.session == session then
                    forget(entry)
                    table.remove(link.backlog, at)
                    break
                end
            end
            stats.late = stats.late + 1
            finish(session, false, LATE)
        end)
    end
    go { source = source, session = session, frame = frame, message = rest, size = length }
end

--- Sends what nobody waits for. Takes the message, also when it raises.
---@param source integer
---@param address integer|string
---@param message lightuserdata
---@param size integer
function link.push(source, address, message, size)
    if link.state == "closed" then
        skynet.trash(message, size)
        stats.lost_pushes = stats.lost_pushes + 1
        return
    end
    local session = link.session
    local frame, _, rest, length = pack(address, message, size, true)
    stats.pushes = stats.pushes + 1
    go { source = source, session = rest and session, frame = frame, message = rest, size = length }
end

--- Goes to another address from now on, or to none; returns when there is a connection, or why there is none.
---@async
---@param host string|false
---@param port integer?
---@return boolean ok
---@return string? why
function link.change(host, port)
    local same = host == link.host and port == link.port and link.state ~= "closed"
    if same and link.state == "up" then return true end
    if not same then
        local was_up = link.state == "up"
        link.host, link.port, link.known = host or link.host, port, nil
        attempts_failed = 0
        generation = generation + 1
        link.state = host and "down" or "closed"
        if was_up then
            local fd = link.fd
            link.output:clear()
            link.fd, link.output = nil, nil
            stats.drops = stats.drops + 1
            driver.close(fd)
            fail_all(LOST)
        end
        -- An attempt that is under way ends.
        skynet.wakeup(token)
        if not host then
            fail_all(LOST)
            tell(false, "the link is closed")
            return true
        end
    end
    local spectator = {}
    table.insert(spectators, spectator)
    connect()
    skynet.wait(spectator)
    return spectator.ok, spectator.why
end

--- How the link is.
---@return table
function link.report()
    local now, count, oldest = skynet.now(), 0, 0
    for _, request in pairs(link.waiting) do
        count = count + 1
        oldest = math.max(oldest, now - request.since)
    end
    local report = { state = link.state, host = link.host, port = link.port, waiting = count, oldest = oldest }
    report.queued = link.fd and native.queued(link.fd) or 0
    for name, value in pairs(stats) do
        report[name] = value
    end
    return report
end

return link
