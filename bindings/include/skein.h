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

#ifdef __cplusplus
}
#endif

#endif
