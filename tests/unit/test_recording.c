// SPDX-License-Identifier: BSD-2-Clause
/* Recorder and reader: round trips, what is kept, and files that are cut, damaged or not ours. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include <zlib.h>

#include "recording.h"
#include "sink_recording.h"
#include "source_recording.h"

#define EVENTS_MAX 64

/* --- Events --- */

union event {
	struct cbt_hdr h;
	struct cbt_ev_dns dns;
	struct cbt_ev_proc proc;
	struct cbt_ev_host host;
	struct cbt_ev_clock clock;
	struct cbt_ev_lost lost;
	struct cbt_ev_end end;
	uint8_t bytes[1024];
};

static union event event(uint16_t type, uint32_t size, uint64_t ts, uint64_t cookie)
{
	union event e;

	memset(&e, 0, sizeof(e));
	e.h = (struct cbt_hdr){.ts = ts, .cookie = cookie, .len = size, .type = type, .tgid = 17, .tid = 18};
	return e;
}

static union event host(void)
{
	union event e = event(CBT_EV_HOST, sizeof(e.host), 1000, 0);

	e.host.realtime_offset = 1795323600000000000;
	strcpy(e.host.host, "cb1");
	strcpy(e.host.kernel, "6.1.0-test");
	strcpy(e.host.boot_id, "5f2ad3f1-0000-4000-8000-000000000001");
	return e;
}

/* @cookie decides what claims() says; @n bytes follow, so that padding of every length occurs. */
static union event dns(uint64_t ts, uint64_t cookie, uint16_t n)
{
	union event e = event(CBT_EV_DNS, (uint32_t)sizeof(e.dns) + n, ts, cookie);

	e.dns.data_len = n;
	e.dns.msg_len = n;
	memset(e.dns.data, 0xa5, n);
	return e;
}

static union event end(uint64_t ts)
{
	return event(CBT_EV_END, sizeof(struct cbt_ev_end), ts, 0);
}

/* --- Claims: by cookie, changed by the test as time goes by --- */

static enum correlate_claim claim_of[8];

static enum correlate_claim claims(const struct cbt_hdr *ev, void *arg)
{
	assert_ptr_equal(arg, claim_of);
	/* These are never asked about. */
	assert_true(ev->type != CBT_EV_HOST && ev->type != CBT_EV_CLOCK && ev->type != CBT_EV_LOST &&
		    ev->type != CBT_EV_END);
	assert_true(ev->cookie < 8);
	return claim_of[ev->cookie];
}

/* --- Files --- */

static char dir[] = "/tmp/cbtrace-test-XXXXXX";
static char path[64], other[64];

static int enter(void **state)
{
	(void)state;
	strcpy(strrchr(dir, '-'), "-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/recording", dir);
	snprintf(other, sizeof(other), "%s/other", dir);
	for (size_t i = 0; i < 8; i++)
		claim_of[i] = CLAIM_YES;
	return 0;
}

static int leave(void **state)
{
	(void)state;
	unlink(path);
	unlink(other);
	return rmdir(dir);
}

static size_t framed(size_t len)
{
	return recording_padded(len) + sizeof(struct recording_trailer);
}

static struct recorder *open_recorder(size_t pending_max)
{
	const struct recorder_config config = {claims, claim_of, pending_max};
	struct recorder *r = NULL;
	struct failure f = {.text = ""};

	if (recorder_open(path, &config, &r, &f) != 0)
		fail_msg("%s", f.text);
	return r;
}

static void give(struct recorder *r, union event e)
{
	assert_int_equal(recorder_event(r, &e.h), 0);
}

static size_t file_load(uint8_t *data, size_t size)
{
	FILE *f = fopen(path, "r");
	size_t n;

	assert_non_null(f);
	n = fread(data, 1, size, f);
	assert_true(n < size);
	fclose(f);
	return n;
}

static void file_store(const char *name, const void *data, size_t size)
{
	FILE *f = fopen(name, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, size, f), size);
	assert_int_equal(fclose(f), 0);
}

struct reading {
	size_t n;
	union event events[EVENTS_MAX];
	int result; /* of what came after the events */
	struct failure f;
};

static void read_all(struct reading *r)
{
	const struct cbt_hdr *ev;
	struct recording *rec = NULL;

	*r = (struct reading){.n = 0};
	r->result = recording_open(path, &rec, &r->f);
	if (r->result < 0) {
		assert_null(rec);
		return;
	}
	while ((r->result = recording_next(rec, &ev, &r->f)) == 1) {
		assert_true(r->n < EVENTS_MAX && ev->len <= sizeof(union event));
		memcpy(&r->events[r->n++], ev, ev->len);
	}
	/* It stays so. */
	assert_int_equal(recording_next(rec, &ev, &r->f), r->result);
	recording_close(rec);
}

static void assert_same(const union event *a, union event b)
{
	assert_int_equal(a->h.len, b.h.len);
	assert_memory_equal(a, &b, b.h.len);
}

/* Events 1, 2 and 3 of cookies 1, 2 and 3, the host and the end. */
static void record_some(void)
{
	struct recorder *r = open_recorder(0);

	give(r, host());
	give(r, dns(2000, 1, 3));
	give(r, dns(3000, 2, 0));
	give(r, dns(4000, 3, 500));
	give(r, end(5000));
	assert_int_equal(recorder_close(r), 0);
}

/* --- Tests --- */

static void what_is_recorded_is_read(void **state)
{
	struct recorder *r = open_recorder(0);
	struct reading got;
	union event proc = event(CBT_EV_PROC, sizeof(proc.proc) + 5, 6, 0),
		    lost = event(CBT_EV_LOST, sizeof(lost.lost), 7, 0),
		    clock = event(CBT_EV_CLOCK, sizeof(clock.clock), 8, 0),
		    library = event(CBT_EV_LIBRARY_LAST, sizeof(struct cbt_hdr) + 9, 9, 0);

	(void)state;
	proc.proc.path_len = 5;
	memcpy(proc.proc.path, "/a/b\xff", 5);
	lost.lost.count[CBT_LOST_RING] = 77;
	clock.clock.realtime_offset = -5;
	give(r, host());
	for (uint16_t n = 0; n < 9; n++)
		give(r, dns(100 + n, 1, n));
	give(r, proc);
	give(r, lost);
	give(r, clock);
	give(r, library);
	give(r, end(10));
	assert_int_equal(recorder_lost(r), 0);
	assert_int_equal(recorder_close(r), 0);

	read_all(&got);
	assert_int_equal(got.result, 0);
	assert_string_equal(got.f.text, "");
	assert_int_equal(got.n, 1 + 9 + 5);
	assert_same(&got.events[0], host());
	for (uint16_t n = 0; n < 9; n++)
		assert_same(&got.events[1 + n], dns(100 + n, 1, n));
	assert_same(&got.events[10], proc);
	assert_same(&got.events[11], lost);
	assert_same(&got.events[12], clock);
	assert_same(&got.events[13], library);
	assert_same(&got.events[14], end(10));
}

static void only_claimed_events_are_kept_in_their_order(void **state)
{
	struct recorder *r = open_recorder(0);
	struct reading got;
	uint8_t data[4096];

	(void)state;
	claim_of[0] = CLAIM_NO;
	claim_of[2] = CLAIM_UNDECIDED;
	claim_of[3] = CLAIM_UNDECIDED;
	give(r, host());
	give(r, dns(1, 1, 1));
	give(r, dns(2, 2, 1));
	give(r, dns(3, 1, 2)); /* waits behind 2 */
	give(r, dns(4, 3, 1));
	give(r, dns(5, 0, 1));
	give(r, event(CBT_EV_CLOCK, sizeof(struct cbt_ev_clock), 6, 0));
	assert_int_equal(recorder_flush(r), 0);
	assert_int_equal(file_load(data, sizeof(data)), sizeof(struct recording_header) + framed(88 + 1));
	claim_of[2] = CLAIM_YES;
	assert_int_equal(recorder_flush(r), 0);
	assert_int_equal(file_load(data, sizeof(data)), sizeof(struct recording_header) + 3 * framed(88 + 1));
	claim_of[3] = CLAIM_NO;
	give(r, dns(7, 1, 3));
	give(r, end(8));
	assert_int_equal(recorder_lost(r), 0);
	assert_int_equal(recorder_close(r), 0);

	read_all(&got);
	assert_int_equal(got.result, 0);
	assert_int_equal(got.n, 7);
	assert_int_equal(got.events[1].h.ts, 1);
	assert_int_equal(got.events[2].h.ts, 2);
	assert_int_equal(got.events[3].h.ts, 3);
	assert_int_equal(got.events[4].h.type, CBT_EV_CLOCK);
	assert_int_equal(got.events[5].h.ts, 7);
	assert_int_equal(got.events[6].h.type, CBT_EV_END);
}

static void undecided_at_the_end_belongs_to_nobody(void **state)
{
	struct recorder *r = open_recorder(0);
	struct reading got;

	(void)state;
	claim_of[2] = CLAIM_UNDECIDED;
	give(r, host());
	give(r, dns(1, 2, 1));
	give(r, dns(2, 1, 1));
	give(r, end(3));
	assert_int_equal(recorder_lost(r), 0);
	assert_int_equal(recorder_close(r), 0);
	read_all(&got);
	assert_int_equal(got.result, 0);
	assert_int_equal(got.n, 3);
	assert_int_equal(got.events[1].h.ts, 2);
}

static void waiting_is_bounded_and_the_oldest_undecided_goes(void **state)
{
	struct recorder *r = open_recorder(4096);
	struct reading got;
	uint64_t last = 0;

	(void)state;
	claim_of[2] = CLAIM_UNDECIDED;
	give(r, host());
	for (uint64_t ts = 1; ts <= 100; ts++) {
		give(r, dns(ts, 2, 100));
		if (ts % 20 == 0)
			give(r, dns(1000 + ts, 1, 100));
	}
	assert_in_range(recorder_lost(r), 70, 95);
	claim_of[2] = CLAIM_YES;
	give(r, end(2000));
	assert_int_equal(recorder_close(r), 0);
	read_all(&got);
	assert_int_equal(got.result, 0);
	/* Nothing that was decided is missing, and the youngest undecided are there. */
	for (size_t i = 1, decided = 0; i < got.n - 1; i++) {
		if (got.events[i].h.cookie == 1)
			assert_int_equal(got.events[i].h.ts, 1000 + 20 * ++decided);
		else
			last = got.events[i].h.ts;
	}
	assert_int_equal(last, 100);
}

static void an_event_too_large_to_wait_is_lost_not_fatal(void **state)
{
	struct recorder *r = open_recorder(128);

	(void)state;
	claim_of[2] = CLAIM_UNDECIDED;
	give(r, host());
	give(r, dns(1, 2, 500));
	assert_int_equal(recorder_lost(r), 1);
	give(r, dns(2, 1, 500)); /* decided: need not wait */
	assert_int_equal(recorder_lost(r), 1);
	assert_int_equal(recorder_close(r), 0);
}

static void the_first_event_must_be_the_host(void **state)
{
	struct recorder *r = open_recorder(0);
	union event e = dns(1, 1, 1);

	(void)state;
	assert_int_equal(recorder_event(r, &e.h), -EINVAL);
	assert_int_equal(recorder_close(r), 0);
}

static void every_truncation_is_told(void **state)
{
	uint8_t data[4096];
	size_t size, boundary[6], n_boundaries = 0; /* where the header and each event end */
	struct reading whole, cut;

	(void)state;
	record_some();
	read_all(&whole);
	assert_int_equal(whole.n, 5);
	boundary[n_boundaries++] = sizeof(struct recording_header);
	for (size_t i = 1; i < whole.n; i++, n_boundaries++)
		boundary[n_boundaries] = boundary[n_boundaries - 1] + framed(whole.events[i].h.len);
	size = file_load(data, sizeof(data));
	assert_int_equal(size, boundary[n_boundaries - 1]);
	for (size_t len = 0; len < size; len++) {
		size_t complete = 0;

		file_store(path, data, len);
		read_all(&cut);
		while (complete < n_boundaries && boundary[complete] <= len)
			complete++;
		if (complete == 0) {
			assert_int_equal(cut.result, -EBADMSG);
			assert_non_null(strstr(cut.f.text, len < RECORDING_MAGIC_LEN ? "no recording" : "cut short"));
		} else {
			assert_int_equal(cut.result, -ENODATA);
			assert_non_null(strstr(cut.f.text,
					       len == boundary[complete - 1] ? "without its end mark" : "cut short"));
		}
		assert_int_equal(cut.n, complete);
		assert_memory_equal(cut.events, whole.events, complete * sizeof(cut.events[0]));
	}
}

static void every_damaged_byte_is_found(void **state)
{
	static const uint8_t flips[] = {0x01, 0x80, 0xff};
	uint8_t data[4096];
	struct reading got;
	size_t size;

	(void)state;
	record_some();
	size = file_load(data, sizeof(data));
	for (size_t at = 0; at < size; at++) {
		for (size_t i = 0; i < sizeof(flips); i++) {
			data[at] ^= flips[i];
			file_store(path, data, size);
			read_all(&got);
			data[at] ^= flips[i];
			assert_true(got.n < 5);
			assert_true(got.result < 0);
			assert_true(got.f.text[0] != '\0');
			if (at < offsetof(struct recording_header, header_len))
				assert_int_equal(got.n, 0);
		}
	}
}

/* Writes @e behind the complete recording's host, damaged as the caller did. */
static void assert_refused(union event e, size_t len, const char *words)
{
	uint8_t data[4096] = {0};
	struct recording_trailer t = {0};
	struct reading got;
	char offset[32];

	record_some();
	file_load(data, sizeof(data));
	memcpy(data + sizeof(struct recording_header), &e, len);
	t.crc = (uint32_t)crc32(0, data, (uInt)(sizeof(struct recording_header) + recording_padded(len)));
	memcpy(data + sizeof(struct recording_header) + recording_padded(len), &t, sizeof(t));
	file_store(path, data, sizeof(struct recording_header) + framed(len));
	read_all(&got);
	assert_int_equal(got.result, -EBADMSG);
	assert_int_equal(got.n, 1);
	assert_non_null(strstr(got.f.text, words));
	snprintf(offset, sizeof(offset), "byte %zu", sizeof(struct recording_header));
	assert_non_null(strstr(got.f.text, offset));
}

static void lengths_in_the_file_are_not_believed(void **state)
{
	static const uint32_t lengths[] = {0, 1, 31, 0x7fffffff, 0xffffffff, 0xfffffff9, RECORDING_EVENT_MAX + 1};
	union event e;

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		e = dns(1, 1, 40);
		e.h.len = lengths[i];
		assert_refused(e, 128, "damaged");
	}
	e = dns(1, 1, 40);
	e.dns.data_len++;
	assert_refused(e, 128, "damaged");
	e = dns(1, 1, 33); /* padding that is not zero */
	e.bytes[88 + 33] = 1;
	assert_refused(e, 128, "damaged");
	assert_refused(host(), sizeof(struct cbt_ev_host), "damaged"); /* a second host */
}

static void nothing_may_follow_the_end(void **state)
{
	uint8_t data[4096];
	struct reading got;
	size_t size;

	(void)state;
	record_some();
	size = file_load(data, sizeof(data));
	data[size] = 0;
	file_store(path, data, size + 1);
	read_all(&got);
	assert_int_equal(got.n, 5);
	assert_int_equal(got.result, -EBADMSG);
	assert_non_null(strstr(got.f.text, "after its end mark"));
}

static void assert_no_recording(const void *data, size_t size, int error, const char *words)
{
	struct reading got;

	file_store(path, data, size);
	read_all(&got);
	assert_int_equal(got.result, error);
	assert_int_equal(got.n, 0);
	if (!strstr(got.f.text, words))
		fail_msg("no '%s' in: %s", words, got.f.text);
}

static void other_files_are_refused_with_a_remedy(void **state)
{
	struct recording_header h = {.byte_order = RECORDING_BYTE_ORDER,
				     .abi = CBT_ABI_VERSION,
				     .header_len = sizeof(h),
				     .host = host().host};
	struct recording *rec = NULL;
	struct failure f = {.text = ""};

	(void)state;
	memcpy(h.magic, RECORDING_MAGIC, RECORDING_MAGIC_LEN);
	assert_no_recording("", 0, -EBADMSG, "empty");
	assert_no_recording("hello, world\n", 13, -EBADMSG, "is no recording");
	h.abi = CBT_ABI_VERSION + 1;
	assert_no_recording(&h, sizeof(h), -EPROTONOSUPPORT, "version 3 of the events");
	h.abi = __builtin_bswap32(CBT_ABI_VERSION);
	h.byte_order = __builtin_bswap32(RECORDING_BYTE_ORDER);
	assert_no_recording(&h, sizeof(h), -EPROTONOSUPPORT, "byte order");
	assert_int_equal(recording_open(other, &rec, &f), -ENOENT);
	assert_non_null(strstr(f.text, "No such file"));
	assert_int_equal(recording_open(dir, &rec, &f), -EISDIR);
	assert_non_null(strstr(f.text, "directory"));
}

/* The header was changed: the trailers of the events behind it must agree. */
static void sum_again(uint8_t *data, size_t size)
{
	size_t at = ((const struct recording_header *)data)->header_len;
	uLong crc = crc32(0, data, (uInt)at);

	while (at < size) {
		size_t len = recording_padded(((const struct cbt_hdr *)(data + at))->len);

		crc = crc32(crc, data + at, (uInt)len);
		*(uint32_t *)(data + at + len) = (uint32_t)crc;
		at += len + sizeof(struct recording_trailer);
	}
	assert_int_equal(at, size);
}

static void a_longer_header_is_skipped(void **state)
{
	uint8_t data[4096];
	_Alignas(8) uint8_t longer[4200];
	struct reading got;
	struct recording_header *h = (struct recording_header *)longer;
	size_t size;

	(void)state;
	record_some();
	size = file_load(data, sizeof(data));
	memset(longer, 0x5a, sizeof(longer));
	memcpy(longer, data, sizeof(*h));
	h->header_len += 64;
	memcpy(longer + sizeof(*h) + 64, data + sizeof(*h), size - sizeof(*h));
	sum_again(longer, size + 64);
	file_store(path, longer, size + 64);
	read_all(&got);
	assert_int_equal(got.result, 0);
	assert_int_equal(got.n, 5);
}

static void the_file_is_private_and_new(void **state)
{
	mode_t mask = umask(0);
	struct stat st, old;
	char buf[8];
	int fd;

	(void)state;
	file_store(path, "before", 6);
	assert_int_equal(chmod(path, 0666), 0);
	assert_int_equal(link(path, other), 0);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	record_some();
	umask(mask);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	/* Who held the old file open, or by another name, has the old file still. */
	assert_int_equal(fstat(fd, &old), 0);
	assert_true(old.st_ino != st.st_ino);
	assert_int_equal(read(fd, buf, sizeof(buf)), 6);
	close(fd);
}

static void assert_not_opened(int error, const char *words)
{
	const struct recorder_config config = {claims, claim_of, 0};
	struct recorder *r = NULL;
	struct failure f = {.text = ""};

	assert_int_equal(recorder_open(path, &config, &r, &f), error);
	assert_null(r);
	if (!strstr(f.text, words))
		fail_msg("no '%s' in: %s", words, f.text);
}

static void what_is_no_regular_file_is_refused(void **state)
{
	struct stat st;

	(void)state;
	file_store(other, "target", 6);
	assert_int_equal(symlink(other, path), 0);
	assert_not_opened(-EEXIST, "no regular file");
	assert_int_equal(stat(other, &st), 0);
	assert_int_equal(st.st_size, 6);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/nowhere/at/all", path), 0);
	assert_not_opened(-EEXIST, "no regular file");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_not_opened(-EEXIST, "no regular file");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_not_opened(-EEXIST, "no regular file");
	assert_int_equal(rmdir(path), 0);
	snprintf(path, sizeof(path), "%s/missing/recording", dir);
	assert_not_opened(-ENOENT, "No such file");
}

/* Opens "-" while @fd is the standard output. */
static struct recorder *open_on(int fd)
{
	const struct recorder_config config = {claims, claim_of, 0};
	struct recorder *r = NULL;
	struct failure f = {.text = ""};
	int saved;

	fflush(stdout);
	saved = dup(STDOUT_FILENO);
	assert_true(saved >= 0 && dup2(fd, STDOUT_FILENO) >= 0);
	recorder_open("-", &config, &r, &f);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	assert_string_equal(f.text, "");
	return r;
}

static void the_standard_output_can_take_it(void **state)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	struct recorder *r = open_on(fd);
	struct reading got;

	(void)state;
	close(fd);
	give(r, host());
	give(r, end(1));
	assert_int_equal(recorder_close(r), 0);
	read_all(&got);
	assert_int_equal(got.result, 0);
	assert_int_equal(got.n, 2);
}

static void a_full_disk_is_told_and_stays_told(void **state)
{
	int fd = open("/dev/full", O_WRONLY);
	struct recorder *r;
	union event e = dns(1, 1, 1);

	(void)state;
	if (fd < 0)
		skip();
	r = open_on(fd);
	close(fd);
	give(r, host());
	assert_int_equal(recorder_flush(r), -ENOSPC);
	assert_int_equal(recorder_event(r, &e.h), -ENOSPC);
	assert_int_equal(recorder_flush(r), -ENOSPC);
	assert_int_equal(recorder_close(r), -ENOSPC);
	assert_int_equal(recorder_close(NULL), 0);
	recording_close(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_recorded_is_read),
		TEST(only_claimed_events_are_kept_in_their_order),
		TEST(undecided_at_the_end_belongs_to_nobody),
		TEST(waiting_is_bounded_and_the_oldest_undecided_goes),
		TEST(an_event_too_large_to_wait_is_lost_not_fatal),
		TEST(the_first_event_must_be_the_host),
		TEST(every_truncation_is_told),
		TEST(every_damaged_byte_is_found),
		TEST(lengths_in_the_file_are_not_believed),
		TEST(nothing_may_follow_the_end),
		TEST(other_files_are_refused_with_a_remedy),
		TEST(a_longer_header_is_skipped),
		TEST(the_file_is_private_and_new),
		TEST(what_is_no_regular_file_is_refused),
		TEST(the_standard_output_can_take_it),
		TEST(a_full_disk_is_told_and_stays_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
