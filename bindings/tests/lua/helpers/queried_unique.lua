-- A unique service that somebody waits for.
require("skynet").start(function() end)
