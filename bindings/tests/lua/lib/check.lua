--- What the test services share. A test script calls `check.run(name, f)` in place of `skynet.start(f)`; it ends with a line
--- `PASS <name>` or `FAIL <name>` on the output, and ends the process.
---
--- The same scripts run on skynet with its own library, which is how their expectations were made; where skein differs on purpose, the
--- check is inside `if check.skein`.
local skynet = require "skynet"
require "skynet.manager"

local check = {}

--- Whether the library under test is skein's. skynet's own may run on skein, too: then ours is only searched behind it.
check.skein = assert(package.searchpath("skynet", package.path)):find("^skein:/") ~= nil

local failures = 0
local count = 0

local function fail(id, text)
    failures = failures + 1
    local at = debug.getinfo(3, "Sl")
    print(string.format("not ok %s: %s (%s:%d)", id, text, at.short_src, at.currentline))
end

local function show(value)
    if type(value) == "string" then return string.format("%q", value) end
    return tostring(value)
end

--- `actual` must be `expected`, of the same number type.
function check.eq(id, actual, expected)
    count = count + 1
    if actual ~= expected or math.type(actual) ~= math.type(expected) then
        fail(id, string.format("got %s, expected %s", show(actual), show(expected)))
    end
end

--- The values of a packed table, nils included.
function check.values(id, packed, ...)
    count = count + 1
    local expected = table.pack(...)
    local same = packed.n == expected.n
    for i = 1, expected.n do
        same = same and packed[i] == expected[i] and math.type(packed[i]) == math.type(expected[i])
    end
    if not same then
        local a, b = {}, {}
        for i = 1, packed.n do
            a[i] = show(packed[i])
        end
        for i = 1, expected.n do
            b[i] = show(expected[i])
        end
        fail(id, string.format("got (%s), expected (%s)", table.concat(a, ", "), table.concat(b, ", ")))
    end
end

function check.ok(id, condition, text)
    count = count + 1
    if not condition then fail(id, text or "not so") end
end

--- `text` must contain `part`, literally.
function check.contains(id, text, part)
    count = count + 1
    if type(text) ~= "string" or not text:find(part, 1, true) then
        fail(id, string.format("%s does not contain %s", show(text), show(part)))
    end
end

--- `f(...)` must raise a text that contains `part`.
function check.raises(id, part, f, ...)
    count = count + 1
    local ok, err = pcall(f, ...)
    if ok then
        fail(id, "did not raise")
    elseif not tostring(err):find(part, 1, true) then
        fail(id, string.format("raised %s, expected %s", show(err), show(part)))
    end
end

--- Starts this service with `f`, and says how it went.
function check.run(name, f)
    skynet.start(function()
        local ok, err = xpcall(f, debug.traceback)
        if not ok then
            print("not ok: " .. tostring(err))
            failures = failures + 1
        end
        -- The log is a service: what it was sent must be out before the process ends.
        skynet.sleep(5)
        print(string.format("%s %s (%d checks)", failures == 0 and "PASS" or "FAIL", name, count))
        io.stdout:flush()
        skynet.abort()
    end)
end

--- A port that nobody had a moment ago.
---@async
function check.free_port()
    local socket = require "skynet.socket"
    local id, _, port = socket.listen("127.0.0.1", 0)
    socket.close(id)
    return port
end

--- Records events in order, to be compared as one string.
function check.recorder()
    local list = {}
    return function(what)
        if what == nil then
            local text = table.concat(list, " ")
            list = {}
            return text
        end
        list[#list + 1] = tostring(what)
    end
end

return check
