return { name = "a module of tally" }
