/*
** Whether a state may be copied to other addresses (src/image.rs finds and changes
** the pointers). What a pointer's value decides, a copy would have wrong: the place
** of a key in a hash part of more than one node. Strings outside of the state have
** owners that a copy would not count.
*/
static int skein_movablekey (const Node *n, const void *const *outside, size_t count) {
  size_t i;
  if (keyiscollectable(n))
    return keyisshrstr(n) || keytt(n) == ctb(LUA_VLNGSTR);
  if (keytt(n) != LUA_VLIGHTUSERDATA) return 1;
  for (i = 0; i < count; i++)
    if (keyval(n).p == outside[i]) return 0;
  return 1;
}

static int skein_movablestr (const global_State *g, const TString *ts) {
  return ts->shrlen != LSTRMEM || (ts->falloc == g->frealloc && ts->ud == g->ud);
}

static int skein_movableobject (const global_State *g, const GCObject *o,
                                const void *const *outside, size_t count) {
  switch (o->tt) {
    case LUA_VTABLE: {
      Table *t = gco2t(o);
      unsigned i, nodes = sizenode(t);
      for (i = 0; nodes > 1 && i < nodes; i++)
        if (!skein_movablekey(gnode(t, i), outside, count)) return 0;
      return 1;
    }
    case LUA_VLNGSTR: return skein_movablestr(g, gco2ts(o));
    default: return 1;
  }
}

static int skein_movablelist (const global_State *g, const GCObject *o,
                              const void *const *outside, size_t count) {
  for (; o != NULL; o = o->next)
    if (!skein_movableobject(g, o, outside, count)) return 0;
  return 1;
}

/* what a value held before it was nil or a boolean, which are tags alone */
static void skein_wipevalue (int tag, Value *v) {
  if (novariant(tag) == LUA_TNIL || novariant(tag) == LUA_TBOOLEAN) memset(v, 0, sizeof(Value));
}

/* what functions left on the stacks: behind the last value, and in those that are tags alone */
static void skein_wipestack (lua_State *L) {
  StkId slot;
  if (L->stack.p == NULL) return;
  for (slot = L->stack.p; slot < L->top.p; slot++)
    skein_wipevalue(rawtt(s2v(slot)), &s2v(slot)->value_);
  memset((void *)L->top.p, 0, (size_t)((char *)(L->stack_last.p + EXTRA_STACK) - (char *)L->top.p));
}

static void skein_wipetable (Table *t) {
  unsigned i;
  for (i = 0; i < t->asize; i++) skein_wipevalue(*getArrTag(t, i), getArrVal(t, i));
  if (isdummy(t) || shr_common(t)) return;
  for (i = 0; i < sizenode(t); i++)
    skein_wipevalue(rawtt(gval(gnode(t, i))), &gval(gnode(t, i))->value_);
}

static void skein_wipeobject (GCObject *o) {
  switch (o->tt) {
    case LUA_VTABLE: skein_wipetable(gco2t(o)); break;
    case LUA_VTHREAD: skein_wipestack(gco2th(o)); break;
    case LUA_VCCL: {
      CClosure *f = gco2ccl(o);
      int i;
      for (i = 0; i < f->nupvalues; i++) skein_wipevalue(rawtt(&f->upvalue[i]), &f->upvalue[i].value_);
      break;
    }
    case LUA_VUPVAL:
      if (!upisopen(gco2upv(o))) skein_wipevalue(rawtt(&gco2upv(o)->u.value), &gco2upv(o)->u.value.value_);
      break;
    default: break;
  }
}

static void skein_wipe (lua_State *L) {
  global_State *g = G(L);
  GCObject *o;
  int i, j;
  for (i = 0; i < STRCACHE_N; i++) {
    for (j = 0; j < STRCACHE_M; j++) g->strcache[i][j] = g->memerrmsg;
  }
  skein_wipestack(L);
  for (o = g->allgc; o != NULL; o = o->next) skein_wipeobject(o);
}

/* 'outside': addresses that are others in a copy. Wipes what nobody reads: what
   is there depends on addresses. Hash parts that can be common become so. */
LUA_API int skein_ismovable (lua_State *L, const void *const *outside, size_t count) {
  global_State *g = G(L);
  skein_sharenodes(L);
  skein_wipe(L);
  return L == mainthread(g) && L->ci == &L->base_ci && L->errorJmp == NULL &&
         g->tobefnz == NULL &&
         /* between cycles; the generational collector skips the pause */
         (g->gcstate == GCSpause || g->gckind == KGC_GENMINOR) &&
         skein_movablelist(g, g->allgc, outside, count) &&
         skein_movablelist(g, g->finobj, outside, count) &&
         skein_movablelist(g, g->fixedgc, outside, count);
}
