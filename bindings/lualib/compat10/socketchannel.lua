return require "skynet.socketchannel"
