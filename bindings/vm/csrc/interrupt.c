/*
** Breaking into running code from another thread.
**
** 'lua_sethook' may be called from a signal handler of the thread that runs the
** state, not from another thread: it walks the call chain while that changes. So
** the asking thread only raises a flag of the state and a count for the process,
** and the machine looks at the count where it looks for hooks anyway: at jumps
** back and tail calls. While nobody asks, that is one load of a line that nobody
** writes. The flag is the first word of the 'ud' of states made by
** 'skein_newstate': 0 none, 1 asked for, -1 the state is closed.
*/
static int skein_pending = 0;           /* states with a flag of 1 */
static lua_Alloc skein_counted = NULL;  /* marks states that have a flag */

LUA_API int *skein_interrupts (void) { return &skein_pending; }

/* out of line: the interpreter keeps its registers */
#define skein_cold  __attribute__((noinline, cold))

static skein_cold int skein_asked (lua_State *L) {
  const global_State *g = G(L);
  return g->frealloc == skein_counted && g->ud != NULL &&
         __atomic_load_n((int *)g->ud, __ATOMIC_RELAXED) == 1;
}

/* answers the request, if there is one: one break for each */
static skein_cold int skein_take (lua_State *L) {
  int asked = 1;
  if (!skein_asked(L) ||
      !__atomic_compare_exchange_n((int *)G(L)->ud, &asked, 0, 0,
                                   __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
    return 0;
  __atomic_sub_fetch(&skein_pending, 1, __ATOMIC_RELAXED);
  return 1;
}

#define skein_look()  \
  l_unlikely(__atomic_load_n(&skein_pending, __ATOMIC_RELAXED) != 0)

static skein_cold void skein_arm (lua_State *L) {
  if (skein_asked(L)) L->ci->u.l.trap = 1;
}

/* at a jump: make the next fetch of an instruction look for hooks */
#define skein_poll(L)  (skein_look() ? skein_arm(L) : (void)0)

/* at that fetch: as for a hook, save the position and correct the top, raise */
static int skein_traceexec (lua_State *L, const Instruction *pc) {
  if (skein_look() && skein_take(L)) {
    CallInfo *ci = L->ci;
    ci->u.l.savedpc = pc + 1;
    if (!luaP_isIT(*pc)) L->top.p = ci->top.p;
    luaG_runerror(L, "signal 0");
  }
  return luaG_traceexec(L, pc);
}

/* at a tail call, where position and top are correct already */
static int skein_pretailcall (lua_State *L, CallInfo *ci, StkId func, int narg1,
                              int delta) {
  if (skein_look() && skein_take(L)) luaG_runerror(L, "signal 0");
  return luaD_pretailcall(L, ci, func, narg1, delta);
}
