/* Architecture `llama`: Llama 1-3, SmolLM2, Mistral, Mixtral and whatever else is converted to that
 * name. Touvron et al. 2023 (arXiv 2302.13971); experts: Jiang et al. 2024 (arXiv 2401.04088). GGUF
 * stores Wq and Wk so that neighbours rotate. */
#include "model/arch.h"

const bk_arch bk_arch_llama = {.name = "llama"};
