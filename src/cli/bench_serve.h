/* `brisk bench serve`: load on a server, with argv[0] the verb; returns the exit status. */
#ifndef BRISK_CLI_BENCH_SERVE_H
#define BRISK_CLI_BENCH_SERVE_H

int bench_serve(int argc, char **argv);

#endif
