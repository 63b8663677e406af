/*
** Shared tables of a domain, for readers in C (docs/share-layout.md). Header only, no libraries.
**
**   skein_share_segment seg;
**   const char *why = skein_share_open(&seg, "/dev/shm/skein-1000-game/tables/segment.1.2c0000000000.10000");
**   skein_share_value v;
**   skein_share_kind kind = skein_share_field(seg.root, "price", &v);
**
** A segment is mapped at its own address, so pointers in it are pointers here. It is never written again; a process that
** has shared tables of its own (libskein) must not use this. The file is trusted as far as its header can be checked:
** it belongs to this user, and nobody else may write it.
*/
#ifndef SKEIN_SHARE_H
#define SKEIN_SHARE_H

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SKEIN_SHARE_LAYOUT 1

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

typedef struct skein_share_header {
  char magic[8];      /* "skeinseg" */
  uint32_t layout;    /* SKEIN_SHARE_LAYOUT */
  uint32_t seed;
  uint64_t machine;
  uint64_t base;      /* where it has to be mapped */
  uint64_t size;      /* bytes, header included */
  uint64_t root;      /* the table */
  uint64_t tables, strings;
  uint64_t version;   /* of the name, from 1 */
  uint64_t sum;
  char name[128];
  uint64_t number, domain;
  uint8_t zeros[32];
} skein_share_header;

/* types of values */
typedef enum skein_share_kind {
  SKEIN_SHARE_NIL = 0, SKEIN_SHARE_EMPTY = 16, SKEIN_SHARE_FALSE = 1, SKEIN_SHARE_TRUE = 17,
  SKEIN_SHARE_INTEGER = 3, SKEIN_SHARE_FLOAT = 19,
  SKEIN_SHARE_SHORT = 68, SKEIN_SHARE_LONG = 84, SKEIN_SHARE_TABLE = 69
} skein_share_kind;

typedef union skein_share_value {
  int64_t integer;
  double number;
  const struct skein_share_string *string;
  const struct skein_share_table *table;
} skein_share_value;

typedef struct skein_share_string {
  uint64_t unused;
  uint8_t kind, mark, extra;
  int8_t short_length;    /* negative: long */
  uint32_t hash;
  uint64_t long_length;
  union { char bytes[8]; const char *contents; } u;
} skein_share_string;

typedef struct skein_share_node {
  skein_share_value value;
  uint8_t kind, key_kind, unused[2];
  int32_t next;
  skein_share_value key;
} skein_share_node;

typedef struct skein_share_table {
  uint64_t number;
  uint8_t kind, mark, flags, log_nodes;
  uint32_t array_size;
  const uint8_t *array;   /* values before it, downwards; types from byte 4 on */
  const skein_share_node *nodes;
  const struct skein_share_table *metatable;
  uint64_t length;        /* what # answers */
} skein_share_table;

typedef char skein_share_checks_layout[
  sizeof(skein_share_header) == 256 && sizeof(skein_share_table) == 48 && sizeof(skein_share_node) == 24 &&
  offsetof(skein_share_string, u) == 24 && offsetof(skein_share_header, number) == 208 ? 1 : -1];

typedef struct skein_share_segment {
  const skein_share_header *header;
  const skein_share_table *root;
} skein_share_segment;

/* maps a segment: NULL, or why not. 'skein_share_close' ends it */
static inline const char *skein_share_open (skein_share_segment *seg, const char *file) {
  struct stat st;
  skein_share_header head;
  void *at, *got;
  int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  const char *why = "it cannot be opened";
  seg->header = NULL;
  seg->root = NULL;
  if (fd < 0) return why;
  if (fstat(fd, &st) != 0 || pread(fd, &head, sizeof(head), 0) != (ssize_t)sizeof(head))
    why = "it is shorter than a header";
  else if (memcmp(head.magic, "skeinseg", 8) != 0 || head.layout != SKEIN_SHARE_LAYOUT)
    why = "it is no segment of this layout";
  else if (st.st_uid != geteuid() || (st.st_mode & 0222) != 0)
    why = "somebody else could write it";
  else if (head.size > (uint64_t)st.st_size || head.root - head.base >= head.size)
    why = "it was cut off";
  else {
    at = (void *)(uintptr_t)head.base;
    got = mmap(at, (size_t)st.st_size, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
    if (got != at) {
      if (got != MAP_FAILED) munmap(got, (size_t)st.st_size);
      why = "its addresses are in use";
    }
    else {
      seg->header = (const skein_share_header *)got;
      seg->root = (const skein_share_table *)(uintptr_t)head.root;
      why = NULL;
    }
  }
  close(fd);
  return why;
}

static inline void skein_share_close (skein_share_segment *seg) {
  if (seg->header != NULL) munmap((void *)(uintptr_t)seg->header, (size_t)((seg->header->size + 65535) & ~(uint64_t)65535));
  seg->header = NULL;
  seg->root = NULL;
}

/* the bytes of a string, which a zero byte follows, and their number */
static inline const char *skein_share_text (const skein_share_string *s, size_t *length) {
  *length = s->short_length >= 0 ? (size_t)s->short_length : (size_t)s->long_length;
  return s->short_length >= 0 ? s->u.bytes : s->u.contents;
}

/* goes through a table: '*at' begins with 0; false at the end. Keys of the array part are integers */
static inline int skein_share_next (const skein_share_table *t, uint64_t *at, skein_share_kind *key_kind,
                                    skein_share_value *key, skein_share_kind *kind, skein_share_value *value) {
  uint64_t nodes = (uint64_t)1 << t->log_nodes;
  for (; *at < t->array_size + nodes; ++*at) {
    if (*at < t->array_size) {
      *kind = (skein_share_kind)t->array[4 + *at];
      *value = ((const skein_share_value *)t->array)[-1 - (int64_t)*at];
      *key_kind = SKEIN_SHARE_INTEGER;
      key->integer = (int64_t)*at + 1;
    }
    else {
      const skein_share_node *n = &t->nodes[*at - t->array_size];
      *kind = (skein_share_kind)n->kind;
      *value = n->value;
      *key_kind = (skein_share_kind)n->key_kind;
      *key = n->key;
    }
    if ((*kind & 15) != 0) { ++*at; return 1; }
  }
  return 0;
}

/* the value of a field: its type, SKEIN_SHARE_NIL if there is none. Looks at all nodes; a program that looks often keeps what it found */
static inline skein_share_kind skein_share_field (const skein_share_table *t, const char *name, skein_share_value *value) {
  uint64_t at = t->array_size;
  skein_share_kind key_kind, kind;
  skein_share_value key;
  size_t want = strlen(name), length;
  while (skein_share_next(t, &at, &key_kind, &key, &kind, value)) {
    if ((key_kind & 15) == (SKEIN_SHARE_SHORT & 15)) {
      const char *text = skein_share_text(key.string, &length);
      if (length == want && memcmp(text, name, want) == 0) return kind;
    }
  }
  return SKEIN_SHARE_NIL;
}

#endif
