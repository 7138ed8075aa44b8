/* Lists the models that are on this machine. */
#include <jansson.h>
#include <string.h>

#include "base/json_write.h"
#include "brisk_tools.h"
#include "cli/cli.h"
#include "cli/find.h"

/* What a line shows beside the entry: from the header of the file. */
typedef struct row {
    const found *f;
    brisk_brief brief;
    char problem[512]; /* "": none */
} row;

static void copy_text(const json_t *object, const char *key, char *out, size_t cap) {
    const char *text = json_string_value(json_object_get(object, key));
    if (text && *text) bk_str_printable(out, cap, text, strlen(text));
}

/* A folder of safetensors says in config.json what it is. */
static void look_into_folder(row *r) {
    char path[4400];
    json_error_t why;
    snprintf(path, sizeof path, "%s/config.json", r->f->path);
    json_t *config = json_load_file(path, 0, &why);
    if (!json_is_object(config)) {
        snprintf(r->problem, sizeof r->problem, "config.json: %s",
                 config ? "not an object" : why.text);
    }
    copy_text(config, "model_type", r->brief.architecture, sizeof r->brief.architecture);
    copy_text(config, "torch_dtype", r->brief.quantization, sizeof r->brief.quantization);
    copy_text(config, "dtype", r->brief.quantization, sizeof r->brief.quantization);
    json_decref(config);
}

static void look_into(row *r) {
    brisk_error err;
    if (r->f->problem) {
        bk_str_printable(r->problem, sizeof r->problem, r->f->problem, strlen(r->f->problem));
    } else if (r->f->folder) {
        look_into_folder(r);
    } else if (brisk_model_peek(r->f->path, &r->brief, &err)) {
        const char *text = err.text;
        size_t path = strlen(r->f->path); /* the line shows it already */
        if (strncmp(text, r->f->path, path) == 0 && text[path] == ':') text += path + 2;
        snprintf(r->problem, sizeof r->problem, "%s", text);
    }
}

static void print_json(const row *rows, size_t n) {
    bk_buf out = {0};
    bk_json w = {.out = &out};
    bk_json_begin(&w, '[');
    for (size_t i = 0; i < n; i++) {
        const row *r = &rows[i];
        bk_json_begin(&w, '{');
        bk_json_key_str(&w, "name", r->f->name);
        bk_json_key_str(&w, "quantization", r->brief.quantization);
        bk_json_key_str(&w, "architecture", r->brief.architecture);
        bk_json_key_uint(&w, "bytes", r->f->bytes);
        bk_json_key_uint(&w, "parts", r->f->parts);
        bk_json_key_str(&w, "source", r->f->source);
        bk_json_key_str(&w, "path", r->f->path);
        bk_json_key(&w, "problem");
        if (*r->problem)
            bk_json_str(&w, bk_str_from(r->problem));
        else
            bk_json_null(&w);
        bk_json_end(&w, '}');
    }
    bk_json_end(&w, ']');
    bk_buf_putc(&out, '\n');
    if (!out.failed) fwrite(out.data, 1, out.len, stdout);
    bk_buf_free(&out);
}

enum { COLUMNS = 6 };

static const char *cell(const row *r, int column, char *out, size_t cap) {
    const char *text = "";
    switch (column) {
    case 0: text = r->f->name; break;
    case 1: text = *r->problem ? "broken" : r->brief.quantization; break;
    case 2: text = r->brief.architecture; break;
    case 3: return cli_bytes(r->f->bytes, out, cap);
    case 4: text = r->f->source; break;
    default: text = r->f->path;
    }
    bk_str_printable(out, cap, text, strlen(text));
    return out;
}

static void print_table(const row *rows, size_t n) {
    static const char *const titles[COLUMNS] = {"name", "weights", "architecture",
                                                "size", "from",    "path"};
    char text[4400];
    size_t width[COLUMNS];
    for (int c = 0; c < COLUMNS; c++) {
        width[c] = strlen(titles[c]);
        for (size_t i = 0; i < n && c < COLUMNS - 1; i++) {
            width[c] = bk_max_size(width[c], strlen(cell(&rows[i], c, text, sizeof text)));
        }
    }
    for (int c = 0; c < COLUMNS - 1; c++)
        printf("%*s  ", c == 3 ? (int)width[c] : -(int)width[c], titles[c]);
    printf("%s\n", titles[COLUMNS - 1]);
    for (size_t i = 0; i < n; i++) {
        for (int c = 0; c < COLUMNS - 1; c++) {
            printf("%*s  ", c == 3 ? (int)width[c] : -(int)width[c],
                   cell(&rows[i], c, text, sizeof text));
        }
        printf("%s", cell(&rows[i], COLUMNS - 1, text, sizeof text));
        if (*rows[i].problem) printf(" (%s)", rows[i].problem);
        putchar('\n');
    }
}

int cmd_ls(int argc, char **argv) {
    bool json = false;
    const opt_spec specs[] = {
        {"--json", NULL, "one JSON array", OPT_FLAG, &json, 0, 0},
    };
    const opt_table table = {.verb = "ls",
                             .usage = "usage: brisk ls [--json]",
                             .about =
                                 "Lists the models on this machine: brisk's own, and those that "
                                 "other programs have fetched.\n-m takes their names.",
                             .specs = specs,
                             .n_specs = BK_ARRAY_LEN(specs)};
    int status;
    if (!cli_options(&table, argc, argv, &status)) return status;
    found_list list;
    find_models(&list);
    row *rows = bk_alloc_zero(list.n + 1, sizeof *rows);
    if (!rows || list.failed) cli_fail("no memory for the whole list");
    for (size_t i = 0; rows && i < list.n; i++) {
        rows[i].f = &list.v[i];
        look_into(&rows[i]);
    }
    if (!rows) {
        status = EXIT_ERROR;
    } else if (json) {
        print_json(rows, list.n);
    } else if (list.n == 0) {
        fprintf(stderr, "no models yet; `brisk pull` fetches " CLI_DEFAULT_MODEL "\n");
    } else {
        print_table(rows, list.n);
    }
    status = !rows || list.failed || !cli_finish_output(stdout) ? EXIT_ERROR : 0;
    bk_free(rows);
    find_free(&list);
    return status;
}
