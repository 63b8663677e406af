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

/* the compiled chunk kept under 'name'; bytes live as long as the process and
   are aligned for fixed loading */
int skein_vm_chunk (const char *name, const char **data, size_t *size);

/* keeps a copy of a compiled chunk, unless there is one already */
void skein_vm_keep (const char *name, const char *data, size_t size);

#endif
