---@meta skein.cluster

--- What the services of the cluster ask of a connection.
local cluster = {}

--- Bytes of a socket that wait to be written; nothing for one that is not there.
---@param id integer
---@return integer?
function cluster.queued(id) end

return cluster
