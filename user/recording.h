/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The recording file: this header, then events of the contract as they were, each padded with zeros to 8 bytes and
 * followed by a trailer, the last one CBT_EV_END. The header holds the CBT_EV_HOST event, which is not repeated.
 */
#ifndef CBTRACE_RECORDING_H
#define CBTRACE_RECORDING_H

#include <cbtrace/event.h>

#define RECORDING_MAGIC	     "\211CBTREC\n" /* no text file begins so; a conversion of line ends breaks it */
#define RECORDING_MAGIC_LEN  8
#define RECORDING_BYTE_ORDER 0x01020304U /* in the order of the machine that wrote it */
#define RECORDING_ALIGN	     8
#define RECORDING_EVENT_MAX  131072U /* no event is longer: a DNS message has 64 KiB at most */

struct recording_header {
	char magic[RECORDING_MAGIC_LEN];
	__u32 byte_order; /* RECORDING_BYTE_ORDER */
	__u32 abi;	  /* CBT_ABI_VERSION */
	__u32 header_len; /* bytes of this header; events begin there */
	__u32 pad;	  /* 0 */
	struct cbt_ev_host host;
};
CBT_ASSERT_SIZE(recording_header, 8 + 4 * 4 + 232);

/* Behind each padded event: the CRC-32 of all that came before it in the file but for trailers. Any changed, missing or
 * misplaced byte is found at the event that has it. */
struct recording_trailer {
	__u32 crc; /* zlib's crc32() */
	__u32 pad; /* 0 */
};
CBT_ASSERT_SIZE(recording_trailer, 8);

static inline size_t recording_padded(size_t len)
{
	return (len + RECORDING_ALIGN - 1) & ~(size_t)(RECORDING_ALIGN - 1);
}

#endif
