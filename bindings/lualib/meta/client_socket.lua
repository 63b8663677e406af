---@meta client.socket

--- Blocking connections for clients that test a server.
local socket = {}

---@param ip string  IPv4
---@param port integer
---@return integer fd
function socket.connect(ip, port) end

--- What is there, `""` at the end, nothing if there is nothing.
---@param fd integer
---@return string?
function socket.recv(fd) end

--- Returns when all of it is sent.
---@param fd integer
---@param data string
function socket.send(fd, data) end

---@param fd integer
function socket.close(fd) end

---@param fd integer
---@param mode string  letters `r`, `w`
function socket.shutdown(fd, mode) end

---@param microseconds integer
function socket.usleep(microseconds) end

--- A line of the standard input, if there is one. Its end ends the process.
---@return string?
function socket.readstdin() end

return socket
