/*
** What native functions find without upvalues: whose the state is, and what another
** thread of it has. So they are light C functions, which cost a state nothing but
** their place in a table.
**
** The words lie in front of the main thread; those in front of other threads, which
** the machine copies when it makes them, nobody reads. The last one is the word that
** 'lua_getextraspace' of modules finds.
*/
typedef struct skein_Own {
  void *owner;      /* src/owner.rs */
  size_t measured;  /* coroutines that somebody measures */
  void *of_modules;
} skein_Own;

_Static_assert(sizeof(skein_Own) == LUA_EXTRASPACE, "as in luaconf.h above");

#define skein_ownof(L)  ((skein_Own *)lua_getextraspace(mainthread(G(L))))

LUA_API void *skein_owner (lua_State *L) {
  return skein_ownof(L)->owner;
}

LUA_API void skein_setowner (lua_State *L, void *owner) {
  skein_ownof(L)->owner = owner;
}

LUA_API size_t *skein_measured (lua_State *L) {
  return &skein_ownof(L)->measured;
}

/* pushes what another thread of the state has at 'idx', not a pseudo-index */
LUA_API void skein_pushfrom (lua_State *L, lua_State *from, int idx) {
  setobj2s(L, L->top.p, index2value(from, idx));
  api_incr_top(L);
}

/* pushes another thread of the state, which may have no free slot */
LUA_API void skein_pushthread (lua_State *L, lua_State *other) {
  setthvalue(L, s2v(L->top.p), other);
  api_incr_top(L);
}

/* 'lua_rawget' from a table that another thread of the state has at 'idx' */
LUA_API int skein_rawgetfrom (lua_State *L, lua_State *from, int idx) {
  TValue *key = s2v(L->top.p - 1);
  lu_byte tag = luaH_get(hvalue(index2value(from, idx)), key, key);
  if (tagisempty(tag)) setnilvalue(key);
  return ttype(key);
}
