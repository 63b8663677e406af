return require "mod_circular"
