/* A Hugging Face folder as a GGUF model in memory: config.json becomes keys, tokenizer.json the
 * vocabulary, the safetensors files the tensors, all under the names that GGUF files carry (those that
 * llama.cpp's converter writes). What GGUF stores otherwise (rotated rows of query and key, norms with
 * 1 added, experts stacked) is brought into that form tensor by tensor when it is read. */
#ifndef BRISK_MODEL_HF_H
#define BRISK_MODEL_HF_H

#include "base/error.h"
#include "format/gguf.h"

typedef struct bk_hf_options {
    const char *pre;   /* name of the pre-tokenizer, when it is not recognised; NULL: find out */
    const char *vocab; /* file with the vocabulary of a state dictionary; NULL: the one beside it */
} bk_hf_options;

/* Opens whatever holds a model: a GGUF file, the first part of a split one, a folder with config.json
 * (also named by its config.json or one of its safetensors files), or without one a PyTorch model's
 * state dictionary (model/state_dict.h; model.safetensors, when the folder is named). options may be
 * NULL; they do not matter for GGUF files. NOT_FOUND, IO, FORMAT, UNSUPPORTED, INVALID, LIMIT, NOMEM; err names
 * the file inside the folder, not path. */
bk_status bk_model_file_open(const char *path, const bk_hf_options *options, bk_gguf **out,
                             bk_error *err);

#endif
