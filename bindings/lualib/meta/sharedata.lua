---@meta skynet.sharedata.core

--- Trees of configuration by address, and immutable blobs. Programs use `skynet.sharedata`.
local core = {}

--- A tree: a copy of a table of plain values. Or a blob: the bytes of a string, or of a message.
---@param value table|string|lightuserdata
---@param size integer?
---@return lightuserdata|userdata
function core.new(value, size) end

--- Ends a tree, unless somebody counts on it.
---@param conf lightuserdata
function core.delete(conf) end

--- Says that there is a newer tree.
---@param conf lightuserdata
function core.markdirty(conf) end

--- How many count on a tree.
---@param conf lightuserdata
---@return integer
function core.getref(conf) end

--- One more.
---@param conf lightuserdata
---@return integer
function core.incref(conf) end

--- One less.
---@param conf lightuserdata
---@return integer
function core.decref(conf) end

--- Counts on a tree until it is collected.
---@param conf lightuserdata
---@return userdata box
function core.box(conf) end

--- A value of a table; a table inside is a conf.
---@param conf lightuserdata
---@param key string|integer|nil
---@return any
function core.index(conf, key) end

--- The key after `key`.
---@param conf lightuserdata
---@param key string|integer|nil
---@return string|integer|nil
function core.nextkey(conf, key) end

--- Elements of the array.
---@param conf lightuserdata
---@return integer
function core.len(conf) end

--- Other keys.
---@param conf lightuserdata
---@return integer
function core.hashlen(conf) end

--- Whether there is a newer tree.
---@param conf lightuserdata
---@return boolean
function core.isdirty(conf) end

--- What `update` left in a box.
---@param box userdata
---@return lightuserdata? conf
---@return table?
function core.needupdate(box) end

--- Leaves what comes after the tree in a box.
---@param box userdata
---@param conf lightuserdata
---@param value table
function core.update(box, conf, value) end

--- One more reference to a blob.
---@param blob userdata
---@return integer
function core.addref(blob) end

--- One less; at zero its data is gone.
---@param blob userdata
---@return integer
function core.release(blob) end

--- Where the bytes of a blob are, and how many.
---@param blob userdata
---@return lightuserdata
---@return integer
function core.ptr(blob) end

return core
