/*
** Making and recognising strings whose bytes lie in an arena block (extern.h), and
** strings whose bytes are written where they are.
*/

/* pushes the 'len' > LUAI_MAXSHORTLEN bytes at 's', with a NUL behind them, as a string
   that owns a reference to the block 'owner' from when nothing can raise any more; until
   then the caller keeps the block alive. Runs the collector as any new string does. */
LUA_API void skein_pushblock (lua_State *L, const char *s, size_t len, void *owner) {
  global_State *g = G(L);
  TString *ts;
  int counted = g->frealloc == skein_counted;
  size_t share;
  lua_assert(len > LUAI_MAXSHORTLEN && s[len] == '\0');
  ts = createstrobj(L, sizeof(TString), LUA_VLNGSTR, g->seed);
  /* an empty one, in case that there is no room for more */
  ts->shrlen = SKEIN_STRBLOCK;
  ts->u.lnglen = 0;
  ts->contents = cast_charp("");
  skein_setshare(ts, 0);
  ts->ud = NULL;
  setsvalue2s(L, L->top.p, ts);
  api_incr_top(L);
  if (counted && l_unlikely(!skein_vm_charge(g->ud, len))) {
    /* as the machine does when an allocation fails */
    if (completestate(g) && !g->gcstopem) luaC_fullgc(L, 1);
    if (!skein_vm_charge(g->ud, len)) luaM_error(L);
  }
  share = len / skein_vm_acquire(owner);
  ts->contents = cast_charp(s);
  ts->u.lnglen = len;
  ts->ud = owner;
  skein_setshare(ts, share);
  g->GCdebt -= cast(l_mem, share);
  luaC_checkGC(L);
}

/* the block that the string at 'idx' refers to; NULL if it is none of ours */
LUA_API void *skein_blockof (lua_State *L, int idx) {
  const TValue *o = index2value(L, idx);
  if (!ttislngstring(o) || tsvalue(o)->shrlen != SKEIN_STRBLOCK) return NULL;
  return tsvalue(o)->ud;
}

/* pushes a string of 'len' > LUAI_MAXSHORTLEN bytes that the caller writes before it does
   anything else with the state. May raise a memory error, and runs no finalizers: 'skein_pay'
   does, when the string is written. */
LUA_API char *skein_pushblank (lua_State *L, size_t len) {
  TString *ts = luaS_createlngstrobj(L, len);
  lua_assert(len > LUAI_MAXSHORTLEN);
  setsvalue2s(L, L->top.p, ts);
  api_incr_top(L);
  return getlngstr(ts);
}

/* lets the collector do what is due */
LUA_API void skein_pay (lua_State *L) {
  luaC_checkGC(L);
}
