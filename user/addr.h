/* SPDX-License-Identifier: BSD-2-Clause */
/* Addresses of the event contract (16 bytes, network order, IPv4 as v4-mapped) as text. Pure. */
#ifndef CBTRACE_ADDR_H
#define CBTRACE_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cbtrace/event.h>

#define ADDR_TEXT_MAX 64 /* "[ffff:…]:65535" and its NUL */

/* RFC 5952 for IPv6, dotted quad for v4-mapped. Return @buf. */
const char *addr_text(const uint8_t addr[16], char buf[static ADDR_TEXT_MAX]);
/* "192.0.2.1:53", "[2001:db8::1]:53". */
const char *addr_endpoint_text(const struct cbt_endpoint *e, char buf[static ADDR_TEXT_MAX]);
bool addr_is_v4(const uint8_t addr[16]);
/* Text to @addr, either family. 0 or -EINVAL. */
int addr_parse(const char *text, uint8_t addr[16]);

#endif
