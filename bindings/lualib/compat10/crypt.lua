return require "skynet.crypt"
