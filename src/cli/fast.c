/* What options that lose precision cost the model at hand. */
#include <string.h>

#include "brisk_tools.h"
#include "cli/cli.h"

/* Prose, figures and code, in few words: every use of --fast computes this twice. */
static const char sample[] =
    "The ferry to the island leaves at 7:40 and again at 16:15, unless the wind is above force 8; "
    "tickets are 12 euros, and half of that for children.\n"
    "for i in range(3): print(i * 2)\n"
    "Nobody had told the old man that his garden was famous, so he went on watering the roses "
    "every "
    "evening as his mother had done.";

enum { MOST_TOKENS = 256 };

bool cli_tell_fast(brisk_model *model) {
    brisk_token tokens[MOST_TOKENS];
    brisk_eval_result r;
    brisk_error err;
    size_t n = 0;
    brisk_status st =
        brisk_tokenize(model, sample, strlen(sample), true, false, tokens, MOST_TOKENS, &n, &err);
    if (!st) st = brisk_eval_tokens(model, tokens, &n, 1, NULL, &r, &err);
    if (st) return !cli_fail("--fast: %s", err.text);
    fprintf(stderr,
            "fast: prompts lose precision: mean KL %.4f from the exact mode, the same best token "
            "in %.0f %% (%zu tokens; of a text: brisk eval --fast -f TEXT)\n",
            r.kl_mean, 100 * r.top_agreement, r.compared);
    return true;
}

void cli_tell_head(const brisk_model *model) {
    brisk_model_info info;
    char size[32];
    brisk_model_get_info(model, &info);
    if (info.head_screen)
        fprintf(stderr,
                "head: screened, %s beside the whole head (greedy answers and sampling with min-p "
                "alone)\n",
                cli_bytes(info.head_bytes, size, sizeof size));
    if (!info.head_kept) return;
    fprintf(stderr,
            "head: %d of %d tokens, and those of the prompt, to choose from; %s beside the whole "
            "head (what it leaves out of a text: brisk eval --head-keep ... -f TEXT)\n",
            info.head_kept, info.n_vocab, cli_bytes(info.head_bytes, size, sizeof size));
}
