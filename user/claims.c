// SPDX-License-Identifier: BSD-2-Clause
/* Remembered claims. See claims.h. */
#include "claims.h"

#include <stdlib.h>

#include "table.h"

/* The kind goes into the key, so that one table and one bound serve all three. Cookies count up from 1 and stay far
 * below 2^44. */
enum kind { KIND_LIBRARY = 0, KIND_SOCKET = 1, KIND_MESSAGE = 2, KIND_PROCESS = 3 };

struct claim {
	uint64_t key;
};

struct claims {
	struct table *by_key;
	size_t next; /* slot that is used next, and with it forgotten */
	struct claim ring[CLAIMS_MAX];
};

struct claims *claims_new(void)
{
	struct claims *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->by_key = table_new();
	if (!c->by_key) {
		free(c);
		return NULL;
	}
	return c;
}

void claims_free(struct claims *c)
{
	if (!c)
		return;
	table_free(c->by_key);
	free(c);
}

static uint64_t claim_key(enum kind kind, uint64_t value, uint16_t id)
{
	return (uint64_t)kind << 62 | (value & ((1ULL << 46) - 1)) << 16 | id;
}

static void claim_add(struct claims *c, uint64_t key)
{
	struct claim *slot = &c->ring[c->next];

	if (table_find(c->by_key, key))
		return;
	if (slot->key)
		table_remove(c->by_key, slot->key);
	slot->key = key;
	if (table_insert(c->by_key, slot) < 0)
		slot->key = 0;
	c->next = (c->next + 1) % CLAIMS_MAX;
}

void claims_add_socket(struct claims *c, uint64_t cookie)
{
	claim_add(c, claim_key(KIND_SOCKET, cookie, 0));
}

void claims_add_message(struct claims *c, uint64_t cookie, uint16_t id)
{
	claim_add(c, claim_key(KIND_MESSAGE, cookie, id));
}

void claims_add_process(struct claims *c, uint32_t tgid)
{
	claim_add(c, claim_key(KIND_PROCESS, tgid, 0));
}

bool claims_has_socket(const struct claims *c, uint64_t cookie)
{
	return table_find(c->by_key, claim_key(KIND_SOCKET, cookie, 0));
}

bool claims_has_message(const struct claims *c, uint64_t cookie, uint16_t id)
{
	return table_find(c->by_key, claim_key(KIND_MESSAGE, cookie, id));
}

bool claims_has_process(const struct claims *c, uint32_t tgid)
{
	return table_find(c->by_key, claim_key(KIND_PROCESS, tgid, 0));
}

/* Its 64 bits count ns since boot times eight: the two that the kind takes are not used in the machine's lifetime. */
static uint64_t library_key(uint64_t conn)
{
	return (uint64_t)KIND_LIBRARY << 62 | (conn & ((1ULL << 62) - 1));
}

void claims_add_library(struct claims *c, uint64_t conn)
{
	claim_add(c, library_key(conn));
}

bool claims_has_library(const struct claims *c, uint64_t conn)
{
	return table_find(c->by_key, library_key(conn));
}
