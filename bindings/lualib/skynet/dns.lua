--- Names to addresses, by asking a DNS server over UDP: no thread is blocked meanwhile.
---
--- A reply counts only if it has the id and the question of a query that waits, so nobody else's datagrams do harm.
local skynet = require "skynet"
local socket = require "skynet.socket"

local dns = {
    --- Names that need no server. May be changed, or set to nil, before the first query.
    DEFAULT_HOSTS = "/etc/hosts",
    --- Where the server is named.
    DEFAULT_RESOLV_CONF = "/etc/resolv.conf",
}

local A <const>, CNAME <const>, AAAA <const> = 1, 5, 28
local INTERNET <const> = 1
--- Hundredths of a second to wait for a reply.
local PATIENCE <const> = 30 * 100
--- Hundredths of a second until a socket that nobody uses is closed.
local IDLE <const> = 60 * 100
--- How many names one can point to another in a message before it is a loop.
local MOST_JUMPS <const> = 32
--- How many answers are remembered.
local MOST_CACHED <const> = 4096

---------------------------------------------------------------------------------------------------------------------------- messages

--- A query in wire form.
local function query_text(id, name, kind)
    local labels = {}
    for label in name:gmatch "[^.]+" do
        labels[#labels + 1] = string.pack("s1", label)
    end
    -- Recursion desired; one question.
    return string.pack(">I2I2I2I2I2I2", id, 0x0100, 1, 0, 0, 0)
        .. table.concat(labels)
        .. string.pack(">BI2I2", 0, kind, INTERNET)
end

--- The name at `at`, and where it ends. Raises if it does not.
local function read_name(text, at)
    local labels, jumps, behind = {}, 0, nil
    while true do
        local size = string.unpack("B", text, at)
        if size == 0 then
            at = at + 1
            break
        elseif size >= 0xc0 then
            -- The rest of the name stands elsewhere.
            local pointer = string.unpack(">I2", text, at) & 0x3fff
            behind = behind or at + 2
            jumps = jumps + 1
            assert(jumps <= MOST_JUMPS, "name without an end")
            at = pointer + 1
        else
            assert(size < 64, "label is too long")
            labels[#labels + 1] = string.unpack("s1", text, at)
            at = at + 1 + size
            assert(#labels < 128, "name is too long")
        end
    end
    return table.concat(labels, "."):lower(), behind or at
end

local function address_text(kind, data)
    if kind == A and #data == 4 then return string.format("%d.%d.%d.%d", data:byte(1, 4)) end
    if kind == AAAA and #data == 16 then
        return string.format("%x:%x:%x:%x:%x:%x:%x:%x", string.unpack(">I2I2I2I2I2I2I2I2", data))
    end
end

--- What a reply says. Raises if it is malformed.
---@return integer id
---@return string name
---@return integer kind
---@return string[] addresses
---@return integer ttl  seconds
local function parse_reply(text)
    local id, flags, questions, answers, at = string.unpack(">I2I2I2I2xxxx", text)
    assert(flags & 0x8000 ~= 0 and questions == 1, "no reply to one question")
    local name, kind
    name, at = read_name(text, at)
    kind, _, at = string.unpack(">I2I2", text, at)
    local addresses, ttl = {}, math.maxinteger
    for _ = 1, answers do
        local _, its_kind, class, its_ttl, data
        _, at = read_name(text, at)
        its_kind, class, its_ttl, data, at = string.unpack(">I2I2I4s2", text, at)
        if class == INTERNET and (its_kind == kind or its_kind == CNAME) then
            ttl = math.min(ttl, its_ttl)
            addresses[#addresses + 1] = address_text(its_kind, data)
        end
    end
    return id, name, kind, addresses, ttl
end

----------------------------------------------------------------------------------------------------------------------------- server

---@type { ip: string, port: integer, fd: integer?, used: integer }?
local server

---@type table<integer, { name: string, kind: integer, addresses: string[]?, ttl: integer? }>
local queries = {}

local function on_reply(text)
    local ok, id, name, kind, addresses, ttl = pcall(parse_reply, text)
    local query = ok and queries[id]
    if not query or query.name ~= name or query.kind ~= kind then return end
    queries[id] = nil
    query.addresses, query.ttl = addresses, ttl
    skynet.wakeup(query)
end

local function log_server(what)
    skynet.error(string.format("Udp server %s %s:%s (%d)", what, server.ip, server.port, server.fd))
end

--- Closes the socket when nobody used it for a while.
local function close_when_idle(of)
    local left = IDLE - (skynet.now() - of.used)
    if of ~= server or not of.fd then return end
    if left > 0 or next(queries) then
        skynet.timeout(math.max(left, 100), function() close_when_idle(of) end)
        return
    end
    log_server "close"
    local fd = of.fd
    of.fd = nil
    socket.close(fd)
end

local function connected()
    local of = assert(server, "Call dns.server first")
    of.used = skynet.now()
    if not of.fd then
        of.fd = socket.udp_dial(of.ip, of.port, on_reply)
        log_server "open"
        skynet.timeout(IDLE, function() close_when_idle(of) end)
    end
    return of.fd
end

--- Whether a text is taken for an address and never asked for: digits and dots, in range or not.
local function is_number(text) return text:find "^[%d.]+$" ~= nil end

local function is_ipv4(text)
    local a, b, c, d = text:match "^(%d+)%.(%d+)%.(%d+)%.(%d+)$"
    if not a then return false end
    for _, part in ipairs { a, b, c, d } do
        if #part > 3 or tonumber(part) > 255 then return false end
    end
    return true
end

local function is_ipv6(text) return text:find "^[%x:]+:[%x:.]*$" ~= nil and text:find(":", text:find ":" + 1, true) ~= nil end

local function server_of_system()
    local path = dns.DEFAULT_RESOLV_CONF
    local file <close> = path and io.open(path) or nil
    for line in file and file:lines() or function() end do
        local ip = line:match "^%s*nameserver%s+(%S+)"
        if ip then return (ip:gsub("%%.*", "")) end
    end
end

--- The server to ask: the one given, or the first of the system's. Where neither is there, only `resolve` raises.
---@param ip string?
---@param port integer?
function dns.server(ip, port)
    ip = ip or server_of_system()
    local before = server
    server = ip and { ip = ip, port = port or 53, used = 0 } or nil
    if before and before.fd then
        local fd = before.fd
        before.fd = nil
        skynet.fork(socket.close, fd)
    end
end

------------------------------------------------------------------------------------------------------------------------------ names

---@type table<string, { [1]: string[], [2]: string[] }>?  addresses of both kinds by name, from the file
local hosts

local function read_hosts()
    hosts = {}
    local path = dns.DEFAULT_HOSTS
    local file <close> = path and io.open(path) or nil
    for line in file and file:lines() or function() end do
        local ip, names = line:gsub("#.*", ""):match "^%s*(%S+)%s+(.+)$"
        local family = ip and (is_ipv4(ip) and A or is_ipv6(ip) and AAAA)
        for name in (family and names or ""):gmatch "%S+" do
            local entry = hosts[name:lower()] or {}
            hosts[name:lower()] = entry
            entry[family] = entry[family] or {}
            table.insert(entry[family], ip)
        end
    end
end

local function is_name(name)
    if #name == 0 or #name > 1024 or name:find "[^a-z0-9_%.%-]" or name:find("..", 1, true) then return false end
    for label in name:gmatch "[^.]+" do
        if #label > 63 then return false end
    end
    return name:find "[^.]" ~= nil
end

---@type table<string, { addresses: string[], expires: integer }>
local cache, cached = {}, 0

local function remember(key, addresses, ttl)
    if not cache[key] then
        -- Names that strangers choose must not fill the memory.
        if cached >= MOST_CACHED then
            cache, cached = {}, 0
        end
        cached = cached + 1
    end
    cache[key] = { addresses = addresses, expires = skynet.now() + math.min(ttl, 1 << 31) * 100 }
end

--- Forgets all answers.
function dns.flush()
    cache, cached = {}, 0
end

local function new_id()
    local id
    repeat
        id = math.random(65535)
    until not queries[id]
    return id
end

--- Asks the server.
---@async
---@return string[]? addresses
---@return integer? ttl
local function ask(name, kind)
    if not server then dns.server() end
    local fd = connected()
    local query = { name = name, kind = kind }
    local id = new_id()
    queries[id] = query
    socket.write(fd, query_text(id, name, kind))
    skynet.sleep(PATIENCE, query)
    if queries[id] == query then
        queries[id] = nil
        skynet.error(string.format("DNS query %s timeout", name))
    end
    return query.addresses, query.ttl
end

--- The address of a name, and all of them.
---@async
---@param name string
---@param ipv6 boolean?
---@return string? ip
---@return string[]|string ips  a text if the name is none
function dns.resolve(name, ipv6)
    name = name:lower()
    if is_number(name) or is_ipv6(name) then return name, { name } end
    -- A dot at the end says that nothing is to be appended, and nothing is.
    name = name:gsub("%.$", "")
    if not is_name(name) then return nil, "illegal name" end
    local kind = ipv6 and AAAA or A
    if not hosts then read_hosts() end
    local known = hosts[name] and hosts[name][kind]
    if known then return known[1], known end
    local key = kind .. name
    local entry = cache[key]
    if entry and entry.expires > skynet.now() then return entry.addresses[1], entry.addresses end
    local addresses, ttl = ask(name, kind)
    if addresses and addresses[1] then
        remember(key, addresses, ttl)
        return addresses[1], addresses
    end
    -- An old answer is better than none.
    if entry then return entry.addresses[1], entry.addresses end
    error "timeout or no answer"
end

return dns
