/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which sockets, DNS messages, TLS connections and processes have belonged to an attempt: kept longer than the attempt,
 * because a recorder asks late. Bounded; the oldest is forgotten first. Pure.
 */
#ifndef CBTRACE_CLAIMS_H
#define CBTRACE_CLAIMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLAIMS_MAX 65536

struct claims;

struct claims *claims_new(void);    /* NULL for want of memory */
void claims_free(struct claims *c); /* accepts NULL */

void claims_add_socket(struct claims *c, uint64_t cookie);
void claims_add_message(struct claims *c, uint64_t cookie, uint16_t id);
void claims_add_process(struct claims *c, uint32_t tgid);
void claims_add_library(struct claims *c, uint64_t conn); /* of the TLS library: struct cbt_ev_lib_hello */
bool claims_has_library(const struct claims *c, uint64_t conn);
bool claims_has_socket(const struct claims *c, uint64_t cookie);
bool claims_has_message(const struct claims *c, uint64_t cookie, uint16_t id);
bool claims_has_process(const struct claims *c, uint32_t tgid);

#endif
