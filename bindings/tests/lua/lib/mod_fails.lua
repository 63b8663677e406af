-- Fails, after a while.
require("skynet").sleep(2)
error "mod fails"
