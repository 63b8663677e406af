-- Methods of authentication that MariaDB does not have, against a server written for this: caching_sha2_password, when the server knows
-- the password and when it wants all of it, and a change of methods. It checks what comes as MySQL's documentation says; what was
-- encrypted for it is decrypted by openssl.
local skynet = require "skynet"
require "skynet.manager"
local check = require "check"
local socket = require "skynet.socket"
local crypt = require "skein.crypt"
local skynet_crypt = require "skynet.crypt"
local mysql = require "skynet.db.mysql"

local PASSWORD <const> = "a pass \xc3\xa4 word"
local CHALLENGE <const> = "abcdefgh0123456789AB"
local SECOND <const> = "another challenge 20"

local function xor(a, b)
    local out = {}
    for i = 1, #a do
        out[i] = string.char(a:byte(i) ~ b:byte((i - 1) % #b + 1))
    end
    return table.concat(out)
end

local function run(command)
    local pipe <close> = assert(io.popen(command))
    return pipe:read "a"
end

--- A packet, and its number; nothing at the end of the stream.
local function receive(fd)
    local head = socket.read(fd, 4)
    if not head then return nil end
    local size, number = string.unpack("<I3B", head)
    return socket.read(fd, size), number
end

local function send(fd, payload, number) socket.write(fd, string.pack("<I3B", #payload, number) .. payload) end

local OK <const> = "\0\0\0\2\0\0\0"

local function refuse(fd, number) send(fd, "\xff" .. string.pack("<I2", 1045) .. "#28000Access denied", number) end

--- Whether an answer shows the password, as a server knows that has only the digest of its digest.
local function knows_sha2(answer, challenge)
    local stored = crypt.sha256(crypt.sha256(PASSWORD))
    return #answer == 32 and crypt.sha256(xor(answer, crypt.sha256(stored .. challenge))) == stored
end

local function knows_native(answer, challenge)
    local stored = skynet_crypt.sha1(skynet_crypt.sha1(PASSWORD))
    return #answer == 20 and skynet_crypt.sha1(xor(answer, skynet_crypt.sha1(challenge .. stored))) == stored
end

--- The parts of a client's first packet.
local function parse(hello)
    local capabilities, most, charset, at = string.unpack("<I4I4B", hello)
    local user, answer, database, method
    user, answer, database, method = string.unpack("<zs1zz", hello, at + 23)
    return { capabilities = capabilities, most = most, charset = charset, user = user, answer = answer, database = database, method = method }
end

--- Asks for the password itself, and says yes if it is right.
local function full(fd, number, challenge)
    send(fd, "\1\4", number)
    local asked
    asked, number = receive(fd)
    check.eq("asks for the key", asked, "\2")
    local pem = run "openssl pkey -in rsa.pem -pubout"
    send(fd, "\1" .. pem, number + 1)
    local sealed
    sealed, number = receive(fd)
    check.eq("as long as the key", #sealed, 256)
    local file = assert(io.open("sealed", "wb"))
    file:write(sealed)
    file:close()
    local opened = run "openssl pkeyutl -decrypt -inkey rsa.pem -pkeyopt rsa_padding_mode:oaep -in sealed"
    if xor(opened, challenge) == PASSWORD .. "\0" then
        send(fd, OK, number + 1)
        return true
    end
    refuse(fd, number + 1)
end

--- What the server does with users of these names.
local users = {}

function users.fast(fd, hello, number)
    check.values("hello", table.pack(hello.method, hello.database, hello.charset), "caching_sha2_password", "base", 45)
    check.eq("what it can do", hello.capabilities & ~0x40000, 260047 & ~0x80 | 0x80000)
    if not knows_sha2(hello.answer, CHALLENGE) then return refuse(fd, number + 1) end
    send(fd, "\1\3", number + 1)
    send(fd, OK, number + 2)
    return true
end

function users.full(fd, _, number) return full(fd, number + 1, CHALLENGE) end

function users.native(fd, _, number)
    send(fd, "\xfemysql_native_password\0" .. SECOND .. "\0", number + 1)
    local answer
    answer, number = receive(fd)
    if not knows_native(answer, SECOND) then return refuse(fd, number + 1) end
    send(fd, OK, number + 1)
    return true
end

function users.other(fd, _, number)
    send(fd, "\xfecaching_sha2_password\0" .. SECOND .. "\0", number + 1)
    local answer
    answer, number = receive(fd)
    if not knows_sha2(answer, SECOND) then return refuse(fd, number + 1) end
    return full(fd, number + 1, SECOND)
end

function users.empty(fd, hello, number)
    if hello.answer ~= "" then return refuse(fd, number + 1) end
    send(fd, OK, number + 1)
    return true
end

function users.strange(fd, _, number)
    send(fd, "\xfedialog\0\1Password: ", number + 1)
    socket.read(fd, 1)
end

function users.nonsense(fd, _, number)
    send(fd, "\1\4", number + 1)
    receive(fd)
    send(fd, "\1no key", number + 3)
    receive(fd)
end

local function serve(fd)
    socket.start(fd)
    local greeting = string.pack("<BzI4c8BI2BI2I2Bc10c12xz", 10, "8.0.99-fake", 1, CHALLENGE:sub(1, 8), 0, 0xffff, 255, 2, 0xffff, 21, "", CHALLENGE:sub(9), "caching_sha2_password")
    send(fd, greeting, 0)
    local bytes, number = receive(fd)
    local hello = parse(bytes)
    if users[hello.user](fd, hello, number) then
        local command = receive(fd)
        if command then
            check.eq("the first command", command, "\x0e")
            send(fd, OK, 1)
            socket.read(fd, 1)
        end
    end
    socket.close(fd)
end

check.run("mysql_login", function()
    run "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.pem 2>&1"
    local listener, _, port = socket.listen("127.0.0.1", 0)
    socket.start(listener, serve)
    local function connect(user, password)
        return mysql.connect { host = "127.0.0.1", port = port, user = user, password = password, database = "base", charset = "utf8mb4" }
    end
    for _, user in ipairs { "fast", "full", "native", "other" } do
        local db = connect(user, PASSWORD)
        check.eq(user, db:ping().server_status, 2)
        check.eq(user, db:server_ver(), "8.0.99-fake")
        db:disconnect()
        check.raises(user .. ": wrong", "[Error: socket]", connect, user, "wrong")
    end
    connect("empty", ""):disconnect()
    connect("empty"):disconnect()
    check.raises("strange", "[Error: socket]", connect, "strange", PASSWORD)
    check.raises("nonsense", "[Error: socket]", connect, "nonsense", PASSWORD)
end)
