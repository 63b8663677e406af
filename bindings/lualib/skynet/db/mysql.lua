--- A client of MySQL and MariaDB: one connection that many tasks share, statements of theirs on the way at the same time, results in
--- order.
---
--- Protocol 4.1, with passwords by `mysql_native_password` and `caching_sha2_password`; no TLS, no compression, no local files. An error
--- of the server's is a result (`badresult`); what raises is a connection that failed.
local rows = require "skein.mysql.rows"
local socketchannel = require "skynet.socketchannel"

local mysql = { _VERSION = "0.14" }

--- What this client can do: the bits of skynet's (a long password, rows found instead of changed, column flags, a database at once,
--- ODBC, blanks before parentheses, protocol 4.1, interactive, no signals, transactions, its two reserved ones, several statements and
--- results) without local files, and with results of procedures that are prepared and methods of authentication.
local CAPABILITIES <const> = 260047 & ~0x80 | 0x40000 | 0x80000
local MORE_RESULTS <const> = 0x0008

local COM_QUERY <const> = 0x03
local COM_PING <const> = 0x0e
local COM_STMT_PREPARE <const> = 0x16
local COM_STMT_EXECUTE <const> = 0x17
local COM_STMT_CLOSE <const> = 0x19
local COM_STMT_RESET <const> = 0x1a

local OK <const> = 0x00
local MORE_DATA <const> = 0x01
local LOCAL_FILE <const> = 0xfb
local EOF <const> = 0xfe
local ERR <const> = 0xff

--- A packet of this size goes on in the next one.
local PART <const> = 0xffffff
--- What is missing of a packet is waited for in one piece from this size on.
local LARGE <const> = 16 * 1024
local MAX_PACKET <const> = 1024 * 1024

--- Numbers of character sets, each with its usual order.
local CHARSETS <const> = {
    _default = 0, big5 = 1, dec8 = 3, cp850 = 4, hp8 = 6, koi8r = 7, latin1 = 8, latin2 = 9, swe7 = 10, ascii = 11, ujis = 12,
    sjis = 13, hebrew = 16, tis620 = 18, euckr = 19, koi8u = 22, gb2312 = 24, greek = 25, cp1250 = 26, gbk = 28, latin5 = 30,
    armscii8 = 32, utf8 = 33, utf8mb3 = 33, ucs2 = 35, cp866 = 36, keybcs2 = 37, macce = 38, macroman = 39, cp852 = 40, latin7 = 41,
    utf8mb4 = 45, cp1251 = 51, utf16 = 54, utf16le = 56, cp1256 = 57, cp1257 = 59, utf32 = 60, binary = 63, geostd8 = 92, cp932 = 95,
    eucjpms = 97, gb18030 = 248,
}

------------------------------------------------------------------------------------------------------------------------- packets

---@class skein.mysql.Input
---@field text string
---@field at integer

--- Waits until so many bytes are there from the current position on.
---@async
local function fill(sock, input, size)
    while true do
        local rest = #input.text - input.at + 1
        if rest >= size then return end
        local text = rest > 0 and input.text:sub(input.at) or ""
        local missing = size - rest
        local data = missing >= LARGE and sock:read(missing) or sock:read()
        input.text, input.at = text .. data, 1
    end
end

--- The next packet: a text, where it begins and ends in it, and its number. Good until the next one is read.
---@async
local function read_packet(sock)
    local input = sock.input
    if not input then
        input = { text = "", at = 1 }
        sock.input = input
    end
    fill(sock, input, 4)
    local size, number = string.unpack("<I3B", input.text, input.at)
    fill(sock, input, 4 + size)
    local from = input.at + 4
    input.at = from + size
    if size < PART then
        local text = input.text
        if input.at > #text then
            input.text, input.at = "", 1
        end
        return text, from, from + size - 1, number
    end
    local parts = { input.text:sub(from, from + size - 1) }
    repeat
        fill(sock, input, 4)
        size, number = string.unpack("<I3B", input.text, input.at)
        fill(sock, input, 4 + size)
        parts[#parts + 1] = input.text:sub(input.at + 4, input.at + 3 + size)
        input.at = input.at + 4 + size
    until size < PART
    local text = table.concat(parts)
    return text, 1, #text, number
end

--- Packets for a payload, numbered from `number` on.
local function packets(payload, number)
    if #payload < PART then return string.pack("<I3B", #payload, number) .. payload end
    local parts = {}
    local from = 1
    repeat
        local part = payload:sub(from, from + PART - 1)
        parts[#parts + 1] = string.pack("<I3B", #part, number & 0xff)
        parts[#parts + 1] = part
        from = from + PART
        number = number + 1
    until #part < PART
    return table.concat(parts)
end

local function command(code, payload) return packets(string.char(code) .. payload, 0) end

------------------------------------------------------------------------------------------------------------------------- results

---@class skynet.mysql.Bad
---@field badresult true
---@field errno integer
---@field err string
---@field sqlstate string?

local function error_of(text, from, to)
    local errno = string.unpack("<I2", text, from + 1)
    local message = text:sub(from + 3, to)
    local state, rest = message:match "^#(.....)(.*)$"
    return { badresult = true, errno = errno, err = rest or message, sqlstate = state }
end

---@class skynet.mysql.Done
---@field affected_rows integer
---@field insert_id integer
---@field server_status integer
---@field warning_count integer
---@field message string?

local function done_of(text, from, to)
    local result = {}
    local at
    result.affected_rows, at = rows.length(text, from + 1)
    result.insert_id, at = rows.length(text, at)
    result.server_status, result.warning_count, at = string.unpack("<I2I2", text, at)
    if at <= to then
        -- Servers put its length before it.
        local message = text:byte(at) == to - at and text:sub(at + 1, to) or text:sub(at, to)
        if message ~= "" then result.message = message end
    end
    return result, result.server_status & MORE_RESULTS ~= 0
end

--- Whether a packet is the end of a list; then also whether another result follows.
local function is_end(text, from, to)
    if text:byte(from) ~= EOF or to - from >= 8 then return false end
    local _, status = string.unpack("<I2I2", text, from + 1)
    return true, status & MORE_RESULTS ~= 0
end

--- So many definitions of columns, and the packet that ends them.
---@async
local function read_columns(sock, count)
    local columns = {}
    if count == 0 then return columns end
    while true do
        local text, from, to = read_packet(sock)
        if is_end(text, from, to) then return columns end
        if #columns == count then error "more columns came than were announced" end
        columns[#columns + 1] = rows.column(text, from)
    end
end

--- One result: its value, whether it is no error, and whether another one follows.
---@async
local function read_result(sock, compact, binary)
    local text, from, to = read_packet(sock)
    local first = text:byte(from)
    if first == OK then
        local result, more = done_of(text, from, to)
        return result, true, more
    elseif first == ERR then
        return error_of(text, from, to), false, false
    elseif first == LOCAL_FILE then
        error "the server asks for a local file"
    end
    local columns = read_columns(sock, (rows.length(text, from)))
    local row_of = binary and rows.binary_row or rows.text_row
    local skip = binary and 1 or 0
    local list, count = {}, 0
    while true do
        text, from, to = read_packet(sock)
        first = text:byte(from)
        if first == EOF or first == ERR then
            local ended, more = is_end(text, from, to)
            if ended then return list, true, more end
            if first == ERR then return error_of(text, from, to), false, false end
        end
        count = count + 1
        list[count] = row_of(text, from + skip, columns, compact)
    end
end

--- All results of a statement.
---@async
local function read_results(sock, compact, binary)
    local result, fine, more = read_result(sock, compact, binary)
    if not more then return result end
    local all = { result }
    all[binary and "mulitresultset" or "multiresultset"] = true
    while more do
        result, fine, more = read_result(sock, compact, binary)
        if fine then
            all[#all + 1] = result
        else
            all.badresult, all.errno, all.err, all.sqlstate = true, result.errno, result.err, result.sqlstate
        end
    end
    return all
end

--- The answer to what has neither rows nor columns.
---@async
local function read_done(sock)
    local text, from, to = read_packet(sock)
    if text:byte(from) == ERR then return true, error_of(text, from, to) end
    return true, (done_of(text, from, to))
end

---@class skynet.mysql.Statement
---@field prepare_id integer
---@field field_count integer
---@field param_count integer
---@field warning_count integer
---@field params skein.mysql.Column[]
---@field fields skein.mysql.Column[]

---@async
local function read_statement(sock)
    local text, from, to = read_packet(sock)
    if text:byte(from) == ERR then return true, error_of(text, from, to) end
    local statement = {}
    local _
    statement.prepare_id, statement.field_count, statement.param_count, _, statement.warning_count =
        string.unpack("<I4I2I2BI2", text, from + 1)
    statement.params = read_columns(sock, statement.param_count)
    statement.fields = read_columns(sock, statement.field_count)
    return true, statement
end

-------------------------------------------------------------------------------------------------------------------------- login

---@class skynet.mysql.Options
---@field host string
---@field port integer?              3306
---@field user string?
---@field password string?
---@field database string?
---@field charset string?            a name of a character set; the server's own without
---@field max_packet_size integer?   what the server is told about, 1 MiB
---@field compact_arrays boolean?    rows are arrays
---@field on_connect async fun(db: skynet.mysql.Client)?  called for each connection that is made, before others may use it
---@field overload fun(is: boolean)?

--- What the server says first.
---@async
local function read_greeting(sock)
    local text, from, to = read_packet(sock)
    if text:byte(from) == ERR then return false, error_of(text, from, to) end
    local protocol, version, _, challenge, at = string.unpack("<BzI4c8", text, from)
    if protocol ~= 10 then error("the server speaks protocol " .. protocol) end
    local greeting = { version = version, method = "mysql_native_password" }
    -- A filler, half of the capabilities, the character set, the state, the other half, how long the challenge is.
    local size
    at = at + 1
    if at + 15 <= to then
        _, _, _, _, size, at = string.unpack("<I2BI2I2B", text, at)
        at = at + 10
        local rest = math.max(13, size - 8)
        challenge = challenge .. text:sub(at, math.min(at + rest - 1, to))
        at = at + rest
        if at <= to then greeting.method = text:match("^[^%z]+", at) or greeting.method end
    end
    greeting.challenge = challenge:sub(1, 20)
    return true, greeting
end

local function raise_bad(bad)
    error(string.format("errno:%d, msg:%s,sqlstate:%s", bad.errno, bad.err, tostring(bad.sqlstate)), 0)
end

--- One step of what the server wants before it says yes: its first byte, what is behind it, and the packet's number.
---@async
local function read_step(sock)
    local text, from, to, number = read_packet(sock)
    local first = text:byte(from)
    if first == ERR then return true, { bad = error_of(text, from, to) } end
    return true, { first = first, rest = text:sub(from + 1, to), number = number }
end

---@async
local function login(channel, self, options)
    local auth = require "skein.mysql.auth"
    local password = options.password or ""
    -- The server speaks first, so there is nothing to send.
    local ok, greeting = pcall(channel.response, channel, read_greeting)
    if not ok then
        if type(greeting) == "table" and greeting.badresult then raise_bad(greeting) end
        error(greeting, 0)
    end
    self._server_ver = greeting.version
    local charset = CHARSETS[options.charset or "_default"]
    if not charset then error("unknown character set " .. tostring(options.charset), 0) end
    local method, challenge = greeting.method, greeting.challenge
    local answer = auth.answer(method, password, challenge)
    if not answer then
        -- The server will say so if it insists.
        method = "mysql_native_password"
        answer = auth.answer(method, password, challenge)
    end
    local most = options.max_packet_size or MAX_PACKET
    local hello = string.pack("<I4I4Bc23zs1zz", CAPABILITIES, most, charset, "", options.user or "", answer, options.database or "", method)
    local step = channel:request(packets(hello, 1), read_step)
    while true do
        if step.bad then raise_bad(step.bad) end
        local reply
        if step.first == OK then
            return
        elseif step.first == EOF then
            method, challenge = step.rest:match "^([^%z]*)%z(.-)%z?$"
            if not method then error("the server wants a password of before 4.1", 0) end
            challenge = challenge:sub(1, 20)
            reply = auth.answer(method, password, challenge)
            if not reply then error("the server wants " .. method .. ", which is not known here", 0) end
        elseif step.first == MORE_DATA and step.rest == "\3" then
            -- It knows the password by its digest: it will say yes.
            step = channel:response(read_step)
        elseif step.first == MORE_DATA and step.rest == "\4" then
            -- It wants all of it. Its key first.
            reply = "\2"
        elseif step.first == MORE_DATA then
            reply = auth.sealed(step.rest, password, challenge)
        else
            error("the server says " .. tostring(step.first) .. " where it should say yes or no", 0)
        end
        if reply then step = channel:request(packets(reply, step.number + 1), read_step) end
    end
end

------------------------------------------------------------------------------------------------------------------------- clients

---@class skynet.mysql.Client
---@field private sockchannel skynet.socketchannel.Channel
---@field private compact boolean?
---@field private _server_ver string?
local client = {}

--- Runs statements. Rows by the names of their columns (or arrays, if compact); what came of a statement without rows; an error of the
--- server's as `badresult`. Several results are an array with `multiresultset`, which is a `badresult` as well when a later one failed.
---@async
---@param sql string
---@return table
function client:query(sql)
    local compact = self.compact
    return self.sockchannel:request(command(COM_QUERY, sql), function(sock) return true, read_results(sock, compact) end)
end

--- Prepares a statement, with `?` for parameters.
---@async
---@param sql string
---@return skynet.mysql.Statement|skynet.mysql.Bad
function client:prepare(sql)
    return self.sockchannel:request(command(COM_STMT_PREPARE, sql), read_statement)
end

--- Runs a prepared statement; the answer is as for `query`, but that several results are marked `mulitresultset`.
---@async
---@param stmt skynet.mysql.Statement
---@param ... any  as many as it has parameters: nil, booleans, numbers, strings
---@return table
function client:execute(stmt, ...)
    local count = select("#", ...)
    if count ~= stmt.param_count then
        error(string.format("require stmt.param_count %d get arg_num %d", stmt.param_count, count))
    end
    -- No cursor, one time.
    local payload = string.pack("<I4BI4", stmt.prepare_id, 0, 1)
    if count > 0 then payload = payload .. rows.parameters({ ... }, count) end
    local compact = self.compact
    return self.sockchannel:request(
        command(COM_STMT_EXECUTE, payload),
        function(sock) return true, read_results(sock, compact, true) end
    )
end

--- Has the server forget what it keeps for a statement beside the statement itself.
---@async
---@param stmt skynet.mysql.Statement
---@return table
function client:stmt_reset(stmt)
    return self.sockchannel:request(command(COM_STMT_RESET, string.pack("<I4", stmt.prepare_id)), read_done)
end

--- Has the server forget a statement.
---@param stmt skynet.mysql.Statement
function client:stmt_close(stmt)
    self.sockchannel:request(command(COM_STMT_CLOSE, string.pack("<I4", stmt.prepare_id)))
end

--- Asks whether the server is there.
---@async
---@return table
function client:ping() return self.sockchannel:request(command(COM_PING, ""), read_done) end

--- What the server calls its version.
---@return string
function client:server_ver() return self._server_ver end

--- Whether rows are arrays from now on.
---@param value boolean
function client:set_compact_arrays(value) self.compact = value end

--- Ends the connection; the object is of no use afterwards.
function client:disconnect()
    self.sockchannel:close()
    setmetatable(self, nil)
end

local ESCAPES <const> = {
    ["\0"] = "\\0", ["\b"] = "\\b", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\26"] = "\\Z", ["\\"] = "\\\\", ["'"] = "\\'",
    ['"'] = '\\"',
}

--- A text as a literal of SQL, with its quotes.
---@param str string
---@return string
function mysql.quote_sql_str(str) return "'" .. str:gsub("[%z\b\n\r\t\26\\'\"]", ESCAPES) .. "'" end

local meta = { __index = client, __gc = function(self) self.sockchannel:close() end }

--- A client. Raises `socketchannel.error` if the server can't be reached, or does not let us in: the log says why.
---@async
---@param opts skynet.mysql.Options
---@return skynet.mysql.Client
function mysql.connect(opts)
    local self = { compact = opts.compact_arrays }
    local channel = socketchannel.channel {
        host = opts.host,
        port = opts.port or 3306,
        nodelay = true,
        overload = opts.overload,
        auth = function(channel)
            login(channel, self, opts)
            if opts.on_connect then opts.on_connect(self) end
        end,
    }
    self.sockchannel = channel
    setmetatable(self, meta)
    channel:connect(true)
    return self
end

return mysql
