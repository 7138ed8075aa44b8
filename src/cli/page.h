/* Pages that the program writes: one file, light or dark as the reader has it. */
#ifndef BRISK_CLI_PAGE_H
#define BRISK_CLI_PAGE_H

#include "base/buf.h"

/* Up to <main>; title is markup already. */
void page_begin(bk_buf *out, const char *title);
void page_end(bk_buf *out);

/* A number on a card; cards stand in a <div class="cards">. */
void page_card(bk_buf *out, const char *unit, const char *what, double v);

#endif
