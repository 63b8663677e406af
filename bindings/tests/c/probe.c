/* A C service for the tests: says what it got, keeps, gives on, and answers. */

#include <stdio.h>
#include <string.h>
#include "skein.h"

typedef struct {
  struct skynet_context *ctx;
  void *kept;
  size_t kept_size;
  int count;
} Probe;

/* Commands are text; answers go to the source. */
static int handle (struct skynet_context *ctx, void *ud, int type, int session, uint32_t source, const void *msg, size_t sz) {
  Probe *probe = ud;
  const char *text = msg;
  probe->count++;
  if (type == PTYPE_RESPONSE) {
    skynet_error(ctx, "timer or answer %d, source %x, %d bytes", session, source, (int)sz);
    return 0;
  }
  if (type != PTYPE_TEXT)
    return 0;
  if (strcmp(text, "echo") == 0) {
    /* copied */
    skynet_send(ctx, 0, source, PTYPE_RESPONSE, session, "echo!", 5);
  } else if (strncmp(text, "give ", 5) == 0) {
    /* the message itself goes back */
    skynet_send(ctx, 0, source, PTYPE_RESPONSE | PTYPE_TAG_DONTCOPY, session, (void *)msg, sz);
    return 1;
  } else if (strncmp(text, "keep ", 5) == 0) {
    probe->kept = (void *)msg;
    probe->kept_size = sz;
    skynet_send(ctx, 0, source, PTYPE_RESPONSE, session, "kept", 4);
    return 1;
  } else if (strcmp(text, "return") == 0) {
    int sent = skynet_send(ctx, 0, source, PTYPE_RESPONSE | PTYPE_TAG_DONTCOPY, session, probe->kept, probe->kept_size);
    int again = skynet_send(ctx, 0, source, PTYPE_RESPONSE | PTYPE_TAG_DONTCOPY, 4711, probe->kept, probe->kept_size);
    skynet_error(ctx, "sent %d, again %d", sent == session, again);
  } else if (strcmp(text, "free") == 0) {
    skynet_free(probe->kept);
    skynet_send(ctx, 0, source, PTYPE_RESPONSE, session, "freed", 5);
  } else if (strcmp(text, "malloc") == 0) {
    size_t size = 100000;
    char *made = skynet_malloc(size);
    memset(made, 'm', size);
    skynet_send(ctx, 0, source, PTYPE_RESPONSE | PTYPE_TAG_DONTCOPY, session, made, size);
  } else if (strcmp(text, "who") == 0) {
    char line[200];
    int harbor = -1;
    int remote = skynet_isremote(ctx, source, &harbor);
    const char *reg = skynet_command(ctx, "REG", NULL);
    snprintf(line, sizeof(line), "%s %d %d %d %d %s %d", reg, skynet_current_handle() == skynet_context_handle(ctx),
             remote, harbor, skynet_queryname(ctx, reg) == skynet_current_handle(), skynet_getenv("probe_key"),
             skynet_starttime() > 1600000000 && skynet_now() < 100000);
    skynet_send(ctx, 0, source, PTYPE_RESPONSE, session, line, strlen(line));
  } else if (strcmp(text, "by name") == 0) {
    skynet_sendname(ctx, 0, ".main", PTYPE_TEXT, 0, "to a name", 9);
    int none = skynet_sendname(ctx, 0, ".nobody", PTYPE_TEXT, 0, "x", 1);
    int gone = skynet_send(ctx, 0, 0x00ffffff, PTYPE_TEXT, 0, "x", 1);
    int wrong = skynet_send(ctx, 0, source, PTYPE_TEXT | PTYPE_TAG_ALLOCSESSION, 5, "x", 1);
    skynet_error(ctx, "nobody %d, gone %d, wrong session %d", none, gone, wrong);
  } else if (strcmp(text, "timer") == 0) {
    skynet_command(ctx, "TIMEOUT", "1");
  } else if (strcmp(text, "liar") == 0) {
    /* given away, and answers 0 all the same */
    skynet_send(ctx, 0, source, PTYPE_RESPONSE | PTYPE_TAG_DONTCOPY, session, (void *)msg, sz);
    return 0;
  } else if (strcmp(text, "long line") == 0) {
    char line[1000];
    memset(line, 'l', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\0';
    skynet_error(ctx, "%s.", line);
  } else if (strcmp(text, "exit") == 0) {
    skynet_command(ctx, "EXIT", NULL);
  }
  return 0;
}

void *probe_create (void) {
  return calloc(1, sizeof(Probe));
}

int probe_init (void *inst, struct skynet_context *ctx, const char *args) {
  Probe *probe = inst;
  probe->ctx = ctx;
  if (args && strcmp(args, "refuse") == 0)
    return 1;
  skynet_callback(ctx, probe, handle);
  skynet_error(ctx, "args %s", args ? args : "NULL");
  return 0;
}

void probe_signal (void *inst, int signal) {
  skynet_error(((Probe *)inst)->ctx, "signal %d", signal);
}

void probe_release (void *inst) {
  Probe *probe = inst;
  skynet_error(probe->ctx, "released after %d messages", probe->count);
  free(probe);
}
