/* skynet_env.h: for sources that include the functions of the environment by this name; all of it is in skein.h. */
#include "skein.h"
