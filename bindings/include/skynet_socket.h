/* skynet_socket.h: for sources that include the part about sockets by this name; all of it is in skein.h. */
#include "skein.h"
