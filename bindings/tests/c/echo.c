/* A C service that gives back what comes over its sockets: streams on one port, datagrams on another. */

#include <stdio.h>
#include <string.h>
#include "skynet.h"
#include "skynet_socket.h"

static int listener, datagrams;
static char *kept;

static int handle (struct skynet_context *ctx, void *ud, int type, int session, uint32_t source, const void *msg, size_t sz) {
  const struct skynet_socket_message *m = msg;
  (void)ud; (void)session; (void)source;
  if (type != PTYPE_SOCKET)
    return 0;
  switch (m->type) {
  case SKYNET_SOCKET_TYPE_CONNECT:
    if (m->id == listener && m->ud != 0)
      skynet_error(ctx, "streams on %d", m->ud);
    break;
  case SKYNET_SOCKET_TYPE_ACCEPT:
    skynet_error(ctx, "accepted %.*s", (int)(sz - sizeof(*m)), (const char *)(m + 1));
    skynet_socket_nodelay(ctx, m->ud);
    skynet_socket_start(ctx, m->ud);
    break;
  case SKYNET_SOCKET_TYPE_DATA:
    if (m->ud >= 4 && memcmp(m->buffer, "keep", 4) == 0) {
      /* beyond the callback */
      kept = m->buffer;
      skynet_error(ctx, "keeps it");
    } else if (m->ud >= 4 && memcmp(m->buffer, "bye!", 4) == 0) {
      struct socket_sendbuffer raw = { m->id, SOCKET_BUFFER_RAWPOINTER, "so long", 7 };
      skynet_socket_sendbuffer(ctx, &raw);
      skynet_free(m->buffer);
      if (kept != NULL) {
        skynet_error(ctx, "kept %.4s", kept);
        kept = skynet_realloc(kept, 5);
        kept[4] = '\0';
        skynet_socket_send(ctx, m->id, kept, 5);
        kept = NULL;
      }
      skynet_socket_close(ctx, m->id);
    } else {
      skynet_socket_send(ctx, m->id, m->buffer, m->ud);
    }
    break;
  case SKYNET_SOCKET_TYPE_UDP: {
    int size = 0;
    const char *address = skynet_socket_udp_address((struct skynet_socket_message *)msg, &size);
    skynet_error(ctx, "a datagram of %d, sender of %d", m->ud, size);
    skynet_socket_udp_send(ctx, m->id, address, m->buffer, m->ud);
    skynet_free(m->buffer);
    break;
  }
  case SKYNET_SOCKET_TYPE_CLOSE:
    skynet_error(ctx, "closed");
    skynet_socket_close(ctx, m->id);
    break;
  default:
    skynet_error(ctx, "event %d: %.*s", m->type, (int)(sz - sizeof(*m)), (const char *)(m + 1));
  }
  return 0;
}

int echo_init (void *inst, struct skynet_context *ctx, const char *args) {
  int udp_port = 0;
  (void)inst;
  sscanf(args, "%d", &udp_port);
  skynet_callback(ctx, NULL, handle);
  listener = skynet_socket_listen(ctx, "127.0.0.1", 0, 16);
  skynet_socket_start(ctx, listener);
  datagrams = skynet_socket_udp_listen(ctx, "127.0.0.1", udp_port);
  skynet_error(ctx, "no object %d", skynet_socket_send(ctx, listener, &listener, -1));
  skynet_error(ctx, "no host %d, no port %d, no socket %d", skynet_socket_connect(ctx, "127.0.0.1", 70000),
               skynet_socket_udp_connect(ctx, 4711, "127.0.0.1", 1), skynet_socket_send(ctx, 4711, skynet_strdup("x"), 1));
  return listener < 0 || datagrams < 0;
}
