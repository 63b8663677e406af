/*
** Frozen code of the process: files that are compiled once (src/code.rs holds the
** memory and the lock). Nothing here that runs under the lock raises or calls Lua.
*/
#include <pthread.h>

#define shr_round(n)  (((size_t)(n) + 15) & ~(size_t)15)

static size_t shr_strsize (const TString *s) {
  if (s == NULL) return 0;
  return shr_round(strisshr(s) ? sizestrshr(cast_sizet(s->shrlen))
                               : luaS_sizelngstr(s->u.lnglen, LSTRREG));
}

/* at most so many bytes 'shr_proto' takes */
static size_t shr_protosize (const Proto *p) {
  size_t n = shr_round(sizeof(Proto)) + shr_strsize(p->source);
  int i;
  n += shr_round(p->sizecode * sizeof(Instruction));
  n += shr_round(p->sizelineinfo * sizeof(ls_byte));
  n += shr_round(p->sizeabslineinfo * sizeof(AbsLineInfo));
  n += shr_round(p->sizelocvars * sizeof(LocVar));
  n += shr_round(p->sizeupvalues * sizeof(Upvaldesc));
  n += shr_round(p->sizek * sizeof(TValue));
  n += shr_round(p->sizep * sizeof(Proto *));
  for (i = 0; i < p->sizelocvars; i++) n += shr_strsize(p->locvars[i].varname);
  for (i = 0; i < p->sizeupvalues; i++) n += shr_strsize(p->upvalues[i].name);
  for (i = 0; i < p->sizek; i++)
    if (ttisstring(&p->k[i])) n += shr_strsize(tsvalue(&p->k[i]));
  for (i = 0; i < p->sizep; i++) n += shr_protosize(p->p[i]);
  return n;
}

size_t skein_code_size (const void *proto) {
  return shr_protosize((const Proto *)proto);
}

/* freezes a prototype into a target with room for it */
void skein_code_freeze (const void *proto, ShrArena *a) {
  a->flags = SHR_NAMES;
  a->root = shr_proto(a, (const Proto *)proto, NULL, NULL);
}

/* all short strings of a state */
size_t skein_names_size (lua_State *L) {
  const stringtable *tb = &G(L)->strt;
  size_t n = 0;
  int i;
  for (i = 0; i < tb->size; i++) {
    const TString *ts;
    for (ts = tb->hash[i]; ts != NULL; ts = ts->u.hnext) n += shr_strsize(ts);
  }
  return n;
}

void skein_names_freeze (lua_State *L, ShrArena *a) {
  const stringtable *tb = &G(L)->strt;
  int i;
  a->flags = SHR_NAMES;
  for (i = 0; i < tb->size; i++) {
    TString *ts;
    for (ts = tb->hash[i]; ts != NULL; ts = ts->u.hnext) shr_copystr(a, ts);
  }
  __atomic_store_n(&shr_primed, 1, __ATOMIC_RELEASE);
}

/* a state that compiles, and is gone soon: on malloc, without a limit */
static void *skein_plainalloc (void *ud, void *ptr, size_t osize, size_t nsize) {
  (void)ud; (void)osize;
  if (nsize == 0) { free(ptr); return NULL; }
  return realloc(ptr, nsize);
}

static int skein_openall (lua_State *L) {
  luaL_openlibs(L);
  return 0;
}

/* the names that every state has: taken from one before the first real one */
static void skein_primenames (void) {
  lua_State *L = skein_base_newstate(skein_plainalloc, NULL, skein_vm_seed());
  if (L == NULL) return;
  lua_gc(L, LUA_GCSTOP);
  lua_pushcfunction(L, skein_openall);
  if (lua_pcall(L, 0, 0, 0) == LUA_OK) skein_vm_prime(L);
  lua_close(L);
}

LUA_API lua_State *lua_newstate (lua_Alloc f, void *ud, unsigned seed) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  lua_State *L;
  (void)seed;  /* every state hashes short strings with the same seed */
  pthread_once(&once, skein_primenames);
  L = skein_base_newstate(f, ud, skein_vm_seed());
  if (L != NULL) memset(lua_getextraspace(L), 0, LUA_EXTRASPACE);
  return L;
}

/* a state with a seed of its own, before it is known how others hash; it meets no
   shared object */
LUA_API lua_State *skein_newaside (unsigned seed) {
  return skein_base_newstate(skein_plainalloc, NULL, seed);
}

typedef struct SkeinFile {
  const char *name, *mode;
  const void *proto;
} SkeinFile;

static int skein_loadfile (lua_State *L, const char *name, const char *mode);

static int skein_compile (lua_State *L) {
  SkeinFile *file = (SkeinFile *)lua_touserdata(L, 1);
  if (skein_loadfile(L, file->name, file->mode) == LUA_OK)
    file->proto = skein_vm_keep(file->name, clLvalue(s2v(L->top.p - 1))->p);
  return 0;
}

/* compiles a file in a state of its own, whose strings nobody keeps, and freezes
   it; NULL if there was an error or no room */
static const void *skein_freezefile (const char *name, const char *mode) {
  SkeinFile file = {name, mode, NULL};
  lua_State *L = lua_newstate(skein_plainalloc, NULL, 0);
  if (L == NULL) return NULL;
  lua_gc(L, LUA_GCSTOP);
  lua_pushcfunction(L, skein_compile);
  lua_pushlightuserdata(L, &file);
  lua_pcall(L, 1, 0, 0);  /* its error is found again by who asked */
  lua_close(L);
  return file.proto;
}

