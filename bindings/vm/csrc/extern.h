/*
** Strings whose bytes lie in an arena block: what the collector does with them.
** extern.c makes them, src/external.rs has the rules.
**
** They are long strings of a kind of their own. The machine asks only whether a
** string is short (shrlen >= 0) or a regular long one, so another negative number is
** safe. The object owns one reference to the block ('ud'). Its bytes count as if they
** were part of it in the memory of the state; in the collector's debt and in what it
** believes is alive, a share of them does. That number lies where others have 'falloc'.
*/
#ifndef skein_extern_h
#define skein_extern_h

#define SKEIN_STRBLOCK  -4  /* beside LSTRREG, LSTRFIX, LSTRMEM */

static lua_Alloc skein_counted;  /* interrupt.c: the allocator of counted states */

#define skein_share(ts)  ((size_t)(uintptr_t)(ts)->falloc)
#define skein_setshare(ts,bytes)  ((ts)->falloc = (lua_Alloc)(uintptr_t)(bytes))

/* bytes of a long string for the collector's bookkeeping; 'len' lies in the string */
static inline size_t skein_sizelng (const size_t *len, int kind) {
  const TString *ts = (const TString *)((const char *)len - offsetof(TString, u.lnglen));
  return kind == SKEIN_STRBLOCK ? sizeof(TString) + skein_share(ts)
                                : luaS_sizelngstr(*len, kind);
}

static void skein_freestr (lua_State *L, TString *ts, size_t size) {
  if (!strisshr(ts) && ts->shrlen == SKEIN_STRBLOCK) {
    global_State *g = G(L);
    size_t len = ts->u.lnglen;
    if (ts->ud != NULL) skein_vm_release(ts->ud);
    if (g->frealloc == skein_counted) skein_vm_discharge(g->ud, len);
    g->GCdebt += cast(l_mem, skein_share(ts));
    size = sizeof(TString);
  }
  luaM_free_(L, ts, size);
}

#endif
