return { name = "sibling of dirservice" }
