-- Builds the world, watches it for some seconds, and checks at its end that nothing was lost.
local skynet = require "skynet"
local map = require "map"
require "skynet.manager" -- for abort

local function setting(name) return math.tointeger(tonumber(os.getenv(name:upper()) or skynet.getenv(name))) end

local seconds = setting "world_seconds"
local population = setting "world_agents"

--- Asks all services the same at once; the answers in the order of the services.
local function ask(services, ...)
    local requests = skynet.request()
    for i, service in ipairs(services) do
        local request = { service, "lua", ... }
        request.at = i
        requests(request)
    end
    local answers = {}
    for request, answer in requests:select() do
        assert(answer, "a service failed")
        answers[request.at] = answer[1] or false
    end
    return answers
end

--- The fields of all reports, added up.
local function sum(reports)
    local total = {}
    for _, report in ipairs(reports) do
        for key, value in pairs(report) do
            total[key] = (total[key] or 0) + value
        end
    end
    return total
end

local BARS <const> = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" }

--- How full each zone is, a row of the map after the other.
local function picture(reports)
    local fullest = 1
    for _, report in ipairs(reports) do
        fullest = math.max(fullest, report.population)
    end
    local rows = {}
    for row = 1, map.rows do
        local bars = {}
        for column = 1, map.columns do
            local report = reports[(row - 1) * map.columns + column]
            bars[column] = BARS[1 + report.population * (#BARS - 1) // fullest]
        end
        rows[row] = table.concat(bars)
    end
    return table.concat(rows, " ")
end

--- One line a second.
local function watch(zones, score)
    local began = skynet.now()
    local before = sum(ask(zones, "report"))
    for second = 1, seconds do
        skynet.sleep(began + second * 100 - skynet.now())
        local reports = ask(zones, "report")
        local now = sum(reports)
        local name, points = skynet.call(score, "lua", "top")
        print(string.format(
            "%3d s  %s  %d agents  %6d moves/s  %7d broadcasts/s  %6d calls/s  top %s with %d",
            second,
            picture(reports),
            now.population,
            now.moves + now.entered - before.moves - before.entered,
            now.broadcasts - before.broadcasts,
            now.calls - before.calls - #zones, -- without ours
            name,
            points
        ))
        before = now
    end
end

local failures = 0

--- A number that was counted at two ends.
local function same(what, here, there)
    if here ~= there then
        failures = failures + 1
        print(string.format("world: %s: %d and %d", what, here, there))
    end
end

--- Stops everything in such an order that each message was counted by its receiver before it is asked.
local function check(zones, agents, score)
    ask(agents, "stop") -- from here on nobody moves, and what a zone had to say to its neighbours is in their mailboxes
    ask(zones, "report") -- they said it to their agents, whose mailboxes hold it now
    local walked = sum(ask(agents, "report"))
    local seen = sum(ask(zones, "report"))
    local scored = skynet.call(score, "lua", "report")

    same("agents that are somewhere", seen.population, #agents)
    same("agents that entered and left", seen.entered - seen.left, #agents)
    same("steps made and steps seen", walked.moves, seen.moves + seen.entered - #agents)
    same("borders crossed", walked.crossings, seen.left)
    same("shouts sent and heard", seen.shouts_sent, seen.shouts_heard)
    same("broadcasts sent and received", seen.broadcasts, walked.saw)
    same("treasures found and counted", walked.finds, scored.finds)
    same("points found and counted", walked.points, scored.points)
    return walked, seen
end

--- From an empty node to the last line.
local function play()
    local score = skynet.newservice "score"
    local zones, agents = {}, {}
    for i = 1, map.zones do
        zones[i] = skynet.newservice("zone", i)
    end
    ask(zones, "open", zones)
    for i = 1, population do
        agents[i] = skynet.newservice("agent", i)
    end
    ask(agents, "start", zones, score)
    print(string.format("world: %d agents in %d zones, each a service", #agents, #zones))

    watch(zones, score)
    local walked, seen = check(zones, agents, score)
    for _, agent in ipairs(agents) do
        skynet.send(agent, "lua", "leave")
    end
    assert(failures == 0, "numbers do not agree")
    print(
        string.format(
            "world: ok, %d moves, %d border crossings, %d broadcasts and %d shouts, none lost",
            walked.moves,
            walked.crossings,
            seen.broadcasts,
            seen.shouts_sent
        )
    )
end

skynet.start(function()
    io.stdout:setvbuf "line"
    local ok, err = xpcall(play, debug.traceback)
    if ok then
        skynet.abort() -- the process ends when no service is left
    else
        print("world: FAILED, see world.log: " .. err:match "^[^\n]*")
        skynet.error(err)
        os.exit(1)
    end
end)
