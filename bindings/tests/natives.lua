--- What the walks over native functions have in common: the modules, one line for each, and a generator of numbers of their own, so that a
--- walk can be repeated.
local natives = {}

natives.modules = {
    "skein.share",
    "skynet.core",
    "skynet.profile",
    "skynet.memory",
    "bson",
    "skynet.sharedata.core",
    "skynet.sharetable.core",
    "lpeg",
    "md5.core",
    "skynet.netpack",
    "skynet.codecache",
    "skynet.mongo.driver",
    "skynet.datasheet.core",
    "skynet.stm",
    "skynet.crypt",
    "skein.crypt",
    "skein.http",
    "skein.resp",
    "skynet.cluster.core",
    "skein.cluster",
    "sproto.core",
    "skynet.multicast.core",
    "skein.multicast",
}

--- A function that answers numbers from 1 to `n`.
---@param seed integer
---@return fun(n: integer): integer
function natives.random(seed)
    return function(n)
        seed = seed ~ (seed << 13)
        seed = seed ~ (seed >> 7)
        seed = seed ~ (seed << 17)
        return (seed >> 33) % n + 1
    end
end

return natives
