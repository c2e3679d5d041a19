// SPDX-License-Identifier: BSD-2-Clause
/* Objects by 64-bit key. See table.h. */
#include "table.h"

#include <errno.h>

#include <openssl/lhash.h>

/* struct table is never defined: it is LHASH under a name of ours, so that nobody else includes OpenSSL for it. */

static unsigned long key_hash(const void *object)
{
	/* Fibonacci hashing: cookies and process ids count up, and LHASH takes the low bits. */
	uint64_t h = *(const uint64_t *)object * 0x9e3779b97f4a7c15ULL;

	return (unsigned long)(h ^ h >> 32);
}

static int key_compare(const void *va, const void *vb)
{
	uint64_t a = *(const uint64_t *)va, b = *(const uint64_t *)vb;

	return a < b ? -1 : a > b;
}

struct table *table_new(void)
{
	return (struct table *)OPENSSL_LH_new(key_hash, key_compare);
}

void table_free(struct table *t)
{
	if (t)
		OPENSSL_LH_free((OPENSSL_LHASH *)t);
}

void *table_find(const struct table *t, uint64_t key)
{
	/* retrieve() only counts hits in @t, which is why LHASH does not take it as const. */
	return OPENSSL_LH_retrieve((OPENSSL_LHASH *)t, &key);
}

int table_insert(struct table *t, void *object)
{
	OPENSSL_LHASH *lh = (OPENSSL_LHASH *)t;

	if (table_find(t, *(const uint64_t *)object))
		return -EEXIST;
	OPENSSL_LH_insert(lh, object);
	return OPENSSL_LH_error(lh) ? -ENOMEM : 0;
}

void table_remove(struct table *t, uint64_t key)
{
	OPENSSL_LH_delete((OPENSSL_LHASH *)t, &key);
}

void table_each(struct table *t, void (*visit)(void *object, void *arg), void *arg)
{
	OPENSSL_LH_doall_arg((OPENSSL_LHASH *)t, visit, arg);
}

size_t table_count(const struct table *t)
{
	return OPENSSL_LH_num_items((const OPENSSL_LHASH *)t);
}
