#include "kernel/nn_table.h"
