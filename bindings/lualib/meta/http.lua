---@meta skein.http

--- The head of an HTTP/1.1 request, taken apart in one pass.
local http = {}

--- Puts the fields of the head that a text begins with into `header`, by name in lower case; a name that comes again has an array of
--- values. Where what is behind it begins: nil if the head is not whole, false if it is malformed. Then method, URL and version; if the
--- request line is not plainly of those, nil and the line.
---@param text string
---@param header table<string, string|string[]>
---@return integer|false|nil behind
---@return string? method
---@return string? url
---@return number? version
function http.head(text, header) end

return http
