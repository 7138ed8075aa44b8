/* Values of a template at run time, and the state of one rendering.
 *
 * Everything lives in the rendering's arena and is immutable once made, except namespaces and
 * iterators. Strings carry the byte ranges that came from variables, so that whatever a template
 * does to a message, its text can still be told from the template's own. Semantics are Python's:
 * lengths and indices of strings count characters, not bytes. */
#ifndef BRISK_TEXT_TEMPLATE_VALUE_H
#define BRISK_TEXT_TEMPLATE_VALUE_H

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "text/template.h"

/* Budgets of one rendering. With these depths an optimised build needs less than 130 KB of C stack,
 * so that a rendering may run on a thread with a 256 KB stack; a test does so. */
#define BK_T_MAX_STEPS 4000000u
#define BK_T_MAX_BYTES ((size_t)256 << 20) /* all values made during a rendering */
#define BK_T_MAX_OUTPUT ((size_t)64 << 20) /* the rendered text, and any one string */
#define BK_T_MAX_DEPTH 600                 /* nested statements and expressions being evaluated */
#define BK_T_MAX_CALLS 100                 /* nested macro calls */
#define BK_T_MAX_NESTING 200               /* lists in lists: compared, printed, read from JSON */
#define BK_T_MAX_RANGE 100000              /* jinja2's sandbox has the same */
#define BK_T_MAX_ARGS 64

typedef enum bk_ttype {
    BK_T_FAIL,    /* an error has been recorded; every caller hands it on */
    BK_T_MISSING, /* an argument that was not given, a lookup that found nothing */
    BK_T_UNDEF,
    BK_T_NONE,
    BK_T_BOOL,
    BK_T_INT,
    BK_T_FLOAT,
    BK_T_STR,
    BK_T_SEQ,
    BK_T_DICT,
    BK_T_SPACE, /* namespace(): the only thing that a template can change */
    BK_T_MACRO,
    BK_T_FUNC,
    BK_T_METHOD,
    BK_T_LOOP
} bk_ttype;

typedef struct bk_trun bk_trun;
typedef struct bk_tval bk_tval;

typedef struct bk_tstr {
    const char *data; /* UTF-8 */
    size_t len, chars;
    const bk_span *user; /* ascending, disjoint: bytes that come from variables */
    size_t n_user;
} bk_tstr;

/* Why a value is undefined; owner is NULL for a plain name. */
typedef struct bk_tundef {
    bk_str name;
    const char *owner;
} bk_tundef;

typedef struct bk_tfunc bk_tfunc;
typedef struct bk_tmethod bk_tmethod;

struct bk_tval {
    uint8_t type;
    bool user; /* comes from the variables (strings: see their spans) */
    union {
        bool b;
        int64_t i;
        double f;
        const bk_tstr *str;
        struct bk_tseq *seq;
        struct bk_tdict *dict; /* also of BK_T_SPACE */
        const bk_tundef *undef;
        const struct bk_tmacro *macro;
        const bk_tfunc *func;
        const bk_tmethod *method;
        struct bk_tloop *loop;
    };
};

typedef enum bk_tkind {
    BK_SEQ_LIST,
    BK_SEQ_TUPLE,
    BK_SEQ_RANGE,
    BK_SEQ_ITER, /* what Python calls a generator: no length, no index, runs out */
    BK_SEQ_KEYS,
    BK_SEQ_VALUES,
    BK_SEQ_ITEMS
} bk_tkind;

typedef struct bk_tseq {
    bk_tkind kind;
    bk_tval *items;
    size_t n;
    size_t next;               /* BK_SEQ_ITER: items before it are used up */
    int64_t start, stop, step; /* BK_SEQ_RANGE: for printing */
} bk_tseq;

/* Keeps the order of insertion. */
typedef struct bk_tdict {
    bk_tval *keys, *values;
    size_t n, cap;
} bk_tdict;

typedef struct bk_tkw {
    bk_str name;
    bk_tval value;
} bk_tkw;

typedef struct bk_targs {
    bk_tval *pos;
    size_t n;
    bk_tkw *kw;
    size_t n_kw;
} bk_targs;

/* Global functions, and methods bound to the value they were taken from. */
struct bk_tfunc {
    const char *name;
    bk_tval (*call)(bk_trun *run, const bk_targs *args);
};

typedef struct bk_tmethod_def {
    const char *name;
    bk_tval (*call)(bk_trun *run, bk_tval self, const bk_targs *args);
} bk_tmethod_def;

struct bk_tmethod {
    const bk_tmethod_def *def;
    bk_tval self;
};

/* Builds a string in the arena, spans included. */
typedef struct bk_tsb {
    bk_trun *run;
    char *data;
    size_t len, cap;
    bk_span *user;
    size_t n_user, cap_user;
} bk_tsb;

struct bk_trun {
    bk_arena arena;
    size_t bytes;   /* handed out so far */
    uint64_t steps; /* used so far */
    int depth, calls;
    int line; /* of the template, for messages */
    bk_status status;
    bk_error *err;
    bk_tdict *vars;
    struct bk_tscope *scope; /* where names are looked up and set */
    bk_tval block;           /* the text that a filter block hands to its filters */
    bk_tsb *out;             /* where statements write */
};

/* Records the first error of a rendering ("chat template, line N: ...") and returns BK_T_FAIL. */
bk_tval bk_trun_fail(bk_trun *run, bk_status code, const char *fmt, ...) BK_PRINTF(3, 4);
static inline bool bk_trun_ok(const bk_trun *run) { return run->status == BK_OK; }

/* Uses up steps for work on n bytes or items; false when the budget is gone. */
bool bk_trun_charge(bk_trun *run, size_t n);

/* Zeroed memory of the rendering; NULL with the error recorded when the budget is gone. */
void *bk_trun_alloc(bk_trun *run, size_t n, size_t size);

/* ---- Making values --------------------------------------------------------------------------- */

static inline bk_tval bk_tval_fail(void) { return (bk_tval){.type = BK_T_FAIL}; }
static inline bk_tval bk_tval_missing(void) { return (bk_tval){.type = BK_T_MISSING}; }
static inline bk_tval bk_tval_none(void) { return (bk_tval){.type = BK_T_NONE}; }
static inline bk_tval bk_tval_bool(bool b) { return (bk_tval){.type = BK_T_BOOL, .b = b}; }
static inline bk_tval bk_tval_int(int64_t i) { return (bk_tval){.type = BK_T_INT, .i = i}; }
static inline bk_tval bk_tval_float(double f) { return (bk_tval){.type = BK_T_FLOAT, .f = f}; }
bk_tval bk_tval_undef(bk_trun *run, bk_str name, const char *owner);
bk_tval bk_tval_str(const bk_tstr *s);
bk_tval bk_tval_text(bk_trun *run, bk_str text, bool user); /* borrows text */
bk_tval bk_tval_seq(bk_trun *run, bk_tkind kind, bk_tval *items, size_t n);
bk_tval bk_tval_dict(bk_trun *run);

/* keys must be hashable and equal ones are replaced; false with the error recorded. */
bool bk_tdict_set(bk_trun *run, bk_tdict *d, bk_tval key, bk_tval value);
/* BK_T_MISSING when there is no such key; BK_T_FAIL when it is unhashable or the budget is gone. */
bk_tval bk_tdict_get(bk_trun *run, const bk_tdict *d, bk_tval key);
bk_tval bk_tdict_find(bk_trun *run, const bk_tdict *d, bk_str name);

/* A list that grows. Zero-initialised is empty. */
typedef struct bk_tvec {
    bk_tval *items;
    size_t n, cap;
} bk_tvec;
bool bk_tvec_push(bk_trun *run, bk_tvec *v, bk_tval item); /* false also for BK_T_FAIL items */

/* ---- Strings --------------------------------------------------------------------------------- */

size_t bk_tchars(bk_str s); /* characters of valid UTF-8 */
bk_tstr *bk_tstr_new(bk_trun *run, bk_str text, bool user);
/* Bytes [begin, end) of s; shares its memory. */
bk_tval bk_tstr_slice(bk_trun *run, const bk_tstr *s, size_t begin, size_t end);
/* Byte offset of the character with this index (chars gives len). */
size_t bk_tstr_offset(bk_trun *run, const bk_tstr *s, size_t index);
/* Whether byte `at` comes from a variable. */
bool bk_tstr_user_at(const bk_tstr *s, size_t at);
static inline bk_str bk_tstr_view(const bk_tstr *s) { return (bk_str){s->data, s->len}; }

void bk_tsb_init(bk_tsb *sb, bk_trun *run);
bool bk_tsb_bytes(bk_tsb *sb, const char *data, size_t len, bool user);
bool bk_tsb_lit(bk_tsb *sb, const char *z); /* the template's or the interpreter's own text */
bool bk_tsb_slice(bk_tsb *sb, const bk_tstr *s, size_t begin, size_t end);
bool bk_tsb_str(bk_tsb *sb, const bk_tstr *s);
void bk_tsb_mark_user(bk_tsb *sb, size_t begin); /* everything from begin on */
bk_tval bk_tsb_done(bk_tsb *sb);

/* ---- What Python does with any value --------------------------------------------------------- */

const char *bk_tval_type_name(bk_tval v);
bool bk_tval_truth(bk_tval v);
bool bk_tval_is_number(bk_tval v);  /* int, float or bool */
int64_t bk_tval_as_int(bk_tval v);  /* of int or bool */
double bk_tval_as_float(bk_tval v); /* of a number */
bool bk_tval_is_list(bk_tval v);    /* a list, not a tuple or an iterator */
bool bk_tval_iterable(bk_tval v);
bool bk_tval_sized(bk_tval v); /* has len() */
size_t bk_tval_len(bk_tval v); /* of sized values */

/* == ; false with run->status set when nesting or steps run out. */
bool bk_tval_equal(bk_trun *run, bk_tval a, bk_tval b);
/* a < b by Python's ordering: -1, 0, 1 in *order; false (error recorded) where there is none. */
bool bk_tval_order(bk_trun *run, bk_tval a, bk_tval b, int *order);
/* `needle in hay`. */
bk_tval bk_tval_contains(bk_trun *run, bk_tval hay, bk_tval needle);
/* The items that iterating over v gives; uses up an iterator. False: not iterable, recorded. */
bool bk_tval_items(bk_trun *run, bk_tval v, bk_tval **items, size_t *n);

/* str(v), repr(v) and json.dumps(v); false with the error recorded. */
bool bk_tval_print(bk_tsb *sb, bk_tval v);
bool bk_tval_repr(bk_tsb *sb, bk_tval v);
bk_tval bk_tval_to_str(bk_trun *run, bk_tval v);

typedef struct bk_tjson_style {
    bool ascii, sort_keys;
    const bk_tstr *indent;     /* NULL: on one line */
    const bk_tstr *item, *key; /* separators */
} bk_tjson_style;
bool bk_tval_json(bk_tsb *sb, bk_tval v, const bk_tjson_style *style);

/* Python's repr of a float: the shortest text that reads back as f. */
void bk_tfloat_repr(double f, char out[40]);

/* The variables from JSON text: an object, at most BK_T_MAX_NESTING deep. All of it is marked as the
 * user's; with a request (its data not NULL) only that is. See bk_template_render_request. */
bool bk_trun_read_vars(bk_trun *run, bk_str json, bk_str request);

#endif
