return require "skynet.socketdriver"
