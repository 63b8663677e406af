-- What clients read of the service that the script `snax_loader` makes.
if GIVEN ~= 1 then error_of_the_test() end

function response.answer() end

function response.name() end
