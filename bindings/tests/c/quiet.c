/* A C service without create and release, and a log service: lines go to standard error. */

#include <stdio.h>
#include "skein.h"

static int handle (struct skynet_context *ctx, void *ud, int type, int session, uint32_t source, const void *msg, size_t sz) {
  (void)ctx; (void)ud; (void)session;
  if (type == PTYPE_TEXT)
    fprintf(stderr, "<%x> %.*s\n", source, (int)sz, (const char *)msg);
  return 0;
}

int quiet_init (void *inst, struct skynet_context *ctx, const char *args) {
  fprintf(stderr, "quiet begins: %s, %s\n", inst ? "instance" : "no instance", args ? args : "NULL");
  skynet_callback(ctx, NULL, handle);
  return 0;
}
