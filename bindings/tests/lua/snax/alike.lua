-- One name in both groups.
function accept.same() end

function response.same() return "answer" end
