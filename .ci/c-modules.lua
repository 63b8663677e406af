-- lua-cjson and LPeg as services use them; see c-modules.
local skynet = require "skynet"
require "skynet.manager"

local function json()
    local cjson = require "cjson"
    local text = cjson.encode { 1, 2.5, "x", { a = true } }
    assert(text == '[1,2.5,"x",{"a":true}]', text)
    assert(cjson.decode('{"a":[1,2.5,null]}').a[3] == cjson.null)
    local ok, why = pcall(cjson.decode, "[1,")
    assert(not ok and why:find("T_END", 1, true), why)
    local deep = ("["):rep(100000)
    assert(not pcall(cjson.decode, deep))
    for _ = 1, 1000 do
        assert(cjson.decode(cjson.encode { big = ("x"):rep(10000) }).big == ("x"):rep(10000))
    end
end

local function patterns()
    -- The built-in module has that name: this is the other one.
    local lpeg = assert(package.loadlib("./lpeg.so", "luaopen_lpeg"))()
    package.loaded.lpeg, package.preload.re = lpeg, nil
    dofile "lpeg_test.lua"
end

skynet.start(function()
    local ok, why = xpcall(function()
        json()
        patterns()
    end, debug.traceback)
    print(ok and "c modules: all works" or why)
    skynet.abort()
end)
