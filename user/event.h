/* SPDX-License-Identifier: BSD-2-Clause */
/* Checks of the event contract on the user side, and names of its enums. Pure. */
#ifndef CBTRACE_USER_EVENT_H
#define CBTRACE_USER_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cbtrace/event.h>

/*
 * Are the @size bytes at @data (8-byte aligned) one well-formed event? 0, or -EBADMSG. Checks the length against the
 * type and the data lengths inside, and that strings end. An unknown type with a sane head is well-formed: readers skip
 * it. @size may exceed h.len (ring slots do).
 */
int event_check(const void *data, size_t size);

const char *event_type_name(uint16_t type);	 /* "dns", "tcp" …; "unknown" */
const char *event_lost_name(unsigned int stage); /* "ring", "tracked" … */

#endif
