accept[5] = function() end
