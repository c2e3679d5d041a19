// SPDX-License-Identifier: GPL-2.0-only
/* The one place where the shared maps and the configuration exist. See maps.h. */
#include "maps.h"

struct events_map events SEC(".maps");
struct sockets_map sockets SEC(".maps");
struct tracked_map tracked SEC(".maps");
struct procs_map procs SEC(".maps");
struct askers_map askers SEC(".maps");
struct done_map done SEC(".maps");
struct lost_map lost SEC(".maps");
struct lib_calls_map lib_calls SEC(".maps");
struct lib_conns_map lib_conns SEC(".maps");
struct lib_zero_map lib_zero SEC(".maps");
struct lib_procs_map lib_procs SEC(".maps");
struct lib_sites_map lib_sites SEC(".maps");
struct arms_map arms SEC(".maps");

const volatile __u32 library = 0;

const volatile struct scope_config scope = {0};
const volatile __u16 ports[SCOPE_PORTS_MAX] = {0};
const volatile __u32 n_ports = 0;
const volatile char component_label[16] = "_xmpp-component";
volatile __u32 asleep = 0;

char LICENSE[] SEC("license") = "GPL";
