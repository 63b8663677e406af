function response.twice() end
function response.twice() end
