/* skynet.h: for sources that include services and modules in C by this name; all of it is in skein.h. */
#include "skein.h"
