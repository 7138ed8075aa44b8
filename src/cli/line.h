/* Reading a line from the terminal, with editing and history where libedit is there. */
#ifndef BRISK_CLI_LINE_H
#define BRISK_CLI_LINE_H

#include "base/buf.h"

typedef enum line_result { LINE_OK, LINE_END, LINE_INTERRUPTED } line_result;

typedef struct line_reader line_reader;

/* NULL when memory is short. */
line_reader *line_open(void);
void line_close(line_reader **l);

/* A line without its newline into out (emptied first). LINE_INTERRUPTED after Ctrl-C, with what had
 * been typed in out. The prompt is shown on stderr, so that stdout holds text of the model alone. */
line_result line_read(line_reader *l, const char *prompt, bk_buf *out);

#if BRISK_HAVE_LIBEDIT
typedef struct line_edit line_edit;
line_edit *line_edit_open(void);
void line_edit_close(line_edit **l);
line_result line_edit_read(line_edit *l, const char *prompt, bk_buf *out);
#endif

#endif
