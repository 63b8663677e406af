/* skynet_malloc.h: for sources that include the functions of memory by this name; all of it is in skein.h. */
#include "skein.h"
