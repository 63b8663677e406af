-- A script with a mistake.
error "the script raises"
