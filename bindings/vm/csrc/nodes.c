/*
** Hash parts that states have in common. The tables of libraries are the same in
** every state: names, and functions without upvalues. Such a table is each state's
** own, but for its nodes, which lie in the code area until somebody writes to it.
**
**   C1  In common nodes there are only strings of the code area as keys, and such
**       strings, booleans, numbers and light C functions as values: nothing there
**       refers to a state, and no collector looks at it.
**   C2  A table with common nodes has no metatable: whoever sets one makes the nodes
**       its own. So a write is a raw one, and 'luaH_finishset' may do it.
**   C3  Every way to write to a table asks before: the macros of onevm.c for the
**       interpreter and the interface; the collector writes to nodes without a
**       value that have a key (C1), and to those of weak tables (C2).
*/

/* makes the nodes of a table its own */
static __attribute__((noinline, cold))
void skein_copynodes (lua_State *L, Table *t) {
  Table own;
  unsigned size = sizenode(t);
  own.flags = 0;
  setnodevector(L, &own, size);
  memcpy((void *)own.node, t->node, size * sizeof(Node));
  t->node = own.node;
}

#define skein_ownnodes(L,t)  \
  (l_unlikely(shr_common(t)) ? skein_copynodes(L, t) : (void)0)

static void luaH_finishset (lua_State *L, Table *t, const TValue *key,
                            TValue *value, int hres) {
  if (l_unlikely(shr_common(t))) {
    skein_copynodes(L, t);
    hres = luaH_pset(t, key, value);
    if (hres == HOK) return;
  }
  shr_base_finishset(L, t, key, value, hres);
}

static lu_mem luaH_size (Table *t) {
  return shr_base_size(t) - (shr_common(t) ? sizehash(t) : 0);
}

static void luaH_free (lua_State *L, Table *t) {
  if (shr_common(t)) setnodevector(L, t, 0);
  shr_base_free(L, t);
}

/* whether a table may have its nodes in common with others; they are copied to
   'nodes', where every bit is set, so that they can be compared */
static int skein_iscommon (const Table *t, Node *nodes) {
  unsigned i;
  if (isdummy(t) || shr_common(t) || t->metatable != NULL) return 0;
  memset((void *)nodes, 0, sizenode(t) * sizeof(Node));
  for (i = 0; i < sizenode(t); i++) {
    const Node *n = gnode(t, i);
    Node *d = &nodes[i];
    gnext(d) = gnext(n);
    if (isempty(gval(n))) {
      if (!keyisnil(n)) return 0;
      setempty(gval(d));
      setnilkey(d);
      continue;
    }
    if (!keyisshrstr(n) || !shr_incode(keystrval(n))) return 0;
    switch (ttypetag(gval(n))) {
      case LUA_VFALSE: case LUA_VTRUE: break;
      case LUA_VNUMINT: case LUA_VNUMFLT: case LUA_VLCF: d->u.value_ = n->u.value_; break;
      case LUA_VSHRSTR:
        if (!shr_incode(tsvalue(gval(n)))) return 0;
        d->u.value_ = n->u.value_;
        break;
      default: return 0;
    }
    d->u.key_tt = n->u.key_tt;
    d->u.key_val = n->u.key_val;
    d->u.tt_ = n->u.tt_;
  }
  return 1;
}

/* gives every table of a state that may have them common nodes */
static void skein_sharenodes (lua_State *L) {
  enum { MOST = 128 };
  Node nodes[MOST];
  GCObject *o;
  for (o = G(L)->allgc; o != NULL; o = o->next) {
    Table *t;
    const void *common;
    if (o->tt != LUA_VTABLE) continue;
    t = gco2t(o);
    if (t->lsizenode < 2 || sizenode(t) > MOST || !skein_iscommon(t, nodes)) continue;
    common = skein_vm_common(nodes, sizenode(t) * sizeof(Node));
    if (common == NULL) continue;
    freehash(L, t);
    t->node = (Node *)common;
  }
}
