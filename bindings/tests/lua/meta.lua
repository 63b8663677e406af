-- What editors are told is true. Stubs name what the native modules have, all of it and nothing else; the public functions of the Lua
-- modules are described where they stand, with the parameters they have.
local skynet = require "skynet"
require "skynet.manager"
local check = require "check"

-- Modules over TLS can be loaded only then.
require("ltls.init.c").constructor()

local NATIVE <const> = {
    ["skynet.core"] = "core",
    ["skynet.codecache"] = "codecache",
    ["skynet.profile"] = "profile",
    ["skynet.memory"] = "memory",
    ["skynet.socketdriver"] = "socketdriver",
    ["skynet.mongo.driver"] = "mongo",
    ["bson"] = "bson",
    ["client.crypt"] = "crypt",
    ["client.socket"] = "client_socket",
    ["lpeg"] = "lpeg",
    ["ltls.init.c"] = "ltls_init",
    ["md5.core"] = "md5",
    ["skein.cluster"] = "cluster_link",
    ["skein.crypt"] = "skein_crypt",
    ["skynet.netpack"] = "netpack",
    ["skein.dispatch"] = "dispatch",
    ["skein.http"] = "http",
    ["skein.resp"] = "resp",
    ["skein.share"] = "share",
    ["skynet.crypt"] = "crypt",
    ["skynet.cluster.core"] = "cluster",
    ["skynet.datasheet.core"] = "datasheet",
    ["skynet.stm"] = "stm",
    ["skynet.multicast.core"] = "multicast",
    ["sproto.core"] = "sproto",
    ["skein.multicast"] = "delivery",
    ["skynet.sharedata.core"] = "sharedata",
    ["skynet.sharetable.core"] = "sharetable",
}

--- Functions that a stub describes, and those of Lua itself.
local described_elsewhere = {}

local function check_native()
    for name, stub in pairs(NATIVE) do
        local native = require(name)
        local described = assert(loadfile(skynet.getenv "meta" .. "/" .. stub .. ".lua"))()
        for key, value in pairs(native) do
            check.ok(name, described[key] ~= nil, key .. " has no stub")
            if type(value) == "function" then
                check.eq(name .. "." .. key, type(described[key]), "function")
                described_elsewhere[value] = true
            end
        end
        for key in pairs(described) do
            check.ok(name, native[key] ~= nil, key .. " is only a stub")
        end
    end
    for _, library in ipairs { _G, coroutine, debug, string, table } do
        for _, value in pairs(library) do
            if type(value) == "function" then described_elsewhere[value] = true end
        end
    end
end

--- Names of the Lua modules in the library, as `require` says them.
local function lua_modules()
    local root = skynet.getenv "meta" .. "/.."
    local names = {}
    local found <close> = assert(io.popen("cd '" .. root .. "' && find . -name '*.lua'"))
    for file in found:lines() do
        local name = file:match("^%./(.*)%.lua$"):gsub("/", ".")
        -- `meta` is for editors alone, `skein` is not public, and the loader is no module.
        local is_public = not (name:find "^meta%." or name:find "^skein%." or name == "loader")
        if is_public then names[#names + 1] = name end
    end
    return names
end

local sources = {}

--- Lines of a file of the library.
local function lines_of(file)
    local lines = sources[file]
    if not lines then
        lines = {}
        for line in io.lines(skynet.getenv "meta" .. "/../" .. file) do
            lines[#lines + 1] = line
        end
        sources[file] = lines
    end
    return lines
end

--- The words behind `@param` above a function, and how many lines of description there are.
local function description(func)
    local info = debug.getinfo(func, "S")
    local file = info.source:match "^@skein:/lualib/(.*)$"
    if not file then return nil end
    local lines = lines_of(file)
    local params, count = {}, 0
    local at = info.linedefined - 1
    while at > 0 and lines[at]:find "^%s*%-%-%-[^-]" do
        count = count + 1
        local param = lines[at]:match "^%s*%-%-%-@param ([%w_.]+)"
        if param then table.insert(params, 1, param) end
        at = at - 1
    end
    return params, count
end

--- The parameters a function has. Those it does not use (`_`) and `self` need no words.
local function parameters(func)
    local info = debug.getinfo(func, "u")
    local names = {}
    for at = 1, info.nparams do
        local name = debug.getlocal(func, at)
        if name ~= "self" and name:sub(1, 1) ~= "_" then names[#names + 1] = name end
    end
    if info.isvararg then names[#names + 1] = "..." end
    return names
end

local function check_function(name, func)
    if described_elsewhere[func] then return end
    local params, count = description(func)
    if not params then
        check.ok(name, false, "has no stub")
    else
        check.ok(name, count > 0, "has no description")
        check.eq(name, table.concat(params, ", "), table.concat(parameters(func), ", "))
    end
end

local function check_module(name)
    local module = require(name)
    if type(module) == "function" then
        check_function(name, module)
    elseif type(module) == "table" then
        check.ok(name, next(module) ~= nil, "is empty")
        for key, value in pairs(module) do
            if type(value) == "function" then check_function(name .. "." .. tostring(key), value) end
        end
    else
        check.ok(name, false, "is a " .. type(module))
    end
end

check.run("meta", function()
    check_native()
    local modules = lua_modules()
    check.ok("modules", #modules > 10, "too few modules")
    for _, name in ipairs(modules) do
        check_module(name)
    end
end)
