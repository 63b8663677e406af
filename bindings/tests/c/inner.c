/* A C module of a Lua service that speaks to the runtime. */

#include <string.h>
#include "lua.h"
#include "lauxlib.h"
#include "skein.h"

static struct skynet_context *context (lua_State *L) {
  struct skynet_context *ctx;
  lua_getfield(L, LUA_REGISTRYINDEX, "skynet_context");
  ctx = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return ctx;
}

/* send(address, type, bytes) copies; give(address, type, pointer, size) gives away what Lua had */
static int send (lua_State *L) {
  size_t size;
  const char *text = luaL_checklstring(L, 3, &size);
  lua_pushinteger(L, skynet_send(context(L), 0, (uint32_t)luaL_checkinteger(L, 1), (int)luaL_checkinteger(L, 2), 0, (void *)text, size));
  return 1;
}

static int give (lua_State *L) {
  void *at = lua_touserdata(L, 3);
  size_t size = (size_t)luaL_checkinteger(L, 4);
  int type = (int)luaL_checkinteger(L, 2) | PTYPE_TAG_DONTCOPY;
  lua_pushinteger(L, skynet_send(context(L), 0, (uint32_t)luaL_checkinteger(L, 1), type, 0, at, size));
  return 1;
}

/* made(text): memory of malloc, as pointer and size, for whoever sends it */
static int made (lua_State *L) {
  size_t size;
  const char *text = luaL_checklstring(L, 1, &size);
  char *copy = malloc(size + 1);
  memcpy(copy, text, size + 1);
  lua_pushlightuserdata(L, copy);
  lua_pushinteger(L, (lua_Integer)size);
  return 2;
}

static int release (lua_State *L) {
  free(lua_touserdata(L, 1));
  return 0;
}

static int handle (lua_State *L) {
  lua_pushinteger(L, skynet_current_handle());
  lua_pushinteger(L, skynet_context_handle(context(L)));
  return 2;
}

int luaopen_inner (lua_State *L) {
  static const luaL_Reg functions[] = {
    { "send", send }, { "give", give }, { "made", made }, { "release", release }, { "handle", handle }, { NULL, NULL }
  };
  luaL_newlib(L, functions);
  return 1;
}
