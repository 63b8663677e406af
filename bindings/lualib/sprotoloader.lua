--- Schemas in slots of the process, 0 to 15: one service makes them, all others load them.
local core = require "sproto.core"
local parser = require "sprotoparser"
local sproto = require "sproto"

local loader = {}

--- Puts the schema of a text file into a slot.
---@param file string
---@param slot integer?
function loader.register(file, slot)
    local f <close> = assert(io.open(file), "Can't open sproto file")
    loader.save(parser.parse(f:read "a", file), slot)
end

--- Puts the schema of a bundle into a slot.
---@param bundle string
---@param slot integer?
function loader.save(bundle, slot) core.saveproto(assert(core.newproto(bundle)), slot) end

--- The schema in a slot.
---@param slot integer?
---@return sproto
function loader.load(slot) return sproto.sharenew(core.loadproto(slot)) end

return loader
