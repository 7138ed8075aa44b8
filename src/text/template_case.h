/* What a template needs to know of characters: white space, case, what repr() escapes. */
#ifndef BRISK_TEXT_TEMPLATE_CASE_H
#define BRISK_TEXT_TEMPLATE_CASE_H

#include "base/str.h"
#include "text/template_value.h"

/* As Python's str.isspace() and the \s of its regular expressions. */
bool bk_tchar_space(uint32_t cp);
/* As str.isprintable(), except that unassigned code points count as printable. */
bool bk_tchar_printable(uint32_t cp);

/* How many bytes of white space s begins or ends with. */
size_t bk_tspace_begin(bk_str s);
size_t bk_tspace_end(bk_str s);

typedef enum bk_tcase {
    BK_CASE_UPPER,
    BK_CASE_LOWER,
    BK_CASE_CAPITALIZE,  /* str.capitalize(): first title case, the others lower */
    BK_CASE_TITLE,       /* str.title(): every run of letters so */
    BK_CASE_TITLE_FILTER /* the filter: words begin after white space and -({[< */
} bk_tcase;

/* A copy of s in another case; every character keeps its provenance. */
bk_tval bk_tstr_case(bk_trun *run, const bk_tstr *s, bk_tcase mode);

/* str.islower() and str.isupper(). */
bool bk_tstr_is_case(bk_str s, bk_tcase mode);

/* Code points first, first + step, ..., last map to themselves + delta. */
typedef struct bk_tcase_range {
    uint32_t first, last, step;
    int32_t delta;
} bk_tcase_range;

/* Where upper case is several characters, or title case is not upper case. */
typedef struct bk_tcase_special {
    uint32_t cp;
    const char *upper, *title;
} bk_tcase_special;

extern const bk_tcase_range bk_tcase_upper[], bk_tcase_lower[];
extern const bk_tcase_special bk_tcase_specials[];
extern const size_t bk_tcase_n_upper, bk_tcase_n_lower, bk_tcase_n_specials;

#endif
