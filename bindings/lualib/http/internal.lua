--- What client and server of HTTP/1.1 share: headers and bodies, as they come from a socket.
---
--- Everything that could be read in two ways is refused: who stands in front of us may have read it the other way (request
--- smuggling). So a length is digits alone, a name is followed by its colon at once, and a message has one length or is chunked,
--- never both.
---
--- A `read` is what `http.sockethelper.readfunc` makes: `read(n)` gives n bytes, `read()` what is there, and both raise when the
--- other side is gone.
local internal = {}

local concat = table.concat
local tonumber = tonumber
local type = type

--- Longest header, in bytes.
local HEADER_LIMIT <const> = 8192
internal.HEADER_LIMIT = HEADER_LIMIT
--- Longest line in front of a chunk.
local CHUNK_LINE_LIMIT <const> = 128

--- Fields that decide how a message is read: in one line each, and never behind the body.
local FRAMING <const> = { ["content-length"] = true, ["transfer-encoding"] = true, host = true }

--- Reads until the empty line behind a header. The lines go into `lines`.
---@async
---@param read function
---@param lines string[]
---@param rest string  what was read before
---@return string?  what came behind; nil if the header is too long
function internal.recvheader(read, lines, rest)
    local last
    if rest:sub(1, 2) == "\r\n" then return rest:sub(3) end
    local from = 1
    while true do
        local first
        first, last = rest:find("\r\n\r\n", from, true)
        if first then break end
        if #rest > HEADER_LIMIT then return nil end
        -- The empty line may be cut in two.
        from = math.max(1, #rest - 2)
        rest = rest .. read()
        if rest:sub(1, 2) == "\r\n" then return rest:sub(3) end
    end
    if last > HEADER_LIMIT then return nil end
    local count = #lines
    local at = 1
    while at < last - 1 do
        local to = rest:find("\r\n", at, true)
        count = count + 1
        lines[count] = rest:sub(at, to - 1)
        at = to + 2
    end
    return rest:sub(last + 1)
end

--- Puts the lines from number `from` on into `header`, by name in lower case. A name that comes again has an array of values; a line
--- that begins with a tab belongs to the one before.
---@param lines string[]
---@param from integer
---@param header table<string, string|string[]>
---@return table?  nil if a line is no part of a header
function internal.parseheader(lines, from, header)
    local name, value
    for i = from, #lines do
        local line = lines[i]
        -- Lone line ends, and NULs, mean different things to different readers.
        if line:find "[\r\n\0]" then return nil end
        if line:byte(1) == 9 then
            if not name or FRAMING[name] then return nil end
            value = value .. line:sub(2)
        else
            name, value = line:match "^([^%s:]+):[ \t]*(.-)[ \t]*$"
            if not name then return nil end
            name = name:lower()
        end
        local before = header[name]
        if line:byte(1) == 9 then
            if type(before) == "table" then
                before[#before] = value
            else
                header[name] = value
            end
        elseif before == nil then
            header[name] = value
        elseif type(before) == "table" then
            before[#before + 1] = value
        else
            header[name] = { before, value }
        end
    end
    return header
end

--- How a message says its body is framed.
---@param header table
---@return "length"|"chunked"|"none"|nil kind  nil: it cannot be told
---@return integer? length
---@return boolean? unsupported  an encoding that nobody knows here
function internal.framing(header)
    local length, encoding = header["content-length"], header["transfer-encoding"]
    if encoding ~= nil then
        if type(encoding) ~= "string" then return nil end
        encoding = encoding:lower()
        if encoding == "chunked" then
            if length ~= nil then return nil end
            return "chunked"
        elseif encoding ~= "identity" then
            return nil, nil, true
        end
    end
    if length == nil then return "none" end
    -- Fifteen digits are more than anybody sends, and exact.
    if type(length) ~= "string" or not length:find "^%d+$" or #length > 15 then return nil end
    return "length", tonumber(length)
end

--- The size of the chunk that a line announces.
local function chunk_size(line)
    local hex = line:match "^(%x+)[ \t]*$" or line:match "^(%x+)[ \t]*;[^\r\n\0]*$"
    if hex and #hex <= 12 then return tonumber(hex, 16) end
end

--- Reads on until there is a line; returns it and what is behind it, or nil if it is too long.
---@async
local function read_line(read, rest)
    while true do
        local at = rest:find("\r\n", 1, true)
        if at then
            if at > CHUNK_LINE_LIMIT then return nil end
            return rest:sub(1, at - 1), rest:sub(at + 2)
        end
        if #rest > CHUNK_LINE_LIMIT then return nil end
        rest = rest .. read()
    end
end

--- Reads the next chunk; an empty one is the last.
---@async
---@param left number?  how many bytes more may come
---@return string? chunk  nil: no chunk, or too long a one
---@return string rest
local function read_chunk(read, rest, left)
    local line
    line, rest = read_line(read, rest)
    local size = line and chunk_size(line)
    if not size or (left and size > left) then return nil, "" end
    if size == 0 then return "", rest end
    -- The line end behind the chunk comes with it.
    local missing = size + 2 - #rest
    if missing > 0 then rest = rest .. read(missing) end
    if rest:sub(size + 1, size + 2) ~= "\r\n" then return nil, "" end
    return rest:sub(1, size), rest:sub(size + 3)
end

--- Reads the fields behind a chunked body into `header`.
---@async
---@return string?  what came behind; nil if it is no header
local function read_trailer(read, header, rest)
    while #rest < 2 do
        rest = rest .. read()
    end
    local lines = {}
    local behind = internal.recvheader(read, lines, rest)
    local fields = behind and internal.parseheader(lines, 1, {})
    if not fields then return nil end
    for name, value in pairs(fields) do
        if not FRAMING[name] then header[name] = value end
    end
    return behind
end

--- Reads a chunked body.
---@async
---@param read function
---@param limit integer?  longest body
---@param header table  fields behind the body go here
---@param rest string  what was read before
---@return string? body  nil if it is malformed or too long
---@return table? header
---@return string? behind  what was read too much
function internal.recvchunkedbody(read, limit, header, rest)
    local parts, size = {}, 0
    while true do
        local chunk
        chunk, rest = read_chunk(read, rest, limit and limit - size)
        if not chunk then return nil end
        if chunk == "" then break end
        size = size + #chunk
        parts[#parts + 1] = chunk
    end
    local behind = read_trailer(read, header, rest)
    if not behind then return nil end
    return concat(parts), header, behind
end

----------------------------------------------------------------------------------------------------------------------------- client

--- Whether a text can stand in a line of a header.
local function is_line(text) return not text:find "[\r\n\0]" end

local function add_header(out, name, value)
    name, value = tostring(name), tostring(value)
    assert(is_line(name) and is_line(value), "line end in a header")
    out[#out + 1] = name .. ":" .. value .. "\r\n"
end

--- What a request looks like on the wire. It has one host and one length, in whatever case the caller wrote them: servers refuse
--- what has two.
local function request_text(method, host, url, header, content)
    assert(is_line(method) and is_line(url) and is_line(host), "line end in a request")
    local out = { method, " ", url, " HTTP/1.1\r\n" }
    local chunked = false
    if header then
        local named = false
        for name in pairs(header) do
            named = named or tostring(name):lower() == "host"
        end
        if not named then header.Host = host end
        for name, value in pairs(header) do
            local field = tostring(name):lower()
            if field == "transfer-encoding" and value == "chunked" then chunked = true end
            if field == "content-length" then
                -- The one below counts what is sent.
            elseif type(value) == "table" then
                for _, one in ipairs(value) do
                    add_header(out, name, one)
                end
            else
                add_header(out, name, value)
            end
        end
    else
        out[#out + 1] = "host:" .. host .. "\r\n"
    end
    if chunked then
        out[#out + 1] = "\r\n"
    else
        out[#out + 1] = "Content-length:" .. #(content or "") .. "\r\n\r\n"
    end
    if content then out[#out + 1] = content end
    return concat(out)
end

--- Sends a request and reads the header of its response.
---@async
---@param interface { read: function, write: function, readall: function }
---@param method string
---@param host string
---@param url string
---@param recvheader table?  the fields of the response, added to what it holds
---@param header table?
---@param content string?
---@return integer status
---@return string rest  the first bytes of the body
---@return table header
function internal.request(interface, method, host, url, recvheader, header, content)
    interface.write(request_text(method, host, url, header, content))
    local lines, rest, code
    rest = ""
    repeat
        lines = {}
        rest = internal.recvheader(interface.read, lines, rest)
        if not rest then error "Recv header failed" end
        local status = (lines[1] or ""):match "^HTTP/%d+%.%d+%s+(%d%d%d)"
        code = assert(tonumber(status), lines[1] or "no status line")
        -- Interim answers come before the one that was asked for.
    until code < 100 or code >= 200 or code == 101
    local fields = internal.parseheader(lines, 2, recvheader or {})
    if not fields then error "Invalid HTTP response header" end
    return code, rest, fields
end

--- Whether a response of this status never has a body.
local function is_bodiless(code) return code == 204 or code == 304 or code < 200 end

--- How the body of a response ends.
local function response_framing(code, header)
    if is_bodiless(code) then return "length", 0 end
    local kind, length, unsupported = internal.framing(header)
    if unsupported then
        local encoding = header["transfer-encoding"]
        error("Unsupport transfer-encoding:" .. tostring(encoding))
    elseif not kind then
        error "Invalid HTTP response header"
    end
    return kind == "none" and "close" or kind, length
end

--- Reads the body of a response.
---@async
---@param interface { read: function, readall: function }
---@param code integer
---@param rest string  its first bytes
---@param header table
---@return string body
---@return boolean reusable  the connection is where the next response would begin
function internal.response(interface, code, rest, header)
    local kind, length = response_framing(code, header)
    if kind == "chunked" then
        local body, _, behind = internal.recvchunkedbody(interface.read, nil, header, rest)
        if not body then error "Invalid response body" end
        return body, behind == ""
    elseif kind == "length" then
        if #rest >= length then return rest:sub(1, length), #rest == length end
        return rest .. interface.read(length - #rest), true
    end
    return rest .. (interface.readall() or ""), false
end

------------------------------------------------------------------------------------------------------------------------------ stream

---@class http.Stream
---@field status integer
---@field header table
---@field connected boolean?  true while there may be more; false after a failure, nil at the end
---@field private next async fun(): string?
---@field private onclose function?
local Stream = {}
Stream.__index = Stream

--- The next part of the body, and the stream; nothing at the end.
---@async
---@return string? part
---@return http.Stream? stream
function Stream:padding()
    if not self.connected then return nil end
    local ok, part = pcall(self.next)
    if not ok then
        self.connected = false
        self:close()
        error(part, 0)
    end
    if part == nil then
        self.connected = nil
        self:close()
        return nil
    end
    return part, self
end

Stream.__call = Stream.padding

--- Ends the connection.
function Stream:close()
    if self.connected then self.connected = false end
    local onclose = self.onclose
    if onclose then
        self.onclose = nil
        onclose(self)
    end
end

Stream.__close = Stream.close
Stream.__gc = Stream.close

---@async
local function chunks(read, rest, header)
    return function()
        local chunk
        chunk, rest = read_chunk(read, rest)
        if not chunk then error "Invalid response body" end
        if chunk ~= "" then return chunk end
        if not read_trailer(read, header, rest) then error "Invalid response body" end
        return nil
    end
end

local function until_length(read, rest, length)
    return function()
        if length == 0 then return nil end
        local part = rest ~= "" and rest or read()
        rest = ""
        part = part:sub(1, length)
        length = length - #part
        return part
    end
end

local function until_close(read, rest, socket_error)
    return function()
        if rest ~= "" then
            local part = rest
            rest = ""
            return part
        end
        local ok, part = pcall(read)
        if ok then return part end
        if part ~= socket_error then error(part, 0) end
        return nil
    end
end

--- The body of a response in parts, as they come.
---@param interface { read: function, socket_error: any }
---@param code integer
---@param rest string
---@param header table
---@return http.Stream
function internal.response_stream(interface, code, rest, header)
    local kind, length = response_framing(code, header)
    local read, parts = interface.read, nil
    if kind == "chunked" then
        parts = chunks(read, rest, header)
    elseif kind == "length" then
        parts = until_length(read, rest, length)
    else
        parts = until_close(read, rest, interface.socket_error)
    end
    return setmetatable({ status = code, header = header, connected = true, next = parts }, Stream)
end

return internal
