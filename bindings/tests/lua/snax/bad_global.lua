print "the files of clients see nothing but a require that does nothing"
