/* The admin listener: health, readiness, metrics, status, reload. */
#ifndef PROXY_ADMIN_H
#define PROXY_ADMIN_H

#include "proxy/process.h"

/* Serves on the process's admin loop until it is destroyed. */
struct admin;
struct admin *admin_create(struct process *p, struct error *err);
void admin_destroy(struct admin *a);

#endif
