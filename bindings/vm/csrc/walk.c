/*
** Reading values in place: what is on a stack, and what is in tables, without
** the stack traffic of the API. Nothing here raises, allocates, calls Lua or
** writes to an object; src/walk.rs has the rules.
*/

/* src/walk.rs: Item and Kind */
typedef struct skein_Item {
  uint64_t bits;       /* integer, real, pointer, or the address of the object; of a
                          userdata: its metatable */
  const char *bytes;   /* of a string or a userdata */
  uint32_t kind;
  uint32_t type;       /* LUA_T*, for kind OTHER */
  size_t size;         /* of a string; border of a table */
} skein_Item;

enum { WALK_NIL, WALK_FALSE, WALK_TRUE, WALK_INTEGER, WALK_REAL, WALK_STRING,
       WALK_POINTER, WALK_TABLE, WALK_OTHER, WALK_USERDATA };

/* How many results whoever called the running C function wants; -1: all there are. */
LUA_API int skein_wanted (lua_State *L) {
  return get_nresults(L->ci->callstatus);
}

static inline void walk_read (int tt, const Value *v, skein_Item *item) {
  switch (withvariant(tt)) {
    case LUA_VNIL: case LUA_VEMPTY: case LUA_VABSTKEY:
      item->kind = WALK_NIL;
      break;
    case LUA_VFALSE:
      item->kind = WALK_FALSE;
      break;
    case LUA_VTRUE:
      item->kind = WALK_TRUE;
      break;
    case LUA_VNUMINT:
      item->kind = WALK_INTEGER;
      item->bits = l_castS2U(v->i);
      break;
    case LUA_VNUMFLT:
      item->kind = WALK_REAL;
      memcpy(&item->bits, &v->n, 8);
      break;
    case LUA_VSHRSTR: {
      TString *s = gco2ts(v->gc);
      item->kind = WALK_STRING;
      item->bytes = rawgetshrstr(s);
      item->size = cast_sizet(s->shrlen);
      break;
    }
    case LUA_VLNGSTR: {
      TString *s = gco2ts(v->gc);
      item->kind = WALK_STRING;
      item->bytes = getlngstr(s);
      item->size = s->u.lnglen;
      break;
    }
    case LUA_VLIGHTUSERDATA:
      item->kind = WALK_POINTER;
      item->bits = (uint64_t)(uintptr_t)v->p;
      break;
    case LUA_VTABLE:
      item->kind = WALK_TABLE;
      item->bits = (uint64_t)(uintptr_t)gco2t(v->gc);
      break;
    case LUA_VUSERDATA: {
      Udata *u = gco2u(v->gc);
      item->kind = WALK_USERDATA;
      item->bits = (uint64_t)(uintptr_t)u->metatable;
      item->bytes = getudatamem(u);
      item->size = u->len;
      break;
    }
    default:
      item->kind = WALK_OTHER;
      item->type = (uint32_t)novariant(tt);
      break;
  }
}

/* the value in a stack slot */
void skein_walk_slot (lua_State *L, int index, skein_Item *item) {
  const TValue *o = index2value(L, index);
  walk_read(rawtt(o), &o->value_, item);
}

/* the values in the slots from 'first' >= 1 on of the running C function; those above
   the top are nil */
void skein_walk_slots (lua_State *L, int first, int count, skein_Item *items) {
  StkId o = L->ci->func.p + first;
  int i;
  for (i = 0; i < count; i++, o++) {
    if (l_likely(o < L->top.p)) walk_read(rawtt(s2v(o)), &s2v(o)->value_, &items[i]);
    else items[i].kind = WALK_NIL;
  }
}

/* the border of a table, or -1 if its metatable has the short string 'event' */
int64_t skein_walk_border (lua_State *L, const void *table, const void *event) {
  Table *t = (Table *)table;
  if (t->metatable != NULL && event != NULL) {
    TValue found;
    if (!tagisempty(luaH_getshortstr(t->metatable, (TString *)event, &found)))
      return -1;
  }
  return (int64_t)luaH_getn(L, t);
}

/* t[index], raw; index >= 1 */
void skein_walk_item (const void *table, int64_t index, skein_Item *item) {
  Table *t = (Table *)table;
  TValue found;
  lua_Unsigned at = l_castS2U(index) - 1u;
  if (at < t->asize) {
    lu_byte tag = *getArrTag(t, at);
    walk_read(tag, getArrVal(t, at), item);
  }
  else {
    lu_byte tag = luaH_getint(t, index, &found);
    if (tagisempty(tag)) item->kind = WALK_NIL;
    else walk_read(rawtt(&found), &found.value_, item);
  }
}

/* whether a table has no metatable */
int skein_walk_is_plain (const void *table) {
  return ((const Table *)table)->metatable == NULL;
}

/* t[key] for a string, through as many '__index' tables as a chain of classes has;
   0 if only the API can tell. Looks '__index' up without the flags of the metatable,
   which that would write to. */
int skein_walk_field (lua_State *L, const void *table, const void *key,
                      skein_Item *item) {
  Table *t = (Table *)table;
  TString *name = (TString *)key;
  int level;
  for (level = 0; level < 8; level++) {
    TValue found;
    const TValue *slot;
    if (l_likely(strisshr(name))) {
      /* the usual: it stands where its hash says, and is the same object */
      const Node *n = gnode(t, lmod(name->hash, sizenode(t)));
      if (l_likely(keyisshrstr(n) && keystrval(n) == name)) slot = gval(n);
      else slot = luaH_Hgetshortstr(t, name);
      if (l_likely(!isempty(slot))) {
        walk_read(rawtt(slot), &slot->value_, item);
        return 1;
      }
    }
    else if (!tagisempty(luaH_getstr(t, name, &found))) {
      walk_read(rawtt(&found), &found.value_, item);
      return 1;
    }
    item->kind = WALK_NIL;
    if (l_likely(t->metatable == NULL)) return 1;
    slot = luaH_Hgetshortstr(t->metatable, G(L)->tmname[TM_INDEX]);
    if (isempty(slot)) return 1;
    if (!ttistable(slot)) return 0;
    t = hvalue(slot);
  }
  return 0;
}

/* the pair at or after place 'at', in the order of 'next', leaving out the keys
   1..border; returns the place to go on from, or 0 at the end */
uint64_t skein_walk_pair (const void *table, uint64_t at, int64_t border,
                          skein_Item *key, skein_Item *value) {
  Table *t = (Table *)table;
  uint64_t asize = t->asize;
  uint64_t size = sizenode(t);
  /* places below 'border' hold keys that are left out */
  if (at < asize && at < (uint64_t)border)
    at = (uint64_t)border < asize ? (uint64_t)border : asize;
  for (; at < asize; at++) {
    lu_byte tag = *getArrTag(t, at);
    if (!tagisempty(tag)) {
      key->kind = WALK_INTEGER;
      key->bits = at + 1;
      walk_read(tag, getArrVal(t, at), value);
      return at + 1;
    }
  }
  for (at -= asize; at < size; at++) {
    Node *n = gnode(t, at);
    if (!isempty(gval(n))) {
      if (keyisinteger(n) &&
          l_castS2U(keyival(n)) - 1u < l_castS2U(border))
        continue;
      walk_read(keytt(n), &keyval(n), key);
      walk_read(rawtt(gval(n)), &gval(n)->value_, value);
      return asize + at + 1;
    }
  }
  return 0;
}
