/* A Hugging Face folder written by hand, small enough to see: what becomes of each tensor, memory that
 * runs out at every place, and a path that is no folder. Architectures and tokenizers are compared with
 * other programs in tests/convert/. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "compress/plan.h"
#include "compress/round.h"
#include "fail_alloc.h"
#include "model/hf.h"

static char folder[64];

static const char config[] =
    "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":4,\"intermediate_size\":2,"
    "\"num_attention_heads\":1,\"num_hidden_layers\":1,\"max_position_embeddings\":8,"
    "\"rms_norm_eps\":1e-5,\"tie_word_embeddings\":true,"
    "\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8}}";
static const char tokenizer[] =
    "{\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true}],"
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1,\"b\":2,\"ab\":3},\"merges\":[\"a b\"]}}";

static void put(const char *name, const void *data, size_t len) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, len, f) != len || fclose(f)) abort();
}

/* Every tensor's elements count up from 1, in F32. */
static void put_tensors(void) {
    static const struct {
        const char *name;
        int rows, cols; /* cols 0: a vector */
    } tensors[] = {
        {"model.embed_tokens.weight", 5, 4},
        {"model.norm.weight", 4, 0},
        {"model.layers.0.input_layernorm.weight", 4, 0},
        {"model.layers.0.post_attention_layernorm.weight", 4, 0},
        {"model.layers.0.self_attn.q_proj.weight", 4, 4},
        {"model.layers.0.self_attn.k_proj.weight", 4, 4},
        {"model.layers.0.self_attn.v_proj.weight", 4, 4},
        {"model.layers.0.self_attn.o_proj.weight", 4, 4},
        {"model.layers.0.mlp.gate_proj.weight", 2, 4},
        {"model.layers.0.mlp.up_proj.weight", 2, 4},
        {"model.layers.0.mlp.down_proj.weight", 4, 2},
    };
    char header[4096], sep = '{';
    size_t len = 0, at = 0;
    for (size_t i = 0; i < BK_ARRAY_LEN(tensors); i++) {
        int cols = tensors[i].cols, n = tensors[i].rows * (cols ? cols : 1);
        len += (size_t)snprintf(header + len, sizeof header - len,
                                "%c\"%s\":{\"dtype\":\"F32\",\"shape\":[%d", sep, tensors[i].name,
                                tensors[i].rows);
        if (cols) len += (size_t)snprintf(header + len, sizeof header - len, ",%d", cols);
        len += (size_t)snprintf(header + len, sizeof header - len, "],\"data_offsets\":[%zu,%zu]}",
                                at, at + 4 * (size_t)n);
        at += 4 * (size_t)n;
        sep = ',';
    }
    header[len++] = '}';
    bk_buf file = {0};
    for (int i = 0; i < 8; i++) bk_buf_putc(&file, (char)(len >> 8 * i & 0xFF));
    bk_buf_append(&file, header, len);
    for (size_t i = 0; i < BK_ARRAY_LEN(tensors); i++) {
        int n = tensors[i].rows * (tensors[i].cols ? tensors[i].cols : 1);
        for (int k = 1; k <= n; k++) {
            float v = (float)k;
            bk_buf_append(&file, &v, sizeof v);
        }
    }
    put("model.safetensors", file.data, file.len);
    bk_buf_free(&file);
}

static int setup(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/brisk-hf-XXXXXX");
    if (!mkdtemp(folder)) return 1;
    setenv("BRISK_TEST_FOLDER", folder, 1); /* for the sweep's processes */
    put("config.json", config, sizeof config - 1);
    put("tokenizer.json", tokenizer, sizeof tokenizer - 1);
    put_tensors();
    return 0;
}

static int teardown(void **state) {
    static const char *const names[] = {"config.json", "tokenizer.json", "model.safetensors"};
    (void)state;
    for (size_t i = 0; i < BK_ARRAY_LEN(names); i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    return rmdir(folder);
}

static void check_floats(const bk_gguf *g, const char *name, const float *wanted, size_t n) {
    bk_error e = {0};
    const uint8_t *data;
    const bk_gguf_tensor *t = bk_gguf_find_tensor(g, name);
    assert_true(t && t->type->type == BK_TYPE_F32 && t->n_elements >= n);
    assert_int_equal(bk_gguf_read(g, t, &data, &e), BK_OK);
    assert_memory_equal(data, wanted, n * sizeof *wanted);
    bk_gguf_release(g, t, data);
}

static void becomes_gguf(void **state) {
    (void)state;
    static const float counted[] = {1, 2, 3, 4, 5, 6, 7, 8};
    /* One head of four rows, 0 1 | 2 3, becomes 0 2 1 3. */
    static const float turned[] = {1, 2, 3, 4, 9, 10, 11, 12, 5, 6, 7, 8, 13, 14, 15, 16};
    bk_gguf *g = NULL;
    bk_error e = {0};
    bk_str *tokens, arch;
    uint32_t u = 0;
    size_t n;
    if (bk_model_file_open(folder, NULL, &g, &e) != BK_OK) fail_msg("%s", e.text);
    assert_int_equal(bk_gguf_str(g, "general.architecture", &arch, &e), BK_OK);
    assert_true(bk_str_eq(arch, BK_STR("llama")));
    assert_int_equal(bk_gguf_u32(g, "llama.vocab_size", 0, 9, &u, &e), BK_OK);
    assert_int_equal(u, 5);
    assert_int_equal(bk_gguf_n_tensors(g), 12);
    check_floats(g, "token_embd.weight", counted, 8);
    check_floats(g, "blk.0.attn_q.weight", turned, 16);
    check_floats(g, "blk.0.attn_k.weight", turned, 16);
    check_floats(g, "blk.0.attn_v.weight", counted, 8);
    check_floats(g, "blk.0.ffn_down.weight", counted, 8);
    assert_non_null(bk_gguf_find_tensor(g, "rope_freqs.weight"));
    assert_null(bk_gguf_find_tensor(g, "output.weight"));
    assert_int_equal(bk_gguf_str_array(g, "tokenizer.ggml.tokens", &tokens, &n, &e), BK_OK);
    assert_true(n == 5 && bk_str_eq(tokens[3], BK_STR("ab")));
    assert_true(bk_str_eq(tokens[4], BK_STR("[PAD4]")));
    bk_free(tokens);
    bk_gguf_destroy(&g);
}

static void types(void **state) {
    (void)state;
    static const uint16_t half[] = {0x3C00, 0x4000, 0x4200, 0x4400}; /* 1 2 3 4 */
    static const uint16_t brain[] = {0x3F80, 0x4000, 0x4040, 0x4080};
    static const struct {
        const char *name;
        bk_type type;
        const uint16_t *bits;
    } all[] = {{"f16", BK_TYPE_F16, half}, {"BF16", BK_TYPE_BF16, brain}};
    for (size_t i = 0; i < BK_ARRAY_LEN(all); i++) {
        const bk_quant *type;
        bk_gguf *g = NULL, *stored = NULL;
        bk_round_options round = {.plain = true, .file_type = -1};
        bk_plan plan;
        bk_error e = {0};
        const uint8_t *data;
        assert_int_equal(bk_model_file_open(folder, NULL, &stored, &e), BK_OK);
        assert_int_equal(bk_round_type(all[i].name, &type, &e), BK_OK);
        assert_int_equal(bk_plan_convert(stored, type, NULL, &plan, &e), BK_OK);
        assert_int_equal(bk_round_model(stored, plan.types, &round, &g, &e), BK_OK);
        const bk_gguf_tensor *t = bk_gguf_find_tensor(g, "blk.0.attn_v.weight");
        assert_int_equal(t->type->type, all[i].type);
        assert_int_equal(bk_gguf_read(g, t, &data, &e), BK_OK);
        assert_memory_equal(data, all[i].bits, 8);
        bk_gguf_release(g, t, data);
        assert_int_equal(bk_gguf_find_tensor(g, "output_norm.weight")->type->type, BK_TYPE_F32);
        bk_gguf_destroy(&g);
        bk_plan_free(&plan);
        bk_gguf_destroy(&stored);
    }
}

static void named_otherwise(void **state) {
    (void)state;
    static const char *const inside[] = {"/", "/config.json", "/model.safetensors"};
    char path[128];
    bk_gguf *g = NULL;
    bk_error e = {0};
    for (size_t i = 0; i < BK_ARRAY_LEN(inside); i++) {
        snprintf(path, sizeof path, "%s%s", folder, inside[i]);
        assert_int_equal(bk_model_file_open(path, NULL, &g, &e), BK_OK);
        bk_gguf_destroy(&g);
    }
    assert_int_equal(bk_model_file_open("/", NULL, &g, &e), BK_ERR_FORMAT);
    assert_non_null(strstr(e.text, "directory"));
    assert_int_equal(bk_model_file_open("none.safetensors", NULL, &g, &e), BK_ERR_NOT_FOUND);
    assert_int_equal(bk_model_file_open("", NULL, &g, &e), BK_ERR_NOT_FOUND);
    assert_null(g);
}

static int scenario(void) {
    bk_gguf *g;
    bk_error e = {0};
    bk_status s = bk_model_file_open(getenv("BRISK_TEST_FOLDER"), NULL, &g, &e);
    for (size_t i = 0; s == BK_OK && i < bk_gguf_n_tensors(g); i++) {
        const uint8_t *data;
        s = bk_gguf_read(g, bk_gguf_tensor_at(g, i), &data, &e);
        if (s == BK_OK) bk_gguf_release(g, bk_gguf_tensor_at(g, i), data);
    }
    bk_gguf_destroy(&g);
    if (s == BK_OK) return SWEEP_ALL_OK;
    if (s == BK_ERR_NOMEM && strstr(e.text, "memory")) return SWEEP_FAILED_WELL;
    fprintf(stderr, "status %d: %s\n", (int)s, e.text);
    return SWEEP_WRONG;
}

static void memory_runs_out(void **state) {
    (void)state;
#ifdef BRISK_TESTING
    assert_true(sweep_all("folder", 1) > 30);
#else
    assert_int_equal(scenario(), SWEEP_ALL_OK);
#endif
}

int main(int argc, char **argv) {
    (void)argv;
    if (argc > 1) return sweep_status(scenario());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(becomes_gguf),
        cmocka_unit_test(types),
        cmocka_unit_test(named_otherwise),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
