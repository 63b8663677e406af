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
  TString *slot[];
} ShrNames;

static ShrNames *shr_names = NULL;
static int shr_primed = 0;  /* reserved words and standard names are there */

/* 'extra' of a string that no state takes: one that the lexer writes to */
#define SHR_HIDDEN  0xff

static TString *shr_findname (const char *str, size_t l, unsigned h) {
  const ShrNames *names = __atomic_load_n(&shr_names, __ATOMIC_ACQUIRE);
  size_t i;
  if (names == NULL) return NULL;
  for (i = h;; i++) {
    /* pairs with the release in 'shr_putname' */
    TString *ts = __atomic_load_n(&names->slot[i & names->mask], __ATOMIC_ACQUIRE);
    if (ts == NULL) return NULL;
    if (ts->hash == h && cast_sizet(ts->shrlen) == l &&
        memcmp(rawgetshrstr(ts), str, l) == 0)
      return ts;
  }
}

static void shr_putname (ShrNames *names, TString *ts) {
  size_t i = ts->hash;
  while (names->slot[i & names->mask] != NULL) i++;
  __atomic_store_n(&names->slot[i & names->mask], ts, __ATOMIC_RELEASE);
  names->used++;
}

/* room for one more; the caller is the only writer. Without memory for that the
   process ends, as Rust would: a string left out would be made twice (N2) */
static void shr_roomname (void) {
  ShrNames *old = shr_names, *names;
  size_t size = old ? (old->mask + 1) * 2 : 4096, i;
  if (old && old->used * 2 <= old->mask) return;
  names = (ShrNames *)calloc(1, sizeof(ShrNames) + size * sizeof(TString *));
  if (names == NULL) abort();
  names->mask = size - 1;
  if (old) {
    for (i = 0; i <= old->mask; i++)
      if (old->slot[i]) shr_putname(names, old->slot[i]);
  }
  __atomic_store_n(&shr_names, names, __ATOMIC_RELEASE);
}

static TString *shr_base_intern (lua_State *L, const char *str, size_t l);
static unsigned luaS_hash (const char *str, size_t l, unsigned seed);

/* 'internshrstr', with a look at the names before a new string is made */
static TString *shr_intern (lua_State *L, const char *str, size_t l) {
  global_State *g = G(L);
  unsigned h = luaS_hash(str, l, g->seed);
  TString *ts = g->strt.hash[lmod(h, g->strt.size)];
  for (; ts != NULL; ts = ts->u.hnext) {
    if (l == cast_uint(ts->shrlen) && memcmp(str, rawgetshrstr(ts), l) == 0) {
      if (isdead(g, ts)) changewhite(ts);
      return ts;
    }
  }
  ts = shr_findname(str, l, h);
  if (ts != NULL && ts->extra != SHR_HIDDEN) return ts;
  return shr_base_intern(L, str, l);
}

/* in lstring.c, calls go to 'shr_intern' and the definition gets another name: the
   first argument tells them apart */
#define SHR_INTERN_L          shr_intern(L
#define SHR_INTERN_lua_State  shr_base_intern(lua_State
#define SHR_INTERN_(first,str,l)  SHR_INTERN_##first, str, l)
