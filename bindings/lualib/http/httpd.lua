--- The server's side of HTTP/1.1: one request from a socket, one response to it. The caller accepts and closes.
local internal = require "http.internal"
local head = require("skein.http").head

local httpd = {}

local format = string.format
local concat = table.concat
local create = table.create
local pairs, ipairs, type, tostring = pairs, ipairs, type, tostring

local REASON <const> = {
    [100] = "Continue",
    [101] = "Switching Protocols",
    [200] = "OK",
    [201] = "Created",
    [202] = "Accepted",
    [203] = "Non-Authoritative Information",
    [204] = "No Content",
    [205] = "Reset Content",
    [206] = "Partial Content",
    [300] = "Multiple Choices",
    [301] = "Moved Permanently",
    [302] = "Found",
    [303] = "See Other",
    [304] = "Not Modified",
    [305] = "Use Proxy",
    [307] = "Temporary Redirect",
    [400] = "Bad Request",
    [401] = "Unauthorized",
    [402] = "Payment Required",
    [403] = "Forbidden",
    [404] = "Not Found",
    [405] = "Method Not Allowed",
    [406] = "Not Acceptable",
    [407] = "Proxy Authentication Required",
    [408] = "Request Time-out",
    [409] = "Conflict",
    [410] = "Gone",
    [411] = "Length Required",
    [412] = "Precondition Failed",
    [413] = "Request Entity Too Large",
    [414] = "Request-URI Too Large",
    [415] = "Unsupported Media Type",
    [416] = "Requested range not satisfiable",
    [417] = "Expectation Failed",
    [500] = "Internal Server Error",
    [501] = "Not Implemented",
    [502] = "Bad Gateway",
    [503] = "Service Unavailable",
    [504] = "Gateway Time-out",
    [505] = "HTTP Version not supported",
}

--- The body of a request that says `kind` of framing.
---@async
---@return integer? code  nil: `body` is there
---@return string? body
local function read_body(read, limit, header, rest, kind, length)
    if kind == "length" then
        if limit and length > limit then return 413 end
        if #rest >= length then return nil, rest:sub(1, length) end
        return nil, rest .. read(length - #rest)
    elseif kind == "chunked" then
        local body = internal.recvchunkedbody(read, limit, header, rest)
        -- Too long and malformed look alike: what is no chunk has no length.
        if not body then return 413 end
        return nil, body
    end
    if limit and #rest > limit then return 413 end
    return nil, rest
end

--- Reads until the head of a request is whole, and takes it apart.
---@async
---@param read function
---@param header table  gets the fields
---@return integer|boolean|nil behind  nil: it is too long; false: it is malformed
---@return string? method  nil: `url` is the whole line
---@return string? url
---@return number? version
---@return string? rest  what came behind
local function read_head(read, header)
    local text = read()
    while true do
        local behind, method, url, version = head(text, header)
        if behind ~= nil then
            if (behind or #text) > internal.HEADER_LIMIT + 1 then return nil end
            return behind, method, url, version, behind and text:sub(behind)
        end
        if #text > internal.HEADER_LIMIT then return nil end
        text = text .. read()
    end
end

---@async
local function read_all(read, limit)
    local header = create(0, 8)
    local behind, method, url, version, rest = read_head(read, header)
    if behind == nil then return 413 end
    if not method then
        -- Not as everybody writes it, but perhaps still a request.
        local request = assert(url, "empty request")
        method, url, version = request:match "^(%a+)%s+(.-)%s+HTTP/([%d%.]+)$"
        assert(method, "invalid request line")
        version = assert(tonumber(version), "invalid version")
        if version < 1.0 or version > 1.1 then return 505 end
        -- A blank inside: somebody else may see the end of the URL there.
        if url:find "[%s\0]" then return 400 end
    end
    if not behind or type(header.host) == "table" then return 400 end
    local kind, length, unsupported = internal.framing(header)
    if not kind then return unsupported and 501 or 400 end
    local code, body = read_body(read, limit, header, rest, kind, length)
    if code then return code end
    return 200, url, method, header, body
end

local function results(ok, ...)
    if ok then return ... end
    return nil, (...)
end

--- Reads a request. `code` is 200, or what to answer to a request that cannot be served; then nothing follows it.
---@async
---@param read function  of `http.sockethelper.readfunc`
---@param bodylimit integer?  longest body, in bytes
---@return integer? code  nil: reading failed, and an error follows
---@return any url
---@return string? method
---@return table? header  by name in lower case
---@return string? body
function httpd.read_request(read, bodylimit) return results(pcall(read_all, read, bodylimit)) end

local function add(out, name, value)
    name, value = tostring(name), tostring(value)
    if name:find "[\r\n\0]" or value:find "[\r\n\0]" then error "line end in a header" end
    out[#out + 1] = name
    out[#out + 1] = ": "
    out[#out + 1] = value
    out[#out + 1] = "\r\n"
end

--- Status lines by code, made when they are first needed.
local status_lines = {}

local function status_line(code)
    local line = status_lines[code]
    if not line then
        line = format("HTTP/1.1 %03d %s\r\n", code, REASON[code] or "")
        if REASON[code] then status_lines[code] = line end
    end
    return line
end

local function write_all(write, code, body, header)
    if type(body) == "string" and not header then
        write(status_line(code) .. "content-length: " .. #body .. "\r\n\r\n" .. body)
        return
    end
    local out = { status_line(code) }
    if header then
        for name, value in pairs(header) do
            if type(value) == "table" then
                for _, one in ipairs(value) do
                    add(out, name, one)
                end
            else
                add(out, name, value)
            end
        end
    end
    local kind = type(body)
    if kind == "string" then
        out[#out + 1] = "content-length: " .. #body .. "\r\n\r\n"
        out[#out + 1] = body
        write(concat(out))
    elseif kind == "function" then
        out[#out + 1] = "transfer-encoding: chunked\r\n"
        write(concat(out))
        for part in body do
            -- An empty chunk would be the last.
            if part ~= "" then write(format("\r\n%x\r\n%s", #part, part)) end
        end
        write "\r\n0\r\n\r\n"
    else
        assert(body == nil, "body is no string and no function")
        out[#out + 1] = "\r\n"
        write(concat(out))
    end
end

--- Writes a response.
---@param write function  of `http.sockethelper.writefunc`
---@param code integer
---@param body string|(fun(): string?)|nil  a function gives parts until nil, which are sent as chunks
---@param header table<string, any>?  an array stands for several fields of a name
---@return boolean ok
---@return any err
function httpd.write_response(write, code, body, header) return pcall(write_all, write, code, body, header) end

return httpd
