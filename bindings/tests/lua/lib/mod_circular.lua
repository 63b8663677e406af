return require "mod_circular2"
