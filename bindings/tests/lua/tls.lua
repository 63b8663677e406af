-- TLS without sockets: both sides of a connection in one service, bytes handed over by hand; whom clients believe; misuse.
local skynet = require "skynet"
require "skynet.manager"
local check = require "check"

local ok, why = pcall(require, "ltls.c")
check.ok("before it is enabled", not ok)
check.contains("before it is enabled", why, "ltls need init, Put enablessl = true in you config file.")
require("ltls.init.c").constructor()
package.loaded["ltls.c"] = nil
local ltls = require "ltls.c"

local place = os.tmpname()
os.remove(place)

local function run(command)
    local done = os.execute(("cd %s && %s > log 2>&1"):format(place, command))
    assert(done, "openssl has to be installed for this test")
end

--- A certificate that is its own authority.
local function certificates()
    assert(os.execute("mkdir " .. place))
    local options = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    for _, name in ipairs { "one", "two" } do
        run(
            ("openssl req %s -keyout %s.key -out %s.pem -subj /CN=%s -addext 'subjectAltName=DNS:%s.test,IP:127.0.0.1'"):format(
                options,
                name,
                name,
                name,
                name
            )
        )
    end
end

local function path(name) return place .. "/" .. name end

local function server_context()
    local ctx = ltls.newctx()
    ctx:set_cert(path "one.pem", path "one.key")
    return ctx
end

--- Hands bytes over until both have finished; `size` bytes at a time.
local function shake(client, server, size)
    local function feed(side, bytes)
        local out = {}
        for at = 1, #bytes, size do
            local piece = bytes:sub(at, at + size - 1)
            out[#out + 1] = side:finished() and side:read(piece) or side:handshake(piece) or ""
        end
        return table.concat(out)
    end
    local to_server = client:handshake()
    for _ = 1, 10 do
        local to_client = feed(server, to_server)
        if server:finished() then to_client = to_client .. server:write() end
        to_server = feed(client, to_client)
        if client:finished() then to_server = to_server .. client:write() end
        if client:finished() and server:finished() and to_server == "" then return end
    end
    error "no end of the handshake"
end

local function pair(ctx, host, size)
    local client, server = ltls.newtls("client", ctx, host), ltls.newtls("server", server_context())
    shake(client, server, size or 4096)
    return client, server
end

local function believing()
    local ctx = ltls.newctx()
    ctx:set_verify(false)
    return ctx
end

local function check_bytes()
    for _, size in ipairs { 1, 7, 100000 } do
        local client, server = pair(believing(), "anybody.test", size)
        check.eq("to the server", server:read(client:write "hello"), "hello")
        check.eq("to the client", client:read(server:write "world"), "world")
        local large = ("0123456789"):rep(50000)
        check.ok("large", server:read(client:write(large)) == large)
        local bytes, parts = server:write(large), {}
        for at = 1, #bytes, 1000 do
            parts[#parts + 1] = client:read(bytes:sub(at, at + 999))
        end
        check.ok("large in pieces", table.concat(parts) == large)
        check.eq("nothing", client:read(), "")
        check.raises("twice", "handshake is finished", client.handshake, client)
        client:close()
        client:close()
        check.raises("closed", "context is closed", client.read, client, "x")
        check.raises("closed", "context is closed", client.finished, client)
        check.raises("garbage", "SSL_read error:", server.read, server, ("garbage"):rep(10))
    end
end

local function check_trust()
    local function refused(what, text, ctx, host)
        check.raises(what, text, pair, ctx, host)
    end
    refused("unknown authority", "invalid peer certificate", ltls.newctx(), "one.test")
    local ctx = ltls.newctx()
    ctx:set_authorities(path "two.pem")
    refused("another authority", "SSL_do_handshake error:1 ret:-1", ctx, "one.test")
    -- Nobody's name: as in skynet, nothing is checked.
    pair(ltls.newctx())
    pair(believing(), "one.test")
    local client = ltls.newtls("client", ltls.newctx())
    check.eq("named later", client:set_ext_host_name "one.test", 1)
    check.raises("named later", "invalid peer certificate", shake, client, ltls.newtls("server", server_context()), 4096)
end

local function check_misuse()
    check.raises("method", "invalid method:both e.g[server, client]", ltls.newtls, "both", ltls.newctx())
    check.raises("method", "invalid method:nil e.g[server, client]", ltls.newtls)
    check.raises("context", "need sslctx", ltls.newtls, "client", io.stdout)
    check.raises("context", "need sslctx", ltls.newctx().set_cert, io.stdout, "a", "b")
    check.raises("certificate", "need certfile", ltls.newctx().set_cert, ltls.newctx())
    check.raises("key", "need private key", ltls.newctx().set_cert, ltls.newctx(), path "one.pem")
    check.raises("file", "SSL_CTX_use_certificate_chain_file error:", ltls.newctx().set_cert, ltls.newctx(), "nosuch", "nosuch")
    check.raises("file", "SSL_CTX_use_PrivateKey_file error:", ltls.newctx().set_cert, ltls.newctx(), path "one.pem", "nosuch")
    check.raises("pair", "SSL_CTX_check_private_key error:", ltls.newctx().set_cert, ltls.newctx(), path "one.pem", path "two.key")
    check.raises("ciphers", "need cipher list", ltls.newctx().set_ciphers, ltls.newctx())
    check.raises("authorities", "authorities of", ltls.newctx().set_authorities, ltls.newctx(), path "one.key")
    check.raises("a server without certificate", "has no certificate", ltls.newtls, "server", ltls.newctx())
    check.raises("host", "invalid host name", ltls.newtls, "client", ltls.newctx(), "a b")
    local session = ltls.newtls("client", ltls.newctx())
    check.raises("no session", "need tls context", session.read, io.stdout)
    for _, garbage in ipairs { "GET / HTTP/1.1\r\n\r\n", "\x16\3\1\xff\xff", ("\xff"):rep(100), "\x16\3\1\0\0" } do
        local server = ltls.newtls("server", server_context())
        for _ = 1, 3 do
            pcall(server.handshake, server, garbage)
        end
        check.eq("garbage", server:finished(), false)
    end
    debug.getmetatable(session).__gc(session)
    check.raises("finalized", "context is closed", session.read, session)
end

check.run("tls", function()
    certificates()
    check_bytes()
    check_trust()
    check_misuse()
    os.execute("rm -r " .. place)
end)
