// SPDX-License-Identifier: BSD-2-Clause
/* Processes: made when first seen alive, forgotten when nothing needs them. See correlate_internal.h. */
#include "correlate_internal.h"

#include <stdlib.h>
#include <string.h>

void past_free(struct past *p)
{
	free(p->domain);
	free(p->server);
	*p = (struct past){0};
}

static void process_free(struct process *p)
{
	for (size_t i = 0; i < p->n_past; i++)
		past_free(&p->past[i]);
	free(p->cgroup);
	free(p);
}

void process_drop(struct correlator *c, struct process *p)
{
	if (table_find(c->processes, p->key) == p)
		table_remove(c->processes, p->key);
	TAILQ_REMOVE(&c->processes_by_age, p, by_age);
	process_free(p);
}

void process_put(struct correlator *c, struct process *p)
{
	p->refs--;
	/* Alive ones stay for their past; dead ones that something newer replaced, or that nothing needs, go. */
	if (!p->refs && p->exit_ns)
		process_drop(c, p);
}

static void process_evict(struct correlator *c)
{
	struct process *p;

	TAILQ_FOREACH (p, &c->processes_by_age, by_age)
		if (!p->refs) {
			process_drop(c, p);
			return;
		}
}

struct process *process_find(const struct correlator *c, uint32_t tgid)
{
	return table_find(c->processes, tgid);
}

/* The process of an event that shows it alive; made if unknown. NULL if there is no room. */
struct process *process_get(struct correlator *c, uint32_t tgid, const char *comm)
{
	struct process *p = process_find(c, tgid);

	if (p && p->exit_ns) {
		/* The pid is in use again. */
		table_remove(c->processes, tgid);
		if (!p->refs)
			process_drop(c, p);
		p = NULL;
	}
	if (!p) {
		if (table_count(c->processes) >= PROCESSES_MAX)
			process_evict(c);
		if (table_count(c->processes) >= PROCESSES_MAX || !(p = calloc(1, sizeof(*p)))) {
			correlator_refused(c);
			return NULL;
		}
		p->key = tgid;
		TAILQ_INIT(&p->lookups);
		TAILQ_INIT(&p->attempts);
		TAILQ_INIT(&p->libraries);
		if (table_insert(c->processes, p) < 0) {
			free(p);
			correlator_refused(c);
			return NULL;
		}
		TAILQ_INSERT_TAIL(&c->processes_by_age, p, by_age);
	} else {
		TAILQ_REMOVE(&c->processes_by_age, p, by_age);
		TAILQ_INSERT_TAIL(&c->processes_by_age, p, by_age);
	}
	if (comm && comm[0])
		memcpy(p->comm, comm, sizeof(p->comm));
	return p;
}
