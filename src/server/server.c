#include "server/server.h"

#include "server/state.h"

#if !BRISK_HAVE_LIBEVENT

int sv_run(const sv_options *o) {
    (void)o;
    sv_log("this brisk was built without libevent and cannot serve: install libevent-dev and build "
           "it again");
    return 1;
}

#endif
