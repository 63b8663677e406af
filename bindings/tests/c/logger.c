/* A log service of the application's own, under the name of the built-in one: lines go to standard error. */

#include <stdio.h>
#include "skynet.h"
#include "skynet_env.h"
#include "skynet_malloc.h"
#include "skynet_timer.h"

static int handle (struct skynet_context *ctx, void *ud, int type, int session, uint32_t source, const void *msg, size_t sz) {
  (void)ctx; (void)ud; (void)session;
  if (type == PTYPE_TEXT)
    fprintf(stderr, "own <%x> %.*s\n", source, (int)sz, (const char *)msg);
  return 0;
}

int logger_init (void *inst, struct skynet_context *ctx, const char *args) {
  (void)inst; (void)args;
  skynet_callback(ctx, NULL, handle);
  return 0;
}
