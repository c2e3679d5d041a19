// SPDX-License-Identifier: BSD-2-Clause
/* Addresses as text: inet_ntop writes RFC 5952 form. */
#include "addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const uint8_t v4_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool addr_is_v4(const uint8_t addr[16])
{
	return memcmp(addr, v4_prefix, sizeof(v4_prefix)) == 0;
}

const char *addr_text(const uint8_t addr[16], char buf[static ADDR_TEXT_MAX])
{
	bool v4 = addr_is_v4(addr);

	if (!inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? addr + 12 : addr, buf, ADDR_TEXT_MAX))
		buf[0] = '\0';
	return buf;
}

const char *addr_endpoint_text(const struct cbt_endpoint *e, char buf[static ADDR_TEXT_MAX])
{
	char text[ADDR_TEXT_MAX];

	addr_text(e->addr, text);
	/* An IPv6 text has 45 characters at most, INET6_ADDRSTRLEN less the NUL. */
	snprintf(buf, ADDR_TEXT_MAX, addr_is_v4(e->addr) ? "%.45s:%u" : "[%.45s]:%u", text, e->port);
	return buf;
}

int addr_parse(const char *text, uint8_t addr[16])
{
	uint8_t out[16];

	if (inet_pton(AF_INET6, text, out) != 1) {
		memcpy(out, v4_prefix, sizeof(v4_prefix));
		if (inet_pton(AF_INET, text, out + 12) != 1)
			return -EINVAL;
	}
	memcpy(addr, out, sizeof(out));
	return 0;
}
