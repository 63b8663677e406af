/* skynet_error: the one function of the C interface whose arguments only C can read. */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void skein_log_from_c (const void *context, const char *text, size_t len);

void skynet_error (const void *context, const char *format, ...) {
  char line[256];
  char *text = line;
  int len;
  va_list args;
  va_start(args, format);
  len = vsnprintf(line, sizeof(line), format, args);
  va_end(args);
  if (len >= (int)sizeof(line) && (text = malloc((size_t)len + 1)) != NULL) {
    va_start(args, format);
    vsnprintf(text, (size_t)len + 1, format, args);
    va_end(args);
  } else if (len >= (int)sizeof(line)) {
    /* Without memory for the whole line its beginning has to do. */
    text = line;
    len = (int)sizeof(line) - 1;
  }
  if (len < 0) {
    text = "skynet_error: the format cannot be printed:";
    skein_log_from_c(context, text, strlen(text));
    text = (char *)format;
    len = (int)strlen(format);
    skein_log_from_c(context, text, (size_t)len);
    return;
  }
  skein_log_from_c(context, text, (size_t)len);
  if (text != line)
    free(text);
}
