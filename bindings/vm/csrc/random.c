/*
** Where 'math.random' keeps its numbers: for counted states behind the request word
** (src/state.rs: Memory), so that its functions need no upvalue, and the table of
** the library is the same in all states. Other states have Lua's own userdata.
*/
#define skein_hasrandoms(L)  (G(L)->frealloc == skein_counted)

static void *skein_randoms (lua_State *L, int idx) {
  return skein_hasrandoms(L) ? (char *)G(L)->ud + sizeof(skein_Request)
                             : lua_touserdata(L, idx);
}

static void *skein_newrandoms (lua_State *L, size_t size) {
  return skein_hasrandoms(L) ? skein_randoms(L, 0) : lua_newuserdatauv(L, size, 0);
}

/* 'nup' is 1 for those that have the userdata as upvalue */
static void skein_setfuncs (lua_State *L, const luaL_Reg *l, int nup) {
  luaL_setfuncs(L, l, skein_hasrandoms(L) ? 0 : nup);
}

#define lua_touserdata(L,idx)  skein_randoms(L, idx)
#define lua_newuserdatauv(L,size,nuv)  skein_newrandoms(L, size)
#define luaL_setfuncs(L,l,nup)  skein_setfuncs(L, l, nup)
#include "lmathlib.c"
#undef lua_touserdata
#undef lua_newuserdatauv
#undef luaL_setfuncs
