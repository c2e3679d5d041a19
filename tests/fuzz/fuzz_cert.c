// SPDX-License-Identifier: BSD-2-Clause
/* A certificate list of anything at all: the input as it is, and as the DER of one leaf that stands twice. */
// sources: user/cert.c user/text.c
#include <stdlib.h>
#include <string.h>

#include "cert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void list_read(struct cert_cache *cache, const uint8_t *list, size_t len)
{
	const struct cert_info *info, *again;

	if (cert_chain_read(cache, list, len, &info) < 0)
		return;
	if (!info->subject || !info->issuer || !info->chain_length || info->n_san > CERT_SANS_MAX)
		abort();
	for (size_t i = 0; i < info->n_san; i++)
		(void)cert_names(info, info->san[i]);
	(void)cert_names(info, "xmpp.example.com");
	(void)cert_names(info, "192.0.2.1");
	if (cert_chain_read(cache, list, len, &again) < 0 || again != info)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cert_cache *cache = cert_cache_new();
	uint8_t *list;

	if (!cache)
		return 0;
	list_read(cache, data, size);
	list = malloc(2 * (size + 3));
	if (list && size < 1 << 24) {
		for (uint8_t *p = list; p < list + 2 * (size + 3); p += size + 3) {
			p[0] = (uint8_t)(size >> 16);
			p[1] = (uint8_t)(size >> 8);
			p[2] = (uint8_t)size;
			memcpy(p + 3, data, size);
		}
		list_read(cache, list, 2 * (size + 3));
	}
	free(list);
	cert_cache_free(cache);
	return 0;
}
