# Libraries found by pkg-config, and where things go. Everything here can be set on make's command
# line: `make HAVE_LIBEDIT=0`, `make PREFIX=/usr`.
CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
AR ?= ar
PKG_CONFIG ?= pkg-config
CLANG ?= clang
CLANG_FORMAT ?= $(firstword $(shell command -v clang-format-14 clang-format) clang-format)

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DATADIR ?= $(PREFIX)/share

have = $(shell $(PKG_CONFIG) --exists $(1) 2>/dev/null && echo 1 || echo 0)
cflags = $(shell $(PKG_CONFIG) --cflags $(1) 2>/dev/null)
libs = $(shell $(PKG_CONFIG) --libs $(1) 2>/dev/null)

# Required.
ifeq ($(call have,jansson),0)
ifneq ($(MAKECMDGOALS),clean)
$(error jansson not found by $(PKG_CONFIG): install libjansson-dev (and pkg-config))
endif
endif

# Optional. HAVE_X is 0 or 1 and reaches the sources as BRISK_HAVE_X. With 0, files whose names end
# in the suffix are left out of the build.
#             name       pkg-config name  Debian package        file suffix
OPTIONAL := LIBEDIT:libedit:libedit-dev:_libedit.c \
            CURL:libcurl:libcurl4-openssl-dev:_curl.c \
            PCRE2:libpcre2-8:libpcre2-dev:_pcre2.c \
            LIBEVENT:libevent_core:libevent-dev:_event.c \
            OPENSSL:openssl:libssl-dev:_openssl.c
part = $(word $(2),$(subst :, ,$(1)))
define optional_library
HAVE_$(call part,$(1),1) ?= $(call have,$(call part,$(1),2))
ifneq ($$(HAVE_$(call part,$(1),1)),1)
MISSING += $(call part,$(1),3)
DROPPED += %$(call part,$(1),4)
endif
CONFIG_DEFS += -DBRISK_HAVE_$(call part,$(1),1)=$$(HAVE_$(call part,$(1),1))
endef
$(foreach lib,$(OPTIONAL),$(eval $(call optional_library,$(lib))))
with = $(if $(filter 1,$(HAVE_$(1))),$(2))
# `brisk bench serve` asks over libcurl.
DROPPED += $(if $(filter 1,$(HAVE_CURL)),,src/cli/load/%)

# Libraries of the chat page, built into the program by tools/embed. Without them the page shows plain
# text; HAVE_PAGE=0 leaves them out.
#           name in the page  Debian package  file
PAGE_LIBS := marked.js:libjs-marked:/usr/share/javascript/marked/marked.min.js \
             purify.js:node-dompurify:/usr/share/nodejs/dompurify/dist/purify.min.js \
             highlight.js:libjs-highlight.js:/usr/share/javascript/highlight.js/highlight.min.js
HAVE_PAGE ?= 1
define page_library
ifneq ($$(and $$(filter 1,$$(HAVE_PAGE)),$$(wildcard $(call part,$(1),3))),)
EMBED_FILES += $(call part,$(1),3)
EMBED_ARGS += "$(call part,$(1),1)=$(call part,$(1),3) /usr/share/doc/$(call part,$(1),2)/copyright"
else
MISSING += $(call part,$(1),2)
endif
endef
$(foreach lib,$(PAGE_LIBS),$(eval $(call page_library,$(lib))))

# What the library links, what the program links beside it, and the tests.
LIB_PKGS := jansson
CLI_PKGS := $(call with,LIBEDIT,libedit) $(call with,LIBEVENT,libevent_core)
# libcurl is loaded when something is fetched, OpenSSL when the server has a certificate: their own
# libraries would slow down every start.
CONFIG_CFLAGS := $(call cflags,$(LIB_PKGS) $(CLI_PKGS) $(call with,CURL,libcurl) \
                   $(call with,OPENSSL,openssl))
LIB_LIBS := $(call libs,$(LIB_PKGS)) -pthread -ldl -lm
CLI_LIBS := $(if $(strip $(CLI_PKGS)),$(call libs,$(CLI_PKGS))) -ldl
TEST_LIBS := $(or $(call libs,cmocka),-lcmocka) $(call with,PCRE2,$(call libs,libpcre2-8))
