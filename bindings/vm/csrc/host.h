/*
** What the machine asks of Rust (src/hooks.rs). None of these raises, unwinds or
** calls Lua.
*/
#ifndef skein_host_h
#define skein_host_h
#include <stddef.h>

/* the hash seed of every state of this process */
unsigned skein_vm_seed (void);

/* the file 'name' of the embedded library; bytes live as long as the process */
int skein_vm_embedded (const char *name, const char **data, size_t *size);

/* the frozen prototype kept under 'name', or NULL */
const void *skein_vm_code (const char *name);

/* freezes and keeps a prototype, unless there is one already: the kept one, or NULL
   if there is no room */
const void *skein_vm_keep (const char *name, const void *proto);

/* freezes the strings of a state, the first of the process */
struct lua_State;
void skein_vm_prime (struct lua_State *L);

/* a copy of these bytes in the code area, the same one for the same bytes; NULL if
   there is no room */
const void *skein_vm_common (const void *bytes, size_t size);

/* one more reference to an arena block, and how many there were, at least one; one less */
size_t skein_vm_acquire (void *block);
void skein_vm_release (void *block);

/* 'memcpy', for copies that the C library is slow at (arena/src/copy.rs) */
void skein_vm_copy (void *to, const void *from, size_t size);

/* whether 'size' bytes at the end of a block are enough of it that a string may keep all
   of it alive */
int skein_vm_worth (const void *block, size_t size);

/* bytes that a counted state holds outside of its allocator; 0 if that is above its
   limit, and nothing was counted */
int skein_vm_charge (void *memory, size_t bytes);
void skein_vm_discharge (void *memory, size_t bytes);

#endif
