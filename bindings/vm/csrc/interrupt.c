/*
** Breaking into running code, at no cost to the interpreter's loop.
**
** 'lua_sethook' may be called from a signal handler of the thread that runs the
** state, and from no other thread: it walks the call chain. So who asks raises the
** flag of the state and sends a signal to the thread that runs it (interrupt.rs);
** the handler sets a count hook in the coroutine that runs there. The hook takes
** itself away, lowers the flag, and raises 'signal 0'.
**
** Each thread has a seat: the request word of the state that it runs, and the
** coroutine that is current in it. 'lua_resume' and 'lua_closethread' change the
** latter; both come back on every way out. The handler does nothing while
** 'current' is NULL: that is how the rest of this file keeps it out. Whoever
** writes 'current' looks at the flag afterwards, so that a request is seen by the
** handler or by the writer, and one that found nobody running is seen by whoever
** enters the state next.
**
** The hook is set in the current coroutine at most: it moves when that changes,
** and goes when the state is left. New coroutines inherit it, so it may also fire
** when nobody asked; then it only takes itself away.
*/

/* first word of the 'ud' of states made by 'skein_newstate'; 'asked' belongs to
   everybody, the rest to the thread that runs the state */
typedef struct skein_Request {
  int asked;         /* 0 nothing, 1 asked for, -1 the state is closed */
  int mask, count;   /* of the user's hook, while ours is in its place */
  lua_State *armed;  /* where ours is */
  lua_Hook hook;     /* the user's */
} skein_Request;

_Static_assert(sizeof(skein_Request) == 32, "as in src/interrupt.rs");

typedef struct skein_Seat {
  skein_Request *request;  /* others read it */
  lua_State *current;
} skein_Seat;

/* a handler may not allocate: no lazily made thread-local memory */
static __thread skein_Seat skein_seat __attribute__((tls_model("initial-exec")));
static lua_Alloc skein_counted = NULL;  /* marks states that have a request word */

#define skein_cold  __attribute__((noinline, cold))
#define skein_order()  __atomic_signal_fence(__ATOMIC_SEQ_CST)
#define skein_get(x)  __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define skein_put(x,v)  __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)
#define skein_asked(it)  l_unlikely(skein_get((it)->asked) == 1)

LUA_API skein_Seat *skein_here (void) { return &skein_seat; }

static inline skein_Request *skein_requestof (lua_State *L) {
  const global_State *g = G(L);
  return g->frealloc == skein_counted ? (skein_Request *)g->ud : NULL;
}

/* keeps the handler out; answers what was current */
static inline lua_State *skein_shut (void) {
  lua_State *current = skein_get(skein_seat.current);
  skein_put(skein_seat.current, NULL);
  skein_order();
  return current;
}

static void skein_break (lua_State *L, lua_Debug *ar);

/* in the handler, or with the handler kept out */
static void skein_arm (skein_Request *it, lua_State *L) {
  if (L->hook != skein_break) {
    it->hook = L->hook;
    it->mask = L->hookmask;
    it->count = L->basehookcount;
  }
  it->armed = L;
  skein_base_sethook(L, skein_break, LUA_MASKCOUNT, 1);
}

/* with the handler kept out */
static void skein_disarm (skein_Request *it) {
  lua_State *L = it->armed;
  it->armed = NULL;
  if (L != NULL && L->hook == skein_break)
    skein_base_sethook(L, it->hook, it->mask, it->count);
}

static skein_cold void skein_rearm (lua_State *L) {
  skein_Request *it = skein_get(skein_seat.request);
  do {
    skein_shut();
    if (it->armed != L) skein_disarm(it);
    if (skein_asked(it)) skein_arm(it, L);
    skein_order();
    skein_put(skein_seat.current, L);
    skein_order();
  } while (skein_asked(it) && L->hook != skein_break);
}

/* lets the handler in again */
static inline void skein_open (lua_State *L) {
  skein_order();
  skein_put(skein_seat.current, L);
  skein_order();
  if (L != NULL && skein_asked(skein_get(skein_seat.request))) skein_rearm(L);
}

/* what the signal runs, in whatever thread it went to */
LUA_API void skein_on_signal (int number) {
  lua_State *L = skein_get(skein_seat.current);
  (void)number;
  if (L != NULL) {
    skein_Request *it = skein_get(skein_seat.request);
    if (skein_asked(it)) skein_arm(it, L);
  }
}

static void skein_break (lua_State *L, lua_Debug *ar) {
  lua_State *current = skein_shut();
  skein_Request *it = skein_requestof(L);
  int asked = 1;
  (void)ar;
  if (it->armed == L) skein_disarm(it);
  else skein_base_sethook(L, it->hook, it->mask, it->count);  /* inherited */
  if (!__atomic_compare_exchange_n(&it->asked, &asked, 0, 0, __ATOMIC_ACQ_REL,
                                   __ATOMIC_RELAXED))
    asked = 0;
  skein_open(current);
  if (asked) luaG_runerror(L, "signal 0");
}

/* the calling thread runs 'L' from now on; 'before' gets what it ran */
LUA_API void skein_enter (lua_State *L, skein_Seat *before) {
  skein_Request *it = skein_requestof(L);
  before->current = skein_shut();
  before->request = skein_get(skein_seat.request);
  if (before->current != NULL) skein_disarm(before->request);
  skein_put(skein_seat.request, it);
  skein_open(it != NULL ? L : NULL);
}

LUA_API void skein_leave (const skein_Seat *before) {
  skein_Request *it = skein_get(skein_seat.request);
  skein_shut();
  if (it != NULL) skein_disarm(it);
  skein_put(skein_seat.request, before->request);
  skein_open(before->current);
}

/* whether running 'L' makes it current in place of 'before' */
#define skein_changes(before,L) \
  ((before) != NULL && (before) != (L) && G(before) == G(L))

LUA_API int lua_resume (lua_State *L, lua_State *from, int nargs, int *nres) {
  lua_State *before = skein_get(skein_seat.current);
  int status;
  if (!skein_changes(before, L))
    return skein_base_resume(L, from, nargs, nres);
  skein_open(L);
  status = skein_base_resume(L, from, nargs, nres);
  skein_open(before);
  return status;
}

LUA_API int lua_closethread (lua_State *L, lua_State *from) {
  lua_State *before = skein_get(skein_seat.current);
  int status;
  if (!skein_changes(before, L))
    return skein_base_closethread(L, from);
  skein_open(L);
  status = skein_base_closethread(L, from);
  skein_open(before);
  return status;
}

/* while ours is in its place, the user's hook is the one that waits */
LUA_API void lua_sethook (lua_State *L, lua_Hook func, int mask, int count) {
  skein_Request *it = skein_requestof(L);
  lua_State *current = skein_shut();
  if (it != NULL && it->armed == L && L->hook == skein_break) {
    it->hook = func;
    it->mask = mask;
    it->count = count;
  }
  else
    skein_base_sethook(L, func, mask, count);
  skein_open(current);
}

/* a hook set while the machine found none and lowered 'trap'; out of line, so that
   the interpreter keeps its registers */
static skein_cold int skein_traceexec (lua_State *L, const Instruction *pc) {
  int trap = luaG_traceexec(L, pc);
  skein_order();
  if (!trap && L->hookmask)
    trap = L->ci->u.l.trap = 1;
  return trap;
}
