/*
** What a state does about versions of frozen tables: finds out which it refers to
** (the scan), and goes over from old ones to new ones (renew). src/versions.rs has
** the rules.
*/

/* ---- from an old version to a new one, by the paths of their tables ---------- */

typedef struct ShrPairs {
  struct { Table *old, *now; } *list;
  size_t n, room, at;
  uint32_t *map;
  uintptr_t base;
  int failed;
} ShrPairs;

static void shr_pair (ShrPairs *p, Table *old, Table *now) {
  uint32_t *to = &p->map[(size_t)(uintptr_t)old->next];
  if (*to != 0 || p->failed) return;  /* the first path counts */
  *to = (uint32_t)(((uintptr_t)now - p->base) >> 4);
  if (p->n == p->room) {
    size_t room = p->room ? p->room * 2 : 256;
    void *list = realloc(p->list, room * sizeof(*p->list));
    if (list == NULL) { p->failed = 1; return; }
    p->list = list;
    p->room = room;
  }
  p->list[p->n].old = old;
  p->list[p->n].now = now;
  p->n++;
}

/* what 'now' has where node 'i' of 'old' is; usually it is in the same place */
static const TValue *shr_samekey (Table *old, unsigned i, Table *now, TValue *found) {
  Node *n = gnode(old, i);
  if (keytt(n) == ctb(LUA_VSHRSTR)) {
    if (old->lsizenode == now->lsizenode && !isdummy(now)) {
      Node *same = gnode(now, i);
      if (keytt(same) == ctb(LUA_VSHRSTR) &&
          shr_streq(gco2ts(gckey(n)), gco2ts(gckey(same))))
        return gval(same);
    }
    return luaH_Hgetshortstr(now, gco2ts(gckey(n)));
  }
  if (keytt(n) == ctb(LUA_VTABLE) || keytt(n) == ctb(LUA_VLCL))
    return NULL;  /* no path leads through those */
  {
    TValue k;
    getnodekey(cast(lua_State *, NULL), &k, n);
    luaH_get(now, &k, found);
    return found;
  }
}

/* for each table of the old version, by number: where the table of the same path is in
   the segment at 'base', in 16ths, or 0. Answers 0 if there is no memory */
int skein_forward (const void *old, const void *now, uintptr_t base, uint32_t *map) {
  ShrPairs p;
  memset(&p, 0, sizeof(p));
  p.map = map;
  p.base = base;
  shr_pair(&p, (Table *)old, (Table *)now);
  while (p.at < p.n && !p.failed) {
    Table *o = p.list[p.at].old, *t = p.list[p.at].now;
    TValue found;
    unsigned i;
    p.at++;
    for (i = 0; i < o->asize; i++) {
      if (*getArrTag(o, i) != ctb(LUA_VTABLE)) continue;
      setempty(&found);
      if (i < t->asize) { farr2val(t, i, *getArrTag(t, i), &found); }
      else luaH_getint(t, (lua_Integer)i + 1, &found);
      if (ttistable(&found)) shr_pair(&p, gco2t(getArrVal(o, i)->gc), hvalue(&found));
    }
    for (i = 0; i < sizenode(o); i++) {
      const TValue *v;
      if (!ttistable(gval(gnode(o, i)))) continue;
      v = shr_samekey(o, i, t, &found);
      if (v != NULL && ttistable(v)) shr_pair(&p, hvalue(gval(gnode(o, i))), hvalue(v));
    }
    if (o->metatable && t->metatable) shr_pair(&p, o->metatable, t->metatable);
  }
  free(p.list);
  return !p.failed;
}

/* ---- renew -------------------------------------------------------------------- */

typedef struct ShrOld {  /* src/versions.rs: Old */
  uintptr_t base, end;
  uintptr_t now;         /* where the new version begins */
  const uint32_t *map;
  size_t left;           /* references that had to stay */
} ShrOld;

typedef struct ShrRenew {
  ShrOld *olds;
  size_t n;
} ShrRenew;

static ShrOld *shr_oldof (ShrRenew *r, const void *p) {
  size_t i;
  if (l_likely(!shr_in(p))) return NULL;
  for (i = 0; i < r->n; i++)
    if ((uintptr_t)p - r->olds[i].base < r->olds[i].end - r->olds[i].base) return &r->olds[i];
  return NULL;
}

#define shr_mapped(old,t)  ((old)->map[(size_t)(uintptr_t)(t)->next])
#define shr_newof(old,to)  ((Table *)((old)->now + ((uintptr_t)(to) << 4)))

/* strings are values: an equal one of the state's own is as good */
static TString *shr_ownstr (lua_State *L, TString *s) {
  return strisshr(s) ? luaS_newlstr(L, rawgetshrstr(s), cast_sizet(s->shrlen))
                     : luaS_newlstr(L, getlngstr(s), s->u.lnglen);
}

enum { RENEW_SAME, RENEW_SHARED, RENEW_OWN, RENEW_GONE };

/* replaces what a place holds; 'keep' leaves strings alone, because C may look at them */
static int shr_renewvalue (lua_State *L, ShrRenew *r, lu_byte tt, Value *v, int keep) {
  ShrOld *old;
  if (!(tt & BIT_ISCOLLECTABLE)) return RENEW_SAME;
  old = shr_oldof(r, v->gc);
  if (l_likely(old == NULL)) return RENEW_SAME;
  if (tt == ctb(LUA_VTABLE)) {
    uint32_t to = shr_mapped(old, gco2t(v->gc));
    if (to == 0) return RENEW_GONE;
    v->gc = obj2gco(shr_newof(old, to));
    return RENEW_SHARED;
  }
  if (novariant(tt & 0x3f) == LUA_TSTRING && !keep) {
    v->gc = obj2gco(shr_ownstr(L, gco2ts(v->gc)));
    return RENEW_OWN;
  }
  old->left++;
  return RENEW_SAME;
}

static void shr_renewmeta (ShrRenew *r, Table **mt) {
  ShrOld *old;
  if (*mt == NULL || (old = shr_oldof(r, *mt)) == NULL) return;
  {
    uint32_t to = shr_mapped(old, *mt);
    *mt = to ? shr_newof(old, to) : NULL;
  }
}

/* Keys that are tables change their place. New pairs come first, so that nothing is lost
   when there is no memory. An insertion may move other pairs, to places that were passed
   already, so this goes on until there is nothing left to do. */
static void shr_renewkeys (lua_State *L, ShrRenew *r, Table *h) {
  int again;
  do {
    unsigned i;
    again = 0;
    for (i = 0; i < sizenode(h); i++) {
      Node *n = gnode(h, i);
      ShrOld *old;
      TValue k, v;
      uint32_t to;
      if (keytt(n) != ctb(LUA_VTABLE) || (old = shr_oldof(r, gckey(n))) == NULL) continue;
      if (!isempty(gval(n)) && (to = shr_mapped(old, gco2t(gckey(n)))) != 0) {
        TValue nk;
        Table *t = shr_newof(old, to);
        getnodekey(L, &k, n);
        setobj(L, &v, gval(n));
        sethvalue(L, &nk, t);
        luaH_set(L, h, &nk, &v);
        invalidateTMcache(h);
        n = nodefromval(getgeneric(h, &k, 0));  /* it may have moved */
        again = 1;
      }
      setempty(gval(n));
      setdeadkey(n);
    }
  } while (again);
}

/* What anchors strings for C code (upvalues of C functions, user values, the registry)
   keeps them: C may have their addresses. */
static void shr_renewtable (lua_State *L, ShrRenew *r, Table *h) {
  unsigned i;
  int own = 0, keys = 0, keep = h == hvalue(&G(L)->l_registry);
  shr_renewmeta(r, &h->metatable);
  for (i = 0; i < h->asize; i++) {
    lu_byte *tag = getArrTag(h, i);
    switch (shr_renewvalue(L, r, *tag, getArrVal(h, i), keep)) {
      case RENEW_OWN: own = 1; break;
      case RENEW_GONE: *tag = LUA_VEMPTY; break;
      default: break;
    }
  }
  if (!isdummy(h)) {
    for (i = 0; i < sizenode(h); i++) {
      Node *n = gnode(h, i);
      TValue *v = gval(n);
      if (!isempty(v)) {
        switch (shr_renewvalue(L, r, rawtt(v), &v->value_, keep)) {
          case RENEW_OWN: own = 1; break;
          case RENEW_GONE: setempty(v); break;
          default: break;
        }
      }
      if (keyiscollectable(n) && shr_oldof(r, gckey(n)) != NULL) {
        if (keytt(n) == ctb(LUA_VTABLE)) keys = 1;
        else if (isempty(v)) setdeadkey(n);
        /* an equal string has the same hash, so it is in the right place */
        else if (shr_renewvalue(L, r, keytt(n), &keyval(n), keep) == RENEW_OWN) own = 1;
      }
    }
  }
  if (own && isblack(h)) luaC_barrierback_(L, obj2gco(h));
  if (keys) shr_renewkeys(L, r, h);
}

/* C functions that will go on may look at bytes of strings in their frames */
static int shr_looksatstrings (const lua_State *th, const CallInfo *ci) {
  if (isLua(ci)) return 0;
  return !(th->status == LUA_YIELD && ci == th->ci && ci->u.c.k == NULL);
}

static void shr_renewthread (lua_State *L, ShrRenew *r, lua_State *th) {
  CallInfo *ci;
  StkId end = th->top.p;
  if (th->stack.p == NULL) return;  /* not complete yet */
  for (ci = th->ci; ci != NULL; ci = ci->previous) {
    StkId at = ci == &th->base_ci ? th->stack.p : ci->func.p;
    int keep = shr_looksatstrings(th, ci);
    for (; at < end; at++) {
      TValue *v = s2v(at);
      if (shr_renewvalue(L, r, rawtt(v), &v->value_, keep) == RENEW_GONE) setnilvalue(v);
    }
    end = ci->func.p;
  }
}

static void shr_renewobject (lua_State *L, ShrRenew *r, GCObject *o) {
  int i;
  switch (o->tt) {
    case LUA_VTABLE:
      shr_renewtable(L, r, gco2t(o));
      break;
    case LUA_VUPVAL: {
      UpVal *uv = gco2upv(o);
      if (upisopen(uv)) break;  /* on some stack */
      switch (shr_renewvalue(L, r, rawtt(&uv->u.value), &uv->u.value.value_, 0)) {
        case RENEW_OWN: luaC_barrier(L, uv, &uv->u.value); break;
        case RENEW_GONE: setnilvalue(&uv->u.value); break;
        default: break;
      }
      break;
    }
    case LUA_VLCL: {
      /* made by a function of a table; its upvalues are objects of their own */
      ShrOld *old = shr_oldof(r, gco2lcl(o)->p);
      if (old != NULL) old->left++;
      break;
    }
    case LUA_VCCL: {
      CClosure *f = gco2ccl(o);
      for (i = 0; i < f->nupvalues; i++) {
        TValue *v = &f->upvalue[i];
        if (shr_renewvalue(L, r, rawtt(v), &v->value_, 1) == RENEW_GONE) setnilvalue(v);
      }
      break;
    }
    case LUA_VUSERDATA: {
      Udata *u = gco2u(o);
      shr_renewmeta(r, &u->metatable);
      for (i = 0; i < u->nuvalue; i++) {
        TValue *v = &u->uv[i].uv;
        if (shr_renewvalue(L, r, rawtt(v), &v->value_, 1) == RENEW_GONE) setnilvalue(v);
      }
      break;
    }
    case LUA_VTHREAD:
      shr_renewthread(L, r, gco2th(o));
      break;
    default:
      break;  /* strings and prototypes refer to nothing of ours */
  }
}

static void shr_renewall (lua_State *L, void *ud) {
  ShrRenew *r = (ShrRenew *)ud;
  global_State *g = G(L);
  GCObject *lists[] = {g->allgc, g->finobj, g->tobefnz, g->fixedgc}, *o;
  int i;
  /* the memory of an object stays while it is in a list, dead or not, and of what it
     refers to only the address is looked at */
  for (i = 0; i < 4; i++)
    for (o = lists[i]; o != NULL; o = o->next) shr_renewobject(L, r, o);
  shr_renewthread(L, r, mainthread(g));
  for (i = 0; i < LUA_NUMTYPES; i++) shr_renewmeta(r, &g->mt[i]);
  if (shr_renewvalue(L, r, rawtt(&g->l_registry), &g->l_registry.value_, 1) == RENEW_GONE)
    setnilvalue(&g->l_registry);
}

/* Replaces all that a state refers to in old versions by what is there in the new ones,
   or by nil; raises a memory error. */
LUA_API void skein_renew (lua_State *L, ShrOld *olds, size_t n) {
  ShrRenew r;
  global_State *g = G(L);
  lu_byte stopem = g->gcstopem, stopped = g->gcstp;
  TStatus status;
  r.olds = olds;
  r.n = n;
  g->gcstopem = 1;  /* no collection in the middle, whatever is allocated */
  g->gcstp |= GCSTPGC;
  status = luaD_rawrunprotected(L, shr_renewall, &r);
  g->gcstopem = stopem;
  g->gcstp = stopped;
  if (status != LUA_OK) luaD_throw(L, status);
}

/* ---- the scan ------------------------------------------------------------------- */

/* A full stop-the-world cycle that says which of the watched segments are strongly
   referred to, and clears weak references into others. Answers 0, and has done nothing,
   inside a finalizer. */
LUA_API int skein_scan (lua_State *L, ShrWatch *watches, size_t n) {
  if (G(L)->gcstp & (GCSTPGC | GCSTPCLS)) return 0;
  shr_watches = watches;
  shr_nwatches = n;
  shr_unheld = NULL;
  luaC_fullgc(L, 0);          /* all modes: marks everything from the roots in one go */
  shr_watches = NULL;
  shr_nwatches = 0;
  return 1;
}

/* ---- what skynet's own Lua library asks ------------------------------------------- */

/* Pushes the values of the top frame of 'co' on 'L', at most 'most'; how many. The
   caller has made room for so many. Nothing for the thread that runs. */
LUA_API int skein_frame (lua_State *L, lua_State *co, int most) {
  StkId at;
  int n = 0;
  if (co == L || co->status != LUA_YIELD) {
    if (co == L || co->ci != &co->base_ci) return 0;
  }
  for (at = co->ci->func.p + 1; at < co->top.p && n < most; at++, n++) {
    setobj2s(L, L->top.p, s2v(at));
    api_incr_top(L);
  }
  return n;
}
