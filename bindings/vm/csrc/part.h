/*
** Parts of strings, as 'string.sub' and captures make them: one that ends a string which
** shows a block shows the block as well (extern.h), if it is long and enough of it.
*/
#ifndef skein_part_h
#define skein_part_h

LUA_API void skein_pushblock (lua_State *L, const char *s, size_t len, void *owner);

#define SKEIN_PART  1024  /* shorter ones are copied, as everywhere */

/* 'lua_pushlstring' of bytes that may be some of the string in slot 1, or in slot 2
   ('string.unpack'), which keeps them alive until they have an owner more */
static const char *skein_pushpart (lua_State *L, const char *s, size_t len) {
  int i;
  if (l_likely(len < SKEIN_PART)) return lua_pushlstring(L, s, len);
  for (i = 1; i <= 2; i++) {
    const TValue *o = index2value(L, i);
    if (ttislngstring(o) && tsvalue(o)->shrlen == SKEIN_STRBLOCK) {
      const TString *whole = tsvalue(o);
      if (s + len == whole->contents + whole->u.lnglen && len <= whole->u.lnglen &&
          skein_vm_worth(whole->ud, len)) {
        skein_pushblock(L, s, len, whole->ud);
        return s;
      }
    }
  }
  return lua_pushlstring(L, s, len);
}

#endif
