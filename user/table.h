/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Objects by a 64-bit key: OpenSSL's LHASH with the one hash and comparison that cbtrace needs. An object's first
 * member is its uint64_t key; the table owns nothing.
 */
#ifndef CBTRACE_TABLE_H
#define CBTRACE_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct table;

struct table *table_new(void);	  /* NULL for want of memory */
void table_free(struct table *t); /* accepts NULL; the objects live on */

void *table_find(const struct table *t, uint64_t key); /* NULL */
/* 0, -EEXIST, or -ENOMEM. */
int table_insert(struct table *t, void *object);
void table_remove(struct table *t, uint64_t key);
/* @visit must not change the table. */
void table_each(struct table *t, void (*visit)(void *object, void *arg), void *arg);
size_t table_count(const struct table *t);

#endif
