/* Shared (frozen) objects: everything whose address lies in one fixed arena.
   All hooks below test the address only, so they never touch foreign memory. */
#ifndef shr_h
#define shr_h
#include <stddef.h>
#include <stdint.h>

#define SHR_BITS  44                          /* as skein_arena::range */
#define SHR_BASE  UINT64_C(0x200000000000)
#define SHR_SLOT_BITS 21                      /* liveness granularity: 2 MiB */
#define SHR_NSLOTS (UINT64_C(1) << (SHR_BITS - SHR_SLOT_BITS))

#define shr_in(p)  (((uintptr_t)(p) >> SHR_BITS) == (SHR_BASE >> SHR_BITS))

#endif
