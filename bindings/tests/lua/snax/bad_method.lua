accept.method = 5
