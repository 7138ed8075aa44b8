# brisk: one non-recursive Makefile. `make help` lists the targets.
#
# Objects mirror their sources under build/$(MODE)/. A new source, test or fuzz target needs no edit
# here: lists come from wildcards, instruction-set flags from a file's suffix.
MODE ?= release
BUILD ?= build
B := $(BUILD)/$(MODE)

.SUFFIXES:
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
include config.mk

VERSION := $(shell sed -n 's/^.define BRISK_VERSION "\(.*\)"/\1/p' include/brisk.h)
SONAME := libbrisk.so.0

# ---- Sources ------------------------------------------------------------------------------------
SRC := $(filter-out $(DROPPED),$(sort $(wildcard src/*/*.c src/*/*/*.c)))
CLI_SRC := $(filter src/cli/%,$(SRC))
SERVER_SRC := $(filter src/server/%,$(SRC))
LIB_SRC := $(filter-out $(CLI_SRC) $(SERVER_SRC),$(SRC))
UNIT_SRC := $(sort $(wildcard tests/unit/test_*.c))
UNIT_COMMON := $(filter-out $(UNIT_SRC),$(wildcard tests/unit/*.c))
CHECK_SRC := $(sort $(wildcard tests/check/*.c))
# Any other C file under tests/ is a program that a test there runs.
TOOL_SRC := $(sort $(filter-out tests/unit/% tests/check/% tests/fuzz/%,$(wildcard tests/*/*.c)))
FUZZ_SRC := $(sort $(wildcard tests/fuzz/fuzz_*.c))
# Tables written by a script keep its format.
FORMATTED := $(filter-out %_tables.c,$(sort $(wildcard include/*.h src/*/*.[ch] src/*/*/*.[ch] \
               tests/*/*.[ch] examples/*.[ch] tools/*.[ch])))

obj = $(patsubst %.c,$(B)/%.o,$(1))
prog = $(patsubst %.c,$(B)/%,$(1))
LIB_OBJ := $(call obj,$(LIB_SRC))
SERVER_OBJ := $(call obj,$(SERVER_SRC))
# The server's parts as an archive, so that a program takes those that it needs.
ARCHIVES := $(B)/libserver.a $(B)/libbrisk.a
UNIT_PROGS := $(call prog,$(UNIT_SRC))
CHECK_PROG := $(if $(CHECK_SRC),$(B)/tests/check/check)
TOOL_PROGS := $(call prog,$(TOOL_SRC))
FUZZ_PROGS := $(patsubst tests/fuzz/fuzz_%.c,$(B)/tests/fuzz/fuzz_%,$(FUZZ_SRC))
REPLAY_PROGS := $(patsubst tests/fuzz/fuzz_%.c,$(B)/tests/fuzz/replay_%,$(FUZZ_SRC))

# ---- Flags --------------------------------------------------------------------------------------
WARNINGS := -Wall -Wextra -Wshadow -Wvla -Wundef -Wpointer-arith -Werror
# No -ffast-math and no contraction: every output element is one fixed expression on every machine.
MATH := -ffp-contract=off -fno-math-errno -fno-trapping-math
MODE_release := -O2 -g -D_FORTIFY_SOURCE=2
MODE_debug := -O0 -g3 -DBRISK_TESTING
MODE_asan := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined \
             -fno-sanitize-recover=all -DBRISK_TESTING
MODE_ubsan := -O1 -g -fsanitize=undefined -fno-sanitize-recover=all -DBRISK_TESTING
MODE_tsan := -O1 -g -fsanitize=thread -DBRISK_TESTING
MODE_fuzz := -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined \
             -fno-sanitize-recover=all -DBRISK_TESTING
ifeq ($(MODE_$(MODE)),)
$(error MODE=$(MODE) is unknown; use release, debug, asan, ubsan or tsan)
endif
# SIMD kernels are unrolled so far that inline checks take the compiler minutes. They stay as they
# are released: tests/check gives them buffers that end at a guard page, and equal bits to the
# portable kernels, which are instrumented. Line numbers are all the debug information they carry.
KERNELS_asan := -fno-sanitize=all -O2
KERNELS_ubsan := -fno-sanitize=all -O2
KERNELS_tsan := -fno-sanitize=all -O2
KERNELS_fuzz := -fno-sanitize=all
# The portable kernels of training are full of small vectors, whose scopes take gcc minutes to follow.
REF_asan := -fno-sanitize-address-use-after-scope
REF_fuzz := $(REF_asan)
SANITIZE := $(filter -fsanitize=%,$(MODE_$(MODE)))

BASE_CFLAGS := -std=c11 -D_GNU_SOURCE -Isrc -Iinclude $(CONFIG_DEFS) $(CONFIG_CFLAGS) $(WARNINGS) \
               $(MATH) -fPIC -fvisibility=hidden -fstack-protector-strong -pthread $(MODE_$(MODE))
LINK := $(CC) $(SANITIZE) $(LDFLAGS) -pthread -Wl,-z,relro,-z,now,--as-needed

# Instruction sets by file suffix; the rest is baseline x86-64, so one binary runs everywhere.
AVX2 := -mavx2 -mfma -mf16c
AVX512_VNNI := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni
AVX512_VBMI2 := -mavx512vbmi2 -mpopcnt
flags = $(if $(filter src/%,$(1)),-Wstrict-prototypes) \
      $(if $(filter %_avx2.c,$(1)),$(AVX2)) \
      $(if $(filter %_avxvnni.c,$(1)),$(AVX2) -mavxvnni) \
      $(if $(filter %_avx512vnni256.c %_avx512.c %_avx512vbmi2.c,$(1)),$(AVX2) $(AVX512_VNNI)) \
      $(if $(filter %_avx512vbmi2.c,$(1)),$(AVX512_VBMI2)) \
      $(if $(findstring _avx,$(1)),-g1 $(KERNELS_$(MODE))) \
      $(if $(filter %_ref.c,$(1)),$(REF_$(MODE)))

# `make V=1` shows the commands.
Q := $(if $(V),,@)
say = $(if $(V),,@printf '%-5s %s\n' '$(1)' '$(2)')

# ---- Products -----------------------------------------------------------------------------------
.PHONY: all lib help FORCE
all: lib $(if $(CLI_SRC),$(B)/brisk $(if $(filter release,$(MODE)),$(BUILD)/brisk))
lib: $(B)/libbrisk.a $(B)/libbrisk.so

ifneq ($(MISSING),)
$(shell mkdir -p $(B))
ifneq ($(MISSING),$(shell cat $(B)/.missing 2>/dev/null))
$(shell echo '$(MISSING)' >$(B)/.missing)
$(info Built without what these packages are for: $(MISSING))
endif
endif

# A stamp rewritten when flags or the list of sources change, so that both cause a rebuild.
define stamp
$(1): FORCE
	@mkdir -p $$(@D)
	@printf '%s\n' '$(2)' | cmp -s - $$@ || printf '%s\n' '$(2)' >$$@
endef
$(eval $(call stamp,$(B)/.flags,$(CC) $(BASE_CFLAGS) $(CFLAGS) $(CPPFLAGS)))
$(eval $(call stamp,$(B)/.sources,$(SRC)))

$(B)/%.o: %.c $(B)/.flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(BASE_CFLAGS) $(CFLAGS) $(call flags,$<) -MMD -MP -c -o $@ $<

$(B)/libbrisk.a: $(LIB_OBJ) $(B)/.sources
	@rm -f $@
	$(call say,AR,$@)
	$(Q)$(AR) rcs $@ $(LIB_OBJ)

# The chat page as a C file.
PAGE_OBJ := $(B)/page/page.o
$(eval $(call stamp,$(B)/.page,$(EMBED_ARGS)))
$(B)/page/page.c: tools/embed $(wildcard src/server/web/*.* src/server/web/*/*) $(EMBED_FILES) \
                  $(B)/.page
	$(call say,EMBED,$@)
	$(Q)tools/embed $@ $(EMBED_ARGS)
$(PAGE_OBJ): %.o: %.c $(B)/.flags
	$(Q)$(CC) $(CPPFLAGS) $(BASE_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(B)/libserver.a: $(SERVER_OBJ) $(PAGE_OBJ) $(B)/.sources
	@rm -f $@
	$(call say,AR,$@)
	$(Q)$(AR) rcs $@ $(SERVER_OBJ) $(PAGE_OBJ)

$(B)/libbrisk.so: $(LIB_OBJ) $(B)/.sources
	$(call say,LINK,$@)
	$(Q)$(LINK) -shared -Wl,-soname,$(SONAME) -Wl,--no-undefined -o $@ $(LIB_OBJ) $(LIB_LIBS)

$(B)/brisk: $(call obj,$(CLI_SRC)) $(ARCHIVES)
	$(call say,LINK,$@)
	$(Q)$(LINK) -pie -o $@ $^ $(LIB_LIBS) $(CLI_LIBS)
$(BUILD)/brisk: $(BUILD)/release/brisk
	@ln -f $< $@ 2>/dev/null || cp $< $@

# ---- Tests --------------------------------------------------------------------------------------
# BRISK_TEST_MODEL: the default model, where `brisk pull` puts it.
CACHE := $(or $(BRISK_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/brisk)
export BRISK_TEST_MODEL ?= $(CACHE)/smollm2-135m-instruct-q4_1.gguf

.PHONY: check tests check-unit check-kernels check-fuzz fuzz fuzz-programs
tests: $(UNIT_PROGS) $(CHECK_PROG) $(TOOL_PROGS) $(REPLAY_PROGS)
check: check-unit check-kernels check-fuzz

$(UNIT_PROGS): $(B)/tests/unit/%: $(B)/tests/unit/%.o $(call obj,$(UNIT_COMMON)) $(ARCHIVES)
	$(call say,LINK,$@)
	$(Q)$(LINK) -pie -o $@ $^ $(LIB_LIBS) $(TEST_LIBS)
$(TOOL_PROGS): $(B)/%: $(B)/%.o $(ARCHIVES)
	$(call say,LINK,$@)
	$(Q)$(LINK) -pie -o $@ $^ $(LIB_LIBS)
$(CHECK_PROG): $(call obj,$(CHECK_SRC)) $(B)/libbrisk.a
	$(call say,LINK,$@)
	$(Q)$(LINK) -pie -o $@ $^ $(LIB_LIBS)
$(REPLAY_PROGS): $(B)/tests/fuzz/replay_%: $(B)/tests/fuzz/fuzz_%.o $(B)/tests/fuzz/replay.o \
                                           $(ARCHIVES)
	$(call say,LINK,$@)
	$(Q)$(LINK) -pie -o $@ $^ $(LIB_LIBS)
$(FUZZ_PROGS): $(B)/tests/fuzz/fuzz_%: $(B)/tests/fuzz/fuzz_%.o $(ARCHIVES)
	$(call say,LINK,$@)
	$(Q)$(LINK) -fsanitize=fuzzer -o $@ $^ $(LIB_LIBS)

check-unit: $(UNIT_PROGS)
	@tools/run_tests $(UNIT_PROGS)
# SIMD kernels carry no sanitizer (above), so there is nothing new in them for asan and ubsan.
check-kernels: $(CHECK_PROG)
	@BRISK_CHECK_LEVEL=$(if $(filter asan ubsan,$(MODE)),ref) tools/run_tests $(CHECK_PROG)
check-fuzz: $(REPLAY_PROGS)
	@tools/run_tests $(REPLAY_PROGS)

# libFuzzer programs: build/fuzz/tests/fuzz/fuzz_NAME tests/fuzz/corpus/NAME
fuzz:
	@command -v $(CLANG) >/dev/null || { echo "make fuzz needs clang (package clang)" >&2; exit 1; }
	$(MAKE) MODE=fuzz CC=$(CLANG) fuzz-programs
fuzz-programs: $(FUZZ_PROGS)

# ---- Checks of the source -----------------------------------------------------------------------
.PHONY: format format-check layers size symbols headers banned docs
format:
	$(CLANG_FORMAT) -i $(FORMATTED)
format-check:
	$(CLANG_FORMAT) --dry-run -Werror $(FORMATTED)
layers:
	@tools/layers
banned:
	@tools/banned
docs:
	@tools/check_docs
headers:
	@CC="$(CC)" ISA="$(AVX2) $(AVX512_VNNI) -mavxvnni" \
	    tools/check_headers $(CONFIG_DEFS) $(CONFIG_CFLAGS)
symbols: $(B)/libbrisk.so $(B)/libbrisk.a
	@CC="$(CC)" tools/check_symbols $^
size: $(B)/brisk
	@tools/size $<

# ---- Installation -------------------------------------------------------------------------------
.PHONY: install uninstall clean
install: all
	install -d "$(DESTDIR)$(BINDIR)" "$(DESTDIR)$(INCLUDEDIR)" "$(DESTDIR)$(LIBDIR)/pkgconfig" \
	    "$(DESTDIR)$(DATADIR)/brisk"
	install -m 644 share/digits.csv share/README.md "$(DESTDIR)$(DATADIR)/brisk"
	install -m 755 $(B)/brisk "$(DESTDIR)$(BINDIR)/brisk"
	install -m 644 include/*.h "$(DESTDIR)$(INCLUDEDIR)"
	install -m 644 $(B)/libbrisk.a "$(DESTDIR)$(LIBDIR)/libbrisk.a"
	install -m 755 $(B)/libbrisk.so "$(DESTDIR)$(LIBDIR)/libbrisk.so.$(VERSION)"
	ln -sf libbrisk.so.$(VERSION) "$(DESTDIR)$(LIBDIR)/$(SONAME)"
	ln -sf $(SONAME) "$(DESTDIR)$(LIBDIR)/libbrisk.so"
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
	    -e 's|@VERSION@|$(VERSION)|' -e 's|@REQUIRES@|$(LIB_PKGS)|' \
	    brisk.pc.in >"$(DESTDIR)$(LIBDIR)/pkgconfig/brisk.pc"

uninstall:
	rm -f "$(DESTDIR)$(BINDIR)/brisk" \
	    $(patsubst include/%,"$(DESTDIR)$(INCLUDEDIR)/%",$(wildcard include/*.h)) \
	    "$(DESTDIR)$(LIBDIR)/libbrisk.a" "$(DESTDIR)$(LIBDIR)/libbrisk.so" \
	    "$(DESTDIR)$(LIBDIR)/$(SONAME)" "$(DESTDIR)$(LIBDIR)/libbrisk.so.$(VERSION)" \
	    "$(DESTDIR)$(LIBDIR)/pkgconfig/brisk.pc"
	rm -f "$(DESTDIR)$(DATADIR)/brisk/digits.csv" "$(DESTDIR)$(DATADIR)/brisk/README.md"
	-rmdir "$(DESTDIR)$(DATADIR)/brisk"

clean:
	rm -rf $(BUILD)

help:
	@echo 'make [MODE=release|debug|asan|ubsan|tsan] [TARGET]'
	@echo '  all            build/brisk, build/MODE/libbrisk.a, build/MODE/libbrisk.so'
	@echo '  check          check-unit, check-kernels, check-fuzz (replay of the corpus)'
	@echo '  fuzz           libFuzzer programs, with clang'
	@echo '  format         rewrite sources with clang-format; format-check only looks'
	@echo '  layers         includes point downwards; banned: unwanted functions; docs: links'
	@echo '  headers        every header compiles alone, the public ones as C++ too'
	@echo '  symbols        exported symbols are the functions of include/*.h'
	@echo '  size           lines per folder, size of the program'
	@echo '  install        to PREFIX ($(PREFIX)), under DESTDIR; uninstall'
	@echo '  clean          remove $(BUILD)/'
	@echo 'V=1 shows commands; BUILD=folder builds elsewhere.'

ALL_SRC := $(SRC) $(UNIT_SRC) $(UNIT_COMMON) $(CHECK_SRC) $(TOOL_SRC) $(FUZZ_SRC) tests/fuzz/replay.c
-include $(patsubst %.o,%.d,$(call obj,$(ALL_SRC)) $(PAGE_OBJ))
