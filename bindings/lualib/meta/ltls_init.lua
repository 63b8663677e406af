---@meta ltls.init.c

--- Whether the process has TLS.
local init = {}

--- From now on `ltls.c` can be required, in every service.
function init.constructor() end

--- Nothing is to be torn down.
function init.destructor() end

return init
