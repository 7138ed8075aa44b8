/* Architecture `phi3`: Phi-3, 3.5 and 4 (Abdin et al. 2024, arXiv 2404.14219): one matrix for queries,
 * keys and values and one for gate and up; LongRoPE in the long-context versions. */
#include "model/arch.h"

const bk_arch bk_arch_phi3 = {.name = "phi3", .features = BK_HALVES | BK_FUSED_QKV | BK_FUSED_FF};
