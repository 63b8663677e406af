-- Names over UDP: a server of our own that also lies, the hosts file, the cache.
--! log: Udp server open 127.0.0.1:
local skynet = require "skynet"
require "skynet.manager"
local check = require "check"
local socket = require "skynet.socket"
local dns = require "skynet.dns"

local asked = {}
local server

local function name_text(name)
    local out = {}
    for label in name:gmatch "[^.]+" do
        out[#out + 1] = string.pack("s1", label)
    end
    return table.concat(out) .. "\0"
end

local function record(kind, ttl, data) return "\xc0\x0c" .. string.pack(">I2I2I4s2", kind, 1, ttl, data) end

local answers = {
    ["one.test"] = function() return { record(1, 60, "\1\2\3\4") } end,
    ["two.test"] = function()
        return { record(5, 60, name_text "other.test"), record(1, 60, "\10\0\0\1"), record(1, 60, "\10\0\0\2") }
    end,
    ["short.test"] = function() return { record(1, 0, "\9\9\9\9") } end,
    ["six.test"] = function() return { record(28, 60, ("\0"):rep(15) .. "\1") } end,
    ["none.test"] = function() return {} end,
}

local function on_query(data, from)
    local id = string.unpack(">I2", data)
    local labels, at = {}, 13
    while data:byte(at) ~= 0 do
        labels[#labels + 1] = string.unpack("s1", data, at)
        at = at + 1 + #labels[#labels]
    end
    local name = table.concat(labels, ".")
    asked[#asked + 1] = name
    local question = data:sub(13, at + 4)
    local function reply(its_id, its_question, records)
        local head = string.pack(">I2I2I2I2I2I2", its_id, 0x8180, 1, #records, 0, 0)
        socket.sendto(server, from, head .. its_question .. table.concat(records))
    end
    local records = answers[name]()
    -- What nobody asked for, and what is broken, does no harm.
    reply(id ~ 1, question, { record(1, 60, "\6\6\6\6") })
    reply(id, name_text "evil.test" .. "\0\1\0\1", { record(1, 60, "\6\6\6\6") })
    for _, broken in ipairs { "", "x", data:sub(1, 5), string.pack(">I2I2I2I2I2I2", id, 0x8180, 1, 60000, 0, 0) .. question } do
        socket.sendto(server, from, broken)
    end
    socket.sendto(server, from, string.pack(">I2I2I2I2I2I2", id, 0x8180, 1, 1, 0, 0) .. "\xc0\x0c\0\1\0\1")
    reply(id, question, records)
end

check.run("dns", function()
    local port
    for try = 20053, 20100 do
        local ok, id = pcall(socket.udp_listen, "127.0.0.1", try, on_query)
        if ok then
            server, port = id, try
            break
        end
    end
    local hosts = os.tmpname()
    local file = assert(io.open(hosts, "w"))
    file:write "# comment\n127.0.0.9\tlocal.test Alias.Test # more\n::9 local.test\n"
    file:close()
    dns.DEFAULT_HOSTS = hosts
    dns.server("127.0.0.1", port)

    check.eq("name", (dns.resolve "one.test"), "1.2.3.4")
    check.eq("cached", (dns.resolve "ONE.test"), "1.2.3.4")
    check.eq("asked once", #asked, 1)
    dns.flush()
    check.eq("flushed", (dns.resolve "one.test"), "1.2.3.4")
    check.eq("asked again", #asked, 2)
    local ip, ips = dns.resolve "two.test"
    check.eq("first", ip, "10.0.0.1")
    check.eq("all", table.concat(ips, ","), "10.0.0.1,10.0.0.2")
    check.eq("v6", (dns.resolve("six.test", true)), "0:0:0:0:0:0:0:1")
    check.eq("hosts", (dns.resolve "local.test"), "127.0.0.9")
    check.eq("alias", (dns.resolve "alias.test"), "127.0.0.9")
    check.eq("hosts v6", (dns.resolve("local.test", true)), "::9")
    check.eq("address", (dns.resolve "8.8.8.8"), "8.8.8.8")
    check.eq("address v6", (dns.resolve "fe80::1"), "fe80::1")
    for _, bad in ipairs { "", "a b", "a..b", ("x"):rep(64) .. ".test", ("x."):rep(600), "a\0b" } do
        check.values("illegal", table.pack(dns.resolve(bad)), nil, "illegal name")
    end
    -- What looks like an address is nobody's name, even where it is none: no server is asked for 30 s.
    for _, number in ipairs { "1.2.3", "256.1.1.1" } do
        check.eq("number", (dns.resolve(number)), number)
    end
    check.raises("no record", "timeout or no answer", dns.resolve, "none.test")
    check.eq("short", (dns.resolve "short.test"), "9.9.9.9")
    answers["short.test"] = answers["none.test"]
    check.eq("an old answer", (dns.resolve "short.test"), "9.9.9.9")
    os.remove(hosts)
    -- A system that names no server: only asking one fails.
    dns.DEFAULT_RESOLV_CONF = nil
    check.values("no server", table.pack(dns.server()))
    check.raises("no server", "Call dns.server first", dns.resolve, "other.test")
end)
