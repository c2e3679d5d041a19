# SPDX-License-Identifier: BSD-2-Clause
# cbtrace. `make help` lists the targets. One makefile, no recursion but for the sanitizer build (same file, other BUILD).

CC ?= gcc
CLANG ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool) bpftool)
PKG_CONFIG ?= pkg-config
BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
V ?= 0
SAN ?=

VERSION := 0.1.0
ARCH := $(shell uname -m)
BPF_ARCH := $(patsubst x86_64,x86,$(patsubst aarch64,arm64,$(ARCH)))

ifeq ($(V),0)
Q := @
say = @printf '  %-8s %s\n' '$(1)' '$(2)';
else
Q :=
say =
endif

# Packages of Debian 12, by what they are for.
DEPS_BUILD := gcc make pkg-config clang bpftool libbpf-dev libelf-dev libssl-dev zlib1g-dev libcapstone-dev libmicrohttpd-dev linux-libc-dev
DEPS_LAB := iproute2 iptables nftables libnetfilter-queue-dev dnsmasq-base unbound prosody ejabberd openssl procps util-linux \
	libgnutls28-dev libstrophe-dev python3-slixmpp python3-aiodns $(if $(shell command -v javac),,openjdk-17-jdk-headless) \
	$(if $(shell command -v npm),,nodejs npm)
DEPS_TEST := bats curl libcmocka-dev libjansson-dev jq python3-jsonschema tshark tcpdump prometheus libexpat1-dev clang-format clang-tidy valgrind \
	libclang-rt-14-dev

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wpointer-arith -Werror
CFLAGS ?= -O2 -g
ALL_CFLAGS := -std=gnu11 -D_GNU_SOURCE -DCBTRACE_VERSION='"$(VERSION)"' $(WARN) -Wconversion -Wno-sign-conversion \
	-Iinclude -Iuser -I$(BUILD)/include $(CFLAGS)
ifneq ($(SAN),)
ALL_CFLAGS += -fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer
LDFLAGS += -fsanitize=$(SAN)
endif
LIBS := -lbpf -lelf -lcapstone -lz -lssl -lcrypto -lmicrohttpd -lm -lpthread

# The definitions first: bpftool 7.1 links an extern map only behind its definition.
BPF_SRC := bpf/maps.bpf.c $(filter-out bpf/maps.bpf.c,$(wildcard bpf/*.bpf.c))
BPF_OBJ := $(BPF_SRC:bpf/%.c=$(BUILD)/bpf/%.o)
BPF_CFLAGS := -g -O2 -std=gnu11 -target bpf -mcpu=v2 -D__TARGET_ARCH_$(BPF_ARCH) -Wall -Wextra -Werror -Wno-unused-parameter \
	-Iinclude -Ibpf -idirafter /usr/include/$(ARCH)-linux-gnu
SKEL := $(BUILD)/include/cbtrace.skel.h

USER_SRC := $(wildcard user/*.c)
USER_OBJ := $(USER_SRC:%.c=$(BUILD)/%.o)
LIB_OBJ := $(filter-out $(BUILD)/user/main.o,$(USER_OBJ))
LIB := $(BUILD)/libcbtrace.a

UNIT_SRC := $(wildcard tests/unit/test_*.c) $(wildcard tests/replay/test_*.c)
UNIT_BIN := $(UNIT_SRC:%.c=$(BUILD)/%)
UNIT_HELP := $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(UNIT_SRC),$(wildcard tests/unit/*.c tests/replay/*.c)))
LAB_SRC := $(wildcard tests/lab/*.c tests/lab/clients/*.c)
LAB_BIN := $(LAB_SRC:%.c=$(BUILD)/%)
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_BIN := $(FUZZ_SRC:%.c=$(BUILD)/%)

DEPFILES := $(USER_OBJ:.o=.d) $(BPF_OBJ:.o=.d) $(UNIT_BIN:=.d) $(LAB_BIN:=.d) $(UNIT_HELP:.o=.d)

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: all bpf demo test unit unit-bin lab-bin e2e fuzz fuzz-long kernels bench lint format clean install help deps

all: cbtrace ## build ./cbtrace

cbtrace: $(BUILD)/user/main.o $(LIB)
	$(call say,LINK,$@)$(CC) $(LDFLAGS) -o $@ $(BUILD)/user/main.o $(LIB) $(LIBS)

# The archive is made anew, so that a deleted source leaves no stale member.
$(LIB): $(LIB_OBJ)
	$(call say,AR,$@)rm -f $@ && ar rcs $@ $(LIB_OBJ)

$(BUILD)/user/%.o: user/%.c
	$(Q)mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# The skeleton must exist before its includer is compiled the first time; after that its .d file knows.
$(BUILD)/user/source_ring.o: $(SKEL)

bpf: $(SKEL)

$(BUILD)/bpf/%.o: bpf/%.c
	$(Q)mkdir -p $(@D)
	$(call say,BPF,$<)$(CLANG) $(BPF_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/bpf/cbtrace.linked.o: $(BPF_OBJ)
	$(call say,BPFLINK,$@)$(BPFTOOL) gen object $@ $(BPF_OBJ)

$(SKEL): $(BUILD)/bpf/cbtrace.linked.o
	$(Q)mkdir -p $(@D)
	$(call say,SKEL,$@)$(BPFTOOL) gen skeleton $< name cbtrace_bpf > $@

$(BUILD)/tests/unit/%: tests/unit/%.c $(UNIT_HELP) $(LIB)
	$(Q)mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(ALL_CFLAGS) -Itests/unit -Ibpf -MMD -MP -MF $@.d -o $@ $< $(UNIT_HELP) $(LIB) $(LDFLAGS) -lcmocka -ljansson $(LIBS) -lresolv

$(BUILD)/tests/replay/%: tests/replay/%.c $(UNIT_HELP) $(LIB)
	$(Q)mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(ALL_CFLAGS) -Itests/unit -Itests/replay -MMD -MP -MF $@.d -o $@ $< $(UNIT_HELP) $(LIB) $(LDFLAGS) -lcmocka -ljansson $(LIBS)

$(UNIT_HELP): $(BUILD)/%.o: %.c
	$(Q)mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(ALL_CFLAGS) -Itests/unit -Itests/replay -MMD -MP -c -o $@ $<

$(BUILD)/tests/lab/%: tests/lab/%.c
	$(Q)mkdir -p $(@D)
	$(call say,CC,$<)$(CC) -std=gnu11 -D_GNU_SOURCE $(WARN) -Iinclude $(CFLAGS) -MMD -MP -MF $@.d -o $@ $< $(LDFLAGS) \
		$(LAB_LIBS) -lresolv

$(BUILD)/tests/lab/%: LAB_LIBS := -lssl -lcrypto -lnetfilter_queue
$(BUILD)/tests/lab/clients/gnutls_client: LAB_LIBS := -lgnutls
$(BUILD)/tests/lab/clients/strophe_client: LAB_LIBS := -lstrophe

FUZZ_FLAGS := -std=gnu11 -Itests/unit -D_GNU_SOURCE -DCBTRACE_VERSION='"fuzz"' -O1 -g -Iinclude -Iuser -Ibpf -I$(BUILD)/include -fsanitize=fuzzer,address,undefined \
	-fno-sanitize-recover=all
FUZZ_LIB := $(filter-out user/main.c user/source_ring.c user/live.c user/check.c user/library.c,$(USER_SRC))
$(BUILD)/tests/fuzz/%: tests/fuzz/%.c $(FUZZ_LIB) $(wildcard user/*.h include/cbtrace/*.h) bpf/xmpp.h
	$(Q)mkdir -p $(@D)
	$(call say,FUZZ,$<)$(CLANG) $(FUZZ_FLAGS) -o $@ $< $$(tests/fuzz/sources $<) -lssl -lcrypto -ljansson -lexpat -lz -lm

unit-bin: $(UNIT_BIN)

lab-bin: $(LAB_BIN)

demo: deps all lab-bin ## show a good attempt and one that fails over, on an embedded lab
	$(Q)tests/lab/demo

test: deps all lab-bin ## everything CI runs: unit, replay, short fuzzing, lint, end to end
	$(Q)BUILD=$(BUILD) MAKE='$(MAKE)' tests/run all

unit: all ## unit and replay tests with sanitizers only
	$(Q)BUILD=$(BUILD) MAKE='$(MAKE)' tests/run unit

e2e: all lab-bin ## end-to-end tests only (root)
	$(Q)BUILD=$(BUILD) MAKE='$(MAKE)' tests/run e2e

fuzz: $(FUZZ_BIN) ## each fuzzer for a few seconds
	$(Q)BUILD=$(BUILD) tests/fuzz/run 5

fuzz-long: $(FUZZ_BIN) ## each fuzzer for ten minutes
	$(Q)BUILD=$(BUILD) tests/fuzz/run 600

kernels: all ## load and use it on other kernels under qemu (slow, by hand)
	$(Q)BUILD=$(BUILD) tests/kernels/run

bench: all lab-bin ## performance, as ratios inside one run
	$(Q)BUILD=$(BUILD) tests/bench/run

C_FILES := $(wildcard include/cbtrace/*.h bpf/*.[ch] user/*.[ch] tests/*/*.[ch] tests/lab/clients/*.[ch])

# One process per file: several at once make version 14 report a va_list of one in another. The analyzer follows calls into the generated skeleton, whose style is libbpf's.
TIDY_FLAGS := -std=gnu11 -D_GNU_SOURCE -DCBTRACE_VERSION='"lint"' -Iinclude -Iuser -isystem $(BUILD)/include

lint: $(SKEL) ## clang-format and clang-tidy, both must be clean
	$(Q)clang-format --dry-run -Werror $(C_FILES)
	$(Q)printf '%s\n' $(filter-out user/source_ring.c,$(USER_SRC)) | xargs -P 2 -I{} clang-tidy --quiet {} -- $(TIDY_FLAGS)
	$(Q)clang-tidy --quiet --checks='-clang-analyzer-*' user/source_ring.c -- $(TIDY_FLAGS)

format: ## rewrite the sources as .clang-format says
	$(Q)clang-format -i $(C_FILES)

deps: ## install the Debian packages that build, lab and tests need (root)
	$(Q)./tests/deps $(DEPS_BUILD) $(DEPS_LAB) $(DEPS_TEST)

install: all ## install to $(DESTDIR)$(PREFIX)
	install -D -m 755 cbtrace $(DESTDIR)$(PREFIX)/sbin/cbtrace

clean: ## remove what was built
	rm -rf $(BUILD) build-san cbtrace

help: ## this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' Makefile

-include $(DEPFILES)
