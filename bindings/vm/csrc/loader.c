/*
** Files as the machine sees them: 'loadfile', 'dofile' and the searcher of
** 'require' all come through 'luaL_loadfilex'; 'package.searchpath' through
** 'readable'.
**
** Names that begin with "skein:/" are files embedded in the program. Frozen code is
** kept for the whole process under the name of its file: a hit opens no file,
** ignores 'mode', and is a fresh closure over the code that all states run.
*/
#include <fcntl.h>
#include <unistd.h>

static const char skein_embedded_prefix[] = "skein:/";

static int skein_isembedded (const char *name) {
  return strncmp(name, skein_embedded_prefix, sizeof(skein_embedded_prefix) - 1) == 0;
}

/* 0 on (the initial state), 1 off, 2 use but never add */
enum { SKEIN_CACHE_ON, SKEIN_CACHE_OFF, SKEIN_CACHE_EXIST };
static const char skein_cachekey = 0;

LUA_API int skein_cachemode (lua_State *L) {
  int mode;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &skein_cachekey);
  mode = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  return mode;
}

/* may raise a memory error */
LUA_API void skein_setcachemode (lua_State *L, int mode) {
  lua_pushinteger(L, mode);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &skein_cachekey);
}

static int skein_loadembedded (lua_State *L, const char *name, const char *mode) {
  const char *data;
  size_t size;
  int status;
  if (!skein_vm_embedded(name, &data, &size)) {
    lua_pushfstring(L, "cannot open %s: %s", name, strerror(ENOENT));
    return LUA_ERRFILE;
  }
  lua_pushfstring(L, "@%s", name);
  status = luaL_loadbufferx(L, data, size, lua_tostring(L, -1), mode);
  lua_remove(L, -2);
  return status;
}

static int skein_isreadable (const char *name);

/* a file as it is, without the cache */
static int skein_loadfile (lua_State *L, const char *name, const char *mode) {
  return skein_isembedded(name) ? skein_loadembedded(L, name, mode)
                                : skein_base_loadfilex(L, name, mode);
}

LUALIB_API int luaL_loadfilex (lua_State *L, const char *name, const char *mode) {
  const void *code;
  int cache;
  if (name == NULL)  /* standard input */
    return skein_base_loadfilex(L, NULL, mode);
  luaL_checkstack(L, 5, NULL);
  cache = skein_cachemode(L);
  code = cache == SKEIN_CACHE_OFF ? NULL : skein_vm_code(name);
  if (code == NULL && cache == SKEIN_CACHE_ON && skein_isreadable(name))
    code = skein_freezefile(name, mode);
  if (code == NULL)  /* also to tell what was wrong with it */
    return skein_loadfile(L, name, mode);
  skein_pushcode(L, code);
  return LUA_OK;
}

/* 'readable' of loadlib.c opens and closes; what it opens is never read, so there
   is no need for a FILE. A service that starts asks for a dozen files that are not
   there. */
static FILE *skein_openprobe (const char *name, const char *mode) {
  const char *data;
  size_t size;
  int file;
  (void)mode;
  if (skein_isembedded(name))
    return skein_vm_embedded(name, &data, &size) ? (FILE *)&skein_cachekey : NULL;
  do file = open(name, O_RDONLY); while (file < 0 && errno == EINTR);
  if (file < 0) return NULL;
  close(file);
  return (FILE *)&skein_cachekey;
}

static int skein_closeprobe (FILE *f) { (void)f; return 0; }

/* whether there is a file to compile: without one, making a state for that is not
   worth its while */
static int skein_isreadable (const char *name) {
  return skein_openprobe(name, "r") != NULL;
}
