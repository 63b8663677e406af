-- A client for the terminal: lines you type are said, lines of others are shown. `/quit` or the end of the input leaves.
thread = 1
harbor = 0
logger = "./chat-client.log"
luaservice = "./bindings/examples/chat/?.lua"
start = "client"
chat_port = 8877
