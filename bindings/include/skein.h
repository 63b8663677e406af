/*
** skein.h: what C services and C modules find in the binary `skein`.
**
** A service is a shared object on `cpath`. Of NAME.so these functions are called (in a name with dots, the part behind the last
** one counts):
**
**   void *NAME_create (void);                                     optional; NULL: the launch fails
**   int   NAME_init (void *inst, struct skynet_context *ctx, const char *args);    0 is success; `args` may be NULL
**   void  NAME_release (void *inst);                              optional; the address is gone by then, sends still work
**   void  NAME_signal (void *inst, int signal);                   optional; from any thread
**
** A module of a Lua service is a shared object on `lua_cpath` with a `luaopen_NAME`, for Lua 5.5; its `struct skynet_context *`
** is the light userdata `skynet_context` of the Lua registry.
**
** The names and shapes are skynet's: objects that were built for it run unchanged. Link with nothing: the program that loads
** the object has the functions.
*/
#ifndef SKEIN_H
#define SKEIN_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A service, as the runtime knows it. It outlives the instance. */
struct skynet_context;

/* Types of messages. 13 to 255 are free for applications. */
#define PTYPE_TEXT 0
#define PTYPE_RESPONSE 1
#define PTYPE_MULTICAST 2
#define PTYPE_CLIENT 3
#define PTYPE_SYSTEM 4
#define PTYPE_HARBOR 5
#define PTYPE_SOCKET 6
#define PTYPE_ERROR 7
#define PTYPE_RESERVED_QUEUE 8
#define PTYPE_RESERVED_DEBUG 9
#define PTYPE_RESERVED_LUA 10
#define PTYPE_RESERVED_SNAX 11

/* Flags beside a type: `msg` is given away instead of copied; a session is made (the one given has to be 0). */
#define PTYPE_TAG_DONTCOPY 0x10000
#define PTYPE_TAG_ALLOCSESSION 0x20000

/* Memory. `skynet_free` takes memory of `malloc`, and bodies of messages that a callback kept. */
#define skynet_malloc malloc
#define skynet_calloc calloc
#define skynet_realloc realloc
#define skynet_free free
char *skynet_strdup (const char *str);
/* A lua_Alloc, for states of one's own. */
void *skynet_lalloc (void *ud, void *ptr, size_t osize, size_t nsize);

/* A line for the log, from this service; `ctx` NULL: from the runtime. */
void skynet_error (struct skynet_context *ctx, const char *format, ...)
#if defined(__GNUC__)
  __attribute__((format(printf, 2, 3)))
#endif
  ;

/*
** Sends a message. `source` 0 is the service itself. Answers the session, -1 if nobody is there, -2 if the message is too large.
** Without PTYPE_TAG_DONTCOPY `msg` is copied. With it `msg` came from malloc, or is the body of a message that the callback is
** handling (which answers 1 then) or kept; it is gone whatever the answer.
*/
int skynet_send (struct skynet_context *ctx, uint32_t source, uint32_t destination, int type, int session, void *msg, size_t sz);
/* The same to `:hex`, to a local `.name`, or to a name known to all nodes. */
int skynet_sendname (struct skynet_context *ctx, uint32_t source, const char *destination, int type, int session, void *msg, size_t sz);

/* Runs a command (LAUNCH, TIMEOUT, REG, …). The answer is good until the next command of this thread; NULL: none. */
const char *skynet_command (struct skynet_context *ctx, const char *cmd, const char *parm);
/* The address of `:hex` or `.name`; 0: none. */
uint32_t skynet_queryname (struct skynet_context *ctx, const char *name);
/* Whether an address is another node's; its number goes to `harbor` if that is not NULL. */
int skynet_isremote (struct skynet_context *ctx, uint32_t handle, int *harbor);

/*
** Handles a message. `msg` has `sz` bytes and a NUL behind them, or is NULL. Answer 0 and it is freed; answer 1 and it is
** yours: for skynet_free, or for skynet_send with PTYPE_TAG_DONTCOPY.
*/
typedef int (*skynet_cb) (struct skynet_context *ctx, void *ud, int type, int session, uint32_t source, const void *msg, size_t sz);
/* Sets what handles the messages of a service in C. To be called by the service itself; until then they are freed. */
void skynet_callback (struct skynet_context *ctx, void *ud, skynet_cb cb);

/* The service that this thread runs; 0: none. */
uint32_t skynet_current_handle (void);
/* The address of a service. */
uint32_t skynet_context_handle (struct skynet_context *ctx);
/* Hundredths of a second since the node started. */
uint64_t skynet_now (void);
/* When it started, in seconds since 1970. */
uint32_t skynet_starttime (void);
/* The environment that the config file filled. A key that has a value keeps it. The value stays good. */
const char *skynet_getenv (const char *key);
void skynet_setenv (const char *key, const char *value);
/* Says on stderr how much memory the running Lua service has. */
void skynet_debug_memory (const char *info);

/*
** Sockets. What happens on one is a message of PTYPE_SOCKET to the service that started it, whose body is this. With a buffer
** (DATA: `ud` bytes; UDP: `ud` bytes and the sender's address behind them) that is yours to skynet_free, or to send; without one
** a text follows the struct, up to the end of the body, not ended by a NUL.
*/
struct skynet_socket_message {
  int type;
  int id;
  int ud;
  char *buffer;
};

#define SKYNET_SOCKET_TYPE_DATA 1
#define SKYNET_SOCKET_TYPE_CONNECT 2    /* ready; of a listener, `ud` is its port */
#define SKYNET_SOCKET_TYPE_CLOSE 3
#define SKYNET_SOCKET_TYPE_ACCEPT 4     /* `ud` is the id of a new connection, to be started; the text is its address */
#define SKYNET_SOCKET_TYPE_ERROR 5
#define SKYNET_SOCKET_TYPE_UDP 6
#define SKYNET_SOCKET_TYPE_WARNING 7    /* `ud` KiB wait to be sent */

/* What is to be sent: memory as for PTYPE_TAG_DONTCOPY, or bytes that stay yours. */
#define SOCKET_BUFFER_MEMORY 0
#define SOCKET_BUFFER_OBJECT 1          /* refused: no module can say what such an object is */
#define SOCKET_BUFFER_RAWPOINTER 2

struct socket_sendbuffer {
  int id;
  int type;
  const void *buffer;
  size_t sz;
};

/* Answer an id, or -1 and a line in the log. A listener and what it accepts have yet to be started. */
int skynet_socket_listen (struct skynet_context *ctx, const char *host, int port, int backlog);
int skynet_socket_connect (struct skynet_context *ctx, const char *host, int port);
int skynet_socket_bind (struct skynet_context *ctx, int fd);
int skynet_socket_udp (struct skynet_context *ctx, const char *host, int port);
int skynet_socket_udp_dial (struct skynet_context *ctx, const char *host, int port);
int skynet_socket_udp_listen (struct skynet_context *ctx, const char *host, int port);

void skynet_socket_start (struct skynet_context *ctx, int id);
void skynet_socket_pause (struct skynet_context *ctx, int id);
void skynet_socket_nodelay (struct skynet_context *ctx, int id);
/* After what waits has been sent; at once. */
void skynet_socket_close (struct skynet_context *ctx, int id);
void skynet_socket_shutdown (struct skynet_context *ctx, int id);

/* Answer 0, or -1 if nothing will be sent. */
int skynet_socket_sendbuffer (struct skynet_context *ctx, struct socket_sendbuffer *buffer);
int skynet_socket_sendbuffer_lowpriority (struct skynet_context *ctx, struct socket_sendbuffer *buffer);
int skynet_socket_udp_connect (struct skynet_context *ctx, int id, const char *host, int port);
int skynet_socket_udp_sendbuffer (struct skynet_context *ctx, const char *address, struct socket_sendbuffer *buffer);
/* The sender of a datagram, inside of its event. */
const char *skynet_socket_udp_address (struct skynet_socket_message *message, int *addrsz);

static inline int skynet_socket_send (struct skynet_context *ctx, int id, void *buffer, int sz) {
  struct socket_sendbuffer data = { id, sz < 0 ? SOCKET_BUFFER_OBJECT : SOCKET_BUFFER_MEMORY, buffer, (size_t)(sz < 0 ? 0 : sz) };
  return skynet_socket_sendbuffer(ctx, &data);
}

static inline int skynet_socket_send_lowpriority (struct skynet_context *ctx, int id, void *buffer, int sz) {
  struct socket_sendbuffer data = { id, sz < 0 ? SOCKET_BUFFER_OBJECT : SOCKET_BUFFER_MEMORY, buffer, (size_t)(sz < 0 ? 0 : sz) };
  return skynet_socket_sendbuffer_lowpriority(ctx, &data);
}

static inline int skynet_socket_udp_send (struct skynet_context *ctx, int id, const char *address, const void *buffer, int sz) {
  struct socket_sendbuffer data = { id, SOCKET_BUFFER_RAWPOINTER, buffer, (size_t)(sz < 0 ? 0 : sz) };
  return skynet_socket_udp_sendbuffer(ctx, address, &data);
}

#ifdef __cplusplus
}
#endif

#endif
