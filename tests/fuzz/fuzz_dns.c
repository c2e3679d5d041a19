// SPDX-License-Identifier: BSD-2-Clause
// sources: user/dns.c
/*
 * DNS messages from anybody. What a capture cut off must never make the parser say more than the whole message does;
 * names are printable and bounded whatever the labels hold.
 */
#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "dns.h"

static void name_check(const char *name)
{
	size_t n = strnlen(name, DNS_NAME_MAX);

	assert(n < DNS_NAME_MAX);
	for (size_t i = 0; i < n; i++)
		assert(name[i] > 0x20 && name[i] < 0x7f);
}

static void message_check(const struct dns_message *m)
{
	assert(m->n_answers <= DNS_ANSWERS_MAX);
	if (m->has_question)
		name_check(m->qname);
	for (size_t i = 0; i < m->n_answers; i++) {
		name_check(m->answers[i].owner);
		if (m->answers[i].type == DNS_TYPE_SRV || m->answers[i].type == DNS_TYPE_CNAME)
			name_check(m->answers[i].target);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct dns_message whole, cut;
	enum dns_status status;
	uint8_t *copy;
	size_t len;

	if (!size)
		return 0;
	/* The first byte says where the capture ends; the copy ends there, so that a read beyond is seen. */
	len = (size - 1) * data[0] / 255;
	copy = malloc(len ? len : 1);
	if (!copy)
		return 0;
	memcpy(copy, data + 1, len);
	status = dns_parse(data + 1, size - 1, size - 1, &whole);
	message_check(&whole);
	assert(status != DNS_TRUNCATED_CAPTURE);
	dns_parse(copy, len, size - 1, &cut);
	message_check(&cut);
	assert(cut.n_answers <= whole.n_answers);
	assert(!cut.has_question || (whole.has_question && strcmp(cut.qname, whole.qname) == 0));
	free(copy);
	return 0;
}
