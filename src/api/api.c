#include "api/api.h"
#include "base/mem.h"

brisk_status bk_api_result(bk_status st, const bk_error *from, brisk_error *err) {
    if (st && err) {
        err->code = (brisk_status)st;
        memcpy(err->text, from->text, sizeof err->text);
    }
    return (brisk_status)st;
}

brisk_status bk_api_null(const char *what, brisk_error *err) {
    bk_error e;
    return bk_api_result(bk_fail(&e, BK_ERR_INVALID, "%s must not be NULL", what), &e, err);
}

bk_chat_message *bk_api_messages(const brisk_chat_message *messages, size_t n) {
    bk_chat_message *copy = bk_alloc(n ? n : 1, sizeof *copy);
    for (size_t i = 0; i < n && copy; i++) {
        copy[i] = (bk_chat_message){messages[i].role, messages[i].content};
    }
    return copy;
}

BK_API const char *brisk_version(void) { return BRISK_VERSION; }

BK_API const char *brisk_status_str(brisk_status status) {
    return bk_status_str((bk_status)status);
}
