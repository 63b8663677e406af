/*
** Hashes of strings: sixteen bytes at a time, by one multiplication, where Lua's own
** function takes four cycles for every byte. Each short string that is made, looked up
** by the interface or unpacked pays for one.
**
** Both factors depend on the seed, which nobody outside knows: so there are no bytes
** that make one of them 0, whatever the rest.
*/
#define SKEIN_HASH_A  UINT64_C(0x9e3779b97f4a7c15)
#define SKEIN_HASH_B  UINT64_C(0xd6e8feb86659fd93)

static inline uint64_t skein_fold (uint64_t a, uint64_t b) {
  unsigned __int128 product = (unsigned __int128)a * b;
  return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t skein_eight (const char *at) {
  uint64_t word; memcpy(&word, at, 8); return word;
}

static inline uint64_t skein_four (const char *at) {
  uint32_t word; memcpy(&word, at, 4); return word;
}

static inline unsigned skein_hash (const char *str, size_t l, unsigned seed) {
  uint64_t a, b, x = (uint64_t)(seed | 1) * SKEIN_HASH_A, y = x * SKEIN_HASH_B + l;
  size_t left = l;
  for (; left > 16; left -= 16, str += 16)
    y = skein_fold(skein_eight(str) ^ x, skein_eight(str + 8) ^ y);
  if (l > 16) {
    a = skein_eight(str + left - 16);  /* also of what came before */
    b = skein_eight(str + left - 8);
  }
  else if (l >= 8) {
    a = skein_eight(str);
    b = skein_eight(str + l - 8);
  }
  else if (l >= 4) {
    a = skein_four(str);
    b = skein_four(str + l - 4);
  }
  else {
    a = l == 0 ? 0 : (uint64_t)cast_uchar(str[0]) << 16 | (uint64_t)cast_uchar(str[l >> 1]) << 8 |
                     cast_uchar(str[l - 1]);
    b = 0;
  }
  y = skein_fold(a ^ x, b ^ y);
  return (unsigned)(y ^ (y >> 32));
}

/* whether two strings of a length are the same: a call costs more than short ones do */
static inline int skein_same (const char *a, const char *b, size_t l) {
  if (l >= 8) {
    size_t i;
    for (i = 8; i < l; i += 8)
      if (skein_eight(a + i - 8) != skein_eight(b + i - 8)) return 0;
    return skein_eight(a + l - 8) == skein_eight(b + l - 8);
  }
  if (l >= 4)
    return ((skein_four(a) ^ skein_four(b)) | (skein_four(a + l - 4) ^ skein_four(b + l - 4))) == 0;
  return l == 0 || (a[0] == b[0] && a[l >> 1] == b[l >> 1] && a[l - 1] == b[l - 1]);
}

/* in lstring.c ('luaS_hash' of onevm.c), calls go here and the definition, which nobody calls, gets another
   name: the first argument tells them apart */
#define SKEIN_HASH_const      shr_base_hash(const
#define SKEIN_HASH_str        skein_hash(str
#define SKEIN_HASH_getlngstr  skein_hash(getlngstr
