--- Requests whose handler ended without an answer. Their callers still wait; when this service exits they get an error, where skynet
--- would leave them waiting for ever. Somebody may yet answer one by hand (`skynet.redirect` of a response), so nothing is sent before.
---
--- A program that forgets every request must not grow: only the latest `LIMIT` are kept.
local LIMIT <const> = 1024

---@class skein.Forgotten
---@field private count integer  how many were ever added
---@field private sources integer[]
---@field private sessions integer[]
local forgotten = { count = 0, sources = {}, sessions = {} }

---@param source integer
---@param session integer
function forgotten:add(source, session)
    local at = self.count % LIMIT + 1
    self.count = self.count + 1
    self.sources[at] = source
    self.sessions[at] = session
end

--- Drops entries: the one of `session`, or, without it, all of a source that died.
---@param source integer
---@param session integer?
function forgotten:drop(source, session)
    if self.count == 0 then return end
    for at = 1, #self.sources do
        if self.sources[at] == source and (not session or self.sessions[at] == session) then
            self.sources[at] = 0
        end
    end
end

--- Calls `f(source, session)` for each that still waits, and forgets them.
---@param f fun(source: integer, session: integer)
function forgotten:each(f)
    local sources, sessions = self.sources, self.sessions
    self.count, self.sources, self.sessions = 0, {}, {}
    for at = 1, #sources do
        if sources[at] ~= 0 then f(sources[at], sessions[at]) end
    end
end

return forgotten
