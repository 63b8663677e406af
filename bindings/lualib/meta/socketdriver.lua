---@meta skynet.socketdriver

--- Sockets of the runtime, and buffers for what comes from them. Events are messages of class `PTYPE_SOCKET`.
local driver = {}

---@alias skein.Sendable string|number|(string|number)[]|userdata|lightuserdata

--- A buffer for the bytes of a stream.
---@return userdata
function driver.buffer() end

--- Appends a block, which is gone then. Returns the bytes there are.
---@param buffer userdata
---@param pool table
---@param ptr lightuserdata
---@param size integer
---@return integer
function driver.push(buffer, pool, ptr, size) end

--- Exactly `size` bytes, or nil; and how many are left.
---@param buffer userdata
---@param pool table
---@param size integer
---@return string?
---@return integer
function driver.pop(buffer, pool, size) end

--- Everything there is.
---@param buffer userdata
---@param pool table
---@return string
function driver.readall(buffer, pool) end

--- Drops everything there is.
---@param buffer userdata?
---@param pool table
function driver.clear(buffer, pool) end

--- What is before the separator, which goes too. Without a pool: whether there is one.
---@param buffer userdata
---@param pool table?
---@param separator string
---@return string|true|nil
function driver.readline(buffer, pool, separator) end

--- Frees a block.
---@param ptr lightuserdata
---@param size integer
function driver.drop(ptr, size) end

--- Whether the next bytes of a socket come in one piece of `size`, with what is in the buffer in front, which is empty now: no if most of it
--- is here, if more is on its way to the buffer, or if the peer has only announced so much. With 0, what has come of such a piece comes
--- now.
---@param buffer userdata
---@param pool table
---@param id integer
---@param size integer
---@return boolean
function driver.expect(buffer, pool, id, size) end

--- For the field `direct` of the message class of sockets: as long as the class has this handler and this `unpack`, events of `sockets` that
--- only change a field and wake a task take no task of their own. `skynet.socket` is made of it.
---@param dispatch function
---@param unpack function
---@param sockets table<integer, table>  records by id
---@param hooks table<integer, function>  events of closing that have one are the handler's
---@param pool table
---@param most integer  so are data with which more bytes than this are unread
---@return table
function driver.direct(dispatch, unpack, sockets, hooks, pool, most) end

--- The number in 1 to 4 bytes, high byte first.
---@param bytes string
---@return integer
function driver.header(bytes) end

--- A block with the bytes of a string.
---@param text string
---@return lightuserdata
---@return integer
function driver.str2p(text) end

--- Type, id, number, block or text, and the sender of a datagram, of a socket message.
---@param ptr lightuserdata
---@param size integer
---@return integer
---@return integer
---@return integer
---@return string|lightuserdata
---@return string?
function driver.unpack(ptr, size) end

--- All sockets that are started.
---@return table[]
function driver.info() end

--- Begins to connect.
---@param address string
---@param port integer?
---@return integer id
function driver.connect(address, port) end

--- Listens; takes connections once it is started.
---@param address string
---@param port integer?
---@param backlog integer?
---@return integer id
function driver.listen(address, port, backlog) end

--- Takes an id over, and begins or resumes reading.
---@param id integer
function driver.start(id) end

--- Stops reading.
---@param id integer
function driver.pause(id) end

--- Closes; what waits is still sent.
---@param id integer
function driver.close(id) end

--- Ends at once.
---@param id integer
function driver.shutdown(id) end

--- The id of a descriptor of the process.
---@param fd integer
---@return integer id
function driver.bind(fd) end

--- Small packets go at once.
---@param id integer
function driver.nodelay(id) end

--- Sends. false: there is no such socket, or not any more.
---@param id integer
---@param data skein.Sendable
---@param size integer?
---@return boolean
function driver.send(id, data, size) end

--- As `send`, behind everything that is not.
---@param id integer
---@param data skein.Sendable
---@param size integer?
---@return boolean
function driver.lsend(id, data, size) end

--- A datagram socket.
---@param address string?
---@param port integer?
---@return integer id
function driver.udp(address, port) end

--- A datagram socket that is bound.
---@param address string
---@param port integer?
---@return integer id
function driver.udp_listen(address, port) end

--- A datagram socket that sends to an address.
---@param address string
---@param port integer?
---@return integer id
function driver.udp_dial(address, port) end

--- Where a datagram socket sends to.
---@param id integer
---@param address string
---@param port integer?
function driver.udp_connect(id, address, port) end

--- Sends a datagram.
---@param id integer
---@param address string
---@param data skein.Sendable
---@param size integer?
---@return boolean
function driver.udp_send(id, address, data, size) end

--- Ip and port of a datagram's sender.
---@param address string
---@return string
---@return integer
function driver.udp_address(address) end

--- The addresses of a host.
---@param host string
---@return string[]
function driver.resolve(host) end

return driver
