---@meta skynet.datasheet.core

--- Reads sheets as tables, each when it is first looked at.
local core = {}

--- The name of a sheet, for all services; good until `release`, or the end of this service.
---@param sheet string
---@return lightuserdata
function core.stringpointer(sheet) end

--- This service does not need a sheet any more. Those who read it keep it.
---@param sheet lightuserdata
function core.release(sheet) end

--- The outermost table of a sheet.
---@param sheet lightuserdata
---@return table
function core.new(sheet) end

--- Fills every table that was read from the sheet of this one with the contents of another sheet.
---@param t table
---@param sheet lightuserdata
---@return userdata
function core.update(t, sheet) end

return core
