/* Architectures `qwen2` (Qwen 1.5 to 2.5: biases on queries, keys and values, which any model here may
 * have), `qwen3` and `qwen3moe` (a norm over every head of queries and keys instead). Yang et al.
 * 2024 (arXiv 2407.10671) and 2025 (arXiv 2505.09388). */
#include "model/arch.h"

const bk_arch bk_arch_qwen2 = {.name = "qwen2", .features = BK_HALVES};
const bk_arch bk_arch_qwen3 = {.name = "qwen3", .features = BK_HALVES | BK_QK_NORM};
const bk_arch bk_arch_qwen3moe = {.name = "qwen3moe",
                                  .features = BK_HALVES | BK_QK_NORM | BK_EXPERTS};
