return require "skynet.stm"
