-- A snax service nobody opens.
function response.knock() error "nobody is at home" end
