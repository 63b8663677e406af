/*
** Files as the machine sees them: 'loadfile', 'dofile' and the searcher of
** 'require' all come through 'luaL_loadfilex'; 'package.searchpath' through
** 'readable'.
**
** Names that begin with "skein:/" are files embedded in the program. Compiled
** chunks are kept for the whole process under the name of their file: a hit opens
** no file and ignores 'mode', and loads the kept bytes in place (code and long
** strings are not copied). Each load gives a fresh closure.
*/
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

/* keeps the chunk on the top of the stack; if memory is short, it is not kept */
static void skein_keepchunk (lua_State *L, const char *name) {
  lua_pushcfunction(L, str_dump);  /* 'string.dump', debug information included */
  lua_pushvalue(L, -2);
  if (lua_pcall(L, 1, 1, 0) == LUA_OK) {
    size_t size;
    const char *data = lua_tolstring(L, -1, &size);
    skein_vm_keep(name, data, size);
  }
  lua_pop(L, 1);
}

LUALIB_API int luaL_loadfilex (lua_State *L, const char *name, const char *mode) {
  const char *data;
  size_t size;
  int cache, status;
  if (name == NULL)  /* standard input */
    return skein_base_loadfilex(L, NULL, mode);
  luaL_checkstack(L, 5, NULL);
  cache = skein_cachemode(L);
  if (cache != SKEIN_CACHE_OFF && skein_vm_chunk(name, &data, &size))
    return luaL_loadbufferx(L, data, size, name, "B");  /* 'B': in place */
  status = skein_isembedded(name) ? skein_loadembedded(L, name, mode)
                                  : skein_base_loadfilex(L, name, mode);
  if (status == LUA_OK && cache == SKEIN_CACHE_ON)
    skein_keepchunk(L, name);
  return status;
}

/* 'readable' of loadlib.c opens and closes; what it opens is never read */
static FILE *skein_openprobe (const char *name, const char *mode) {
  const char *data;
  size_t size;
  if (!skein_isembedded(name)) return (fopen)(name, mode);
  return skein_vm_embedded(name, &data, &size) ? (FILE *)&skein_cachekey : NULL;
}

static int skein_closeprobe (FILE *f) {
  return f == (FILE *)&skein_cachekey ? 0 : (fclose)(f);
}
