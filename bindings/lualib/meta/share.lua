---@meta skein.share

--- Versions of shared tables: making, opening, going over, letting go. `skynet.sharetable` is made of these.
local share = {}

--- Shares the table that a chunk returns: Lua text, or `@` and the name of a file. Messages call it `name`.
---@param name string
---@param source string
---@param ... boolean|number|lightuserdata|function  arguments of the chunk; functions are in C, without upvalues
---@return skynet.Matrix
function share.build(name, source, ...) end

--- As `build`, and makes the table the current version of `name` in the domain of this process: every process of it can attach
--- it. It may hold no C functions and no pointers.
---@param name string
---@param source string
---@param ... boolean|number|lightuserdata|function
---@return skynet.Matrix
function share.publish(name, source, ...) end

--- The current version of a table of the domain: the number of its segment, and the version itself unless that number is `known`.
--- Nothing if there is no such table.
---@param name string
---@param known integer?
---@return integer? number
---@return skynet.Matrix? matrix
function share.attach(name, known) end

--- What the domain of this process is called; nothing if it is in none (config key `domain`).
---@return string?
function share.domain() end

--- Which version is the current one of each table of the domain, by name.
---@return table<string, integer>
function share.names() end

--- Takes a table out of the domain. Who reads it keeps it.
---@param name string
---@return boolean
function share.remove(name) end

--- A descriptor for one reader in the process, which can be read whenever a table of the domain was published or removed.
---@return integer
function share.watch() end

--- Shares a table and all it reaches, with metatables that hold data. The table itself stays as it is.
---@param name string
---@param table table
---@return skynet.Matrix
function share.freeze(name, table) end

--- The table that a pointer names; nothing if that version is gone.
---@param pointer lightuserdata
---@return table?
---@return integer? old  leases of this service on versions that are no longer current
function share.open(pointer) end

--- Says that one version comes after another.
---@param old lightuserdata
---@param new lightuserdata
function share.succeed(old, new) end

--- Replaces all references of this service to versions before these. False if one of these is not the current one.
---@param ... lightuserdata
---@return boolean
function share.renew(...) end

--- Collects garbage, if this service has leases on versions that are no longer current, and ends those that nothing refers to.
---@return integer old  leases left on such versions
---@return integer all  leases left
function share.scan() end

--- The services that have a lease on a version; nothing if the version is gone.
---@param pointer lightuserdata
---@return integer[]?
function share.holders(pointer) end

--- What is mapped in this process.
---@return integer versions
---@return integer bytes
---@return integer leases  of this service
function share.stats() end

return share
