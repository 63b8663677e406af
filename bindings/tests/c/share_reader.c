/* Prints the fields of a shared table by skein_share.h alone: one line for each, tables by their length. */
#include <stdio.h>
#include "skein_share.h"

static void print (skein_share_kind kind, skein_share_value v) {
  size_t length;
  switch (kind) {
    case SKEIN_SHARE_TRUE: printf("true"); break;
    case SKEIN_SHARE_FALSE: printf("false"); break;
    case SKEIN_SHARE_INTEGER: printf("%lld", (long long)v.integer); break;
    case SKEIN_SHARE_FLOAT: printf("%g", v.number); break;
    case SKEIN_SHARE_SHORT: case SKEIN_SHARE_LONG: {
      const char *text = skein_share_text(v.string, &length);
      if (length > 20) printf("%zu bytes", length);
      else fwrite(text, 1, length, stdout);
      break;
    }
    case SKEIN_SHARE_TABLE: printf("table of %llu", (unsigned long long)v.table->length); break;
    default: printf("type %d", (int)kind); break;
  }
}

int main (int argc, char **argv) {
  skein_share_segment seg;
  skein_share_kind key_kind, kind;
  skein_share_value key, value;
  uint64_t at = 0;
  const char *why = argc == 2 ? skein_share_open(&seg, argv[1]) : "usage: share_reader FILE";
  if (why != NULL) {
    fprintf(stderr, "%s\n", why);
    return 1;
  }
  printf("%s %llu\n", seg.header->name, (unsigned long long)seg.header->version);
  while (skein_share_next(seg.root, &at, &key_kind, &key, &kind, &value)) {
    print(key_kind, key);
    printf(" = ");
    print(kind, value);
    printf("\n");
  }
  kind = skein_share_field(seg.root, "deep", &value);
  if (kind == SKEIN_SHARE_TABLE && skein_share_field(value.table, "x", &value) == SKEIN_SHARE_SHORT)
    printf("deep.x is found\n");
  skein_share_close(&seg);
  return 0;
}
