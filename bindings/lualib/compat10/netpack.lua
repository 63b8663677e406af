return require "skynet.netpack"
