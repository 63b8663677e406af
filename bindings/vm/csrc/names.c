/*
** One short string for the whole process: frozen code has constants, and every
** state has strings of its own. Were they different objects, each field access of
** frozen code would compare contents. So the short strings of frozen code are kept
** in a table of the process, and a state that meets one of them for the first time
** takes it from there instead of making its own.
**
**   N1  A state that has a string of its own keeps it: within a state, interning
**       answers one object for one content (the parser compares addresses).
**   N2  Strings in the code area are unique by content: two of them are equal
**       only if they are the same.
**   N3  Strings in the table are never removed. Readers take no lock: a slot goes
**       from NULL to a complete string, and a full table is replaced by a larger
**       one and left to its readers.
*/
typedef struct ShrNames {
  size_t mask, used;
  uint64_t slot[];  /* hash in the high half, place in the code area in the low one */
} ShrNames;

static ShrNames *shr_names = NULL;
static int shr_primed = 0;  /* reserved words and standard names are there */

/* strings begin at multiples of 16; zero is an empty slot */
#define shr_nameslot(ts)  \
  (((uint64_t)(ts)->hash << 32) | ((((uintptr_t)(ts) - SHR_CODE) >> 4) + 1))
#define shr_slotname(slot)  \
  ((TString *)(uintptr_t)(SHR_CODE + ((uint64_t)((uint32_t)(slot) - 1u) << 4)))

/* 'extra' of a string that no state takes: one that the lexer writes to */
#define SHR_HIDDEN  0xff

static TString *shr_findname (const char *str, size_t l, unsigned h) {
  const ShrNames *names = __atomic_load_n(&shr_names, __ATOMIC_ACQUIRE);
  size_t i;
  if (names == NULL) return NULL;
  for (i = h;; i++) {
    /* pairs with the release in 'shr_putslot' */
    uint64_t slot = __atomic_load_n(&names->slot[i & names->mask], __ATOMIC_ACQUIRE);
    if (slot == 0) return NULL;
    if ((unsigned)(slot >> 32) == h) {
      TString *ts = shr_slotname(slot);
      if (cast_sizet(ts->shrlen) == l && skein_same(rawgetshrstr(ts), str, l))
        return ts;
    }
  }
}

static void shr_putslot (ShrNames *names, uint64_t slot) {
  size_t i = (size_t)(slot >> 32);
  while (names->slot[i & names->mask] != 0) i++;
  __atomic_store_n(&names->slot[i & names->mask], slot, __ATOMIC_RELEASE);
  names->used++;
}

/* room for one more; the caller is the only writer. Without memory for that the
   process ends, as Rust would: a string left out would be made twice (N2) */
static void shr_roomname (void) {
  ShrNames *old = shr_names, *names;
  size_t size = old ? (old->mask + 1) * 2 : 4096, i;
  if (old && old->used * 4 <= old->mask) return;
  names = (ShrNames *)calloc(1, sizeof(ShrNames) + size * sizeof(uint64_t));
  if (names == NULL) abort();
  names->mask = size - 1;
  if (old) {
    for (i = 0; i <= old->mask; i++)
      if (old->slot[i]) shr_putslot(names, old->slot[i]);
  }
  __atomic_store_n(&shr_names, names, __ATOMIC_RELEASE);
}

static TString *createstrobj (lua_State *L, size_t size, lu_byte tag, unsigned h);
static void growstrtab (lua_State *L, stringtable *tb);

/* what 'internshrstr' does, with a look at the names before a string is made */
static TString *shr_intern (lua_State *L, const char *str, size_t l) {
  global_State *g = G(L);
  stringtable *tb = &g->strt;
  unsigned h = skein_hash(str, l, g->seed);
  TString *ts, **chain;
  for (ts = tb->hash[lmod(h, tb->size)]; ts != NULL; ts = ts->u.hnext) {
    if (h == ts->hash && l == cast_uint(ts->shrlen) && skein_same(str, rawgetshrstr(ts), l)) {
      if (isdead(g, ts)) changewhite(ts);
      return ts;
    }
  }
  ts = shr_findname(str, l, h);
  if (ts != NULL && ts->extra != SHR_HIDDEN) return ts;
  if (tb->nuse >= tb->size) growstrtab(L, tb);
  ts = createstrobj(L, sizestrshr(l), LUA_VSHRSTR, h);
  ts->shrlen = cast(ls_byte, l);
  memcpy(rawgetshrstr(ts), str, l);
  rawgetshrstr(ts)[l] = '\0';
  chain = &tb->hash[lmod(h, tb->size)];
  ts->u.hnext = *chain;
  *chain = ts;
  tb->nuse++;
  return ts;
}

/* in lstring.c, calls go to 'shr_intern' and the definition, which nobody calls,
   gets another name: the first argument tells them apart */
#define SHR_INTERN_L          shr_intern(L
#define SHR_INTERN_lua_State  shr_base_intern(lua_State
#define SHR_INTERN_(first,str,l)  SHR_INTERN_##first, str, l)
