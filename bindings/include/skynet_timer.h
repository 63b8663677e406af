/* skynet_timer.h: for sources that include the functions of the clock by this name; all of it is in skein.h. */
#include "skein.h"
