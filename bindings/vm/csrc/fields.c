/*
** Filling tables that were just made: as the API does it, in fewer steps. The usual
** is a short string as key whose main position was never used. Then no key of the table
** has that main position, so this one is not there, and what the machine does for a new
** key is to write it there.
*/

static inline int fields_fast (lua_State *L, Table *t, TString *name, const TValue *v) {
  Node *mp = gnode(t, lmod(name->hash, sizenode(t)));
  if (l_unlikely(!keyisnil(mp) || !isempty(gval(mp)) || isdummy(t) ||
                 shr_common(t) || ttisnil(v)))
    return 0;
  mp->u.key_val.gc = obj2gco(name);
  mp->u.key_tt = ctb(LUA_VSHRSTR);
  setobj2t(L, gval(mp), v);
  invalidateTMcache(t);
  if (isblack(obj2gco(t))) {
    if (iswhite(obj2gco(name)) || (iscollectable(v) && iswhite(gcvalue(v))))
      luaC_barrierback_(L, obj2gco(t));
  }
  return 1;
}

/* 'lua_rawset(L, -3)' into a table of the state's own */
LUA_API void skein_setpair (lua_State *L) {
  const TValue *key = s2v(L->top.p - 2);
  Table *t = hvalue(s2v(L->top.p - 3));
  if (l_likely(ttisshrstring(key)) &&
      l_likely(fields_fast(L, t, tsvalue(key), s2v(L->top.p - 1))))
    L->top.p -= 2;
  else
    lua_rawset(L, -3);
}

/* t[name] = value, raw, for a table of the state's own below the value, which is popped.
   There is a free slot. Runs no finalizers. */
LUA_API void skein_setnamed (lua_State *L, const char *name, size_t len) {
  TString *ts = luaS_newlstr(L, name, len);
  Table *t = hvalue(s2v(L->top.p - 2));
  if (l_likely(strisshr(ts)) && l_likely(fields_fast(L, t, ts, s2v(L->top.p - 1)))) {
    L->top.p--;
    return;
  }
  setobjs2s(L, L->top.p, L->top.p - 1);
  setsvalue2s(L, L->top.p - 1, ts);
  api_incr_top(L);
  lua_rawset(L, -3);
}
