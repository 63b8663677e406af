--- Proxies over trees of configuration (`skynet.sharedata.core`), which follow to the next version of their tree.
---
--- A proxy stands for a path: it knows its parent and its key, and which table it read last. When that table's tree is dirty, the
--- root takes the next tree, and each proxy finds its place in it at its next access.
local core = require "skynet.sharedata.core"

local isdirty, index, nextkey = core.isdirty, core.index, core.nextkey

local conf = {}

--- What makes trees, for `sharedatad`.
conf.host = {
    new = core.new,
    delete = core.delete,
    getref = core.getref,
    markdirty = core.markdirty,
    incref = core.incref,
    decref = core.decref,
}

---@class sharedata.Proxy
---@field __obj lightuserdata  the table read last
---@field __gcobj userdata     counts on the tree; of the root, the tree's box
---@field __key any
---@field __parent sharedata.Proxy|false
---@field __cache table<any, sharedata.Proxy>  proxies of tables inside

local meta = {}

local function root_of(self)
    while self.__parent do
        self = self.__parent
    end
    return self
end

--- The path of a proxy, such as `.monsters.12`; of the root, nothing.
local function path_of(self, key)
    local path = key ~= nil and "." .. tostring(key) or ""
    while self.__parent do
        path = "." .. tostring(self.__key) .. path
        self = self.__parent
    end
    return path
end

--- Takes the next tree, if there is one: the root and, from there down to `self`, what is on the way.
local function follow(self)
    local root = root_of(self)
    if isdirty(root.__obj) then
        local next_obj, next_box = core.needupdate(root.__gcobj)
        if next_obj then
            root.__obj, root.__gcobj = next_obj, next_box.__gcobj
            -- More than one may have come meanwhile.
            return follow(self)
        end
    end
    return root
end

--- The table that a proxy stands for now.
---@param self sharedata.Proxy
---@return lightuserdata
local function object(self)
    local obj = self.__obj
    if not isdirty(obj) then return obj end
    follow(self)
    local parent = self.__parent
    if not parent then return self.__obj end
    obj = index(object(parent), self.__key)
    if type(obj) ~= "userdata" then
        error("The key [" .. path_of(self) .. "] doesn't exist after update", 0)
    end
    self.__obj, self.__gcobj = obj, parent.__gcobj
    return obj
end

local function child(self, key, obj)
    local cache = self.__cache
    local found = cache[key]
    if found then
        found.__obj, found.__gcobj = obj, self.__gcobj
        return found
    end
    found = setmetatable({
        __obj = obj,
        __gcobj = self.__gcobj,
        __key = key,
        __parent = self,
        __cache = setmetatable({}, { __mode = "v" }),
    }, meta)
    cache[key] = found
    return found
end

function meta:__index(key)
    local value = index(object(self), key)
    if type(value) == "userdata" then return child(self, key, value) end
    return value
end

function meta:__newindex()
    local path = path_of(self)
    error("Error newindex, the key [" .. path .. "]", 2)
end

function meta:__len() return core.len(object(self)) end

--- The pair after `key`; a table inside is a proxy.
---@param proxy sharedata.Proxy
---@param key any
---@return any key
---@return any value
function conf.next(proxy, key)
    local following = nextkey(object(proxy), key)
    if following ~= nil then return following, proxy[following] end
end

function meta:__pairs() return conf.next, self, nil end

--- A proxy of a whole tree.
---@param ptr lightuserdata
---@return sharedata.Proxy
function conf.box(ptr)
    return setmetatable({
        __obj = ptr,
        __gcobj = core.box(ptr),
        __key = "",
        __parent = false,
        __cache = setmetatable({}, { __mode = "v" }),
    }, meta)
end

--- Tells a proxy what comes after its tree, which must be dirty. It goes over at its next access.
---@param proxy sharedata.Proxy
---@param ptr lightuserdata
function conf.update(proxy, ptr)
    assert(isdirty(proxy.__obj), "Only dirty object can be update")
    core.update(proxy.__gcobj, ptr, { __gcobj = core.box(ptr) })
end

--- Brings a proxy, and those inside of it that are in use, up to date. What is no longer there stays behind.
---@param proxy sharedata.Proxy
function conf.flush(proxy)
    if not pcall(object, proxy) then return end
    for _, inner in pairs(proxy.__cache) do
        conf.flush(inner)
    end
end

local function copy(obj)
    local result = {}
    local key = nextkey(obj)
    while key ~= nil do
        local value = index(obj, key)
        if type(value) == "userdata" then value = copy(value) end
        result[key] = value
        key = nextkey(obj, key)
    end
    return result
end

--- A plain copy of what is at a path inside a tree.
---@param ptr lightuserdata
---@param ... any  keys
---@return any
function conf.copy(ptr, ...)
    ---@type any
    local value = ptr
    for i = 1, select("#", ...) do
        if type(value) ~= "userdata" then return nil end
        value = index(value, (select(i, ...)))
    end
    if type(value) == "userdata" then return copy(value) end
    return value
end

return conf
