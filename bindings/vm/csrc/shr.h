/*
** Shared (frozen) objects: everything whose address lies in the fixed range of
** the arena. A test of the address is all the hooks do, so none of them touches
** foreign memory.
*/
#ifndef skein_shr_h
#define skein_shr_h
#include <stddef.h>
#include <stdint.h>

/* skein_arena::range; src/shared.rs asserts that they agree */
#ifdef SKEIN_TSAN
#define SHR_BASE  UINT64_C(0x1000000000)
#define SHR_BITS  36
#else
#define SHR_BASE  UINT64_C(0x200000000000)
#define SHR_BITS  44
#endif

#define shr_in(p)  (((uintptr_t)(p) >> SHR_BITS) == (SHR_BASE >> SHR_BITS))

/* the last 512th part: code of this process, with strings that are unique there */
#define SHR_CODE_BITS (SHR_BITS - 9)
#define SHR_CODE  (SHR_BASE + (UINT64_C(1) << SHR_BITS) - (UINT64_C(1) << SHR_CODE_BITS))
#define shr_incode(p)  (((uintptr_t)(p) >> SHR_CODE_BITS) == (SHR_CODE >> SHR_CODE_BITS))

#endif
